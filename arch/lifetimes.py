"""Places by lifetimes: what is never alive at the same time may share rows, part by part.

A tensor is written and read band of lines after band of lines, so the next one may grow where it dies: both together need little more
than the larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Bands", "Life", "Segment", "arrange"]

_BAND = 64        # pixels of a band, at least
_BANDS = 16       # bands of a channel tile
_SEGMENTS = 64    # of a tensor


class Segment(NamedTuple):
    """Rows ``start`` … ``stop − 1`` of something, alive from step ``first`` to step ``last``, both included."""

    start: int
    stop: int
    first: int
    last: int


class Life(NamedTuple):
    """Something that takes ``size`` rows or bytes in one piece."""

    key: Hashable
    size: int
    segments: tuple[Segment, ...]

    @property
    def first(self) -> int:
        return min((one.first for one in self.segments), default=0)

    @property
    def last(self) -> int:
        return max((one.last for one in self.segments), default=-1)


def arrange(lives: Iterable[Life]) -> dict[Hashable, int]:
    """Where each of them begins, each as low as those leave it that live beside it and were placed before: the largest first, or the
    one that lives first, or longest, whichever takes less room in all."""
    lives = list(lives)
    orders: tuple[Callable[[Life], tuple[int, ...]], ...] = (
        lambda one: (-one.size, one.first), lambda one: (one.first, -one.size), lambda one: (one.first - one.last, -one.size))
    return min((_arranged(sorted(lives, key=order)) for order in orders),
               key=lambda places: max((places[one.key] + one.size for one in lives), default=0))


def _arranged(lives: Sequence[Life]) -> dict[Hashable, int]:
    placed: list[tuple[Life, int]] = []
    for life in lives:
        # Where it cannot begin, since a segment would meet one of the others'.
        taken = sorted((at + b.start - a.stop + 1, at + b.stop - a.start) for other, at in placed
                       if other.first <= life.last and life.first <= other.last
                       for a in life.segments for b in other.segments if a.first <= b.last and b.first <= a.last)
        at = 0
        for start, stop in taken:
            if start > at:
                break
            at = max(at, stop)
        placed.append((life, at))
    return {life.key: at for life, at in placed}


class Bands:
    """When the parts of a tensor are alive: bands of pixels of each channel tile.

    Parameters
    ----------
    pixels, depth : of the tensor, ``depth`` channel tiles
    tiled : channel tiles lie one after the other, otherwise pixels do
    """

    def __init__(self, pixels: int, depth: int, tiled: bool) -> None:
        self.pixels, self.depth, self.tiled = pixels, depth, tiled
        planes = depth if tiled and depth <= _SEGMENTS else 1
        bands = max(1, min(_BANDS, pixels // _BAND, _SEGMENTS // planes)) if planes == depth or not tiled else 1
        self._first = np.full((planes, bands), np.iinfo(np.int64).max)
        self._last = np.full((planes, bands), -1)

    def touch(self, step: int, low: int, high: int, tile: int, tiles: int, early: int = 0) -> None:
        """Pixels ``low`` … ``high − 1`` of some channel tiles are used in ``step``, or as early as ``early`` steps before."""
        planes, bands = self._first.shape
        across = slice(low * bands // self.pixels, -(-high * bands // self.pixels))
        down = slice(tile, tile + tiles) if planes > 1 else slice(0, 1)
        self._first[down, across] = np.minimum(self._first[down, across], step - early)
        self._last[down, across] = np.maximum(self._last[down, across], step)

    def life(self, key: Hashable, *, together: bool = False) -> Life:
        """All of it, nothing if it was never used; ``together`` if all of it comes in before the first use."""
        if not (self._last >= 0).any():
            return Life(key, 0, ())
        planes, bands = self._first.shape
        size = self.pixels * self.depth
        first, last = self._first.copy(), self._last.copy()
        if together:
            last[last < 0] = last.max()
            first[:] = first.min()
        edges = [-(-self.pixels * i // bands) for i in range(bands + 1)]
        plane = size // planes
        each = plane // self.pixels
        segments = [Segment(p * plane + edges[b] * each, p * plane + edges[b + 1] * each, int(first[p, b]), int(last[p, b]))
                    for p in range(planes) for b in range(bands) if last[p, b] >= 0]
        return Life(key, size, tuple(_joined(segments)))


def _joined(segments: Sequence[Segment]) -> list[Segment]:
    """The same, neighbours with the same lifetime as one."""
    result: list[Segment] = []
    for one in segments:
        if result and result[-1].stop == one.start and result[-1][2:] == one[2:]:
            result[-1] = result[-1]._replace(stop=one.stop)
        else:
            result.append(one)
    return result
