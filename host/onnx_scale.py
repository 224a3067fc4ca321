"""ONNX Runtime's scaling in the accelerator's integers.

ONNX Runtime multiplies the int32 accumulator, as a float, by a float32 factor, rounds halves to even and adds the zero point
(``MlasRequantizeOutput`` in https://github.com/microsoft/onnxruntime, core/mlas/lib/quantize.cpp; the factor is
input scale · weight scale ÷ output scale, in float32 and in this order). Here it is :func:`~systolith.arch.numerics.requantise`.
The two differ by one step at most.

The multiplier has 31 bits and a float32 24, so it is exact, and with :data:`~systolith.arch.numerics.ROUND_ONCE` there is one rounding:
results differ only where ONNX Runtime's float product is rounded across the middle between two integers, and in *exact halves*. Those
are common where the factor is a fraction with few bits, such as an average of four with equal scales; here they round up, there to even,
which no integer multiplier and shift can do. (With TFLite's two roundings 1 result in 256 would differ at a factor of 0.01.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arch.numerics import ROUND_ONCE, quantize_multiplier
from .errors import NetworkError

__all__ = ["add_parameters", "quantised_bound", "scaling"]

_ADD_SHIFT = 19  # Add's accumulator has the first operand from bit 19 on


def scaling(real: npt.ArrayLike, largest: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
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
    multiplier = np.where(shift < 0, multiplier.astype(np.int64) + ROUND_ONCE, multiplier).astype(np.int32)
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
