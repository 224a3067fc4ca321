"""A register on both directions of a stream, so that no path crosses it."""

from amaranth import *
from amaranth.hdl import ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisterSlice"]


class RegisterSlice(wiring.Component):
    """``valid`` and payload leave from registers, and so does ``ready``: a second register holds what comes while that is late.

    Latency: 1 cycle. Throughput: one payload per cycle. Holds two payloads.

    Parameters
    ----------
    shape : of the payload
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        payload = Signal(self.shape, reset_less=True)
        spare = Signal(self.shape, reset_less=True)
        valid = Signal()
        room = Signal(init=1)  # nothing is in ``spare``
        m.d.comb += [self.i.ready.eq(room), self.o.valid.eq(valid), self.o.payload.eq(payload)]
        with m.If(room):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(~valid | self.o.ready):
            m.d.sync += [valid.eq(self.i.valid | ~room), payload.eq(Mux(room, self.i.payload, spare)), room.eq(1)]
        with m.Elif(self.i.valid):
            m.d.sync += room.eq(0)
        return m
