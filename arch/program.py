"""A program under construction: commands in order, with the fewest tokens that keep what they touch in order.

The planner says which rows or bytes each command reads and writes; the tokens follow from that. LOAD, EXECUTE and STORE each
run in order, so a command needs a token of another engine only for the *latest* of that engine's commands that it conflicts with,
and only while nothing it already waited for implies that one. A clock per command (the newest command of each
engine known to be complete when it begins) decides that. Posts and waits of a pair then match one to one, in order.

Every command depends on earlier ones only. The dispatcher goes through the program in order, so no program made here can deadlock.
Nor can a token counter overflow. Tokens wait in a counter for commands that have not begun: for at most ``queue_commands`` that were
dispatched, and for those from the one that blocks dispatch on. Of the latter, every token is given by one of the newest ``lead``
commands before its taker, since :meth:`Program.add` takes a later giver where the needed one is further back; and those that
were dispatched are among the newest ``lead`` before the blocked command. Dispatch would not have gone much further anyway.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from .commands import PEERS, Command, Engine, Load, Store
from .config import ConfigError, ControlConfig

__all__ = ["Program", "Region"]

_ENGINES = (Engine.LOAD, Engine.EXECUTE, Engine.STORE)
_NOTHING = (-1, -1, -1)
_BLOCK = 256


class Region(NamedTuple):
    """Rows or bytes ``start`` … ``stop`` − 1 of a memory; ``space`` is any hashable name of it."""

    space: object
    start: int
    stop: int


class _Access(NamedTuple):
    start: int
    stop: int
    engine: int
    number: int
    write: bool


def _repetitions(command: Command) -> list[Command]:
    """``command`` without its outer loop: a LOAD or STORE for each repetition."""
    one = {"count2": 1, "stride2": 0}
    match command:
        case Load():
            return [dataclasses.replace(
                command, **one, row_stride2=0, offset=(command.offset + i * command.stride2) % (1 << 32),
                row=(command.row + i * command.row_stride2) % (1 << 16)) for i in range(command.count2)]
        case Store():
            return [dataclasses.replace(
                command, **one, row=command.row + i * command.count1,
                destination=(command.destination + i * command.stride2) % (1 << 32)) for i in range(command.count2)]
    return [command]


class Program:
    """Collects commands; :attr:`commands` is the finished program.

    Parameters
    ----------
    control : depth of the queues and width of the token counters

    Raises
    ------
    ConfigError
        The token counters are too narrow for the queues.
    """

    def __init__(self, control: ControlConfig) -> None:
        self._lead = (1 << control.token_bits) - 1 - control.queue_commands
        if self._lead < 1:
            raise ConfigError(f"control.token_bits must count {control.queue_commands + 1} tokens, one more than control.queue_commands, "
                              f"not {(1 << control.token_bits) - 1}")
        self._run_loops = control.run_loops
        self._order: list[tuple[int, int]] = []
        self._queues: tuple[list[Command], ...] = ([], [], [])
        self._clocks: tuple[list[tuple[int, ...]], ...] = ([], [], [])
        self._waits: tuple[list[int], ...] = ([], [], [])
        self._posts: tuple[list[int], ...] = ([], [], [])
        self._accesses: dict[tuple[object, int], list[_Access]] = {}  # by blocks of rows or bytes, so that few are looked at

    @property
    def commands(self) -> list[Command]:
        """The commands with their wait and post masks, in program order."""
        return [dataclasses.replace(self._queues[e][i], wait=self._waits[e][i], post=self._posts[e][i]) for e, i in self._order]

    def __len__(self) -> int:
        """Commands so far."""
        return len(self._order)

    def add(self, command: Command, *, reads: Iterable[Region] = (), writes: Iterable[Region] = ()) -> None:
        """Append ``command``, which touches ``reads`` and ``writes``; its masks are filled in.

        Memory that no other engine touches within the program need not be named. Repetitions that the hardware has no loop for
        become commands of their own.
        """
        reads, writes = list(reads), list(writes)
        for piece in _repetitions(command) if self._run_loops == 1 else [command]:
            self._append(piece, reads, writes)

    def _append(self, command: Command, reads: list[Region], writes: list[Region]) -> None:
        engine = _ENGINES.index(command.engine)
        index = len(self._queues[engine])
        needed = list(_NOTHING)
        for regions, write in ((reads, False), (writes, True)):
            for region in regions:
                for access in self._touch(region, engine, index, write):
                    needed[access.engine] = max(needed[access.engine], access.number)
        clock = self._clocks[engine][-1] if index else _NOTHING
        wait = 0
        for peer in self._fewest(engine, clock, needed):
            needed[peer] = max(needed[peer], len(self._queues[peer]) - self._lead)
            clock = self._after(clock, peer, needed[peer])
            wait |= 1 << PEERS[command.engine].index(_ENGINES[peer])
            self._posts[peer][needed[peer]] |= 1 << PEERS[_ENGINES[peer]].index(command.engine)
        self._order.append((engine, index))
        self._queues[engine].append(command)
        self._clocks[engine].append(clock)
        self._waits[engine].append(wait)
        self._posts[engine].append(0)

    def _after(self, clock: tuple[int, ...], peer: int, index: int) -> tuple[int, ...]:
        """``clock`` after waiting for command ``index`` of ``peer``."""
        known = list(self._clocks[peer][index])
        known[peer] = index
        return tuple(map(max, clock, known))

    def _fewest(self, engine: int, clock: tuple[int, ...], needed: list[int]) -> list[int]:
        """Peers to wait for: those whose needed command neither ``clock`` nor the other peer's token implies."""
        peers = [p for p in range(3) if p != engine and needed[p] > clock[p]]
        for one in peers:
            if all(self._after(clock, one, needed[one])[other] >= needed[other] for other in peers):
                return [one]
        return peers

    def _touch(self, region: Region, engine: int, index: int, write: bool) -> list[_Access]:
        """Record an access and return the earlier ones that conflict with it.

        An access is forgotten once a newer one is in the way of everything it was in the way of.
        """
        conflicts: list[_Access] = []
        for block in range(region.start // _BLOCK, (region.stop - 1) // _BLOCK + 1):
            start, stop = max(region.start, block * _BLOCK), min(region.stop, (block + 1) * _BLOCK)
            kept = []
            for access in self._accesses.get((region.space, block), ()):
                if access.start < stop and start < access.stop:
                    if write or access.write:
                        conflicts.append(access)
                    if start <= access.start and access.stop <= stop and (write or (access.engine == engine and not access.write)):
                        continue
                kept.append(access)
            kept.append(_Access(start, stop, engine, index, write))
            self._accesses[region.space, block] = kept
        return conflicts
