"""The write side of the cycle model: rows of STORE through the epilogue into bursts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable
from typing import Any, NamedTuple

from .commands import Target
from .cycles_rows import Rows
from .latency import Latency, Memory

__all__ = ["Known", "StorePath"]

_WAITING = 16   # bursts without a response, and rows of the queue that the walk fills
_ROOM = 10      # rows that may wait behind the walk when it steps
_UNSEEN = 4     # and that are on their way to where they are counted
_PLACES = 26    # rows of which the place may wait then
_NEVER = 1 << 62
_LONG_AGO = 1 << 62
_PACKED = 4     # words between the packer and the bus


class Known(NamedTuple):
    """What a command does, in cycles from its tokens on: see :meth:`StorePath.run`; what it leaves behind, and until when."""

    free: int
    read: int
    done: int
    drained: int
    state: tuple[tuple[int, ...], ...]
    quiet: int
    windows: tuple[tuple[int, int], ...]


class StorePath:
    """What one STORE leaves behind for the next.

    Attributes
    ----------
    read : cycle after the last one in which a group was read
    known, found : what a command did that found the same, by the command before, and by what that had left behind
    """

    def __init__(self, latency: Latency, memory: Memory, known: dict[Hashable, Known] | None = None,
                 found: dict[Hashable, Known] | None = None):
        self.latency = latency
        self.memory = memory
        self.read = 0
        self.settings: tuple[int, ...] = ()
        self.target = Target.MEMORY
        self.done = 0           # the last byte of all is written
        self.drained = 0        # when the epilogue's pipeline is empty
        self.packed = 0         # when the packer takes the next chunk
        self.slow = 0           # until then, every other word of the memory is read
        self.word = 0           # when the next word may leave
        self.burst = 0          # the last burst was asked for
        self.asked = 0          # when the next row may be taken to be asked for
        self.responses = [0] * _WAITING
        self.known = {} if known is None else known
        self.found = {} if found is None else found
        self.base = 0
        self.row = 0                 # the command's first row in the lists below
        self.steps: list[int] = []   # rows that may be in somebody's way: when each was walked,
        self.takes: list[int] = []   # taken to be read,
        self.asks: list[int] = []    # taken to be asked for,
        self.reads: list[int] = []   # was read to the end,
        self.left: list[int] = []    # has left the epilogue
        self.windows: list[tuple[int, int]] = []  # cycles (first, behind the last) in which the command writes into its scratchpad
        self.sent = self.unsent = 0  # rows of which the words may leave; words of the others
        self.last = Known(0, 0, 0, 0, self.state(0), 0, ())

    def walked(self, rows: Rows, time: int) -> int:
        """When the fields of a command are free that cannot be read yet: its rows are walked all the same, if the queues hold them."""
        if len(rows.parts) > _ROOM + _UNSEEN + 1 or self.read > time:
            return _NEVER
        ready = 0 if rows.settings == self.settings else self.drained
        walk = time + max(self._change(rows, time), rows.window - 1) + rows.walk
        return max(walk + len(rows.parts), walk + 2, ready)

    def _change(self, rows: Rows, time: int) -> int:
        """For how long a command waits because those before go elsewhere and are not complete."""
        return 0 if rows.target is self.target else max(0, self.done + self.latency.store_target - time)

    def run(self, rows: Rows, time: int, granted: int) -> tuple[int, int, int]:
        """Rows of a command whose tokens are taken at ``time``, from a half that may be read from ``granted`` on.

        Returns when its fields are free, when its last row has been read, and when its last byte is written.
        """
        begins = id(rows), max(granted - time, 0), rows.settings == self.settings, self._change(rows, time)
        if self.memory.half_duplex:
            known = self._find(rows, time, granted, begins)
        else:
            key = begins, self.since(time)
            if key not in self.known:
                self.known[key] = self._find(rows, time, granted, begins)
            known = self.known[key]
        self.last, self.base = known, time
        self.windows = [(first + time, stop + time) for first, stop in known.windows]
        self.settings, self.target = rows.settings, rows.target
        self.read, self.drained, self.done = time + known.read, time + known.drained, time + known.done
        if self.memory.half_duplex:
            self._restore()
        return time + known.free, self.read, self.done

    def _find(self, rows: Rows, time: int, granted: int, begins: Hashable) -> Known:
        """What a command does, looked up by all that is left behind, or gone through row by row."""
        if not self.memory.half_duplex:
            self._restore()
        self._forget(time)
        key = begins, max(self.slow - time, 0), self.state(time)
        known = self.found.get(key)
        if known is None:
            free, read, done = self._run(rows, time, granted)
            self._forget(free)  # the next command begins later
            state = self.state(time, low=-_LONG_AGO)
            known = self.found[key] = Known(
                free - time, read - time, done - time, self.drained - time, state,
                max(max(many, default=0) for many in state) + 2, tuple([(first - time, stop - time) for first, stop in self.windows]))
        return known

    def since(self, time: int) -> Hashable:
        """What is left behind at ``time``: a command and for how long it has been there, or None."""
        return None if time - self.base >= self.last.quiet else (id(self.last), time - self.base)

    def state(self, time: int, *, low: int = 0) -> tuple[tuple[int, ...], ...]:
        """Everything that is left behind, from ``time`` on: what is past is all the same."""
        lists = (self.steps, self.takes, self.asks, self.reads, self.left, self.responses)
        numbers = (self.read, self.drained, self.packed, self.word, self.burst, self.asked)
        return tuple([tuple([max(one - time, low) for one in many]) for many in (numbers, *lists)])

    def seen(self, time: int) -> Hashable:
        """All that matters to later commands, from ``time`` on."""
        return self.settings, self.target, self.state(time) if self.memory.half_duplex else self.since(time)

    def save(self) -> tuple[Any, ...]:
        """For :meth:`go_on`."""
        last = self.last
        if self.memory.half_duplex:
            last = last._replace(state=self.state(self.base, low=-_LONG_AGO))
        return last, self.base, self.settings, self.target, self.read, self.drained, self.done, self.slow

    def go_on(self, saved: tuple[Any, ...], cycles: int) -> None:
        """As if it had been saved so many cycles later."""
        self.last, base, self.settings, self.target, read, drained, done, slow = saved
        self.base, self.read, self.drained, self.done, self.slow = (one + cycles for one in (base, read, drained, done, slow))
        if self.memory.half_duplex:
            self._restore()

    def _restore(self) -> None:
        """Everything that the last command left behind."""
        time = self.base
        numbers, *lists = self.last.state
        self.read, self.drained, self.packed, self.word, self.burst, self.asked = [one + time for one in numbers]
        for many, values in zip((self.steps, self.takes, self.asks, self.reads, self.left, self.responses), lists, strict=True):
            many[:] = [one + time for one in values]

    def _run(self, rows: Rows, time: int, granted: int) -> tuple[int, int, int]:
        latency = self.latency
        change = rows.settings != self.settings
        local = rows.target is not Target.MEMORY
        chunks, each = rows.chunks, rows.window - 1 + rows.interval
        spare = latency.chunks - 1
        step = time + max(self._change(rows, time), rows.window - 1) + rows.walk - 4
        self.row = self.sent = len(self.left)
        self.windows = []
        self.unsent = 0
        steps, takes, asks, reads, left = self.steps, self.takes, self.asks, self.reads, self.left
        seen: dict[tuple[int, ...], tuple[int, int]] = {}
        index, first, look, count, least = -1, 0, max(rows.period, 8), len(rows.parts), self._window(rows)
        while (index := index + 1) < count:
            if index == look and index < rows.regular - rows.period and self.slow <= self.word:
                look += rows.period
                if len(steps) < least:  # to be compared with
                    look = max(look, index + (least - len(steps)) // rows.period * rows.period)
                now, at = self._now(local)
                before, since = seen.get(now, (index, 0))
                seen[now] = index, at
                if index > before and (skipped := self._skip(rows, index, index - before, at - since, each)):
                    index, look = index + skipped, -1
                    step = self.steps[-1]
                    if index == count:
                        break
            step = self._room(rows, step + 1, index > 0) if len(steps) > _ROOM else step + 1
            if index and steps[-1] < step - 1:  # the row before was held until now
                steps[-1] = step - 1
            steps.append(step)
            valid = step + 3
            take = self.read - 1
            if take < valid + 2:
                take = valid + 2
            if not index:
                take = first = max(take, self.drained) if change else take
            takes.append(take)
            begin = take + 1 if take >= granted else granted
            end = begin + chunks * each
            behind = (index + 1) * chunks - 1 - spare   # the chunk of which the place is needed for the last one
            if behind >= 0:
                row = self.row + behind // chunks
                if row >= len(left) or left[row] + 2 > begin:
                    begin = max(begin, self._leaves(rows, index * chunks - spare) + 2)
                    end = max(begin + chunks * each, self._leaves(rows, behind) + 2 + each)
            self.read = end
            reads.append(end - rows.interval)
            if local:
                asks.append(valid)
                self._place(self._leave(rows, len(left)), rows, each)
                self.sent = len(left)
                continue
            ask = valid + 2
            if ask < self.asked:
                ask = self.asked
            asks.append(ask)
            self.asked = ask + 1
            if bursts := rows.bursts[index]:
                self._write(rows, bursts)
            else:
                self.unsent += rows.sizes[index]
                if self.unsent < _PACKED and len(left) == len(reads) - 1:
                    self._leave(rows, len(left))
        self.drained = self.read - rows.interval + rows.latency - 1
        free = max(step + 4, first + 1)
        done = self.packed + latency.visible if local else self.responses[-1]
        return free, self.read, done

    def _window(self, rows: Rows) -> int:
        """As many rows as matter to the next one."""
        return max(_PLACES + _UNSEEN + 4, self.latency.chunks // rows.chunks + 2)

    def _now(self, local: bool) -> tuple[tuple[int, ...], int]:
        """How things stand behind a row, relative to when it was walked, and when that was."""
        at, count = self.steps[-1], len(self.steps)
        bus = (0, 0, 0) if local else (self.word - at, self.burst - at, self.asked - at)
        return (len(self.left) - count, self.sent - count, self.unsent, self.read - at, self.packed - at, *bus, self.takes[-1] - at,
                self.asks[-1] - at, self.left[-1] - at), at

    def _skip(self, rows: Rows, index: int, period: int, later: int, each: int) -> int:
        """Where all that matters to the next rows is as it was ``period`` rows before, only ``later``, go on behind the last row for
        which it stays so; how many rows that skips."""
        window = self._window(rows)
        lists = self.steps, self.takes, self.asks, self.reads, self.left
        bursts = sum(rows.bursts[index - period:index])
        many: list[int]
        for many, width, past in (*[(many, window, period) for many in lists], (self.responses, _WAITING, bursts)):
            if past and (len(many) < width + past or [one + later for one in many[-width - past:-past]] != many[-width:]):
                return 0
        times = (rows.regular - index) // period
        cycles = times * later
        if rows.target is not Target.MEMORY:
            for time in range(1, times + 1):
                for end in self.left[-period:]:
                    self._place(end + time * later, rows, each)
        gone = len(self.steps) - window
        for many in lists:
            many[:] = [one + cycles for one in many[gone:]]
        self.responses[:] = [one + cycles for one in self.responses[-_WAITING:]]
        self.sent -= gone
        self.row = len(self.steps) - index - times * period
        self.read, self.packed, self.word = self.read + cycles, self.packed + cycles, self.word + cycles
        self.burst, self.asked = self.burst + cycles, self.asked + cycles
        return times * period

    def _forget(self, time: int) -> None:
        """Drop rows that are in nobody's way any more."""
        done = bisect_right(self.left, time - 2)
        for rows in (self.steps, self.takes, self.asks, self.reads, self.left):
            del rows[:done]
        del self.responses[:-_WAITING]

    def _room(self, rows: Rows, time: int, held: bool) -> int:
        """When there is room for a row, from ``time`` on: a step is seen 5 cycles later, and what leaves a queue 2 cycles.

        The row before it in its command is ``held`` until this one steps.
        """
        while len(self.steps) > _ROOM:
            arrived = bisect_right(self.steps, time - _UNSEEN - 1)
            if held and arrived == len(self.steps):
                arrived -= 1
            later = 0
            if arrived > _ROOM:
                later = max(self.takes[arrived - _ROOM - 1], self.asks[arrived - _ROOM - 1]) + 2
            if arrived > _PLACES:
                if arrived - _PLACES > len(self.left):
                    self.asked = max(self.asked, time)
                    self._write(rows, 1)
                later = max(later, self.left[arrived - _PLACES - 1] + 2)
            if later <= time:
                break
            time = later
        return time

    def _leaves(self, rows: Rows, chunk: int) -> int:
        """When a chunk of this command leaves the epilogue, if it has been read."""
        row, place = divmod(chunk, rows.chunks)
        if row < 0 or self.row + row >= len(self.reads):  # of a row that is being read: chunks leave as fast as they come
            return 0
        if self.row + row >= len(self.left):
            self._write(rows, 1)
        return self.left[self.row + row] - (rows.chunks - 1 - place)

    def _leave(self, rows: Rows, row: int) -> int:
        """When the last chunk of a row leaves the epilogue, as far as the packer takes it."""
        end = self.reads[row] + rows.latency
        if rows.pieces > rows.chunks:  # those before take the placer longer than they come
            end = max(end, end - (rows.chunks - 1) * (rows.window - 1 + rows.interval) + rows.pieces - rows.final)
        end = max(end, self.packed + rows.pieces - rows.final) + rows.final - 1
        self.left.append(end)
        self.packed = end + 1 + rows.over[row - self.row]
        return end

    def _written(self, time: int, cycles: int) -> int:
        """When words are written that take so many cycles from ``time`` on if they are alone."""
        return time + cycles + min(cycles, max(0, self.slow - time) // 2)

    def first_word(self, rows: Rows, time: int, granted: int) -> int:
        """When a command's first word may leave, about."""
        read = max(time + self._change(rows, time) + rows.walk + 3, granted, self.read) + rows.window - 1
        return read + rows.latency + rows.parts[0][0].words + self.latency.store_words

    def postpone(self, time: int, cycles: int) -> None:
        """Words that are written from ``time`` on are so later, as far as they are not yet."""
        def later(one: int) -> int:
            return one + cycles if one >= time + cycles else max(one, 2 * one - time)

        self.slow = max(self.slow, time + 2 * cycles)
        self.word, self.read, self.packed, self.drained = later(self.word), later(self.read), later(self.packed), later(self.drained)
        for many in (self.takes, self.reads, self.left):
            many[:] = [later(one) for one in many]
        self.responses[:] = [later(one - self.memory.to_response) + self.memory.to_response for one in self.responses]

    def _place(self, end: int, rows: Rows, each: int) -> None:
        """Chunks of a row leave for the scratchpad, the last one at ``end``; one every ``each`` cycles where that is more than one."""
        pieces = rows.pieces
        if each > 1 or rows.share > 1:  # in the cycle in which a write has all its chunks
            self.windows += [(end - behind * each, end - behind * each + 1) for behind in reversed(range(pieces))
                             if not behind or (pieces - behind) % rows.share == 0]
        elif self.windows and self.windows[-1][1] == end + 1 - pieces:
            self.windows[-1] = self.windows[-1][0], end + 1
        else:
            self.windows.append((end + 1 - pieces, end + 1))

    def _write(self, rows: Rows, bursts: int) -> None:
        """Ask for as many bursts; then the words of all rows that were read leave."""
        beat, slow, responses, left = self.memory.cycles_per_beat, self.slow, self.responses, self.left
        to_word, to_response = self.latency.store_words, self.memory.to_response
        burst, word, base = self.burst, self.word, self.row
        asked = []
        for _ in range(bursts):
            burst = max(self.asked, burst + 2, responses[-_WAITING] + 1)
            responses.append(_NEVER)
            asked.append(burst + self.latency.store_burst - 1)
        self.asked = self.burst = burst
        waiting, wanted = bursts, asked[0]  # bursts of which the words do not all leave yet, and when the first of them may begin
        for row in range(self.sent, len(self.reads)):
            early = row < len(left)
            end = left[row] if early else self._leave(rows, row)
            over = rows.over[row - base]
            for words, behind, ends in rows.parts[row - base]:
                if word < wanted:
                    word = wanted
                word = word + beat * words if slow <= word else self._written(word, beat * words)
                leaves = end - behind + to_word + (0 if behind else over)
                if word < leaves:
                    word = leaves
                if ends and waiting:
                    responses[-waiting] = word + to_response
                    waiting -= 1
                    wanted = asked[-waiting] if waiting else 0
            if not early:  # what the bus does not take fills the words before it
                if word - _PACKED - to_word + 1 > end:
                    end = left[row] = word - _PACKED - to_word + 1
                self.packed = end + 1 + over
        self.word = word
        self.sent = len(self.reads)
        self.unsent = 0
        if waiting:
            responses[-1] = word + to_response
