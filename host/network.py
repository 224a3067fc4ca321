"""Chains of convolutions and fully connected layers: a short way to write a graph."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..arch.tiling import ConvShape
from .errors import NetworkError
from .graph import Graph, Node, Quantisation, TensorInfo
from .operators import Conv2D, FullyConnected, Reshape, conv_patches

__all__ = ["Conv2D", "FullyConnected", "Network", "NetworkError", "Quantisation", "conv_patches"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A chain of layers with the meaning of its input and output.

    ``input_shape`` : (height, width, channels). Raises :class:`NetworkError` where one layer does not fit the next.
    """

    layers: tuple[Conv2D | FullyConnected, ...]
    input_shape: tuple[int, int, int]
    input: Quantisation
    output: Quantisation

    def __post_init__(self) -> None:
        if not self.layers:
            raise NetworkError("a network must have at least one layer")
        for index, (before, after) in enumerate(zip(self.layers, self.layers[1:], strict=False)):
            if before.zero_out != after.zero_in:
                raise NetworkError(f"zero point into layer {index + 1} must be {before.zero_out}, as layer {index} gives it, "
                                   f"not {after.zero_in!r}")
        _ = self.shapes  # raises where a layer does not fit

    @property
    def shapes(self) -> tuple[ConvShape, ...]:
        """Geometry of each layer."""
        shapes: list[ConvShape] = []
        current = self.input_shape
        for layer in self.layers:
            shapes.append(layer.shape(*current))
            current = (*shapes[-1].output_size, shapes[-1].filters)
        return tuple(shapes)

    @property
    def macs(self) -> int:
        """Multiplications that one input needs."""
        return sum(shape.macs for shape in self.shapes)

    def check_input(self, x: np.ndarray) -> None:
        """Raise :class:`NetworkError` unless ``x`` is int8 (B, *input_shape) with at least one input."""
        if x.dtype != np.int8 or x.shape[1:] != self.input_shape or not len(x):
            raise NetworkError(f"input must be int8 of shape (B, {', '.join(map(str, self.input_shape))}), not {x.dtype} {x.shape}")

    def reference(self, x: np.ndarray) -> np.ndarray:
        """What the network computes: int8 (B, H, W, C) → int8 (B, Y, X, channels out)."""
        self.check_input(x)
        for layer, shape in zip(self.layers, self.shapes, strict=True):
            x = layer.reference(x).reshape(len(x), *shape.output_size, shape.filters)
        return x

    def graph(self, images: int) -> Graph:
        """The chain as a graph for ``images`` inputs, NHWC from the first to the last tensor."""
        shape: tuple[int, ...] = (images, *self.input_shape)
        tensors = {"input": TensorInfo(name="input", shape=shape, quantisation=self.input)}
        nodes: list[Node] = []

        def step(operator: Conv2D | FullyConnected | Reshape, index: int) -> None:
            nonlocal shape
            source, shape = nodes[-1].output if nodes else "input", operator.output_shape(shape)
            key = f"{len(nodes)}"
            tensors[key] = TensorInfo(name=key, shape=shape)
            nodes.append(Node(index=index, name=f"layer {index}", operator=operator, inputs=(source,), output=key))

        for index, layer in enumerate(self.layers):
            step(layer, index)
            if len(shape) == 2:
                step(Reshape(shape=(images, 1, 1, shape[1])), index)
        tensors[nodes[-1].output] = dataclasses.replace(tensors[nodes[-1].output], quantisation=self.output)
        return Graph(nodes=tuple(nodes), tensors=tensors, inputs=("input",), outputs=(nodes[-1].output,))
