"""A host's accesses from registers, both ways."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .uartbone import HostPort

__all__ = ["HostRegister"]


class HostRegister(wiring.Component):
    """Parts what asks and what answers: either may lie anywhere on the part.

    An access takes two cycles more, of which the answer is the second. The one behind it begins after that.

    Parameters
    ----------
    address_bits : of both ports

    Members
    -------
    i, o : :class:`~systolith.rtl.uartbone.HostPort`
    """

    i: wiring.PureInterface
    o: wiring.PureInterface

    def __init__(self, address_bits: int = 30):
        super().__init__({"i": In(HostPort(address_bits)), "o": Out(HostPort(address_bits))})

    def elaborate(self, platform):
        m = Module()
        asked, answered = self.i, self.o
        ends = Signal()
        m.d.comb += [ends.eq(answered.valid & answered.ready)]
        m.d.sync += [
            answered.valid.eq(asked.valid & ~asked.ready & ~ends), answered.address.eq(asked.address),
            answered.write.eq(asked.write), answered.write_data.eq(asked.write_data),
            asked.ready.eq(ends), asked.read_data.eq(answered.read_data),
        ]
        return m
