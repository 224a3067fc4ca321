"""The term of the weights in a fast inner product, made while a tile is shifted in."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .multiplier import FabricMultiplier
from .shared import shared

__all__ = ["WeightTerm"]


class WeightTerm(wiring.Component):
    """−Σ w₀w₁ over the pairs of weights that went down a column.

    Latency: a pair counts ``latency_cycles`` after its second weight: at the earliest then, ``take`` may follow. ``o`` changes in
    the cycle after ``take``, and what comes then begins a new sum.

    Parameters
    ----------
    psum_bits : width of the term, modulo 2**psum_bits

    Members
    -------
    w, w_shift : weight, with its enable; their number is even between two times of ``take``
    take : the sum is complete
    o : the term that was taken last
    """

    w: Signal
    w_shift: Signal
    take: Signal
    o: Signal

    latency_cycles = 1 + FabricMultiplier.latency_cycles + 1

    def __init__(self, *, psum_bits: int):
        self.psum_bits = psum_bits
        super().__init__({"w": In(signed(8)), "w_shift": In(1), "take": In(1), "o": Out(signed(psum_bits))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiplier = multiplier = shared(FabricMultiplier, platform, x_bits=8, y_bits=8)
        # The shadow weights of the column's first element, where nothing stands between: synthesis joins them.
        last, before = (Signal(signed(8), name=name, reset_less=True) for name in ("last", "before"))
        second = Signal()  # the next weight completes a pair
        with m.If(self.w_shift):
            m.d.sync += [last.eq(self.w), before.eq(last), second.eq(~second)]
        counts = Signal(1 + FabricMultiplier.latency_cycles)
        total, taken = Signal(signed(self.psum_bits)), Signal(signed(self.psum_bits), reset_less=True)
        m.d.comb += [multiplier.x.eq(last), multiplier.y.eq(before), self.o.eq(taken)]
        m.d.sync += counts.eq(Cat(self.w_shift & second, counts))
        with m.If(self.take):
            m.d.sync += [taken.eq(total), total.eq(0)]
        with m.Elif(counts[-1]):
            m.d.sync += total.eq(total - multiplier.p)
        return m
