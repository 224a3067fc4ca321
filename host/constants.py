"""The block of constants that a program needs: weights, parameters, tables, in the order in which they are loaded."""

from __future__ import annotations

import numpy as np

from ..arch.config import Config
from ..arch.numerics import pack_int4
from ..arch.tiling import PlanError

__all__ = ["Constants", "check_results_as_weights", "check_weights"]


def check_weights(config: Config, weights: np.ndarray) -> str:
    """What is wrong with weights for this array's multipliers, in one line; empty if nothing is."""
    low, high = config.array.weight_limits
    outside = weights[(weights < low) | (weights > high)]
    key = "multiplier" if config.array.weights == "int8" else "weights"
    return (f"weights must be from {low} to {high} where array.{key} is {getattr(config.array, key)!r}, not {int(outside[0])}"
            if outside.size else "")


def check_results_as_weights(config: Config) -> None:
    """Raise :class:`PlanError` where results, which may be any int8, cannot be weights."""
    if config.array.weights != "int8":
        raise PlanError(f"array.weights must be 'int8' for a product of two tensors, not {config.array.weights!r}")
    if config.array.weight_limits[0] > -128:
        raise PlanError(f"array.multiplier must not be {config.array.multiplier!r} for products of two tensors, which may hold −128")


class Constants:
    """Blocks one after the other, each from a bus word's start on, equal ones once."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._alignment = config.bus_bytes
        self._packed = config.array.weights == "int4"
        self._blocks: list[np.ndarray] = []
        self._known: dict[bytes, int] = {}
        self._size = 0

    def weights(self, weights: np.ndarray) -> int:
        """Offset of weights, int8 of shape (…, width), in C order; where the accelerator's are int4, each row of them packed.

        Raises :class:`PlanError` where the array has no such weights.
        """
        wrong = check_weights(self._config, weights)
        if wrong:
            raise PlanError(wrong)
        return self.octets(pack_int4(weights) if self._packed else weights)

    def octets(self, values: np.ndarray) -> int:
        """Offset of 8-bit values, in C order."""
        return self._place(np.ascontiguousarray(values).reshape(-1).view(np.uint8))

    def parameters(self, bias: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> int:
        """Offset of the epilogue's parameters: 12 bytes per channel."""
        return self._place(np.stack([bias, multiplier, shift], axis=-1).astype("<i4").view(np.uint8).ravel())

    def words(self, words: np.ndarray) -> int:
        """Offset of int32 words."""
        return self._place(words.astype("<i4").view(np.uint8))

    def _place(self, block: np.ndarray) -> int:
        key = block.tobytes()
        if key not in self._known:
            padding = -block.size % self._alignment
            self._known[key] = self._size
            self._blocks.append(np.pad(block, (0, padding)))
            self._size += block.size + padding
        return self._known[key]

    @property
    def block(self) -> np.ndarray:
        """All of them, uint8."""
        return np.concatenate([np.zeros(0, np.uint8), *self._blocks])
