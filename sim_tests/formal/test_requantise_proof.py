"""The rounding half of the requantiser equals its definition, for every value, shift, zero point and clamp, in 8 bits and in 16."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from formal import Harness, prove, refute
from nightly import nightly
from systolith.arch.numerics import SHIFT_MIN, WIDE_SHIFT_MAX
from systolith.rtl.requantise import _Finish, _WideFinish


class Constants(Harness):
    """A pipeline of constants: what comes out once it is full is compared with the definition, written as in ``arch/numerics.py``."""

    def __init__(self, finish, names, *, wrong=False):
        super().__init__()
        self.finish = finish
        self.names = names
        self.wrong = wrong  # another definition, for the proof to refuse

    def properties(self, m):
        m.submodules.finish = finish = self.finish
        values = {}
        for name in self.names:
            port = getattr(finish, name)
            free, last = self.free(port.shape(), name), Signal(port.shape(), name=f"last_{name}")
            started = Signal(name=f"started_{name}")
            m.d.sync += [last.eq(free), started.eq(1)]
            m.d.comb += [port.eq(free), Assume(~started | (free == last))]
            values[name] = free
        m.d.comb += Assume(values["shift"] >= SHIFT_MIN)
        total = self.total(m, values)
        low, high = values["low"], values["high"]
        if finish.result_bits == 16:  # as arch/commands.py has it: these, and no zero point, are int16's settings
            low, high = low << 8, (high << 8) + 255 - values["zero_point"].as_unsigned()
        expected = Mux(total < low, low, Mux(total > high, high, total))
        cycles = Signal(range(finish.latency_cycles + 1))
        with m.If(cycles != finish.latency_cycles):
            m.d.sync += cycles.eq(cycles + 1)
        with m.Else():
            m.d.comb += Assert(finish.o == expected[:finish.result_bits].as_signed())


class Finish(Constants):
    """Rounded twice or once; wrongly, ties go up."""

    def __init__(self, result_bits, *, wrong=False):
        super().__init__(_Finish(result_bits), ("v", "shift", "once", "zero_point", "low", "high"), wrong=wrong)

    def total(self, m, values):
        v, shift, once = values["v"], values["shift"], values["once"] & (values["shift"] < 0)
        exponent = Signal(6)
        y, z, total = Signal(signed(34)), Signal(signed(36)), Signal(signed(37))
        nudge = Signal(signed(36))
        m.d.comb += [
            exponent.eq(Mux(shift < 0, -shift, 0)),
            y.eq((v + Mux(once, 0, 1)) >> 1),
            nudge.eq(((1 << exponent) >> 1) - (0 if self.wrong else (y < 0) & ~once)),
            z.eq(Mux(shift < 0, (y + nudge) >> exponent, y)),
            total.eq(z + (values["zero_point"] if self.finish.result_bits == 8 else 0)),
        ]
        return total


class WideFinish(Constants):
    """Of wide words: ⌊v · 2**(shift − 8) + ½⌋ for every shift from −31 to 7; wrongly, rounded down."""

    def __init__(self, *, wrong=False):
        super().__init__(_WideFinish(16), ("v", "shift", "zero_point", "low", "high"), wrong=wrong)

    def total(self, m, values):
        v, shift = values["v"], values["shift"]
        right, z = Signal(6), Signal(signed(len(v) + 1))  # right: 1 … 39
        m.d.comb += [
            Assume(shift <= WIDE_SHIFT_MAX), right.eq(WIDE_SHIFT_MAX + 1 - shift),
            z.eq((v + (0 if self.wrong else ((1 << right) >> 1))) >> right),
        ]
        return z


@pytest.mark.parametrize("result_bits", [pytest.param(8, marks=nightly("a minute; the same unit with 16 bits is proved")), 16])
def test_rounding(result_bits, tmp_path):
    prove(Finish(result_bits), tmp_path, depth=_Finish.latency_cycles + 2)


@pytest.mark.parametrize("result_bits", [8, 16])
def test_another_rounding_is_refused(result_bits, tmp_path):
    refute(Finish(result_bits, wrong=True), tmp_path, depth=_Finish.latency_cycles + 2)


def test_rounding_of_wide_words(tmp_path):
    prove(WideFinish(), tmp_path, depth=_WideFinish.latency_cycles + 2)


def test_wide_words_rounded_down_are_refused(tmp_path):
    refute(WideFinish(wrong=True), tmp_path, depth=_WideFinish.latency_cycles + 2)
