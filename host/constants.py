"""The block of constants that a program needs: weights, parameters, tables, in the order in which they are loaded."""

from __future__ import annotations

import numpy as np

from ..arch.config import Config
from ..arch.numerics import pack_int4

__all__ = ["Constants"]


class Constants:
    """Blocks one after the other, each from a bus word's start on, equal ones once."""

    def __init__(self, config: Config) -> None:
        self._alignment = config.bus_bytes
        self._packed = config.array.weights == "int4"
        self._blocks: list[np.ndarray] = []
        self._known: dict[bytes, int] = {}
        self._size = 0

    def weights(self, weights: np.ndarray) -> int:
        """Offset of weights, int8 of shape (…, width), in C order; where the accelerator's are int4, each row of them packed."""
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
