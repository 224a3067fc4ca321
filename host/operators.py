"""The operators of a quantised network: integers that define them, and the NumPy reference that says what each computes, bit for bit.

Tensors are int8, images NHWC. Convolutions and products are Σ (x − zero point) · w + bias in int32, then
:func:`~systolith.arch.numerics.requantise`; pooling, addition and the rest are those of TFLite's reference integer kernels
(https://github.com/tensorflow/tensorflow/tree/master/tensorflow/lite/kernels/internal/reference). Nothing here knows the accelerator.

Every operator has

- ``output_shape(*shapes)``: the shape of its result from those of its inputs; :class:`NetworkError` where they do not fit;
- ``reference(*arrays)``: its result on int8 arrays, exact;
- ``macs(*shapes)``: the multiplications that it is counted with (0 for what multiplies only in our mapping);
- ``batched(n)``: itself for inputs of which n are put one behind the other along the first axis.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from ..arch.numerics import requantise, wrap32
from .errors import NetworkError
from .pooling import AveragePool2D, MaxPool2D
from .weighted import Conv2D, DepthwiseConv2D, FullyConnected, conv_patches

__all__ = ["Add", "AveragePool2D", "BatchMatMul", "Conv2D", "DepthwiseConv2D", "FullyConnected", "HostOp", "MaxPool2D", "Operator",
           "Requantise", "Reshape", "conv_patches"]

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Add:
    """Element-wise addition of two tensors of one shape, rescaled as TFLite's ADD does it.

    acc = (x_first << 19) + table[x_second + 128] + bias, then requantise. ``first`` (0 or 1) says which input has the larger scale:
    TFLite scales both by twice the larger scale after a left shift of 20, so that this one's multiplier is exactly ½ and rounds
    nothing; the other's rounded values are in ``table`` (int32, for −128 … 127); ``bias`` is −(zero point of the first << 19).
    ``multiplier`` and ``shift`` are one value for all channels.
    """

    first: int
    table: np.ndarray
    bias: int
    multiplier: int
    shift: int
    zero_out: int = 0
    low: int = -128
    high: int = 127

    def __post_init__(self) -> None:
        if self.first not in (0, 1):
            raise NetworkError(f"first must be 0 or 1, not {self.first!r}")
        if self.table.dtype != np.int32 or self.table.shape != (256,):
            raise NetworkError(f"table must be int32 of shape (256,), not {self.table.dtype} {self.table.shape}")

    def output_shape(self, a: Shape, b: Shape) -> Shape:
        if a != b:
            raise NetworkError(f"both inputs must have one shape, not {a} and {b}")
        return a

    def macs(self, a: Shape, b: Shape) -> int:
        return 0

    def batched(self, n: int) -> Add:
        return self

    def reference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        first, second = (a, b) if self.first == 0 else (b, a)
        acc = (first.astype(np.int64) << 19) + self.table[second.astype(np.int64) + 128] + self.bias
        return requantise(wrap32(acc), self.multiplier, self.shift, self.zero_out, self.low, self.high)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BatchMatMul:
    """Products of matrices that the network computes: (…, M, K) and (…, K, N), or (…, N, K) with ``transpose_b`` → (…, M, N).

    Σ (a − zero_a) · (b − zero_b) in int32, then requantise with one ``multiplier`` and ``shift``. Axes before the last two broadcast.
    """

    multiplier: int
    shift: int
    zero_a: int = 0
    zero_b: int = 0
    zero_out: int = 0
    low: int = -128
    high: int = 127
    transpose_b: bool = False

    def output_shape(self, a: Shape, b: Shape) -> Shape:
        if len(a) < 2 or len(b) < 2:
            raise NetworkError(f"both inputs must have at least 2 axes, not shapes {a} and {b}")
        n, k = (b[-2], b[-1]) if self.transpose_b else (b[-1], b[-2])
        try:
            outer = np.broadcast_shapes(a[:-2], b[:-2])
        except ValueError:
            outer = None
        if a[-1] != k or outer is None:
            raise NetworkError(f"inputs must be (…, M, K) and {'(…, N, K)' if self.transpose_b else '(…, K, N)'}, not {a} and {b}")
        return (*outer, a[-2], n)

    def macs(self, a: Shape, b: Shape) -> int:
        return math.prod(self.output_shape(a, b)) * a[-1]

    def batched(self, n: int) -> BatchMatMul:
        return self

    def reference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        right = np.swapaxes(b, -1, -2) if self.transpose_b else b
        acc = (a.astype(np.float64) - self.zero_a) @ (right.astype(np.float64) - self.zero_b)
        return requantise(wrap32(acc.astype(np.int64)), self.multiplier, self.shift, self.zero_out, self.low, self.high)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Requantise:
    """To another scale and zero point, element by element: requantise(x − zero_in). TFLite's QUANTIZE int8 → int8, RELU and RELU6."""

    multiplier: int
    shift: int
    zero_in: int = 0
    zero_out: int = 0
    low: int = -128
    high: int = 127

    def output_shape(self, x: Shape) -> Shape:
        return x

    def macs(self, x: Shape) -> int:
        return 0

    def batched(self, n: int) -> Requantise:
        return self

    def reference(self, x: np.ndarray) -> np.ndarray:
        return requantise(x.astype(np.int32) - self.zero_in, self.multiplier, self.shift, self.zero_out, self.low, self.high)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reshape:
    """The same bytes, row-major, under another ``shape`` (batch included)."""

    shape: Shape

    def output_shape(self, x: Shape) -> Shape:
        if math.prod(x) != math.prod(self.shape):
            raise NetworkError(f"shape {self.shape} must hold {math.prod(x)} elements, as {x} does")
        return self.shape

    def macs(self, x: Shape) -> int:
        return 0

    def batched(self, n: int) -> Reshape:
        return Reshape(shape=(n * self.shape[0], *self.shape[1:]))

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(self.shape)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class HostOp:
    """What the host computes: ``function`` of int8 arrays gives an int8 array of ``shape``, each slice along the first axis for itself.

    ``name`` is the operator's in the file, such as SOFTMAX.
    """

    name: str
    function: Callable[..., np.ndarray]
    shape: Shape

    def output_shape(self, *inputs: Shape) -> Shape:
        return self.shape

    def macs(self, *inputs: Shape) -> int:
        return 0

    def batched(self, n: int) -> HostOp:
        return dataclasses.replace(self, shape=(n * self.shape[0], *self.shape[1:]))

    def reference(self, *arrays: np.ndarray) -> np.ndarray:
        return self.function(*arrays)


Operator = (Conv2D | DepthwiseConv2D | FullyConnected | AveragePool2D | MaxPool2D | Add | BatchMatMul | Requantise | Reshape | HostOp)
