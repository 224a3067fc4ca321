"""QLinear operators of ONNX and of com.microsoft: integers in, integers out, scales and zero points as inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import onnx_elementwise, onnx_linear
from .errors import NetworkError
from .onnx_constants import real_array
from .onnx_file import FileNode, attribute
from .onnx_operators import matrix, optional, softmax_of, turned
from .onnx_values import Activation, Constant, Pending, Value

if TYPE_CHECKING:
    from .onnx_reader import Reader

__all__ = ["HANDLERS"]


def qlinear_conv(reader: Reader, node: FileNode) -> Activation:
    x, w = reader.activation(node, 0, 1, 2), reader.integers(node, 3, 4, 5, 0)
    return _finished(reader, node, onnx_linear.conv(reader.builder, node, x, w, optional(reader, node, 8)), 6, 7)


def qlinear_matmul(reader: Reader, node: FileNode) -> Activation:
    a = reader.activation(node, 0, 1, 2)
    right = reader.value(node, 3)
    if isinstance(right, Constant):
        result = onnx_linear.product(reader.builder, node, a, matrix(reader.integers(node, 3, 4, 5, -1)), None)
    else:
        result = onnx_linear.batch_matmul(reader.builder, node, a, reader.activation(node, 3, 4, 5))
    return _finished(reader, node, result, 6, 7)


def qgemm(reader: Reader, node: FileNode) -> Activation:
    x = turned(reader.activation(node, 0, 1, 2), attribute(node, "transA", 0))
    transposed = bool(attribute(node, "transB", 0))
    w = reader.integers(node, 3, 4, 5, 0 if transposed else 1)
    result = onnx_linear.product(reader.builder, node, x, w, optional(reader, node, 6), transposed=transposed,
                                 alpha=attribute(node, "alpha", 1.0))
    return _finished(reader, node, result, 7, 8)


def qlinear_add(reader: Reader, node: FileNode) -> Activation:
    operands = [reader.dequantised(node, *positions, 0) for positions in ((0, 1, 2), (3, 4, 5))]
    a, b = operands
    if isinstance(a, Activation) and isinstance(b, Activation):
        return _finished(reader, node, onnx_elementwise.add(reader.builder, node, a, b), 6, 7)
    if isinstance(a, Constant):
        a, b = b, a
    if not isinstance(a, Activation) or not isinstance(b, Constant):
        raise NetworkError("one input must be a tensor that the network computes")
    return _finished(reader, node, onnx_elementwise.add_constant(reader.builder, node, a, None, real_array(b)), 6, 7)


def qlinear_average_pool(reader: Reader, node: FileNode) -> Activation:
    _channels_first(node)
    x = reader.activation(node, 0, 1, 2)
    return _finished(reader, node, onnx_elementwise.average_pool(reader.builder, node, x), 3, 4)


def qlinear_global_average_pool(reader: Reader, node: FileNode) -> Activation:
    _channels_first(node)
    x = reader.activation(node, 0, 1, 2)
    return _finished(reader, node, onnx_elementwise.mean(reader.builder, node, x, tuple(range(2, len(x.shape))), True), 3, 4)


def qlinear_softmax(reader: Reader, node: FileNode) -> Activation:
    result = softmax_of(reader, node, reader.activation(node, 0, 1, 2), attribute(node, "opset", reader.file.opset))
    return _finished(reader, node, result, 3, 4)


HANDLERS: dict[str, Callable[[Reader, FileNode], Value]] = {
    "QGemm": qgemm, "QLinearAdd": qlinear_add, "QLinearAveragePool": qlinear_average_pool, "QLinearConv": qlinear_conv,
    "QLinearGlobalAveragePool": qlinear_global_average_pool, "QLinearMatMul": qlinear_matmul, "QLinearSoftmax": qlinear_softmax}


def _finished(reader: Reader, node: FileNode, result: Pending, scale: int, zero: int) -> Activation:
    quantisation, dtype = reader.parameters(node, scale, zero)
    return reader.finish(node, result, quantisation, dtype)


def _channels_first(node: FileNode) -> None:
    if attribute(node, "channels_last", 0):
        raise NetworkError("channels_last must be 0: give the model as it was before ONNX Runtime optimised it")
