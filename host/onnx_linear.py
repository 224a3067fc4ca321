"""Convolutions and products of an ONNX file as operators of the graph: weights, their zero points and layouts, biases and factors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arch.tiling import ConvShape
from .errors import NetworkError
from .graph import Quantisation
from .onnx_file import FileNode, attribute
from .onnx_scale import scaling
from .onnx_values import Activation, Builder, Constant, Pending
from .onnx_view import View
from .operators import BatchMatMul, Conv2D, DepthwiseConv2D, FullyConnected

__all__ = ["affine", "batch_matmul", "conv", "geometry", "linear", "product"]

LARGEST_DENSE = 1 << 25  # weights of a grouped convolution with its zeros
_AFFINE = range(64, 128) # weights of an element-wise a · x + b, of which one makes b nearly an integer

Pair = tuple[int, int]


def linear(builder: Builder, node: FileNode, key: str, make: Callable[..., Any], weights: np.ndarray, factor: np.ndarray,
           bias: np.ndarray, *, zero_in: int, taps: int, shape: tuple[int, ...], view: View, channel_axis: int) -> Pending:
    """An operator with constant weights, whose result is factor · (Σ (x − zero_in) · w + bias).

    Parameters
    ----------
    make : operator from weights, bias, multiplier, shift, zero_in, zero_out, low, high
    weights : int16, as the operator has them, but without their own zero point; the last axes are the outputs
    factor, bias : float32 and float64, per output; bias in units of the accumulator
    taps : products per output, for the accumulator's bound
    shape, view : of the ONNX result
    """
    def emit(quantisation: Quantisation, low: int, high: int) -> tuple[str, View]:
        rounded = np.rint(bias)
        largest = taps * 255.0 * float(np.abs(weights).max(initial=0)) + np.abs(rounded)
        if not np.all(largest < 2.0 ** 31):
            largest = 255.0 * np.abs(weights.astype(np.float64)).reshape(-1, len(bias)).sum(axis=0) + np.abs(rounded)
        if not np.all(largest < 2.0 ** 31):
            raise NetworkError(f"bias and sums must fit int32, not reach {float(np.max(largest)):.3g}")
        multiplier, shift = scaling(factor / np.float32(quantisation.scale), largest)
        narrow = weights.astype(np.int8)
        operator = make(weights=narrow if np.array_equal(narrow, weights) else weights, bias=rounded.astype(np.int32),
                        multiplier=multiplier, shift=shift, zero_in=zero_in, zero_out=quantisation.zero_point, low=low, high=high)
        return builder.add(node, operator, (key,), quantisation=quantisation), view

    def scaled(a: np.ndarray, b: np.ndarray) -> Pending:
        sign = np.sign(a).astype(np.int16)
        new = factor * np.where(a == 0, np.float32(1), np.abs(a)).astype(np.float32)
        signs = sign if weights.shape[-1] == len(sign) else sign.reshape(weights.shape[-2:])
        return linear(builder, node, key, make, weights * signs, new, bias * sign + b.astype(np.float64) / new, zero_in=zero_in, taps=taps,
                      shape=shape, view=view, channel_axis=channel_axis)

    return Pending(node, shape, emit, scaled=scaled, channel_axis=channel_axis)


def weights_of(constant: Constant, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """int16 weights without their zero point, and their scales, float32, per output along ``axis``."""
    array = constant.array
    if constant.scale is None or constant.zero is None:
        raise NetworkError(f"weights must come from DequantizeLinear, not be {array.dtype}: quantise them too")
    if array.dtype not in (np.int8, np.uint8) or array.ndim <= axis:
        raise NetworkError(f"weights must be int8 or uint8 with at least {axis + 1} axes, not {array.dtype} {array.shape}")
    if constant.axis is not None and constant.axis != axis:
        raise NetworkError(f"scales of the weights must be one, or one per output (axis {axis}), not along axis {constant.axis}")
    outputs = array.shape[axis]
    along = tuple(-1 if i == axis else 1 for i in range(array.ndim))
    zero = constant.zero.astype(np.int16)
    wide = array.astype(np.int16) - (zero.reshape(along) if constant.axis is not None else zero.reshape(()))
    return wide, np.broadcast_to(constant.scale.astype(np.float32).reshape(-1), (outputs,))


def bias_of(constant: Constant | None, outputs: int, factor: np.ndarray) -> np.ndarray:
    """float64 per output, in units of the accumulator; an int32 bias whose scale is the accumulator's is taken as it is."""
    if constant is None:
        return np.zeros(outputs)
    array = constant.array
    if array.size not in (1, outputs) or (array.ndim and array.shape[-1] not in (1, outputs)):
        raise NetworkError(f"bias must have one value per output, {outputs}, not shape {array.shape}")
    values = np.broadcast_to(array.reshape(-1), (outputs,)).astype(np.float64)
    if constant.scale is None:
        return values if array.dtype == np.int32 else values / factor
    scale = constant.scale.astype(np.float64).reshape(-1)
    zero = 0.0 if constant.zero is None else constant.zero.astype(np.float64).reshape(-1)
    same = array.dtype == np.int32 and np.all(zero == 0) and np.allclose(scale, factor, rtol=1e-5, atol=0)
    return values if same else (values - zero) * scale / factor


