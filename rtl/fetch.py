"""Reads the program from memory."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..arch.registers import ErrorCode
from .elastic_buffer import ElasticBuffer
from .interfaces import BaseLookup, ErrorShape, ReadPort
from .queue import Queue

__all__ = ["Fetch"]


class Fetch(wiring.Component):
    """The words of a program, from base register 0 on, as a stream.

    It stays at most two bursts ahead of its consumer; bursts are 128 bytes (no more than 16 bus words) and aligned, so
    none crosses a boundary of an interconnect. Latency: from ``start`` to the first word, the base lookup, 6 cycles and the memory.

    Reports ADDRESS (with the program's address) where the program is not inside the limit of base 0, VALUE where its address
    is not a multiple of 4, BUS (with the bus word's address) where the memory answers with an error.

    Parameters
    ----------
    address_bits, bus_bits : of the memory

    Members
    -------
    start : begins to read ``words`` words at byte ``offset``, which hold from the cycle before on; no words are not looked for
    halt : level; requests nothing more and gives nothing more, drains what was requested
    idle : the program's address was checked, and no words are on their way from memory
    read_address : of the word in ``read.response``
    o : words of the program; words beyond its end may follow
    """

    start: Signal
    halt: Signal
    idle: Signal
    offset: Signal
    words: Signal
    lookup: wiring.PureInterface
    read: wiring.PureInterface
    read_address: Signal
    o: stream.Interface
    error: ErrorShape

    def __init__(self, *, address_bits: int, bus_bits: int):
        self.address_bits = address_bits
        self.bus_bits = bus_bits
        super().__init__({
            "start": In(1), "halt": In(1), "idle": Out(1), "offset": In(32), "words": In(32),
            "lookup": Out(BaseLookup(address_bits)), "read": Out(ReadPort(address_bits, bus_bits)), "read_address": In(address_bits),
            "o": Out(stream.Signature(32)), "error": Out(ErrorShape(address_bits)),
        })

    @property
    def burst_beats(self) -> int:
        """Bus words of a whole burst."""
        return max(1, min(16, 128 * 8 // self.bus_bits))

    def elaborate(self, platform):
        m = Module()
        words_per_beat = self.bus_bits // 32
        index_bits = exact_log2(words_per_beat)
        burst_beats = self.burst_beats
        burst_bits = exact_log2(burst_beats)
        depth = 2 * burst_beats
        m.submodules.buffer = buffer = Queue(width=self.bus_bits, depth=depth, early=True)

        beat_bytes_bits = exact_log2(self.bus_bits // 8)
        beat_address = Signal(self.address_bits - beat_bytes_bits, reset_less=True)
        beats_left = Signal(min(32, self.address_bits) - index_bits + 1, reset_less=True)
        index = Signal(index_bits, reset_less=True)
        address = Signal(self.address_bits)
        aligned = Signal()
        inside = Signal()
        reserved = Signal(range(depth + 1))
        pop = Signal()
        settled = Signal()  # the program's address was looked up and checked, or there is none

        to_boundary = Signal(range(burst_beats + 1), reset_less=True)
        beats = Signal(range(burst_beats + 1), reset_less=True)
        room = Signal()  # a cycle late, and a request comes at most in every other
        boundary = Signal.like(to_boundary)
        # The program has words, and the offset behind them: both known a cycle before it is asked for.
        some, end = Signal(reset_less=True), Signal.like(self.offset + (self.words << 2), reset_less=True)
        m.d.sync += [room.eq(reserved <= depth - burst_beats), some.eq(self.words != 0), end.eq(self.offset + (self.words << 2))]
        m.d.comb += [
            address.eq(self.lookup.base + self.offset),
            self.error.address.eq(Mux(settled, self.read_address, Cat(C(0, 2), index, beat_address))),
            boundary.eq(burst_beats - beat_address[:burst_bits]),
            self.read.request.payload.address.eq(Cat(C(0, beat_bytes_bits), beat_address)),
            self.read.request.payload.beats.eq(beats - 1),
        ]
        requested, asks = Signal(), Signal()
        m.d.comb += self.read.request.valid.eq(asks)
        m.d.comb += requested.eq(self.read.request.valid & self.read.request.ready)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += settled.eq(1)
                with m.If(self.start & some):
                    m.next = "LOOKUP"
            with m.State("LOOKUP"):
                m.d.comb += self.lookup.valid.eq(1)
                m.d.sync += [
                    beat_address.eq(address[beat_bytes_bits:]),
                    index.eq(address[2:beat_bytes_bits]),
                    aligned.eq(address[:2] == 0),
                    inside.eq(end <= self.lookup.size),
                ]
                with m.If(self.lookup.ready):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += beats_left.eq((self.words + index + (words_per_beat - 1)) >> index_bits)
                m.d.comb += [
                    self.error.valid.eq(~inside | ~aligned),
                    self.error.code.eq(Mux(inside, ErrorCode.VALUE, ErrorCode.ADDRESS)),
                ]
                m.next = "PREPARE"
                with m.If(self.error.valid):
                    m.next = "IDLE"
            with m.State("PREPARE"):  # what the next burst is goes into registers first
                m.d.comb += settled.eq(1)
                m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += settled.eq(1)
                # A request that was offered stays, halt waits for it.
                m.d.sync += asks.eq(Mux(asks, ~self.read.request.ready, (beats != 0) & room & ~self.halt))
                with m.If(requested):
                    m.d.sync += [beat_address.eq(beat_address + to_boundary), beats_left.eq(beats_left - beats)]
                    m.next = "PREPARE"
        # beats_left < boundary, without waiting for the boundary.
        few, low, begun = beats_left[burst_bits:] == 0, beats_left[:burst_bits], beat_address[:burst_bits]
        m.d.sync += [to_boundary.eq(boundary), beats.eq(Mux(few & (low + begun < burst_beats), low, boundary))]

        m.d.sync += reserved.eq(reserved + Mux(requested, beats, 0) - pop)
        m.d.comb += [
            self.idle.eq(settled & (reserved == buffer.level) & ~self.read.request.valid),
            # Room for every word was reserved before its burst was requested.
            self.read.response.ready.eq(1),
            buffer.w_en.eq(self.read.response.valid),
            buffer.w_data.eq(self.read.response.payload.data),
        ]
        with m.If(self.read.response.valid & self.read.response.payload.error):
            m.d.comb += [self.error.valid.eq(1), self.error.code.eq(ErrorCode.BUS)]

        word, word_valid = Signal(32, reset_less=True), Signal()
        m.submodules.out = out = ElasticBuffer(32)
        take = buffer.r_rdy & (~word_valid | out.i.ready)
        m.d.comb += [
            out.i.valid.eq(word_valid), out.i.payload.eq(word), out.o.ready.eq(self.o.ready),
            self.o.valid.eq(out.o.valid & ~self.halt), self.o.payload.eq(out.o.payload),
            pop.eq(take & (index == words_per_beat - 1)),
            buffer.r_en.eq(pop),
        ]
        with m.If(take):
            m.d.sync += [word.eq(buffer.r_data.word_select(index, 32)), word_valid.eq(1), index.eq(index + 1)]
        with m.Elif(out.i.ready):
            m.d.sync += word_valid.eq(0)
        return m
