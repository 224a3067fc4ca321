"""Where a tensor, or a window of one, lies on chip.

A pixel takes ceil(channels ÷ rows) scratchpad rows, one for each channel tile. Where ``cols`` divides ``rows``, the layout is channel tile
after channel tile, each with all pixels: what reads some channel tiles then waits for no others. Otherwise a part of the output
channels may straddle two channel tiles, which STORE can write only if they are neighbours: pixel after pixel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from .config import Config

__all__ = ["Box", "Extent", "View", "by_tiles", "depth_of", "span"]


@dataclasses.dataclass(frozen=True)
class Extent:
    """Shape of a tensor as the planner sees it."""

    images: int
    height: int
    width: int
    channels: int

    @property
    def pixels(self) -> int:
        """Of all images."""
        return self.images * self.height * self.width

    @property
    def size(self) -> int:
        """Bytes."""
        return self.pixels * self.channels


class Box(NamedTuple):
    """Pixels of a tensor: images, rows and columns from the first of each, so many of each."""

    image: int
    images: int
    y: int
    rows: int
    x: int
    columns: int

    @property
    def pixels(self) -> int:
        return self.images * self.rows * self.columns


def by_tiles(config: Config) -> bool:
    """Whether tensors lie channel tile after channel tile."""
    return config.array.rows % config.array.cols == 0


def depth_of(config: Config, channels: int) -> int:
    """Channel tiles."""
    return -(-channels // config.array.rows)


class View(NamedTuple):
    """Channel tiles ``first`` … ``first + depth − 1`` of the pixels of ``box``, from scratchpad row ``row`` on."""

    row: int
    box: Box
    first: int
    depth: int
    tiled: bool

    @property
    def size(self) -> int:
        return self.box.pixels * self.depth

    @property
    def tile_stride(self) -> int:
        """Rows from channel tile to channel tile."""
        return self.box.pixels if self.tiled else 1

    @property
    def pixel_stride(self) -> int:
        return 1 if self.tiled else self.depth

    def address(self, image: int, y: int, x: int, tile: int) -> int:
        """Row of a pixel's channel tile; outside the box where padding will be injected."""
        box = self.box
        pixel = ((image - box.image) * box.rows + y - box.y) * box.columns + x - box.x
        return self.row + pixel * self.pixel_stride + (tile - self.first) * self.tile_stride

    def rows(self, box: Box, first: int, depth: int) -> Iterator[tuple[int, int]]:
        """Ranges of rows, (start, stop), that hold channel tiles of the pixels in ``box``; between its first and its last pixel, all."""
        if not box.pixels:
            return
        last = box.image + box.images - 1, box.y + box.rows - 1, box.x + box.columns - 1
        if not self.tiled:
            yield self.address(box.image, box.y, box.x, self.first), self.address(*last, self.first) + self.depth
            return
        start, length = 0, -1
        for tile in range(first, first + depth):
            at, stop = self.address(box.image, box.y, box.x, tile), self.address(*last, tile) + 1
            if start + length == at:
                length += stop - at
                continue
            if length > 0:
                yield start, start + length
            start, length = at, stop - at
        yield start, start + length


def span(extent: Extent, box: Box) -> tuple[int, int]:
    """Numbers of the first pixel of ``box`` in a tensor, and behind its last one."""
    low = (box.image * extent.height + box.y) * extent.width + box.x
    return low, ((box.image + box.images - 1) * extent.height + box.y + box.rows - 1) * extent.width + box.x + box.columns
