"""Two products of one activation, as a DSP block of two small multipliers makes them."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MultiplierPair"]


class MultiplierPair(wiring.Component):
    """p[0] = a · w[0] and p[1] = a · w[1], all signed, with the weights in registers of their own.

    Latency: 2 cycles from ``a`` (operand register, product register). Throughput: two products per cycle. The weights become
    ``w`` with ``take``, together with the activation of that cycle. The registers have no reset.

    Platform overrides
    ------------------
    Emitted as a module of its own (:mod:`~systolith.rtl.shared`), which ``boards/primitives_ice40.py`` replaces by an SB_MAC16.
    """

    a: Signal
    w: Signal
    take: Signal
    p: Signal

    latency_cycles = 2

    def __init__(self):
        super().__init__({"a": In(8), "w": In(16), "take": In(1), "p": Out(32)})

    def elaborate(self, platform):
        m = Module()
        a = Signal(signed(8), name="a_register", reset_less=True)
        w = Signal(16, name="w_register", reset_less=True)
        products = [Signal(signed(16), name=f"product{half}", reset_less=True) for half in range(2)]
        m.d.sync += a.eq(self.a)
        with m.If(self.take):
            m.d.sync += w.eq(self.w)
        m.d.sync += [product.eq(a * w.word_select(half, 8).as_signed()) for half, product in enumerate(products)]
        m.d.comb += self.p.eq(Cat(products))
        return m
