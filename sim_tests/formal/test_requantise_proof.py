"""The rounding half of the requantiser equals its definition, for every value, shift, zero point and clamp, in 8 bits and in 16."""

import pytest
from amaranth import *
from amaranth.hdl import Assert, Assume
from formal import Harness, prove, refute
from nightly import nightly
from systolith.arch.numerics import SHIFT_MIN, WIDE_SHIFT_MAX
from systolith.rtl.requantise import _Finish, _WideFinish


class Finish(Harness):
    """A pipeline of constants: what comes out once it is full is compared with the definition, written as in ``arch/numerics.py``."""

    def __init__(self, result_bits, *, ties_up=False):
        super().__init__()
        self.result_bits = result_bits
        self.ties_up = ties_up  # the wrong definition, for the proof to refuse

    def properties(self, m):
        m.submodules.finish = finish = _Finish(self.result_bits)
        values = {}
        for name in ("v", "shift", "once", "zero_point", "low", "high"):
            port = getattr(finish, name)
            free, last = self.free(port.shape(), name), Signal(port.shape(), name=f"last_{name}")
            started = Signal(name=f"started_{name}")
            m.d.sync += [last.eq(free), started.eq(1)]
            m.d.comb += [port.eq(free), Assume(~started | (free == last))]
            values[name] = free
        v, shift, once = values["v"], values["shift"], values["once"] & (values["shift"] < 0)
        m.d.comb += Assume(shift >= SHIFT_MIN)
        exponent = Signal(6)
        y, z, total = Signal(signed(34)), Signal(signed(36)), Signal(signed(37))
        nudge = Signal(signed(36))
        m.d.comb += [
            exponent.eq(Mux(shift < 0, -shift, 0)),
            y.eq((v + Mux(once, 0, 1)) >> 1),
            nudge.eq(((1 << exponent) >> 1) - (0 if self.ties_up else (y < 0) & ~once)),
            z.eq(Mux(shift < 0, (y + nudge) >> exponent, y)),
            total.eq(z + (values["zero_point"] if self.result_bits == 8 else 0)),
        ]
        low, high = values["low"], values["high"]
        if self.result_bits == 16:  # as arch/commands.py has it: these, and no zero point, are int16's settings
            low, high = low << 8, (high << 8) + 255 - values["zero_point"].as_unsigned()
        expected = Mux(total < low, low, Mux(total > high, high, total))
        cycles = Signal(range(_Finish.latency_cycles + 1))
        with m.If(cycles != _Finish.latency_cycles):
            m.d.sync += cycles.eq(cycles + 1)
        with m.Else():
            m.d.comb += Assert(finish.o == expected[:self.result_bits].as_signed())


class WideFinish(Harness):
    """The same of wide words: ⌊v · 2**(shift − 8) + ½⌋, clamped, for every shift from −31 to 7."""

    def __init__(self, *, down=False):
        super().__init__()
        self.down = down  # the wrong definition, for the proof to refuse

    def properties(self, m):
        m.submodules.finish = finish = _WideFinish(16)
        values = {}
        for name in ("v", "shift", "zero_point", "low", "high"):
            port = getattr(finish, name)
            free, last = self.free(port.shape(), name), Signal(port.shape(), name=f"last_{name}")
            started = Signal(name=f"started_{name}")
            m.d.sync += [last.eq(free), started.eq(1)]
            m.d.comb += [port.eq(free), Assume(~started | (free == last))]
            values[name] = free
        v, shift = values["v"], values["shift"]
        m.d.comb += Assume((shift >= SHIFT_MIN) & (shift <= WIDE_SHIFT_MAX))
        right = Signal(6)  # 1 … 39
        z = Signal(signed(len(v) + 1))
        m.d.comb += [right.eq(WIDE_SHIFT_MAX + 1 - shift), z.eq((v + (0 if self.down else ((1 << right) >> 1))) >> right)]
        low, high = values["low"] << 8, (values["high"] << 8) + 255 - values["zero_point"].as_unsigned()
        expected = Mux(z < low, low, Mux(z > high, high, z))
        cycles = Signal(range(_WideFinish.latency_cycles + 1))
        with m.If(cycles != _WideFinish.latency_cycles):
            m.d.sync += cycles.eq(cycles + 1)
        with m.Else():
            m.d.comb += Assert(finish.o == expected[:16].as_signed())


@pytest.mark.parametrize("result_bits", [pytest.param(8, marks=nightly("a minute; the same unit with 16 bits is proved")), 16])
def test_rounding(result_bits, tmp_path):
    prove(Finish(result_bits), tmp_path, depth=_Finish.latency_cycles + 2)


@pytest.mark.parametrize("result_bits", [8, 16])
def test_another_rounding_is_refused(result_bits, tmp_path):
    refute(Finish(result_bits, ties_up=True), tmp_path, depth=_Finish.latency_cycles + 2)


def test_rounding_of_wide_words(tmp_path):
    prove(WideFinish(), tmp_path, depth=_WideFinish.latency_cycles + 2)


def test_wide_words_rounded_down_are_refused(tmp_path):
    refute(WideFinish(down=True), tmp_path, depth=_WideFinish.latency_cycles + 2)
