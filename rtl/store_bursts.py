"""Rows to write bursts."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .interfaces import BurstRequest
from .store_walk import BURST_BEATS, Span

__all__ = ["WriteBursts"]


class WriteBursts(wiring.Component):
    """Requests bursts for rows: rows that are joined share them.

    Memory is seen as blocks of 16 bus words, and no burst crosses one, nor therefore a boundary of an interconnect. A burst
    leaves when a row completes its block, or ends its run. While ``hungry`` it does not wait for further rows, but asks for the
    words that are complete. It never asks for a word of which not all bytes are on their way. Throughput: one row per
    cycle, one burst per two cycles. Latency: 2 cycles.

    Parameters
    ----------
    span : layout of where a row goes

    Members
    -------
    i : stream of :class:`Span`, of rows whose data are on their way
    hungry : no further row will come before data leave, and no data can leave for want of a burst
    room : another burst may be requested
    accept : ``burst`` is put into ``request``, with ``last`` if it ends a command
    request : stream of bursts
    busy : a row is being added
    """

    i: stream.Interface
    hungry: Signal
    room: Signal
    accept: Signal
    burst: data.View
    last: Signal
    request: stream.Interface
    busy: Signal

    def __init__(self, span: Span):
        self.span = span
        super().__init__({
            "i": In(stream.Signature(span)), "hungry": In(1), "room": In(1),
            "accept": Out(1), "burst": Out(BurstRequest(span.address_bits)), "last": Out(1),
            "request": Out(stream.Signature(BurstRequest(span.address_bits))), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        byte_bits = exact_log2(self.span.bus_bytes)
        index_bits = exact_log2(BURST_BEATS)

        row = Signal(self.span, reset_less=True)
        blocks = Signal.like(row.blocks)  # that the row still has to complete
        # The open burst begins at word ``first`` of ``block``.
        block = Signal(self.span.address_bits - byte_bits - index_bits, reset_less=True)
        first = Signal(index_bits)
        whole = Signal(index_bits)  # words of the block that are complete, after the row that was added last

        free = Signal()
        wants = Signal()
        done = Signal()
        beyond = Signal(index_bits)  # last word of the burst
        remains = row.end & ((row.whole != 0) | row.partial)  # the run ends within a block
        m.d.comb += [
            free.eq(self.room & ~self.request.valid),
            self.burst.address.eq(Cat(C(0, byte_bits), first, block)), self.burst.beats.eq(beyond - first),
            self.accept.eq(wants & free),
        ]
        with m.If(self.busy & (blocks != 0)):
            m.d.comb += [wants.eq(1), beyond.eq(BURST_BEATS - 1), done.eq(free & (blocks == 1) & ~remains)]
            m.d.comb += self.last.eq(row.last & (blocks == 1) & ~remains)
            with m.If(free):
                m.d.sync += [blocks.eq(blocks - 1), block.eq(block + 1), first.eq(0)]
        with m.Elif(self.busy):
            m.d.comb += [wants.eq(remains), beyond.eq(row.whole - ~row.partial), done.eq(free | ~remains), self.last.eq(row.last)]
        with m.Else():
            m.d.comb += [wants.eq(self.hungry & (whole > first)), beyond.eq(whole - 1)]
            with m.If(self.accept):
                m.d.sync += first.eq(whole)
        with m.If(done):
            m.d.sync += whole.eq(Mux(row.end, 0, row.whole))

        m.d.comb += self.i.ready.eq(~self.busy | done)
        with m.If(self.i.ready):
            m.d.sync += [self.busy.eq(self.i.valid), row.eq(self.i.payload), blocks.eq(self.i.payload.blocks)]
            with m.If(self.i.valid & ~self.i.payload.joined):
                m.d.sync += Cat(first, block).eq(self.i.payload.address[byte_bits:])

        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        with m.If(self.accept):
            m.d.sync += [self.request.valid.eq(1), self.request.payload.eq(self.burst)]
        return m
