"""A first-in first-out queue in block RAM, look-up tables or flip-flops, whichever its size suits."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .step import LateCount, stepped

__all__ = ["Queue"]


class Queue(wiring.Component):
    """``depth`` words of ``width`` bits, with Amaranth's FIFO ports.

    Cycle by cycle the same as :class:`amaranth.lib.fifo.SyncFIFOBuffered`, but its memory never reads the word that is being
    written (the two addresses are equal only where it is empty or full), and says so to synthesis: that saves the logic
    that would pass such a word on, which is more than the rest of a small queue.

    Latency: 2 cycles from writing into an empty queue until the word is at ``r_data``. Throughput: one word per cycle from 3
    words on; two words pass one in two cycles, as one word does.

    Parameters
    ----------
    width : bits of a word
    depth : words, from 1 on; one of them is in the register behind the memory
    block : True wants block RAM, from which ``r_data`` comes late in its cycle, False look-up tables; None leaves it to synthesis, which
        takes look-up tables for a kilobit
    early : ``w_rdy`` is a look-up table behind registers, and ``w_en`` and ``r_en`` reach few of them: for long paths on either side

    Members
    -------
    w_data, w_en, w_rdy : a word is written in a cycle with ``w_en`` and ``w_rdy``
    r_data, r_en, r_rdy : the oldest word, which leaves in a cycle with ``r_en`` and ``r_rdy``
    level : words inside
    empty : there is none
    """

    w_data: Signal
    w_en: Signal
    w_rdy: Signal
    r_data: Signal
    r_en: Signal
    r_rdy: Signal
    level: Signal
    empty: Signal

    def __init__(self, *, width: int, depth: int, block: bool | None = None, early: bool = False):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self.width = width
        self.depth = depth
        self.block = block
        self.early = early
        super().__init__({
            "w_data": In(width), "w_en": In(1), "w_rdy": Out(1),
            "r_data": Out(width), "r_en": In(1), "r_rdy": Out(1),
            "level": Out(range(depth + 1)), "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        write = self.w_en & self.w_rdy
        if self.depth == 1:
            word = Signal(self.width, reset_less=True)
            m.d.comb += [self.w_rdy.eq(~self.r_rdy), self.r_data.eq(word), self.level.eq(self.r_rdy), self.empty.eq(~self.r_rdy)]
            with m.If(write):
                m.d.sync += [word.eq(self.w_data), self.r_rdy.eq(1)]
            with m.Elif(self.r_en):
                m.d.sync += self.r_rdy.eq(0)
            return m

        depth = self.depth - 1
        style = {} if self.block is None else {"ram_style": "block" if self.block else "distributed"}
        attributes = {"no_rw_check": 1, **style}
        m.submodules.words = words = memory.Memory(shape=self.width, depth=depth, init=[], attrs=attributes)
        write_port, read_port = words.write_port(), words.read_port()
        some, full = Signal(), Signal()  # are in the memory
        read = some & (~self.r_rdy | self.r_en)
        m.d.comb += [
            self.w_rdy.eq(~full), self.empty.eq(~some & ~self.r_rdy),
            self.r_data.eq(read_port.data), write_port.data.eq(self.w_data), write_port.en.eq(write), read_port.en.eq(read),
        ]
        if self.early:
            stored = LateCount(m, depth, up=write, down=read, name="stored")
            # What they are follows from the cycle before, in a single look-up table each.
            was_some, was_one, was_almost, was_full = (
                Signal(name=name) for name in ("was_some", "was_one", "was_almost", "was_full"))
            m.d.sync += [was_some.eq(some), was_one.eq(stored.equals(1)), was_almost.eq(stored.equals(depth - 1)), was_full.eq(full)]
            m.d.comb += [
                some.eq(stored.went_up | (was_some & ~(stored.went_down & was_one))),
                full.eq(~stored.went_down & (was_full | (stored.went_up & was_almost))),
            ]
            # Of its own, which synthesis leaves out where nobody asks for it.
            leaves, level = self.r_en & self.r_rdy, Signal.like(self.level)
            with m.If(write ^ leaves):
                m.d.sync += level.eq(stepped(level, write))
            m.d.comb += self.level.eq(level)
        else:
            stored = Signal(range(depth + 1))
            m.d.sync += stored.eq(stored + write - read)
            m.d.comb += [some.eq(stored != 0), full.eq(stored == depth), self.level.eq(stored + self.r_rdy)]
        for port, moves in ((write_port, write), (read_port, read)):
            place = Signal(range(depth), name=f"{'write' if port is write_port else 'read'}_place")
            m.d.comb += port.addr.eq(place)
            with m.If(moves):
                m.d.sync += place.eq(Mux(place == depth - 1, 0, place + 1))
        m.d.sync += self.r_rdy.eq(read | (self.r_rdy & ~self.r_en))
        return m
