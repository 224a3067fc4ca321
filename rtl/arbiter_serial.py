"""One memory read port for two readers that wait for each word."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .interfaces import ReadPort

__all__ = ["SerialArbiter"]


class SerialArbiter(wiring.Component):
    """What :class:`~systolith.rtl.arbiter.ReadArbiter` does, for bursts of one word, one at a time.

    Parameters
    ----------
    address_bits, bus_bits : of all three ports

    Members
    -------
    urgent, bulk, o : as of :class:`~systolith.rtl.arbiter.ReadArbiter`
    """

    urgent: wiring.PureInterface
    bulk: wiring.PureInterface
    o: wiring.PureInterface

    def __init__(self, *, address_bits: int, bus_bits: int):
        port = ReadPort(address_bits, bus_bits)
        super().__init__({"urgent": In(port), "bulk": In(port), "o": Out(port)})

    def elaborate(self, platform):
        m = Module()
        # The reader in turn: chosen while nothing is offered or on its way.
        holds, held = Signal(), Signal()
        waits = Signal()
        bulk = Signal()
        request, response = self.o.request, self.o.response
        m.d.comb += bulk.eq(Mux(holds, held, ~self.urgent.request.valid))
        with m.If(~waits):
            m.d.comb += request.valid.eq(Mux(bulk, self.bulk.request.valid, self.urgent.request.valid))
            m.d.sync += [holds.eq(request.valid), held.eq(bulk), waits.eq(request.valid & request.ready)]
        with m.Elif(response.valid & response.ready):
            m.d.sync += [holds.eq(0), waits.eq(0)]
        m.d.comb += [
            request.payload.eq(Mux(bulk, self.bulk.request.payload, self.urgent.request.payload)),
            response.ready.eq(waits & Mux(held, self.bulk.response.ready, self.urgent.response.ready)),
        ]
        for reader, mine, owns in ((self.urgent, ~bulk, ~held), (self.bulk, bulk, held)):
            m.d.comb += [
                reader.request.ready.eq(request.ready & mine & ~waits), reader.response.payload.eq(response.payload),
                reader.response.valid.eq(response.valid & waits & owns),
            ]
        return m
