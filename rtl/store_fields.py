"""Fields of STORE commands: how many bits of each are kept, and what is wrong with them."""

from collections.abc import Iterable

from amaranth import *
from amaranth.lib import data

from ..arch.commands import Operation, Store, Target, fields_of
from ..arch.config import Config
from ..arch.footprint import field_bits
from ..arch.registers import ErrorCode
from .decode import Decoder

__all__ = ["WINDOW_BITS", "store_decoder", "store_doubts", "store_objection"]

WINDOW_BITS = next(field.width for field in fields_of(Store) if field.name == "window")


def store_decoder(config: Config, moving: Iterable[str] = ()) -> Decoder:
    """Of STORE commands, with no more bits of a field than tell what it is or that it is too large."""
    lanes = max(config.activation_lanes, config.array.cols)
    return Decoder(Store, field_bits(config, Store), saturate={
        "columns": (config.array.cols + 1).bit_length(), "row": config.memory.accumulator_rows.bit_length(),
        "window_stride": config.half_rows.bit_length(),
        "parameter_group": config.parameter_groups.bit_length(), "lane": lanes.bit_length()},
        moving=moving, early=config.control.looks_ahead)


def store_doubts(config: Config, command: data.View) -> Value:
    """What may be wrong with the fields of a decoded :class:`Store`, one bit each, of which :func:`store_objection` tells the error."""
    local = command.target != Target.MEMORY
    lanes = Mux(command.target == Target.ACTIVATION, config.activation_lanes, config.weight_lanes)
    absent = {Operation.ADD: not config.epilogue.add, Operation.MAX_POOL: not config.epilogue.max_pool}
    unsupported = Cat(command.operation == operation for operation, lacks in absent.items() if lacks).any()
    return Cat(
        command.excess, unsupported,
        command.count1 == 0, command.count2 == 0, command.window == 0, command.columns == 0, command.columns > config.array.cols,
        command.target > max(Target), local & (command.lane >= lanes), command.low > command.high)


def store_objection(doubts: Value) -> Value:
    """VALUE, UNSUPPORTED or NONE. VALUE goes first, but for fields that are too large."""
    return Mux(doubts[0], ErrorCode.UNSUPPORTED,
               Mux(doubts[2:].any(), ErrorCode.VALUE, Mux(doubts[1], ErrorCode.UNSUPPORTED, ErrorCode.NONE)))
