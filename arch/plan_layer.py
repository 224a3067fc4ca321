"""One layer on the machine: where its operands come from, where its results go, and the commands in between.

A layer multiplies windows of an activation tensor by a weight matrix and requantises the sums. Convolutions (:mod:`.plan_conv`)
and attention (:mod:`.plan_attention`) differ in their sources, weights and targets, and in nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol

from .commands import PARAMETER_WORDS, Bank, Execute, Load, Operation, Source, Store, Target
from .config import Config
from .hazards import Space
from .program import Program, Region
from .tiling import Chunk, ConvShape, PlanError, Tensor, Tile, chunks, pieces

__all__ = ["PARAMETER_BYTES", "ActivationTarget", "Destination", "LayerPlanner", "MemoryTarget", "MemoryTensor", "MemoryWeights", "ResidentWeights", "Ring",
           "Rounding", "TransposedTarget", "TransposedWeights", "WeightTarget"]

PARAMETER_BYTES = 4 * PARAMETER_WORDS


def _signed16(value: int) -> int:
    """Rows modulo 2**16, as the signed field that holds them."""
    return (value + 0x8000) % 0x10000 - 0x8000


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


class Weights(Protocol):
    """A weight matrix of a layer, found or brought into the weight scratchpad."""

    def fields(self, planner: LayerPlanner, first: int, width: int, chunk: Chunk) -> tuple[dict[str, int], Region]:
        """EXECUTE's weight fields for filters ``first`` … ``first`` + ``width`` − 1, and the rows it will read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryWeights:
    """Row-major (inner, filters) in memory, loaded a chunk of a filter tile at a time."""

    base: int
    offset: int
    shape: ConvShape

    def fields(self, planner: LayerPlanner, first: int, width: int, chunk: Chunk) -> tuple[dict[str, int], Region]:
        filters, channels, taps = self.shape.filters, self.shape.channels, self.shape.kernel[1]
        row, fresh = planner.weights.place((self, first, chunk.first), chunk.count)
        region = Region(Space.WEIGHT, row, row + chunk.count)
        if fresh:
            offset = self.offset + chunk.first * filters + first
            if width == filters == planner.config.array.cols:
                place = {"run": chunk.count * width}
            else:
                place = {"run": width, "count1": chunk.count, "stride1": filters, "row_stride1": 1}
            planner.program.add(Load(bank=Bank.WEIGHT, base=self.base, offset=offset, row=row, **place), writes=[region])
        return {"weight_row": row, "weight_ct": planner.config.array.rows, "weight_kx": _signed16(channels),
                "weight_ky": _signed16(taps * channels)}, region


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResidentWeights:
    """Made on the device by a :class:`WeightTarget`: ``inner`` rows for each tile of cols filters, from ``row`` on."""

    row: int
    inner: int

    def fields(self, planner: LayerPlanner, first: int, width: int, chunk: Chunk) -> tuple[dict[str, int], Region]:
        row = self.row + first // planner.config.array.cols * self.inner + chunk.first
        return {"weight_row": row, "weight_ct": planner.config.array.rows}, Region(Space.WEIGHT, row, row + chunk.count)


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

    def fields(self, planner: LayerPlanner, first: int, width: int, chunk: Chunk) -> tuple[dict[str, int], Region]:
        array = planner.config.array
        stride, each = self.vector_rows(planner.config, self.inner), -(-array.rows // array.cols)
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


class LayerPlanner:
    """Emits layers into a program; keeps what is resident on chip from layer to layer.

    Parameters
    ----------
    config : the accelerator
    program : receives the commands
    weight_rows : rows of the weight scratchpad, from 0 on, for weights from memory
    """

    def __init__(self, config: Config, program: Program, *, weight_rows: int | None = None) -> None:
        self.config = config
        self.program = program
        self.weights = Ring(0, config.weight_rows if weight_rows is None else weight_rows)
        self.parameters = Ring(0, config.parameter_groups)
        self._half = 0
        if self.parameters.size * config.epilogue.lanes < config.array.cols:
            raise PlanError(f"memory.parameter_channels must be at least array.cols, {config.array.cols}, "
                            f"not {config.memory.parameter_channels}")
        if self.weights.size < 2 * config.array.rows:
            raise PlanError(f"memory.weight_kib must leave {2 * config.array.rows} rows for weights from memory, not {self.weights.size}; "
                            "make it larger")

    def chunks(self, shape: ConvShape) -> list[Chunk]:
        """The inner dimension in chunks, two of which fit the weight ring."""
        return chunks(shape, self.config.array.rows, most=self.weights.size // 2, loops=self.config.control.outer_loops)

    def layer(self, shape: ConvShape, order: Iterator[tuple[Tile, tuple[int, int]]], *, source: Callable[[Tile], tuple[Tensor, Region]],
              weights: Weights, target: Destination, rounding: Rounding, pad: int = 0) -> None:
        """All commands of a layer, (output tile, filter tile) after (output tile, filter tile) in ``order``.

        ``source`` finds or loads what a tile needs; ``pad`` is the padding's value.
        """
        parts = self.chunks(shape)
        for tile, (first, width) in order:
            half = self._half * self.config.half_rows
            self._half ^= 1
            sums = Region(Space.ACCUMULATOR, half, half + tile.pixels)
            tensor, window = source(tile)
            for chunk in parts:
                weight_fields, weight_rows = weights.fields(self, first, width, chunk)
                self.program.add(Execute(accumulate=int(chunk is not parts[0]), accumulator_row=half, pad=pad, **weight_fields,
                                         **_walk(shape, tile, chunk, tensor)),
                                 reads=[window, weight_rows], writes=[sums])
            group, parameters = self._parameters(rounding, first, width)
            pixel = (tile.image * shape.output_size[0] + tile.y) * shape.output_size[1] + tile.x
            fields, written = target.fields(self.config, pixel, tile.pixels, first, width)
            self.program.add(Store(operation=Operation.REQUANTISE, source=Source.ACCUMULATOR, row=half, columns=width, count1=tile.pixels,
                                   parameter_group=group, zero_point=rounding.zero_point, low=rounding.low, high=rounding.high, **fields),
                             reads=[sums, parameters], writes=written)

    def _parameters(self, rounding: Rounding, first: int, width: int) -> tuple[int, Region]:
        groups = -(-width // self.config.epilogue.lanes)
        group, fresh = self.parameters.place((rounding, first), groups)
        region = Region(Space.PARAMETER, group, group + groups)
        if fresh:
            self.program.add(Load(bank=Bank.PARAMETER, base=rounding.base, offset=rounding.parameters + first * PARAMETER_BYTES,
                                  run=width * PARAMETER_BYTES, row=group), writes=[region])
        return group, region

    def load_pixels(self, tensor: Tensor, channels: int, *, source: MemoryTensor, images: int = 1) -> None:
        """LOAD what ``tensor`` describes from ``source``: whole images, or a window of one."""
        if tensor.width == source.width:
            lines, length = 1, images * tensor.height * tensor.width
        else:
            lines, length = tensor.height, tensor.width
        pitch, step = source.width * channels, _signed16(length * tensor.depth)
        first = source.offset + ((tensor.image * source.height + tensor.y) * source.width + tensor.x) * channels
        for start, pixels in pieces(length, min(65535, (1 << 24) // channels)):
            if channels % self.config.array.rows == 0:
                walk = {"run": pixels * channels, "count1": lines, "stride1": pitch, "row_stride1": step}
            else:
                walk = {"run": channels, "count1": pixels, "stride1": channels, "row_stride1": tensor.depth,
                        "count2": lines, "stride2": pitch, "row_stride2": step}
            offset, row = first + start * channels, tensor.row + start * tensor.depth
            self.program.add(
                Load(bank=Bank.ACTIVATION, base=source.base, offset=offset, row=row, **walk),
                reads=source.regions(offset, offset + (lines - 1) * pitch + pixels * channels),
                writes=[Region(Space.ACTIVATION, row, row + ((lines - 1) * length + pixels) * tensor.depth)])


def _walk(shape: ConvShape, tile: Tile, chunk: Chunk, tensor: Tensor) -> dict[str, Any]:
    """EXECUTE's nests: the taps of ``chunk`` for the pixels of ``tile``."""
    (sy, sx), (dy, dx) = shape.stride, shape.dilation
    y = tile.y * sy - shape.padding[0][0] + chunk.ky * dy
    x = tile.x * sx - shape.padding[1][0] + chunk.kx * dx
    line, image = tensor.width * tensor.depth, tensor.height * tensor.width * tensor.depth
    fields = {
        "activation_row": (tensor.address(tile.image, y, x) + chunk.ct) % 0x10000,
        "ky_count": chunk.ky_count, "kx_count": chunk.kx_count, "ct_count": chunk.ct_count, "k_last": chunk.k_last,
        "activation_ct": 1, "activation_ky": _signed16(dy * line), "activation_kx": _signed16(dx * tensor.depth),
        "y_origin": y, "x_origin": x, "y_dilation": dy, "x_dilation": dx, "height": shape.height, "width": shape.width,
    }
    if tile.rows == tile.columns == 1:  # images as columns of one line, which the smallest nest can walk
        return {**fields, "x_count": tile.images, "activation_x": _signed16(image)}
    return {**fields, "x_count": tile.columns, "y_count": tile.rows, "b_count": tile.images, "activation_b": _signed16(image),
            "activation_y": _signed16(sy * line), "activation_x": _signed16(sx * tensor.depth), "y_step": sy, "x_step": sx}
