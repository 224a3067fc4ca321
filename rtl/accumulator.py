"""Memory of partial sums that adds in place, in two halves: one fills while the other drains."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from .interfaces import AccumulatorDrain, AccumulatorLoad
from .ram import RAM
from .shared import shared
from .skew import Skew

__all__ = ["Accumulator", "Touch"]


class Touch(data.StructLayout):
    """Row ``row`` of the accumulator, both halves counted, takes a vector of psums: added, or instead of what is there."""

    def __init__(self, *, half_rows: int):
        super().__init__({"valid": 1, "row": range(2 * half_rows), "accumulate": 1})


class Accumulator(wiring.Component):
    """Two halves of ``half_rows`` rows, each ``cols`` words of ``bits`` that wrap; one RAM per half and column.

    One touch per cycle: ``delay[c]`` cycles after it column c reads its word, ``lead_cycles`` later it adds ``psum[c]``. Two
    touches of one row are ``distance_cycles`` apart if the second accumulates. A drain request presented ``settle_cycles``
    after a touch, or ``load_cycles`` after a load, sees it in all columns; its words follow ``drain_cycles`` later, one row per
    cycle. In a cycle, at most one of touches, drain and load may use a half: :mod:`locks <systolith.rtl.locks>` see to it.

    Parameters
    ----------
    cols : words per row
    half_rows : rows per half, a power of two
    psum_bits : width of a partial sum
    delay : per column, cycles from a touch to its read
    bits : width of a word, 32 or more

    Members
    -------
    touch : :class:`Touch`
    psum : one per column, ``delay[c] + lead_cycles`` after the touch
    load : :class:`AccumulatorLoad`; a word of 32 bits is signed where there are more
    drain : :class:`AccumulatorDrain`
    """

    touch: data.View
    psum: list[Signal]
    load: wiring.PureInterface
    drain: wiring.PureInterface

    # A touch: address, RAM, sum register, write.
    read_latency_cycles = RAM.latency_cycles
    lead_cycles = read_latency_cycles
    distance_cycles = lead_cycles + 2
    load_cycles = 2
    drain_cycles = 1 + read_latency_cycles + 1

    def __init__(self, *, cols: int, half_rows: int, psum_bits: int, delay: list[int], bits: int = 32):
        if half_rows < 2 or half_rows & half_rows - 1:
            raise ValueError(f"half_rows must be a power of two from 2 on, not {half_rows!r}")
        if len(delay) != cols:
            raise ValueError(f"delay must have one entry per column, {cols}, not {delay!r}")
        self.cols = cols
        self.half_rows = half_rows
        self.psum_bits = psum_bits
        self.delay = list(delay)
        self.bits = bits
        super().__init__({
            "touch": In(Touch(half_rows=half_rows)),
            "psum": In(signed(psum_bits)).array(cols),
            "load": In(AccumulatorLoad(cols=cols)),
            "drain": In(AccumulatorDrain(cols=cols, half_rows=half_rows, bits=bits)),
        })

    @property
    def settle_cycles(self) -> int:
        return max(self.delay) + self.distance_cycles - 1  # the drain's address register makes up for one

    def elaborate(self, platform):
        m = Module()
        row_bits = (self.half_rows - 1).bit_length()
        # When each column needs the touch: to address its read, to choose its operand, to write.
        taps = {"read": 0, "select": self.read_latency_cycles, "write": self.lead_cycles + 1}
        delays = [delay + tap for tap in taps.values() for delay in self.delay]
        m.submodules.valid = valid = Skew(1, delays=delays, control=True)
        m.submodules.rows = rows = Skew(data.StructLayout({"row": row_bits, "half": 1, "accumulate": 1}), delays=delays)
        m.d.comb += [
            valid.i.eq(self.touch.valid),
            rows.i.row.eq(self.touch.row), rows.i.half.eq(self.touch.row[row_bits]), rows.i.accumulate.eq(self.touch.accumulate),
        ]

        # What is loaded comes from afar; it goes to all RAMs, and which one takes it is told to each column alone.
        loaded = {name: Signal.like(getattr(self.load, name), name=f"load_{name}", reset_less=name != "valid")
                  for name in ("valid", "row", "column", "word")}
        m.d.sync += [kept.eq(getattr(self.load, name)) for name, kept in loaded.items()]
        load_row = Signal(row_bits, reset_less=True)
        load_word = Signal(32 if self.bits == 32 else signed(32), reset_less=True)
        m.d.sync += [load_row.eq(loaded["row"]), load_word.eq(loaded["word"])]
        # A drain's address goes to all RAMs too.
        m.submodules.drain_half = drain_half = Skew(1, delays=[self.drain_cycles - 1])
        drain_row = Signal(row_bits, reset_less=True)
        m.d.sync += drain_row.eq(self.drain.row)
        m.d.comb += drain_half.i.eq(self.drain.half)

        for c in range(self.cols):
            read, select, write = (rows.o[tap * self.cols + c] for tap in range(len(taps)))
            reads, _, writes = (valid.o[tap * self.cols + c] for tap in range(len(taps)))
            total, drained = (Signal(signed(self.bits), name=f"{name}{c}", reset_less=True) for name in ("total", "drained"))
            words = []
            for half in range(2):
                loads = Signal(name=f"loads{c}_{half}")
                m.d.sync += loads.eq(loaded["valid"] & (loaded["row"][row_bits] == half) & (loaded["column"] == c))
                m.submodules[f"ram{c}_{half}"] = ram = shared(RAM, platform, width=self.bits, depth=self.half_rows)
                words.append(ram.o)
                m.d.comb += [
                    ram.read.eq(Mux(reads & (read.half == half), read.row, drain_row)),
                    ram.address.eq(Mux(loads, load_row, write.row)),
                    ram.i.eq(Mux(loads, load_word, total)),
                    ram.write.eq(loads | writes & (write.half == half)),
                ]
            m.d.sync += [
                total.eq(Mux(select.accumulate, Mux(select.half, words[1], words[0]), 0) + self.psum[c]),
                drained.eq(Mux(drain_half.o[0], words[1], words[0])),
            ]
            m.d.comb += self.drain.words[c].eq(drained)
        return m
