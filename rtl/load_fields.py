"""What the fields of a LOAD command say: its memories, and what is wrong with it."""

from collections.abc import Iterable

from amaranth import *
from amaranth.lib import data

from ..arch.commands import Bank, Load
from ..arch.config import Config
from ..arch.footprint import field_bits
from ..arch.registers import ErrorCode
from .decode import Decoder

__all__ = ["bank_lanes", "bank_of_words", "bank_rows", "load_decoder", "load_objection"]


def bank_lanes(config: Config) -> dict[Bank, int]:
    """Lanes of each bank that there is, in the order of their numbers: bytes of a row, channels of a group, words of a row."""
    return {Bank.ACTIVATION: config.activation_lanes, Bank.WEIGHT: config.weight_lanes,
            Bank.PARAMETER: config.epilogue.lanes, Bank.ACCUMULATOR: config.array.cols} | ({Bank.TABLE: 1} if config.epilogue.add else {})


def bank_rows(config: Config) -> dict[Bank, int]:
    """Rows of each bank that there is, in the order of their numbers."""
    rows = {Bank.ACTIVATION: config.activation_rows, Bank.WEIGHT: config.weight_rows,
            Bank.PARAMETER: config.parameter_groups, Bank.ACCUMULATOR: config.memory.accumulator_rows, Bank.TABLE: config.table_rows}
    return {bank: rows[bank] for bank in bank_lanes(config)}


def bank_of_words(bank: Value) -> Value:
    """Whether a bank has words instead of bytes: all but the scratchpads."""
    return bank[1:].any()


def load_decoder(config: Config, moving: Iterable[str] = ()) -> Decoder:
    """Of LOAD commands, with no more bits of a field than tell what it is or that it is too large."""
    return Decoder(Load, field_bits(config, Load), saturate={"lane": max(bank_lanes(config).values()).bit_length()},
                   moving=moving)


def load_objection(config: Config, command: data.View) -> Value:
    """UNSUPPORTED, VALUE or NONE: what the fields of a decoded :class:`Load` tell."""
    is_words = bank_of_words(command.bank)
    lanes = Mux(command.bank == Bank.ACTIVATION, config.activation_lanes, Mux(is_words, 1, config.weight_lanes))
    # Powers of four leave 1 when divided by 3, so the base-4 digits of a multiple of 3 add up to one.
    run = command.run[:field_bits(config, Load).get("run", len(command.run))]
    digits = [run[i:i + 2] for i in range(0, len(run), 2)]
    while len(digits) > 1:
        digits = [_add_modulo_3(a, b) for a, b in zip(digits[::2], digits[1::2], strict=False)] + digits[len(digits) & ~1:]
    by_three = (digits[0] == 0) | (digits[0] == 3)
    by_four = Cat(value[:2] for value in (command.run, command.offset, command.stride1, command.stride2))
    wrong = Cat(
        command.bank > max(Bank), command.count1 == 0, command.count2 == 0, command.run == 0, command.lane >= lanes,
        is_words & by_four.any(), (command.bank == Bank.PARAMETER) & ~by_three,
    ).any()
    absent = (command.bank == Bank.TABLE) & (not config.epilogue.add)
    return Mux(command.excess, ErrorCode.UNSUPPORTED,
               Mux(wrong, ErrorCode.VALUE, Mux(absent, ErrorCode.UNSUPPORTED, ErrorCode.NONE)))


def _add_modulo_3(a: Value, b: Value) -> Value:
    """Sum of two 2-bit numbers modulo 3, 3 standing for 0 as well: the carry out of two bits is worth 4, that is 1."""
    total = a + b
    return (total[:2] + total[2])[:2]
