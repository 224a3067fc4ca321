"""A network as matrix products alone, for accelerators that have no more: the host makes the patches of convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .accelerator import Accelerator, accumulate
from .errors import NetworkError
from .matmul import Requantise
from .network import Network
from .weighted import conv_patches

__all__ = ["infer_by_products"]


def infer_by_products(accelerator: Accelerator, network: Network, x: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Output (B, Y, X, channels out) and summed counters of ``network`` on int8 inputs ``x``, one product for each layer.

    The zero point of a layer's input is in its bias: Σ (x − z) · w = Σ x · w − z · Σ w, with patches padded by z. Raises
    :class:`NetworkError` where weights are wider than int8.
    """
    counters: dict[str, Any] = {}
    for layer, geometry in zip(network.layers, network.shapes, strict=True):
        if layer.weights.dtype != np.int8:
            raise NetworkError("weights must be int8 where control.padding is false; quantise them without a zero point of their own")
        image = x.reshape(len(x), geometry.height, geometry.width, geometry.channels)
        patches = conv_patches(image, geometry, layer.zero_in)
        weights = layer.weights.reshape(-1, geometry.filters)
        bias = layer.bias.astype(np.int64) - layer.zero_in * weights.sum(axis=0, dtype=np.int64)
        x = accelerator.matmul(
            np.ascontiguousarray(patches).reshape(-1, len(weights)), weights, bias.astype(np.int32),
            Requantise(multiplier=layer.multiplier, shift=layer.shift, zero_point=layer.zero_out, low=layer.low, high=layer.high))
        x = x.reshape(len(x) // geometry.output_pixels, *geometry.output_size, geometry.filters)
        accumulate(counters, accelerator.counters)
    return x, counters
