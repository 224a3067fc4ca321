"""Pooling operators, with the arithmetic of TFLite's reference integer kernels (``reference/integer_ops/pooling.h``)."""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np

from ..arch.tiling import ConvShape
from .errors import NetworkError

__all__ = ["AveragePool2D", "MaxPool2D"]

Pair = tuple[int, int]
LARGEST_KERNEL = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool2D:
    """What both share: (B, H, W, C) → (B, Y, X, C).

    Parameters
    ----------
    kernel, stride : (y, x)
    padding : ((top, bottom), (left, right)); it takes no part in average or maximum
    low, high : clamp of the output
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    low: int = -128
    high: int = 127

    def __post_init__(self) -> None:
        if self.kernel[0] * self.kernel[1] > LARGEST_KERNEL:
            raise NetworkError(f"kernel of a pool must cover at most {LARGEST_KERNEL} pixels, not {self.kernel}")
        for span, pads in zip(self.kernel, self.padding, strict=True):
            if max(pads) >= span:
                raise NetworkError(f"padding of a pool must be less than its kernel {self.kernel}, not {self.padding}")

    def shape(self, height: int, width: int, channels: int) -> ConvShape:
        """Geometry of one channel's windows; raises ``PlanError`` where they do not fit."""
        return ConvShape(height=height, width=width, channels=channels, filters=channels, kernel=self.kernel, stride=self.stride,
                         padding=self.padding)

    def output_shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        if len(x) != 4:
            raise NetworkError(f"input must have 4 axes (batch, height, width, channels), not shape {x}")
        return (x[0], *self.shape(*x[1:]).output_size, x[3])

    def macs(self, x: tuple[int, ...]) -> int:
        return 0

    def batched(self, n: int) -> Self:
        return self

    def counts(self, height: int, width: int) -> np.ndarray:
        """How many pixels of the image each window covers, int64 (Y, X)."""
        size = self.shape(height, width, 1).output_size
        covered = []
        for length, count, kernel, stride, (before, _) in zip((height, width), size, self.kernel, self.stride, self.padding, strict=True):
            start = np.arange(count) * stride - before
            covered.append(np.minimum(start + kernel, length) - np.maximum(start, 0))
        return covered[0][:, None] * covered[1]

    def _windows(self, x: np.ndarray, pad: int) -> list[np.ndarray]:
        """One array (B, Y, X, C) for each tap."""
        rows, columns = self.shape(*x.shape[1:]).output_size
        padded = np.pad(x, ((0, 0), *self.padding, (0, 0)), constant_values=pad)
        (sy, sx), (ky, kx) = self.stride, self.kernel
        return [padded[:, j:j + (rows - 1) * sy + 1:sy, i:i + (columns - 1) * sx + 1:sx] for j, i in np.ndindex(ky, kx)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AveragePool2D(Pool2D):
    """Average of the pixels that a window covers: (sum ± n ÷ 2) ÷ n, truncated, the sign being the sum's; scale and zero point stay.

    ``offset`` is added to every pixel and taken from the average: 128 where the file has uint8, whose sums have no sign, so that halves
    go upwards.
    """

    offset: int = 0

    def reference(self, x: np.ndarray) -> np.ndarray:
        count = self.counts(*x.shape[1:3])[None, :, :, None]
        total = np.zeros(self.output_shape(x.shape), np.int64) + self.offset * count
        for window in self._windows(x.astype(np.int32), 0):
            total += window
        average = np.sign(total) * ((np.abs(total) + count // 2) // count) - self.offset
        return np.clip(average, self.low, self.high).astype(np.int8)


class MaxPool2D(Pool2D):
    """Maximum of the pixels that a window covers; scale and zero point stay."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        largest = np.full(self.output_shape(x.shape), -128, np.int8)
        for window in self._windows(x, -128):
            np.maximum(largest, window, out=largest)
        return np.clip(largest, self.low, self.high)
