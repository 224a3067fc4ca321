"""Performance counters: where every cycle of every engine went."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ..arch.registers import STALLS

__all__ = ["TOTALS", "ActivityCounters", "Counters", "totals_layout"]

TOTALS = ("CYCLES", "BYTES_READ", "BYTES_WRITTEN", "COMMANDS")


def totals_layout() -> data.StructLayout:
    """A struct with 32 bits for each of ``TOTALS``."""
    return data.StructLayout({name.lower(): unsigned(32) for name in TOTALS})


class ActivityCounters(wiring.Component):
    """Eight counters in one memory, of which one increments per cycle: a sixth of the area of flip-flops.

    Latency: 2 cycles from ``activity`` until it is counted, 1 cycle from ``index`` to ``o``. While counting, ``o`` is 0.

    Parameters
    ----------
    bits : width of each counter

    Members
    -------
    clear : all counters to zero
    count, activity : counter ``activity`` increments
    index, o : counter ``index``, if ``count`` was low
    """

    clear: Signal
    count: Signal
    activity: Signal
    index: Signal
    o: Signal

    def __init__(self, *, bits: int):
        self.bits = bits
        super().__init__({"clear": In(1), "count": In(1), "activity": In(3), "index": In(3), "o": Out(bits)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.values = values = memory.Memory(shape=self.bits, depth=8, init=[])
        write = values.write_port()
        read = values.read_port(transparent_for=(write,))  # two cycles of one activity: the second sees the first
        counted = Signal()
        address = Signal(3, reset_less=True)
        live = Signal(8)  # counters that the memory holds, or will in the next cycle; the others are zero
        is_live = Signal(reset_less=True)  # the one at ``address``, known with it
        value = Signal(self.bits)
        m.d.comb += [
            read.addr.eq(Mux(self.count, self.activity, self.index)),
            value.eq(Mux(is_live, read.data, 0)),
            write.addr.eq(address), write.data.eq(value + 1), write.en.eq(counted),
            self.o.eq(Mux(counted, 0, value)),
        ]
        m.d.sync += [counted.eq(self.count & ~self.clear), address.eq(read.addr), is_live.eq(live.bit_select(read.addr, 1))]
        with m.If(self.count):
            m.d.sync += live.bit_select(self.activity, 1).eq(1)
        with m.If(self.clear):
            m.d.sync += live.eq(0)
        return m


class Counters(wiring.Component):
    """Counts cycles, memory traffic, commands, and what each engine did in each cycle.

    In every cycle with ``count`` CYCLES and exactly one counter of each engine increment: busy + Σ stalls = CYCLES, as long as
    nothing wraps. All is counted three cycles later: a register in front ends the paths that come from everywhere.

    Parameters
    ----------
    bits : width of the engines' counters; 0 leaves out all but CYCLES, and they read 0. CYCLES and the others have 32
        bits.
    bus_bytes : bytes of a bus word

    Members
    -------
    clear : all counters to zero
    count : the program runs
    activity : per engine (LOAD, EXECUTE, STORE), the index in :data:`STALLS`
    started : per engine, a command starts
    word_read : a bus word is read
    word_written, strobe : a bus word is written, and which of its bytes
    totals : :func:`totals_layout`
    address, read_data : an engine's counter, engine [4:3] (1 LOAD, 2 EXECUTE, 3 STORE) and activity [2:0], one cycle after
        the address; 0 while ``count``, from the second cycle on
    """

    clear: Signal
    count: Signal
    activity: list[Signal]
    started: Signal
    word_read: Signal
    word_written: Signal
    strobe: Signal
    totals: data.View
    address: Signal
    read_data: Signal

    def __init__(self, *, bits: int, bus_bytes: int):
        self.bits = bits
        self.bus_bytes = bus_bytes
        super().__init__({
            "clear": In(1), "count": In(1), "activity": In(range(8)).array(len(STALLS)), "started": In(len(STALLS)),
            "word_read": In(1), "word_written": In(1), "strobe": In(bus_bytes),
            "totals": Out(totals_layout()), "address": In(5), "read_data": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        totals = self.totals
        count = Signal()
        m.d.sync += [count.eq(self.count), totals.cycles.eq(totals.cycles + count)]
        with m.If(self.clear):
            m.d.sync += [count.eq(0), totals.cycles.eq(0)]
        if self.bits:
            self._count_traffic(m)
            self._count_activities(m, count)
        return m

    def _count_traffic(self, m: Module) -> None:
        totals = self.totals
        words_read = Signal(32)
        written = Signal(range(self.bus_bytes + 1))
        word_read, word_written = Signal(), Signal()
        started = Signal.like(self.started)
        strobe = Signal.like(self.strobe, reset_less=True)
        m.d.comb += totals.bytes_read.eq(words_read * self.bus_bytes)
        m.d.sync += [
            started.eq(self.started), word_read.eq(self.word_read), word_written.eq(self.word_written), strobe.eq(self.strobe),
            words_read.eq(words_read + word_read),
            written.eq(Mux(word_written, sum(strobe), 0)),
            totals.bytes_written.eq(totals.bytes_written + written),
            totals.commands.eq(totals.commands + sum(started)),
        ]
        with m.If(self.clear):
            m.d.sync += [register.eq(0) for register in (
                started, word_read, word_written, words_read, written, totals.bytes_written, totals.commands)]

    def _count_activities(self, m: Module, count: Signal) -> None:
        chosen = Signal(2, reset_less=True)
        m.d.sync += chosen.eq(self.address[3:])
        for number, (engine, activity) in enumerate(zip(STALLS, self.activity, strict=True), start=1):
            m.submodules[engine.name.lower()] = counters = ActivityCounters(bits=self.bits)
            observed = Signal.like(activity, name=f"{engine.name.lower()}_observed", reset_less=True)
            m.d.sync += observed.eq(activity)
            m.d.comb += [
                counters.clear.eq(self.clear), counters.count.eq(count), counters.activity.eq(observed),
                counters.index.eq(self.address[:3]),
            ]
            with m.If(chosen == number):
                m.d.comb += self.read_data.eq(counters.o)
