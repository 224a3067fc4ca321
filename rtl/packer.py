"""Chunks of rows to bus words."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .epilogue import Chunk
from .queue import Queue

__all__ = ["Packer", "Place"]

_WORDS = 8  # of the output queue: those that come after it was looked at, and as many that leave meanwhile
_COMING = 4  # words after the queue was looked at: a cycle to look, three stages, of which the last may hold the rest of a run


class Place(data.StructLayout):
    """Of one row: its first byte's place in a bus word, which matters where a run starts; ``end`` if the run ends with it."""

    def __init__(self, *, bus_bytes: int):
        super().__init__({"offset": range(bus_bytes), "end": 1})


class Packer(wiring.Component):
    """Lays rows byte after byte into bus words; runs of rows that follow each other in memory share words.

    A chunk is rotated to its place, then merged into the word that is being filled; what does not fit begins the next word. A
    run starts a new word, and ends its last one early. Latency: 3 cycles from the chunk that completes a word. Throughput:
    one chunk per cycle; a chunk that ends a run and reaches into another word takes two. A chunk is taken only while the queue of
    words has room for it and all before it, so that nothing waits on the way there; ``i.ready`` is a register.

    Parameters
    ----------
    bus_bytes : bytes of a word, a power of two
    chunk_bytes : most bytes of a chunk, at most ``bus_bytes``

    Members
    -------
    i : stream of :class:`Chunk`
    place : :class:`Place` of the chunk's row
    o : stream of words, with a strobe per byte
    empty : no whole word is inside (the beginning of one may be)
    """

    i: stream.Interface
    place: data.View
    o: stream.Interface
    empty: Signal

    def __init__(self, *, bus_bytes: int, chunk_bytes: int):
        if not 1 <= chunk_bytes <= bus_bytes:
            raise ValueError(f"chunk_bytes must be from 1 to bus_bytes, {bus_bytes}, not {chunk_bytes!r}")
        self.bus_bytes = bus_bytes
        self.chunk_bytes = chunk_bytes
        super().__init__({
            "i": In(stream.Signature(Chunk(chunk_bytes=chunk_bytes))),
            "place": In(Place(bus_bytes=bus_bytes)),
            "o": Out(stream.Signature(data.StructLayout({"data": 8 * bus_bytes, "strobe": bus_bytes}))),
            "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        width = self.bus_bytes
        bits = exact_log2(width)
        chunk = self.i.payload

        # Rotate.
        start = Signal(init=1)  # a run starts
        position = Signal(bits, reset_less=True)
        goes_on = Signal()  # the opposite of ``start``, for the sum: the bytes that are rotated are many
        first = Signal(bits)
        after = Signal(bits + 1)
        ends, spills = Signal(), Signal()  # the run; with bytes that have a word to themselves
        m.d.comb += [
            first.eq(Mux(start, self.place.offset, position)), after.eq(Mux(goes_on, position, self.place.offset) + chunk.bytes),
            ends.eq(chunk.last & self.place.end), spills.eq(ends & (after > width)),
        ]
        accept = Signal()
        taken = Signal()
        rotated = Signal(8 * width, reset_less=True)
        here = Signal(width, reset_less=True)  # bytes that belong to this word
        over = Signal(bits, reset_less=True)  # how many belong to the next
        complete = Signal(reset_less=True)
        leaves = Signal(reset_less=True)  # a word does, with this chunk
        spilling = Signal(reset_less=True)
        turned = Cat(chunk.data.as_value(), C(0, 8 * (width - self.chunk_bytes)))
        for i in range(bits):
            turned = Mux(first[i], turned.rotate_left(8 << i), turned)
        m.d.comb += accept.eq(self.i.valid & self.i.ready)
        with m.If(accept):
            m.d.sync += [start.eq(ends), goes_on.eq(~ends), position.eq(after)]
        m.d.sync += [
            taken.eq(accept), rotated.eq(turned), here.eq(Cat((first <= i) & (after > i) for i in range(width))),
            over.eq(after), complete.eq(after[bits]), leaves.eq(ends | after[bits]), spilling.eq(spills),
        ]

        # Merge.
        word = Signal(8 * width, reset_less=True)
        strobe = Signal(width)
        rest = Signal()  # the run has ended, and its last bytes are in ``word``
        merged = Cat(Mux(here[i], rotated.word_select(i, 8), word.word_select(i, 8)) for i in range(width))
        with m.If(taken):
            m.d.sync += [
                word.eq(Mux(leaves, rotated, merged)),
                strobe.eq(Mux(leaves, Mux(complete, Cat(over > i for i in range(width)), 0), strobe | here)),
            ]
        with m.Elif(rest):
            m.d.sync += strobe.eq(0)
        m.d.sync += rest.eq(taken & spilling)

        m.submodules.words = words = Queue(width=self.o.payload.shape().size, depth=_WORDS, early=True)
        m.d.sync += self.i.ready.eq((words.level <= _WORDS - _COMING) & ~(accept & spills))
        m.d.comb += [
            words.w_en.eq(rest | (taken & leaves)),
            words.w_data.eq(Cat(Mux(rest, word, merged), Mux(rest, strobe, strobe | here))),
            self.o.payload.eq(words.r_data), self.o.valid.eq(words.r_rdy), words.r_en.eq(self.o.ready),
            self.empty.eq(~taken & ~rest & words.empty),
        ]
        return m
