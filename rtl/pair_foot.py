"""The foot of a column of a fast inner product: what its sums have too much is taken off."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PairFoot"]


class PairFoot(wiring.Component):
    """psum = total − what ``total`` was for activations of zero − ``side_in``, modulo 2**psum_bits.

    The elements above give Σ (a₀ + w₁)(a₁ + w₀). For activations of zero that is Σ w₀w₁, the term of the weights, which ``take`` keeps
    until the next tile; Σ a₀a₁, the term of the activations, is the same for all columns and passes from foot to foot.

    Latency: 2 cycles from ``total`` and ``side_in`` to ``psum``, 1 cycle from ``side_in`` to ``side_out``; what ``take`` keeps counts
    from the next ``total`` on. Throughput: one sum per cycle.

    Parameters
    ----------
    psum_bits : width of a partial sum

    Members
    -------
    total : what leaves the last element
    take : ``total`` is the term of the weights
    side_in, side_out : the term of the activations, to the right
    psum : the exact sum of products
    """

    total: Signal
    take: Signal
    side_in: Signal
    side_out: Signal
    psum: Signal

    latency_cycles = 2

    def __init__(self, *, psum_bits: int):
        self.psum_bits = psum_bits
        shape = signed(psum_bits)
        super().__init__({"total": In(shape), "take": In(1), "side_in": In(shape), "side_out": Out(shape), "psum": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        term, less, side, psum = (Signal(signed(self.psum_bits), name=name, reset_less=True)
                                  for name in ("weight_term", "less", "row_term", "psum_register"))
        with m.If(self.take):
            m.d.sync += term.eq(self.total)
        m.d.sync += [less.eq(self.total - term), side.eq(self.side_in), psum.eq(less - side)]
        m.d.comb += [self.side_out.eq(side), self.psum.eq(psum)]
        return m
