"""Rows to write bursts."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .interfaces import BurstRequest
from .store_walk import StoreRow

__all__ = ["BURST_BEATS", "WriteBursts"]

BURST_BEATS = 16


class WriteBursts(wiring.Component):
    """Requests bursts for rows: rows that are joined share them.

    A burst ends where a run of rows does, and at multiples of 16 bus words, so that none crosses a boundary of an interconnect.
    While ``hungry`` it does not wait for further rows, but asks for the words that are complete. It never asks for a word
    whose bytes are not all on their way. Throughput: one row per cycle, one burst per two cycles. Latency: 2 cycles.

    Parameters
    ----------
    row : layout of a row

    Members
    -------
    i : stream of rows, whose data are on their way
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

    def __init__(self, row: StoreRow):
        self.row = row
        super().__init__({
            "i": In(stream.Signature(row)), "hungry": In(1), "room": In(1),
            "accept": Out(1), "burst": Out(BurstRequest(row.address_bits)), "last": Out(1),
            "request": Out(stream.Signature(BurstRequest(row.address_bits))), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        word_bits = exact_log2(self.row.bus_bytes)
        block_bits = exact_log2(BURST_BEATS)

        # The row that is being added, and the open burst: ``count`` words from ``word`` on, ``space`` more in its block.
        busy = self.busy
        row = Signal(self.row, reset_less=True)
        left = Signal.like(row.words)  # words of the row that are not in a burst yet
        word = Signal(self.row.address_bits - word_bits, reset_less=True)
        count = Signal(range(BURST_BEATS + 1))
        space = Signal(range(BURST_BEATS + 1), reset_less=True)
        partial = Signal(reset_less=True)  # the last word waits for bytes of the next row

        free = Signal()
        crosses = Signal()
        wants = Signal()
        done = Signal()  # the row is in bursts
        size = Signal(range(BURST_BEATS + 1))
        step = Signal(range(BURST_BEATS + 1))  # words by which the open burst grows before it leaves
        whole = Signal.like(count)
        m.d.comb += [
            free.eq(self.room & ~self.request.valid),
            crosses.eq((left > space) | ((left == space) & (row.full | row.end))),
            step.eq(Mux(crosses, space, left)),
            whole.eq(count - partial),
            self.burst.address.eq(Cat(C(0, word_bits), word)), self.burst.beats.eq(size - 1),
            self.accept.eq(wants & free),
        ]
        with m.If(busy):
            m.d.comb += [
                wants.eq(crosses | row.end), size.eq(count + step), done.eq((left <= space) & (free | ~wants)),
                self.last.eq(row.last & (left <= space)),
            ]
            with m.If(free | ~wants):
                m.d.sync += [left.eq(left - step), partial.eq(~(row.full | row.end))]
                with m.If(crosses):
                    m.d.sync += [word.eq(Cat(C(0, block_bits), word[block_bits:] + 1)), count.eq(0), space.eq(BURST_BEATS)]
                with m.Else():
                    m.d.sync += [count.eq(Mux(row.end, 0, count + left)), space.eq(space - left)]
        with m.Else():
            m.d.comb += [wants.eq(self.hungry & (whole != 0)), size.eq(whole)]
            with m.If(self.accept):
                m.d.sync += [word[:block_bits].eq(word + whole), count.eq(partial)]

        m.d.comb += self.i.ready.eq(~busy | done)
        with m.If(self.i.ready):
            m.d.sync += [busy.eq(self.i.valid), row.eq(self.i.payload), left.eq(self.i.payload.words)]
            with m.If(self.i.valid & ~self.i.payload.joined):
                first = self.i.payload.address[word_bits:]
                m.d.sync += [word.eq(first), count.eq(0), space.eq(BURST_BEATS - first[:block_bits]), partial.eq(0)]

        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        with m.If(self.accept):
            m.d.sync += [self.request.valid.eq(1), self.request.payload.eq(self.burst)]
        return m
