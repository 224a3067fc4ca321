"""Additions, pools, changes of scale and softmax of an ONNX file as operators of the graph."""

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
from .onnx_functions import binary, function_of
from .onnx_linear import affine, channels_last, geometry, image, linear
from .onnx_scale import add_parameters, quantised_bound, scaling
from .onnx_values import Activation, Builder, Pending, straightener
from .onnx_view import View
from .operators import Add, AveragePool2D, DepthwiseConv2D, HostOp, MaxPool2D, Requantise

__all__ = ["add", "add_constant", "average_pool", "max_pool", "mean", "rescaled", "softmax"]

LARGEST_WINDOW = 1 << 16  # taps; 2**16 · 255 is far within int32


def quantised(x: Activation) -> Quantisation:
    """The quantisation of a tensor that has one."""
    if x.quantisation is None:
        raise NetworkError(f"input must be quantised, but {x.key!r} is float32 and goes through no QuantizeLinear: give calibration inputs")
    return x.quantisation


def rescaled(builder: Builder, node: FileNode, x: Activation) -> Pending:
    """``x`` itself, for another quantisation or clamp: nothing, where neither changes; a float input gets the quantisation."""

    def emit(quantisation: Quantisation, low: int, high: int) -> tuple[str, View]:
        source = x.quantisation or quantised(builder.quantise(x, quantisation))
        if quantisation == source and (low, high) == (-128, 127):
            return x.key, x.view
        multiplier, shift = scaling(np.float32(source.scale) / np.float32(quantisation.scale), 255)
        operator = Requantise(multiplier=int(multiplier), shift=int(shift), zero_in=source.zero_point, zero_out=quantisation.zero_point,
                              low=low, high=high)
        key = builder.add(node, operator, (x.key,), quantisation=quantisation)
        builder.is_function(key, x.key, operator.reference(np.arange(-128, 128, dtype=np.int8)))
        return key, x.view

    return Pending(node, x.shape, emit)


def add(builder: Builder, node: FileNode, a: Activation, b: Activation) -> Pending:
    """The sum of two tensors, by the host if one has to be repeated."""
    if a.shape != b.shape:
        return binary(builder, node, a, b, np.add)
    pair = [(quantised(x).scale, quantised(x).zero_point) for x in (a, b)]
    first = 0 if pair[0][0] >= pair[1][0] else 1
    if a.view.canonical() == b.view.canonical():
        keys, view = (a.key, builder.shaped(node, b.key, builder.tensors[a.key].shape)), a.view
    else:
        order = a.view.permutation() or tuple(range(len(a.shape)))
        keys, view = (builder.ordered(node, a, order), builder.ordered(node, b, order)), View.of(a.shape, order)

    def emit(quantisation: Quantisation, low: int, high: int) -> tuple[str, View]:
        table, bias, multiplier, shift = add_parameters(pair[first], pair[1 - first], quantisation.scale)
        operator = Add(first=first, table=table, bias=bias, multiplier=multiplier, shift=shift, zero_out=quantisation.zero_point, low=low,
                       high=high)
        return builder.add(node, operator, keys, quantisation=quantisation), view

    return Pending(node, a.shape, emit)


def add_constant(builder: Builder, node: FileNode, x: Activation | Pending, factor: np.ndarray | None,
                 constant: np.ndarray | None) -> Pending:
    """x · factor + constant, each one value or one per channel, folded into the operator that makes ``x`` where that is possible."""
    sizes = [array.shape for array in (factor, constant) if array is not None]
    axis = channel_of(sizes, x.shape, x.channel_axis if isinstance(x, Pending) else x.view.innermost)
    channels = x.shape[axis]
    a, b = (np.full(channels, default) if array is None else np.broadcast_to(array.reshape(-1), (channels,)).astype(np.float64)
            for array, default in ((factor, 1.0), (constant, 0.0)))
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        raise NetworkError("constants must be finite")
    if isinstance(x, Activation):
        source = quantised(x)
        if constant is None and factor is not None and factor.size == 1 and factor > 0:
            product = Quantisation(scale=float(np.float32(source.scale) * np.float32(a[0])), zero_point=source.zero_point)
            return rescaled(builder, node, dataclasses.replace(x, quantisation=product))
        if all(array is None or array.size == 1 for array in (factor, constant)):
            scale, offset = np.float32(a[0]), np.float32(b[0])
            return function_of(builder, node, x, lambda real: real * scale + offset)
        return affine(builder, node, x, a, b, axis)
    if x.scaled is not None and not x.views and (x.low, x.high) == (-np.inf, np.inf) and x.channel_axis == axis:
        return dataclasses.replace(x.scaled(a, b), depth=x.depth + 1)
    if constant is not None or factor is None or factor.size != 1 or factor <= 0:
        raise NetworkError(f"constants can be folded into a convolution or product right before, not into {x.node.where}: put a "
                           "QuantizeLinear and a DequantizeLinear between")
    ratio, inner = float(factor.reshape(-1)[0]), x.emit

    def emit(quantisation: Quantisation, low: int, high: int) -> tuple[str, View]:
        return inner(dataclasses.replace(quantisation, scale=float(np.float32(quantisation.scale / ratio))), low, high)

    return dataclasses.replace(x, low=x.low * ratio, high=x.high * ratio, emit=emit, scaled=None, depth=x.depth + 1)


