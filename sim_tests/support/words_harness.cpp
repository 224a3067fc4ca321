// Feeds a module with ports i and o of 64 bits: a word in hexadecimal from each line of its input into i, what o is then to its output,
// then a clock edge.

#include "Vwords.h"
#include "verilated.h"

#include <cinttypes>
#include <cstdio>

int main() {
    static Vwords model;
    model.clk = 0;
    model.rst = 0;
    model.eval();
    for (uint64_t word; std::scanf("%" SCNx64, &word) == 1;) {
        model.i = word;
        model.eval();
        std::printf("%016" PRIx64 "\n", uint64_t(model.o));
        model.clk = 1;
        model.eval();
        model.clk = 0;
        model.eval();
    }
    return 0;
}
