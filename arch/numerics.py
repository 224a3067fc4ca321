"""The definition of every result: what hardware, functional model and compiler must compute, bit for bit.

Scaling follows TensorFlow Lite's reference integer kernels with double rounding (``MultiplyByQuantizedMultiplier``:
gemmlowp's saturating rounding doubling high multiply, then its rounding division by a power of two). With a multiplier that is
not negative, both steps have short exact forms, proved here once because the hardware uses them too:

- high multiply: the kernel truncates (p + n) ÷ 2**31 with n = 2**30 for p ≥ 0 and 1 − 2**30 otherwise. For p < 0, truncating is
  rounding up, and ⌈(p + 1 − 2**30) ÷ 2**31⌉ = ⌊(p + 2**30) ÷ 2**31⌋: one shift with one rounding constant for both signs.
  Its only saturation, −2**31 by −2**31, needs a negative multiplier.
- division by 2**e, ties away from zero: ⌊(x + 2**(e−1) − [x < 0]) ÷ 2**e⌋ for e ≥ 1.

Rounding twice is not what every kernel does: LiteRT 2's fully connected reference kernel multiplies by a float64 and rounds once. Bit 31
of a multiplier, :data:`ROUND_ONCE`, leaves the first rounding out, which makes the second the only one:
⌊(⌊p ÷ 2**31⌋ + 2**(e−1)) ÷ 2**e⌋ = ⌊p ÷ 2**(31+e) + ½⌋. Sums of more than 32 bits are always rounded so (:func:`scale_wide`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .commands import TABLE_WORDS

__all__ = ["AVERAGE_MAX", "ROUND_ONCE", "SHIFT_MAX", "SHIFT_MIN", "UNIT", "UNIT_WIDE", "WIDE_SHIFT_MAX", "AddParameters", "add",
           "add_parameters", "add_table_place", "average_pool_multiplier", "matmul", "pack_int4", "quantize_multiplier",
           "reduce_multiplier", "requantise", "round_once", "scale", "scale_wide", "unit", "unpack_int4", "wrap", "wrap32"]

SHIFT_MIN, SHIFT_MAX = -31, 30
ROUND_ONCE = -1 << 31  # bit 31 of an int32
UNIT = ((1 << 31) - 1, 0)  # multiplier and shift of a factor of one: wrong by 1 from 2**30 on, which no int8 shows
UNIT_WIDE = (1 << 30, 1)   # the same for sums of more than 32 bits, exact
WIDE_SHIFT_MAX = 7         # of these
ADD_SHIFT = 19       # of the first operand of :func:`add`
INT4_MIN, INT4_MAX = -8, 7
AVERAGE_MAX = 2047   # values that :func:`average_pool_multiplier` averages at most
_EXACT_K = 1024  # products of int8 reach 2**14, and float32 holds every integer up to 2**24


def wrap32(x: npt.ArrayLike) -> np.ndarray:
    """``x`` modulo 2**32 as two's complement int32; ``x`` are integers of at most 64 bits."""
    return np.asarray(x).astype(np.int64).astype(np.int32)


def wrap(x: npt.ArrayLike, bits: int) -> np.ndarray:
    """``x`` modulo 2**``bits`` as two's complement: int32 of 32 bits, int64 of more."""
    if bits == 32:
        return wrap32(x)
    return np.asarray(x).astype(np.int64) << 64 - bits >> 64 - bits


def pack_int4(values: np.ndarray) -> np.ndarray:
    """int4 weights as bytes: int8 of shape (…, N), from −8 to 7, to uint8 of shape (…, ceil(N ÷ 2)).

    Byte i holds value 2i in its low half and value 2i + 1, or 0 where there is none, in its high half.

    Raises
    ------
    ValueError
        A value is outside.
    """
    if values.size and (values.min() < INT4_MIN or values.max() > INT4_MAX):
        bad = values[(values < INT4_MIN) | (values > INT4_MAX)]
        raise ValueError(f"int4 values must be from {INT4_MIN} to {INT4_MAX}, not {int(bad[0])}")
    halves = values.astype(np.uint8) & 15
    if halves.shape[-1] % 2:
        halves = np.concatenate([halves, np.zeros_like(halves[..., :1])], axis=-1)
    return halves[..., ::2] | halves[..., 1::2] << 4


def unit(bits: int) -> tuple[int, int]:
    """Multiplier and shift of a factor of one for sums in an accumulator of ``bits``."""
    return UNIT if bits == 32 else UNIT_WIDE