def channel_of(sizes: list[tuple[int, ...]], shape: tuple[int, ...], expected: int) -> int:
    """The axis of ``shape`` along which constants of these shapes have their values, as broadcasting has it; or ``expected``, for any."""
    found = {len(shape) - len(size) + i for size in sizes for i, n in enumerate(size) if n != 1}
    if any(len(size) > len(shape) for size in sizes) or len(found) > 1 or found & {-1} or not shape:
        raise NetworkError(f"constants must be one value or one per channel of {shape}, not shapes {sizes}")
    axis = found.pop() if found else expected
    for size in sizes:
        if math.prod(size) not in (1, shape[axis]):
            raise NetworkError(f"constants must be one value or one per channel of {shape}, not shape {size}")
    return axis


def max_pool(builder: Builder, node: FileNode, x: Activation | Pending) -> Pending:
    """The maximum keeps order, so it may as well follow the quantisation of a float result or input."""
    sizes = x.shape[2:]
    if len(x.shape) not in (3, 4):
        raise NetworkError(f"input must be (N, C, H, W) or (N, C, W), not shape {x.shape}")
    place = _window(node, sizes, ceil=attribute(node, "ceil_mode", 0) == 1)
    if max(place.pop("dilation")) > 1:
        raise NetworkError("dilations of a pool must be 1")
    shape = _pooled(x.shape, place)
    source = x.quantisation if isinstance(x, Activation) else None

    def emit(quantisation: Quantisation, low: int, high: int) -> tuple[str, View]:
        if isinstance(x, Pending):
            y = materialise(x, quantisation)
        else:
            y = x if x.quantisation is not None else builder.quantise(x, quantisation)
        bounds = (low, high) if source in (None, quantisation) else (-128, 127)
        operator = MaxPool2D(**place, low=bounds[0], high=bounds[1])
        key = builder.add(node, operator, (image(builder, node, y),), quantisation=y.quantisation)
        if source is None or quantisation == source:
            return key, channels_last(shape)
        pooled = Activation(key, channels_last(shape), "int8", source, True)
        return rescaled(builder, node, pooled).emit(quantisation, low, high)

    return Pending(node, shape, emit, depth=x.depth + 1 if isinstance(x, Pending) else 1)


def average_pool(builder: Builder, node: FileNode, x: Activation) -> Pending:
    """An average of a fixed number of pixels is a depthwise convolution with weights 1; where padding does not count, the graph's own
    average, or, if the scale changes too, the host's."""
    sizes = x.shape[2:]
    if len(x.shape) not in (3, 4):
        raise NetworkError(f"input must be (N, C, H, W) or (N, C, W), not shape {x.shape}")
    included = attribute(node, "count_include_pad", 0) == 1
    place = _window(node, sizes, ceil=attribute(node, "ceil_mode", 0) == 1)
    plain = _window(node, sizes)
    if max(place.pop("dilation")) > 1:
        raise NetworkError("dilations of a pool must be 1")
    if included and place["padding"] != plain["padding"]:
        raise NetworkError("an average that counts padding must not have windows beyond it: use ceil_mode 0")
    shape, source = _pooled(x.shape, place), quantised(x)
    key = image(builder, node, x)
    if included or place["padding"] == ((0, 0), (0, 0)):
        return _average(builder, node, key, source, place.pop("kernel"), shape, place)
    pool = AveragePool2D(**place)

    def emit(quantisation: Quantisation, low: int, high: int) -> tuple[str, View]:
        if quantisation == source:
            operator: Any = dataclasses.replace(pool, low=low, high=high)
        else:
            operator = HostOp(name="AveragePool", function=_host_average(pool, source, quantisation, low, high),
                              shape=pool.output_shape(builder.tensors[key].shape))
        return builder.add(node, operator, (key,), quantisation=quantisation), channels_last(shape)

    return Pending(node, shape, emit)


def _host_average(pool: AveragePool2D, source: Quantisation, target: Quantisation, low: int,
                  high: int) -> Callable[[np.ndarray], np.ndarray]:
    factor = np.float32(source.scale) / np.float32(target.scale)

    def function(x: np.ndarray) -> np.ndarray:
        total = sum(window.astype(np.float64) for window in pool._windows(x.astype(np.int32) - source.zero_point, 0))
        average = total / pool.counts(*x.shape[1:3])[None, :, :, None]
        return np.clip(np.rint(average * factor) + target.zero_point, low, high).astype(np.int8)

    return function


