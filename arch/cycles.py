"""How many cycles a program takes: a model of the machine, command by command, without running it.

Commands begin in the order of time, held up by dispatch, tokens, the accumulator's halves and their engine; within a command, bursts,
rows and tiles follow each other by rules that need no clock. Works on programs of any origin. All constants are latencies
of blocks (:mod:`.latency`).
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, cast

from . import footprint
from .commands import PEERS, Bank, Command, Engine, Execute, Load, Store, Target
from .config import Config
from .cycles_read import Bursts, ReadPort, load_bursts
from .cycles_repeat import Repeats
from .cycles_store import Rows, StorePath, store_rows
from .latency import LOAD_BURST_BEATS, Latency, Memory
from .registers import BASES

__all__ = ["Machine", "Memory", "Prediction", "predict_cycles"]

_ENGINES = (Engine.LOAD, Engine.EXECUTE, Engine.STORE)
_NEVER = 1 << 62
_LONG = 200  # commands of a program that may be worth looking for repetitions


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Cycles from START to DONE; for each command, in program order, when it begins and when it is complete; cycles each engine is busy."""

    cycles: int
    begin: tuple[int, ...]
    complete: tuple[int, ...]
    busy: dict[Engine, int]


def predict_cycles(config: Config, program: Iterable[Command], *, memory: Memory | None = None,
                   bases: Sequence[int] = ()) -> Prediction:
    """Predict a program that ends without an error.

    Parameters
    ----------
    config : the accelerator
    program : commands with their tokens
    memory : device memory, by default :class:`Memory` as it stands
    bases : addresses in base registers; those that are not given are taken to be 0
    """
    return Machine(config, list(program), memory or Memory(), (*bases, *[0] * BASES)).run()


