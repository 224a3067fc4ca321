// Every product that an array of one row makes: all weights of one column or of two side by side, each with all activations; or, with
// BITS, every product of a multiplier of BITS × BITS. LATENCY (cycles), LOW (the least weight), COLS come from the compiler's options.
#include "Vproducts.h"
#include "verilated.h"
#include <cstdio>

static Vproducts top;
static long cycle = 0, wrong = 0, checked = 0;
static struct Operands { bool valid; int a, w0, w1; } waiting[16];

static int as_signed(unsigned value, int bits) { return static_cast<int>(value << (32 - bits)) >> (32 - bits); }

static void check(int product, int a, int w) {
    checked++;
    if (product != a * w && wrong++ < 10) std::printf("%d x %d gave %d\n", a, w, product);
}

static void step(Operands now) {
    waiting[cycle & 15] = now;
    top.clk = 0;
    top.eval();
    Operands due = waiting[(cycle - LATENCY) & 15];
    if (due.valid) {
#ifdef BITS
        check(as_signed(top.p, 2 * BITS), due.a, due.w0);
#else
        check(as_signed(top.psum0, 16), due.a, due.w0);
        if (COLS == 2) check(as_signed(top.psum1, 16), due.a, due.w1);
#endif
    }
    top.clk = 1;
    top.eval();
    cycle++;
}

int main() {
#ifdef BITS
    for (int y = -(1 << (BITS - 1)); y < 1 << (BITS - 1); y++)
        for (int x = -(1 << (BITS - 1)); x < 1 << (BITS - 1); x++) {
            top.x = x & ((1 << BITS) - 1);
            top.y = y & ((1 << BITS) - 1);
            step({true, x, y, 0});
        }
#else
    for (int w1 = COLS == 2 ? LOW : 127; w1 <= 127; w1++)
        for (int w0 = LOW; w0 <= 127; w0++) {
            // The next weights are shifted in beside the last activation of these; the swap comes with their first one.
            for (int a = -129; a <= 127; a++) {
                top.w0 = w0 & 255;
                top.w1 = w1 & 255;
                top.shift = a == -129;
                top.swap = a == -128;
                top.a = a & 255;
                step({a >= -128, a, w0, w1});
            }
        }
#endif
    for (int i = 0; i < 16; i++) step({false, 0, 0, 0});
    std::printf("%ld products checked, %ld wrong\n", checked, wrong);
    return wrong != 0;
}
