"""Operators with constant weights: convolutions and fully connected layers. :mod:`.operators` says what all operators have."""

from __future__ import annotations

import dataclasses
import math
from typing import Self

import numpy as np

from ..arch.numerics import requantise, wrap32
from ..arch.tiling import ConvShape
from .errors import NetworkError

__all__ = ["Conv2D", "DepthwiseConv2D", "FullyConnected", "conv_patches"]

Shape = tuple[int, ...]
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
LARGEST_WEIGHT = 255  # int8 minus an int8 zero point


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Weighted:
    """What operators with constant weights share.

    ``weights`` are int8, or int16 from −255 to 255 where the file's weights have a zero point of their own: :attr:`parts` are then
    the int8 summands, one product each. ``bias`` is int32, ``multiplier`` and ``shift`` are int32 and int8, one value per output.
    ``zero_in`` and ``zero_out`` are the zero points of input (and of its padding) and output; ``low`` and ``high`` clamp the output,
    which is how ReLU arrives.
    """

    weights: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    zero_in: int = 0
    zero_out: int = 0
    low: int = -128
    high: int = 127

    def _check(self, axes: tuple[str, ...], outputs: int | None = None) -> None:
        w = self.weights
        wide = w.dtype == np.int16 and w.size > 0 and np.abs(w).max() <= LARGEST_WEIGHT
        if not (w.dtype == np.int8 or wide) or w.ndim != len(axes):
            raise NetworkError(f"weights must be int8 of shape ({', '.join(axes)}), not {w.dtype} {w.shape}")
        outputs = w.shape[-1] if outputs is None else outputs
        for name in ("bias", "multiplier", "shift"):
            if getattr(self, name).shape != (outputs,):
                raise NetworkError(f"{name} must have one value per output, {outputs}, not shape {getattr(self, name).shape}")

    @property
    def parts(self) -> tuple[np.ndarray, ...]:
        """int8 arrays whose sum is ``weights``: one, but where weights exceed int8."""
        rest, parts = self.weights.astype(np.int16), list[np.ndarray]()
        while not parts or np.any(rest):
            parts.append(np.clip(rest, -128, 127).astype(np.int8))
            rest = rest - parts[-1]
        return tuple(parts)

    def batched(self, n: int) -> Self:
        return self

    def _finish(self, acc: np.ndarray) -> np.ndarray:
        return requantise(wrap32(acc.astype(np.int64) + self.bias), self.multiplier, self.shift, self.zero_out, self.low, self.high)


