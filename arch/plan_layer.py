"""One layer on the machine: the commands that take it from its operands to its results.

A layer multiplies windows of an activation tensor by a weight matrix and requantises the sums. Convolutions (:mod:`.plan_conv`)
and attention (:mod:`.plan_attention`) differ in their sources, weights and targets (:mod:`.plan_operands`), and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .commands import PARAMETER_WORDS, Bank, Execute, Load, Operation, Store, signed16
from .config import Config
from .hazards import Space
from .plan_operands import Destination, MemoryTensor, Ring, Rounding, WeightCache, Weights
from .program import Program, Region
from .tiling import Chunk, ConvShape, PlanError, Tensor, Tile, chunks, pieces

__all__ = ["LayerPlanner"]

PARAMETER_BYTES = 4 * PARAMETER_WORDS
_LONGEST_RUN = (1 << 24) - 1  # bytes that the field holds


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
        self._cache = WeightCache(config, program, self.weights)
        self.parameters = Ring(0, config.parameter_groups)
        self._half = 0
        if self.parameters.size * config.epilogue.lanes < config.array.cols:
            raise PlanError(f"memory.parameter_channels must be at least array.cols, {config.array.cols}, "
                            f"not {config.memory.parameter_channels}")
        if not config.control.padding:
            raise PlanError("control.padding must be true for the layers of a network")
        if self.weights.size < 2 * config.array.rows:
            raise PlanError(f"memory.weight_kib must leave {2 * config.array.rows} rows for weights from memory, not {self.weights.size}; "
                            "make it larger")

    def chunks(self, shape: ConvShape) -> list[Chunk]:
        """The inner dimension in chunks, two of which fit the weight ring."""
        return chunks(shape, self.config.array.rows, most=self.weights.size // 2, loops=self.config.control.outer_loops)

    def layer(self, shape: ConvShape, order: Iterable[tuple[Tile, tuple[int, int]]], *, source: Callable[[Tile], tuple[Tensor, Region]],
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
                weight_fields, weight_rows = weights.fields(self._cache, first, width, chunk)
                self.program.add(Execute(accumulate=int(chunk is not parts[0]), accumulator_row=half, pad=pad, **weight_fields,
                                         **_walk(shape, tile, chunk, tensor)),
                                 reads=[window, weight_rows], writes=[sums])
            group, parameters = self._parameters(rounding, first, width)
            pixel = (tile.image * shape.output_size[0] + tile.y) * shape.output_size[1] + tile.x
            fields, written = target.fields(self.config, pixel, tile.pixels, first, width)
            self.program.add(Store(operation=Operation.REQUANTISE, row=half, columns=width, count1=tile.pixels, parameter_group=group,
                                   zero_point=rounding.zero_point, low=rounding.low, high=rounding.high, **fields),
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
        pitch, step = source.width * channels, signed16(length * tensor.depth)
        first = source.offset + ((tensor.image * source.height + tensor.y) * source.width + tensor.x) * channels
        for start, pixels in pieces(length, min(65535, _LONGEST_RUN // channels)):
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
        "activation_ct": 1, "activation_ky": signed16(dy * line), "activation_kx": signed16(dx * tensor.depth),
        "y_origin": y, "x_origin": x, "y_dilation": dy, "x_dilation": dx, "height": shape.height, "width": shape.width,
    }
    if tile.rows == tile.columns == 1:  # images as columns of one line, which the smallest nest can walk
        return {**fields, "x_count": tile.images, "activation_x": signed16(image)}
    return {**fields, "x_count": tile.columns, "y_count": tile.rows, "b_count": tile.images, "activation_b": signed16(image),
            "activation_y": signed16(sy * line), "activation_x": signed16(sx * tensor.depth), "y_step": sy, "x_step": sx}
