"""Softmax on the host, bit for bit that of TFLite's reference kernel for int8.

Fixed point as in ``tensorflow/lite/kernels/internal/reference/softmax.h`` and gemmlowp's ``fixedpoint.h``: differences to the maximum
in Q5.26, exponentials in Q0.31, their sum in Q12.19, its reciprocal by three steps of Newton's method. Every difference is one of 256,
so the exponentials are a table.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from ..arch.numerics import quantize_multiplier
from .errors import NetworkError

__all__ = ["Softmax"]

ONE = (1 << 31) - 1  # the nearest to 1 in Q0.31
MOST_CLASSES = 4096  # the sum's integer bits
INTEGER_BITS, SUM_BITS = 5, 12


def _high(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """Saturating rounding doubling high multiply; a · b never is −2**31 by −2**31 here."""
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return np.sign(nudged) * (np.abs(nudged) >> 31)


def _divide(x: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """x ÷ 2**exponent, rounded, ties away from zero."""
    half = (1 << np.asarray(exponent)) >> 1
    return np.sign(x) * ((np.abs(x) + half) >> exponent)


def _saturate(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -1 << 31, ONE)


def exp_negative(a: np.ndarray) -> np.ndarray:
    """exp of numbers that are at most 0: Q5.26, int64, to Q0.31."""
    quarter = 1 << (31 - INTEGER_BITS - 2)
    rest = (a & (quarter - 1)) - quarter
    x = (rest << INTEGER_BITS) + (1 << 28)  # the polynomial's centre is −1/8
    x2 = _high(x, x)
    x3, x4 = _high(x2, x), _high(x2, x2)
    polynomial = _divide(_high(_divide(x4, 2) + x3, round(2**31 / 3)) + x2, 1)
    centre = round(math.exp(-1 / 8) * 2**31)
    result = centre + _high(x + polynomial, centre)
    for exponent in range(-2, INTEGER_BITS):
        bit = 1 << (31 - INTEGER_BITS + exponent)
        result = np.where((rest - a) & bit, _high(result, round(math.exp(-2.0**exponent) * 2**31)), result)
    return np.where(a == 0, ONE, result)


def reciprocal(x: np.ndarray) -> np.ndarray:
    """1 ÷ (1 + x) of x in [0, 1): Q0.31, int64."""
    total = x + ONE
    half = np.sign(total) * ((np.abs(total) + 1) >> 1)  # rounding half sum
    guess = round(48 / 17 * 2**29) + _high(half, round(-32 / 17 * 2**29))
    for _ in range(3):
        error = (1 << 29) - _high(half, guess)
        guess = guess + _saturate(_high(guess, error) << 2)
    return _saturate(guess << 1)


class Softmax:
    """Softmax along the last axis: int8 to int8 of scale 1/256 and zero point −128.

    Parameters
    ----------
    input_scale : of the input
    beta : factor in the exponent
    """

    def __init__(self, input_scale: float, beta: float = 1.0) -> None:
        factor = min(float(beta) * float(np.float32(input_scale)) * (1 << (31 - INTEGER_BITS)), 2.0**31 - 1)
        if not factor > 1:
            raise NetworkError(f"softmax needs beta · scale of at least 2**-26, not {beta} · {input_scale}")
        multiplier, shift = (int(x) for x in quantize_multiplier(factor / 2))
        shift += 1  # up to 31, more than the accelerator's parameters take
        radius = math.floor(((1 << INTEGER_BITS) - 1) * (1 << (31 - INTEGER_BITS)) / (1 << shift))
        differences = np.arange(256)  # how far below the maximum
        counted = differences <= radius
        scaled = _high((-np.where(counted, differences, 0)) << shift, multiplier)
        self._exponentials = np.where(counted, exp_negative(scaled), 0)
        self._counted = counted

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if x.shape[-1] > MOST_CLASSES:
            raise NetworkError(f"softmax must have at most {MOST_CLASSES} classes, not {x.shape[-1]}")
        below = x.max(axis=-1, keepdims=True).astype(np.int64) - x
        exponentials = self._exponentials[below]
        total = _divide(exponentials, SUM_BITS).sum(axis=-1, keepdims=True)
        # Leading zeros of a 32-bit number; frexp is exact on these integers.
        headroom = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
        shifted = reciprocal((total << headroom) - (1 << 31))
        result = _divide(_high(shifted, exponentials), SUM_BITS - headroom + 31 - 8)
        return np.where(self._counted[below], np.clip(result - 128, -128, 127), -128).astype(np.int8)


@functools.lru_cache(maxsize=64)
def softmax(input_scale: float, beta: float = 1.0) -> Softmax:
    """The same, made once."""
    return Softmax(input_scale, beta)
