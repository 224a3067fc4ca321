"""ONNX operators that compute, QDQ and QLinear: what each reads from the file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from . import onnx_elementwise, onnx_functions, onnx_linear
from .errors import NetworkError
from .graph import Quantisation
from .onnx_constants import dequantised_constant, described, real_array
from .onnx_file import FileNode, attribute
from .onnx_values import Activation, Constant, Pending, Value

if TYPE_CHECKING:
    from .onnx_reader import Reader

__all__ = ["HANDLERS", "matrix", "optional", "softmax_of", "turned"]


def quantize(reader: Reader, node: FileNode) -> Value:
    _plain(node)
    value = reader.value(node, 0)
    if isinstance(value, Constant):
        return _quantised_constant(reader, node, value)
    if value is None or (isinstance(value, Activation) and not value.real):
        raise NetworkError("input must be real numbers: it is quantised already")
    stated = attribute(node, "output_dtype", 0)
    if stated not in (0, 2, 3):
        raise NetworkError("output_dtype must be int8 or uint8")
    quantisation, dtype = reader.parameters(node, 1, 2, "int8" if stated == 3 else "uint8")
    return reader.finish(node, value, quantisation, dtype)


def dequantize(reader: Reader, node: FileNode) -> Value:
    _plain(node)
    return reader.dequantised(node, 0, 1, 2, attribute(node, "axis", 1))


def _plain(node: FileNode) -> None:
    if attribute(node, "block_size", 0):
        raise NetworkError("scales in blocks are not supported: one for the tensor, or one per channel of weights")


def _quantised_constant(reader: Reader, node: FileNode, value: Constant) -> Constant:
    """Float weights with their quantisation behind them, as training that knows of it leaves them."""
    if value.scale is not None or value.array.dtype != np.float32:
        raise NetworkError("constant must be float32")
    axis = attribute(node, "axis", 1)
    integers = Constant(np.zeros(value.array.shape, np.uint8))
    zero = reader.value(node, 2)
    if isinstance(zero, Constant) and zero.array.dtype in (np.int8, np.uint8):
        integers = Constant(np.zeros(value.array.shape, zero.array.dtype))
    found = dequantised_constant(integers, reader.value(node, 1), zero, axis)
    assert found.scale is not None and found.zero is not None
    along = tuple(-1 if i == found.axis else 1 for i in range(value.array.ndim)) if found.axis is not None else ()
    rounded = np.rint(value.array / found.scale.reshape(along)) + found.zero.astype(np.float32).reshape(along)
    if not np.isfinite(rounded).all():
        raise NetworkError("constant must be finite")
    limits = np.iinfo(integers.array.dtype)
    return Constant(np.clip(rounded, limits.min, limits.max).astype(integers.array.dtype))


# Real operands, results that wait for QuantizeLinear.

def conv(reader: Reader, node: FileNode) -> Pending:
    return onnx_linear.conv(reader.builder, node, reader.real(node, 0), _constant(reader, node, 1, "weights"), optional(reader, node, 2))


def gemm(reader: Reader, node: FileNode) -> Pending:
    x = turned(reader.real(node, 0), attribute(node, "transA", 0))
    bias, beta = optional(reader, node, 2), attribute(node, "beta", 1.0)
    if bias is not None and beta != 1.0:
        bias = Constant(real_array(bias) * np.float32(beta))
    return onnx_linear.product(reader.builder, node, x, _constant(reader, node, 1, "weights"), bias,
                               transposed=bool(attribute(node, "transB", 0)), alpha=attribute(node, "alpha", 1.0))


def matmul(reader: Reader, node: FileNode) -> Pending:
    right = reader.value(node, 1)
    if isinstance(right, Constant):
        return onnx_linear.product(reader.builder, node, reader.real(node, 0), matrix(right), None)
    return onnx_linear.batch_matmul(reader.builder, node, reader.real(node, 0), reader.real(node, 1))


def add(reader: Reader, node: FileNode) -> Pending:
    x, constant = _with_constant(reader, node)
    if constant is None:
        return onnx_elementwise.add(reader.builder, node, reader.real(node, 0), reader.real(node, 1))
    return onnx_elementwise.add_constant(reader.builder, node, x, None, constant)


def subtract(reader: Reader, node: FileNode) -> Pending:
    x, constant = _with_constant(reader, node)
    if constant is None:
        return onnx_functions.binary(reader.builder, node, reader.real(node, 0), reader.real(node, 1), np.subtract)
    if isinstance(reader.value(node, 0), Constant):
        return onnx_elementwise.add_constant(reader.builder, node, x, np.full(1, -1.0), constant)
    return onnx_elementwise.add_constant(reader.builder, node, x, None, -constant)


def multiply(reader: Reader, node: FileNode) -> Pending:
    x, constant = _with_constant(reader, node)
    if constant is None:
        return onnx_functions.binary(reader.builder, node, reader.real(node, 0), reader.real(node, 1), np.multiply)
    return onnx_elementwise.add_constant(reader.builder, node, x, constant, None)


def divide(reader: Reader, node: FileNode) -> Pending:
    x, constant = _with_constant(reader, node)
    if isinstance(reader.value(node, 0), Constant) or (constant is not None and not np.all(constant)):
        raise NetworkError("Div is supported by a tensor or by constants other than 0")
    if constant is None:
        return onnx_functions.binary(reader.builder, node, reader.real(node, 0), reader.real(node, 1), np.divide)
    return onnx_elementwise.add_constant(reader.builder, node, x, (1 / constant.astype(np.float64)), None)


def unary(reader: Reader, node: FileNode) -> Pending:
    function = onnx_functions.UNARY[node.op]
    return onnx_functions.function_of(reader.builder, node, reader.real(node, 0), lambda x: function(node, x))


def batch_normalization(reader: Reader, node: FileNode) -> Pending:
    x = _result(reader, node, 0)
    arrays = [reader.array(node, i, "scale, bias, mean and variance") for i in range(1, 5)]
    channels = x.shape[1] if len(x.shape) > 1 else 0
    if attribute(node, "training_mode", 0) or any(a is None or a.shape != (channels,) or a.dtype != np.float32 for a in arrays):
        raise NetworkError(f"BatchNormalization must be of inference, with float32 constants of {channels} channels")
    scale, bias, mean, variance = (a.astype(np.float64) for a in arrays if a is not None)
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    along = (channels, *[1] * (len(x.shape) - 2))
    return onnx_elementwise.add_constant(reader.builder, node, x, factor.reshape(along), (bias - mean * factor).reshape(along))


def relu(reader: Reader, node: FileNode) -> Pending:
    return _clamped(reader, node, 0.0, math.inf)


def clip(reader: Reader, node: FileNode) -> Pending:
    bounds = []
    for position, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        array = reader.array(node, position, name)
        value = attribute(node, name, default) if array is None else float(array.reshape(-1)[0]) if array.size == 1 else math.nan
        bounds.append(value)
    if not bounds[0] <= bounds[1]:
        raise NetworkError(f"min must be at most max, and both be numbers, not {bounds[0]!r} and {bounds[1]!r}")
    return _clamped(reader, node, *bounds)


def max_pool(reader: Reader, node: FileNode) -> Value:
    value = reader.value(node, 0)
    if isinstance(value, Activation) and not value.real:  # of integers as they are
        quantisation = value.quantisation or Quantisation(scale=1.0, zero_point=0)
        x = dataclasses.replace(value, quantisation=quantisation, real=True)
        result = reader.finish(node, onnx_elementwise.max_pool(reader.builder, node, x), quantisation, value.dtype)
        return dataclasses.replace(result, quantisation=value.quantisation)
    return onnx_elementwise.max_pool(reader.builder, node, _result(reader, node, 0, raw=True))


def average_pool(reader: Reader, node: FileNode) -> Pending:
    return onnx_elementwise.average_pool(reader.builder, node, reader.real(node, 0))


def global_average_pool(reader: Reader, node: FileNode) -> Pending:
    x = reader.real(node, 0)
    return onnx_elementwise.mean(reader.builder, node, x, tuple(range(2, len(x.shape))), True)


def reduce_mean(reader: Reader, node: FileNode) -> Pending:
    x = reader.real(node, 0)
    axes = attribute(node, "axes")
    if axes is None:
        array = reader.array(node, 1, "axes")
        axes = list(range(len(x.shape))) if array is None else [int(n) for n in array.reshape(-1)[:16]]
    return onnx_elementwise.mean(reader.builder, node, x, tuple(axes), bool(attribute(node, "keepdims", 1)))


def softmax(reader: Reader, node: FileNode) -> Pending:
    return softmax_of(reader, node, reader.real(node, 0), reader.file.opset)


def softmax_of(reader: Reader, node: FileNode, x: Activation, opset: int) -> Pending:
    rank = len(x.shape)
    axis = attribute(node, "axis", -1 if opset >= 13 else 1)
    axis += rank if axis < 0 else 0
    if not 1 <= axis < rank:
        raise NetworkError(f"axis of Softmax must be behind the batch of shape {x.shape}, not {axis}")
    return onnx_elementwise.softmax(reader.builder, node, x, (axis,) if opset >= 13 else tuple(range(axis, rank)))


HANDLERS: dict[str, Callable[[Reader, FileNode], Value]] = {
    "Add": add, "AveragePool": average_pool, "BatchNormalization": batch_normalization, "Clip": clip, "Conv": conv,
    "DequantizeLinear": dequantize, "Div": divide, "Gemm": gemm, "GlobalAveragePool": global_average_pool, "MatMul": matmul,
    "MaxPool": max_pool, "Mul": multiply, "QuantizeLinear": quantize, "ReduceMean": reduce_mean, "Relu": relu, "Softmax": softmax,
    "Sub": subtract, **dict.fromkeys(onnx_functions.UNARY, unary)}


def _constant(reader: Reader, node: FileNode, position: int, what: str) -> Constant:
    value = reader.value(node, position)
    if not isinstance(value, Constant):
        raise NetworkError(f"{what} must be constant, not {described(value)}")
    return value


def optional(reader: Reader, node: FileNode, position: int) -> Constant | None:
    return None if reader.value(node, position) is None else _constant(reader, node, position, "bias")


def matrix(weights: Constant) -> Constant:
    """Leading axes of size 1 away."""
    shape = weights.array.shape
    extra = len(shape) - 2
    if extra > 0 and math.prod(shape[:extra]) == 1:
        axis = None if weights.axis is None else weights.axis - extra
        return dataclasses.replace(weights, array=weights.array.reshape(shape[extra:]), axis=axis)
    return weights


def turned(x: Activation, transposed: int) -> Activation:
    return dataclasses.replace(x, view=x.view.transpose((1, 0))) if transposed and len(x.shape) == 2 else x


def _result(reader: Reader, node: FileNode, position: int, *, raw: bool = False) -> Activation | Pending:
    value = reader.value(node, position)
    return value if isinstance(value, Pending) else reader.real(node, position, raw=raw)


def _with_constant(reader: Reader, node: FileNode) -> tuple[Activation | Pending, np.ndarray | None]:
    """The operand that is computed, and the constant, if there is one."""
    for position in (1, 0):
        if isinstance(reader.value(node, position), Constant):
            return _result(reader, node, 1 - position), reader.array(node, position, "constant")
    return _result(reader, node, 0), None


def _clamped(reader: Reader, node: FileNode, low: float, high: float) -> Pending:
    value = _result(reader, node, 0, raw=True)
    pending = value if isinstance(value, Pending) else onnx_elementwise.rescaled(reader.builder, node, value)
    return dataclasses.replace(pending, low=min(max(pending.low, low), high), high=min(max(pending.high, low), high))
