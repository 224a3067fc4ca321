"""A quantised network as a graph of integer operators, and the NumPy reference that says what it computes.

Inside, every tensor is int8. A file's uint8 tensors are shifted by 128, its float tensors are quantised, at the border only:
:meth:`TensorInfo.encode` and :meth:`TensorInfo.decode`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from .errors import NetworkError
from .operators import HostOp, Operator

__all__ = ["Graph", "Node", "Quantisation", "TensorInfo"]

LARGEST_TENSOR = 1 << 28  # elements


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantisation:
    """real = scale · (int8 − zero_point)."""

    scale: float
    zero_point: int

    def quantise(self, real: np.ndarray) -> np.ndarray:
        """The nearest int8 of each number, ties to even."""
        return np.clip(np.rint(np.asarray(real) / self.scale) + self.zero_point, -128, 127).astype(np.int8)

    def dequantise(self, integers: np.ndarray) -> np.ndarray:
        return ((integers.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """A tensor of a graph.

    Parameters
    ----------
    name : of the tensor in the file
    shape : batch included
    quantisation : what its int8 values mean (of a uint8 tensor: those after the shift by 128), if that is known
    dtype : ``"int8"``, ``"uint8"`` or ``"float32"``: what the file, and so its user, has in this place
    to_nhwc : how the axes of the user's array are permuted to those of ``shape``; empty where they are the same (ONNX has NCHW)
    halves_to_even : whether the quantisation of a float input rounds halves to even (ONNX's QuantizeLinear) or away from zero (TFLite)
    """

    name: str
    shape: tuple[int, ...]
    quantisation: Quantisation | None = None
    dtype: str = "int8"
    to_nhwc: tuple[int, ...] = ()
    halves_to_even: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in ("int8", "uint8", "float32"):
            raise NetworkError(f"tensor {self.name!r} must be int8, uint8 or float32, not {self.dtype}")
        if self.dtype == "float32" and self.quantisation is None:
            raise NetworkError(f"float tensor {self.name!r} must have a scale and zero point")
        if not self.shape or any(size < 1 for size in self.shape) or math.prod(self.shape) > LARGEST_TENSOR:
            raise NetworkError(f"tensor {self.name!r} must have axes of positive sizes, {LARGEST_TENSOR} elements at most, "
                               f"not shape {self.shape}")

    @property
    def outer_shape(self) -> tuple[int, ...]:
        """Shape of the user's array."""
        outer = [0] * len(self.shape)
        for axis, size in zip(self.to_nhwc or range(len(self.shape)), self.shape, strict=True):
            outer[axis] = size
        return tuple(outer)

    def encode(self, x: np.ndarray) -> np.ndarray:
        """The user's array as the int8 tensor; raises :class:`NetworkError` for another shape or type."""
        if x.dtype != self.dtype or x.shape != self.outer_shape:
            raise NetworkError(f"input {self.name!r} must be {self.dtype} of shape {self.outer_shape}, not {x.dtype} {x.shape}")
        if self.dtype == "uint8":
            x = (x ^ 0x80).view(np.int8)
        elif self.dtype == "float32" and self.quantisation is not None:
            if not np.isfinite(x).all():
                raise NetworkError(f"input {self.name!r} must be finite numbers")
            x = quantise_float32(x, self.quantisation, halves_to_even=self.halves_to_even)
        return x.transpose(self.to_nhwc) if self.to_nhwc else x

    def decode(self, y: np.ndarray) -> np.ndarray:
        """The int8 tensor as the user's array."""
        if self.to_nhwc:
            y = y.transpose(np.argsort(self.to_nhwc))
        if self.dtype == "uint8":
            return np.ascontiguousarray(y).view(np.uint8) ^ 0x80
        if self.dtype == "float32" and self.quantisation is not None:
            return (y.astype(np.int32) - self.quantisation.zero_point).astype(np.float32) * np.float32(self.quantisation.scale)
        return y


def quantise_float32(x: np.ndarray, quantisation: Quantisation, *, halves_to_even: bool = False) -> np.ndarray:
    """float32 to int8: round(x ÷ scale) in float32, halves away from zero as TFLite's QUANTIZE, or to even as ONNX's QuantizeLinear."""
    scaled = x.astype(np.float32) / np.float32(quantisation.scale)
    rounded = np.rint(scaled) if halves_to_even else np.trunc(scaled)
    if not halves_to_even:
        rounded += np.copysign(np.abs(scaled - rounded) >= 0.5, scaled)
    return np.clip(rounded.astype(np.float64) + quantisation.zero_point, -128, 127).astype(np.int8)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """An operator in its place: ``index`` and ``name`` as in the file, for messages; ``inputs`` and ``output`` are tensors' keys."""

    index: int
    name: str
    operator: Operator
    inputs: tuple[str, ...]
    output: str

    @property
    def op(self) -> str:
        """The operator's name for reports."""
        return self.operator.name if isinstance(self.operator, HostOp) else type(self.operator).__name__

    @property
    def on_host(self) -> bool:
        """NumPy computes it, not the accelerator."""
        return isinstance(self.operator, HostOp)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Nodes in topological order with all tensors between them; constants are within the operators.

    Parameters
    ----------
    tensors : by key; the keys are unique, the names in the file need not be
    inputs, outputs : keys

    Raises
    ------
    NetworkError
        A tensor is used before it is made, made twice, or not of the shape that its operator gives.
    """

    nodes: tuple[Node, ...]
    tensors: Mapping[str, TensorInfo]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.inputs or not self.outputs:
            raise NetworkError("a network must have at least one input and one output")
        made = set(self.inputs)
        for node in self.nodes:
            where = f"operator {node.index} ({node.op}, {node.name!r})"
            for key in node.inputs:
                if key not in made:
                    raise NetworkError(f"{where} reads tensor {key!r}, which nothing before it makes")
            if node.output in made:
                raise NetworkError(f"{where} writes tensor {node.output!r}, which is there already")
            made.add(node.output)
            try:
                shape = node.operator.output_shape(*(self.tensors[key].shape for key in node.inputs))
            except (ValueError, TypeError) as error:
                raise NetworkError(f"{where}: {error}") from None
            if shape != self.tensors[node.output].shape:
                raise NetworkError(f"{where} gives shape {shape}, but its output is declared as {self.tensors[node.output].shape}")
        for key in self.outputs:
            if key not in made:
                raise NetworkError(f"output {key!r} must be the result of an operator or an input")

    @property
    def macs(self) -> int:
        """Multiplications of all nodes."""
        return sum(self.node_macs(node) for node in self.nodes)

    def node_macs(self, node: Node) -> int:
        """Multiplications of one node."""
        return node.operator.macs(*(self.tensors[key].shape for key in node.inputs))

    def check_inputs(self, arrays: Sequence[np.ndarray]) -> None:
        """Raise :class:`NetworkError` unless there is an int8 array of the right shape for each input."""
        if len(arrays) != len(self.inputs):
            raise NetworkError(f"there must be one array for each of {len(self.inputs)} inputs, not {len(arrays)}")
        for key, array in zip(self.inputs, arrays, strict=True):
            info = self.tensors[key]
            if array.dtype != np.int8 or array.shape != info.shape:
                raise NetworkError(f"input {info.name!r} must be int8 of shape {info.shape}, not {array.dtype} {array.shape}")

    def reference(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """What the graph computes: an int8 array for each input gives one for each output."""
        values = self.reference_values(*arrays)
        return tuple(values[key] for key in self.outputs)

    def reference_values(self, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Every tensor of the graph, by key."""
        self.check_inputs(arrays)
        values = dict(zip(self.inputs, arrays, strict=True))
        for node in self.nodes:
            values[node.output] = node.operator.reference(*(values[key] for key in node.inputs))
        return values

    def batched(self, n: int) -> Graph:
        """The same graph for ``n`` inputs, one behind the other along the first axis; raises where an operator mixes that axis."""
        if n < 1:
            raise NetworkError(f"batch must be at least 1, not {n!r}")
        tensors = {key: dataclasses.replace(info, shape=(n * info.shape[0], *info.shape[1:])) for key, info in self.tensors.items()}
        nodes = tuple(dataclasses.replace(node, operator=node.operator.batched(n)) for node in self.nodes)
        return dataclasses.replace(self, nodes=nodes, tensors=tensors)
