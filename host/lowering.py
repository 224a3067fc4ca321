"""What all operators share on their way to the planner's layers: tensors in the shapes that layers want, parts, packed constants."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arch.config import Config
from ..arch.layers import Constant, Layer, Part, TensorSpec, Term, root_of
from ..arch.plan_memory import Use
from ..arch.tiling import ConvShape, cuts
from ..arch.views import Extent, by_tiles, depth_of
from .constants import Constants
from .folding import choose_foldings
from .graph import Graph, Node
from .operators import AveragePool2D, BatchMatMul, Reshape

__all__ = ["SHARE", "Lowering", "extent_of"]

SHARE = 8   # windows of an input that the activation scratchpad holds, at least


def extent_of(shape: Sequence[int]) -> Extent:
    """A tensor's shape as (images, height, width, channels)."""
    channels = shape[-1]
    width = shape[-2] if len(shape) > 2 else 1
    height = shape[-3] if len(shape) > 3 else 1
    return Extent(math.prod(shape) // (channels * width * height), height, width, channels)


class Lowering:
    """Collects tensors and layers; the operators are in its subclasses. Parameters as those of :func:`.lower.lower`."""

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
            elif isinstance(node.operator, AveragePool2D) and self._as_weights(node.operator, self.graph.tensors[node.inputs[0]].shape):
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

    def _as_weights(self, op: AveragePool2D, shape: Sequence[int]) -> bool:
        """Whether the image that is averaged is taken as weights, a row of ones being the activations: one window, over the whole image,
        and weights of all its values."""
        return self.config.array.weight_limits == (-128, 127) and op.kernel == tuple(shape[1:3]) and op.padding == ((0, 0), (0, 0))

    # Parts

    def _cuts(self, output: str, channels: int, at: Sequence[int] = ()) -> list[tuple[int, int]]:
        """Parts of the output's channels, as all places take them where they go to."""
        rows, cols = self.config.array.rows, self.config.array.cols
        uses = self.wanted.get(output, set())
        at = [*at, *([rows] if self.tiled or Use.TRANSPOSED in uses else []), *([cols] if Use.WEIGHTS in uses else [])]
        return cuts(channels, cols, at)

    def _windows(self, shape: ConvShape, channels: int) -> list[tuple[int, int]]:
        """Channel tiles (first, count) of each term: all in one, but where a window of all would take too much of the scratchpad."""
        depth, pixels = depth_of(self.config, channels), min(shape.span[0], shape.height) * min(shape.span[1], shape.width)
        return cuts(depth, max(1, self.config.activation_rows // SHARE // pixels))

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
