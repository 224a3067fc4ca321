"""All columns of an array's psums in one cycle."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Foot"]


class Foot(wiring.Component):
    """Takes the skew from psums, and zeroes them where the accumulator asks for it.

    Latency: ``latency_cycles`` from column 0's psum, less for the others.

    Parameters
    ----------
    psum_bits : width of a partial sum
    col_delay : cycles by which each column follows column 0

    Members
    -------
    i, o : one per column
    zero : ``o`` is 0 in the next cycle
    """

    i: list[Signal]
    o: list[Signal]
    zero: Signal

    def __init__(self, *, psum_bits: int, col_delay: list[int]):
        self.psum_bits = psum_bits
        self.col_delay = list(col_delay)
        shape, cols = signed(psum_bits), len(col_delay)
        super().__init__({"i": In(shape).array(cols), "o": Out(shape).array(cols), "zero": In(1)})

    @property
    def latency_cycles(self) -> int:
        return max(self.col_delay) + 1

    def elaborate(self, platform):
        m = Module()
        for c, delay in enumerate(self.col_delay):
            value: Value = self.i[c]
            for cycle in range(delay, max(self.col_delay)):
                stage = Signal(signed(self.psum_bits), name=f"psum{c}_{cycle}", reset_less=True)
                m.d.sync += stage.eq(value)
                value = stage
            last = Signal(signed(self.psum_bits), name=f"psum{c}", reset_less=True)
            m.d.sync += last.eq(Mux(self.zero, 0, value))
            m.d.comb += self.o[c].eq(last)
        return m