def mean(builder: Builder, node: FileNode, x: Activation, axes: tuple[int, ...], keep: bool) -> Pending:
    """The mean over one or two axes other than the first: GlobalAveragePool, ReduceMean."""
    rank = len(x.shape)
    axes = tuple(sorted({axis + rank if axis < 0 else axis for axis in axes}))
    if not 1 <= len(axes) <= 2 or axes[0] < 1 or axes[-1] >= rank:
        raise NetworkError(f"mean must be over one or two axes behind the batch of shape {x.shape}, not {list(axes)}")
    others = tuple(axis for axis in range(1, rank) if axis not in axes)
    key = builder.ordered(node, x, (0, *axes, *others))
    kernel = (x.shape[axes[0]] if len(axes) == 2 else 1, x.shape[axes[-1]])
    n, channels = x.shape[0], math.prod(x.shape[axis] for axis in others)
    key = builder.shaped(node, key, (n, *kernel, channels))
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    pending = _average(builder, node, key, quantised(x), kernel, shape, {}, View.of(shape))
    if keep:
        return pending
    left = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    return dataclasses.replace(pending, shape=left, views=(lambda view: reshaped(view, left),))


def _average(builder: Builder, node: FileNode, key: str, source: Quantisation, kernel: tuple[int, int], shape: tuple[int, ...],
             place: dict[str, Any], view: View | None = None) -> Pending:
    taps, channels = math.prod(kernel), builder.tensors[key].shape[3]
    if taps > LARGEST_WINDOW:
        raise NetworkError(f"window of an average must have at most {LARGEST_WINDOW} pixels, not {taps}")

    def make(**parameters: Any) -> DepthwiseConv2D:
        return DepthwiseConv2D(**parameters, **place)

    factor = np.full(channels, np.float32(source.scale) / np.float32(taps))
    return linear(builder, node, key, make, np.broadcast_to(np.int16(1), (*kernel, channels, 1)), factor, np.zeros(channels),
                  zero_in=source.zero_point, taps=taps, shape=shape, view=channels_last(shape) if view is None else view, channel_axis=1)


def softmax(builder: Builder, node: FileNode, x: Activation, axes: tuple[int, ...]) -> Pending:
    """exp(x) ÷ Σ exp(x) over ``axes``, in float32, by the host.

    As ONNX Runtime's QLinearSoftmax (contrib_ops/cpu/quantization/qlinear_softmax.cc), which takes ⌊1 ÷ output scale⌋ as the inverse.
    """
    source, shape = quantised(x), x.shape
    straighten = straightener(x.view)

    def emit(quantisation: Quantisation, low: int, high: int) -> tuple[str, View]:
        inverse = np.float32(1) / np.float32(quantisation.scale)
        inverse = np.floor(inverse) if inverse >= 1 else inverse

        def function(data: np.ndarray) -> np.ndarray:
            real = (straighten(data).astype(np.float32) - source.zero_point) * np.float32(source.scale)
            odds = np.exp(real - real.max(axis=axes, keepdims=True))
            share = odds * inverse / odds.sum(axis=axes, keepdims=True)
            return np.clip(np.rint(share) + quantisation.zero_point, low, high).astype(np.int8)

        operator = HostOp(name="Softmax", function=function, shape=shape)
        return builder.add(node, operator, (x.key,), quantisation=quantisation), View.of(shape)

    return Pending(node, shape, emit)


def materialise(pending: Pending, quantisation: Quantisation, dtype: str = "int8") -> Activation:
    """The operator behind a real result, for a quantisation that the file gives."""
    low, high = (quantised_bound(bound, quantisation.scale, quantisation.zero_point) for bound in (pending.low, pending.high))
    key, view = pending.emit(quantisation, low, high)
    for change in pending.views:
        view = change(view)
    return Activation(key, view, dtype, quantisation, False)


def reshaped(view: View, shape: tuple[int, ...]) -> View:
    """``view`` under another shape; :class:`NetworkError` where memory has the axes so interleaved that no strides can say it."""
    result = view.reshape(shape)
    if result is None:
        raise NetworkError(f"a result of shape {view.shape} cannot become {shape} before it is quantised")
    return result


def _window(node: FileNode, sizes: tuple[int, ...], *, ceil: bool = False) -> dict[str, Any]:
    kernel = attribute(node, "kernel_shape")
    if not isinstance(kernel, list) or len(kernel) != len(sizes) or any(not isinstance(k, int) or k < 1 for k in kernel):
        raise NetworkError(f"kernel_shape must be {len(sizes)} positive numbers, not {kernel}")
    return geometry(node, sizes, tuple(kernel), ceil=ceil)


def _pooled(shape: tuple[int, ...], place: dict[str, Any]) -> tuple[int, ...]:
    sizes = shape[2:]
    result = ConvShape(height=1 if len(sizes) == 1 else sizes[0], width=sizes[-1], channels=shape[1], filters=shape[1],
                       kernel=place["kernel"], stride=place["stride"], padding=place["padding"])
    return (*shape[:2], *result.output_size[2 - len(sizes):])
