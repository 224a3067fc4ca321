"""Cutting a layer to size: output tiles for the accumulator, chunks of the inner dimension for the weight scratchpad.

On-chip layout of activations: pixel after pixel, each ceil(channels ÷ rows) consecutive rows. Weights are a matrix in HWIO order,
(kernel rows · kernel columns · channels, filters), so that any chunk of the inner dimension is consecutive rows of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

__all__ = ["Chunk", "ConvShape", "PlanError", "Tensor", "Tile", "chunks", "pieces", "tiles"]


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

    @property
    def is_pointwise(self) -> bool:
        """Every output pixel depends on the input pixel at its place only."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and self.padding == ((0, 0), (0, 0))

    def flattened(self, images: int) -> tuple[ConvShape, int]:
        """The same work with each pixel of a pointwise layer as an image of its own: (shape, images)."""
        if not self.is_pointwise:
            return self, images
        return dataclasses.replace(self, height=1, width=1), images * self.height * self.width


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensor:
    """Activations on chip: images from ``image`` on, of each the window ``height`` × ``width`` at (``y``, ``x``), from ``row`` on.

    ``depth`` is rows per pixel.
    """

    row: int
    height: int
    width: int
    depth: int
    image: int = 0
    y: int = 0
    x: int = 0

    def address(self, image: int, y: int, x: int) -> int:
        """First row of a pixel; outside the window where padding will be injected."""
        return self.row + (((image - self.image) * self.height + y - self.y) * self.width + x - self.x) * self.depth


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tile:
    """Output pixels that are consecutive in NHWC order: whole images, or whole rows of one, or a part of one row."""

    image: int
    images: int
    y: int
    rows: int
    x: int
    columns: int

    @property
    def pixels(self) -> int:
        return self.images * self.rows * self.columns

    def window(self, shape: ConvShape) -> tuple[int, int, int, int]:
        """What the tile needs of each image, clipped to it: (y from, y to, x from, x to)."""
        def clipped(first: int, count: int, axis: int, size: int) -> tuple[int, int]:
            start = first * shape.stride[axis] - shape.padding[axis][0]
            stop = start + (count - 1) * shape.stride[axis] + shape.span[axis]
            return min(max(start, 0), size), min(max(stop, 0), size)

        return clipped(self.y, self.rows, 0, shape.height) + clipped(self.x, self.columns, 1, shape.width)


def pieces(total: int, most: int) -> Iterator[tuple[int, int]]:
    """(start, length) of as few nearly equal pieces of at most ``most`` as cover ``total``."""
    count = -(-total // most)
    for i in range(count):
        start = total * i // count
        yield start, total * (i + 1) // count - start


def tiles(shape: ConvShape, images: int, *, most: int, loops: int = 3, window_rows: int | None = None,
          depth: int = 1) -> list[Tile]:
    """Output tiles of at most ``most`` pixels, in order, as ``loops`` inner loops can walk them.

    Where ``window_rows`` is given, the input that a tile needs (``depth`` rows per pixel) is at most that many rows.
    """
    rows, columns = shape.output_size

    def reach(per_line: int, axis: int) -> int:
        """Output lines whose input lines, ``per_line`` rows each, fit ``window_rows``."""
        if window_rows is None:
            return most
        lines = window_rows // per_line
        size = (shape.height, shape.width)[axis]
        return most if lines >= size else (lines - shape.span[axis]) // shape.stride[axis] + 1

    per_image = shape.height * shape.width * depth
    whole = min(most // shape.output_pixels, most if window_rows is None else window_rows // per_image)
    if whole >= 1 and (loops == 3 or shape.output_pixels == 1):
        return [Tile(image=b, images=n, y=0, rows=rows, x=0, columns=columns) for b, n in pieces(images, whole)]
    lines = min(most // columns, reach(shape.width * depth, 0))
    if lines >= 1 and (loops >= 2 or lines * columns == 1):
        return [Tile(image=b, images=1, y=y, rows=n, x=0, columns=columns) for b in range(images) for y, n in pieces(rows, lines)]
    across = min(most, columns, reach(min(shape.span[0], shape.height) * depth, 1))
    if across < 1:
        raise PlanError(f"memory.activation_kib must hold two windows of {shape.kernel[0]} × {shape.kernel[1]} × {shape.channels}; "
                        "make it larger")
    return [Tile(image=b, images=1, y=y, rows=1, x=x, columns=n)
            for b in range(images) for y in range(rows) for x, n in pieces(columns, across)]


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


def chunks(shape: ConvShape, array_rows: int, *, most: int, loops: int = 3) -> list[Chunk]:
    """The inner dimension in chunks of at most ``most`` weight rows, each consecutive in HWIO, as ``loops`` outer loops can walk them."""
    ky, kx, cin = *shape.kernel, shape.channels
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
