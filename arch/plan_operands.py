"""Where a layer's operands come from and where its results go: memory, or scratchpads in the layout that the next user wants.

Each class knows one place. Weights give EXECUTE its weight fields, and load what must be loaded; destinations give STORE its target
fields. All name the rows that are touched, which is what tokens are made from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import Protocol

from .commands import Bank, Load, Target, signed16
from .config import Config
from .hazards import Space
from .program import Program, Region
from .tiling import Chunk, ConvShape

__all__ = ["ActivationTarget", "Destination", "MemoryTarget", "MemoryTensor", "MemoryWeights", "ResidentWeights", "Ring", "Rounding",
           "TransposedTarget", "TransposedWeights", "WeightCache", "WeightTarget", "Weights"]


class Ring:
    """Places for what is loaded on demand: first in, first out, and found again as long as it is there.

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rounding:
    """How sums become int8: zero point and clamp, and where the parameters of all filters lie (12 bytes each)."""

    base: int
    parameters: int
    zero_point: int = 0
    low: int = -128
    high: int = 127


@dataclasses.dataclass(frozen=True)
class WeightCache:
    """Rows of the weight scratchpad for weights from memory, and the program that loads them there."""

    config: Config
    program: Program
    ring: Ring


class Weights(Protocol):
    """A weight matrix of a layer, found or brought into the weight scratchpad."""

    def fields(self, cache: WeightCache, first: int, width: int, chunk: Chunk) -> tuple[dict[str, int], Region]:
        """EXECUTE's weight fields for filters ``first`` … ``first`` + ``width`` − 1, and the rows it will read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryWeights:
    """Row-major (inner, filters) in memory, loaded a chunk of a filter tile at a time."""

    base: int
    offset: int
    shape: ConvShape

    def fields(self, cache: WeightCache, first: int, width: int, chunk: Chunk) -> tuple[dict[str, int], Region]:
        filters, channels, taps = self.shape.filters, self.shape.channels, self.shape.kernel[1]
        row, fresh = cache.ring.place((self, first, chunk.first), chunk.count)
        region = Region(Space.WEIGHT, row, row + chunk.count)
        if fresh:
            offset = self.offset + chunk.first * filters + first
            if width == filters == cache.config.array.cols:
                place = {"run": chunk.count * width}
            else:
                place = {"run": width, "count1": chunk.count, "stride1": filters, "row_stride1": 1}
            cache.program.add(Load(bank=Bank.WEIGHT, base=self.base, offset=offset, row=row, **place), writes=[region])
        return {"weight_row": row, "weight_ct": cache.config.array.rows, "weight_kx": signed16(channels),
                "weight_ky": signed16(taps * channels)}, region


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResidentWeights:
    """Made on the device by a :class:`WeightTarget`: ``inner`` rows for each tile of cols filters, from ``row`` on."""

    row: int
    inner: int

    def fields(self, cache: WeightCache, first: int, width: int, chunk: Chunk) -> tuple[dict[str, int], Region]:
        row = self.row + first // cache.config.array.cols * self.inner + chunk.first
        return {"weight_row": row, "weight_ct": cache.config.array.rows}, Region(Space.WEIGHT, row, row + chunk.count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransposedWeights:
    """Made on the device by a :class:`TransposedTarget`: the weight matrix is the transpose of what was stored.

    Filter n is a vector of ``inner`` values, cut into chunks of ``rows`` bytes; a chunk takes ceil(rows ÷ cols) weight rows.
    """

    row: int
    inner: int

    @staticmethod
    def vector_rows(config: Config, inner: int) -> int:
        """Weight rows from vector to vector."""
        return -(-inner // config.array.rows) * -(-config.array.rows // config.array.cols)

    @staticmethod
    def rows(config: Config, inner: int, filters: int) -> int:
        """Weight rows of all, those of the absent vectors of the last tile included, for the transposer reads these too."""
        cols = config.array.cols
        return -(-filters // cols) * cols * TransposedWeights.vector_rows(config, inner)

    def fields(self, cache: WeightCache, first: int, width: int, chunk: Chunk) -> tuple[dict[str, int], Region]:
        array = cache.config.array
        stride, each = self.vector_rows(cache.config, self.inner), -(-array.rows // array.cols)
        start = self.row + first * stride
        return ({"weight_row": start + chunk.ct * each, "weight_stride": stride, "weight_ct": each, "transpose": 1},
                Region(Space.WEIGHT, start, start + array.cols * stride))


class Destination(Protocol):
    """Where a layer's results go."""

    def filter_tiles(self, config: Config, filters: int) -> list[tuple[int, int]]:
        """(first, width) of the filter tiles that one STORE each can place."""

    def fields(self, config: Config, pixel: int, pixels: int, first: int, width: int) -> tuple[dict[str, int], list[Region]]:
        """STORE's target fields for ``pixels`` output pixels from ``pixel`` on, and what is written."""


