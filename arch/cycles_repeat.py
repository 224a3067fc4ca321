"""The cycle model where a program repeats itself: the same state before the same commands goes on in the same way.

At each STORE that begins, the machine's state is looked at relative to that cycle and that command. Where it has been the same before,
and the commands that follow are alike in all that matters to time, whole periods are skipped. That changes no result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .cycles import Machine

__all__ = ["Repeats"]

LONG_AGO = 1000    # cycles: what is past by so many is in nobody's way
_BEHIND, _AHEAD = 64, 16  # commands around a STORE that must be alike, and by which the fetch may be ahead of dispatch

class Repeats:
    """Finds repetitions of a machine's state and skips them."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.kinds = np.array([kind.number for kind in machine.kinds], np.int32)
        self.seen: dict[Hashable, tuple[int, int, list[int]]] = {}  # state: command, cycle, busy cycles until then

    def look(self, number: int, time: int) -> None:
        """STORE ``number`` has begun at ``time``."""
        m = self.machine
        if number < _BEHIND:
            return
        state = self._state(number, time), self.kinds[number - _BEHIND:number + _BEHIND].tobytes()
        before = self.seen.get(state)
        self.seen[state] = number, time, list(m.busy)
        if before is None:
            return
        old, old_time, old_busy = before
        period = number - old
        kinds = self.kinds
        different = np.flatnonzero(kinds[old:len(kinds) - period] != kinds[number:])
        alike = int(different[0]) if len(different) else len(kinds) - number
        times = (alike - (m.place - number) - _AHEAD) // period
        if times > 0:
            for engine in range(3):
                m.busy[engine] += times * (m.busy[engine] - old_busy[engine])
            self._skip(number, time, period, time - old_time, times)

    def _state(self, number: int, time: int) -> Hashable:
        m = self.machine

        def since(one: int) -> int:
            return max(one - time, -LONG_AGO) if one < m.never else m.never

        def commands(many: Any) -> tuple[tuple[int, int], ...]:
            return tuple([(one - number, since(at)) for one, at in many])

        waiting = (m.rows_waiting, m.claims_waiting, m.reads_waiting, *m.queues)
        posted = tuple([commands((one, m.complete[one]) for one in many) for many in m.posted])
        numbers = (m.dispatch_free, *m.fetches, *m.granted, m.pending, m.preloader, m.first_row, m.last_row, *m.fields_free,
                   *(at for _, at in m.halves), *(at for begun in m.begun for at in begun), m.begin[m.load_number])
        return (m.place - number, m.moved, m.gone, tuple(m.dispatched), len(m.fetches), tuple(map(since, numbers)),
                *[tuple([(words, since(at)) for words, at in many]) for many in (m.fetched, m.coming)],
                tuple([user for user, _ in m.halves]), tuple(map(commands, waiting)), posted, m.load_number - number, m.reads.state(number, time),
                m.stores.state(time, low=-LONG_AGO), m.stores.settings, m.stores.target, since(m.stores.done), since(m.stores.slow),
                tuple([one - number for one in m.stored]))

    def _skip(self, number: int, time: int, period: int, cycles: int, times: int) -> None:
        """Go on as if ``times`` periods had passed; commands that have begun are those of before, each so many periods later."""
        m = self.machine
        commands, later = period * times, cycles * times

        def shift(one: int) -> int:
            return one + later if one < m.never else one

        window = range(number - _BEHIND, m.place)
        now = [(m.begin[one], m.complete[one]) for one in window]
        for one in range(window.start, window.stop + commands):
            if one >= window.stop or m.begin[one] < 0:
                m.begin[one] = m.begin[one - period] + cycles
                m.complete[one] = m.complete[one - period] + cycles
            elif m.complete[one] > time:  # on its way, and done by then
                m.complete[one] = m.complete[one - period] + cycles
        for one, (begin, complete) in zip(window, now, strict=True):
            if begin < 0:
                m.begin[one + commands] = -1
            elif complete > time:
                m.complete[one + commands] = shift(complete)
        m.words_left -= times * sum([kind.words for kind in m.kinds[number:number + period]])
        m.place += commands
        m.load_number += commands
        m.stored = deque([one + commands for one in m.stored], m.stored.maxlen)
        for many in (m.rows_waiting, m.claims_waiting, m.reads_waiting, *m.queues):
            many.extend([(one + commands, shift(at)) for one, at in [many.popleft() for _ in range(len(many))]])
        for posted in m.posted:
            posted.extend([one + commands for one in [posted.popleft() for _ in range(len(posted))]])
        for bursts in (m.fetched, m.coming):
            bursts.extend([(words, shift(at)) for words, at in [bursts.popleft() for _ in range(len(bursts))]])
        m.fetches.extend([shift(m.fetches.popleft()) for _ in range(len(m.fetches))])
        m.granted = list(map(shift, m.granted))
        m.halves = [(user, shift(at)) for user, at in m.halves]
        m.fields_free = list(map(shift, m.fields_free))
        m.begun = [deque(map(shift, begun), begun.maxlen) for begun in m.begun]
        m.dispatch_free, m.pending, m.preloader = shift(m.dispatch_free), shift(m.pending), shift(m.preloader)
        m.first_row, m.last_row = shift(m.first_row), shift(m.last_row)
        m.reads.shift(commands, later)
        m.stores.shift(later)
        m.stale[:] = True, True, True
