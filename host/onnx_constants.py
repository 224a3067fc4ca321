"""Constants of an ONNX file: integers with scales and zero points, and the numbers that they mean."""

from __future__ import annotations

import math

import numpy as np

from .errors import NetworkError
from .onnx_values import Constant, Pending, Value

__all__ = ["checked_scale", "dequantised_constant", "described", "real_array"]


def checked_scale(array: np.ndarray) -> float:
    """The scale as Python's float; positive and finite."""
    scale = float(array.reshape(-1)[0])
    if not (math.isfinite(scale) and scale > 0):
        raise NetworkError(f"scale must be positive and finite, not {scale!r}")
    return scale


def dequantised_constant(value: Constant, scale: Value | None, zero: Value | None, axis: int) -> Constant:
    """A constant of integers with what they mean; ``axis`` is that of scales per channel."""
    array = value.array
    if value.scale is not None or array.dtype not in (np.int8, np.uint8, np.int32):
        raise NetworkError(f"constant must be int8, uint8 or int32, not {described(value)}")
    if not isinstance(scale, Constant) or scale.array.dtype != np.float32 or not scale.array.size:
        raise NetworkError(f"scale must be a constant float32, not {described(scale)}")
    scales = scale.array.reshape(-1)
    if not np.all(np.isfinite(scales) & (scales > 0)):
        raise NetworkError(f"scales must be positive and finite, not {float(scales.min())!r}")
    if zero is None:
        zeros = np.zeros(scales.shape, array.dtype)
    elif isinstance(zero, Constant) and zero.array.dtype == array.dtype and zero.array.size in (1, scales.size):
        zeros = np.broadcast_to(zero.array.reshape(-1), scales.shape)
    else:
        raise NetworkError(f"zero point must be constant {array.dtype}, one or as many as there are scales, not {described(zero)}")
    if scales.size == 1:
        return Constant(array, scales, zeros, None)
    if not -array.ndim <= axis < array.ndim or array.shape[axis] != scales.size:
        raise NetworkError(f"there must be one scale, or one for each of axis {axis} of {array.shape}, not {scales.size}")
    return Constant(array, scales, zeros, axis % array.ndim)


def real_array(value: Constant) -> np.ndarray:
    """The numbers that a constant stands for."""
    if value.scale is None or value.zero is None:
        return value.array
    along = tuple(-1 if i == value.axis else 1 for i in range(value.array.ndim)) if value.axis is not None else ()
    return (value.array.astype(np.float32) - value.zero.astype(np.float32).reshape(along)) * value.scale.reshape(along)


def described(value: Value | None) -> str:
    """For messages."""
    if value is None:
        return "absent"
    if isinstance(value, Constant):
        return f"a constant {value.array.dtype} of shape {value.array.shape}" + (", dequantised" if value.scale is not None else "")
    if isinstance(value, Pending):
        return f"the float result of {value.node.where}"
    return f"a {'dequantised' if value.real and value.quantisation is not None else value.dtype} tensor of shape {value.shape}"