def _by_columns(config: Config, filters: int) -> list[tuple[int, int]]:
    cols = config.array.cols
    return [(first, min(cols, filters - first)) for first in range(0, filters, cols)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryTensor:
    """Images in memory, NHWC, from ``offset`` on. ``temporary`` ones are both written and read by the program."""

    base: int
    offset: int
    height: int
    width: int
    temporary: bool = False

    def regions(self, start: int, stop: int) -> list[Region]:
        """What must be named to the program when bytes ``start`` … ``stop`` − 1 are touched."""
        return [Region((Space.MEMORY, self.base), start, stop)] if self.temporary else []


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryTarget:
    """Results to memory, ``filters`` bytes per pixel."""

    tensor: MemoryTensor
    filters: int

    filter_tiles = staticmethod(_by_columns)

    def fields(self, config: Config, pixel: int, pixels: int, first: int, width: int) -> tuple[dict[str, int], list[Region]]:
        start = self.tensor.offset + pixel * self.filters + first
        return ({"target": Target.MEMORY, "base": self.tensor.base, "destination": start, "stride1": self.filters},
                self.tensor.regions(start, start + (pixels - 1) * self.filters + width))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActivationTarget:
    """The next layer's input on chip: ``depth`` rows per pixel; output pixel ``pixel`` at ``row``."""

    row: int
    depth: int
    pixel: int = 0

    filter_tiles = staticmethod(_by_columns)

    def fields(self, config: Config, pixel: int, pixels: int, first: int, width: int) -> tuple[dict[str, int], list[Region]]:
        start = self.row + (pixel - self.pixel) * self.depth
        return ({"target": Target.ACTIVATION, "destination": start + first // config.array.rows, "lane": first % config.array.rows,
                 "stride1": self.depth}, [Region(Space.ACTIVATION, start, start + pixels * self.depth)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightTarget:
    """Weights of a later layer whose inner dimension is this layer's pixels: see :class:`ResidentWeights`."""

    row: int
    inner: int

    filter_tiles = staticmethod(_by_columns)

    def fields(self, config: Config, pixel: int, pixels: int, first: int, width: int) -> tuple[dict[str, int], list[Region]]:
        start = self.row + first // config.array.cols * self.inner + pixel
        return {"target": Target.WEIGHT, "destination": start, "stride1": 1}, [Region(Space.WEIGHT, start, start + pixels)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransposedTarget:
    """Weights of a later layer whose filters are this layer's pixels: see :class:`TransposedWeights`."""

    row: int
    inner: int

    def filter_tiles(self, config: Config, filters: int) -> list[tuple[int, int]]:
        """Also cut at multiples of ``rows``, where a chunk ends and its last weight row may be partly filled."""
        rows, cols = config.array.rows, config.array.cols
        return [(start + first, min(cols, rows - first, filters - start - first))
                for start in range(0, filters, rows) for first in range(0, min(rows, filters - start), cols)]

    def fields(self, config: Config, pixel: int, pixels: int, first: int, width: int) -> tuple[dict[str, int], list[Region]]:
        rows, cols = config.array.rows, config.array.cols
        stride = TransposedWeights.vector_rows(config, self.inner)
        start = self.row + pixel * stride
        inside = first // rows * -(-rows // cols) + first % rows // cols
        return ({"target": Target.WEIGHT, "destination": start + inside, "stride1": stride},
                [Region(Space.WEIGHT, start, start + pixels * stride)])
