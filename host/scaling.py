"""From scales and zero points to integers, as TFLite's kernels prepare them: which product is float32 and which float64 decides a bit.

Sources: ``tensorflow/lite/kernels/`` — ``kernel_util.cc`` (convolutions, products, activations), ``add.cc``, ``quantize.cc``,
``activations.cc``, ``internal/reference/reduce.h``.
"""

from __future__ import annotations

import math

import numpy as np

from ..arch.numerics import quantize_multiplier, round_once, scale, wrap32
from .errors import NetworkError
from .graph import Quantisation
from .operators import Add, Requantise

__all__ = ["activation_range", "add", "convolution", "exact_identity", "fully_connected", "mean", "product", "requantise_operator"]

ACTIVATIONS = {"NONE": None, "RELU": (0.0, math.inf), "RELU_N1_TO_1": (-1.0, 1.0), "RELU6": (0.0, 6.0)}
ADD_SHIFT = 20


def _multiplier(real: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    try:
        return quantize_multiplier(real)
    except ValueError as error:
        raise NetworkError(f"unsupported quantisation: {error}") from None


def activation_range(activation: str, output: Quantisation) -> tuple[int, int]:
    """Clamp of an int8 output behind a fused activation (``CalculateActivationRangeQuantized``)."""
    limits = ACTIVATIONS.get(activation, ())
    if limits is None:
        return -128, 127
    if not limits:
        raise NetworkError(f"fused activation must be one of {', '.join(ACTIVATIONS)}, not {activation}")

    def quantised(value: float) -> int:
        scaled = np.float32(value) / np.float32(output.scale)
        if not abs(scaled) < 1 << 20:
            return 1 << 20 if value > 0 else -1 << 20
        return output.zero_point + math.floor(abs(float(scaled)) + 0.5) * (1 if value >= 0 else -1)

    return max(-128, quantised(limits[0])), 127 if limits[1] == math.inf else min(127, quantised(limits[1]))


def convolution(scale_in: float, scales_weights: np.ndarray, scale_out: float, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Multiplier and shift per channel of an int8 convolution: float64 throughout."""
    real = float(scale_in) * scales_weights.astype(np.float64) / float(scale_out)
    multiplier, shift = _multiplier(np.broadcast_to(real, (channels,)))
    return multiplier, shift


def fully_connected(input: Quantisation, scales_weights: np.ndarray, output: Quantisation, weights: np.ndarray,
                    bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Multiplier and shift per output of a fully connected layer, which rounds once: float64 throughout, results too.

    (LiteRT's ``reference/integer_ops/fully_connected.h``.) ``weights`` are (outputs, inputs), ``bias`` int32: they say how far an
    accumulator reaches.
    """
    widest = max(127 - input.zero_point, 128 + input.zero_point)
    reach = np.abs(weights.astype(np.int64)).sum(axis=1) * widest + np.abs(bias.astype(np.int64))
    real = float(input.scale) * scales_weights.astype(np.float64) / float(output.scale)
    try:
        return round_once(np.broadcast_to(real, (len(weights),)), np.minimum(reach, (1 << 31) - 1), -128 - output.zero_point,
                          127 - output.zero_point)
    except ValueError as error:
        raise NetworkError(f"unsupported quantisation: {error}") from None


def product(scale_a: float, scale_b: float, scale_out: float) -> tuple[int, int]:
    """Multiplier and shift of a product with one scale each: the scales are multiplied in float32."""
    multiplier, shift = _multiplier(float(np.float32(scale_a) * np.float32(scale_b)) / float(scale_out))
    return int(multiplier), int(shift)


def requantise_operator(input: Quantisation, output: Quantisation, activation: str = "NONE") -> Requantise:
    """QUANTIZE from int8, and RELU, RELU6 as operators of their own."""
    multiplier, shift = _multiplier(float(np.float32(input.scale)) / float(np.float32(output.scale)))
    low, high = activation_range(activation, output)
    return Requantise(multiplier=int(multiplier), shift=int(shift), zero_in=input.zero_point, zero_out=output.zero_point, low=low,
                      high=high)


def exact_identity() -> tuple[int, int]:
    """Multiplier and shift of 1."""
    return 1 << 30, 1


def mean(input: Quantisation, output: Quantisation, count: int) -> tuple[int, int]:
    """Multiplier and shift that take a sum of ``count`` centred values to their mean (``QuantizedMeanOrSum``)."""
    multiplier, shift = (int(x) for x in _multiplier(float(np.float32(input.scale)) / float(np.float32(output.scale))))
    more = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << more) // count, shift - more


def add(a: Quantisation, b: Quantisation, output: Quantisation, activation: str = "NONE") -> Add:
    """The operator ADD (``add.cc``, ``reference/integer_ops/add.h``)."""
    twice = 2 * np.float32(max(a.scale, b.scale))
    first, second = (a, b) if a.scale >= b.scale else (b, a)
    real_out = float(twice) / float(np.float32(1 << ADD_SHIFT) * np.float32(output.scale))
    if not real_out < 1:
        raise NetworkError(f"unsupported quantisation: twice the larger input scale, {float(twice)}, must be less than 2**{ADD_SHIFT} "
                           f"output scales of {output.scale}")
    multiplier, shift = _multiplier(real_out)
    small, small_shift = _multiplier(float(np.float32(second.scale)) / float(twice))
    table = scale((np.arange(-128, 128) - second.zero_point) << ADD_SHIFT, small, small_shift)
    low, high = activation_range(activation, output)
    return Add(first=0 if first is a else 1, table=wrap32(table), bias=-(first.zero_point << (ADD_SHIFT - 1)), multiplier=int(multiplier),
               shift=int(shift), zero_out=output.zero_point, low=low, high=high)
