"""LOADs that bring tensors from memory into the activation scratchpad: as they lie, or packed so that few channels fill the rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .commands import Bank, Load
from .layers import Extent, Packing
from .tiling import pieces
from .views import Box, View

__all__ = ["Dimension", "fetch_packed", "fetch_plain", "fill_packed", "merge"]

_LONGEST_RUN = (1 << 24) - 1   # bytes and runs that the fields hold
_MOST_RUNS = 65535


class Dimension(NamedTuple):
    """A loop: how often, and how far apart source and destination are from one time to the next."""

    times: int
    source: int
    target: int


def merge(dimensions: Sequence[Dimension]) -> list[Dimension]:
    """The same walk, innermost loop first, in as few loops as its strides allow."""
    result: list[Dimension] = []
    for one in dimensions:
        if one.times == 1:
            continue
        if result and (one.source, one.target) == (result[-1].times * result[-1].source, result[-1].times * result[-1].target):
            result[-1] = result[-1]._replace(times=result[-1].times * one.times)
        else:
            result.append(one)
    return result


def _loads(fields: dict[str, Any], offset: int, row: int, run: int, dimensions: Sequence[Dimension]) -> Iterator[Load]:
    """LOADs of runs of ``run`` bytes; the two longest loops are the hardware's."""
    loops = sorted(merge(dimensions), key=lambda one: -one.times)
    inner, outer, *others = [*loops, *[Dimension(1, 0, 0)] * 2]
    for place in itertools.product(*(range(one.times) for one in others)):
        source = offset + sum(i * one.source for i, one in zip(place, others, strict=True))
        target = row + sum(i * one.target for i, one in zip(place, others, strict=True))
        for first, count in pieces(inner.times, _MOST_RUNS):
            for second, times in pieces(outer.times, _MOST_RUNS):
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
        if inner.times > 1 and bytes_each == inner.source == inner.target * array_rows:
            # Pixels follow each other in memory as on chip: one run, in pieces that its field holds.
            for start, count in pieces(inner.times, max(1, _LONGEST_RUN // bytes_each)):
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


def _columns(packing: Packing, columns: int) -> tuple[int, int]:
    """Columns of a packed tensor whose runs lie within the image: (first, behind the last)."""
    start, size = packing.left * packing.channels, packing.step * packing.channels
    first = min(-(-start // size), columns)
    return first, min(max((packing.width * packing.channels - packing.run + start) // size + 1, first), columns)


def fill_packed(packing: Packing, constants: int, view: View, box: Box) -> Iterator[Load]:
    """The padding's value into all pixels of ``box`` that reach beyond the image; what lies within it comes later."""
    width, step = packing.lines * packing.run, view.pixel_stride
    line, image = view.box.columns * step, view.box.rows * view.box.columns * step
    first, last = _columns(packing, box.columns)
    # Pixel rows of which some lines are above or below the image.
    top = min(-(-packing.top // packing.line), box.y + box.rows)
    bottom = max((packing.height - packing.lines + packing.top) // packing.line + 1, top)
    below = max(bottom, box.y)
    for y, rows, x, columns in ((box.y, top - box.y, 0, box.columns), (below, box.y + box.rows - below, 0, box.columns),
                                (box.y, box.rows, 0, first), (box.y, box.rows, last, box.columns - last)):
        if rows > 0 and columns > 0:
            loops = [Dimension(columns, 0, step), Dimension(rows, 0, line), Dimension(box.images, 0, image)]
            yield from _loads({"base": constants}, packing.filler, view.address(box.image, y, x, 0), width, loops)


def fetch_packed(packing: Packing, base: int, offset: int, view: View, box: Box) -> Iterator[Load]:
    """What rows ``box.y`` … of a packed tensor have of the image at ``offset``, all columns, image by image."""
    step, channels, width = view.pixel_stride, packing.channels, packing.width * packing.channels
    line = view.box.columns * step
    first, last = _columns(packing, box.columns)
    for image in range(box.image, box.image + box.images):
        for j in range(packing.lines):
            # Rows of the image that are there: t·line − top + j from 0 to height − 1.
            low = min(max(-(-(packing.top - j) // packing.line), box.y), box.y + box.rows)
            high = min(max((packing.height - 1 + packing.top - j) // packing.line + 1, low), box.y + box.rows)
            if high == low:
                continue
            down = Dimension(high - low, packing.line * width, line)
            start = offset + (image * packing.height + low * packing.line - packing.top + j) * width

            def part(x: int, columns: int, image: int = image, j: int = j, low: int = low, start: int = start,
                     down: Dimension = down) -> Iterator[Load]:
                at = (x * packing.step - packing.left) * channels
                before, after = max(-at, 0), max(at + packing.run - width, 0)
                if before + after < packing.run:
                    yield from _loads({"base": base, "lane": j * packing.run + before}, start + at + before, view.address(image, low, x, 0),
                                      packing.run - before - after, [Dimension(columns, packing.step * channels, step), down])

            for x in (*range(first), *range(last, box.columns)):
                yield from part(x, 1)
            if last > first:
                yield from part(first, last - first)
