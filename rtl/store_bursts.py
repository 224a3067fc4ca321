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
        # Of the row, in registers, since all that follows waits for it: blocks are still to be completed, the run ends within one, at which
        # word; no burst is needed (or there is no row), the next one is the last.
        completes, remains = Signal(), Signal()
        last_word = Signal(index_bits, reset_less=True)
        passes, ends = Signal(init=1), Signal(reset_less=True)
        # The open burst begins at word ``first`` of ``block``.
        block = Signal(self.span.address_bits - byte_bits - index_bits, reset_less=True)
        first = Signal(index_bits)
        whole = Signal(index_bits)  # words of the block that are complete, after the row that was added last

        free = Signal()
        blank = Signal(init=1)  # the opposite of ``request.valid``: two registers share the load
        opens = self.room & blank  # the same as ``free``
        wants = Signal()
        beyond = Signal(index_bits)  # last word of the burst
        asks = Signal()  # hungry, a cycle late: words that were complete still are
        m.d.sync += asks.eq(self.hungry & ~self.busy & (whole > first))
        m.d.comb += [
            free.eq(self.room & ~self.request.valid), wants.eq(completes | remains | (asks & ~self.busy)), self.accept.eq(wants & free),
            beyond.eq(Mux(completes, BURST_BEATS - 1, Mux(self.busy, last_word, whole - 1))),
            self.burst.address.eq(Cat(C(0, byte_bits), first, block)), self.burst.beats.eq(beyond - first),
            self.last.eq(self.busy & row.last & ends), self.i.ready.eq(passes | (ends & free)),
        ]
        span = self.i.payload
        rest = span.end & ((span.whole != 0) | span.partial)
        instead = self.i.valid & ~span.joined & (~completes | ends)  # a run begins, if anything is done
        with m.If(passes | opens):  # a row without a burst, no row, or a row that has just got a burst
            m.d.sync += [
                block.eq(Mux(instead, span.address[byte_bits + index_bits:], block + completes)),
                first.eq(Mux(instead, span.address[byte_bits:], Mux(completes, 0, Mux(asks & ~self.busy & opens, whole, first)))),
            ]
            with m.If(passes | ends):
                m.d.sync += [
                    blocks.eq(span.blocks), completes.eq(self.i.valid & (span.blocks != 0)), remains.eq(self.i.valid & rest),
                    passes.eq(~self.i.valid | ((span.blocks == 0) & ~rest)),
                    ends.eq(Mux(span.blocks == 0, rest, (span.blocks == 1) & ~rest)),
                ]
            with m.Else():
                m.d.sync += [
                    blocks.eq(blocks - 1), completes.eq(blocks != 1), ends.eq((blocks == 1) | ((blocks == 2) & ~remains))]
        with m.If(self.i.ready):
            m.d.sync += [self.busy.eq(self.i.valid), row.eq(span), last_word.eq(span.whole - ~span.partial)]
            with m.If(self.busy):
                m.d.sync += whole.eq(Mux(row.end, 0, row.whole))

        with m.If(self.request.ready):
            m.d.sync += [self.request.valid.eq(0), blank.eq(1)]
        with m.If(self.accept):
            m.d.sync += [self.request.valid.eq(1), blank.eq(0)]
        with m.If(blank):  # ready for the next one, whether there is one or not
            m.d.sync += self.request.payload.eq(self.burst)
        return m
