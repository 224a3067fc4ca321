"""A stream whose ready comes from a register."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Skid"]


class Skid(wiring.Component):
    """Parts the ready of two blocks: what comes in the cycle in which the consumer stops is kept.

    Latency: none. Throughput: one payload per cycle. ``i.ready`` does not depend on ``o.ready`` within a cycle.

    Parameters
    ----------
    shape : of the payload

    Members
    -------
    i, o : streams
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        kept, kept_valid = Signal.like(self.i.payload, reset_less=True), Signal()
        m.d.comb += [
            self.i.ready.eq(~kept_valid), self.o.valid.eq(self.i.valid | kept_valid),
            self.o.payload.eq(Mux(kept_valid, kept, self.i.payload)),
        ]
        with m.If(~kept_valid):
            m.d.sync += [kept.eq(self.i.payload), kept_valid.eq(self.i.valid & ~self.o.ready)]
        with m.Elif(self.o.ready):
            m.d.sync += kept_valid.eq(0)
        return m
