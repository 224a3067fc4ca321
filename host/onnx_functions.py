"""Functions of one tensor, element by element, and what the host has to do with two: ONNX operators beyond sums of products.

A function of an int8 tensor is a table of 256 values, and the accelerator's element-wise sum has one: with x as both operands,
(x << 19) + table[x] is (y << 19) for table[x] = (y − x) << 19, exactly. So Sigmoid, HardSwish, LeakyRelu and the like run on the array, and
their values are those of float32 arithmetic between DequantizeLinear and QuantizeLinear. Functions of functions of one tensor, such as
x · Sigmoid(x), are one table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .errors import NetworkError
from .graph import Quantisation
from .onnx_file import FileNode, attribute
from .onnx_values import Activation, Builder, Pending, straightener
from .onnx_view import View
from .operators import HostOp

__all__ = ["UNARY", "binary", "concatenated", "function_of"]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _number(node: FileNode, name: str, default: float) -> np.float32:
    return np.float32(attribute(node, name, default))


# What each operator does with float32; attributes are those of https://onnx.ai/onnx/operators/.
UNARY: dict[str, Callable[[FileNode, np.ndarray], np.ndarray]] = {
    "Abs": lambda node, x: np.abs(x),
    "Elu": lambda node, x: np.where(x > 0, x, _number(node, "alpha", 1.0) * (np.exp(np.minimum(x, 0)) - 1)),
    "Erf": lambda node, x: _erf(x),
    "Exp": lambda node, x: np.exp(x),
    "Gelu": lambda node, x: x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x ** 3))) / 2
    if attribute(node, "approximate", "none") == "tanh" else x * (1 + _erf(x / np.sqrt(2))) / 2,
    "HardSigmoid": lambda node, x: np.clip(_number(node, "alpha", 0.2) * x + _number(node, "beta", 0.5), 0, 1),
    "HardSwish": lambda node, x: x * np.clip(x / 6 + np.float32(0.5), 0, 1),
    "LeakyRelu": lambda node, x: np.where(x >= 0, x, _number(node, "alpha", 0.01) * x),
    "Neg": lambda node, x: -x,
    "Sigmoid": lambda node, x: _sigmoid(x),
    "Softplus": lambda node, x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0),
    "Tanh": lambda node, x: np.tanh(x)}


def function_of(builder: Builder, node: FileNode, x: Activation, function: Callable[[np.ndarray], np.ndarray]) -> Pending:
    """``function``, of float32 arrays, of each element of a quantised tensor."""
    source = _quantised(x)

    def emit(quantisation: Quantisation, low: int, high: int) -> tuple[str, View]:
        root, table = builder.table_of(x.key)
        return builder.lookup(node, root, _rounded(function(_real(table, source)), quantisation, low, high), quantisation), x.view

    return Pending(node, x.shape, emit)


def binary(builder: Builder, node: FileNode, a: Activation, b: Activation,
           function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Pending:
    """``function``, of two float32 arrays, element by element with broadcasting: a table, if both are functions of one tensor."""
    qa, qb = _quantised(a), _quantised(b)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        shape = ()
    if not shape or len({len(a.shape), len(b.shape)}) > 1 or a.shape[0] != b.shape[0]:
        raise NetworkError(f"inputs must have one shape, but for axes of size 1 behind the batch, not {a.shape} and {b.shape}")

    def emit(quantisation: Quantisation, low: int, high: int) -> tuple[str, View]:
        (root, first), (other, second) = builder.table_of(a.key), builder.table_of(b.key)
        if root == other and a.view.canonical() == b.view.canonical():
            values = function(_real(first, qa), _real(second, qb))
            return builder.lookup(node, root, _rounded(values, quantisation, low, high), quantisation), a.view
        straight_a, straight_b = straightener(a.view), straightener(b.view)

        def on_host(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            with np.errstate(all="ignore"):
                return _rounded(function(_real(straight_a(x), qa), _real(straight_b(y), qb)), quantisation, low, high)

        operator = HostOp(name=node.op, function=on_host, shape=shape)
        return builder.add(node, operator, (a.key, b.key), quantisation=quantisation), View.of(shape)

    return Pending(node, shape, emit)


def concatenated(builder: Builder, node: FileNode, parts: Sequence[Activation], axis: int) -> Pending:
    """Tensors one behind the other along an axis that is not the first, on the host."""
    shapes = [list(part.shape) for part in parts]
    rank = len(shapes[0])
    axis += rank if axis < 0 else 0
    if not 1 <= axis < rank or any(len(s) != rank or s[:axis] + s[axis + 1:] != shapes[0][:axis] + shapes[0][axis + 1:] for s in shapes):
        raise NetworkError(f"inputs must be alike but for axis {axis}, behind the batch, not {', '.join(str(tuple(s)) for s in shapes)}")
    shape = (*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1:])
    sources, straighten = [_quantised(part) for part in parts], [straightener(part.view) for part in parts]

    def emit(quantisation: Quantisation, low: int, high: int) -> tuple[str, View]:
        def on_host(*arrays: np.ndarray) -> np.ndarray:
            return np.concatenate([_rounded(_real(straight(x), source), quantisation, low, high)
                                   for x, source, straight in zip(arrays, sources, straighten, strict=True)], axis=axis)

        operator = HostOp(name=node.op, function=on_host, shape=shape)
        return builder.add(node, operator, tuple(part.key for part in parts), quantisation=quantisation), View.of(shape)

    return Pending(node, shape, emit)


def _quantised(x: Activation) -> Quantisation:
    if x.quantisation is None:
        raise NetworkError(f"input {x.key!r} must go through a QuantizeLinear first")
    return x.quantisation


def _real(integers: np.ndarray, quantisation: Quantisation) -> np.ndarray:
    return (integers.astype(np.float32) - quantisation.zero_point) * np.float32(quantisation.scale)


def _rounded(real: np.ndarray, quantisation: Quantisation, low: int, high: int) -> np.ndarray:
    """QuantizeLinear of float32; what is no number is the zero point."""
    steps = np.rint(np.nan_to_num(real.astype(np.float32) / np.float32(quantisation.scale), nan=0.0)) + quantisation.zero_point
    return np.clip(steps, low, high).astype(np.int8)
