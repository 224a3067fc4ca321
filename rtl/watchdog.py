"""Notices a memory that does not answer."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Watchdog"]


class Watchdog(wiring.Component):
    """``expired`` while memory has not moved for ``limit`` cycles or more, though it was waited for in each of them.

    Parameters
    ----------
    bits : width of ``limit``

    Members
    -------
    limit : cycles; 0 never expires
    waits : somebody waits for memory
    moves : a word or a request is passed in this cycle
    """

    limit: Signal
    waits: Signal
    moves: Signal
    expired: Signal

    def __init__(self, *, bits: int):
        self.bits = bits
        super().__init__({"limit": In(bits), "waits": In(1), "moves": In(1), "expired": Out(1)})

    def elaborate(self, platform):
        m = Module()
        left = Signal(self.bits)
        m.d.comb += self.expired.eq(self.waits & ~self.moves & (left == 1))
        with m.If(self.moves | ~self.waits):
            m.d.sync += left.eq(self.limit)
        with m.Elif(left[1:] != 0):
            m.d.sync += left.eq(left - 1)
        return m
