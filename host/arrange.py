"""Weights as the array takes them: diagonals for what works channel by channel, and kernels over several pixels at once.

A *folded* tensor has f neighbouring pixels of a line side by side in its channels: (H, W, C) is the same bytes as (H, W ÷ f, f·C).
A convolution of folded tensors is a convolution again, with more channels, fewer pixels, and zeros where a pixel has no part in a window.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..arch.layers import Packing
from ..arch.tiling import ConvShape

__all__ = ["Folding", "diagonal", "fold_zero_point", "folded_shape", "folded_weights", "packed_weights"]


def fold_zero_point(bias: np.ndarray, weights: np.ndarray, zero_point: int) -> np.ndarray:
    """The bias for activations that are used without subtracting their zero point: int32, one per filter, wrapping.

    Parameters
    ----------
    bias : int32, shape (filters,)
    weights : int8 or int16, shape (…, filters)
    """
    sums = weights.reshape(-1, weights.shape[-1]).sum(axis=0, dtype=np.int64)
    return (bias.astype(np.int64) - zero_point * sums).astype(np.int32)


def diagonal(weights: np.ndarray, first: int, width: int, rows: int) -> np.ndarray:
    """Outputs ``first`` … of a depthwise convolution as a dense tile: (ky, kx, C, m) → (ky, kx, lanes, width).

    The lanes are those of one channel tile of ``rows`` channels up to the last one that is read.
    """
    ky, kx, _, each = weights.shape
    outputs = np.arange(first, first + width)
    channels = outputs // each
    lanes = channels - channels[0] // rows * rows
    tile = np.zeros((ky, kx, int(lanes[-1]) + 1, width), weights.dtype)
    tile[:, :, lanes, np.arange(width)] = weights[:, :, channels, outputs % each]
    return tile


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folding:
    """Pixels side by side in the input (``inputs``) and output (``outputs``) of a convolution; where the output is not folded itself,
    its ``outputs`` pixels are phases, computed one after the other."""

    inputs: int = 1
    outputs: int = 1


def folded_shape(shape: ConvShape, folding: Folding) -> ConvShape | None:
    """Geometry over folded tensors; None where it is none."""
    f, g = folding.inputs, folding.outputs
    stride, columns = shape.stride[1] * g, shape.output_size[1]
    if stride % f or columns % g or shape.width % f or stride // f > 255:
        return None
    first, last = _taps(shape, folding)
    right = max(0, (columns // g - 1) * (stride // f) + last - shape.width // f + 1)
    return dataclasses.replace(shape, width=shape.width // f, channels=f * shape.channels, filters=g * shape.filters,
                               kernel=(shape.kernel[0], last - first + 1), stride=(shape.stride[0], stride // f),
                               dilation=(shape.dilation[0], 1), padding=(shape.padding[0], (max(0, -first), right)))


def _taps(shape: ConvShape, folding: Folding) -> tuple[int, int]:
    """First and last folded input pixel of the first folded output pixel; the first one is at most 0."""
    left, span = shape.padding[1][0], shape.span[1]
    return min(0, -left // folding.inputs), (shape.stride[1] * (folding.outputs - 1) + span - 1 - left) // folding.inputs


def folded_weights(weights: np.ndarray, shape: ConvShape, folding: Folding) -> np.ndarray:
    """HWIO weights over folded tensors: (ky, kx, C, F) → (ky, kx', f·C, g·F)."""
    ky, kx, channels, filters = weights.shape
    f, g = folding.inputs, folding.outputs
    first, last = _taps(shape, folding)
    result = np.zeros((ky, last - first + 1, f, channels, g, filters), weights.dtype)
    for pixel in range(g):
        for tap in range(kx):
            at = shape.stride[1] * pixel + tap * shape.dilation[1] - shape.padding[1][0]
            result[:, at // f - first, at % f, :, pixel] = weights[:, tap]
    return result.reshape(ky, last - first + 1, f * channels, g * filters)


def packed_weights(weights: np.ndarray, packing: Packing, stride: int, pixels: int) -> np.ndarray:
    """HWIO weights for a packed input: (ky, kx, C, F) → (groups of lines, 1, lanes, pixels·F).

    ``stride`` and ``pixels`` : image columns from output to output, outputs side by side
    """
    ky, kx, channels, filters = weights.shape
    groups = -(-ky // packing.lines)
    columns = packing.run // channels
    result = np.zeros((groups * packing.lines, columns, channels, pixels, filters), weights.dtype)
    for pixel in range(pixels):
        result[:ky, stride * pixel:stride * pixel + kx, :, pixel] = weights
    return result.reshape(groups, 1, packing.lines * packing.run, pixels * filters)
