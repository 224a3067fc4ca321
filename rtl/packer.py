"""Chunks of rows to bus words."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .epilogue import Chunk

__all__ = ["Packer", "Place"]


class Place(data.StructLayout):
    """Of one row: its first byte's place in a bus word, which matters where a run starts; ``end`` if the run ends with it."""

    def __init__(self, *, bus_bytes: int):
        super().__init__({"offset": range(bus_bytes), "end": 1})


class Packer(wiring.Component):
    """Lays rows byte after byte into bus words; runs of rows that follow each other in memory share words.

    A chunk is rotated to its place, then merged into the word that is being filled; what does not fit begins the next word. A
    run starts a new word, and ends its last one early. Latency: 1 cycle from the chunk that completes a word. Throughput:
    one chunk per cycle; a chunk that ends a run and reaches into another word takes two.

    Parameters
    ----------
    bus_bytes : bytes of a word, a power of two
    chunk_bytes : most bytes of a chunk, at most ``bus_bytes``

    Members
    -------
    i : stream of :class:`Chunk`
    place : stream of :class:`Place`, one per row, taken with the row's last chunk
    o : stream of words, with a strobe per byte
    empty : no whole word is inside (the beginning of one may be)
    """

    i: stream.Interface
    place: stream.Interface
    o: stream.Interface
    empty: Signal

    def __init__(self, *, bus_bytes: int, chunk_bytes: int):
        if not 1 <= chunk_bytes <= bus_bytes:
            raise ValueError(f"chunk_bytes must be from 1 to bus_bytes, {bus_bytes}, not {chunk_bytes!r}")
        self.bus_bytes = bus_bytes
        self.chunk_bytes = chunk_bytes
        super().__init__({
            "i": In(stream.Signature(Chunk(chunk_bytes=chunk_bytes))),
            "place": In(stream.Signature(Place(bus_bytes=bus_bytes))),
            "o": Out(stream.Signature(data.StructLayout({"data": 8 * bus_bytes, "strobe": bus_bytes}))),
            "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        width = self.bus_bytes
        bits = exact_log2(width)
        chunk, place = self.i.payload, self.place.payload

        # Rotate.
        start = Signal(init=1)  # a run starts
        position = Signal(bits, reset_less=True)
        first = Signal(bits)
        after = Signal(bits + 1)
        m.d.comb += [first.eq(Mux(start, place.offset, position)), after.eq(first + chunk.bytes)]
        valid = Signal()
        rotated = Signal(8 * width, reset_less=True)
        here = Signal(width, reset_less=True)  # bytes that belong to this word
        over = Signal(bits, reset_less=True)  # how many belong to the next
        complete = Signal(reset_less=True)
        end = Signal(reset_less=True)
        accept = Signal()
        take = Signal()
        turned = Cat(chunk.data.as_value(), C(0, 8 * (width - self.chunk_bytes)))
        for i in range(bits):
            turned = Mux(first[i], turned.rotate_left(8 << i), turned)
        m.d.comb += [
            accept.eq(self.i.valid & self.place.valid & (~valid | take)),
            self.i.ready.eq(self.place.valid & (~valid | take)),
            self.place.ready.eq(accept & chunk.last),
        ]
        with m.If(accept):
            m.d.sync += [
                valid.eq(1),
                start.eq(chunk.last & place.end),
                position.eq(after),
                rotated.eq(turned),
                here.eq(Cat((first <= i) & (after > i) for i in range(width))),
                over.eq(after),
                complete.eq(after[bits]),
                end.eq(chunk.last & place.end),
            ]
        with m.Elif(take):
            m.d.sync += valid.eq(0)

        # Merge.
        word = Signal(8 * width, reset_less=True)
        strobe = Signal(width)
        rest = Signal()  # the run has ended, and its last bytes are in ``word``
        leaves = complete | end
        merged = Cat(Mux(here[i], rotated.word_select(i, 8), word.word_select(i, 8)) for i in range(width))
        m.d.comb += [
            self.o.valid.eq(rest | (valid & leaves)),
            self.o.payload.data.eq(Mux(rest, word, merged)), self.o.payload.strobe.eq(Mux(rest, strobe, strobe | here)),
            take.eq(valid & ~rest & (self.o.ready | ~leaves)),
            self.empty.eq(~valid & ~rest),
        ]
        with m.If(take):
            m.d.sync += word.eq(Mux(leaves, rotated, merged))
            with m.If(leaves):
                m.d.sync += strobe.eq(Mux(complete, Cat(over > i for i in range(width)), 0))
                m.d.sync += rest.eq(end & complete & (over != 0))
            with m.Else():
                m.d.sync += strobe.eq(strobe | here)
        with m.Elif(rest & self.o.ready):
            m.d.sync += [rest.eq(0), strobe.eq(0)]
        return m
