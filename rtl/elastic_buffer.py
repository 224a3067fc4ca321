"""Two places on a stream that take turns, so that who waits for whom moves a few flip-flops and no data."""

from amaranth import *
from amaranth.hdl import ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ElasticBuffer"]


class ElasticBuffer(wiring.Component):
    """As a :class:`~systolith.rtl.axi_slice.RegisterSlice` cycle by cycle, but ``o.ready`` reaches four flip-flops instead of enabling
    two words of them; the payload leaves through a multiplexer instead of a register. For long paths inside the core.

    Latency: 1 cycle. Throughput: one payload per cycle.

    Parameters
    ----------
    shape : of the payload

    Members
    -------
    i, o : the streams
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        room, valid = Signal(init=1), Signal()
        writes, reads = Signal(), Signal()  # which place is next
        places = [Signal(self.shape, name=f"place{n}", reset_less=True) for n in range(2)]
        m.d.comb += [
            self.i.ready.eq(room), self.o.valid.eq(valid),
            self.o.payload.eq(Mux(reads, places[1], places[0])),
        ]
        m.d.sync += [
            valid.eq(self.i.valid & room | valid & ~(room & self.o.ready)),
            room.eq(self.o.ready | room & ~(valid & self.i.valid)),
            writes.eq(writes ^ (self.i.valid & room)), reads.eq(reads ^ (valid & self.o.ready)),
        ]
        # A place may take anything until what it takes is valid.
        for n, place in enumerate(places):
            with m.If(room & (writes == n)):
                m.d.sync += place.eq(self.i.payload)
        return m
