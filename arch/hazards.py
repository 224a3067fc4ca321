"""Finds accesses of two engines to the same place that no token orders, in one run and whatever order that run took.

Each engine runs in order, and a token's n-th take matches its n-th give: that is the whole happens-before relation (finite queues happen to
order commands too, but a program must not lean on them). It is kept as vector clocks: per engine, the newest command of
each engine known to be complete. An access is in order if every earlier conflicting one belongs to a command that the clock of its
own command's start knows. The newest reader and writer of each place per engine are enough, for an engine completes in order.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import NamedTuple

import numpy as np

from .commands import Engine

__all__ = ["Clocks", "Hazard", "HazardError", "Space", "Tracker"]

_ENGINES = (Engine.LOAD, Engine.EXECUTE, Engine.STORE)


class Space(enum.Enum):
    """What commands touch, and what a place in it is."""
    ACTIVATION = "activation row"
    WEIGHT = "weight row"
    ACCUMULATOR = "accumulator row"
    PARAMETER = "parameter group"
    TABLE = "table word"
    MEMORY = "memory byte"


class Hazard(NamedTuple):
    """Two commands (engine, index among that engine's) that touch ``places`` same places, ``first`` the lowest, in no order."""

    space: Space
    first: int
    places: int
    engine: Engine
    command: int
    other_engine: Engine
    other_command: int
    write: bool  # of the command; the other one writes where this one reads
    other_write: bool

    def __str__(self) -> str:
        verbs = ["writes" if write else "reads" for write in (self.write, self.other_write)]
        return (f"{self.engine.name} {self.command} {verbs[0]} and {self.other_engine.name} {self.other_command} {verbs[1]} "
                f"{self.space.value} {self.first}{f' and {self.places - 1} more' if self.places > 1 else ''}, and no token orders them")


class HazardError(ValueError):
    """A program whose result depends on timing."""


class Clocks:
    """Vector clocks of the three engines; commands count from 1, so that 0 is «none»."""

    def __init__(self) -> None:
        self._clock = {engine: dict.fromkeys(_ENGINES, 0) for engine in _ENGINES}
        self._given: dict[tuple[Engine, Engine], deque[dict[Engine, int]]] = {
            (giver, taker): deque() for giver in _ENGINES for taker in _ENGINES if giver != taker}

    def take(self, taker: Engine, giver: Engine) -> None:
        """``taker`` begins a command with the oldest token of ``giver``."""
        mine = self._clock[taker]
        for engine, count in self._given[giver, taker].popleft().items():
            mine[engine] = max(mine[engine], count)

    def give(self, giver: Engine, taker: Engine, command: int) -> None:
        """``giver`` completed ``command`` (from 1) and gives a token."""
        self._given[giver, taker].append({**self._clock[giver], giver: command})

    def knows(self, engine: Engine, other: Engine) -> int:
        """The newest command of ``other`` that is complete when ``engine`` begins its present one."""
        return self._clock[engine].get(other, 0)


class Tracker:
    """Newest reader and writer of every place, per engine.

    Parameters
    ----------
    sizes : places in each space
    clocks : kept by the model as commands begin and complete
    """

    def __init__(self, sizes: dict[Space, int], clocks: Clocks) -> None:
        self._sizes = sizes
        self._clocks = clocks
        self._seen: dict[tuple[Space, Engine, bool], np.ndarray] = {}
        self.hazards: list[Hazard] = []

    def fetch(self, start: int, stop: int) -> None:
        """The program is read from these bytes of memory, at no known time: no write to them is in order."""
        self._newest(Space.MEMORY, Engine.FETCH, False)[start:stop] = 1

    def _newest(self, space: Space, engine: Engine, write: bool) -> np.ndarray:
        # Zeroed memory costs nothing until it is touched, so a large device memory needs no sparse structure.
        key = (space, engine, write)
        if key not in self._seen:
            self._seen[key] = np.zeros(self._sizes[space], np.int32)
        return self._seen[key]

    def touch(self, space: Space, places: np.ndarray, *, engine: Engine, command: int, write: bool) -> None:
        """Check and record that ``command`` (from 1) of ``engine`` reads or writes ``places`` (any shape, repetitions allowed)."""
        for other in (*_ENGINES, Engine.FETCH):
            for other_write in (True, False) if write else (True,):
                seen = self._seen.get((space, other, other_write))
                if seen is not None and other != engine:
                    self._compare(seen[places], space, places, engine, command, other, write, other_write)
        self._newest(space, engine, write)[places] = command

    def _compare(self, seen: np.ndarray, space: Space, places: np.ndarray, engine: Engine, command: int, other: Engine,
                 write: bool, other_write: bool) -> None:
        unordered = seen > self._clocks.knows(engine, other)
        if unordered.any():
            where = np.unique(places[unordered])
            self.hazards.append(Hazard(space, int(where[0]), where.size, engine, command - 1, other, int(seen[unordered].max()) - 1,
                                       write, other_write))
