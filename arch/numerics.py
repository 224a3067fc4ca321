"""The definition of every result: what hardware, functional model and compiler must compute, bit for bit.

Scaling follows TensorFlow Lite's reference integer kernels with double rounding (``MultiplyByQuantizedMultiplier``:
gemmlowp's saturating rounding doubling high multiply, then its rounding division by a power of two). With a multiplier that is
not negative, both steps have short exact forms, proved here once because the hardware uses them too:

- high multiply: the kernel truncates (p + n) ÷ 2**31 with n = 2**30 for p ≥ 0 and 1 − 2**30 otherwise. For p < 0, truncating is
  rounding up, and ⌈(p + 1 − 2**30) ÷ 2**31⌉ = ⌊(p + 2**30) ÷ 2**31⌋: one shift with one rounding constant for both signs.
  Its only saturation, −2**31 by −2**31, needs a negative multiplier.
- division by 2**e, ties away from zero: ⌊(x + 2**(e−1) − [x < 0]) ÷ 2**e⌋ for e ≥ 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["SHIFT_MAX", "SHIFT_MIN", "matmul", "quantize_multiplier", "requantise", "scale", "wrap32"]

SHIFT_MIN, SHIFT_MAX = -31, 30
_EXACT_K = 1024  # products of int8 reach 2**14, and float32 holds every integer up to 2**24


def wrap32(x: npt.ArrayLike) -> np.ndarray:
    """``x`` modulo 2**32 as two's complement int32; ``x`` are integers of at most 64 bits."""
    return np.asarray(x).astype(np.int64).astype(np.int32)


def matmul(a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """A·W of int8 arrays, shapes (…, M, K) and (…, K, N), as int32 wrapping modulo 2**32.

    Exact at the speed of a float32 matrix product: K is cut into pieces whose sums a float32 holds.
    """
    if a.dtype != np.int8 or w.dtype != np.int8:
        raise TypeError(f"operands must be int8, not {a.dtype} and {w.dtype}")
    k = a.shape[-1]
    a32, w32 = a.astype(np.float32), w.astype(np.float32)
    result = (a32[..., :_EXACT_K] @ w32[..., :_EXACT_K, :]).astype(np.int32)
    for start in range(_EXACT_K, k, _EXACT_K):
        piece = slice(start, start + _EXACT_K)
        result += (a32[..., piece] @ w32[..., piece, :]).astype(np.int32)
    return result


def scale(acc: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike) -> np.ndarray:
    """``acc`` · ``multiplier`` · 2**(``shift`` − 31), rounded twice as TFLite does: int32.

    A positive shift moves ``acc`` left first, wrapping at 32 bits. As in the hardware, bit 31 of ``multiplier`` and the bits of
    ``shift`` above its lowest six are not looked at, so that any parameters give one defined result; valid ones
    (multiplier ≥ 0, shift from −31 to 30) are not affected.

    Parameters
    ----------
    acc : int32, shape (…, N)
    multiplier : int32, scalar or shape (N,)
    shift : int8, scalar or shape (N,)
    """
    multiplier = np.asarray(multiplier).astype(np.int64) & 0x7FFF_FFFF
    shift = ((np.asarray(shift).astype(np.int64) + 32) & 63) - 32
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    x = wrap32(np.asarray(acc).astype(np.int64) << left).astype(np.int64)
    x *= multiplier
    x += 1 << 30
    x >>= 31
    x += ((1 << right) >> 1) - ((x < 0) & (right > 0))
    x >>= right
    return x.astype(np.int32)


def requantise(acc: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike, zero_point: int,
               low: int = -128, high: int = 127) -> np.ndarray:
    """int32 accumulators (bias included) to int8: :func:`scale`, add ``zero_point`` without overflow, clamp to [low, high].

    Parameters
    ----------
    acc : int32, shape (…, N)
    multiplier : int32, scalar or shape (N,)
    shift : int8, scalar or shape (N,)
    zero_point, low, high : int8
    """
    x = scale(acc, multiplier, shift).astype(np.int64)
    x += zero_point
    return np.clip(x, low, high, out=x).astype(np.int8)


def quantize_multiplier(real: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """``(multiplier, shift)`` with multiplier · 2**(shift − 31) ≈ ``real``, as TFLite's ``QuantizeMultiplier``.

    int32 in [2**30, 2**31) and int8, of the shape of ``real``; both 0 where ``real`` is 0 or below 2**−32.

    Raises
    ------
    ValueError
        A factor is negative, not finite or 2**30 and more.
    """
    real = np.asarray(real, dtype=np.float64)
    bad = ~np.isfinite(real) | (real < 0)
    if np.any(bad):
        raise ValueError(f"scale factor must be finite and not negative, not {float(real[bad].flat[0])!r}")
    fraction, exponent = np.frexp(real)
    multiplier = np.floor(fraction * (1 << 31) + 0.5).astype(np.int64)  # round half away from zero
    carry = multiplier == 1 << 31
    multiplier = np.where(carry, 1 << 30, multiplier)
    shift = exponent + carry
    if np.any(shift > SHIFT_MAX):
        raise ValueError(f"scale factor must be below 2**{SHIFT_MAX}, not {float(real.max())!r}")
    tiny = (shift < SHIFT_MIN) | (multiplier == 0)
    return np.where(tiny, 0, multiplier).astype(np.int32), np.where(tiny, 0, shift).astype(np.int8)
