"""The command set: LOAD, EXECUTE and STORE as 32-bit words, defined once for RTL, model, driver and documents.

A program is a sequence of commands, each a header word and a fixed number of payload words. Every field has a place
(word, least significant bit, width) given in the metadata of its dataclass field; :func:`pack`, :func:`unpack`, the RTL's
decoders and the documents read it from there.

Row arithmetic is modulo 2**16: an address is the sum of base and strides modulo 2**16, then compared with the depth of
the memory. Offsets in memory are modulo 2**32 from a base register. Counts are stored as they are and must not be zero.
A small accelerator has fewer bits than that, ``control.row_bits`` and ``memory.address_bits``.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, ClassVar, NamedTuple

import numpy as np

__all__ = ["COMMANDS", "COMMAND_SET_VERSION", "Bank", "Command", "Engine", "Execute", "Field", "Load", "Opcode",
           "Operation", "ProgramError", "Store", "fields_of", "int16_fields", "pack", "signed16", "unpack"]

COMMAND_SET_VERSION = 2
PARAMETER_WORDS = 3  # 32-bit words per channel in memory: bias, multiplier, shift
TABLE_WORDS = 256    # of a lookup table: one for each byte


class ProgramError(ValueError):
    """Words that are not a program, or a field value that does not fit its place."""


class Engine(enum.IntEnum):
    """Engines, as error registers name them."""
    NONE = 0
    LOAD = 1
    EXECUTE = 2
    STORE = 3
    FETCH = 4


class Opcode(enum.IntEnum):
    LOAD = 1
    EXECUTE = 2
    STORE = 3


class Bank(enum.IntEnum):
    """On-chip memories that LOAD writes."""
    ACTIVATION = 0
    WEIGHT = 1
    PARAMETER = 2
    ACCUMULATOR = 3
    TABLE = 4


class Target(enum.IntEnum):
    """What STORE writes."""
    MEMORY = 0
    ACTIVATION = 1
    WEIGHT = 2


class Operation(enum.IntEnum):
    """What STORE does on the way."""
    RAW = 0
    REQUANTISE = 1
    ADD = 2
    MAX_POOL = 3


# Order of the two peers in an engine's wait and post masks (bit 0, bit 1).
PEERS: dict[Engine, tuple[Engine, Engine]] = {
    Engine.LOAD: (Engine.EXECUTE, Engine.STORE),
    Engine.EXECUTE: (Engine.LOAD, Engine.STORE),
    Engine.STORE: (Engine.LOAD, Engine.EXECUTE),
}


class Field(NamedTuple):
    """Where a value stands in a command."""
    name: str
    word: int
    lsb: int
    width: int
    signed: bool
    choices: type[enum.IntEnum] | None
    doc: str


def _at(word: int, lsb: int, width: int, doc: str, *, signed: bool = False, default: int = 0,
        choices: type[enum.IntEnum] | None = None) -> Any:
    return dataclasses.field(default=default, metadata={
        "word": word, "lsb": lsb, "width": width, "signed": signed, "choices": choices, "doc": doc})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """What every command has: whom it waits for, and whom it tells when it is done (:data:`PEERS` gives the bit order)."""

    opcode: ClassVar[Opcode]
    words: ClassVar[int]

    wait: int = _at(0, 4, 2, "take one token from each peer in the mask before starting")
    post: int = _at(0, 6, 2, "give one token to each peer in the mask when complete")

    def __post_init__(self) -> None:
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            low, high = (-(1 << field.width - 1), (1 << field.width - 1) - 1) if field.signed else (0, (1 << field.width) - 1)
            if not low <= value <= high:
                raise ProgramError(f"{self.opcode.name} {field.name} must be from {low} to {high}, not {value!r}")

    @property
    def engine(self) -> Engine:
        return Engine(int(self.opcode))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load(Command):
    """Memory to scratchpad, parameters, accumulator or table: count2 × count1 runs of ``run`` bytes.

    Run (i2, i1) starts at byte ``offset + i2·stride2 + i1·stride1`` from the base register and lands at row
    ``row + i2·row_stride2 + i1·row_stride1``, byte lane ``lane``; it goes on into the following rows without a gap. A row is
    ``rows`` bytes (activations; of int16 activations twice as many), ``cols`` bytes (weights; of int4 weights half as many, rounded up:
    :func:`systolith.arch.numerics.pack_int4`), ``cols`` int32 words (accumulator, whose own may be wider), one group of ``lanes``
    channels of 12 bytes (parameters: bias, multiplier, shift) or one int32 word (table: 256 rows, written to every lane's copy at once).
    For accumulator, parameters and table, lane must be 0, run a multiple of 4, 12 or 4, and offset and strides multiples of 4.
    """

    opcode = Opcode.LOAD
    words = 8

    bank: int = _at(0, 16, 3, "memory that is written", choices=Bank)
    base: int = _at(0, 19, 3, "base register")
    offset: int = _at(1, 0, 32, "first byte, from the base register")
    run: int = _at(2, 0, 24, "bytes in a run", default=1)
    lane: int = _at(2, 24, 8, "byte lane of each run's first byte")
    count1: int = _at(3, 0, 16, "runs in the inner dimension", default=1)
    count2: int = _at(3, 16, 16, "repetitions of the inner dimension", default=1)
    stride1: int = _at(4, 0, 32, "bytes from run to run", signed=True)
    stride2: int = _at(5, 0, 32, "bytes from repetition to repetition", signed=True)
    row: int = _at(6, 0, 16, "first row")
    row_stride1: int = _at(7, 0, 16, "rows from run to run", signed=True)
    row_stride2: int = _at(7, 16, 16, "rows from repetition to repetition", signed=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execute(Command):
    """Stream activations through the array, weight tile after weight tile, into the accumulator.

    For every weight tile (ky, kx, ct), outermost first, and for every output row (b, y, x) within it::

        w = weight_row + ky·weight_ky + kx·weight_kx + ct·weight_ct           # + i·weight_stride for the tile's vector i
        a = activation_row + ct·activation_ct + ky·activation_ky + kx·activation_kx
                           + b·activation_b + y·activation_y + x·activation_x
        inside = (y_origin + y·y_step + ky·y_dilation) mod 2**16 < height and the same for x and width
        accumulator[accumulator_row + (b·y_count + y)·x_count + x] (+)= (inside ? activation[a] : pad) · tile

    The first tile overwrites unless ``accumulate``. A tile has ``rows`` valid K rows, the last channel tile ``k_last``; rows
    beyond count as zero. Plain tiles read one weight row per valid K row. With ``transpose``, vector n (one per column) is
    ``rows`` weights, ceil(rows ÷ cols) weight rows from ``w + n·weight_stride`` on, and becomes column n of the tile.
    All output rows must lie in one accumulator half.
    """

    opcode = Opcode.EXECUTE
    words = 14

    accumulate: int = _at(0, 16, 1, "the first tile adds to what the accumulator holds")
    transpose: int = _at(0, 17, 1, "weight vectors are columns")
    weight_row: int = _at(1, 0, 16, "first row of the first weight tile")
    weight_stride: int = _at(1, 16, 16, "rows from vector to vector of a tile", signed=True, default=1)
    activation_row: int = _at(2, 0, 16, "row of output row 0, tap 0 (may lie outside where padding is injected)")
    accumulator_row: int = _at(2, 16, 16, "row of output row 0")
    pad: int = _at(3, 0, 8, "value of activations outside the tensor; int8, whatever they are", signed=True)
    k_last: int = _at(3, 16, 16, "valid K rows of the last channel tile, 1 to rows", default=1)
    ky_count: int = _at(4, 0, 8, "kernel rows", default=1)
    kx_count: int = _at(4, 8, 8, "kernel columns", default=1)
    ct_count: int = _at(4, 16, 16, "channel tiles", default=1)
    weight_ky: int = _at(5, 0, 16, "weight rows per kernel row", signed=True)
    weight_kx: int = _at(5, 16, 16, "weight rows per kernel column", signed=True)
    weight_ct: int = _at(6, 0, 16, "weight rows per channel tile", signed=True)
    activation_ct: int = _at(6, 16, 16, "activation rows per channel tile", signed=True)
    activation_ky: int = _at(7, 0, 16, "activation rows per kernel row", signed=True)
    activation_kx: int = _at(7, 16, 16, "activation rows per kernel column", signed=True)
    x_count: int = _at(8, 0, 16, "output columns", default=1)
    y_count: int = _at(8, 16, 16, "output rows", default=1)
    b_count: int = _at(9, 0, 16, "images", default=1)
    activation_b: int = _at(9, 16, 16, "activation rows per image", signed=True)
    activation_y: int = _at(10, 0, 16, "activation rows per output row", signed=True)
    activation_x: int = _at(10, 16, 16, "activation rows per output column", signed=True)
    y_origin: int = _at(11, 0, 16, "y of output row 0, tap 0", signed=True)
    x_origin: int = _at(11, 16, 16, "x of output column 0, tap 0", signed=True)
    y_step: int = _at(12, 0, 8, "y per output row (the stride)")
    x_step: int = _at(12, 8, 8, "x per output column")
    y_dilation: int = _at(12, 16, 8, "y per kernel row")
    x_dilation: int = _at(12, 24, 8, "x per kernel column")
    height: int = _at(13, 0, 16, "rows of the tensor", default=1)
    width: int = _at(13, 16, 16, "columns of the tensor", default=65535)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Store(Command):
    """Accumulator rows through the epilogue to memory or a scratchpad.

    Row n = i2·count1 + i1 of the result is column for column the maximum of ``window`` accumulator rows,
    ``row + n + j·window_stride`` with j = 0 … ``window`` − 1, columns 0 … ``columns`` − 1. It goes to ``i2·stride2 + i1·stride1`` from
    ``destination``: bytes from the base register for memory, rows for a scratchpad (first byte in ``lane``, running on into the next
    row; where weights are int4, a byte of the weight scratchpad is two of them). All accumulator rows must lie in one half; their numbers
    are not modulo anything. What becomes of a value v, with the parameters of group ``parameter_group`` onwards (bias, multiplier,
    shift, one of each per column):

    - RAW: int32, little endian, v plus the bias where ``bias`` is set, modulo 2**32 whatever width accumulators have;
    - REQUANTISE: int8, ``requantise(v + bias, multiplier, shift)``, with ``zero_point``, ``low`` and ``high``
      (:func:`systolith.arch.numerics.requantise`); where activations are int16, int16 without a zero point, clamped to
      :attr:`int16_limits`;
    - ADD: v = x1 − 256·x2 holds two int8 operands; ``requantise((x1 << 19) + table[−x2 mod 256], multiplier, shift)``, without bias
      (:func:`systolith.arch.numerics.add`);
    - MAX_POOL: ``v + zero_point``, clamped to ``low`` … ``high``, without parameters; int16 where REQUANTISE is. (It is no condition for a
      window: REQUANTISE with a window pools the outputs of a layer in the same step, since requantisation never reverses an order.)
    """

    opcode = Opcode.STORE
    words = 8

    operation: int = _at(0, 16, 2, "what is done to each value", choices=Operation)
    target: int = _at(0, 18, 2, "what is written", choices=Target)
    base: int = _at(0, 20, 3, "base register")
    bias: int = _at(0, 23, 1, "RAW adds the bias")
    window: int = _at(0, 24, 8, "accumulator rows of which each result is the maximum", default=1)
    row: int = _at(1, 0, 16, "first accumulator row")
    columns: int = _at(1, 16, 16, "columns of each row, 1 to cols", default=1)
    count1: int = _at(2, 0, 16, "rows in the inner dimension", default=1)
    count2: int = _at(2, 16, 16, "repetitions of the inner dimension", default=1)
    destination: int = _at(3, 0, 32, "byte offset in memory, or row of the scratchpad")
    stride1: int = _at(4, 0, 32, "bytes or rows from row to row", signed=True)
    stride2: int = _at(5, 0, 32, "bytes or rows from repetition to repetition", signed=True)
    zero_point: int = _at(6, 0, 8, "added after scaling", signed=True)
    low: int = _at(6, 8, 8, "smallest result", signed=True, default=-128)
    high: int = _at(6, 16, 8, "largest result", signed=True, default=127)
    lane: int = _at(6, 24, 8, "byte lane of each row's first byte in a scratchpad")
    parameter_group: int = _at(7, 0, 16, "group of the first column's parameters")
    window_stride: int = _at(7, 16, 16, "accumulator rows from one row of a window to the next")

    @property
    def int16_limits(self) -> tuple[int, int]:
        """Smallest and largest int16 result: 256·low, and 256·high + 255 less the zero point, of which there is none, modulo 256."""
        return self.low << 8, (self.high << 8) + 255 - self.zero_point % 256


def int16_fields(low: int, high: int) -> dict[str, int]:
    """The fields of a STORE with these :attr:`Store.int16_limits`; the lower one a multiple of 256."""
    if low % 256:
        raise ProgramError(f"low must be a multiple of 256 where activations are int16, not {low!r}")
    return {"low": low >> 8, "high": high >> 8, "zero_point": (~high & 255 ^ 128) - 128}


COMMANDS: dict[Opcode, type[Command]] = {Opcode.LOAD: Load, Opcode.EXECUTE: Execute, Opcode.STORE: Store}
MAX_WORDS = max(command.words for command in COMMANDS.values())


def fields_of(command: type[Command]) -> tuple[Field, ...]:
    """Fields of a command type with their places, header mask bits included."""
    if command.opcode not in _FIELDS:
        _FIELDS[command.opcode] = tuple(Field(f.name, **f.metadata) for f in dataclasses.fields(command))
    return _FIELDS[command.opcode]


_FIELDS: dict[Opcode, tuple[Field, ...]] = {}


def signed16(value: int) -> int:
    """A number of rows modulo 2**16 as the signed field that holds it."""
    return (value + 0x8000) % 0x10000 - 0x8000


def pack(program: list[Command]) -> np.ndarray:
    """The words of a program, uint32, shape (words,). Header: opcode [3:0], wait [5:4], post [7:6], words [15:8], flags."""
    words: list[int] = []
    for command in program:
        block = [0] * command.words
        block[0] = int(command.opcode) | command.words << 8
        for field in fields_of(type(command)):
            block[field.word] |= (int(getattr(command, field.name)) & (1 << field.width) - 1) << field.lsb
        words += block
    return np.array(words, dtype=np.uint32)


def unpack(words: np.ndarray) -> list[Command]:
    """The program in ``words``; raises :class:`ProgramError` where a command is unknown, of wrong length or cut off."""
    program: list[Command] = []
    values = [int(word) for word in words]
    position = 0
    while position < len(values):
        header = values[position]
        if header & 15 not in COMMANDS:
            raise ProgramError(f"word {position}: opcode must be one of 1, 2, 3, not {header & 15}")
        kind = COMMANDS[Opcode(header & 15)]
        if header >> 8 & 255 != kind.words:
            raise ProgramError(f"word {position}: {kind.opcode.name} must have {kind.words} words, not {header >> 8 & 255}")
        block = values[position:position + kind.words]
        if len(block) < kind.words:
            raise ProgramError(f"word {position}: the program ends inside {kind.opcode.name}")
        arguments = {}
        for field in fields_of(kind):
            value = block[field.word] >> field.lsb & (1 << field.width) - 1
            arguments[field.name] = value - (1 << field.width) if field.signed and value >> field.width - 1 else value
        program.append(kind(**arguments))
        position += kind.words
    return program
