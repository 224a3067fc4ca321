"""How many cycles a program takes: a model of the engines, command by command, without running it.

Each engine's commands follow each other, held up by dispatch, tokens, the accumulator's halves and the bus; within a command rows and
bursts are counted, not simulated. Works on programs of any origin. The constants are latencies of the blocks of ``rtl/``.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable

import numpy as np

from . import footprint
from .commands import PEERS, Bank, Command, Engine, Execute, Load, Operation, Store, Target
from .config import Config

__all__ = ["Prediction", "predict_cycles"]

_ENGINES = (Engine.LOAD, Engine.EXECUTE, Engine.STORE)

FETCH_CYCLES = 9          # from START to the first word at dispatch, besides the memory's latency
QUEUE_CYCLES = 3          # from dispatch to the decoder's output, behind a command's last word
LOAD_BEGIN_CYCLES = 3     # from fields to tokens
LOAD_REQUEST_CYCLES = 3   # from tokens to the first burst
LOAD_DATA_CYCLES = 6      # from a word to its write, with its token
EXECUTE_BEGIN_CYCLES = 7  # from tokens to the first row, besides one cycle for each vector
PRELOAD_CYCLES = 4        # so long before its first row can be issued, the last tile of a command lets the next one begin
STORE_BEGIN_CYCLES = 4    # from fields to tokens
STORE_ROW_CYCLES = 8      # from tokens to the first row that is read
STORE_DATA_CYCLES = 8     # from a row that is read to its last byte on the bus
REQUANTISE_CYCLES = 9     # besides
STORE_AHEAD_ROWS = 16     # the decoder is free when so many rows are not read yet
LOCK_CYCLES = 2           # from the last use of an accumulator half to the first by another engine
TOKEN_CYCLES = 1          # from a post to the cycle in which a waiting command begins
WRITE_CYCLES = 3          # from a scratchpad write until it is visible
DISTANCE_CYCLES = 4       # between two touches of an accumulator row
FETCH_BYTES = 128         # of the program are asked for at a time
FETCH_BEATS = 16          # but no more bus words
END_CYCLES = 3            # from the last completion to DONE
BURST_BEATS = 64
_SAMPLED = 4096           # runs whose alignment is looked at


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Cycles from START to DONE; for each command, in program order, when it begins and when it is complete; cycles each engine is busy."""

    cycles: int
    begin: tuple[int, ...]
    complete: tuple[int, ...]
    busy: dict[Engine, int]


def predict_cycles(config: Config, program: Iterable[Command], *, memory_latency: int = 30) -> Prediction:
    """Predict a program that ends without an error.

    Parameters
    ----------
    config : the accelerator
    program : commands with their tokens
    memory_latency : cycles from a request to its first word, and from the last word written to the response
    """
    return _Machine(config, memory_latency).run(program)


