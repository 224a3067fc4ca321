"""What two columns with one multiplier compute of a weight that they cannot hold, bit for bit.

For weights from −127 to 127 ``array.multiplier`` "packed" is exact and this is :func:`.numerics.matmul`. Software never lets −128 in;
what is in memory by chance may be such a byte, and a program that loads it still has one meaning.
"""

from __future__ import annotations

import numpy as np

from . import numerics
from .config import ArrayConfig

__all__ = ["matmul"]

_SPLIT, _OPERAND, _OVERLAP = 10, 18, 5  # bits: of weight 0's place, of the multiplier's operand, common to both products


def _wrap(x: np.ndarray, bits: int) -> np.ndarray:
    return (x + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def matmul(array: ArrayConfig, a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """A·W as accumulators have it (:func:`.numerics.matmul`), A of shape (M, K), int8 or int16, and W (K, cols) int8, K a multiple of
    ``array.rows``: tiles one after the other."""
    result = numerics.matmul(a, w, array.accumulator_bits)
    if array.weight_limits[0] != -127:
        return result
    pairs = array.dsp_columns // 2
    psum_bits = max(16, 15 + (array.rows - 1).bit_length())
    for left in 2 * np.flatnonzero((w[:, :2 * pairs] == -128).any(axis=0).reshape(-1, 2).any(axis=1)):
        w0, w1 = w[:, left].astype(np.int64), w[:, left + 1].astype(np.int64)
        product = a.astype(np.int64) * _wrap((w1 << _SPLIT) + w0, _OPERAND)
        overlap = _wrap((product >> _SPLIT) - a * w1, _OVERLAP)
        halves = (product & (1 << _SPLIT) - 1) + (overlap << _SPLIT), (product >> _SPLIT) - overlap
        for column, values in zip((left, left + 1), halves, strict=True):
            tiles = values.reshape(len(a), -1, array.rows).sum(axis=2)
            result[:, column] = numerics.wrap32(_wrap(tiles, psum_bits).sum(axis=1))
    return result
