// Drives the chip of DDR3 and the pins before it of gen/ddr3.h from standard input, a line for a cycle of the controller's clock, 75 MHz:
//
//     do CONTROL COMMAND BANK ADDRESS COMMAND BANK ADDRESS ENABLES
//
// CONTROL is 1 for clock enable and 2 for reset (low when 0); of either phase the command's pins RAS, CAS, WE as a number, 7 for none;
// ENABLES is 1 for write data, 2 for read data. "wait CYCLES CONTROL" is as many without a command; "data BYTE MASK" says what is written,
// every byte one more than the one before; "set SELECT PULSES" is a cycle of the registers, PULSES 1 … 16 in their order; "read" prints what
// has been read, and which lanes saw their strobe. All but CYCLES hexadecimal.
#include "ddr3.h"

#include <cstdio>
#include <cstring>

int main() {
    DDR3PHY phy(75e6);
    DFICycle idle{};
    for (auto& pins : idle.phases) pins = {false, false, true, true, true, true, 0, 0};
    char word[16];
    unsigned control = 0;
    const auto with_control = [&control](DFICycle cycle) {
        for (auto& pins : cycle.phases) pins.cke = control & 1, pins.reset_n = control >> 1 & 1;
        return cycle;
    };
    while (std::scanf("%15s", word) == 1) {
        if (!std::strcmp(word, "wait")) {
            unsigned long count;
            if (std::scanf("%lu %x", &count, &control) != 2) return 2;
            while (count--) phy.edge(with_control(idle));
        } else if (!std::strcmp(word, "do")) {
            unsigned commands[2], banks[2], addresses[2], enables;
            if (std::scanf("%x %x %x %x %x %x %x %x", &control, &commands[0], &banks[0], &addresses[0], &commands[1], &banks[1],
                           &addresses[1], &enables) != 8)
                return 2;
            DFICycle now = idle;
            for (int i = 0; i < 2; ++i)
                now.phases[i] = {false, false, commands[i] == 7, bool(commands[i] & 4), bool(commands[i] & 2), bool(commands[i] & 1),
                                 banks[i], addresses[i]};
            now.write_enable = enables & 1;
            now.read_enable = enables & 2;
            phy.edge(with_control(now));
        } else if (!std::strcmp(word, "data")) {
            unsigned first, mask;
            if (std::scanf("%x %x", &first, &mask) != 2) return 2;
            for (unsigned i = 0; i < kBurstBytes; ++i) idle.data[i] = first + i;
            idle.mask = mask;
        } else if (!std::strcmp(word, "set")) {
            unsigned select, pulses;
            if (std::scanf("%x %x", &select, &pulses) != 2) return 2;
            DFICycle now = idle;
            now.select = select;
            now.delay_reset = pulses & 1;
            now.delay_step = pulses & 2;
            now.slip_reset = pulses & 4;
            now.slip_step = pulses & 8;
            now.clear = pulses & 16;
            phy.edge(with_control(now));
        } else {
            for (const unsigned octet : phy.data()) std::printf("%02x", octet);
            std::printf(" %x\n", phy.seen());
        }
    }
}
