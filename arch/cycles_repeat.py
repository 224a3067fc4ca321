"""The cycle model where a program repeats itself: the same state before the same commands goes on in the same way.

When a STORE begins, the machine's state is looked at relative to that cycle and that command. What happens from one look to the next is
kept: where the state has been the same before, and the commands that matter are of the same kinds, it is taken over instead of
found out again, and so on from there. That changes no result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .cycles_machine import Machine

__all__ = ["Repeats"]

_LONG_AGO = 1000   # cycles: what is past by so many is in nobody's way
_NEVER = 1 << 62
_AROUND = 8        # commands before and behind a STORE that must have come before for a look at the state
_PAST = -2         # cycles: a token given so long ago is nobody's news


class _Way(NamedTuple):
    """From one look to the next, relative to command and cycle of the first.

    ``low``, ``kinds`` : the commands that matter, from which on; ``begin``, ``complete`` : commands, and when they do so; ``busy`` :
    cycles of each engine; ``commands``, ``cycles`` : to the next look, ``node``
    """

    low: int
    kinds: bytes
    begin: list[tuple[int, int]]
    complete: list[tuple[int, int]]
    busy: tuple[int, ...]
    commands: int
    cycles: int
    node: _Node


class _Node:
    """A state, as it was when it was seen first, at ``number`` and ``time``, and the ways that lead on from there."""

    __slots__ = ("number", "place", "saved", "time", "ways")

    def __init__(self, number: int, time: int, place: int, saved: tuple[Any, ...]):
        self.number, self.time, self.place, self.saved = number, time, place, saved
        self.ways: list[_Way] = []


class Repeats:
    """Finds repetitions of a machine's state and skips them.

    Attributes
    ----------
    skipped : commands that were not gone through
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        self.kinds = np.array([kind.number for kind in machine.kinds], np.int32)
        self.words = list(accumulate([kind.words for kind in machine.kinds], initial=0))
        self.around: set[Hashable] = set()
        self.nodes: dict[Hashable, _Node] = {}
        self.skipped = 0
        self.worth = 16 + len(self.kinds) // 64   # looks that may be in vain, and as many more after each that is not
        self.vain = 0
        # The last look: its node, command, cycle and lowest command that mattered; and from there on what was known then.
        self.last: tuple[_Node, int, int, int] | None = None
        self.known: tuple[list[int], list[int], list[int]] = [], [], []

    def look(self, number: int, time: int) -> None:
        """STORE ``number`` has begun at ``time``."""
        m = self.machine
        around = self.kinds[max(0, number - _AROUND):number + _AROUND].tobytes(), m.place - number, m.moved, m.gone
        if around not in self.around and len(self.kinds) < 1000:
            self.around.add(around)
            return
        if self.vain > self.worth:
            self.last = None
            return
        state = self._state(number, time)
        node = self.nodes.get(state)
        if node is None:
            self.vain += 1
            node = self.nodes[state] = _Node(number, time, m.place - number, self._save(time))
        if self.last is not None:
            self._keep(node, number, time)
        start = number
        while (way := self._way(node, number)) is not None:
            for one, at in way.begin:
                m.begin[number + one] = time + at
            for one, at in way.complete:
                m.complete[number + one] = time + at if at < _NEVER else at
            for engine in (0, 1, 2):
                m.busy[engine] += way.busy[engine]
            number += way.commands
            time += way.cycles
            node = way.node
        if number > start:
            self.vain = 0
            self.skipped += number - start
            self._go_on(node, number, time)
        low = min(self._needed(number, time))
        self.last = node, number, time, low
        self.known = m.begin[low:m.place], m.complete[low:m.place], list(m.busy)

    def _way(self, node: _Node, number: int) -> _Way | None:
        for way in node.ways:
            end = number + way.commands + way.node.place
            # No burst of the program is shorter, and nothing ends.
            if end < len(self.kinds) - 1 and self.words[-1] - self.words[end] > 4 * self.machine.burst_words:
                low = number + way.low
                if self.kinds[low:end + 1].tobytes() == way.kinds:
                    return way
        return None

    def _keep(self, node: _Node, number: int, time: int) -> None:
        """What has happened since the last look."""
        m = self.machine
        assert self.last is not None
        before, old, since, low = self.last
        begin, complete, busy = self.known
        if m.words_left < m.burst_words:
            return

        def changed(now: list[int], then: list[int], untouched: int) -> list[tuple[int, int]]:
            then += [untouched] * (m.place - low - len(then))
            return [(low - old + one, at - since if at < _NEVER else at)
                    for one, (at, was) in enumerate(zip(now[low:m.place], then, strict=True)) if at != was]

        before.ways.append(_Way(
            low - old, self.kinds[low:m.place + 1].tobytes(), changed(m.begin, begin, -1), changed(m.complete, complete, 0),
            tuple([now - then for now, then in zip(m.busy, busy, strict=True)]), number - old, time - since, node))

    def _needed(self, number: int, time: int) -> list[int]:
        """Commands before which no kind matters any more, and nothing happens to them."""
        m = self.machine
        waiting = (m.rows_waiting, m.claims_waiting, m.reads_waiting, *m.queues)
        return [number, m.load_number, m.place, *m.stored, *m.reads.loads(time), *[one for many in waiting for one, _ in many]]

    def _state(self, number: int, time: int) -> Hashable:
        m = self.machine

        complete, recent, past = m.complete, time + _PAST, time - _LONG_AGO
        waiting = (m.rows_waiting, m.claims_waiting, m.reads_waiting, *m.queues)
        # Cycles that matter, what is long past alike; then all else, by which also to tell which cycle is which.
        cycles = [m.dispatch_free, *m.granted, m.pending, m.preloader, m.first_row, m.last_row, *m.fields_free, m.begin[m.load_number],
                  m.stores.done, m.stores.slow, *m.fetches, *[complete[one] for one in m.stored]]
        for begun in m.begun:
            cycles += begun
        for pairs in (m.halves, m.fetched, m.coming, *waiting):
            cycles += [at for _, at in pairs]
        posted = tuple([tuple([(one - number, complete[one] - time) if complete[one] > recent else None for one in many])
                        for many in m.posted])
        return (tuple([one - time if past < one < _NEVER else past - time if one <= past else None for one in cycles]), posted,
                m.place - number, m.moved, m.gone, *m.dispatched, len(m.fetches), m.load_number - number, m.kinds[m.load_number],
                tuple([words for words, _ in m.fetched]), tuple([words for words, _ in m.coming]), m.halves[0][0], m.halves[1][0],
                tuple([tuple([one - number for one, _ in many]) for many in waiting]), tuple([one - number for one in m.stored]),
                m.reads.state(number, time), m.stores.seen(time))

    def _save(self, time: int) -> tuple[Any, ...]:
        """All that changes, but for what is known of each command; tokens long given come from nobody."""
        m = self.machine
        waiting = (m.rows_waiting, m.claims_waiting, m.reads_waiting, *m.queues)
        return (m.place, m.moved, m.gone, list(m.dispatched), list(m.fetches), list(m.granted), list(m.fields_free), list(m.halves),
                [list(begun) for begun in m.begun], m.dispatch_free, m.pending, m.preloader, m.first_row, m.last_row, m.load_number,
                list(m.stored), [list(many) for many in waiting],
                [[one if m.complete[one] > time + _PAST else -1 for one in many] for many in m.posted], list(m.fetched),
                list(m.coming), m.reads.save(), m.stores.save(), self.words[-1] - m.words_left)

    def _go_on(self, node: _Node, number: int, time: int) -> None:
        """As if the machine had come to ``node`` at ``number`` and ``time``."""
        m = self.machine
        commands, later = number - node.number, time - node.time

        def shift(one: int) -> int:
            return one + later if one < _NEVER else one

        (place, m.moved, m.gone, dispatched, fetches, granted, fields, halves, begun, free, pending, preloader, first, last, load, stored,
         waiting, posted, fetched, coming, reads, stores, words) = node.saved
        m.words_left = self.words[-1] - (words + self.words[place + commands] - self.words[place])
        m.place, m.load_number = place + commands, load + commands
        m.next = m.kinds[m.place].engine
        m.dispatched[:] = dispatched
        m.granted[:], m.fields_free[:] = map(shift, granted), map(shift, fields)
        m.halves[:] = [(user, shift(at)) for user, at in halves]
        m.dispatch_free, m.pending, m.preloader = shift(free), shift(pending), shift(preloader)
        m.first_row, m.last_row = shift(first), shift(last)

        def fill(many: deque[Any], values: list[Any]) -> None:
            many.clear()
            many.extend(values)

        fill(m.fetches, [shift(at) for at in fetches])
        fill(m.stored, [one + commands for one in stored])
        for last_begun, times in zip(m.begun, begun, strict=True):
            fill(last_begun, [shift(at) for at in times])
        for many, values in zip((m.rows_waiting, m.claims_waiting, m.reads_waiting, *m.queues), waiting, strict=True):
            fill(many, [(one + commands, shift(at)) for one, at in values])
        for tokens, givers in zip(m.posted, posted, strict=True):
            fill(tokens, [one + commands if one >= 0 else -1 for one in givers])
        for bursts, values in ((m.fetched, fetched), (m.coming, coming)):
            fill(bursts, [(words, shift(at)) for words, at in values])
        m.reads.go_on(reads, commands, later)
        m.stores.go_on(stores, later)
        m.stale[:] = True, True, True