def geometry(node: FileNode, sizes: tuple[int, ...], kernel: tuple[int, ...], *, ceil: bool = False) -> dict[str, Any]:
    """``kernel``, ``stride``, ``dilation``, ``padding`` of an operator on images of ``sizes`` (height, width), or (width,) as one row."""
    rank = len(sizes)
    stated = attribute(node, "kernel_shape")
    if stated is not None and tuple(stated) != kernel:
        raise NetworkError(f"kernel_shape must be {list(kernel)}, as the weights say, not {stated}")
    strides = attribute(node, "strides") or [1] * rank
    dilations = attribute(node, "dilations") or [1] * rank
    pads = attribute(node, "pads") or [0] * (2 * rank)
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank or min(strides) < 1 or min(dilations) < 1 or min(pads) < 0:
        raise NetworkError(f"strides, dilations and pads must be {rank}, {rank} and {2 * rank} numbers, none negative, "
                           f"not {strides}, {dilations} and {pads}")
    auto = attribute(node, "auto_pad", "NOTSET")
    padding = []
    for i, (size, k, stride, dilation) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        span = (k - 1) * dilation + 1
        before, after = (pads[i], pads[rank + i]) if auto in ("NOTSET", "") else (0, 0)
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            total = max((-(-size // stride) - 1) * stride + span - size, 0)
            before, after = (total // 2, total - total // 2) if auto == "SAME_UPPER" else (total - total // 2, total // 2)
        elif auto not in ("NOTSET", "", "VALID"):
            raise NetworkError(f"auto_pad must be NOTSET, SAME_UPPER, SAME_LOWER or VALID, not {auto!r}")
        if ceil and size + before + after >= span:
            # One window more, if it begins on the image or its padding before it.
            rest = -(size + before + after - span) % stride
            windows = (size + before + after - span + rest) // stride + 1
            after += rest if (windows - 1) * stride < size + before else 0
        padding.append((before, after))
    one = [1] * (2 - rank)
    return {"kernel": (*one, *kernel), "stride": (*one, *strides), "dilation": (*one, *dilations),
            "padding": (*[(0, 0)] * (2 - rank), *padding)}


def image(builder: Builder, node: FileNode, x: Activation) -> str:
    """``x``, (N, C, H, W) or (N, C, W), as the NHWC tensor."""
    if len(x.shape) not in (3, 4):
        raise NetworkError(f"input must be (N, C, H, W) or (N, C, W), not shape {x.shape}")
    key = builder.ordered(node, x, (0, *range(2, len(x.shape)), 1))
    n, c, *sizes = x.shape
    return builder.shaped(node, key, (n, *[1] * (2 - len(sizes)), *sizes, c))


def channels_last(shape: tuple[int, ...]) -> View:
    """The view of an ONNX tensor (N, C, …) that is NHWC."""
    return View.of(shape, (0, *range(2, len(shape)), 1))


def conv(builder: Builder, node: FileNode, x: Activation, weights: Constant, bias: Constant | None) -> Pending:
    """Conv: any kernel, stride, dilation and padding; groups of one channel are a depthwise convolution, others are made dense."""
    w, scales = weights_of(weights, 0)
    key = image(builder, node, x)
    n, channels, *sizes = x.shape
    groups = attribute(node, "group", 1)
    if w.ndim != len(x.shape):
        raise NetworkError(f"weights must have {len(x.shape)} axes, as the input has, not shape {w.shape}")
    outputs, each = w.shape[:2]
    if groups < 1 or each * groups != channels or outputs % groups or not w.size:
        raise NetworkError(f"weights of shape {w.shape} in {groups} groups must fit {channels} input channels")
    place = geometry(node, tuple(sizes), w.shape[2:])
    kernel = place.pop("kernel")
    shape = ConvShape(height=1 if len(sizes) == 1 else sizes[0], width=sizes[-1], channels=channels, filters=outputs, kernel=kernel,
                      **place)
    w = w.reshape(outputs, each, *kernel)
    operator: type[Conv2D] | type[DepthwiseConv2D] = Conv2D
    if groups > 1 and each == 1:
        operator, w = DepthwiseConv2D, w.reshape(channels, outputs // groups, *kernel).transpose(2, 3, 0, 1)
    else:
        w = _dense(w, groups).transpose(2, 3, 1, 0)
    assert x.quantisation is not None
    factor = np.float32(x.quantisation.scale) * scales
    result = (n, outputs, *shape.output_size[2 - len(sizes):])

    def make(**parameters: Any) -> Conv2D | DepthwiseConv2D:
        return operator(**parameters, **place)

    return linear(builder, node, key, make, w, factor, bias_of(bias, outputs, factor), zero_in=x.quantisation.zero_point,
                  taps=math.prod(kernel) * each, shape=result, view=channels_last(result), channel_axis=1)


def _dense(w: np.ndarray, groups: int) -> np.ndarray:
    """Weights (O, I ÷ groups, …) with zeros between the groups, (O, I, …)."""
    if groups == 1:
        return w
    outputs, each = w.shape[:2]
    if w.size * groups > LARGEST_DENSE:
        raise NetworkError(f"convolution in {groups} groups must have at most {LARGEST_DENSE} weights with its zeros, "
                           f"not {w.size * groups}")
    dense = np.zeros((outputs, each * groups, *w.shape[2:]), w.dtype)
    for group in range(groups):
        rows = slice(group * outputs // groups, (group + 1) * outputs // groups)
        dense[rows, group * each:(group + 1) * each] = w[rows]
    return dense


def product(builder: Builder, node: FileNode, x: Activation, weights: Constant, bias: Constant | None, *, transposed: bool = False,
            alpha: float = 1.0) -> Pending:
    """(…, K) · (K, N), or (N, K) if ``transposed``; the rows of the weights are put into the order that ``x`` has in memory."""
    array = weights.array
    if array.ndim != 2 or not array.size:
        raise NetworkError(f"weights must be a matrix, not shape {array.shape}")
    w, scales = weights_of(weights, 0 if transposed else 1)
    w = w.T if transposed else w
    inner, outputs = w.shape
    if len(x.shape) < 2 or x.shape[-1] != inner:
        raise NetworkError(f"input must be (…, {inner}), not shape {x.shape}")
    rows = x.view.rows(1)
    key = x.key
    if rows is None:
        key = builder.ordered(node, x, tuple(range(len(x.shape))))
        rows = View.of(x.shape).rows(1)
        assert rows is not None
    offsets, replaced = rows
    ordered = np.empty_like(w)
    ordered[offsets] = w
    assert x.quantisation is not None
    factor = np.float32(alpha) * np.float32(x.quantisation.scale) * scales
    return linear(builder, node, key, FullyConnected, ordered, factor, bias_of(bias, outputs, factor), zero_in=x.quantisation.zero_point,
                  taps=inner, shape=(*x.shape[:-1], outputs), view=replaced(outputs), channel_axis=len(x.shape) - 1)


def affine(builder: Builder, node: FileNode, x: Activation, a: np.ndarray, b: np.ndarray, axis: int) -> Pending:
    """a · x + b, per channel along ``axis``: a depthwise convolution of one tap, of a weight for which b rounds least."""
    others = [i for i in range(len(x.shape)) if i != axis]
    order = (*others, axis)
    key = builder.ordered(node, x, order)
    channels = x.shape[axis]
    if axis == 0:
        raise NetworkError("factors must not be along the batch")
    key = builder.shaped(node, key, (x.shape[0], math.prod(x.shape) // x.shape[0] // channels, 1, channels))
    assert x.quantisation is not None
    bias = np.asarray(_AFFINE)[:, None] * (b / np.where(a == 0, 1, np.abs(a)) / x.quantisation.scale)
    weights = np.asarray(_AFFINE, np.int16)[np.abs(bias - np.rint(bias)).argmin(axis=0)]
    pending = linear(builder, node, key, DepthwiseConv2D, weights.reshape(1, 1, channels, 1),
                     np.float32(x.quantisation.scale) / weights.astype(np.float32), np.zeros(channels), zero_in=x.quantisation.zero_point,
                     taps=1, shape=x.shape, view=View.of(x.shape, order), channel_axis=axis)
    assert pending.scaled is not None
    return pending.scaled(a, b)


def batch_matmul(builder: Builder, node: FileNode, a: Activation, b: Activation) -> Pending:
    """The product of two tensors that the network computes, in whichever of the two orders memory has each."""
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise NetworkError(f"both inputs must have at least 2 axes, not shapes {a.shape} and {b.shape}")
    try:
        outer = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise NetworkError(f"axes before the last two must broadcast, not {a.shape} and {b.shape}") from None
    if a.shape[-1] != b.shape[-2]:
        raise NetworkError(f"inputs must be (…, M, K) and (…, K, N), not {a.shape} and {b.shape}")
    shape = (*outer, a.shape[-2], b.shape[-1])
    assert a.quantisation is not None and b.quantisation is not None
    factor = np.float32(a.quantisation.scale) * np.float32(b.quantisation.scale)

    def plain(x: Activation) -> tuple[int, ...]:
        return tuple(range(len(x.shape)))

    def swapped(x: Activation) -> tuple[int, ...]:
        return (*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2)

    turned_b = not b.view.is_dense(*plain(b)) and b.view.is_dense(*swapped(b))
    turned = not a.view.is_dense(*plain(a)) and a.view.is_dense(*swapped(a)) and turned_b

    def emit(quantisation: Quantisation, low: int, high: int) -> tuple[str, View]:
        multiplier, shift = scaling(factor / np.float32(quantisation.scale), 255.0 * 255.0 * a.shape[-1])
        assert a.quantisation is not None and b.quantisation is not None
        operator = BatchMatMul(multiplier=int(multiplier), shift=int(shift), zero_a=a.quantisation.zero_point,
                               zero_b=b.quantisation.zero_point, zero_out=quantisation.zero_point, low=low, high=high,
                               transpose_b=turned_b and not turned)
        if turned:  # A and B are both there transposed: Bᵀ · Aᵀ, whose transpose is the result
            operator = dataclasses.replace(operator, zero_a=operator.zero_b, zero_b=operator.zero_a)
            keys = builder.ordered(node, b, swapped(b)), builder.ordered(node, a, swapped(a))
            return builder.add(node, operator, keys, quantisation=quantisation), View.of(shape, (*range(len(outer)), -1, -2))
        keys = builder.ordered(node, a, plain(a)), builder.ordered(node, b, swapped(b) if turned_b else plain(b))
        return builder.add(node, operator, keys, quantisation=quantisation), View.of(shape)

    return Pending(node, shape, emit)
