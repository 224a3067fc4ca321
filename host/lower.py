"""From the operators of a graph to the planner's layers: geometry, terms, and all constants packed as they are loaded."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arch.commands import Operation
from ..arch.config import Config
from ..arch.layers import Constant, Dynamic, Extent, Layer, Part, TensorSpec, Term, root_of
from ..arch.numerics import AVERAGE_MAX, add_table_place, average_pool_multiplier, wrap32
from ..arch.plan_memory import Use
from ..arch.tiling import ConvShape, PlanError, cuts
from ..arch.views import by_tiles, depth_of
from .arrange import Folding, diagonal, fold_zero_point, folded_shape, folded_weights, packed_weights
from .constants import Constants
from .folding import choose_foldings, choose_packing
from .graph import Graph, Node
from .operators import (
    Add,
    AveragePool2D,
    BatchMatMul,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    MaxPool2D,
    Requantise,
    Reshape,
)

__all__ = ["Lowered", "lower"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Lowered:
    """Tensors and layers for the planner, and constants for the device."""

    specs: dict[str, TensorSpec]
    layers: list[Layer]
    constants: Constants


def extent_of(shape: Sequence[int]) -> Extent:
    """A tensor's shape as (images, height, width, channels)."""
    channels = shape[-1]
    width = shape[-2] if len(shape) > 2 else 1
    height = shape[-3] if len(shape) > 3 else 1
    return Extent(math.prod(shape) // (channels * width * height), height, width, channels)


def lower(graph: Graph, nodes: Sequence[Node], config: Config, memory: dict[str, tuple[int, int]], given: Sequence[str]) -> Lowered:
    """Layers for ``nodes`` of ``graph``, none of them a host operator.

    Parameters
    ----------
    memory : (base register, offset) of the tensors that go in and out
    given : those that go in

    Raises
    ------
    PlanError
        An operator that this accelerator cannot do.
    """
    return _Lowering(graph, nodes, config, memory, given).run()


class _Lowering:
    def __init__(self, graph: Graph, nodes: Sequence[Node], config: Config, memory: dict[str, tuple[int, int]], given: Sequence[str]):
        self.graph, self.nodes, self.config = graph, nodes, config
        self.constants = Constants(config)
        self.specs: dict[str, TensorSpec] = {}
        self.layers: list[Layer] = []
        self.memory = memory
        self.tiled = by_tiles(config)
        self.foldings = choose_foldings(graph, nodes, config, set(memory))
        self.matrices: dict[str, Extent] = {}  # how products read tensors that are their weights
        self.wanted = self._wanted()
        for key in given:
            self.specs[key] = TensorSpec(extent=extent_of(graph.tensors[key].shape), memory=memory[key], given=True)

    def run(self) -> Lowered:
        steps: dict[type, Callable[[int, Node, Any], None]] = {
            Conv2D: self._conv, DepthwiseConv2D: self._depthwise, FullyConnected: self._dense, AveragePool2D: self._average,
            MaxPool2D: self._maximum, Add: self._add, BatchMatMul: self._product, Requantise: self._requantise, Reshape: self._reshape}
        for number, node in enumerate(self.nodes):
            try:
                steps[type(node.operator)](number, node, node.operator)
            except PlanError as error:
                raise PlanError(f"operator {node.index} ({node.op}, {node.name!r}): {error}") from None
        return Lowered(specs=self.specs, layers=self.layers, constants=self.constants)

    # Tensors

    def _wanted(self) -> dict[str, set[Use]]:
        """Tensors that are weights of a later product, by the first tensor with these bytes."""
        names: dict[str, str] = {}
        wanted: dict[str, set[Use]] = {}
        for node in self.nodes:
            if isinstance(node.operator, Reshape):
                names[node.output] = names.get(node.inputs[0], node.inputs[0])
            use = None
            if isinstance(node.operator, BatchMatMul):
                use, key = Use.TRANSPOSED if node.operator.transpose_b else Use.WEIGHTS, node.inputs[1]
                *outer, m, n = self.graph.tensors[key].shape
                self.matrices[names.get(key, key)] = Extent(math.prod(outer), 1, m, n)
            elif isinstance(node.operator, AveragePool2D) and _whole(node.operator, self.graph.tensors[node.inputs[0]].shape):
                use, key = Use.WEIGHTS, node.inputs[0]
            if use is not None:
                wanted.setdefault(names.get(key, key), set()).add(use)
        return wanted

    def _input(self, key: str, extent: Extent) -> str:
        """The tensor ``key`` in the shape that a layer wants."""
        if self.specs[key].extent == extent:
            return key
        root = root_of(self.specs, key)
        if self.specs[root].extent == extent:
            return root
        name = f"{key} as {extent.images}×{extent.height}×{extent.width}×{extent.channels}"
        self.specs.setdefault(name, TensorSpec(extent=extent, alias=key))
        return name

    def _output(self, key: str, extent: Extent) -> str:
        self.specs[key] = TensorSpec(extent=extent, memory=self.memory.get(key))
        return key

    def _fold(self, key: str) -> int:
        return self.foldings.get(key, 1)

    def _folded(self, key: str) -> Extent:
        """Shape of an image tensor, its pixels folded."""
        extent, fold = extent_of(self.graph.tensors[key].shape), self._fold(key)
        return dataclasses.replace(extent, width=extent.width // fold, channels=extent.channels * fold)

    # Parts

    def _cuts(self, output: str, channels: int, at: Sequence[int] = ()) -> list[tuple[int, int]]:
        """Parts of the output's channels, as all places take them where they go to."""
        rows, cols = self.config.array.rows, self.config.array.cols
        uses = self.wanted.get(output, set())
        at = [*at, *([rows] if self.tiled or Use.TRANSPOSED in uses else []), *([cols] if Use.WEIGHTS in uses else [])]
        return cuts(channels, cols, at)

    def _term(self, weights: np.ndarray, **fields: Any) -> Term:
        """A term with constant ``weights`` (ky, kx, channels, width)."""
        rows, channels = self.config.array.rows, weights.shape[2]
        depth = -(-channels // rows)
        return Term(weights=Constant(self.constants.weights(weights)), depth=depth, k_last=channels - (depth - 1) * rows,
                    **{"source": 0, **fields})

    def _unit(self, first: int, width: int, value: int, **fields: Any) -> Term:
        """A term that takes channels ``first`` … of its source as they are, ``value`` times."""
        rows = self.config.array.rows
        tile = np.zeros((rows, width), np.int8)
        tile[first % rows + np.arange(width), np.arange(width)] = value
        weights = Constant(self.constants.weights(tile), uniform=True)
        return Term(weights=weights, first=first // rows, k_last=rows, **{"source": 0, **fields})

    def _layer(self, number: int, inputs: Sequence[str], output: str, shape: ConvShape, parts: Sequence[Part], **fields: Any) -> None:
        rows, columns = shape.output_size
        self.layers.append(Layer(node=number, inputs=tuple(inputs), output=output, shape=shape, parts=tuple(parts), **{
            "area": (0, rows, 0, columns), "images": self.specs[output].extent.images, **fields}))

    def _parameters(self, bias: np.ndarray, multiplier: np.ndarray, shift: np.ndarray, first: int, width: int) -> int:
        part = slice(first, first + width)
        spare = (0, -width % self.config.epilogue.lanes)   # so that the next part's begin with a group
        return self.constants.parameters(*(np.pad(values[part], spare) for values in (bias, multiplier, shift)))

    def _flat_parameters(self, bias: int, multiplier: int, shift: int, width: int) -> int:
        return self.constants.parameters(*(np.full(width, value) for value in (bias, multiplier, shift)))

    # Operators

    def _conv(self, number: int, node: Node, op: Conv2D) -> None:
        key, extent = node.inputs[0], extent_of(self.graph.tensors[node.inputs[0]].shape)
        shape = op.shape(extent.height, extent.width, extent.channels)
        fold = self._fold(node.output)
        output = self._output(node.output, self._folded(node.output))
        clamp = {"zero_point": op.zero_out, "low": op.low, "high": op.high}
        bias = fold_zero_point(op.bias, op.weights, op.zero_in)
        packing = choose_packing(self.config, shape, fold, op.zero_in, self.specs[key].given, self.constants)
        if packing is not None:
            name = f"{key} packed for {node.output}"
            lines = packing.geometry.height
            self.specs[name] = TensorSpec(extent=Extent(extent.images, lines, shape.output_size[1] // fold, packing.packing.lines
                                                        * packing.packing.run), packing=packing.packing, origin=root_of(self.specs, key))
            weights = [packed_weights(w, packing.packing, shape.stride[1], fold) for w in op.parts]
            self._sums(number, [name], output, packing.geometry, weights, bias, op, fold, 1, clamp)
            return
        folding = Folding(inputs=self._fold(key), outputs=fold)
        phases = 1
        if folding.inputs > 1 and fold == 1:
            phases = folding.inputs // math.gcd(folding.inputs, shape.stride[1])
            folding = dataclasses.replace(folding, outputs=phases)
        folded, weights = shape, list(op.parts)
        if folding != Folding():
            made = folded_shape(shape, folding)
            assert made is not None
            folded, weights = made, [folded_weights(w, shape, folding) for w in op.parts]
        name = self._input(key, self._folded(key))
        self._sums(number, [name], output, folded, weights, bias, op, 1 if phases > 1 else fold, phases, clamp)

    def _sums(self, number: int, inputs: Sequence[str], output: str, shape: ConvShape, weights: Sequence[np.ndarray], bias: np.ndarray,
              op: Any, repeat: int, phases: int, clamp: dict[str, int], area: tuple[int, int, int, int] | None = None) -> None:
        """A layer with dense weights, whose filters are those of the operator ``repeat`` times, or of ``phases`` pixels."""
        filters = len(bias)
        multiplier, shift = np.tile(op.multiplier, repeat), np.tile(op.shift, repeat)
        bias = np.tile(bias, repeat)
        cut = self._cuts(output, filters * repeat)
        parameters = [self._parameters(bias, multiplier, shift, first, width) for first, width in cut]
        parts = [Part(first=first, width=width, phase=phase, parameters=offset, terms=tuple(
            self._term(w[..., phase * filters + first:phase * filters + first + width], pad=op.zero_in) for w in weights))
            for phase in range(phases) for (first, width), offset in zip(cut, parameters, strict=True)]
        extent = self.specs[output].extent
        columns = extent.width // phases
        self._layer(number, inputs, output, shape, parts, step=phases, area=area or (0, extent.height, 0, columns), **clamp)

    def _depthwise(self, number: int, node: Node, op: DepthwiseConv2D) -> None:
        key = node.inputs[0]
        if self._fold(key) > 1 or self._fold(node.output) > 1:
            ky, kx, channels, each = op.weights.shape
            dense = np.zeros((ky, kx, channels, channels, each), op.weights.dtype)
            dense[:, :, np.arange(channels), np.arange(channels)] = op.weights
            self._conv(number, node, Conv2D(
                weights=dense.reshape(ky, kx, channels, channels * each), bias=op.bias, multiplier=op.multiplier, shift=op.shift,
                zero_in=op.zero_in, zero_out=op.zero_out, low=op.low, high=op.high, stride=op.stride, dilation=op.dilation,
                padding=op.padding))
            return
        extent = extent_of(self.graph.tensors[key].shape)
        shape = op.shape(extent.height, extent.width, extent.channels)
        rows, each = self.config.array.rows, op.weights.shape[3]
        bias = fold_zero_point(op.bias, op.weights.reshape(*op.weights.shape[:2], -1), op.zero_in)
        output = self._output(node.output, extent_of(self.graph.tensors[node.output].shape))
        cut = self._cuts(output, shape.filters, [rows * each])
        parameters = [self._parameters(bias, op.multiplier, op.shift, first, width) for first, width in cut]
        parts = [Part(first=first, width=width, parameters=offset, terms=tuple(
            self._term(diagonal(w, first, width, rows), first=first // each // rows, pad=op.zero_in) for w in op.parts))
            for (first, width), offset in zip(cut, parameters, strict=True)]
        self._layer(number, [self._input(key, extent)], output, shape, parts, zero_point=op.zero_out, low=op.low, high=op.high)

    def _dense(self, number: int, node: Node, op: FullyConnected) -> None:
        inputs, outputs = op.weights.shape
        images = self.graph.tensors[node.output].shape[0]
        root = root_of(self.specs, node.inputs[0])
        extent = self.specs[root].extent
        if (extent.images, extent.height * extent.width * extent.channels) != (images, inputs):
            extent = Extent(images, 1, 1, inputs)
            root = self._input(node.inputs[0], extent)
        results = Extent(images, 1, 1, outputs)
        matrix = self.matrices.get(node.output)
        if matrix is not None and matrix.channels == outputs and matrix.images * matrix.width == images:
            # Rows that a later product reads as matrices go to its weights as such: pixels, not images.
            results, extent = matrix, Extent(matrix.images, 1, matrix.width, inputs)
            root = self._input(node.inputs[0], extent)
            shape = ConvShape(height=1, width=matrix.width, channels=inputs, filters=outputs)
        else:
            shape = op.shape(extent.height, extent.width, extent.channels)
        output = self._output(node.output, results)
        weights = [w.reshape(*shape.kernel, shape.channels, outputs) for w in op.parts]
        self._sums(number, [root], output, shape, weights, fold_zero_point(op.bias, op.weights, op.zero_in), op, 1, 1,
                   {"zero_point": op.zero_out, "low": op.low, "high": op.high})

    def _as_matrices(self, key: str, extent: Extent) -> Extent:
        """Shape of an element-wise result: the one that a product has it in, if that has the same channels."""
        found = self.matrices.get(key, extent)
        return found if found.channels == extent.channels else extent

    def _requantise(self, number: int, node: Node, op: Requantise) -> None:
        extent = self._as_matrices(node.output, self.specs[node.inputs[0]].extent)
        source = self._input(node.inputs[0], extent)
        output = self._output(node.output, extent)
        parts = [Part(first=first, width=width, terms=(self._unit(first, width, 1),),
                      parameters=self._flat_parameters(-op.zero_in, op.multiplier, op.shift, width))
                 for first, width in self._cuts(output, extent.channels, [self.config.array.rows])]
        self._layer(number, [source], output, _pointwise(extent), parts, zero_point=op.zero_out, low=op.low, high=op.high)

    def _reshape(self, number: int, node: Node, op: Reshape) -> None:
        self.specs[node.output] = TensorSpec(extent=extent_of(op.shape), alias=node.inputs[0], memory=self.memory.get(node.output))

    def _add(self, number: int, node: Node, op: Add) -> None:
        if not self.config.epilogue.add:
            raise PlanError("epilogue.add must be true for element-wise addition")
        extent = self._as_matrices(node.output, self.specs[root_of(self.specs, node.inputs[0])].extent)
        inputs = [self._input(node.inputs[i], extent) for i in (op.first, 1 - op.first)]
        output = self._output(node.output, extent)
        words = np.zeros(256, np.int32)
        words[add_table_place(np.arange(-128, 128))] = wrap32(op.table.astype(np.int64) + op.bias)
        parts = [Part(first=first, width=width, terms=(self._unit(first, width, 1), self._unit(first, width, -128, source=1, times=2)),
                      parameters=self._flat_parameters(0, op.multiplier, op.shift, width))
                 for first, width in self._cuts(output, extent.channels, [self.config.array.rows])]
        self._layer(number, inputs, output, _pointwise(extent), parts, operation=Operation.ADD, table=self.constants.words(words),
                    zero_point=op.zero_out, low=op.low, high=op.high)

    def _maximum(self, number: int, node: Node, op: MaxPool2D) -> None:
        if not self.config.epilogue.max_pool:
            raise PlanError("epilogue.max_pool must be true for maximum pooling")
        key = node.inputs[0]
        extent = extent_of(self.graph.tensors[key].shape)
        shape = op.shape(extent.height, extent.width, extent.channels)
        output = self._output(node.output, extent_of(self.graph.tensors[node.output].shape))
        source = self._input(key, extent)
        if shape.kernel[0] * shape.kernel[1] > min(255, self.config.half_rows):  # one axis after the other
            between = f"{node.output} rows"
            rows = dataclasses.replace(shape, kernel=(shape.kernel[0], 1), stride=(shape.stride[0], 1), padding=(shape.padding[0], (0, 0)))
            self.specs[between] = TensorSpec(extent=Extent(extent.images, rows.output_size[0], extent.width, extent.channels))
            self._largest(number, source, between, rows, -128, 127)
            source = between
            shape = dataclasses.replace(shape, height=rows.output_size[0], kernel=(1, shape.kernel[1]), stride=(1, shape.stride[1]),
                                        padding=((0, 0), shape.padding[1]))
        self._largest(number, source, output, shape, op.low, op.high)

    def _largest(self, number: int, source: str, output: str, shape: ConvShape, low: int, high: int) -> None:
        parts = [Part(first=first, width=width, terms=(self._unit(first, width, 1, pad=-128),))
                 for first, width in self._cuts(output, shape.channels, [self.config.array.rows])]
        self._layer(number, [source], output, shape, parts, operation=Operation.MAX_POOL, spread=True, low=low, high=high)

    def _average(self, number: int, node: Node, op: AveragePool2D) -> None:
        key = node.inputs[0]
        extent = extent_of(self.graph.tensors[key].shape)
        output = self._output(node.output, extent_of(self.graph.tensors[node.output].shape))
        shape = op.shape(extent.height, extent.width, extent.channels)
        counts = op.counts(extent.height, extent.width)
        if counts.max() > AVERAGE_MAX:
            raise PlanError(f"an average must be over at most {AVERAGE_MAX} values, not {int(counts.max())}")
        source = self._input(key, extent)
        if _whole(op, self.graph.tensors[key].shape):
            self._mean(number, source, output, extent, op)
            return
        for y, rows in _runs(counts[:, 0]):
            for x, columns in _runs(counts[0]):
                multiplier, shift = average_pool_multiplier(int(counts[y, x]))
                parts = [Part(first=first, width=width, terms=(self._unit(first, width, 1),),
                              parameters=self._flat_parameters(0, multiplier, shift, width))
                         for first, width in self._cuts(output, extent.channels, [self.config.array.rows])]
                self._layer(number, [source], output, shape, parts, area=(y, rows, x, columns), low=op.low, high=op.high)

    def _mean(self, number: int, source: str, output: str, extent: Extent, op: AveragePool2D) -> None:
        """All pixels of an image: a row of ones times the image as weights."""
        rows, pixels = self.config.array.rows, extent.height * extent.width
        multiplier, shift = average_pool_multiplier(pixels)
        depth = depth_of(self.config, pixels)
        term = Term(source=None, weights=Dynamic(source, tuple(range(extent.images))), pad=1, depth=depth,
                    k_last=pixels - (depth - 1) * rows)
        cols = self.config.array.cols
        parts = [Part(first=first, width=width, terms=(term,), parameters=self._flat_parameters(0, multiplier, shift, width))
                 for first, width in self._cuts(output, extent.channels, [cols])]
        self._layer(number, [source], output, ConvShape(height=1, width=1, channels=pixels, filters=extent.channels), parts, single=True,
                    low=op.low, high=op.high)

    def _product(self, number: int, node: Node, op: BatchMatMul) -> None:
        config = self.config
        if op.transpose_b and not config.array.transposer:
            raise PlanError("array.transposer must be true for products with a transposed operand")
        a, b = (self.graph.tensors[key].shape for key in node.inputs)
        out = self.graph.tensors[node.output].shape
        images, (m, n), k = math.prod(out[:-2]), out[-2:], a[-1]
        extents = [Extent(math.prod(shape[:-2]), 1, *shape[-2:]) for shape in (a, b)]
        sources = [self._input(key, extent) for key, extent in zip(node.inputs, extents, strict=True)]
        which = [tuple(np.broadcast_to(np.arange(math.prod(s[:-2])).reshape(s[:-2]), out[:-2]).ravel().tolist()) for s in (a, b)]
        depth = depth_of(config, k)
        fields: dict[str, Any] = {"depth": depth, "k_last": k - (depth - 1) * config.array.rows}
        matrix = Dynamic(sources[1], which[1], op.transpose_b)
        output = self._output(node.output, Extent(images, 1, m, n))
        parts = []
        for first, width in self._cuts(output, n, [config.array.cols]):
            terms = [Term(source=0, weights=matrix, images=which[0], **fields)]
            # Σ(a − za)(b − zb) = Σab − za·Σb − zb·Σa + K·za·zb: rows of −za times b, a times tiles of −zb.
            terms += [Term(source=None, weights=matrix, pad=value, **fields) for value in _summands(-op.zero_a)]
            for value in _summands(-op.zero_b):
                tile = np.full((config.array.rows, width), value, np.int8)
                terms.append(Term(source=0, weights=Constant(self.constants.weights(tile), uniform=True), images=which[0], **fields))
            bias = int(wrap32(k * op.zero_a * op.zero_b))
            parts.append(Part(first=first, width=width, terms=tuple(terms),
                              parameters=self._flat_parameters(bias, op.multiplier, op.shift, width)))
        shape = ConvShape(height=1, width=m, channels=k, filters=n)
        self._layer(number, sources, output, shape, parts, single=True, zero_point=op.zero_out, low=op.low, high=op.high)


def _pointwise(extent: Extent) -> ConvShape:
    return ConvShape(height=extent.height, width=extent.width, channels=extent.channels, filters=extent.channels)


def _whole(op: AveragePool2D, shape: Sequence[int]) -> bool:
    """Whether there is one window, over the whole image."""
    return op.kernel == tuple(shape[1:3]) and op.padding == ((0, 0), (0, 0))


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """(start, length) of runs of equal values."""
    starts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [(start, stop - start) for start, stop in itertools.pairwise(starts)]


def _summands(value: int) -> list[int]:
    """int8 numbers, none of them 0, with this sum."""
    return [64, 64] if value == 128 else [value] if value else []


