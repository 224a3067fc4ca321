"""LOADs that bring tensors from memory into the activation scratchpad: as they lie, or packed so that few channels fill the rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .commands import Bank, Load
from .layers import Extent, Packing
from .tiling import pieces
from .views import Box, View

__all__ = ["Dimension", "fetch_packed", "fetch_plain", "merge"]

_LONGEST_RUN = (1 << 24) - 1   # bytes and runs that the fields hold
_MOST_RUNS = 65535


class Dimension(NamedTuple):
    """A loop: how often, and how far apart source and destination are from one time to the next."""

    count: int
    source: int
    target: int


def merge(dimensions: Sequence[Dimension]) -> list[Dimension]:
    """The same walk, innermost loop first, in as few loops as its strides allow."""
    result: list[Dimension] = []
    for one in dimensions:
        if one.count == 1:
            continue
        if result and (one.source, one.target) == (result[-1].count * result[-1].source, result[-1].count * result[-1].target):
            result[-1] = result[-1]._replace(count=result[-1].count * one.count)
        else:
            result.append(one)
    return result


def _loads(fields: dict[str, Any], offset: int, row: int, run: int, dimensions: Sequence[Dimension]) -> Iterator[Load]:
    """LOADs of runs of ``run`` bytes; the two longest loops are the hardware's."""
    loops = sorted(merge(dimensions), key=lambda one: -one.count)
    inner, outer, *others = [*loops, *[Dimension(1, 0, 0)] * 2]
    for place in itertools.product(*(range(one.count) for one in others)):
        source = offset + sum(i * one.source for i, one in zip(place, others, strict=True))
        target = row + sum(i * one.target for i, one in zip(place, others, strict=True))
        for first, count in pieces(inner.count, _MOST_RUNS):
            for second, times in pieces(outer.count, _MOST_RUNS):
                yield Load(bank=Bank.ACTIVATION, run=run, offset=source + first * inner.source + second * outer.source,
                           row=target + first * inner.target + second * outer.target, count1=count, stride1=inner.source,
                           row_stride1=inner.target, count2=times, stride2=outer.source, row_stride2=outer.target, **fields)


def fetch_plain(array_rows: int, extent: Extent, base: int, offset: int, view: View, box: Box, first: int, depth: int) -> Iterator[Load]:
    """Channel tiles ``first`` … ``first + depth − 1`` of ``box`` of an NHWC tensor at ``offset`` to their places in ``view``."""
    channels, step = extent.channels, view.pixel_stride
    line, image = view.box.columns * step, view.box.rows * view.box.columns * step
    pixels = [Dimension(box.columns, channels, step), Dimension(box.rows, extent.width * channels, line),
              Dimension(box.images, extent.height * extent.width * channels, image)]
    source = offset + ((box.image * extent.height + box.y) * extent.width + box.x) * channels + first * array_rows
    row = view.address(box.image, box.y, box.x, first)
    bytes_each = min(depth * array_rows, channels - first * array_rows)
    fields = {"base": base}
    if view.tile_stride == 1 or bytes_each <= array_rows:
        inner, *others = merge(pixels) or [Dimension(1, 0, 0)]
        if inner.count > 1 and bytes_each == inner.source == inner.target * array_rows:
            # Pixels follow each other in memory as on chip: one run, in pieces that its field holds.
            for start, count in pieces(inner.count, max(1, _LONGEST_RUN // bytes_each)):
                yield from _loads(fields, source + start * bytes_each, row + start * inner.target, count * bytes_each, others)
            return
        for start, size in pieces(-(-bytes_each // array_rows), max(1, _LONGEST_RUN // array_rows)):
            run = min(size * array_rows, bytes_each - start * array_rows)
            yield from _loads(fields, source + start * array_rows, row + start, run, pixels)
        return
    full, rest = divmod(bytes_each, array_rows)
    yield from _loads(fields, source, row, array_rows, [*pixels, Dimension(full, array_rows, view.tile_stride)])
    if rest:
        yield from _loads(fields, source + full * array_rows, row + full * view.tile_stride, rest, pixels)


def fetch_packed(packing: Packing, constants: int, base: int, offset: int, view: View, box: Box) -> Iterator[Load]:
    """Rows ``box.y`` … of a packed tensor, all its columns, image by image."""
    for image in range(box.image, box.image + box.images):
        for j in range(packing.lines):
            yield from _packed_line(packing, constants, base, offset + image * packing.height * packing.width * packing.channels, view,
                                    box._replace(image=image, images=1), j)


def _packed_line(packing: Packing, constants: int, base: int, offset: int, view: View, box: Box, j: int) -> Iterator[Load]:
    """Lane group j of the rows in ``box`` of one image."""
    run, step, channels = packing.run, view.pixel_stride, packing.channels
    lane, width = j * run, packing.width * channels
    line = view.box.columns * step

    def fill(row: int, first: int, count: int, loops: list[Dimension]) -> Iterator[Load]:
        if count and all(one.count for one in loops):
            yield from _loads({"base": constants, "lane": lane + first}, packing.filler, row, count,
                              [one._replace(source=0) for one in loops])

    # Rows of the image that are there: t·line − top + j from 0 to height − 1.
    low = min(max(-(-(packing.top - j) // packing.line), box.y), box.y + box.rows)
    high = min(max((packing.height - 1 + packing.top - j) // packing.line + 1, low), box.y + box.rows)
    across = Dimension(box.columns, packing.step * channels, step)
    for start, stop in ((box.y, low), (high, box.y + box.rows)):
        yield from fill(view.address(box.image, start, box.x, 0), 0, run, [across, Dimension(stop - start, 0, line)])
    if high == low:
        return
    down = Dimension(high - low, packing.line * width, line)
    first_byte = offset + (low * packing.line - packing.top + j) * width
    inside = [x for x in range(box.x, box.x + box.columns)
              if 0 <= (x * packing.step - packing.left) * channels and (x * packing.step - packing.left) * channels + run <= width]
    for x in range(box.x, box.x + box.columns):
        start = (x * packing.step - packing.left) * channels
        row = view.address(box.image, low, x, 0)
        if inside and x == inside[0]:
            yield from _loads({"base": base, "lane": lane}, first_byte + start, row, run, [across._replace(count=len(inside)), down])
        if inside and inside[0] <= x <= inside[-1]:
            continue
        before, after = min(max(-start, 0), run), min(max(start + run - width, 0), run)
        yield from fill(row, 0, before, [down])
        yield from fill(row, run - after, after if before < run else 0, [down])
        if run - before - after > 0:
            yield from _loads({"base": base, "lane": lane + before}, first_byte + start + before, row, run - before - after, [down])
