"""STORE's target fields: where the results of a tile go, in memory, as activations, or as weights of a later product."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .commands import Target
from .config import Config
from .hazards import Space
from .layers import Extent
from .plan_fetch import Dimension, merge
from .program import Region
from .views import Box, View

__all__ = ["Piece", "Results", "to_activations", "to_memory", "to_weights", "vector_rows", "weight_rows"]


class Results(NamedTuple):
    """Pixels of a tensor that a tile makes: those of ``box``, of which the columns are ``step`` apart, of channels ``first`` …"""

    extent: Extent
    box: Box
    step: int
    first: int
    width: int

    @property
    def hull(self) -> Box:
        """From the first to the last pixel."""
        return self.box._replace(columns=(self.box.columns - 1) * self.step + 1)

    def dimensions(self, pixel: int) -> list[Dimension]:
        """The walk over its pixels, where neighbours are ``pixel`` apart."""
        e, box = self.extent, self.box
        return [Dimension(box.columns, 1, self.step * pixel), Dimension(box.rows, box.columns, e.width * pixel),
                Dimension(box.images, box.rows * box.columns, e.height * e.width * pixel)]

    @property
    def pixel(self) -> int:
        """Number of the first pixel in the tensor."""
        return (self.box.image * self.extent.height + self.box.y) * self.extent.width + self.box.x


class Piece(NamedTuple):
    """One STORE: from which row of the tile's sums, target fields, and what is written."""

    row: int
    fields: dict[str, Any]
    writes: list[Region]


def _pieces(dimensions: Sequence[Dimension], fields: dict[str, Any], destination: int, writes: list[Region]) -> Iterator[Piece]:
    """STOREs walk consecutive rows of sums, so the loops keep their order; only the outermost may be unrolled."""
    loops = merge(dimensions)
    inner, outer = (*loops, Dimension(1, 0, 0), Dimension(1, 0, 0))[:2]
    others = loops[2:]
    for place in itertools.product(*(range(one.times) for one in others)):
        row = sum(i * one.source for i, one in zip(place, others, strict=True))
        target = destination + sum(i * one.target for i, one in zip(place, others, strict=True))
        yield Piece(row, {"destination": target, "count1": inner.times, "stride1": inner.target, "count2": outer.times,
                          "stride2": outer.target, **fields}, writes)


def to_memory(results: Results, base: int, offset: int, temporary: bool) -> Iterator[Piece]:
    """NHWC at ``offset``; ``temporary`` where the program reads it again."""
    channels = results.extent.channels
    start = offset + results.pixel * channels + results.first
    hull = results.hull
    pixels = ((hull.images - 1) * results.extent.height + hull.rows - 1) * results.extent.width + hull.columns
    region = [Region((Space.MEMORY, base), start, start + (pixels - 1) * channels + results.width)] if temporary else []
    yield from _pieces(results.dimensions(channels), {"target": Target.MEMORY, "base": base}, start, region)


def to_activations(config: Config, results: Results, view: View) -> Iterator[Piece]:
    """A tensor on chip."""
    tile, lane = divmod(results.first, config.array.rows)
    depth = (lane + results.width - 1) // config.array.rows + 1
    box = results.box
    writes = [Region(Space.ACTIVATION, start, stop) for start, stop in view.rows(results.hull, tile, depth)]
    yield from _pieces(results.dimensions(view.pixel_stride), {"target": Target.ACTIVATION, "lane": lane},
                       view.address(box.image, box.y, box.x, tile), writes)


def vector_rows(config: Config, inner: int) -> int:
    """Weight rows of a vector of ``inner`` values for the transposer: its chunks of ``rows`` bytes take ceil(rows ÷ cols) rows each."""
    return -(-inner // config.array.rows) * -(-config.array.rows // config.array.cols)


def weight_rows(config: Config, extent: Extent, transposed: bool) -> int:
    """Weight rows of one matrix of a tensor, its pixels being K, or its channels if transposed."""
    inner, cols = extent.height * extent.width, config.array.cols
    if transposed:  # those of absent vectors of the last tile too, for the transposer reads them
        return -(-inner // cols) * cols * vector_rows(config, extent.channels)
    return -(-extent.channels // cols) * inner


def to_weights(config: Config, results: Results, row: int, transposed: bool, extent: Extent) -> Iterator[Piece]:
    """A tensor that is a later product's weights, matrix after matrix from ``row`` on; ``extent`` is the shape that it has there, with the
    same channels."""
    rows, cols = config.array.rows, config.array.cols
    each, inner = weight_rows(config, extent, transposed), extent.height * extent.width
    if transposed:
        step = vector_rows(config, extent.channels)
        inside, lane = results.first // rows * -(-rows // cols) + results.first % rows // cols, results.first % rows % cols
    else:
        step, inside, lane = 1, results.first // cols * inner, results.first % cols
    for source, pixel, count, apart in _lines(results):
        while count:
            matrix, within = divmod(pixel, inner)
            here = min(count, (inner - within - 1) // apart + 1)
            start = row + matrix * each + within * step + inside
            yield Piece(source, {"target": Target.WEIGHT, "lane": lane, "destination": start, "count1": here, "stride1": apart * step},
                        [Region(Space.WEIGHT, start, start + (here - 1) * apart * step + 1)])
            source, pixel, count = source + here, pixel + here * apart, count - here


def _lines(results: Results) -> Iterator[tuple[int, int, int, int]]:
    """(row of sums, number of the first pixel in the tensor, pixels, how far apart) of runs of pixels, as few as there are."""
    e, box = results.extent, results.box
    if results.step == 1 and box.columns == e.width and (box.rows == e.height or box.images == 1):
        yield 0, results.pixel, box.pixels, 1
        return
    for image in range(box.images):
        for y in range(box.rows):
            pixel = ((box.image + image) * e.height + box.y + y) * e.width + box.x
            yield (image * box.rows + y) * box.columns, pixel, box.columns, results.step
