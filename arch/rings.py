"""Places for what is loaded on demand into an on-chip memory."""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Ring"]


class Ring:
    """First in, first out; what is there is found again.

    Parameters
    ----------
    start, size : rows of the memory that the ring may use
    """

    def __init__(self, start: int, size: int) -> None:
        self.start, self.size = start, size
        self._next = 0
        self._held: dict[Hashable, tuple[int, int]] = {}

    def place(self, key: Hashable, rows: int) -> tuple[int, bool]:
        """(first row, whether it must be loaded) of ``rows`` rows that hold ``key``."""
        if key in self._held:
            return self.start + self._held[key][0], False
        first = self._next if self._next + rows <= self.size else 0
        self._held = {k: (f, n) for k, (f, n) in self._held.items() if f >= first + rows or f + n <= first}
        self._held[key] = first, rows
        self._next = first + rows
        return self.start + first, True
