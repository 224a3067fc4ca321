"""Post-training quantisation: a float network and a few inputs become an int8 network with TFLite's arithmetic.

Weights are symmetric per output channel, in [−127, 127]; activations are asymmetric per tensor, with a range that was seen on the
calibration inputs and always contains 0; biases are int32 at the scale of the accumulator; one multiplier and shift per channel
takes the accumulator to the next layer's scale. (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arch.numerics import quantize_multiplier
from ..arch.tiling import ConvShape
from .network import Conv2D, FullyConnected, Network, NetworkError, Quantisation, conv_patches

__all__ = ["FloatLayer", "forward", "quantise"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FloatLayer:
    """A float convolution (``weights`` HWIO) or, with two-dimensional ``weights``, a fully connected layer, then ReLU or nothing."""

    weights: np.ndarray
    bias: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    relu: bool = True

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(B, H, W, C) → (B, Y, X, channels out)."""
        weights = self.weights if self.weights.ndim == 4 else self.weights.reshape(*x.shape[1:], -1)
        ky, kx, cin, cout = weights.shape
        shape = ConvShape(height=x.shape[1], width=x.shape[2], channels=cin, filters=cout, kernel=(ky, kx), stride=self.stride,
                          padding=self.padding)
        patches = conv_patches(x, shape, 0.0)
        y = patches.reshape(*patches.shape[:3], -1) @ weights.reshape(-1, cout) + self.bias
        return np.maximum(y, 0) if self.relu else y


def forward(layers: Sequence[FloatLayer], x: np.ndarray) -> np.ndarray:
    """The float network's output for ``x`` (B, H, W, C)."""
    for layer in layers:
        x = layer(x)
    return x


def _activation_range(x: np.ndarray) -> Quantisation:
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    scale = (high - low) / 255 or 1.0
    return Quantisation(scale=scale, zero_point=int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def quantise(layers: Sequence[FloatLayer], calibration: np.ndarray) -> Network:
    """The int8 network nearest to ``layers``, with ranges taken from the ``calibration`` inputs (B, H, W, C), float.

    Raises
    ------
    NetworkError
        The calibration data is empty or not finite.
    """
    if calibration.ndim != 4 or not calibration.size or not np.isfinite(calibration).all():
        raise NetworkError(f"calibration must be finite numbers of shape (B, H, W, C), not shape {calibration.shape}")
    x = calibration
    first = source = _activation_range(x)
    quantised: list[Conv2D | FullyConnected] = []
    for layer in layers:
        x = layer(x)
        target = _activation_range(x)
        peak = np.abs(layer.weights).max(axis=tuple(range(layer.weights.ndim - 1))).astype(np.float64)
        scale = np.where(peak > 0, peak, 1.0) / 127
        multiplier, shift = quantize_multiplier(source.scale * scale / target.scale)
        bias = np.clip(np.rint(layer.bias / (source.scale * scale)), -2**31, 2**31 - 1)
        common: dict[str, Any] = {
            "weights": np.clip(np.rint(layer.weights / scale), -127, 127).astype(np.int8),
            "bias": bias.astype(np.int32), "multiplier": multiplier, "shift": shift,
            "zero_in": source.zero_point, "zero_out": target.zero_point,
            "low": target.zero_point if layer.relu else -128, "high": 127,
        }
        if layer.weights.ndim == 4:
            quantised.append(Conv2D(**common, stride=layer.stride, padding=layer.padding))
        else:
            quantised.append(FullyConnected(**common))
        source = target
    return Network(layers=tuple(quantised), input_shape=calibration.shape[1:], input=first, output=source)
