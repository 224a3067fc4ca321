"""Commands that are alike in what matters to time, found in a program's words: NumPy goes through thousands of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .commands import Command, Execute, Load, Store, fields_of
from .config import Config

__all__ = ["WordMarks"]

# Rows of the accumulator, of which only the half matters, and the address behind a base register, of which its place in a block does.
_ROW = {Execute: "accumulator_row", Store: "row"}
_OFFSET = {Load: "offset", Store: "destination"}


class WordMarks:
    """Of each command its words without what does not matter to time.

    Parameters
    ----------
    block : mask of the bits of an address that matter
    fields : names of the fields that do, of each kind of command
    """

    def __init__(self, config: Config, block: int, fields: Mapping[type[Command], Sequence[str]]):
        self.half_rows, self.block = config.half_rows, block
        self.places = {kind: {field.name: field for field in fields_of(kind)} for kind in fields}
        self.masks: dict[type[Command], np.ndarray] = {}
        for kind, names in fields.items():
            mask = [0] * kind.words
            mask[0] = 15   # the opcode, so that no two kinds of command have the same words
            for name in names:
                field = self.places[kind][name]
                mask[field.word] |= (1 << field.width) - 1 << field.lsb
            self.masks[kind] = np.array(mask, np.uint32)

    def marks(self, program: Sequence[Command], words: np.ndarray, bases: Sequence[int]) -> list[bytes]:
        """One mark for each command of ``program``, of which ``words`` are the words; ``bases`` has all base registers."""
        lengths = np.fromiter([command.words for command in program], np.int64, len(program))
        starts = np.cumsum(lengths) - lengths
        opcodes = words[starts] & 15
        low = np.array([base & self.block for base in bases], np.uint32)
        result = [b""] * len(program)
        for kind, mask in self.masks.items():
            numbers = np.flatnonzero(opcodes == int(kind.opcode))
            rows = words[starts[numbers][:, None] + np.arange(kind.words)] & mask
            if kind in _ROW:
                field = self.places[kind][_ROW[kind]]
                bits = np.uint32((1 << field.width) - 1)
                first = rows[:, field.word] >> field.lsb & bits
                rows[:, field.word] = rows[:, field.word] & ~(bits << np.uint32(field.lsb)) | (first >= self.half_rows) << field.lsb
            if kind in _OFFSET:
                field, base = self.places[kind][_OFFSET[kind]], self.places[kind]["base"]
                bits = np.uint32((1 << base.width) - 1)
                number = rows[:, base.word] >> base.lsb & bits
                rows[:, field.word] = rows[:, field.word] + low[number] & self.block
                rows[:, base.word] &= ~(bits << np.uint32(base.lsb))
            data, size = rows.tobytes(), 4 * kind.words
            for number, at in zip(numbers.tolist(), range(0, len(data), size), strict=True):
                result[number] = data[at:at + size]
        return result
