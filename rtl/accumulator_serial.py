"""The accumulator in a third of its area: one memory per column, which EXECUTE has first."""

from itertools import pairwise

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .accumulator import Touch
from .skew import Skew

__all__ = ["SerialAccumulator", "WordDrain", "WordLoad"]


class WordLoad(wiring.Signature):
    """``word`` into column ``column`` of accumulator row ``row`` (both halves counted): everything holds from ``valid`` to ``ready``."""

    def __init__(self, *, cols: int, rows: int):
        super().__init__({"valid": Out(1), "ready": In(1), "row": Out(range(rows)), "column": Out(range(cols)), "word": Out(32)})


class WordDrain(wiring.Signature):
    """Reads row ``row`` (both halves counted): it holds from ``valid`` to ``ready``, the cycle in which ``words`` are valid."""

    def __init__(self, *, cols: int, rows: int):
        super().__init__({"valid": Out(1), "ready": In(1), "row": Out(range(rows)), "words": In(signed(32)).array(cols)})


class SerialAccumulator(wiring.Component):
    """``rows`` rows, each ``cols`` words of 32 bits that wrap. Both halves are in one memory per column: LOAD and STORE, which take many
    cycles for a byte, take those in which EXECUTE touches nothing.

    One touch per cycle: ``psum`` comes ``delay`` + ``psum_cycles`` cycles after it, in all columns at once. Two touches of one row are
    ``distance_cycles`` apart if the second accumulates. A drain that begins ``settle_cycles`` after a touch, or ``load_cycles``
    after a load was ready, sees it. A loaded word goes the way of a sum: so ``zero`` asks for a psum of 0 in the next cycle.

    Parameters
    ----------
    cols : words per row
    half_rows : rows per half, a power of two
    psum_bits : width of a partial sum
    delay : cycles from a touch to its read

    Members
    -------
    touch : :class:`~systolith.rtl.accumulator.Touch`
    psum : one per column
    zero : the psums of the next cycle are to be 0
    load : :class:`WordLoad`; ready after 2 cycles, if there is no touch
    drain : :class:`WordDrain`; likewise, after a load
    """

    touch: Signal
    psum: list[Signal]
    zero: Signal
    load: wiring.PureInterface
    drain: wiring.PureInterface

    # A touch: choice of the row, RAM, operand register, sum register, write.
    psum_cycles = 3
    distance_cycles = 4
    load_cycles = 2
    drain_cycles = 2

    def __init__(self, *, cols: int, half_rows: int, psum_bits: int, delay: int):
        if half_rows < 2 or half_rows & half_rows - 1:
            raise ValueError(f"half_rows must be a power of two from 2 on, not {half_rows!r}")
        if delay < 0:
            raise ValueError(f"delay must be at least 0, not {delay!r}")
        self.cols = cols
        self.rows = 2 * half_rows
        self.psum_bits = psum_bits
        self.delay = delay
        super().__init__({
            "touch": In(Touch(half_rows=half_rows)), "psum": In(signed(psum_bits)).array(cols), "zero": Out(1),
            "load": In(WordLoad(cols=cols, rows=self.rows)), "drain": In(WordDrain(cols=cols, rows=self.rows)),
        })

    @property
    def settle_cycles(self) -> int:
        return self.delay + 4

    def elaborate(self, platform):
        m = Module()
        row_bits = (self.rows - 1).bit_length()
        m.submodules.valid = valid = Skew(1, delays=[self.delay], control=True)
        m.submodules.touches = touches = Skew(Touch(half_rows=self.rows // 2), delays=[self.delay])
        m.d.comb += [valid.i.eq(self.touch.valid), touches.i.eq(self.touch)]
        touch, touching = touches.o[0], valid.o[0]

        # One of the three; a load or a drain at a time.
        loading, draining = Signal(2), Signal(2)
        begins_load, begins_drain = Signal(), Signal()
        m.d.comb += [
            begins_load.eq(self.load.valid & ~touching & ~loading.any()),
            begins_drain.eq(self.drain.valid & ~touching & ~self.load.valid & ~draining.any()),
            self.load.ready.eq(loading[1]), self.drain.ready.eq(draining[1]), self.zero.eq(loading[1]),
        ]
        rows = [Signal(row_bits, name=f"row{stage}", reset_less=True) for stage in range(1, 5)]
        # Which columns will be written, and whether what is there counts.
        writes = [Signal(self.cols, name=f"writes{stage}") for stage in range(1, 5)]
        keeps = [Signal(name=f"keeps{stage}", reset_less=True) for stage in range(1, 3)]
        m.d.sync += [
            loading.eq(Cat(begins_load, loading)), draining.eq(Cat(begins_drain, draining)),
            rows[0].eq(Mux(touching, touch.row, Mux(self.load.valid, self.load.row, self.drain.row))),
            writes[0].eq(Mux(touching, C(-1, self.cols), Mux(begins_load, 1 << self.load.column, 0))),
            keeps[0].eq(touch.accumulate), keeps[1].eq(keeps[0]),
            *(later.eq(sooner) for chain in (rows, writes) for sooner, later in pairwise(chain)),
        ]
        for c in range(self.cols):
            m.submodules[f"ram{c}"] = ram = memory.Memory(shape=signed(32), depth=self.rows, init=[], attrs={"no_rw_check": 1})
            read, write = ram.read_port(), ram.write_port()
            operand, total = (Signal(signed(32), name=f"{name}{c}", reset_less=True) for name in ("operand", "total"))
            m.d.comb += [
                read.addr.eq(rows[0]), self.drain.words[c].eq(read.data),
                write.addr.eq(rows[3]), write.data.eq(total), write.en.eq(writes[3][c]),
            ]
            m.d.sync += [
                operand.eq(Mux(loading[1], self.load.word, Mux(keeps[1], read.data, 0))),
                total.eq(operand + self.psum[c]),
            ]
        return m