class _Machine:
    """Times at which what engines share becomes free, and the rules by which commands move them on."""

    def __init__(self, config: Config, memory_latency: int):
        self.config = config
        self.latency = memory_latency
        rows, cols = config.array.rows, config.array.cols
        self.slot = 2 * rows - 1
        self.settle = rows + cols + 4
        self.dispatch_free = FETCH_CYCLES + memory_latency
        self.burst_words = min(FETCH_BYTES, FETCH_BEATS * config.bus_bytes) // 4
        self.arrivals = [self.dispatch_free + self.burst_words * n * 4 // config.bus_bytes for n in (1, 2)]  # last words of bursts
        self.decoder_free = dict.fromkeys(_ENGINES, 0)
        self.bus_free = 0
        self.halves: list[tuple[Engine, int]] = [(Engine.NONE, 0)] * 2  # who used it last, and when it is free for others
        self.tokens: dict[tuple[Engine, Engine], deque[int]] = {(giver, taker): deque() for giver in _ENGINES for taker in PEERS[giver]}
        self.busy = dict.fromkeys(_ENGINES, 0)
        self.program_words = self.dispatched_words = 0
        self.fetches: deque[tuple[int, int]] = deque()  # bursts of the program that LOADs may meet: when asked for, words
        self.in_flight = deque([(0, 0, 0.0)])  # LOAD: bursts so far, when the last of them is written, cycles for each
        self.rows_end = self.next_tile = 0   # EXECUTE: behind the last row; when the next tile can be in the array
        self.preloader_free = 0
        self.read_end = self.written = 0     # STORE: behind the last row that is read, and its last byte on the bus

    def run(self, program: Iterable[Command]) -> Prediction:
        commands = list(program)
        self.program_words = sum(command.words for command in commands)
        begin, complete = [0] * len(commands), [0] * len(commands)
        queues: dict[Engine, deque[tuple[int, int]]] = {engine: deque() for engine in _ENGINES}  # place in the program, decoded
        begun: dict[Engine, list[int]] = {engine: [] for engine in _ENGINES}
        dispatched = dict.fromkeys(_ENGINES, 0)
        place = 0
        while True:
            while place < len(commands):
                command = commands[place]
                engine = command.engine
                behind = dispatched[engine] - self.config.control.queue_commands
                if behind >= len(begun[engine]):
                    break
                moved = max(self.dispatch_free, begun[engine][behind] + 1 if behind >= 0 else 0)
                queues[engine].append((place, self._dispatch(command, moved)))
                dispatched[engine] += 1
                place += 1
            heads = [(commands[queue[0][0]], queue[0][1]) for queue in queues.values() if queue]
            ready = [(self._ready(command, decoded), command) for command, decoded in heads
                     if all(self.tokens[giver, command.engine] for giver in _peers(command.wait, command.engine))]
            if not ready:
                break
            time, command = self._first(ready)
            engine = command.engine
            number, _ = queues[engine].popleft()
            for giver in _peers(command.wait, engine):
                self.tokens[giver, engine].popleft()
            begin[number] = time
            begun[engine].append(time)
            complete[number] = self._perform(command, time)
            for taker in _peers(command.post, engine):
                self.tokens[engine, taker].append(complete[number] + TOKEN_CYCLES)
        return Prediction(max(complete, default=0) + END_CYCLES, tuple(begin), tuple(complete), self.busy)

    def _first(self, ready: list[tuple[int, Command]]) -> tuple[int, Command]:
        """The command that begins first; but EXECUTE keeps a half for its next command, even if a STORE waits for it."""
        time, command = min(ready, key=lambda one: one[0])
        if isinstance(command, Store):
            half = command.row // self.config.half_rows
            for at, other in ready:
                if isinstance(other, Execute) and other.accumulator_row // self.config.half_rows == half and self.halves[half][0] == \
                        Engine.EXECUTE and at <= self.halves[half][1]:
                    return at, other
        return time, command

    def _dispatch(self, command: Command, moved: int) -> int:
        """Dispatch from cycle ``moved`` on; when the last word is there to be decoded.

        The program comes in bursts over the bus of the LOADs, asked for two bursts ahead.
        """
        first, size = self.dispatched_words, self.burst_words
        self.dispatched_words += command.words
        burst, place = divmod(self.dispatched_words - 1, size)
        arrival = self.arrivals[burst] - 4 * (size - 1 - place) // self.config.bus_bytes
        self.dispatch_free = max(moved + command.words, arrival)
        for used in range(first // size + 1, self.dispatched_words // size + 1):
            if (used + 1) * size < self.program_words:
                time = self.dispatch_free - (self.dispatched_words - used * size)
                words = 4 * size // self.config.bus_bytes
                ahead = min(max(0, self.bus_free - time - self.latency), self.config.memory.outstanding * self.in_flight[-1][2])
                self.arrivals.append(time + self.latency + int(ahead) + words)
                self.fetches.append((time, words))
        return self.dispatch_free + QUEUE_CYCLES

    def _ready(self, command: Command, decoded: int) -> int:
        """When a command begins whose tokens have been posted or will be at a known time."""
        engine = command.engine
        fields = max(decoded, self.decoder_free[engine] + command.words + 1)
        fields += {Engine.LOAD: LOAD_BEGIN_CYCLES, Engine.EXECUTE: 0, Engine.STORE: STORE_BEGIN_CYCLES}[engine]
        posted = [self.tokens[giver, engine][0] for giver in _peers(command.wait, engine)]
        return max(fields, self.preloader_free if engine == Engine.EXECUTE else 0, *posted)

    def _perform(self, command: Command, time: int) -> int:
        match command:
            case Load():
                return self._load(command, time)
            case Execute():
                return self._execute(command, time)
            case Store():
                return self._store(command, time)
        raise TypeError(f"command must be Load, Execute or Store, not {command!r}")

    def _load(self, c: Load, time: int) -> int:
        width = {Bank.ACTIVATION: self.config.array.rows, Bank.WEIGHT: self.config.array.cols}.get(Bank(c.bank), 4)
        beats, bursts, busy = self._runs(c, c.run, width)
        requested = time + LOAD_REQUEST_CYCLES
        first = max(requested + self.latency, self.bus_free)
        end = max(first + max(beats, busy), requested + bursts + self.latency)
        gap = first - self.bus_free  # in which the program came for nothing
        self.bus_free = end
        asked = max(requested + bursts, self._room(bursts, max(beats, busy) / bursts))
        while self.fetches and self.fetches[0][0] < asked:
            time, words = self.fetches.popleft()
            hidden = min(words, gap) if time + self.latency < first else 0
            gap -= hidden
            self.bus_free += words - hidden
        self.decoder_free[Engine.LOAD] = asked
        self.busy[Engine.LOAD] += busy
        return self.bus_free + LOAD_DATA_CYCLES + WRITE_CYCLES

    def _room(self, bursts: int, each: float) -> int:
        """When so few bursts are left to be written that the last of ``bursts`` more can be asked for."""
        total = self.in_flight[-1][0] + bursts
        self.in_flight.append((total, self.bus_free, each))
        last = total - self.config.memory.outstanding
        while len(self.in_flight) > 1 and self.in_flight[0][0] < last:
            self.in_flight.popleft()
        count, end, cycles = self.in_flight[0]
        return int(end - (count - last) * cycles) if last > 0 else 0

    def _runs(self, c: Load | Store, run: int, width: int) -> tuple[int, int, int]:
        """Bus words, bursts and cycles of moving ``width`` bytes at most, of all runs; bases are taken to be aligned."""
        bus = self.config.bus_bytes
        count = footprint.run_count(c)
        offsets = footprint.memory_offsets(c, np.arange(min(count, _SAMPLED)))
        words = (offsets + run - 1) // bus - offsets // bus + 1
        bursts = (offsets + run - 1) // (bus * BURST_BEATS) - offsets // (bus * BURST_BEATS) + 1
        moves = words if width >= bus else -(-run // width) + 0 * words
        scale = count / len(offsets)
        return round(scale * words.sum()), round(scale * bursts.sum()), round(scale * np.maximum(words, moves).sum())

    def _execute(self, c: Execute, time: int) -> int:
        rows, tiles = footprint.accumulator_count(c), footprint.tile_count(c)
        half = c.accumulator_row // self.config.half_rows
        array = self.config.array
        fill = array.cols * -(-array.rows // array.cols) if c.transpose else 0
        loaded = time + EXECUTE_BEGIN_CYCLES + fill + array.rows
        loaded = max(loaded, self.next_tile)
        first = max(loaded, self.rows_end, self._granted(half, Engine.EXECUTE))
        each = max(rows, self.slot + fill, DISTANCE_CYCLES if tiles > 1 else 0)
        last = first + (tiles - 1) * each
        self.rows_end, self.next_tile = last + rows, last + self.slot + fill
        self.decoder_free[Engine.EXECUTE] = time
        self.preloader_free = (last - each + self.slot + fill if tiles > 1 else loaded) - PRELOAD_CYCLES
        self.busy[Engine.EXECUTE] += rows * tiles
        self.halves[half] = Engine.EXECUTE, self.rows_end + self.settle + LOCK_CYCLES
        return self.rows_end + self.settle

    def _granted(self, half: int, engine: Engine) -> int:
        user, free = self.halves[half]
        return 0 if user == engine else free

    def _store(self, c: Store, time: int) -> int:
        rows, half = footprint.run_count(c), c.row // self.config.half_rows
        raw = c.operation == Operation.RAW
        groups = -(-c.columns // (self.config.raw_lanes if raw else self.config.epilogue.lanes))
        if not raw and self.config.epilogue.multiplier == "serial":
            groups *= 8
        begin = max(time + STORE_ROW_CYCLES, self.read_end, self._granted(half, Engine.STORE))
        self.read_end = begin + rows * groups
        pipeline = STORE_DATA_CYCLES if raw else STORE_DATA_CYCLES + REQUANTISE_CYCLES
        data_end = self.read_end + pipeline
        if c.target == Target.MEMORY:
            beats, _, _ = self._runs(c, footprint.store_bytes(c), self.config.bus_bytes)
            if c.stride1 == footprint.store_bytes(c):
                beats = min(beats, -(-rows * footprint.store_bytes(c) // self.config.bus_bytes) + 1)
            data_end = max(data_end, self.written + beats, begin + pipeline + beats)
            self.busy[Engine.STORE] += beats
        else:
            self.busy[Engine.STORE] += rows * groups
        self.written = data_end
        self.read_end = max(self.read_end, data_end - pipeline)
        self.halves[half] = Engine.STORE, self.read_end + LOCK_CYCLES
        self.decoder_free[Engine.STORE] = max(time, self.read_end - STORE_AHEAD_ROWS * groups)
        return data_end + (self.latency + 2 if c.target == Target.MEMORY else WRITE_CYCLES)


def _peers(mask: int, engine: Engine) -> list[Engine]:
    return [peer for bit, peer in enumerate(PEERS[engine]) if mask >> bit & 1]
