"""What a name of an ONNX file stands for while the file is read, and the graph that grows from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from .errors import NetworkError
from .graph import Graph, Node, Quantisation, TensorInfo
from .onnx_file import FileNode
from .onnx_view import View
from .operators import Add, HostOp, Operator, Reshape

__all__ = ["UNKNOWN", "Activation", "Builder", "Constant", "Pending", "Value"]

UNKNOWN = Quantisation(scale=math.nan, zero_point=0)  # of a float input that has not met its QuantizeLinear
LARGEST_GRAPH = 1 << 16  # operators
DEEPEST = 32             # float operators between two quantised tensors


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
    """An array that the file holds; with ``scale`` it stands for the real numbers (array − zero) · scale, ``axis`` being that of a scale
    per channel (both then one-dimensional), None for one scale."""

    array: np.ndarray
    scale: np.ndarray | None = None
    zero: np.ndarray | None = None
    axis: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Activation:
    """A tensor of the graph: ``key``, and ``view``, how the ONNX tensor lies in it.

    ``dtype`` : of the integers in the file (uint8 is there as int8, shifted by 128) or float32 for an input that is not yet quantised
    ``quantisation`` : of the int8 values; None where the file has not said it yet
    ``real`` : whether the name stands for the real numbers
    """

    key: str
    view: View
    dtype: str
    quantisation: Quantisation | None
    real: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.view.shape


@dataclasses.dataclass(frozen=True, eq=False)
class Pending:
    """A real result that becomes an operator of the graph once the file says how it is quantised.

    ``emit(quantisation, low, high)`` adds the operator, its results clamped to int8 [low, high], and returns key and view.
    ``low`` and ``high`` are bounds in real numbers, ``views`` what is done to the view afterwards, ``depth`` the operators in ``emit``;
    ``scaled(a, b)``, where there is one, gives a · result + b, both being per channel along ``channel_axis``.
    """

    node: FileNode
    shape: tuple[int, ...]
    emit: Callable[[Quantisation, int, int], tuple[str, View]]
    low: float = -np.inf
    high: float = np.inf
    views: tuple[Callable[[View], View], ...] = ()
    depth: int = 1
    scaled: Callable[[np.ndarray, np.ndarray], Pending] | None = None
    channel_axis: int = 0

    def __post_init__(self) -> None:
        if self.depth > DEEPEST:
            raise NetworkError(f"there must be a QuantizeLinear after at most {DEEPEST} operators")


Value = Constant | Activation | Pending


class Builder:
    """Nodes and tensors of a graph, with unique keys."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.tensors: dict[str, TensorInfo] = {}
        self._reshaped: dict[tuple[str, tuple[int, ...]], str] = {}
        self._moved: dict[tuple[str, View], str] = {}
        self._tables: dict[str, tuple[str, np.ndarray]] = {}
        self._count: dict[str, int] = {}

    def key(self, name: str) -> str:
        """``name``, or with a number behind it where that is taken."""
        key = name
        while key in self.tensors:
            self._count[name] = self._count.get(name, 0) + 1
            key = f"{name}#{self._count[name]}"
        return key

    def tensor(self, info: TensorInfo) -> str:
        key = self.key(info.name)
        self.tensors[key] = info
        return key

    def add(self, node: FileNode, operator: Operator, inputs: tuple[str, ...], *, name: str = "",
            quantisation: Quantisation | None = None) -> str:
        """The operator's result, whose key is ``name`` or the file's name of the node's result."""
        if len(self.nodes) >= LARGEST_GRAPH:
            raise NetworkError(f"a network must have at most {LARGEST_GRAPH} operators")
        shape = operator.output_shape(*(self.tensors[key].shape for key in inputs))
        key = self.tensor(TensorInfo(name=name or node.outputs[0], shape=shape, quantisation=quantisation))
        self.nodes.append(Node(index=node.index, name=node.name, operator=operator, inputs=inputs, output=key))
        return key

    def quantise(self, x: Activation, quantisation: Quantisation) -> Activation:
        """A float input as the file quantises it."""
        info = self.tensors[x.key]
        if info.quantisation not in (UNKNOWN, quantisation):
            raise NetworkError(f"input {info.name!r} must be quantised in one way only")
        self.tensors[x.key] = dataclasses.replace(info, quantisation=quantisation)
        return dataclasses.replace(x, quantisation=quantisation)

    def shaped(self, node: FileNode, key: str, shape: tuple[int, ...]) -> str:
        """The same bytes under ``shape``."""
        info = self.tensors[key]
        if info.shape == shape:
            return key
        if (key, shape) not in self._reshaped:
            self._reshaped[key, shape] = self.add(node, Reshape(shape=shape), (key,), name=f"{info.name}:{'x'.join(map(str, shape))}",
                                                  quantisation=info.quantisation)
        return self._reshaped[key, shape]

    def ordered(self, node: FileNode, x: Activation, order: tuple[int, ...]) -> str:
        """The tensor with the axes of ``x`` in ``order``, outermost first: moved by the host, where they are not in memory so."""
        view = x.view.transpose(order)
        if view.is_dense(*range(len(order))):
            return self.shaped(node, x.key, view.shape)
        info = self.tensors[x.key]
        key = (x.key, view)
        if key not in self._moved:
            operator = HostOp(name="Transpose", function=straightener(view), shape=view.shape)
            self._moved[key] = self.add(node, operator, (x.key,), name=f"{info.name}:moved", quantisation=info.quantisation)
        return self._moved[key]

    def table_of(self, key: str) -> tuple[str, np.ndarray]:
        """The tensor that this one is a function of, element by element, itself if need be, and its values for −128 … 127, int8."""
        return self._tables.get(key, (key, np.arange(-128, 128, dtype=np.int8)))

    def is_function(self, key: str, of: str, values: np.ndarray) -> None:
        """Note that ``key`` is ``values`` (int8, for −128 … 127) of the tensor ``of``."""
        root, table = self.table_of(of)
        self._tables[key] = root, values[table.astype(np.int64) + 128]

    def lookup(self, node: FileNode, key: str, values: np.ndarray, quantisation: Quantisation) -> str:
        """``values`` (int8, for −128 … 127) of each element of a tensor, by the table of an element-wise sum."""
        table = (values.astype(np.int32) - np.arange(-128, 128, dtype=np.int32)) * np.int32(1 << 19)
        operator = Add(first=0, table=table, bias=0, multiplier=1 << 30, shift=-18)
        result = self.add(node, operator, (key, key), quantisation=quantisation)
        self.is_function(result, key, values)
        return result

    def graph(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Graph:
        """The graph, without what its outputs do not need."""
        needed, nodes = set(outputs), []
        for node in reversed(self.nodes):
            if node.output in needed:
                needed.update(node.inputs)
                nodes.append(node)
        tensors = {key: info for key, info in self.tensors.items() if key in needed or key in inputs}
        return Graph(nodes=tuple(reversed(nodes)), tensors=tensors, inputs=inputs, outputs=outputs)


def straightener(view: View) -> Callable[[np.ndarray], np.ndarray]:
    """The function that puts the bytes of a tensor into the order and shape of the ONNX tensor, any number of them along the first axis."""
    shape = view.shape

    def straighten(x: np.ndarray) -> np.ndarray:
        whole = x.reshape(-1, view.size)
        return whole[:, view.offsets()].reshape(-1, *shape[1:])

    return straighten
