"""Every product that each kind of multiplier is declared for, through the emitted Verilog of the real component."""

import subprocess
from pathlib import Path

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from systolith.gen.simulate import build_model, simulation_cache
from systolith.gen.verilog import emit
from systolith.rtl.array import SystolicArray
from systolith.rtl.multiplier import FabricMultiplier, Multiplier

HARNESS = Path(__file__).parents[1] / "support" / "products.cpp"


class Columns(wiring.Component):
    """An array of one row and one or two columns, its ports by plain names; both columns get their weights in the same cycle."""

    def __init__(self, array):
        self.array = array
        super().__init__({"a": In(8), "swap": In(1), "shift": In(1), "w0": In(8), "w1": In(8), "psum0": Out(16), "psum1": Out(16)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = self.array
        m.d.comb += [array.a[0].eq(self.a), array.swap[0].eq(self.swap)]
        for c, (w, psum) in enumerate(zip((self.w0, self.w1), (self.psum0, self.psum1), strict=True)):
            if c < array.cols:
                m.d.comb += [array.w[c].eq(w), array.w_shift[c].eq(self.shift), psum.eq(array.psum[c])]
        return m


def run(directory, component, **options):
    verilog = emit(component, "products")
    (directory / "products.v").write_text(verilog)
    flags = tuple(f"-D{name.upper()}={value}" for name, value in options.items())
    program = build_model([directory / "products.v"], "products", HARNESS, cache=simulation_cache(None), key=verilog, flags=flags,
                          shared=False, report=lambda line: None)
    done = subprocess.run([program.path], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(("multiplier", "dsp_cols", "cols", "low"), [
    ("single", 1, 1, -128), ("single", 0, 1, -128), ("packed", 2, 2, -127)])
def test_columns(tmp_path, multiplier, dsp_cols, cols, low):
    """single and lut: 256 × 256; packed: all pairs of weights, with all activations."""
    array = SystolicArray(rows=1, cols=cols, multiplier=multiplier, dsp_cols=dsp_cols)
    assert array.col_delay == [0] * cols
    told = run(tmp_path, Columns(array), cols=cols, low=low, latency=array.latency_cycles)
    assert told == f"{256 * (128 - low)**cols * cols} products checked, 0 wrong\n"


@pytest.mark.parametrize("kind", [Multiplier, FabricMultiplier])
def test_multipliers_of_pairs(tmp_path, kind):
    """The sums that a pair of rows multiplies have 9 bits: 512 × 512."""
    assert run(tmp_path, kind(x_bits=9, y_bits=9), bits=9, latency=kind.latency_cycles) == f"{512**2} products checked, 0 wrong\n"
