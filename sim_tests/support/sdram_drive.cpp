// Drives the chip of gen/sdram.h from standard input: a line "COMMAND BANK ADDRESS MASK DATA" is a rising edge of its clock, with the
// command's pins RAS, CAS, WE as a number (7 for none), all else hexadecimal; "wait CYCLES" is as many without a command; "foreign" is
// somebody else at its data pins. For each line of a command what the chip drives afterwards is printed, or "-". The clock is 50 MHz.
#include "sdram.h"

#include <cstdio>
#include <cstring>

int main() {
    SDRAM chip(50e6);
    char word[16];
    while (std::scanf("%15s", word) == 1) {
        unsigned long count;
        if (!std::strcmp(word, "foreign")) {
            chip.foreign();
        } else if (!std::strcmp(word, "wait")) {
            if (std::scanf("%lu", &count) != 1) return 2;
            while (count--) chip.edge({true, false, true, true, true, 0, 0, 0, 0});
        } else {
            const unsigned command = word[0] - '0';
            unsigned bank, address, mask, data;
            if (std::scanf("%x %x %x %x", &bank, &address, &mask, &data) != 4) return 2;
            chip.edge({true, false, bool(command & 4), bool(command & 2), bool(command & 1), bank, address, mask, data});
            chip.drives() ? std::printf("%x\n", chip.data()) : std::printf("-\n");
        }
    }
}
