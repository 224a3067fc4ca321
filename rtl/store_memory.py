"""Rows and their chunks to memory writes."""

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .epilogue import Chunk
from .interfaces import WritePort
from .packer import Packer, Place
from .store_bursts import BURST_BEATS, WriteBursts
from .store_walk import StoreRow

__all__ = ["OUTSTANDING", "MemoryWriter"]

OUTSTANDING = 16


class MemoryWriter(wiring.Component):
    """Requests bursts for rows, fills them with the rows' chunks, and counts the responses.

    No more than 16 bursts wait for responses. Words leave when their burst's request has been accepted. Under ``halt``, bursts
    already requested are completed with words without strobes, and all other data are dropped.

    Parameters
    ----------
    row : layout of a row
    chunk_bytes : most bytes of a chunk

    Members
    -------
    halt : level; rows must not come any more
    row, stalled : see :class:`WriteBursts <systolith.rtl.store_bursts.WriteBursts>`; ``post``: whom the row's command tells
    i : stream of :class:`Chunk`
    place : stream of :class:`Place`, one per row
    write : to memory
    done, done_post : the last response of a command has come
    bad, bad_address : a response reports an error, of the burst at this address
    idle : no whole word and no burst is inside
    """

    halt: Signal
    row: stream.Interface
    post: Signal
    stalled: Signal
    i: stream.Interface
    place: stream.Interface
    write: wiring.PureInterface
    done: Signal
    done_post: Signal
    bad: Signal
    bad_address: Signal
    idle: Signal

    def __init__(self, row: StoreRow, *, chunk_bytes: int):
        self.row_layout = row
        self.chunk_bytes = chunk_bytes
        super().__init__({
            "halt": In(1),
            "row": In(stream.Signature(row)), "post": In(2), "stalled": In(1),
            "i": In(stream.Signature(Chunk(chunk_bytes=chunk_bytes))), "place": In(stream.Signature(Place(bus_bytes=row.bus_bytes))),
            "write": Out(WritePort(row.address_bits, 8 * row.bus_bytes)),
            "done": Out(1), "done_post": Out(2), "bad": Out(1), "bad_address": Out(row.address_bits), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        request, words, response = self.write.request, self.write.data, self.write.response

        m.submodules.bursts = bursts = WriteBursts(self.row_layout)
        wiring.connect(m, bursts.row, wiring.flipped(self.row))
        wiring.connect(m, bursts.request, wiring.flipped(request))

        # Every burst, until its response.
        entry = Signal(data.StructLayout({"address": self.row_layout.address_bits, "last": 1, "post": 2}))
        m.submodules.pending = pending = fifo.SyncFIFOBuffered(width=entry.shape().size, depth=OUTSTANDING)
        answered = data.View(entry.shape(), pending.r_data)
        m.d.comb += [
            entry.address.eq(bursts.burst.address), entry.last.eq(self.row.payload.last & bursts.ends), entry.post.eq(self.post),
            pending.w_data.eq(entry), pending.w_en.eq(bursts.accept), bursts.room.eq(pending.w_rdy),
            response.ready.eq(pending.r_rdy), pending.r_en.eq(response.valid),
            self.done.eq(response.valid & response.ready & answered.last), self.done_post.eq(answered.post),
            self.bad.eq(response.valid & response.ready & response.payload.error), self.bad_address.eq(answered.address),
        ]

        # Every requested burst, until its last word.
        m.submodules.packer = packer = Packer(bus_bytes=self.row_layout.bus_bytes, chunk_bytes=self.chunk_bytes)
        wiring.connect(m, packer.i, wiring.flipped(self.i))
        wiring.connect(m, packer.place, wiring.flipped(self.place))
        m.submodules.owed = owed = fifo.SyncFIFOBuffered(width=exact_log2(BURST_BEATS), depth=OUTSTANDING)
        beat = Signal.like(owed.r_data)
        moves = words.valid & words.ready
        hungry = (owed.level == 0) & ~request.valid
        unwanted = self.halt & hungry
        m.d.comb += [
            bursts.stalled.eq(self.stalled), bursts.hungry.eq(hungry),
            owed.w_data.eq(request.payload.beats), owed.w_en.eq(request.valid & request.ready),
            packer.halt.eq(self.halt),
            words.valid.eq(packer.o.valid & owed.r_rdy), words.payload.data.eq(packer.o.payload.data),
            words.payload.strobe.eq(packer.o.payload.strobe), words.payload.last.eq(beat == owed.r_data),
            packer.o.ready.eq(moves | unwanted), owed.r_en.eq(moves & words.payload.last),
        ]
        with m.If(moves):
            m.d.sync += beat.eq(Mux(words.payload.last, 0, beat + 1))
        m.d.comb += self.idle.eq(packer.empty & ~request.valid & (owed.level == 0) & (pending.level == 0))
        return m
