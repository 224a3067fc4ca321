// Drives the chip and the computer of gen/ethernet.h from standard input; its first line of output is the address for datagrams.
//
//     send HEX     the board sends these octets, preamble and check sequence included; `error HEX` with an error signalled in the last one
//     gap COUNT    it sends nothing for so many
//     look         take datagrams from the socket
//     run COUNT    so many cycles of what the board gets: each frame is a line, from the preamble on
#include "ethernet.h"

#include <cstring>

int main() {
    RGMII chip;
    std::printf("%s\n", chip.computer.open_socket().c_str());
    std::fflush(stdout);
    const auto octet = [&](int value, bool sends, bool error) {
        chip.sample(true, sends, value & 15);
        chip.sample(false, sends != error, value >> 4);
    };
    char word[16];
    static char text[8192];
    Octets frame;
    while (std::scanf("%15s", word) == 1) {
        if (!std::strcmp(word, "send") || !std::strcmp(word, "error")) {
            if (std::scanf("%8191s", text) != 1) return 2;
            const size_t count = std::strlen(text) / 2;
            for (size_t i = 0; i < count; ++i) {
                const char digits[] = {text[2 * i], text[2 * i + 1], 0};
                octet(std::strtol(digits, nullptr, 16), true, *word == 'e' && i == count - 1);
            }
        } else if (!std::strcmp(word, "look")) {
            chip.computer.look(chip.cycles());
        } else {
            unsigned count;
            if (std::scanf("%u", &count) != 1) return 2;
            while (count--) {
                if (*word == 'g') {
                    octet(0, false, false);
                    continue;
                }
                chip.drive();
                const unsigned low = chip.data;
                const bool receives = chip.receives;
                chip.drive();
                if (receives != chip.receives || (!receives && (low != 0xD || chip.data != 0xD))) return 2;
                if (receives) {
                    frame.push_back(low | chip.data << 4);
                } else if (!frame.empty()) {
                    for (const unsigned value : frame) std::printf("%02x", value);
                    std::printf("\n");
                    frame.clear();
                }
            }
        }
        std::fflush(stdout);
    }
}
