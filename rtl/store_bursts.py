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
    """Requests bursts for rows: rows that follow each other share them.

    A burst ends where a run of rows does, and before each multiple of 16 bus words, so that none crosses a boundary of an
    interconnect. Once ``hungry`` and ``stalled`` it does not wait for further rows, but asks for the words that are complete.
    Throughput: one row or one burst per cycle, whichever is more. Latency: 1 cycle.

    Parameters
    ----------
    row : layout of a row

    Members
    -------
    row : stream of :class:`StoreRow <systolith.rtl.store_walk.StoreRow>`, whose data are on their way
    stalled : the next row will not come before data have left; ``hungry``: no data can leave, for want of a burst
    request : stream of bursts
    accept : burst ``burst`` is put into ``request``, which needs ``room``; ``ends``: it is the last one of row and run
    """

    row: stream.Interface
    stalled: Signal
    hungry: Signal
    request: stream.Interface
    accept: Signal
    room: Signal
    ends: Signal
    burst: data.View

    def __init__(self, row: StoreRow):
        self.row_layout = row
        self.bus_bytes = row.bus_bytes
        address_bits = row.address_bits
        super().__init__({
            "row": In(stream.Signature(row)), "stalled": In(1), "hungry": In(1),
            "request": Out(stream.Signature(BurstRequest(address_bits))),
            "accept": Out(1), "room": In(1), "ends": Out(1), "burst": Out(BurstRequest(address_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        row = self.row.payload
        block_bits = exact_log2(BURST_BEATS)
        word_bits = exact_log2(self.bus_bytes)

        is_open = Signal()
        opened = Signal.like(row.tail, reset_less=True)  # first word of the open burst
        behind = Signal.like(row.tail, reset_less=True)  # word after its last complete one
        some = Signal(reset_less=True)  # it has a complete word
        first = Signal.like(row.tail)
        final = Signal(block_bits)
        following = Signal.like(row.tail)  # where the next burst begins, if the run goes on
        crosses = first[block_bits:] != row.tail[block_bits:]
        free = Signal()
        wants = Signal()
        m.d.comb += [
            first.eq(Mux(is_open, opened, row.address[word_bits:])),
            free.eq((~self.request.valid | self.request.ready) & self.room),
            self.accept.eq(wants & free),
            self.burst.address.eq(Cat(C(0, word_bits), first)),
            self.burst.beats.eq(final - first[:block_bits]),
        ]
        block_after = Cat(C(0, block_bits), first[block_bits:] + 1)
        with m.If(self.row.valid & crosses):
            m.d.comb += [wants.eq(1), final.eq(BURST_BEATS - 1), following.eq(block_after)]
        with m.Elif(self.row.valid):
            m.d.comb += [wants.eq(row.end), self.ends.eq(row.end), final.eq(row.tail), following.eq(first)]
            m.d.comb += self.row.ready.eq(~row.end | free)
        with m.Else():
            m.d.comb += [wants.eq(self.stalled & self.hungry & is_open & some), final.eq(behind - 1), following.eq(behind)]

        with m.If(self.accept | self.row.ready):
            m.d.sync += [is_open.eq(~self.ends), opened.eq(following)]
        with m.If(self.row.ready):
            after = Signal.like(row.tail)
            m.d.comb += after.eq(row.tail + row.full)
            m.d.sync += [behind.eq(after), some.eq(after != first)]
        with m.Elif(self.accept):
            m.d.sync += some.eq(0)
        with m.If(free):
            m.d.sync += self.request.valid.eq(wants)
            m.d.sync += self.request.payload.eq(self.burst)
        with m.Elif(self.request.ready):
            m.d.sync += self.request.valid.eq(0)
        return m
