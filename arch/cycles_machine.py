"""The machine of the cycle model: what happens next, and what it changes."""

from __future__ import annotations

import dataclasses
from collections import deque

from .commands import Bank, Engine, Target
from .cycles_kinds import ENGINES, Kind, Shapes
from .cycles_read import ReadPort
from .cycles_repeat import Repeats
from .cycles_rows import Rows
from .cycles_store import StorePath

__all__ = ["Machine", "Prediction"]

_LOAD, _EXECUTE, _STORE, _NONE = 0, 1, 2, 3
_NEVER = 1 << 62
_LONG = 200  # commands of a program that may be worth looking for repetitions
_SCRATCHPADS = {Target.ACTIVATION: Bank.ACTIVATION, Target.WEIGHT: Bank.WEIGHT}


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Cycles from START to DONE; for each command, in program order, when it begins and when it is complete; cycles each engine is busy."""

    cycles: int
    begin: tuple[int, ...]
    complete: tuple[int, ...]
    busy: dict[Engine, int]


class Machine:
    """Times at which what engines share becomes free, and the rules by which commands move them on."""

    never = _NEVER

    def __init__(self, shapes: Shapes, kinds: list[Kind], program: int = 0):
        """``program`` is its address."""
        self.config, self.memory, self.latency, self.kinds = shapes.config, shapes.memory, shapes.latency, kinds
        config, memory, latency = self.config, self.memory, self.latency
        self.reads = ReadPort(latency, memory)
        self.stores = StorePath(latency, memory, shapes.known, shapes.found)
        self.begin, self.complete = [-1] * len(kinds), [0] * (len(kinds) + 1)  # the last one is nobody's, and long complete
        self.busy = [0, 0, 0]
        # For each pair of engines, commands that gave tokens not yet taken.
        self.posted: list[deque[int]] = [deque() for _ in range(9)]
        self.queues: list[deque[tuple[int, int]]] = [deque() for _ in range(3)]  # of each engine: command, decoded
        # The last commands of each engine that began, and how many were dispatched that have not.
        self.room = config.control.queue_commands
        self.begun = [deque([-1] * self.room, self.room) for _ in range(3)]
        self.dispatched = [0, 0, 0]
        self.fields_free = [-100, -100, -100]   # when the decoder gave away the fields before
        self.ready = [_NEVER, _NEVER, _NEVER]   # when the next command of each engine may begin, as far as is known,
        self.stale = [True, True, True]         # and whether to look again
        # Program: the next command, and how many of its words were moved; when the next one may be.
        self.place = self.moved = self.next = 0         # and its engine
        self.dispatch_free = 0
        self.words_left = sum([kind.words for kind in self.kinds])
        self.coming: deque[tuple[int, int]] = deque()   # bursts that were asked for: words, dispatch of the first
        self.fetched: deque[tuple[int, int]] = deque()  # bursts that have come: words left, dispatch of the first
        self.burst_words, self.beat_words = latency.fetch_bytes // 4, config.bus_bytes // 4
        # Bursts end at multiples of their length: words that the first one does not have, and of its first bus word.
        self.missing = program // 4 % self.burst_words
        self.gone = self.missing % self.beat_words      # words of the first burst that were moved
        self.aside = latency.fetch_aside                # words that wait in front of dispatch, out of their buffer
        # When bursts are asked for.
        self.fetches = deque([latency.fetch_request, latency.fetch_request + latency.fetch_next])
        self.halves: list[tuple[int, int]] = [(_NONE, -100)] * 2  # who used it last, and the first cycle without a claim
        self.granted = [0, 0]                                  # since when the STORE that has a half may read it
        # Commands that have begun, and when: EXECUTE without its half; STOREs without theirs, and those whose rows are not read yet.
        self.rows_waiting: deque[tuple[int, int]] = deque()
        self.claims_waiting: deque[tuple[int, int]] = deque()
        self.reads_waiting: deque[tuple[int, int]] = deque()
        self.stored: deque[int] = deque(maxlen=4)              # the last STOREs to memory, where they share it with reads
        self.load_number = -1                # the last LOAD that began
        self.pending = self.preloader = 0    # EXECUTE: room for a command in the streamer and in the preloader
        self.first_row = self.last_row = -100  # of the last tile: its first row, and behind its last one
        # Constants of the rules.
        # From the fields before to a command, besides its words.
        self.more_words = [latency.load_begin + 1, latency.execute_check + 1, latency.store_begin + 1]
        self.decoded = [latency.load_begin, latency.execute_check, latency.store_begin]
        self.written = latency.load_write + latency.visible
        self.settle = latency.settle
        self.outputs_stay = config.array.dataflow == "os"
        self.repeats = Repeats(self) if len(kinds) >= _LONG else None

    def run(self) -> Prediction:
        coming, fetches, fetched, ready, stale = self.coming, self.fetches, self.fetched, self.ready, self.stale
        look = (self._look, self._look, self._look)
        while True:
            if fetched and (self.moved or self.dispatched[self.next] != self.room):
                self._dispatch()
            for engine in (0, 1, 2):
                if stale[engine]:
                    look[engine](engine)
            # What happens next: a command begins, or one that has begun gets its accumulator half.
            act, time = 0, ready[0]
            if self.rows_waiting:
                at = self._half_free(self.rows_waiting[0])
                if at < time:
                    act, time = 1, at
            if ready[1] < time:
                act, time = 2, ready[1]
            for claim in self.claims_waiting:
                at = self._claimed(claim)
                if at < time:
                    act, time = 3, at
            if ready[2] < time:
                act, time = 4, ready[2]
            if coming and coming[0][1] <= time and (not fetches or coming[0][1] <= fetches[0]):
                fetched.append(coming.popleft())
            elif fetches and fetches[0] <= time:
                self._fetch(fetches.popleft())
            elif time >= _NEVER:
                break
            elif act == 0:
                self._load(time)
            elif act == 1:
                self._stream(time)
            elif act == 2:
                self._execute(time)
            elif act == 3:
                self._claim(time)
            else:
                self._store(time)
        return Prediction(max(self.complete) + self.latency.end, tuple(self.begin), tuple(self.complete[:-1]),
                          dict(zip(ENGINES, self.busy, strict=True)))

    # Program

    def _fetch(self, time: int) -> None:
        words = min(self.burst_words - self.missing, self.words_left)
        self.words_left -= words
        if not words:
            return
        cycles = -(-(self.missing % self.beat_words + words) // self.beat_words) * self.memory.cycles_per_beat
        self.missing = 0
        load_last = self.reads.load_last
        if self.memory.half_duplex:
            self._share_read(max(time + self.reads.first_word, self.reads.free), cycles)
        start = self.reads.insert(time, cycles)
        self.coming.append((words, start + self.latency.fetch_word))
        if self.reads.load_last != load_last:
            self._later(start)

    def _dispatch(self) -> None:
        """Move words as far as they have arrived and queues have room."""
        kinds, fetched, beat_words, free = self.kinds, self.fetched, self.beat_words, self.dispatch_free
        place, moved, end = self.place, self.moved, len(self.kinds)
        header, queue_free = self.latency.header, self.latency.queue_free
        while place < end and fetched:
            kind = kinds[place]
            engine = kind.engine
            if not moved:
                waiting = self.dispatched[engine]
                if waiting == self.room:
                    break
            left, arrived = fetched[0]
            count = min(kind.words - moved, left)
            # Words of one beat come together: the first ones, and the last ones.
            gone, behind = self.gone, self.gone + count
            at = arrived + gone // beat_words * self.memory.cycles_per_beat
            if at > free:
                free = at
            ready = free
            if not moved:
                free = max(free + header, self.begun[engine][waiting] + queue_free)
            last = (behind - 1) // beat_words
            if last * beat_words > gone:
                free = max(free, arrived + last * self.memory.cycles_per_beat - last * beat_words + gone)
            free += count
            moved += count
            if count < left:
                fetched[0] = left - count, arrived
                self.gone = behind
            else:
                fetched.popleft()
                self.gone = 0
                # The last two words of a burst have left its buffer whether a command that begins with them may move or not.
                waited = free - ready - count if count <= self.aside else 0
                self.fetches.append(free - 1 - waited + self.latency.refill)
            if moved == kind.words:
                self.queues[engine].append((place, free - 1 + self.latency.decode))
                self.stale[engine] = True
                self.dispatched[engine] += 1
                place += 1
                moved = 0
        self.dispatch_free, self.place, self.moved = free, place, moved
        if place < end:
            self.next = kinds[place].engine

    # Commands

    def _look(self, engine: int) -> None:
        """When the next command of an engine may begin."""
        self.stale[engine] = False
        queue = self.queues[engine]
        if not queue:
            self.ready[engine] = _NEVER
            return
        number, decoded = queue[0]
        kind = self.kinds[number]
        time = max(decoded + self.decoded[engine], self.fields_free[engine] + kind.words + self.more_words[engine])
        if engine == _EXECUTE:
            time = max(time + kind.detail.counting, self.pending, self.preloader)
        for one in kind.waits:
            waiting = self.posted[one]
            if not waiting:
                self.ready[engine] = _NEVER
                return
            given = self.complete[waiting[0]] + 1
            if given > time:
                time = given
        self.ready[engine] = time + self.latency.execute_begin if engine == _EXECUTE else time

    def _begin(self, engine: int, time: int) -> int:
        """The engine's next command begins; which one it is."""
        number, _ = self.queues[engine].popleft()
        kind = self.kinds[number]
        for one in kind.waits:
            self.posted[one].popleft()
        for one in kind.posts:
            self.posted[one].append(number)
            self.stale[one % 3] = True
        self.begin[number] = time
        self.complete[number] = _NEVER
        self.begun[engine].append(time)
        self.dispatched[engine] -= 1
        self.stale[engine] = True
        return number

    def _known(self, engine: int, kind: Kind) -> None:
        """It is known when a command is complete, and when its engine has room: who may begin for that?"""
        self.stale[engine] = True
        for one in kind.posts:
            self.stale[one % 3] = True

    def _load(self, time: int) -> None:
        number = self._begin(_LOAD, time)
        bursts = self.kinds[number].detail
        if self.memory.half_duplex:
            self._share_read(max(time + self.latency.load_request + self.reads.first_word, self.reads.free), bursts.ends[-1])
        self.reads.request(time + self.latency.load_request, bursts, number)
        self.load_number = number
        self.busy[_LOAD] += bursts.busy
        self._load_ends()

    def _load_ends(self) -> None:
        """When the last LOAD is complete, and when its fields are free: all of its runs have been walked."""
        port, number = self.reads, self.load_number
        if port.load_last < port.segments[0].first:  # nobody remembers its words
            return
        bursts = self.kinds[number].detail
        self.complete[number] = port.load_end + self.written
        # A run per cycle, while registers on the way to the requests hold what these do not take; only LOAD's own requests count.
        walked = max(self.begin[number] + bursts.runs, port.load_accepted(bursts.held + self.latency.load_ahead) + self.latency.load_ahead)
        self.fields_free[_LOAD] = walked + self.latency.load_last

    def _later(self, time: int) -> None:
        """Words of LOADs and of the program come later that have not come by ``time``."""
        coming = len(self.coming)
        for number, start, end in self.reads.since(time):
            if number >= 0:
                self.complete[number] = end + self.written
            elif coming:
                coming -= 1
                self.coming[coming] = self.coming[coming][0], start + self.latency.fetch_word
        if self.load_number >= 0:
            self._load_ends()
        self.stale[:] = True, True, True

    def _execute(self, time: int) -> None:
        number = self._begin(_EXECUTE, time)
        self.rows_waiting.append((number, time))
        self.pending = self.preloader = _NEVER
        self.fields_free[_EXECUTE] = time
        if self.halves[self.kinds[number].half][0] == _EXECUTE:
            self._stream(time)

    def _half_free(self, waiting: tuple[int, int]) -> int:
        return max(waiting[1], self.halves[self.kinds[waiting[0]].half][1])

    def _stream(self, granted: int) -> None:
        """Tile after tile: the vectors of a tile come once the rows of the one before have begun."""
        number, time = self.rows_waiting.popleft()
        kind = self.kinds[number]
        if self.outputs_stay:
            self._pass(granted, number, kind)
            return
        rows, tiles, _, lead, gap, vectors, each = kind.detail
        step = max(time + lead, self.first_row + gap)
        swap = max(step + vectors, self.last_row, granted + self.latency.lock_rows)
        first = swap + self.latency.swap_cycles
        self.pending = swap + self.latency.row_pending
        last = first + (tiles - 1) * each
        if tiles > 1:
            step = last - each + gap
        self.preloader = step + self.config.array.rows + 1
        self.first_row, self.last_row = last, last + rows
        self.busy[_EXECUTE] += rows * tiles
        settled = last + rows - 1 + self.settle
        self.complete[number] = settled
        self.halves[kind.half] = _EXECUTE, settled + 1
        self._known(_EXECUTE, kind)

    def _pass(self, granted: int, number: int, kind: Kind) -> None:
        """Pass after pass, the first one in the slot behind the one before's last reading, or in the next one, or after a rest.

        ``first_row`` and ``last_row`` are the ends of the slots in which the last pass is read and multiplied.
        """
        rows, tiles, _, slots, last, drained = kind.detail
        latency, ended, rested = self.latency, self.first_row, self.last_row
        ready = granted + (latency.pass_claimed if self.halves[kind.half][0] == _EXECUTE else latency.pass_granted)
        slot = latency.slot
        if ready <= ended:
            time, slot = ended, rested - ended
        elif ready <= rested:
            time = rested
        else:
            time = max(ready, rested + latency.pass_control + 1)
        self.fields_free[_EXECUTE] = time
        self.pending = self.preloader = time + 1
        self.first_row = time + slot + slots
        self.last_row = self.first_row + last
        self.busy[_EXECUTE] += rows * tiles
        settled = self.last_row + latency.pass_control + drained + self.settle
        self.complete[number] = settled
        self.halves[kind.half] = _EXECUTE, settled + 1
        self._known(_EXECUTE, kind)

    def _store(self, time: int) -> None:
        number = self._begin(_STORE, time)
        self.reads_waiting.append((number, time))
        self.claims_waiting.append((number, time))
        if self._claimed((number, time)) == time:
            self._claim(time)
        else:
            self._store_fields()
        if self.repeats:
            self.repeats.look(number, time)

    def _claimed(self, claim: tuple[int, int]) -> int:
        """When a STORE that began gets its half, if nobody else keeps it."""
        user, free = self.halves[self.kinds[claim[0]].half]
        return claim[1] if user == _STORE else max(claim[1], free)

    def _store_fields(self) -> None:
        """The fields of the last STORE are free once its rows are walked, which those of one may be before they are read."""
        if self.reads_waiting:
            number, time = self.reads_waiting[0]
            alone = len(self.reads_waiting) == 1
            self.fields_free[_STORE] = self.stores.walked(self.kinds[number].detail, time) if alone else _NEVER
        self.stale[_STORE] = True

    def _claim(self, time: int) -> None:
        """A STORE gets its half, and rows are read as far as commands before it have theirs."""
        claim = next(claim for claim in self.claims_waiting if self._claimed(claim) <= time)
        self.claims_waiting.remove(claim)
        half = self.kinds[claim[0]].half
        if self.halves[half][0] != _STORE:
            self.granted[half] = time + self.latency.lock_reads
        self.halves[half] = _STORE, _NEVER
        last = self.claims_waiting[0][0] if self.claims_waiting else len(self.kinds)
        while self.reads_waiting and self.reads_waiting[0][0] < last:
            self._read()
        self._store_fields()

    def _read(self) -> None:
        number, time = self.reads_waiting.popleft()
        kind = self.kinds[number]
        rows, half = kind.detail, kind.half
        local = rows.target is not Target.MEMORY
        if self.memory.half_duplex and not local:
            self._share_write(rows, time, self.granted[half])
            self.stored.append(number)
        self.fields_free[_STORE], read, self.complete[number] = self.stores.run(rows, time, self.granted[half])
        if not any(self.kinds[other].half == half for other, _ in self.reads_waiting):
            self.halves[half] = _STORE, read
        self.busy[_STORE] += rows.busy
        self._known(_STORE, kind)
        if local:  # a word passes some cycles before it is written, a chunk leaves the cycle before
            before = self.latency.load_write - 1
            windows = [(first - before, stop - before) for first, stop in self.stores.windows]
            if self.reads.block(_SCRATCHPADS[rows.target], windows):
                self._later(windows[0][0])

    def _share_write(self, rows: Rows, time: int, granted: int) -> None:
        """Reads and writes take turns, so each word written holds up one that is still to be read, and the other way round."""
        start = max(self.stores.first_word(rows, time, granted), self.stores.word)
        more = self.reads.write(start, rows.words * self.memory.cycles_per_beat)
        self.stores.slow = start + 2 * more
        if more:
            self._later(start)

    def _share_read(self, start: int, cycles: int) -> None:
        since, more = self.reads.read(start, cycles)
        if more:
            self.stores.postpone(since, more)
            for half, (user, free) in enumerate(self.halves):
                if user == _STORE and since < free < _NEVER:
                    self.halves[half] = user, free + min(more, free - since)
            if since < self.fields_free[_STORE] < _NEVER:
                self.fields_free[_STORE] += min(more, self.fields_free[_STORE] - since)
            for number in self.stored:
                self.complete[number] += max(0, min(more, self.complete[number] - self.memory.to_response - since))
            self.stale[:] = True, True, True
