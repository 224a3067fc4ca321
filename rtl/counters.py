"""Performance counters: where every cycle of every engine went."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import Engine
from ..arch.registers import COUNTERS, STALLS

__all__ = ["Counters", "counter_layout"]


def counter_layout() -> data.StructLayout:
    """A struct with one 32-bit member per counter register, named like it in lower case."""
    return data.StructLayout({register.name.lower(): unsigned(32) for register in COUNTERS})


class Counters(wiring.Component):
    """Counts cycles, memory traffic, commands, and what each engine did in each cycle.

    In every cycle with ``count`` CYCLES and exactly one counter of each engine increment: busy + Σ stalls = CYCLES, as long as
    nothing wraps. Values are visible one cycle later, bytes written two cycles.

    Parameters
    ----------
    bits : width of the engines' counters; 0 leaves them out, and they read 0. The others have 32 bits.
    bus_bytes : bytes of a bus word

    Members
    -------
    clear : all counters to zero
    count : the program runs
    activity : per engine (LOAD, EXECUTE, STORE), the index in :data:`STALLS`
    started : per engine, a command starts
    word_read : a bus word is read
    word_written, strobe : a bus word is written, and which of its bytes
    o : the values, :func:`counter_layout`
    """

    clear: Signal
    count: Signal
    activity: list[Signal]
    started: Signal
    word_read: Signal
    word_written: Signal
    strobe: Signal
    o: data.View

    def __init__(self, *, bits: int, bus_bytes: int):
        self.bits = bits
        self.bus_bytes = bus_bytes
        super().__init__({
            "clear": In(1), "count": In(1), "activity": In(range(8)).array(len(STALLS)), "started": In(len(STALLS)),
            "word_read": In(1), "word_written": In(1), "strobe": In(bus_bytes),
            "o": Out(counter_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        words_read = Signal(32)
        written = Signal(range(self.bus_bytes + 1))
        registers = [self.o.cycles, words_read, self.o.bytes_written, self.o.commands, written]

        m.d.comb += self.o.bytes_read.eq(words_read * self.bus_bytes)
        m.d.sync += [
            words_read.eq(words_read + self.word_read),
            written.eq(Mux(self.word_written, sum(self.strobe), 0)),
            self.o.bytes_written.eq(self.o.bytes_written + written),
            self.o.commands.eq(self.o.commands + sum(self.started)),
        ]
        with m.If(self.count):
            m.d.sync += self.o.cycles.eq(self.o.cycles + 1)

        if self.bits:
            for engine, activity in zip(STALLS, self.activity, strict=True):
                for index, value in enumerate(_engine_counters(self.o, engine)):
                    value = value[:self.bits]
                    with m.If(self.count & (activity == index)):
                        m.d.sync += value.eq(value + 1)
                    registers.append(value)

        with m.If(self.clear):
            m.d.sync += [register.eq(0) for register in registers]
        return m


def _engine_counters(values: data.View, engine: Engine) -> list[Value]:
    return [values[f"{engine.name}_{cause}".lower()] for cause in STALLS[engine]]
