"""ONNX Runtime's scaling in the accelerator's integers.

ONNX Runtime multiplies the int32 accumulator, as a float, by a float32 factor, rounds halves to even and adds the zero point
(``MlasRequantizeOutput`` in https://github.com/microsoft/onnxruntime, core/mlas/lib/quantize.cpp; the factor is
input scale · weight scale ÷ output scale, in float32 and in this order). Here it is :func:`~systolith.arch.numerics.requantise`.
The two differ where a result is within the error below of the middle between two integers, and then by one step.

*One rounding or two.* With a multiplier in [2**30, 2**31) and a right shift of e bits, ``requantise`` rounds twice, which is wrong for
2**−(e + 1) of all results: 1 in 256 for a factor of 0.01. With shift 0 and the multiplier real · 2**31, which then has fewer bits, it
rounds once; with |acc| ≤ 128 ÷ real and the multiplier's error ¼ on average, this is wrong for 2**−27 ÷ real of all results. Both
are about 1 in 16,000 at real = 2**−13 (measured: 7.1e-5 and 6.4e-5), which is the worst of the better one.

*Halves.* Where the factor is a fraction with few bits, such as an average of four with equal scales, many results are halves exactly;
here they round up (one rounding) or away from zero (two), there to even. No integer multiplier and shift can do that.
"""

from __future__ import annotations

import numpy as np

from ..arch.numerics import quantize_multiplier
from .errors import NetworkError

__all__ = ["add_parameters", "quantised_bound", "scaling"]

_TWO_ROUNDINGS = 2.0 ** -13
_ADD_SHIFT = 19  # Add's accumulator has the first operand from bit 19 on


def scaling(real: np.ndarray | float, largest: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """``(multiplier, shift)``, int32 and int8, of the shape of ``real``, for accumulators of at most ``largest`` in magnitude.

    Raises
    ------
    NetworkError
        A factor is not finite or not positive, or the accumulator, moved left for it, could leave 32 bits.
    """
    real = np.asarray(real, np.float64)
    if not np.all(np.isfinite(real) & (real > 0)):
        raise NetworkError(f"input scale · weight scale ÷ output scale must be positive and finite, not {float(real.min())!r}")
    try:
        multiplier, shift = quantize_multiplier(real)
    except ValueError as error:
        raise NetworkError(f"input scale · weight scale ÷ output scale is out of range: {error}") from None
    once = (real < 0.5) & (real > _TWO_ROUNDINGS)
    multiplier = np.where(once, np.rint(np.where(once, real, 0) * 2.0 ** 31).astype(np.int64), multiplier).astype(np.int32)
    shift = np.where(once, 0, shift).astype(np.int8)
    if np.any(np.asarray(largest, np.float64) * 2.0 ** np.maximum(shift, 0) >= 2.0 ** 31):
        raise NetworkError(f"output scale is too small for its accumulator: a factor of {float(real.max()):.3g} on values up to "
                           f"{float(np.max(largest)):.3g}; quantise with a larger output scale")
    return multiplier, shift


def add_parameters(first: tuple[float, int], second: tuple[float, int], scale_out: float) -> tuple[np.ndarray, int, int, int]:
    """``(table, bias, multiplier, shift)`` of :class:`~systolith.host.operators.Add`; operands are (scale, zero point), the first one's
    scale being the larger.

    ONNX Runtime's QLinearAdd: a · scale_a ÷ scale_y + b · scale_b ÷ scale_y in float32 (core/mlas/lib/qladd.cpp).
    """
    (scale_a, zero_a), (scale_b, zero_b) = first, second
    table = np.rint((np.arange(-128, 128) - zero_b) * (scale_b / scale_a) * 2.0 ** _ADD_SHIFT).astype(np.int32)
    multiplier, shift = scaling(scale_a / scale_out * 2.0 ** -_ADD_SHIFT, 1 << 28)
    return table, -(zero_a << _ADD_SHIFT), int(multiplier), int(shift)


def quantised_bound(real: float, scale: float, zero_point: int) -> int:
    """The int8 at which a clamp of the real value acts: ±infinity give the ends of int8."""
    return int(np.clip(np.rint(np.float64(real) / scale) + zero_point, -128, 127))
