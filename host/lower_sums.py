"""Sums of products as layers: convolutions, depthwise ones, fully connected layers, products of two tensors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arch.layers import Constant, Dynamic, Part, TensorSpec, Term, root_of
from ..arch.numerics import wrap32
from ..arch.tiling import ConvShape, PlanError
from ..arch.views import Extent, depth_of
from .arrange import Folding, diagonal, fold_zero_point, folded_shape, folded_weights, packed_weights
from .constants import check_results_as_weights
from .folding import choose_packing
from .graph import Node
from .lowering import SHARE, Lowering, extent_of
from .operators import BatchMatMul, Conv2D, DepthwiseConv2D, FullyConnected

__all__ = ["SumLowering"]


class SumLowering(Lowering):
    """Operators that multiply."""

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
        filters, rows = len(bias), self.config.array.rows
        multiplier, shift = np.tile(op.multiplier, repeat), np.tile(op.shift, repeat)
        bias = np.tile(bias, repeat)
        cut = self._cuts(output, filters * repeat)
        parameters = [self._parameters(bias, multiplier, shift, first, width) for first, width in cut]
        parts = []
        for phase in range(phases):
            for (first, width), offset in zip(cut, parameters, strict=True):
                at = phase * filters + first
                terms = [self._term(w[:, :, start * rows:(start + count) * rows, at:at + width], first=start, pad=op.zero_in)
                         for w in weights for start, count in self._windows(shape, weights[0].shape[2])]
                parts.append(Part(first=first, width=width, phase=phase, parameters=offset, terms=tuple(terms)))
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
        pixels = extent.height * extent.width
        if (extent.images, pixels * extent.channels) != (images, inputs) or pixels > self.config.activation_rows // SHARE:
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

    def _product(self, number: int, node: Node, op: BatchMatMul) -> None:
        config = self.config
        check_results_as_weights(config)
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


def _summands(value: int) -> list[int]:
    """int8 numbers, none of them 0, with this sum."""
    return [64, 64] if value == 128 else [value] if value else []
