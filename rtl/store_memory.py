"""Rows and their chunks to memory writes."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .epilogue import Chunk
from .interfaces import WritePort
from .packer import Packer, Place
from .queue import Queue
from .store_bursts import WriteBursts
from .store_walk import BURST_BEATS, Span

__all__ = ["OUTSTANDING", "MemoryWriter"]

OUTSTANDING = 16


class MemoryWriter(wiring.Component):
    """Requests bursts for rows, fills them with the rows' chunks, and counts the responses.

    No more than 16 bursts wait for responses. Words leave when their burst's request has been accepted. Under ``halt``, bursts
    already requested are completed, and all other data are dropped.

    Parameters
    ----------
    span : layout of where a row goes
    chunk_bytes : most bytes of a chunk
    depth : rows that may wait for their bursts

    Members
    -------
    halt : level; rows do not come any more
    valid, span : a row leaves the walk; ``post``: whom its command tells
    stalled : no further row will come before data leave
    rows : rows that wait for their bursts; there must be room for another one, of ``depth``
    i : stream of :class:`Chunk`
    place : :class:`Place` of the chunk's row
    write : to memory
    done, done_post : the last response of a command has come, without an error
    bad, bad_address : a response reports an error, of the burst at this address
    idle : no whole word and no burst is inside
    """

    halt: Signal
    valid: Signal
    span: data.View
    post: Signal
    stalled: Signal
    rows: Signal
    i: stream.Interface
    place: data.View
    write: wiring.PureInterface
    done: Signal
    done_post: Signal
    bad: Signal
    bad_address: Signal
    idle: Signal

    def __init__(self, span: Span, *, chunk_bytes: int, depth: int):
        self.layout = span
        self.chunk_bytes = chunk_bytes
        self.depth = depth
        super().__init__({
            "halt": In(1),
            "valid": In(1), "span": In(span), "post": In(2), "stalled": In(1), "rows": Out(range(depth + 1)),
            "i": In(stream.Signature(Chunk(chunk_bytes=chunk_bytes))), "place": In(Place(bus_bytes=span.bus_bytes)),
            "write": Out(WritePort(span.address_bits, 8 * span.bus_bytes)),
            "done": Out(1), "done_post": Out(2), "bad": Out(1), "bad_address": Out(span.address_bits), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        request, words, response = self.write.request, self.write.data, self.write.response

        m.submodules.bursts = bursts = WriteBursts(self.layout)
        entry = Signal(data.StructLayout({"span": self.layout, "post": 2}))
        m.submodules.waiting = waiting = Queue(width=entry.shape().size, depth=self.depth, early=True)
        waiting_entry = data.View(entry.shape(), waiting.r_data)
        wiring.connect(m, bursts.request, wiring.flipped(request))
        m.d.comb += [
            entry.span.eq(self.span), entry.post.eq(self.post), waiting.w_data.eq(entry), waiting.w_en.eq(self.valid),
            self.rows.eq(waiting.level),
            bursts.i.valid.eq(waiting.r_rdy), bursts.i.payload.eq(waiting_entry.span), waiting.r_en.eq(bursts.i.ready),
        ]
        post = Signal(2, reset_less=True)  # of the row that is in ``bursts``
        with m.If(bursts.i.ready):
            m.d.sync += post.eq(waiting_entry.post)

        # Every burst, until its response.
        asked = Signal(data.StructLayout({"address": self.layout.address_bits, "last": 1, "post": 2}))
        m.submodules.pending = pending = Queue(width=asked.shape().size, depth=OUTSTANDING, early=True)
        answered = data.View(asked.shape(), pending.r_data)
        room, halted = Signal(), Signal()  # a cycle late; a burst comes at most in every other
        m.d.sync += [room.eq(pending.w_rdy & ~self.halt), halted.eq(self.halt)]
        m.d.comb += [
            asked.address.eq(bursts.burst.address), asked.last.eq(bursts.last), asked.post.eq(post),
            pending.w_data.eq(asked), pending.w_en.eq(bursts.accept), bursts.room.eq(room),
            response.ready.eq(pending.r_rdy), pending.r_en.eq(response.valid),
            self.done.eq(response.valid & response.ready & answered.last & ~response.payload.error), self.done_post.eq(answered.post),
            self.bad.eq(response.valid & response.ready & response.payload.error), self.bad_address.eq(answered.address),
        ]

        # Every requested burst, until its last word: its beats besides the first, and whether that is the last one, too.
        m.submodules.packer = packer = Packer(bus_bytes=self.layout.bus_bytes, chunk_bytes=self.chunk_bytes)
        m.submodules.owed = owed = Queue(width=exact_log2(BURST_BEATS) + 1, depth=OUTSTANDING, early=True)
        wiring.connect(m, packer.i, wiring.flipped(self.i))
        beats, single = owed.r_data[:-1], owed.r_data[-1]
        beat = Signal.like(beats, init=1)  # the next one
        begins, ends = Signal(init=1), Signal()  # the word is its burst's first; one behind the first and the last
        moves = words.valid & words.ready
        starved = owed.empty & ~request.valid
        drops = Signal()  # halted and starved, which stays so
        m.d.sync += drops.eq(halted & starved)
        m.d.comb += [
            packer.place.eq(self.place),
            bursts.hungry.eq(self.stalled & starved & ~waiting.r_rdy),
            owed.w_data.eq(Cat(request.payload.beats[:len(beats)], request.payload.beats == 0)),
            owed.w_en.eq(request.valid & request.ready),
            words.valid.eq(packer.o.valid & owed.r_rdy), words.payload.last.eq(Mux(begins, single, ends)),
            words.payload.data.eq(packer.o.payload.data), words.payload.strobe.eq(packer.o.payload.strobe),
            packer.o.ready.eq((owed.r_rdy & words.ready) | drops), owed.r_en.eq(moves & words.payload.last),
        ]
        with m.If(moves):
            m.d.sync += [
                begins.eq(words.payload.last), ends.eq(beat == beats), beat.eq(Mux(words.payload.last, 1, beat + 1)),
            ]
        m.d.comb += self.idle.eq(
            ~self.i.valid & packer.empty & starved & pending.empty & ((waiting.empty & ~bursts.busy) | halted))
        return m
