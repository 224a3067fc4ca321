"""Registers on both directions of a stream, so that no path crosses them."""

from amaranth import *
from amaranth.hdl import ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisterSlice"]


class RegisterSlice(wiring.Component):
    """``valid`` and payload leave from registers, and so does ``ready``: a second register holds what comes while that is late.

    Latency: 1 cycle. Throughput: one payload per cycle; ``light``, without the second register, one in two cycles.

    Parameters
    ----------
    shape : of the payload
    light : holds one payload instead of two
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike, *, light: bool = False):
        self.shape = shape
        self.light = light
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        payload = Signal(self.shape, reset_less=True)
        valid = Signal()
        m.d.comb += [self.o.valid.eq(valid), self.o.payload.eq(payload)]
        if self.light:
            m.d.comb += self.i.ready.eq(~valid)
            with m.If(~valid):
                m.d.sync += [valid.eq(self.i.valid), payload.eq(self.i.payload)]
            with m.Elif(self.o.ready):
                m.d.sync += valid.eq(0)
            return m
        spare = Signal(self.shape, reset_less=True)
        room = Signal(init=1)  # nothing is in ``spare``
        m.d.comb += self.i.ready.eq(room)
        with m.If(room):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(~valid | self.o.ready):
            m.d.sync += [valid.eq(self.i.valid | ~room), payload.eq(Mux(room, self.i.payload, spare)), room.eq(1)]
        with m.Elif(self.i.valid):
            m.d.sync += room.eq(0)
        return m
