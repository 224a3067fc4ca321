"""From the operators of a graph to the planner's layers: geometry, terms, and all constants packed as they are loaded."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arch.commands import Operation
from ..arch.config import Config
from ..arch.layers import Dynamic, Layer, Part, TensorSpec, Term, root_of
from ..arch.numerics import AVERAGE_MAX, add_table_place, average_pool_multiplier, wrap32
from ..arch.tiling import ConvShape, PlanError
from ..arch.views import Extent, depth_of
from .constants import Constants, check_weights
from .graph import Graph, Node
from .lower_sums import SumLowering
from .lowering import extent_of
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


class _Lowering(SumLowering):
    """Every operator of the accelerator."""

    def run(self) -> Lowered:
        steps: dict[type, Callable[[int, Node, Any], None]] = {
            Conv2D: self._conv, DepthwiseConv2D: self._depthwise, FullyConnected: self._dense, AveragePool2D: self._average,
            MaxPool2D: self._maximum, Add: self._add, BatchMatMul: self._product, Requantise: self._requantise, Reshape: self._reshape}
        for number, node in enumerate(self.nodes):
            try:
                self._check_weights(node.operator)
                steps[type(node.operator)](number, node, node.operator)
            except PlanError as error:
                raise PlanError(f"operator {node.index} ({node.op}, {node.name!r}): {error}") from None
        return Lowered(specs=self.specs, layers=self.layers, constants=self.constants)

    def _check_weights(self, op: Any) -> None:
        """Raise :class:`PlanError` for a weight that int4 does not reach; those of int8 arrays come in parts, each checked by itself."""
        if self.config.array.weights == "int4" and isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected):
            wrong = check_weights(self.config, op.weights)
            if wrong:
                raise PlanError(wrong)

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
        # −256·x2, in as few terms as there are weights for.
        words = np.zeros(256, np.int32)
        words[add_table_place(np.arange(-128, 128))] = wrap32(op.table.astype(np.int64) + op.bias)
        part = 1 << (-self.config.array.weight_limits[0]).bit_length() - 1
        second = {"value": -part, "source": 1, "times": 256 // part}
        parts = [Part(first=first, width=width, terms=(self._unit(first, width, 1), self._unit(first, width, **second)),
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
        if self._as_weights(op, self.graph.tensors[key].shape):
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


def _pointwise(extent: Extent) -> ConvShape:
    return ConvShape(height=extent.height, width=extent.width, channels=extent.channels, filters=extent.channels)


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """(start, length) of runs of equal values."""
    starts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [(start, stop - start) for start, stop in itertools.pairwise(starts)]
