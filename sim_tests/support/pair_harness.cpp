// Every product of two bytes through a TreeArray of one row and two columns, with the weights w and ~w; the first wrong one is printed.

#include "Vpair.h"
#include "verilated.h"

#include <cstdint>
#include <cstdio>

namespace {

Vpair model;

void step() {
    model.clk = 1;
    model.eval();
    model.clk = 0;
    model.eval();
}

}  // namespace

int main() {
    constexpr int kLatency = 3;
    model.clk = 0;
    model.rst = 0;
    model.eval();
    for (int w = 0; w < 256; w++) {
        model.w0 = w;
        model.w1 = ~w & 255;
        model.shift = 1;
        step();
        // What stands in front of the shadow weights and behind the active ones must not matter.
        model.shift = 0;
        model.w0 = model.w1 = 0x5A;
        for (int cycle = 0; cycle < 256 + kLatency; cycle++) {
            model.a = cycle & 255;
            model.swap = cycle == 0;
            model.eval();
            if (cycle >= kLatency) {
                const int a = int8_t(cycle - kLatency);
                const int sums[] = {int16_t(model.p0), int16_t(model.p1)}, weights[] = {int8_t(w), int8_t(~w)};
                for (int column = 0; column < 2; column++) {
                    if (sums[column] != a * weights[column]) {
                        std::printf("column %d: %d times %d is not %d\n", column, a, weights[column], sums[column]);
                        return 1;
                    }
                }
            }
            step();
        }
    }
    std::puts("all right");
    return 0;
}