def unpack_int4(data: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` int4 weights of bytes, shape (…, B), as :func:`pack_int4` packs them: int8, shape (…, ``count``)."""
    octets = data.view(np.uint8)
    halves = np.stack([octets & 15, octets >> 4], axis=-1).reshape(*octets.shape[:-1], 2 * octets.shape[-1])[..., :count]
    return (halves ^ 8).astype(np.int8) - np.int8(8)


def matmul(a: np.ndarray, w: np.ndarray, bits: int = 32) -> np.ndarray:
    """A·W, A int8 or int16 and W int8, shapes (…, M, K) and (…, K, N), as int32 wrapping modulo 2**32.

    With ``bits`` more than 32, for int16 only, as int64 wrapping modulo 2**``bits``. Exact at the speed of a float32 matrix product
    where both are int8: K is cut into pieces whose sums a float32 holds. Products of int16 reach 2**22, and a float64 holds every sum of
    2**31 of them.
    """
    if a.dtype not in (np.int8, np.int16) or w.dtype != np.int8:
        raise TypeError(f"operands must be int8, not {a.dtype} and {w.dtype}")
    if a.dtype == np.int16:
        return wrap((a.astype(np.float64) @ w.astype(np.float64)).astype(np.int64), bits)
    if bits != 32:
        raise ValueError(f"bits must be 32 where operands are int8, not {bits!r}")
    k = a.shape[-1]
    a32, w32 = a.astype(np.float32), w.astype(np.float32)
    result = (a32[..., :_EXACT_K] @ w32[..., :_EXACT_K, :]).astype(np.int32)
    for start in range(_EXACT_K, k, _EXACT_K):
        piece = slice(start, start + _EXACT_K)
        result += (a32[..., piece] @ w32[..., piece, :]).astype(np.int32)
    return result


def scale(acc: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike) -> np.ndarray:
    """``acc`` · ``multiplier`` · 2**(``shift`` − 31), rounded twice as TFLite does: int32.

    With bit 31 of ``multiplier`` set (:data:`ROUND_ONCE`; the other 31 bits are the factor) and a negative shift, rounded once, ties
    upwards. A positive shift moves ``acc`` left first, wrapping at 32 bits. As in the hardware, the bits of ``shift`` above its lowest
    six are not looked at, so that any parameters give one defined result; valid ones (shift from −31 to 30) are not affected.

    Parameters
    ----------
    acc : int32, shape (…, N)
    multiplier : int32, scalar or shape (N,)
    shift : int8, scalar or shape (N,)
    """
    word = np.asarray(multiplier).astype(np.int64)
    shift = ((np.asarray(shift).astype(np.int64) + 32) & 63) - 32
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    twice = (word >> 31 & 1 == 0) | (right == 0)
    x = wrap32(np.asarray(acc).astype(np.int64) << left).astype(np.int64)
    x *= word & 0x7FFF_FFFF
    x += np.where(twice, 1 << 30, 0)
    x >>= 31
    x += ((1 << right) >> 1) - ((x < 0) & (right > 0) & twice)
    x >>= right
    return x.astype(np.int32)


def scale_wide(acc: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike) -> np.ndarray:
    """Sums of up to 48 bits, ⌊``acc`` · ``multiplier`` · 2**(``shift`` − 31) + ½⌋: int64.

    TFLite's ``MultiplyByQuantizedMultiplier`` of int64 is that with a multiplier of :func:`reduce_multiplier`. Shifts are from −31 to 7;
    others are taken as 7 less ((7 − ``shift``) modulo 64). Bit 31 of ``multiplier`` is not looked at.

    Parameters
    ----------
    acc : int64, −2**47 to 2**47 − 1, shape (…, N)
    multiplier : int32, scalar or shape (N,)
    shift : int8, scalar or shape (N,)
    """
    acc, factor = np.asarray(acc).astype(np.int64), np.asarray(multiplier).astype(np.int64) & 0x7FFF_FFFF
    right = np.minimum(WIDE_SHIFT_MAX - np.asarray(shift).astype(np.int64) & 63, 62)
    # The product has 79 bits: ÷ 2**23, of its two parts.
    product = ((acc >> 24) * factor << 1) + ((acc & 0xFF_FFFF) * factor >> 23)
    return np.asarray((product >> right) + 1 >> 1)


def requantise(acc: npt.ArrayLike, multiplier: npt.ArrayLike, shift: npt.ArrayLike, zero_point: int,
               low: int = -128, high: int = 127, *, dtype: type[np.int8] | type[np.int16] = np.int8, bits: int = 32) -> np.ndarray:
    """int32 accumulators (bias included) to int8: :func:`scale`, add ``zero_point`` without overflow, clamp to [low, high].

    With ``dtype`` int16 to that, low and high of it, and the zero point 0. Accumulators of more than 32 ``bits`` are int64, and
    scaled by :func:`scale_wide`.

    Parameters
    ----------
    acc : int32 or int64, shape (…, N)
    multiplier : int32, scalar or shape (N,)
    shift : int8, scalar or shape (N,)
    zero_point, low, high : int8
    """
    x = (scale if bits == 32 else scale_wide)(acc, multiplier, shift).astype(np.int64)
    x += zero_point
    return np.clip(x, low, high, out=x).astype(dtype)


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


def reduce_multiplier(multiplier: npt.ArrayLike) -> np.ndarray:
    """A multiplier of :func:`quantize_multiplier` rounded to 15 bits, the other 16 zero: what TFLite's ``MultiplyByQuantizedMultiplier``
    takes of it for sums of 64 bits, which are those of int16 activations. With :data:`ROUND_ONCE`, :func:`scale` is that function.
    """
    multiplier = np.asarray(multiplier).astype(np.int64)
    return np.minimum(multiplier + (1 << 15) >> 16, 0x7FFF).astype(np.int32) << 16


def round_once(real: npt.ArrayLike, reach: npt.ArrayLike = (1 << 31) - 1, lowest: int = -256,
               highest: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """``(multiplier, shift)`` with which :func:`scale` gives round(acc · ``real``), halves away from zero, the product in float64.

    That holds for every acc of at most ``reach`` whose result is from ``lowest`` to ``highest``; other results are beyond these
    on the same side. Each place where the result changes is checked, and the multiplier moved by a few units in its last place until all
    are where they should be (ties of negative numbers need that, since :func:`scale` rounds them upwards). Where 31 bits are not
    enough for that, which takes factors below 2**−13 with accumulators that exhaust the results all the same, the multiplier with
    the fewest wrong places is chosen: each is one accumulator whose result is wrong by one.

    Parameters
    ----------
    real : positive numbers below 2**8
    reach : largest magnitude of an accumulator; one for all, or one for each
    lowest, highest : of the results that matter; −128 … 127 less the zero point

    Raises
    ------
    ValueError
        A factor is too large.
    """
    real = np.atleast_1d(np.asarray(real, np.float64))
    multiplier, shift = (x.astype(np.int64) for x in quantize_multiplier(real))
    if np.any(shift > 8):
        raise ValueError(f"scale factor must be below 2**8, not {float(real.max())!r}")
    # The three accumulators around each place where the result changes, as far as there are such; all zeros otherwise.
    with np.errstate(over="ignore", divide="ignore"):
        places = np.rint((np.arange(lowest, highest) + 0.5) / real[:, None])[:, :, None] + np.arange(-1, 2)
    places = np.where(np.abs(places) <= np.broadcast_to(reach, real.shape)[:, None, None], places, 0).astype(np.int64)
    exact = places * real[:, None, None]
    wanted = np.trunc(exact) + np.where(np.abs(exact - np.trunc(exact)) >= 0.5, np.sign(exact), 0)
    left, right = np.maximum(shift, 0)[:, None, None], np.maximum(-shift, 0)[:, None, None]
    first, half = np.where(right == 0, 1 << 30, 0), (1 << right) >> 1
    best, fewest = multiplier, np.full(real.shape, places.shape[1] * places.shape[2] + 1)
    for step in (0, 1, -1, 2, -2, 3, -3, 4, -4):
        tried = np.clip(multiplier + step, 0, (1 << 31) - 1)
        result = ((((places << left) * tried[:, None, None] + first) >> 31) + half) >> right
        wrong = np.count_nonzero(result != wanted, axis=(1, 2))
        best, fewest = np.where(wrong < fewest, tried, best), np.minimum(wrong, fewest)
    return (best + ROUND_ONCE).astype(np.int32), shift.astype(np.int8)


class AddParameters(NamedTuple):
    """What :func:`add` needs to be TFLite's ADD of two quantised tensors; see :func:`add_parameters`."""

    first: int          # the input, 0 or 1, that is the first operand
    table: np.ndarray   # int32, shape (256,): what the second operand adds, at its :func:`add_table_place`
    multiplier: int
    shift: int


def add_table_place(x2: npt.ArrayLike) -> np.ndarray:
    """Where the table of :func:`add` has the word of the second operand ``x2``, int8: −x2 modulo 256."""
    return -np.asarray(x2).astype(np.int64) % TABLE_WORDS


def add(acc: npt.ArrayLike, table: np.ndarray, multiplier: npt.ArrayLike, shift: npt.ArrayLike, zero_point: int,
        low: int = -128, high: int = 127) -> np.ndarray:
    """The element-wise sum of two int8 operands, which ``acc`` = x1 − 256·x2 holds both, to int8.

    ``requantise((x1 << 19) + table[−x2 mod 256], …)``, the sum modulo 2**32. Of any acc, x1 is the lowest byte, signed, and the place in
    the table is (acc − x1) ÷ 256 modulo 256: its second byte plus its bit 7.

    Parameters
    ----------
    acc : int32, shape (…, N)
    table : int32, shape (256,)
    multiplier, shift, zero_point, low, high : as for :func:`requantise`
    """
    acc = np.asarray(acc).astype(np.int64)
    x1 = acc.astype(np.int8).astype(np.int64)
    total = (x1 << ADD_SHIFT) + table[(acc - x1 >> 8) % TABLE_WORDS]
    return requantise(wrap32(total), multiplier, shift, zero_point, low, high)


def add_parameters(scale1: float, zero1: int, scale2: float, zero2: int, scale_out: float) -> AddParameters:
    """What makes :func:`add` TFLite's ADD of two int8 tensors: bit for bit what its reference kernel gives.

    The kernel (``reference_integer_ops::Add``, prepared by ``add.cc``) moves x − zero point left by 20, multiplies by
    scale ÷ (2·larger scale) with double rounding, adds, and multiplies by 2·larger scale ÷ (2**20·output scale). The operand of the
    larger scale has the factor ½ exactly, (x − zero point) << 19, and is the first one; what the other becomes has 256 cases, which
    the table holds, and with them the first one's zero point.

    Parameters
    ----------
    scale1, scale2, scale_out : as the file has them, that is float32
    zero1, zero2 : int8

    Raises
    ------
    ValueError
        A scale is not positive and finite, or the output's is so small that the kernel refuses it.
    """
    scales = [float(np.float32(value)) for value in (scale1, scale2, scale_out)]
    if not all(np.isfinite(value) and value > 0 for value in scales):
        raise ValueError(f"scales must be finite and above 0, not {scale1!r}, {scale2!r} and {scale_out!r}")
    first = int(scales[1] > scales[0])
    inputs = (scales[0], zero1), (scales[1], zero2)
    (larger, zero_first), (smaller, zero_second) = inputs[first], inputs[1 - first]
    factor = 2 * larger / ((1 << ADD_SHIFT + 1) * scales[2])
    if factor >= 1:
        raise ValueError(f"output scale must be above 2**-19 of the larger input scale {larger!r}, not {scale_out!r}")
    x2 = np.arange(-128, 128)
    table = np.zeros(TABLE_WORDS, np.int32)
    table[add_table_place(x2)] = wrap32(
        scale(x2 - zero_second << ADD_SHIFT + 1, *quantize_multiplier(smaller / (2 * larger))) - (np.int64(zero_first) << ADD_SHIFT))
    multiplier, shift = quantize_multiplier(factor)
    return AddParameters(first, table, int(multiplier), int(shift))


def average_pool_multiplier(count: int) -> tuple[int, int]:
    """``(multiplier, shift)`` with which :func:`scale` divides a sum of ``count`` int8 values as TFLite's AVERAGE_POOL_2D does:
    exactly, to the nearest integer, ties away from zero (``(acc ± count ÷ 2) ÷ count``, both divisions truncating).

    With m = ⌊2**30 ÷ count⌋ + 1, :func:`scale` gives ⌊acc·m ÷ 2**30 + ½⌋. The factor is too large by less than 2**−30, the
    product, |acc| ≤ 128·count, by less than count ÷ 2**23 away from zero: ties go that way, and nothing else crosses a
    half, from which other quotients are 1 ÷ (2·count) away at least, while 2·count² ≤ 2**23.

    Raises
    ------
    ValueError
        ``count`` is not from 1 to 2047.
    """
    if not 1 <= count <= AVERAGE_MAX:
        raise ValueError(f"values of an average must be from 1 to {AVERAGE_MAX}, not {count!r}")
    return (1 << 30) // count + 1, 1