def image_of(shape: Shape) -> tuple[int, int, int, int]:
    """(batch, height, width, channels); raises :class:`NetworkError` for another number of axes."""
    if len(shape) != 4:
        raise NetworkError(f"input must have 4 axes (batch, height, width, channels), not shape {shape}")
    batch, height, width, channels = shape
    return batch, height, width, channels


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Conv2D(Weighted):
    """A convolution with bias, requantisation and clamp: (B, H, W, channels in) → (B, Y, X, channels out).

    Parameters
    ----------
    weights : HWIO: (kernel rows, kernel columns, channels in, channels out)
    stride, dilation : (y, x)
    padding : ((top, bottom), (left, right)), of value ``zero_in``
    """

    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))

    def __post_init__(self) -> None:
        self._check(("ky", "kx", "in", "out"))

    def shape(self, height: int, width: int, channels: int) -> ConvShape:
        """Geometry on an input of this shape; raises :class:`NetworkError` or ``PlanError`` where it does not fit."""
        ky, kx, cin, cout = self.weights.shape
        if channels != cin:
            raise NetworkError(f"input channels must be {cin}, not {channels!r}")
        return ConvShape(height=height, width=width, channels=cin, filters=cout, kernel=(ky, kx), stride=self.stride,
                         dilation=self.dilation, padding=self.padding)

    def kernel(self, height: int, width: int, channels: int) -> np.ndarray:
        """The weights as HWIO."""
        return self.weights

    def output_shape(self, x: Shape) -> Shape:
        batch, *image = image_of(x)
        geometry = self.shape(*image)
        return (batch, *geometry.output_size, geometry.filters)

    def macs(self, x: Shape) -> int:
        return x[0] * self.shape(*x[1:]).macs

    def reference(self, x: np.ndarray) -> np.ndarray:
        geometry = self.shape(*x.shape[1:])
        patches = conv_patches(x.astype(np.float64) - self.zero_in, geometry, 0.0)
        # float64 holds every partial sum: products are below 2**17 and a window has far fewer than 2**36 of them.
        flat = patches.reshape(*patches.shape[:3], -1)
        return self._finish(flat @ self.weights.reshape(-1, geometry.filters).astype(np.float64))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DepthwiseConv2D(Weighted):
    """A convolution of each channel for itself: (B, H, W, C) → (B, Y, X, C · m), channel c's results at c · m … c · m + m − 1.

    ``weights`` : (kernel rows, kernel columns, C, m), m being TFLite's depth multiplier; ``stride``, ``dilation`` and ``padding`` as
    those of :class:`Conv2D`.
    """

    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))

    def __post_init__(self) -> None:
        axes = ("ky", "kx", "channels", "multiplier")
        self._check(axes, math.prod(self.weights.shape[2:]) if self.weights.ndim == len(axes) else 0)

    def shape(self, height: int, width: int, channels: int) -> ConvShape:
        """Geometry of *one* channel's windows, ``channels`` and ``filters`` those of the whole tensors."""
        ky, kx, cin, each = self.weights.shape
        if channels != cin:
            raise NetworkError(f"input channels must be {cin}, not {channels!r}")
        return ConvShape(height=height, width=width, channels=cin, filters=cin * each, kernel=(ky, kx), stride=self.stride,
                         dilation=self.dilation, padding=self.padding)

    def output_shape(self, x: Shape) -> Shape:
        batch, *image = image_of(x)
        geometry = self.shape(*image)
        return (batch, *geometry.output_size, geometry.filters)

    def macs(self, x: Shape) -> int:
        geometry = self.shape(*x[1:])
        return x[0] * geometry.output_pixels * math.prod(self.weights.shape)

    def reference(self, x: np.ndarray) -> np.ndarray:
        geometry = self.shape(*x.shape[1:])
        patches = conv_patches(x.astype(np.int32) - self.zero_in, geometry, 0)
        weights = self.weights.astype(np.int32)
        acc = np.zeros((*patches.shape[:3], *weights.shape[2:]), np.int64)
        for j, i in np.ndindex(*geometry.kernel):
            acc += patches[:, :, :, j, i, :, None] * weights[j, i]
        return self._finish(acc.reshape(*acc.shape[:3], -1))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FullyConnected(Weighted):
    """Every output from every input: x, row-major, as rows of ``inputs`` numbers → (rows, outputs).

    ``weights`` : (inputs, outputs), inputs of an image in NHWC order.
    """

    def __post_init__(self) -> None:
        self._check(("in", "out"))

    def shape(self, height: int, width: int, channels: int) -> ConvShape:
        """As the convolution whose kernel is the whole image; raises :class:`NetworkError` where the image does not fit."""
        inputs, outputs = self.weights.shape
        if height * width * channels != inputs:
            raise NetworkError(f"inputs must be {inputs}, not {height * width * channels!r}")
        return ConvShape(height=height, width=width, channels=channels, filters=outputs, kernel=(height, width))

    def kernel(self, height: int, width: int, channels: int) -> np.ndarray:
        """The weights as HWIO, kernel = image."""
        return self.weights.reshape(height, width, channels, -1)

    def output_shape(self, x: Shape) -> Shape:
        inputs, outputs = self.weights.shape
        rows, rest = divmod(math.prod(x), inputs)
        if rest or not rows:
            raise NetworkError(f"inputs must be {inputs} in each row, not shape {x}")
        return rows, outputs

    def macs(self, x: Shape) -> int:
        return math.prod(x) * self.weights.shape[1]

    def reference(self, x: np.ndarray) -> np.ndarray:
        rows = x.reshape(-1, self.weights.shape[0]).astype(np.float64) - self.zero_in
        return self._finish(rows @ self.weights.astype(np.float64))


def conv_patches(x: np.ndarray, shape: ConvShape, pad: float) -> np.ndarray:
    """The window under each output: x of shape (B, H, W, C) → (B, Y, X, ky, kx, C), a view of the padded input."""
    x = np.pad(x, ((0, 0), *shape.padding, (0, 0)), constant_values=pad)
    span = [(k - 1) * d + 1 for k, d in zip(shape.kernel, shape.dilation, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, span, axis=(1, 2))
    windows = windows[:, ::shape.stride[0], ::shape.stride[1], :, ::shape.dilation[0], ::shape.dilation[1]]
    return windows.transpose(0, 1, 2, 4, 5, 3)
