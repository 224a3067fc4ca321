"""Quantised networks: layers as data, and the NumPy reference that says what each of them computes.

Tensors are int8, NHWC. A layer's arithmetic is TFLite's: Σ (x − zero point) · w + bias in int32, then
:func:`~systolith.arch.numerics.requantise`. Nothing here knows the accelerator: :mod:`.compile` turns a network into a program.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..arch.numerics import requantise, wrap32
from ..arch.tiling import ConvShape

__all__ = ["Conv2D", "FullyConnected", "Network", "NetworkError", "Quantisation", "conv_patches"]


class NetworkError(ValueError):
    """Layers that do not fit each other, or data of another shape than a network takes."""


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


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Conv2D:
    """A convolution with bias, requantisation and clamp.

    Parameters
    ----------
    weights : int8, HWIO: (kernel rows, kernel columns, channels in, channels out)
    bias : int32, (channels out,)
    multiplier, shift : int32 and int8, (channels out,)
    zero_in, zero_out : zero points of input (which is also the padding's value) and output
    low, high : clamp of the output, which is how ReLU arrives
    stride, dilation : (y, x)
    padding : ((top, bottom), (left, right))
    """

    weights: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    zero_in: int = 0
    zero_out: int = 0
    low: int = -128
    high: int = 127
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))

    def __post_init__(self) -> None:
        if self.weights.dtype != np.int8 or self.weights.ndim != 4:
            raise NetworkError(f"weights must be int8 of shape (ky, kx, in, out), not {self.weights.dtype} {self.weights.shape}")
        _check_parameters(self, self.weights.shape[3])

    def shape(self, height: int, width: int, channels: int) -> ConvShape:
        """Geometry on an input of this shape; raises :class:`NetworkError` where it does not fit."""
        ky, kx, cin, cout = self.weights.shape
        if channels != cin:
            raise NetworkError(f"input channels must be {cin}, not {channels!r}")
        return ConvShape(height=height, width=width, channels=cin, filters=cout, kernel=(ky, kx), stride=self.stride,
                         dilation=self.dilation, padding=self.padding)

    def kernel(self, height: int, width: int, channels: int) -> np.ndarray:
        """The weights as HWIO."""
        return self.weights


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FullyConnected:
    """Every output from every input: the convolution whose kernel is the whole image.

    ``weights`` : int8, (inputs, outputs), inputs in NHWC order. The other parameters are those of :class:`Conv2D`.
    """

    weights: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    zero_in: int = 0
    zero_out: int = 0
    low: int = -128
    high: int = 127

    def __post_init__(self) -> None:
        if self.weights.dtype != np.int8 or self.weights.ndim != 2:
            raise NetworkError(f"weights must be int8 of shape (in, out), not {self.weights.dtype} {self.weights.shape}")
        _check_parameters(self, self.weights.shape[1])

    def shape(self, height: int, width: int, channels: int) -> ConvShape:
        """Geometry on an input of this shape; raises :class:`NetworkError` where it does not fit."""
        inputs, outputs = self.weights.shape
        if height * width * channels != inputs:
            raise NetworkError(f"inputs must be {inputs}, not {height * width * channels!r}")
        return ConvShape(height=height, width=width, channels=channels, filters=outputs, kernel=(height, width))

    def kernel(self, height: int, width: int, channels: int) -> np.ndarray:
        """The weights as HWIO, kernel = image."""
        return self.weights.reshape(height, width, channels, -1)


def _check_parameters(layer: Conv2D | FullyConnected, outputs: int) -> None:
    for name in ("bias", "multiplier", "shift"):
        if getattr(layer, name).shape != (outputs,):
            raise NetworkError(f"{name} must have one value per output, {outputs}, not shape {getattr(layer, name).shape}")


def conv_patches(x: np.ndarray, shape: ConvShape, pad: float) -> np.ndarray:
    """The window under each output: x of shape (B, H, W, C) → (B, Y, X, ky, kx, C), a view of the padded input."""
    x = np.pad(x, ((0, 0), *shape.padding, (0, 0)), constant_values=pad)
    span = [(k - 1) * d + 1 for k, d in zip(shape.kernel, shape.dilation, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, span, axis=(1, 2))
    windows = windows[:, ::shape.stride[0], ::shape.stride[1], :, ::shape.dilation[0], ::shape.dilation[1]]
    return windows.transpose(0, 1, 2, 4, 5, 3)


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
    def kernels(self) -> tuple[np.ndarray, ...]:
        """Weights of each layer, HWIO."""
        return tuple(layer.kernel(s.height, s.width, s.channels) for layer, s in zip(self.layers, self.shapes, strict=True))

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
        for layer, shape, kernel in zip(self.layers, self.shapes, self.kernels, strict=True):
            centred = x.astype(np.float64) - layer.zero_in
            patches = conv_patches(centred, shape, 0.0)
            # float64 holds every partial sum: products are below 2**15 and a window has far fewer than 2**38 of them.
            acc = patches.reshape(*patches.shape[:3], -1) @ kernel.reshape(-1, shape.filters).astype(np.float64)
            acc = wrap32(acc.astype(np.int64) + layer.bias)
            x = requantise(acc, layer.multiplier, layer.shift, layer.zero_out, layer.low, layer.high)
        return x
