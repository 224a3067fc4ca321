"""The functional model: runs a program as the hardware does, bit for bit but without cycles, and reports what timing could change.

The three engines run in an order drawn from a seed, one command at a time, whatever dispatch, queues and tokens allow; the result of a
correct program does not depend on it. What would depend on it is found in every run: see :mod:`hazards`.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial

import numpy as np

from .commands import COMMANDS, PEERS, Command, Engine, Execute, Load, Store, unpack
from .config import Config
from .footprint import objection
from .hazards import Clocks, Hazard, HazardError, Space, Tracker
from .machine import AccessError, Machine
from .registers import BASES, ErrorCode

__all__ = ["Model", "Result"]

_ENGINES = (Engine.LOAD, Engine.EXECUTE, Engine.STORE)


@dataclasses.dataclass(frozen=True)
class Result:
    """How a program ended.

    ``error``, ``engine``, ``command`` and ``address`` are what the error registers show; the counters are those of the register
    map that do not count cycles. ``macs_issued`` counts the whole array for every row streamed, padding included.
    """

    error: ErrorCode
    engine: Engine
    command: int
    address: int
    bytes_read: int
    bytes_written: int
    commands: int
    rows_issued: int
    macs_issued: int
    hazards: tuple[Hazard, ...]


class _Stop(Exception):
    """The program ends with an error."""

    def __init__(self, code: ErrorCode, engine: Engine, command: int, address: int = 0):
        super().__init__(code.name)
        self.report = (code, engine, command, address)


class Model:
    """An accelerator and its memory.

    Parameters
    ----------
    config : the accelerator
    memory : uint8 array; programs read and write it in place
    """

    def __init__(self, config: Config, memory: np.ndarray):
        self.config = config
        self.machine = Machine(config, memory)

    def run(self, *, bases: Sequence[int], sizes: Sequence[int], program_words: int, program_offset: int = 0, seed: int = 0,
            strict: bool = False) -> Result:
        """Run the program in memory at ``bases[0] + program_offset`` to its end.

        Parameters
        ----------
        bases, sizes : base registers and their limits in bytes; those left out are 0
        program_words : length in 32-bit words
        program_offset : first byte of the program from base 0, a multiple of 4
        seed : of the interleaving
        strict : raise :class:`HazardError` where the result depends on timing
        """
        fill = [0] * (BASES - len(bases))
        run = _Run(self.machine, [*bases, *fill], [*sizes, *fill], program_offset, program_words, random.Random(seed))
        result = run.finish()
        if strict and result.hazards:
            raise HazardError(f"{len(result.hazards)} hazards; the first: {result.hazards[0]}")
        return result


class _Run:
    """One program's control state: dispatch, queues, tokens."""

    def __init__(self, machine: Machine, bases: Sequence[int], sizes: Sequence[int], offset: int, words: int, rng: random.Random):
        self.machine = machine
        self.control = machine.config.control
        self.bases = [base & (1 << machine.config.memory.address_bits) - 1 for base in bases]
        self.sizes = sizes
        offset, words = (value & (1 << machine.config.offset_bits) - 1 for value in (offset, words))
        self.rng = rng
        self.program_place = (self.bases[0] + offset, 4 * words)
        self.clocks = Clocks()
        self.tracker = Tracker(machine.space_sizes, self.clocks)
        self.queues: dict[Engine, deque[Command]] = {engine: deque() for engine in _ENGINES}
        self.started = dict.fromkeys(_ENGINES, 0)
        self.tokens: Counter[tuple[Engine, Engine]] = Counter()
        self.dispatched = 0
        self.position = 0
        self.words = np.zeros(0, np.uint32)
        self.within_limit = offset + 4 * words <= sizes[0]
        self.traffic_before = dataclasses.replace(machine.traffic)
        # Unequal odds, other ones for each seed, let now one, now another engine run far ahead.
        self.odds = {who: rng.choice([1, 3, 30]) for who in (Engine.FETCH, *_ENGINES)}

    def finish(self) -> Result:
        report = (ErrorCode.NONE, Engine.NONE, 0, 0)
        try:
            self.words = self._fetch()
            while ready := self._ready():
                who = self.rng.choices(ready, [self.odds[one] for one in ready])[0]
                if who == Engine.FETCH:
                    self._dispatch()
                else:
                    self._step(who)
            if self.position < len(self.words) or any(self.queues.values()):
                raise _Stop(ErrorCode.DEADLOCK, Engine.FETCH, self.dispatched)
        except _Stop as stop:
            report = stop.report
        before, now, array = self.traffic_before, self.machine.traffic, self.machine.config.array
        rows = now.rows_issued - before.rows_issued
        return Result(*report, bytes_read=now.bytes_read - before.bytes_read, bytes_written=now.bytes_written - before.bytes_written,
                      commands=sum(self.started.values()), rows_issued=rows, macs_issued=rows * array.rows * array.cols,
                      hazards=tuple(self.tracker.hazards))

    def _fetch(self) -> np.ndarray:
        address, length = self.program_place
        if not length:
            return np.zeros(0, np.uint32)
        memory = self.machine.memory
        for code, wrong in ((ErrorCode.ADDRESS, not self.within_limit), (ErrorCode.VALUE, address & 3),
                            (ErrorCode.BUS, address + length > memory.size)):
            if wrong:
                raise _Stop(code, Engine.FETCH, 0, self.machine.missing_word(address) if code == ErrorCode.BUS else address)
        self.machine.traffic.bytes_read += int(self.machine.bus_words_bytes(address, length))
        self.tracker.fetch(address, address + length)
        return memory[address:address + length].copy().view("<u4")

    def _ready(self) -> list[Engine]:
        """Who can move: FETCH if the next command's queue has room, an engine if its oldest command is refused or has its tokens."""
        ready = []
        if self.position < len(self.words):
            code = int(self.words[self.position]) & 15
            if code not in COMMANDS or len(self.queues[Engine(code)]) < self.control.queue_commands:
                ready.append(Engine.FETCH)
        for engine, queue in self.queues.items():
            if queue and (all(self.tokens[giver, engine] for giver in _masked(queue[0].wait, engine))
                          or objection(self.machine.config, queue[0])):
                ready.append(engine)
        return ready

    def _dispatch(self) -> None:
        header = int(self.words[self.position])
        kind = COMMANDS.get(header & 15)  # type: ignore[call-overload]
        if kind is None:
            raise _Stop(ErrorCode.OPCODE, Engine.FETCH, self.dispatched)
        words = self.words[self.position:self.position + kind.words]
        if header >> 8 & 255 != kind.words or len(words) < kind.words:
            raise _Stop(ErrorCode.LENGTH, Engine.FETCH, self.dispatched)
        command, = unpack(words)
        self.queues[command.engine].append(command)
        self.dispatched += 1
        self.position += kind.words

    def _step(self, engine: Engine) -> None:
        """Begin and complete the engine's oldest command."""
        command = self.queues[engine].popleft()
        index = self.started[engine]
        refused = objection(self.machine.config, command)
        if refused:
            raise _Stop(refused, engine, index)
        for giver in _masked(command.wait, engine):
            self.tokens[giver, engine] -= 1
            self.clocks.take(engine, giver)
        self.started[engine] += 1
        touch = partial(self._touch, engine=engine, command=index + 1)
        try:
            match command:
                case Load():
                    self.machine.load(command, self.bases, self.sizes, touch)
                case Execute():
                    self.machine.execute(command, touch)
                case Store():
                    self.machine.store(command, self.bases, self.sizes, touch)
        except AccessError as error:
            raise _Stop(error.code, engine, index, error.address) from None
        for taker in _masked(command.post, engine):
            self.tokens[engine, taker] += 1
            self.clocks.give(engine, taker, index + 1)
            if self.tokens[engine, taker] >> self.control.token_bits:
                raise _Stop(ErrorCode.TOKEN_OVERFLOW, engine, index)

    def _touch(self, space: Space, places: np.ndarray, *, write: bool, engine: Engine, command: int) -> None:
        self.tracker.touch(space, places, engine=engine, command=command, write=write)


def _masked(mask: int, engine: Engine) -> list[Engine]:
    """The peers of ``engine`` that a wait or post mask names."""
    return [peer for bit, peer in enumerate(PEERS[engine]) if mask >> bit & 1]
