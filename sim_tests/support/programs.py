"""Programs of random bits, and valid ones with some bits inverted."""

import numpy as np
from systolith.arch.commands import Execute, Load, Opcode, Store

__all__ = ["flip_bits", "random_bits"]


def random_bits(rng: np.random.Generator, *, words: int) -> np.ndarray:
    """``words`` random words; most programs begin with headers that are nearly right, so that engines are reached."""
    bits = rng.integers(0, 1 << 32, words, dtype=np.uint32)
    position = 0
    lengths = {Opcode.LOAD: Load.words, Opcode.EXECUTE: Execute.words, Opcode.STORE: Store.words}
    while position < words and rng.random() < 0.9:
        opcode = Opcode(int(rng.integers(1, 4)))
        bits[position] = (int(bits[position]) & 0xFFFF0000) | lengths[opcode] << 8 | int(opcode)
        if opcode == Opcode.STORE and rng.random() < 0.7:
            bits[position] &= np.uint32(0x03FFFFFF)  # windows of few rows
        if rng.random() < 0.5:
            bits[position] |= np.uint32(int(rng.integers(0, 16)) << 4)
        if rng.random() < 0.7:  # small values pass more checks than random ones
            mask = np.uint32(0x001F001F)
            bits[position + 1:position + lengths[opcode]] &= mask
        position += lengths[opcode]
    return bits


def flip_bits(rng: np.random.Generator, words: np.ndarray, *, flips: int) -> np.ndarray:
    """``words`` with ``flips`` random bits inverted: wrong deep inside, where random words do not come."""
    flipped = words.copy()
    for position, bit in zip(rng.integers(0, words.size, flips), rng.integers(0, 32, flips), strict=True):
        flipped[position] ^= np.uint32(1 << int(bit))
    return flipped
