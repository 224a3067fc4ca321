"""Loop nests in hardware: counters, and row addresses that follow them without a multiplier."""

from collections.abc import Iterable, Mapping

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Nest"]

VALUE_BITS = 16  # where nothing else is said


class Nest(wiring.Component):
    """Walks a nest of loops, one iteration per ``advance``, and keeps linear functions of its indices, modulo 2**16 or what ``bits`` says::

        value = start + Σ over its levels of index[level] · stride[level]

    Each level remembers the value with which its run began. When a level steps, its stride is added to that, and all levels
    inside begin anew from the sum: one addition per value and iteration, whatever the level.

    Latency: one cycle from ``advance`` to the iteration. Throughput: one iteration per cycle.

    Parameters
    ----------
    levels : width of each level's count in bits, outermost level first
    values : for each value, the levels that have a stride for it; stepping the others leaves it as it is
    bits : widths of values that do not have 16 bits
    held : counts and strides hold as long as they are needed, and are not copied
    slow : an ``advance`` without ``start`` comes two cycles or more after any other, so that sums can be in registers

    Members
    -------
    configure : takes ``counts`` and ``strides`` (unless they are ``held``); only beside ``start``, with ``advance`` or before it
    start : the next iteration is the first one, from ``starts`` on
    advance : goes to the next iteration; what follows the last one is undefined until ``start``
    counts : iterations of each level, at least 1; ``once``: it is 1, for the nest to know that early (unless counts are ``held``)
    starts : of each value
    strides : of each value and level
    o : the values in this iteration
    at_end : whether each level is in its last iteration
    last : all levels are
    """

    configure: Signal
    start: Signal
    advance: Signal
    counts: data.View
    once: data.View
    starts: data.View
    strides: data.View
    o: data.View
    at_end: data.View
    last: Signal

    def __init__(self, *, levels: Mapping[str, int], values: Mapping[str, Iterable[str]],
                 bits: Mapping[str, int] | None = None, held: bool = False, slow: bool = False):
        self.held = held
        self.slow = slow
        self.levels = dict(levels)
        self.values = {value: tuple(strided) for value, strided in values.items()}
        self.bits = {value: (bits or {}).get(value, VALUE_BITS) for value in self.values}
        if not self.levels:
            raise ValueError("levels must not be empty")
        for value, strided in self.values.items():
            for level in strided:
                if level not in self.levels:
                    raise ValueError(f"levels of {value} must be among {', '.join(self.levels)}, not {level!r}")
        starts = data.StructLayout(self.bits)
        super().__init__({
            "configure": In(1), "start": In(1), "advance": In(1),
            "counts": In(data.StructLayout(self.levels)), "once": In(data.StructLayout(dict.fromkeys(self.levels, 1))),
            "starts": In(starts),
            "strides": In(data.StructLayout({
                value: data.StructLayout({level: self.bits[value] for level in strided}) for value, strided in self.values.items()})),
            "o": Out(starts),
            "at_end": Out(data.StructLayout({level: 1 for level in self.levels})), "last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        # In turn is the innermost level that is not at its end. All sums wait for that, so it comes from flip-flops, decided
        # one iteration ahead; `advance` comes late and merely enables.
        advance = self.advance
        turns = {level: Signal(name=f"turn_{level}", reset_less=True) for level in self.levels}
        at_end_next = {}
        outer_turns = Const(0)
        for level, bits in self.levels.items():
            # Iterations beyond the next one; negative in the last.
            whole, configured, left, left_next, left_less = (
                Signal(signed(bits + 1), name=f"{name}_{level}", reset_less=True)
                for name in ("whole", "configured", "left", "left_next", "left_less"))
            m.d.comb += whole.eq(Mux(self.held | self.configure, self.counts[level] - 2, configured))
            less, ends = left_next - 1, left_next < 0
            with m.If(self.configure):
                m.d.sync += configured.eq(whole)
            if not self.held:  # a sum of what is there early, and then what is late chooses: it stays as it is, like ``left``
                configured_less = Signal.like(left_less, name=f"configured_less_{level}")
                whole_less = Mux(self.configure, self.counts[level] - 3, configured_less)
                less = Mux(self.start | outer_turns, whole_less, Mux(turns[level], left_less - 1, left_less))
                with m.If(self.configure):
                    m.d.sync += configured_less.eq(whole_less)
                ends = Mux(self.start | outer_turns, Mux(self.configure, self.once[level], configured < 0),
                           Mux(turns[level], left_less < 0, left < 0))
            with m.If(self.start | outer_turns):
                m.d.comb += left_next.eq(whole)
            with m.Elif(turns[level]):
                m.d.comb += left_next.eq(left_less)  # one fewer, counted ahead
            with m.Else():
                m.d.comb += left_next.eq(left)
            with m.If(advance):
                m.d.sync += [left.eq(left_next), left_less.eq(less)]
            m.d.comb += self.at_end[level].eq(left < 0)
            at_end_next[level] = ends
            outer_turns |= turns[level]

        inner_at_end = Const(1)
        for level in reversed(self.levels):
            with m.If(advance):
                m.d.sync += turns[level].eq(inner_at_end & ~at_end_next[level])
            inner_at_end &= at_end_next[level]
        last = Signal(reset_less=True)
        with m.If(advance):
            m.d.sync += last.eq(inner_at_end)
        m.d.comb += self.last.eq(last)

        for value, strided in self.values.items():
            self._follow(m, value, strided, turns)
        return m

    def _follow(self, m: Module, value: str, strided: Iterable[str], turns: Mapping[str, Signal]) -> None:
        bits = self.bits[value]
        stepped = Signal(bits, name=f"{value}_stepped")
        base, stride, outer_turns = Const(0, bits), Const(0, bits), Const(0)
        begin = None
        for level, turn in turns.items():
            outer_turns |= turn
            # A level without a stride begins where the level around it began, so it shares that register.
            if begin is None or level in strided:
                begin = Signal(bits, name=f"{value}_{level}", reset_less=True)
                with m.If(self.advance & (self.start | (outer_turns if level in strided else 0))):
                    m.d.sync += begin.eq(Mux(self.start, self.starts[value], stepped) if level in strided else self.starts[value])
            base |= Mux(turn, begin, 0)
            if level in strided:
                kept = Signal(bits, name=f"{value}_stride_{level}", reset_less=True)
                with m.If(self.configure):
                    m.d.sync += kept.eq(self.strides[value][level])
                stride |= Mux(turn, self.strides[value][level] if self.held else kept, 0)
        if self.slow:
            m.d.sync += stepped.eq(base + stride)
            m.d.comb += self.o[value].eq(begin)
        else:
            m.d.comb += [stepped.eq(base + stride), self.o[value].eq(begin)]
