"""Which panel is in which slot of an on-chip memory, and when it may be loaded.

The whole sequence of uses is known, so a panel replaces the one whose next use is farthest away, which loads least of all
(Belady, 1966); but, while there is a choice, not the one that the step before uses, for then loading would overlap nothing.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Fill", "Panel", "residency"]

Panel = tuple[int, ...]


class Fill(NamedTuple):
    """A panel comes into a slot before step ``before``, which uses it first, and after step ``after``, which is the last to use the
    slot's old content (−1: there is none)."""

    panel: Panel
    slot: int
    after: int
    before: int


def residency(uses: Sequence[Panel], slots: int) -> tuple[list[Fill], list[int]]:
    """All fills in the order of need, and for each step the number of the fill that it uses.

    Parameters
    ----------
    uses : the panel that each step uses
    slots : panels that fit
    """
    future: dict[Panel, deque[int]] = defaultdict(deque)
    for step, panel in enumerate(uses):
        future[panel].append(step)
    fills: list[Fill] = []
    resident: dict[Panel, int] = {}
    last_use: dict[Panel, int] = {}
    used: list[int] = []

    def remoteness(panel: Panel) -> tuple[int, int]:
        """Larger is better to replace: next use farthest; among those never used again, free longest."""
        return (future[panel][0] if future[panel] else len(uses), -last_use[panel])

    for step, panel in enumerate(uses):
        if panel not in resident:
            slot, after = len(resident), -1
            if slot == slots:
                victim = max((other for other in resident if slots == 1 or other != uses[step - 1]), key=remoteness)
                slot, after = fills[resident.pop(victim)].slot, last_use[victim]
            resident[panel] = len(fills)
            fills.append(Fill(panel, slot, after, step))
        future[panel].popleft()
        last_use[panel] = step
        used.append(resident[panel])
    return fills, used
