"""The read side of the cycle model: bursts of LOAD and of the program fetch on their way through one memory port."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from .commands import Bank
from .cycles_bursts import Bursts
from .latency import Latency, Memory

__all__ = ["ReadPort"]


_PAST = 16   # cycles after which nobody asks for a burst that has passed


class _Segment:
    """Bursts ``first`` … ``first + many − 1`` of all, whose words follow each other from ``start`` on.

    ``asked`` : when the first was wanted; ``accepted`` : when it was accepted, and each of the others a cycle later or when there was room;
    ``bursts``, ``skip`` : which they are; ``load`` : the LOAD's number, −1 for the program; ``ends`` : as in ``bursts``, and what holds
    words up besides, from ``ends[skip]`` on
    """

    __slots__ = ("accepted", "asked", "bursts", "end", "ends", "first", "load", "many", "skip", "start")

    def __init__(self, first: int, many: int, asked: int, accepted: int, start: int, bursts: Bursts, skip: int, load: int):
        self.first, self.many, self.asked, self.accepted, self.start = first, many, asked, accepted, start
        self.bursts, self.skip, self.load = bursts, skip, load
        self.ends = bursts.ends
        self.end = start + self.ends[skip + many] - self.ends[skip]

    @property
    def kept(self) -> int:
        """Cycles before its end in which other words may pass."""
        kept = self.bursts.kept
        return kept[self.skip + self.many - 1] if kept else 0

    def left(self, burst: int) -> int:
        return self.start + self.ends[burst - self.first + self.skip + 1] - self.ends[self.skip]

    def later(self, commands: int, cycles: int) -> _Segment:
        """The same so many commands and cycles later."""
        one = _Segment(self.first, self.many, self.asked + cycles, self.accepted + cycles, self.start + cycles, self.bursts, self.skip,
                       self.load + commands if self.load >= 0 else -1)
        one.ends, one.end = self.ends, self.end + cycles
        return one

    def share(self, first: int, stop: int) -> None:
        """In cycles ``first`` … ``stop`` − 1, every other word of the memory is not one of these."""
        first = max(first, self.start)
        if not first < min(stop, self.end):
            return
        origin, skip = self.start - self.ends[self.skip], self.skip
        most = stop - first >> 1
        self.ends = [end if end + origin <= first else end + min(end + origin - first, most) for end in self.ends[:skip + self.many + 1]]
        self.end = origin + self.ends[-1]

    def hold(self, windows: list[tuple[int, int]]) -> None:
        """No word passes in ``windows``, cycles (first, behind the last) in order."""
        ends, skip = self.bursts.ends, self.skip
        start, held = self.start - ends[skip], 0
        number = bisect_right(windows, self.start, key=itemgetter(1))
        place = skip + 1
        now = ends[:place]
        for first, stop in windows[number:]:
            # Bursts that have passed before it begins.
            before = bisect_right(ends, first - start - held, place, skip + self.many + 1)
            now += [end + held for end in ends[place:before]]
            place = before
            if place > skip + self.many:
                break
            held += stop - max(first, self.start)
        now += [end + held for end in ends[place:skip + self.many + 1]]
        self.ends = now
        self.end = start + now[-1]


class ReadPort:
    """Bursts in the order in which they were asked for; the words of each come ``latency`` after it and after those before.

    Attributes
    ----------
    free : cycle in which the next word may pass
    asked : the last request was accepted then
    load_last : number of the last burst of LOADs
    windows : of each scratchpad, cycles (first, behind the last) in which no word for it passes
    """

    def __init__(self, latency: Latency, memory: Memory):
        self.first_word = max(memory.latency, latency.read_order)
        self.room = min(memory.bursts, latency.load_bursts)
        self.behind = memory.cycles_per_beat - 1   # of a burst, behind its last word
        # Where the memory has less room than LOAD, a request that was offered is not withdrawn; else LOAD's next request comes two cycles
        # after the word that makes room: one in a register, one to ask.
        self.keeps = memory.bursts < latency.load_bursts
        self.late = 0 if self.keeps else 2
        self.count = 0
        self.free = 0
        self.asked = -1
        self.load_last = -1
        self.segments: deque[_Segment] = deque()
        self.windows: dict[Bank, list[tuple[int, int]]] = {}
        self.written: list[tuple[int, int]] = []   # cycles in which words that are written take turns with those that are read

    def request(self, time: int, bursts: Bursts, load: int) -> None:
        """Ask for the bursts of LOAD number ``load``, one per cycle from ``time`` on."""
        many = len(bursts.ends) - 1
        if bursts.shortest * (self.room - 1) < self.first_word:
            # Where the requests that fit do not cover the latency, there are gaps.
            for index in range(many):
                self._ask(time, 1, bursts, index, load)
        else:
            self._ask(time, many, bursts, 0, load)
        self.load_last = self.count - 1

    @property
    def load_end(self) -> int:
        """When the last word of LOADs passes."""
        last = self._segment(self.load_last)
        return last.left(self.load_last) - 1 - last.bursts.tail

    def _ask(self, time: int, many: int, bursts: Bursts, skip: int, load: int) -> _Segment:
        late = self.late if load >= 0 else 0
        accepted = max(time, self.asked + 1, self.left(self.count - self.room) - self.behind + late)
        free = self.free
        if load < 0 and self.segments:
            free -= self.segments[-1].kept
        segment = _Segment(self.count, many, time, accepted, max(accepted + self.first_word, free), bursts, skip, load)
        if bursts.bank in self.windows:
            segment.hold(self.windows[bursts.bank])
        for first, stop in self.written:
            segment.share(first, stop)
        self.segments.append(segment)
        self.count += many
        self.free = max(self.free, segment.end)
        self.asked = max(accepted + many - 1, self.left(self.count - 1 - self.room) - self.behind + late)
        while len(self.segments) > 1 and self.segments[1].end < time - _PAST:
            self.segments.popleft()
        return segment

    def state(self, number: int, time: int) -> tuple[object, ...]:
        """All that matters to later bursts, from command ``number`` and from ``time`` on."""
        return (self.free - time, self.asked - time, self.load_last - self.count, tuple([
            (one.first - self.count, one.many, one.load - number if one.load >= 0 else None, one.asked - time, one.accepted - time,
             one.start - time, id(one.bursts), one.skip, None if one.ends is one.bursts.ends else tuple(one.ends))
            for one in self.segments if one.end > time]), tuple([
                (bank, first - time, stop - time) for bank, windows in (*self.windows.items(), (None, self.written))
                for first, stop in windows if stop > time]))

    def loads(self, time: int) -> list[int]:
        """LOADs of which words have not passed by ``time``."""
        return [one.load for one in self.segments if one.load >= 0 and one.end > time]

    def save(self) -> tuple[Any, ...]:
        """For :meth:`go_on`."""
        return (self.count, self.free, self.asked, self.load_last, [one.later(0, 0) for one in self.segments],
                {bank: list(windows) for bank, windows in self.windows.items()}, list(self.written))

    def go_on(self, saved: tuple[Any, ...], commands: int, cycles: int) -> None:
        """As if it had been saved so many commands and cycles later."""
        self.count, free, asked, self.load_last, segments, windows, written = saved
        self.free, self.asked = free + cycles, asked + cycles
        self.segments.clear()
        self.segments.extend([one.later(commands, cycles) for one in segments])
        self.windows = {bank: [(first + cycles, stop + cycles) for first, stop in many] for bank, many in windows.items()}
        self.written = [(first + cycles, stop + cycles) for first, stop in written]

    def write(self, time: int, cycles: int) -> int:
        """Words are written from ``time`` on, for so many cycles if they were alone; how many more cycles that takes."""
        more = min(cycles, max(0, self.free - time))
        oldest = min((one.start for one in self.segments if one.end > time), default=time)
        self.written = [one for one in self.written if one[1] > oldest]
        if self.written and self.written[-1][1] == time:
            self.written[-1] = self.written[-1][0], time + cycles + more
        else:
            self.written.append((time, time + cycles + more))
        if more:
            self._behind(time)
        return more

    def read(self, time: int, cycles: int) -> tuple[int, int]:
        """Words are to be read from ``time`` on for so many cycles more; from when on that holds up words written, and for how many."""
        since, held = time, 0
        for number, (first, stop) in enumerate(self.written):
            first, stop = first + held, stop + held
            at = max(time, first)
            cycles -= max(0, first - time)   # read before any is written
            more = max(0, min(cycles, stop - at))
            if more:
                since = since if held else at
                held, cycles, time = held + more, cycles - more, at + 2 * more
            self.written[number] = first, stop + more
        return since, held

    def block(self, bank: Bank, windows: list[tuple[int, int]]) -> bool:
        """No word for ``bank`` passes in ``windows``, which come behind all that were given before; whether that changes anything."""
        known = self.windows.setdefault(bank, [])
        time = windows[0][0]
        oldest = min((one.start for one in self.segments if one.end > time), default=time)
        del known[:bisect_right(known, oldest, key=itemgetter(1))]
        known += windows
        if not any(one.bursts.bank == bank and one.end > time for one in self.segments):
            return False
        self._behind(time)
        return True

    def _behind(self, time: int) -> None:
        """Place words again that have not passed by ``time``."""
        later = []
        while self.segments and self.segments[-1].end > time:
            later.append(self.segments.pop())
        self._cut(later[-1].first)
        self._again(later)

    def since(self, time: int) -> Iterator[tuple[int, int, int]]:
        """Of LOADs, and of the program (−1), in cycles: where the last words come that have not by ``time``; the latest first."""
        last = -1
        for one in reversed(self.segments):
            if one.end <= time:
                break
            if one.load < 0 or one.load != last:
                yield one.load, one.start, one.end - 1 - one.bursts.tail
                last = one.load

    def _cut(self, count: int) -> None:
        """Go on behind the segments that there are, which have so many bursts."""
        self.count = count
        self.free = self.segments[-1].end if self.segments else 0
        self.asked = self.accepted(count - 1) if self.segments else -1

    def _again(self, later: list[_Segment], time: int = 0) -> None:
        """Ask again for what was taken out, the latest first, not before ``time``; in the same segments."""
        while later:
            one = later.pop()
            self._ask(max(one.asked, time), one.many, one.bursts, one.skip, one.load)
            if one.load >= 0:
                self.load_last = self.count - 1

    def _segment(self, burst: int) -> _Segment:
        return next(segment for segment in reversed(self.segments) if burst >= segment.first)

    def left(self, burst: int) -> int:
        """The cycle after the last word of a burst; long ago for bursts that nobody remembers."""
        for segment in reversed(self.segments):
            if burst >= segment.first:
                ends, skip = segment.ends, segment.skip
                return segment.start + ends[burst - segment.first + skip + 1] - ends[skip]
        return 0

    def accepted(self, burst: int) -> int:
        """When the request of one of the latest bursts was accepted."""
        for segment in reversed(self.segments):
            if burst >= segment.first:
                late = self.late if segment.load >= 0 else 0
                return max(segment.accepted + burst - segment.first, self.left(burst - self.room) - self.behind + late)
        return 0

    def load_accepted(self, behind: int) -> int:
        """When the request of LOADs' last burst but so many was accepted; long ago where nobody remembers it."""
        for segment in reversed(self.segments):
            if segment.load >= 0:
                if behind < segment.many:
                    return self.accepted(segment.first + segment.many - 1 - behind)
                behind -= segment.many
        return 0

    def _taken(self, segment: _Segment, time: int) -> int:
        """How many bursts of a segment have been accepted before ``time``."""
        least, most = 0, min(segment.many, max(0, time - segment.accepted))
        while least < most:
            middle = least + most >> 1
            if self.left(segment.first + middle - self.room) - self.behind + (self.late if segment.load >= 0 else 0) < time:
                least = middle + 1
            else:
                most = middle
        return least

    def insert(self, time: int, cycles: int) -> int:
        """Ask for a burst of the program at ``time``, before what has not been accepted by then; when its words begin to come."""
        later: list[_Segment] = []
        while self.asked >= time and self.segments:
            segment = self.segments[-1]
            first = segment.first
            keep = self._taken(segment, time)
            if self.keeps and keep < segment.many:
                keep += max(segment.asked, self.accepted(first + keep - 1) + 1) < time
            self.segments.pop()
            if keep:
                kept = _Segment(first, keep, segment.asked, segment.accepted, segment.start, segment.bursts, segment.skip, segment.load)
                kept.ends, kept.end = segment.ends, segment.left(first + keep - 1)
                self.segments.append(kept)
            if keep < segment.many:
                later.append(_Segment(0, segment.many - keep, segment.asked, 0, 0, segment.bursts, segment.skip + keep, segment.load))
            self._cut(first + keep)
            if keep:
                break
        start = self._ask(time, 1, Bursts([0, cycles], 0, 0, 0, cycles, None, 0, []), 0, -1).start
        self._again(later, time + 1)
        return start
