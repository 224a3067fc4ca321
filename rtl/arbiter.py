"""One memory read port for two readers."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .interfaces import ReadPort
from .queue import Queue

__all__ = ["ReadArbiter"]


class ReadArbiter(wiring.Component):
    """Merges two :class:`ReadPort` s into one; words come back to the reader that asked, in its order.

    Requests pass in the same cycle, those of ``urgent`` first; a request that has been offered stays until it is accepted.
    A reader that does not accept its words holds up the words of the other behind them.

    Parameters
    ----------
    address_bits, bus_bits : of all three ports
    outstanding : bursts that may be in flight

    Members
    -------
    urgent, bulk : from the readers
    o : to the memory
    """

    urgent: wiring.PureInterface
    bulk: wiring.PureInterface
    o: wiring.PureInterface

    def __init__(self, *, address_bits: int, bus_bits: int, outstanding: int):
        self.address_bits = address_bits
        self.bus_bits = bus_bits
        self.outstanding = outstanding
        port = ReadPort(address_bits, bus_bits)
        super().__init__({"urgent": In(port), "bulk": In(port), "o": Out(port)})

    def elaborate(self, platform):
        m = Module()
        # Which reader each burst in flight belongs to, and how many words it has.
        m.submodules.order = order = Queue(width=9, depth=self.outstanding)

        held = Signal()
        held_bulk = Signal()
        choose_bulk = Signal()
        m.d.comb += choose_bulk.eq(Mux(held, held_bulk, ~self.urgent.request.valid))
        m.d.sync += [held.eq(self.o.request.valid & ~self.o.request.ready), held_bulk.eq(choose_bulk)]
        for reader, chosen in ((self.urgent, ~choose_bulk), (self.bulk, choose_bulk)):
            with m.If(chosen):
                m.d.comb += [
                    self.o.request.valid.eq(reader.request.valid & order.w_rdy),
                    self.o.request.payload.eq(reader.request.payload),
                    reader.request.ready.eq(self.o.request.ready & order.w_rdy),
                ]
        m.d.comb += [
            order.w_en.eq(self.o.request.valid & self.o.request.ready),
            order.w_data.eq(Cat(self.o.request.payload.beats, choose_bulk)),
        ]

        beat = Signal(8)
        to_bulk = order.r_data[8]
        for reader, addressed in ((self.urgent, ~to_bulk), (self.bulk, to_bulk)):
            m.d.comb += [
                reader.response.payload.eq(self.o.response.payload),
                reader.response.valid.eq(self.o.response.valid & order.r_rdy & addressed),
            ]
        m.d.comb += self.o.response.ready.eq(order.r_rdy & Mux(to_bulk, self.bulk.response.ready, self.urgent.response.ready))
        with m.If(self.o.response.valid & self.o.response.ready):
            m.d.sync += beat.eq(beat + 1)
            with m.If(beat == order.r_data[:8]):
                m.d.sync += beat.eq(0)
                m.d.comb += order.r_en.eq(1)
        return m
