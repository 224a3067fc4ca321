"""The read side of the cycle model: bursts of LOAD and of the program fetch on their way through one memory port."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import NamedTuple

import numpy as np

from . import footprint
from .commands import Bank, Load
from .config import Config
from .latency import LOAD_BURST_BEATS, Latency, Memory

__all__ = ["Bursts", "ReadPort", "load_bursts"]


class Bursts(NamedTuple):
    """The bursts of one LOAD, in order.

    ``ends`` : cycles on the bus until each burst has passed, after a leading 0; ``before_last`` : bursts of all runs but the last;
    ``busy`` : cycles in which something is written; ``shortest`` : cycles of the shortest
    """

    ends: list[int]
    before_last: int
    busy: int
    shortest: int


def load_bursts(config: Config, c: Load, base: int, cycles_per_beat: int) -> Bursts:
    """What a LOAD asks for: a word takes a cycle, or as many as it has writes.

    Parameters
    ----------
    base : address behind the base register
    cycles_per_beat : cycles from word to word that the memory takes at least
    """
    bus = config.bus_bytes
    width = {Bank.ACTIVATION: min(bus, config.array.rows), Bank.WEIGHT: min(bus, config.array.cols)}.get(Bank(c.bank), 4)
    block = LOAD_BURST_BEATS * bus
    start = base + footprint.memory_offsets(c, np.arange(footprint.run_count(c)))
    stop = start + c.run
    count = (stop - 1) // block - start // block + 1
    run = np.repeat(np.arange(len(start)), count)
    place = np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count)  # within the run
    low = np.maximum(start[run], (start[run] // block + place) * block)
    high = np.minimum(stop[run], (start[run] // block + place + 1) * block)
    # Whole words, and what the first and the last one hold.
    first, last = low // bus, (high - 1) // bus
    one = first == last
    head, tail = np.where(one, high - low, bus - low % bus), np.where(one, 0, (high - 1) % bus + 1)
    writes = -(-head // width) + -(-tail // width) + np.maximum(last - first - 1, 0) * -(-bus // width)
    cycles = np.maximum(writes, (last - first + 1) * cycles_per_beat)
    return Bursts([0, *np.cumsum(cycles).tolist()], len(run) - int(count[-1]), int(writes.sum()), int(cycles.min()))


class _Segment(NamedTuple):
    """Bursts ``first`` … ``first + many − 1`` of all, whose words follow each other without a gap from ``start`` on."""

    first: int
    many: int
    accepted: int      # when the first was, and each of the others a cycle later or when there was room
    start: int
    ends: list[int]
    skip: int          # bursts of ``ends`` before the first


class ReadPort:
    """Bursts in the order in which they were asked for; the words of each come ``latency`` after it and after those before.

    Attributes
    ----------
    free : cycle in which the next word may pass
    asked : the last request was accepted then
    load_last : number of the last burst of LOADs
    """

    def __init__(self, latency: Latency, memory: Memory):
        self.first_word = max(memory.latency, latency.read_order)
        self.room = min(memory.bursts, latency.load_bursts)
        self.count = 0
        self.free = 0
        self.asked = -1
        self.load_last = -1
        self.segments: deque[_Segment] = deque()

    def request(self, time: int, ends: list[int], skip: int = 0, *, shortest: int = 1) -> None:
        """Ask for the bursts of ``ends`` behind the first ``skip``, one per cycle from ``time`` on."""
        count = len(ends) - 1 - skip
        if shortest * (self.room - 1) < self.first_word:
            self._one_by_one(time, ends, skip)
        else:
            self._ask(time, count, ends, skip)
        self.load_last = self.count - 1

    @property
    def load_end(self) -> int:
        """When the last word of LOADs passes."""
        return self.left(self.load_last) - 1

    def _ask(self, time: int, count: int, ends: list[int], skip: int) -> int:
        accepted = max(time, self.asked + 1, self.left(self.count - self.room))
        start = max(accepted + self.first_word, self.free)
        self._append(_Segment(self.count, count, accepted, start, ends, skip))
        return start

    def _one_by_one(self, time: int, ends: list[int], skip: int) -> None:
        """Where the requests that fit do not cover the latency, there are gaps."""
        index, last = skip, len(ends) - 1
        while index < last:
            self._ask(time, 1, [0, ends[index + 1] - ends[index]], 0)
            index += 1

    def _append(self, segment: _Segment) -> None:
        self.segments.append(segment)
        self.count += segment.many
        self.free = self._ends(segment)
        self.asked = max(segment.accepted + segment.many - 1, self.left(self.count - 1 - self.room))
        while self.segments[0].first + self.segments[0].many < self.count - 3 * self.room:
            self.segments.popleft()

    def state(self, time: int) -> tuple[object, ...]:
        """All that matters to later bursts, from ``time`` on."""
        return (self.free - time, self.asked - time, self.load_last - self.count, tuple([
            (one.first - self.count, one.many, one.accepted - time, one.start - time, id(one.ends), one.skip) for one in self.segments
            if self._ends(one) > time]))

    def shift(self, cycles: int) -> None:
        """Everything so many cycles later."""
        self.free += cycles
        self.asked += cycles
        self.segments = deque(one._replace(accepted=one.accepted + cycles, start=one.start + cycles) for one in self.segments)

    def hold(self, time: int, cycles: int) -> int:
        """Words that have not come by ``time`` come so many cycles later, as far as the port is busy; how many cycles that is."""
        held = min(cycles, max(0, self.free - time))
        if held:
            self.segments = deque(segment._replace(start=segment.start + held) if self._ends(segment) > time else segment
                                  for segment in self.segments)
            self.free += held
        return held

    @staticmethod
    def _ends(segment: _Segment) -> int:
        return segment.start + segment.ends[segment.skip + segment.many] - segment.ends[segment.skip]

    def left(self, burst: int) -> int:
        """The cycle after the last word of a burst; long ago for bursts that nobody remembers."""
        for segment in reversed(self.segments):
            if burst >= segment.first:
                return segment.start + segment.ends[burst - segment.first + segment.skip + 1] - segment.ends[segment.skip]
        return 0

    def accepted(self, burst: int) -> int:
        """When the request of one of the latest bursts was accepted."""
        for segment in reversed(self.segments):
            if burst >= segment.first:
                return max(segment.accepted + burst - segment.first, self.left(burst - self.room))
        return 0

    def insert(self, time: int, cycles: int) -> int:
        """Ask for one burst at ``time``, before what has not been accepted by then; when its words begin to come."""
        later: list[_Segment] = []
        while self.asked >= time and self.segments:
            segment = self.segments[-1]
            keep = bisect_right(range(segment.many), time - 1, key=lambda n: self.accepted(segment.first + n))
            self.segments.pop()
            self.count = segment.first
            if keep:
                self.segments.append(segment._replace(many=keep))
                self.count += keep
            later.append(segment._replace(first=self.count, many=segment.many - keep, skip=segment.skip + keep))
            self.free = self.left(self.count - 1)
            self.asked = self.accepted(self.count - 1) if self.segments else -1
            if keep:
                break
        start = self._ask(time, 1, [0, cycles], 0)
        for segment in reversed(later):
            # What follows without a gap does so again.
            self.request(max(segment.accepted, time + 1), segment.ends[:segment.skip + segment.many + 1], segment.skip,
                         shortest=self.first_word)
        return start