class Machine:
    """Times at which what engines share becomes free, and the rules by which commands move them on."""

    never = _NEVER

    def __init__(self, config: Config, program: list[Command], memory: Memory, bases: Sequence[int]):
        self.config = config
        self.program = program
        self.engines = [command.engine for command in program]
        self.bases = bases
        self.memory = memory
        self.latency = latency = Latency(config)
        self.reads = ReadPort(latency, memory)
        self.stores = StorePath(latency, memory)
        self.begin, self.complete = [-1] * len(program), [0] * len(program)
        self.busy = dict.fromkeys(_ENGINES, 0)
        self.posted: dict[tuple[Engine, Engine], deque[int]] = {
            (giver, taker): deque() for giver in _ENGINES for taker in PEERS[giver]}  # commands that gave tokens not yet taken
        self.queues: dict[Engine, deque[tuple[int, int]]] = {engine: deque() for engine in _ENGINES}  # command, decoded
        # The last commands of each engine that began, and how many were dispatched that have not.
        self.begun: dict[Engine, deque[int]] = {
            engine: deque([-1] * config.control.queue_commands, config.control.queue_commands) for engine in _ENGINES}
        self.dispatched = dict.fromkeys(_ENGINES, 0)
        self.fields_free = dict.fromkeys(_ENGINES, -100)   # when the decoder gave away the fields before
        # Program: the next command, and how many of its words were moved; when the next one may be.
        self.place = self.moved = 0
        self.dispatch_free = 0
        self.words_left = sum(command.words for command in program)
        self.coming: deque[tuple[int, int]] = deque()   # bursts that were asked for: words, dispatch of the first
        self.fetched: deque[tuple[int, int]] = deque()  # bursts that have come: words left, dispatch of the first
        self.burst_words, self.beat_words = latency.fetch_bytes // 4, config.bus_bytes // 4
        self.gone = 0                                   # words of the first burst that were moved
        self.fetches = deque([latency.fetch_request, latency.fetch_request + 1])  # when bursts are asked for
        self.halves: list[tuple[Engine, int]] = [(Engine.NONE, -100)] * 2  # who used it last, and the first cycle without a claim
        self.granted = [0, 0]                                  # since when the STORE that has a half may read it
        # Commands that have begun, and when: EXECUTE without its half; STOREs without theirs, and those whose rows are not read yet.
        self.rows_waiting: deque[tuple[int, int]] = deque()
        self.claims_waiting: deque[tuple[int, int]] = deque()
        self.reads_waiting: deque[tuple[int, int]] = deque()
        self.stored: deque[int] = deque(maxlen=4)              # the last STOREs to memory, where they share it with reads
        self.load_number = -1                # the last LOAD that began
        self.load_bursts = Bursts([0], 0, 0, 1, None, 0)
        self.pending = self.preloader = 0    # EXECUTE: room for a command in the streamer and in the preloader
        self.first_row = self.last_row = -100  # of the last tile: its first row, and behind its last one
        self.block = LOAD_BURST_BEATS * config.bus_bytes - 1   # of an address, what matters to bursts
        self.shapes: dict[Hashable, Any] = {}
        self.repeats = Repeats(self) if len(program) >= _LONG else None

    def run(self) -> Prediction:
        while True:
            self._dispatch()
            time, act = self._first()
            if self.coming and self.coming[0][1] <= min(time, self.fetches[0] if self.fetches else time):
                self.fetched.append(self.coming.popleft())
            elif self.fetches and self.fetches[0] <= time:
                self._fetch(self.fetches.popleft())
            elif time == _NEVER:
                break
            else:
                act(time)
        return Prediction(max(self.complete, default=0) + self.latency.end, tuple(self.begin), tuple(self.complete), self.busy)

    def _first(self) -> tuple[int, Callable[[int], None]]:
        """What happens next: a command begins, or one that has begun gets its accumulator half."""
        time: int = self._ready(Engine.LOAD)
        act: Callable[[int], None] = self._load
        for number, began in self.rows_waiting:
            at = max(began, self.halves[self._half(number)][1])
            if at < time:
                time, act = at, self._stream
        if (at := self._ready(Engine.EXECUTE)) < time:
            time, act = at, self._execute
        for claim in self.claims_waiting:
            if (at := self._claimed(*claim)) < time:
                time, act = at, self._claim
        if (at := self._ready(Engine.STORE)) < time:
            time, act = at, self._store
        return time, act

    def _half(self, number: int) -> int:
        """The accumulator half of a command."""
        command = self.program[number]
        row = command.row if isinstance(command, Store) else cast(Execute, command).accumulator_row
        return row // self.config.half_rows

    # Program

    def _fetch(self, time: int) -> None:
        words = min(self.burst_words, self.words_left)
        self.words_left -= words
        if not words:
            return
        beats = -(-4 * words // self.config.bus_bytes)
        load_last = self.reads.load_last
        if self.memory.half_duplex:
            self._share_read(max(time + self.reads.first_word, self.reads.free), beats * self.memory.cycles_per_beat)
        start = self.reads.insert(time, beats * self.memory.cycles_per_beat)
        self.coming.append((words, start + self.latency.fetch_word))
        if self.reads.load_last != load_last:
            self._later(start)

    def _dispatch(self) -> None:
        """Move words as far as they have arrived and queues have room."""
        while self.place < len(self.program) and self.fetched:
            command, engine = self.program[self.place], self.engines[self.place]
            if not self.moved:
                if self.dispatched[engine] == self.config.control.queue_commands:
                    return
                self.dispatch_free = max(self.dispatch_free, self.begun[engine][self.dispatched[engine]] + 1)
            left, arrived = self.fetched.popleft()
            count = min(command.words - self.moved, left)
            # Words of one beat come together.
            behind = self.gone + count
            for word in {self.gone, max(self.gone, (behind - 1) // self.beat_words * self.beat_words)}:
                come = arrived + word // self.beat_words * self.memory.cycles_per_beat
                self.dispatch_free = max(self.dispatch_free, come - (word - self.gone))
            self.dispatch_free += count
            self.moved += count
            if count < left:
                self.fetched.appendleft((left - count, arrived))
                self.gone = behind
            else:
                self.gone = 0
                self.fetches.append(self.dispatch_free - 1 + self.latency.refill)
            if self.moved == command.words:
                self.queues[engine].append((self.place, self.dispatch_free - 1 + self.latency.decode))
                self.dispatched[engine] += 1
                self.place += 1
                self.moved = 0

    # Commands

    def _ready(self, engine: Engine) -> int:
        if not self.queues[engine]:
            return _NEVER
        number, decoded = self.queues[engine][0]
        command = self.program[number]
        time = max(decoded, self.fields_free[engine] + command.words + 1)
        if engine is Engine.EXECUTE:
            time = max(time + self.latency.counting(cast(Execute, command)), self.pending, self.preloader)
        else:
            time += self.latency.load_begin if engine is Engine.LOAD else self.latency.store_begin
        for giver in _peers(command.wait, engine):
            waiting = self.posted[giver, engine]
            if not waiting:
                return _NEVER
            time = max(time, self.complete[waiting[0]] + self.latency.token)
        return time

    def _begin(self, engine: Engine, time: int) -> int:
        """The engine's next command begins; which one it is."""
        number, _ = self.queues[engine].popleft()
        command = self.program[number]
        for giver in _peers(command.wait, engine):
            self.posted[giver, engine].popleft()
        for taker in _peers(command.post, engine):
            self.posted[engine, taker].append(number)
        self.begin[number] = time
        self.complete[number] = _NEVER
        self.begun[engine].append(time)
        self.dispatched[engine] -= 1
        return number

    def bursts(self, c: Load) -> Bursts:
        """What a LOAD asks for; one object for all that ask for the same."""
        base = self.bases[c.base]
        key = (0, c.bank, c.run, c.count1, c.count2, c.stride1, c.stride2, base + c.offset & self.block)
        if key not in self.shapes:
            bursts = load_bursts(self.config, c, base, self.memory.cycles_per_beat)
            self.shapes[key] = self.shapes.setdefault((bursts.before_last, bursts.busy, bursts.bank, *bursts.ends), bursts)
        return self.shapes[key]

    def _load(self, time: int) -> None:
        number = self._begin(Engine.LOAD, time)
        bursts = self.bursts(cast(Load, self.program[number]))
        if self.memory.half_duplex:
            self._share_read(max(time + self.latency.load_request + self.reads.first_word, self.reads.free), bursts.ends[-1])
        self.reads.request(time + self.latency.load_request, bursts, number)
        self.load_number, self.load_bursts = number, bursts
        self.busy[Engine.LOAD] += bursts.busy
        self._load_ends()

    def _load_ends(self) -> None:
        """When the last LOAD is complete, and when its fields are free: its last run goes to the bursts behind the one before."""
        port, latency, bursts, number = self.reads, self.latency, self.load_bursts, self.load_number
        if port.load_last < port.segments[0].first:  # nobody remembers its words
            return
        self.complete[number] = port.load_end + latency.load_write + latency.visible
        before = port.load_last - (len(bursts.ends) - 1) + bursts.before_last   # the burst before the last run's
        walked = max(self.begin[number] + 1 + bursts.before_last, port.accepted(before - 1) if before > 0 else 0)
        self.fields_free[Engine.LOAD] = walked

    def _execute(self, time: int) -> None:
        number = self._begin(Engine.EXECUTE, time)
        self.rows_waiting.append((number, time))
        self.pending = self.preloader = _NEVER
        self.fields_free[Engine.EXECUTE] = time
        if self.halves[self._half(number)][0] is Engine.EXECUTE:
            self._stream(time)

    def _stream(self, granted: int) -> None:
        """Tile after tile: the vectors of a tile come once the rows of the one before have begun."""
        number, time = self.rows_waiting.popleft()
        c = cast(Execute, self.program[number])
        latency, array = self.latency, self.config.array
        rows, tiles = footprint.accumulator_count(c), footprint.tile_count(c)
        half = self._half(number)
        vectors = max(array.rows + 1 + latency.shift_to_swap, latency.tile)   # from the first vector's step to the first row
        step = time + latency.execute_preload
        gap = latency.swap_to_shift - 2
        if c.transpose:
            fill = array.cols * -(-array.rows // array.cols) - 1 + latency.fill_to_emit
            step += fill
            gap = max(gap, latency.emit_to_fill + fill - latency.shift_to_swap - 2)
        step = max(step, self.first_row + gap)
        first = max(step + vectors, self.last_row, granted + latency.lock_rows)
        self.pending = first + latency.row_pending
        each = max(rows, gap + vectors)
        last = first + (tiles - 1) * each
        if tiles > 1:
            step = last - each + gap
        self.preloader = step + array.rows + 1
        self.first_row, self.last_row = last, last + rows
        self.busy[Engine.EXECUTE] += rows * tiles
        settled = last + rows - 1 + latency.settle
        self.complete[number] = settled
        self.halves[half] = Engine.EXECUTE, settled + 1

    def _store(self, time: int) -> None:
        number = self._begin(Engine.STORE, time)
        self.reads_waiting.append((number, time))
        self.claims_waiting.append((number, time))
        self._store_fields()
        if self._claimed(number, time) == time:
            self._claim(time)
        if self.repeats:
            self.repeats.look(number, time)

    def _claimed(self, number: int, time: int) -> int:
        """When a STORE that began at ``time`` gets its half, if nobody else keeps it."""
        user, free = self.halves[self._half(number)]
        return time if user is Engine.STORE else max(time, free)

    def _store_fields(self) -> None:
        """The fields of the last STORE are free once its rows are walked, which those of one may be before they are read."""
        if self.reads_waiting:
            number, time = self.reads_waiting[0]
            alone = len(self.reads_waiting) == 1
            self.fields_free[Engine.STORE] = self.stores.walked(self.rows(cast(Store, self.program[number])), time) if alone else _NEVER

    def _claim(self, time: int) -> None:
        """A STORE gets its half, and rows are read as far as commands before it have theirs."""
        claim = next(claim for claim in self.claims_waiting if self._claimed(*claim) <= time)
        self.claims_waiting.remove(claim)
        half = self._half(claim[0])
        if self.halves[half][0] is not Engine.STORE:
            self.granted[half] = time + self.latency.lock_reads
        self.halves[half] = Engine.STORE, _NEVER
        last = self.claims_waiting[0][0] if self.claims_waiting else len(self.program)
        while self.reads_waiting and self.reads_waiting[0][0] < last:
            self._read()
        self._store_fields()

    def rows(self, c: Store) -> Rows:
        """What a STORE reads and writes; one object for all that do the same."""
        base = self.bases[c.base]
        key = (c.operation, c.target, c.lane, c.window, c.columns, c.count1, c.count2, c.stride1, c.stride2,
               base + c.destination & self.block, c.bias, c.zero_point, c.low, c.high)
        if key not in self.shapes:
            rows = store_rows(self.config, c, base, self.latency)
            self.shapes[key] = self.shapes.setdefault((
                rows.chunks, rows.window, rows.target, rows.walk, *rows.parts, *rows.over, *rows.settings), rows)
        return self.shapes[key]

    def _read(self) -> None:
        number, time = self.reads_waiting.popleft()
        c, half = cast(Store, self.program[number]), self._half(number)
        rows = self.rows(c)
        if self.memory.half_duplex and c.target == Target.MEMORY:
            self._share_write(rows, time, self.granted[half])
            self.stored.append(number)
        self.fields_free[Engine.STORE], read, self.complete[number] = self.stores.run(
            rows, time, self.granted[half])
        if not any(self._half(other) == half for other, _ in self.reads_waiting):
            self.halves[half] = Engine.STORE, read
        self.busy[Engine.STORE] += rows.busy
        if c.target != Target.MEMORY and self.reads.block(_SCRATCHPADS[rows.target], self.stores.windows):
            self._later(self.stores.windows[0][0])

    def _later(self, time: int) -> None:
        """Words of LOADs and of the program come later that have not come by ``time``."""
        coming = len(self.coming)
        for number, start, end in self.reads.since(time):
            if number >= 0:
                self.complete[number] = end + self.latency.load_write + self.latency.visible
            elif coming:
                coming -= 1
                self.coming[coming] = self.coming[coming][0], start + self.latency.fetch_word
        self._load_ends()

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
            for number in self.stored:
                self.complete[number] += max(0, min(more, self.complete[number] - self.memory.latency - since))


_SCRATCHPADS = {Target.ACTIVATION: Bank.ACTIVATION, Target.WEIGHT: Bank.WEIGHT}
_PEERS = {engine: [[peer for bit, peer in enumerate(PEERS[engine]) if mask >> bit & 1] for mask in range(4)] for engine in _ENGINES}


def _peers(mask: int, engine: Engine) -> list[Engine]:
    """Who is in a wait or post mask."""
    return _PEERS[engine][mask]
