"""Cutting a layer to size: output tiles for the accumulator, chunks of the inner dimension for the weight scratchpad.

Weights are a matrix in HWIO order, (kernel rows · kernel columns · channels, filters), so that any chunk of the inner dimension is
consecutive rows of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from .views import Box

__all__ = ["Chunk", "ConvShape", "PlanError", "chunks", "cuts", "pieces", "tiles", "window"]


class PlanError(ValueError):
    """A layer that this configuration cannot compute; the message says what would have to be larger."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvShape:
    """Geometry of a convolution of one image, (height, width, channels) → (\\*output_size, filters).

    ``kernel``, ``stride``, ``dilation`` are (y, x); ``padding`` is ((top, bottom), (left, right)).

    Raises
    ------
    PlanError
        A value is outside what commands can express, or the kernel is larger than the padded image.
    """

    height: int
    width: int
    channels: int
    filters: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))

    def __post_init__(self) -> None:
        for name, value, low, high in (
                ("height", self.height, 1, 32767), ("width", self.width, 1, 32767), ("channels", self.channels, 1, (1 << 24) - 1),
                ("filters", self.filters, 1, (1 << 24) - 1), *(("kernel", v, 1, 32767) for v in self.kernel),
                *(("stride", v, 1, 255) for v in self.stride), *(("dilation", v, 1, 255) for v in self.dilation),
                *(("padding", v, 0, 32767) for pair in self.padding for v in pair)):
            if not low <= value <= high:
                raise PlanError(f"convolution {name} must be from {low} to {high}, not {value!r}")
        if min(self.output_size) < 1:
            raise PlanError(f"kernel must fit the padded image, not span {self.span} over {self.height} × {self.width}")

    @property
    def span(self) -> tuple[int, int]:
        """Rows and columns of the image that one window covers."""
        return ((self.kernel[0] - 1) * self.dilation[0] + 1, (self.kernel[1] - 1) * self.dilation[1] + 1)

    @property
    def output_size(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        (top, bottom), (left, right) = self.padding
        return ((self.height + top + bottom - self.span[0]) // self.stride[0] + 1,
                (self.width + left + right - self.span[1]) // self.stride[1] + 1)

    @property
    def output_pixels(self) -> int:
        return self.output_size[0] * self.output_size[1]

    @property
    def inner(self) -> int:
        """Rows of the weight matrix: kernel rows × kernel columns × channels."""
        return self.kernel[0] * self.kernel[1] * self.channels

    @property
    def macs(self) -> int:
        """Multiplications for one image, those by padding included."""
        return self.output_pixels * self.inner * self.filters


def pieces(total: int, most: int) -> Iterator[tuple[int, int]]:
    """(start, length) of as few nearly equal pieces of at most ``most`` as cover ``total``."""
    count = -(-total // most)
    for i in range(count):
        start = total * i // count
        yield start, total * (i + 1) // count - start


def cuts(total: int, widest: int, at: Iterable[int] = ()) -> list[tuple[int, int]]:
    """(start, length) of the pieces of at most ``widest`` that cover ``total`` and end at all multiples of the numbers in ``at``."""
    at, result, start = tuple(at), [], 0
    while start < total:
        stop = min([start + widest, total, *((start // each + 1) * each for each in at)])
        result.append((start, stop - start))
        start = stop
    return result


def window(shape: ConvShape, box: Box, kernel_rows: tuple[int, int] | None = None) -> Box:
    """What the windows of ``box`` cover of each image, clipped to it; of them only the kernel rows (first, count), if these are given."""
    first_row, rows = kernel_rows or (0, shape.kernel[0])
    spans = (rows - 1) * shape.dilation[0] + 1, shape.span[1]
    offsets = first_row * shape.dilation[0] - shape.padding[0][0], -shape.padding[1][0]

    def clipped(first: int, count: int, axis: int, size: int) -> tuple[int, int]:
        start = first * shape.stride[axis] + offsets[axis]
        stop = start + (count - 1) * shape.stride[axis] + spans[axis]
        start, stop = min(max(start, 0), size), min(max(stop, 0), size)
        return start, stop - start

    y, rows = clipped(box.y, box.rows, 0, shape.height)
    x, columns = clipped(box.x, box.columns, 1, shape.width)
    return Box(box.image, box.images, y, rows, x, columns)


def tiles(shape: ConvShape, images: int, *, most: int, goal: int | None = None, area: tuple[int, int, int, int] | None = None,
          loops: int = 3, window_rows: int | None = None, depth: int = 1) -> list[Box]:
    """Boxes of at most ``most`` windows, in order, as ``loops`` inner loops can walk them.

    Parameters
    ----------
    goal : windows of a box where there is a choice
    area : (first row, rows, first column, columns) of the windows; all by default
    window_rows : scratchpad rows, ``depth`` per pixel, that the input of a box may take
    """
    top, rows, left, columns = area or (0, shape.output_size[0], 0, shape.output_size[1])
    goal = min(most, goal or most)

    def reach(per_line: int, axis: int) -> int:
        """Output lines whose input lines, ``per_line`` rows each, fit ``window_rows``."""
        if window_rows is None:
            return most
        lines = window_rows // per_line
        size = (shape.height, shape.width)[axis]
        return most if lines >= size else (lines - shape.span[axis]) // shape.stride[axis] + 1

    per_image = shape.height * shape.width * depth
    whole = min(most // (rows * columns), most if window_rows is None else window_rows // per_image)
    if whole >= 1 and (loops == 3 or rows * columns == 1) and (images > 1 or rows * columns <= goal):
        return [Box(b, n, top, rows, left, columns) for b, n in pieces(images, min(whole, max(1, goal // (rows * columns))))]
    lines = min(max(1, goal // columns), most // columns, reach(shape.width * depth, 0))
    if lines >= 1 and (loops >= 2 or lines * columns == 1):
        return [Box(b, 1, top + y, n, left, columns) for b in range(images) for y, n in pieces(rows, lines)]
    across = min(most, columns, reach(min(shape.span[0], shape.height) * depth, 1))
    if across < 1:
        raise PlanError(f"memory.activation_kib must hold two windows of {shape.kernel[0]} × {shape.kernel[1]} × {shape.channels}; "
                        "make it larger")
    return [Box(b, 1, top + y, 1, left + x, n) for b in range(images) for y in range(rows) for x, n in pieces(columns, across)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """Part of the inner dimension that one EXECUTE sums: kernel rows, kernel columns, channel tiles (first, count each)."""

    ky: int
    ky_count: int
    kx: int
    kx_count: int
    ct: int
    ct_count: int
    k_last: int
    first: int   # row of the weight matrix
    count: int   # rows of it


def chunks(kernel: tuple[int, int], cin: int, array_rows: int, *, most: int, loops: int = 3) -> list[Chunk]:
    """The inner dimension, ``cin`` channels for each tap of ``kernel``, in chunks of at most ``most`` weight rows, each consecutive in
    HWIO, as ``loops`` outer loops can walk them."""
    ky, kx = kernel
    depth = -(-cin // array_rows)
    last = cin - (depth - 1) * array_rows

    def whole(y: int, ny: int, x: int, nx: int) -> Chunk:
        return Chunk(ky=y, ky_count=ny, kx=x, kx_count=nx, ct=0, ct_count=depth, k_last=last, first=(y * kx + x) * cin,
                     count=ny * nx * cin)

    lines = min(most // (kx * cin), 255) if kx <= 255 else 0
    lines = min(lines, 1) if loops < 3 else lines
    if lines and (loops >= 2 or kx == 1):
        return [whole(y, n, 0, kx) for y, n in pieces(ky, lines)]
    taps = min(most // cin, 255)
    taps = min(taps, 1) if loops < 2 else taps
    if taps:
        return [whole(y, 1, x, n) for y in range(ky) for x, n in pieces(kx, taps)]
    return [Chunk(ky=y, ky_count=1, kx=x, kx_count=1, ct=t, ct_count=n, k_last=last if t + n == depth else array_rows,
                  first=(y * kx + x) * cin + t * array_rows, count=min(n * array_rows, cin - t * array_rows))
            for y in range(ky) for x in range(kx) for t, n in pieces(depth, most // array_rows)]
