"""Where LOADs stand among the other commands: as early as there is room for what they bring in, and no earlier than they can begin.

The dispatcher goes through the program in order and stops where a queue is full. A LOAD that stands too late begins too late; one that
waits for room in front of the next EXECUTEs keeps them from being dispatched. So the cycle model says when each LOAD could begin, and it
is put before the EXECUTE that is at work then, or a little later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from .commands import Command, Engine, Execute, Load
from .config import Config
from .cycles_bursts import load_bursts
from .footprint import accumulator_count, tile_count
from .latency import Latency
from .program import Region
from .registers import BASES

__all__ = ["Item", "Order"]

_FETCH = 16   # cycles of the bus for the words of a LOAD and what goes with it


class Item(NamedTuple):
    """A command, what it touches, and the layer that it belongs to."""

    command: Command
    reads: list[Region]
    writes: list[Region]
    layer: int


class Order:
    """Items of a program in orders that mean the same.

    Parameters
    ----------
    items : each LOAD somewhere before the first command that needs it
    """

    def __init__(self, config: Config, items: Sequence[Item]) -> None:
        self.config, self.latency = config, Latency(config)
        self.others = [item for item in items if item.command.engine is not Engine.LOAD]
        self.loads: list[tuple[Item, int]] = []   # each with the number of others before it
        at = 0
        for item in items:
            if item.command.engine is Engine.LOAD:
                self.loads.append((item, at))
            else:
                at += 1
        self._behind: dict[int, int] = {}

    def hoisted(self, ahead: int, margin: int = 1) -> list[Item]:
        """LOADs up to ``ahead`` EXECUTEs before they are needed, and ``margin`` EXECUTEs behind the last command in their way."""
        slots, place = [], 0
        for number, (_, at) in enumerate(self.loads):
            earliest = max(self._back(at, ahead), at // 2)   # few at first, so that the first EXECUTE is not behind all of them
            behind = self._conflict(number, at - earliest)
            place = max(place, earliest, min(self._forth(behind, margin), at) if behind > earliest else earliest)
            slots.append(place)
        return list(self._merged(slots))

    def timed(self, ahead: int, margin: int) -> list[Item]:
        """LOADs ``ahead`` EXECUTEs before the one that is at work when they can begin, if LOAD and EXECUTE wait for each other only, and
        ``margin`` EXECUTEs behind the last command in their way."""
        slots, place, free, at_work = [], 0, 0, 0
        time = 0
        starts: list[int] = []
        bursts = load_bursts(self.config, [cast(Load, item.command) for item, _ in self.loads], [0] * BASES, 1)
        for number, (_, at) in enumerate(self.loads):
            behind = self._conflict(number, at)
            while len(starts) < at:   # those before the LOAD, as it comes to them
                command = self.others[len(starts)].command
                starts.append(time)
                if isinstance(command, Execute):
                    time += tile_count(command) * self.latency.rows_cycles(accumulator_count(command))
            free = max(free, starts[behind - 1] if behind else 0)
            while at_work < len(starts) and starts[at_work] < free:
                at_work += 1
            place = max(place, min(max(self._forth(behind, margin) if behind else 0, self._back(at_work, ahead)), at))
            slots.append(place)
            free += bursts[number].ends[-1] + _FETCH
            time = max(time, free)
        return list(self._merged(slots))

    def _back(self, at: int, executes: int) -> int:
        while at and executes:
            at -= 1
            executes -= isinstance(self.others[at].command, Execute)
        return at

    def _forth(self, at: int, executes: int) -> int:
        while at < len(self.others) and executes:
            executes -= isinstance(self.others[at].command, Execute)
            at += 1
        return at

    def _conflict(self, number: int, far: int) -> int:
        """How many others stand before a LOAD up to the last one that touches what it writes; at least those ``far`` before it."""
        item, at = self.loads[number]
        low = max(0, at - far)
        if number in self._behind:
            return max(low, self._behind[number])
        for index in range(at, low, -1):
            if _conflict(item, self.others[index - 1]):
                self._behind[number] = index
                return index
        if not low:
            self._behind[number] = 0
        return low

    def _merged(self, slots: Sequence[int]) -> Iterator[Item]:
        number = 0
        for index in range(len(self.others) + 1):
            while number < len(slots) and slots[number] <= index:
                yield self.loads[number][0]
                number += 1
            if index < len(self.others):
                yield self.others[index]


def _conflict(load: Item, other: Item) -> bool:
    def meet(some: Sequence[Region], many: Sequence[Region]) -> bool:
        return any(a.space == b.space and a.start < b.stop and b.start < a.stop for a in some for b in many)

    return meet(load.writes, other.reads) or meet(load.writes, other.writes) or meet(load.reads, other.writes)
