"""Configuration of one accelerator: every size that hardware, model, driver and planner must agree on.

A :class:`Config` is complete: each value is a number. Users write the few values that they care about, and :mod:`.settings` makes a
configuration of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from .commands import TABLE_WORDS

__all__ = ["ArrayConfig", "Config", "ConfigError", "ControlConfig", "EpilogueConfig", "MemoryConfig"]


class ConfigError(ValueError):
    """A configuration that cannot be built; the message names the value, the rule and what to do."""


SIDE_DSP_OF_SINGLE = "array.side_dsp must be false where array.multiplier comes to 'single'; 'fast-inner-product' takes it"


def _check_range(subject: str, value: Any, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{subject} must be a whole number, not {value!r}")
    if not low <= value <= high:
        raise ConfigError(f"{subject} must be from {low} to {high}, not {value!r}")


def _check_choice(subject: str, value: Any, choices: Iterable[Any]) -> None:
    choices = list(choices)
    if value not in choices or type(value) is not type(choices[0]):  # 40.0 and True are no whole numbers
        raise ConfigError(f"{subject} must be one of {', '.join(map(repr, choices))}, not {value!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """The systolic array: ``rows`` index K and ``cols`` index N.

    ``dataflow`` "ws" keeps weights in the array (weight-stationary), "os" the sums, of as many output rows at a time as there are
    ``rows`` (output-stationary): the same programs and results in other times.
    ``activations`` are "int8", or "int16" of which each takes two bytes, the low one first, in memory and on chip; results that are
    requantised are of the same type.
    ``weights`` "int4" packs two weights per byte in memory and on chip (:func:`~systolith.arch.numerics.pack_int4`).
    ``accumulator_bits`` is the width of one accumulator word: 32, or for int16 activations, whose sums may need more from 512 products on,
    40 or 48. ``transposer`` adds the rows × cols transposer on the weight preload path. ``multiplier`` "single" has one multiplier per
    row and column, "fast-inner-product" one per two rows and column, with the same results; "packed" one per row and two columns, and no
    weight is −128; "dual" one block of two multipliers per row and two columns, whose columns are adder trees without skew; "lut" is
    "single" without DSP blocks. Columns from ``dsp_cols`` on multiply in look-up tables; with ``side_dsp`` a fast inner product has DSP
    blocks, one per two rows, for the products of activations that it takes off too. "auto" is "single", or what fills a part
    (:func:`resolve`). After every ``block_rows`` rows of multipliers there is one more register in the partial sums: a cycle of latency,
    for parts that have their multipliers in blocks far apart; 0 is for none.
    """

    rows: int = 16
    cols: int = 16
    dataflow: str = "ws"
    activations: str = "int8"
    weights: str = "int8"
    multiplier: str = "auto"
    accumulator_bits: int = 32
    transposer: bool = True
    block_rows: int = 0
    dsp_cols: int = 256
    side_dsp: bool = False

    def __post_init__(self) -> None:
        _check_range("array.rows", self.rows, 1, 256)
        _check_range("array.cols", self.cols, 1, 256)
        _check_choice("array.dataflow", self.dataflow, ["ws", "os"])
        if self.dataflow == "os":
            if self.multiplier not in ("auto", "single", "lut"):
                raise ConfigError("array.multiplier must be 'auto', 'single' or 'lut' where array.dataflow is 'os', "
                                  f"not {self.multiplier!r}")
            if self.block_rows:
                raise ConfigError(f"array.block_rows must be 0 where array.dataflow is 'os', not {self.block_rows!r}")
        _check_choice("array.activations", self.activations, ["int8", "int16"])
        _check_choice("array.weights", self.weights, ["int8", "int4"])
        _check_choice("array.multiplier", self.multiplier, ["auto", "single", "fast-inner-product", "packed", "dual", "lut"])
        if self.activations == "int16":
            if self.multiplier not in ("auto", "single", "lut"):
                raise ConfigError("array.multiplier must be 'auto', 'single' or 'lut' where array.activations is 'int16', "
                                  f"not {self.multiplier!r}")
            if self.rows > 128:  # a byte lane has a field of 8 bits
                raise ConfigError(f"array.rows must be at most 128 where array.activations is 'int16', not {self.rows!r}")
        if self.multiplier in ("packed", "dual") and self.weights == "int4":
            raise ConfigError(f"array.multiplier must not be {self.multiplier!r} where array.weights is 'int4'; use 'fast-inner-product', "
                              "which has two MACs per DSP block as well")
        if self.multiplier == "fast-inner-product" and self.rows % 2:
            raise ConfigError(f"array.rows must be even where array.multiplier is 'fast-inner-product', not {self.rows!r}")
        _check_choice("array.accumulator_bits", self.accumulator_bits, [32, 40, 48])
        if self.accumulator_bits > 32 and (self.activations, self.dataflow) != ("int16", "ws"):
            raise ConfigError("array.accumulator_bits must be 32 unless array.activations is 'int16' and array.dataflow 'ws', "
                              f"not {self.accumulator_bits!r}")
        _check_choice("array.transposer", self.transposer, [True, False])
        _check_range("array.block_rows", self.block_rows, 0, 256)
        _check_range("array.dsp_cols", self.dsp_cols, 0, 256)
        _check_choice("array.side_dsp", self.side_dsp, [False, True])
        if self.side_dsp and self.multiplier not in ("auto", "fast-inner-product"):
            raise ConfigError(f"array.side_dsp must be false where array.multiplier is {self.multiplier!r}; 'fast-inner-product' takes it")

    @property
    def weight_bits(self) -> int:
        """Width of a weight."""
        return 4 if self.weights == "int4" else 8

    @property
    def activation_bytes(self) -> int:
        """Bytes of an activation."""
        return 2 if self.activations == "int16" else 1

    @property
    def weight_limits(self) -> tuple[int, int]:
        """The least and the largest weight that is multiplied exactly: packed ones are from −127 on."""
        packed = self.multiplier_kind == "packed" and self.dsp_columns > 1
        return (-1 << self.weight_bits - 1) + packed, (1 << self.weight_bits - 1) - 1

    @property
    def multiplier_kind(self) -> str:
        """``multiplier``, with "auto" decided; whether it has DSP blocks is ``dsp_columns``."""
        return "single" if self.multiplier in ("auto", "lut") else self.multiplier

    @property
    def dsp_columns(self) -> int:
        """Columns that multiply in DSP blocks, those on the left."""
        return 0 if self.multiplier == "lut" else min(self.cols, self.dsp_cols)

    @property
    def dsp_blocks(self) -> int:
        """Multipliers in DSP blocks."""
        side = self.side_dsp and self.multiplier_kind == "fast-inner-product"
        return self.multiplier_rows * (-(-self.dsp_columns // 2) if self.multiplier_kind == "packed" else self.dsp_columns + side)

    @property
    def col_delay(self) -> list[int]:
        """Cycles by which each column follows column 0: packed ones work in twos, trees all at once."""
        if self.multiplier_kind == "dual":
            return [0] * self.cols
        packed = self.dsp_columns // 2 if self.multiplier_kind == "packed" else 0
        return [c // 2 if c < 2 * packed else c - packed for c in range(self.cols)]

    @property
    def multiplier_rows(self) -> int:
        """Rows of multipliers."""
        return self.rows // 2 if self.multiplier_kind == "fast-inner-product" else self.rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """Scratchpads, accumulator and the bus to memory.

    ``accumulator_rows`` counts both halves. ``address_bits`` is how much of the 64-bit base registers is implemented.
    ``outstanding`` bounds the read bursts in flight, which hides latency; ``parameter_channels`` is how many channels'
    bias, multiplier and shift fit on chip. Without ``error_address`` a read that the memory answers with an error has no address.
    """

    activation_kib: int = 64
    weight_kib: int = 48
    accumulator_rows: int = 1024
    parameter_channels: int = 512
    bus_bits: int = 64
    address_bits: int = 32
    outstanding: int = 64
    error_address: bool = True

    def __post_init__(self) -> None:
        _check_range("memory.activation_kib", self.activation_kib, 1, 16384)
        _check_range("memory.weight_kib", self.weight_kib, 1, 16384)
        _check_choice("memory.accumulator_rows", self.accumulator_rows, [1 << n for n in range(4, 17)])
        _check_range("memory.parameter_channels", self.parameter_channels, 1, 65536)
        _check_choice("memory.bus_bits", self.bus_bits, [32, 64, 128, 256, 512])
        _check_range("memory.address_bits", self.address_bits, 16, 64)
        _check_choice("memory.outstanding", self.outstanding, [1 << n for n in range(10)])
        _check_choice("memory.error_address", self.error_address, [True, False])


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpilogueConfig:
    """``lanes`` outputs per cycle are requantised; ``multiplier`` says how: ``parallel`` (one product per cycle and lane)
    or ``serial`` (4 bits of the multiplier per cycle: 8 cycles per output, for parts without enough DSPs).

    ``add`` is the element-wise sum of two int8 tensors, with a table of 256 words per lane; ``max_pool`` the maximum over
    accumulator rows. Serial engines have neither, and arrays of int16 activations no ``add``.
    """

    lanes: int = 4
    multiplier: str = "parallel"
    add: bool = True
    max_pool: bool = True

    def __post_init__(self) -> None:
        _check_range("epilogue.lanes", self.lanes, 1, 64)
        _check_choice("epilogue.multiplier", self.multiplier, ["parallel", "serial"])
        _check_choice("epilogue.add", self.add, [True, False])
        _check_choice("epilogue.max_pool", self.max_pool, [True, False])

    def dsp_blocks(self, accumulator_bits: int) -> int:
        """Multipliers in DSP blocks: those of an accumulator's word and of 32 bits are of 18 × 18 or 16 × 16."""
        return 2 * -(-accumulator_bits // 16) * self.lanes if self.multiplier == "parallel" else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """Queues, tokens, loop nests and performance counters.

    ``queue_commands`` is how many commands of one engine may be waiting behind the one that runs: it is part of the
    contract, because a program that needs more look-ahead than that deadlocks. ``outer_loops`` 1, 2, 3 are channel tile,
    + kernel column, + kernel row; ``inner_loops`` 1, 2, 3 are x, + y, + batch. ``counter_bits`` 0 leaves out all counters
    but CYCLES. ``queue_programs`` is how many programs may wait behind the one that runs, with a second set of base registers;
    0 leaves the queue out. ``watchdog_bits`` is the width of WATCHDOG; 0 leaves it out, where memory cannot fail to answer.
    ``engines`` "serial" makes LOAD and STORE move one byte at a time, and all three do one command at a time, in a third of the area. Row
    numbers and counts have ``row_bits`` bits. ``padding`` False leaves out coordinates and pad injection. ``run_loops`` 1 leaves out the
    outer one of the two loops of LOAD and STORE. With ``line_rates`` a host can raise the rate of a serial shell's line.
    """

    queue_commands: int = 4
    token_bits: int = 6
    outer_loops: int = 3
    inner_loops: int = 3
    counter_bits: int = 32
    queue_programs: int = 4
    watchdog_bits: int = 24
    engines: str = "pipelined"
    row_bits: int = 16
    padding: bool = True
    run_loops: int = 2
    line_rates: bool = True

    def __post_init__(self) -> None:
        _check_choice("control.queue_commands", self.queue_commands, [2, 4, 8, 16])
        _check_range("control.token_bits", self.token_bits, 2, 16)
        _check_range("control.outer_loops", self.outer_loops, 1, 3)
        _check_range("control.inner_loops", self.inner_loops, 1, 3)
        _check_choice("control.counter_bits", self.counter_bits, [32, 0, 16, 24, 40, 48])
        _check_choice("control.queue_programs", self.queue_programs, [4, 0, 1, 2, 8])
        _check_choice("control.watchdog_bits", self.watchdog_bits, [24, 0, 16, 20, 28, 32])
        _check_choice("control.engines", self.engines, ["pipelined", "serial"])
        _check_range("control.row_bits", self.row_bits, 8, 16)
        _check_choice("control.padding", self.padding, [True, False])
        _check_range("control.run_loops", self.run_loops, 1, 2)
        _check_choice("control.line_rates", self.line_rates, [True, False])

    @property
    def looks_ahead(self) -> bool:
        """EXECUTE decodes and preloads the next command while the rows of one are being issued."""
        return self.engines == "pipelined"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One accelerator, complete. Make it with :func:`~systolith.arch.settings.resolve`.

    Raises
    ------
    ConfigError
        A value breaks its rule, or the sizes do not fit each other.
    """

    array: ArrayConfig = dataclasses.field(default_factory=ArrayConfig)
    memory: MemoryConfig = dataclasses.field(default_factory=MemoryConfig)
    epilogue: EpilogueConfig = dataclasses.field(default_factory=EpilogueConfig)
    control: ControlConfig = dataclasses.field(default_factory=ControlConfig)
    shell: str = "axi"

    def __post_init__(self) -> None:
        _check_choice("shell", self.shell, ["axi", "native", "serial"])
        for name, kib, rows, need in (
                ("activation", self.memory.activation_kib, self.activation_rows, 2),
                ("weight", self.memory.weight_kib, self.weight_rows, 2 * self.array.rows)):
            if rows > 65536:
                raise ConfigError(f"memory.{name}_kib must give at most 65536 rows, not {rows}; make it smaller than {kib}")
            if rows < need:
                raise ConfigError(f"memory.{name}_kib must give at least {need} rows, not {rows}; make it larger than {kib}")
        limit = min(self.array.cols, self.bus_bytes // self.array.activation_bytes)
        if self.epilogue.lanes > limit:
            bus = "the bus bytes" if self.array.activation_bytes == 1 else "half the bus bytes"
            raise ConfigError(f"epilogue.lanes must be at most array.cols and {bus}, here {limit}, not {self.epilogue.lanes}")
        if self.array.side_dsp and self.array.multiplier_kind != "fast-inner-product":  # of "auto", where it is decided
            raise ConfigError(SIDE_DSP_OF_SINGLE)
        if self.epilogue.add and self.array.activations == "int16":  # its table is of int8 operands
            raise ConfigError("epilogue.add must be False where array.activations is 'int16', not True")

        rows = max(self.activation_rows, self.weight_rows, self.memory.accumulator_rows, self.parameter_groups, self.table_rows)
        # One number more than there are rows, so that a row outside is seen to be outside; 16 bits are all that a field has.
        if rows >> self.control.row_bits and self.control.row_bits < 16:
            raise ConfigError(f"control.row_bits must be at least {rows.bit_length()} for {rows} rows, not {self.control.row_bits!r}")
        if self.control.engines == "serial" and self.array.dataflow == "os":
            raise ConfigError("array.dataflow must be 'ws' where control.engines is 'serial', not 'os'")
        if self.array.accumulator_bits > 32 and (self.control.engines, self.epilogue.multiplier) != ("pipelined", "parallel"):
            raise ConfigError("array.accumulator_bits must be 32 unless control.engines is 'pipelined' and epilogue.multiplier 'parallel', "
                              f"not {self.array.accumulator_bits!r}")
        if self.control.engines == "serial" and self.epilogue.lanes > 1:
            raise ConfigError(f"epilogue.lanes must be 1 where control.engines is 'serial', not {self.epilogue.lanes!r}")
        for name in ("add", "max_pool"):
            if self.control.engines == "serial" and getattr(self.epilogue, name):
                raise ConfigError(f"epilogue.{name} must be False where control.engines is 'serial', not True")

    # Derived sizes. One scratchpad row is one vector for the array: ``rows`` activations or ``cols`` weights.

    @property
    def bus_bytes(self) -> int:
        return self.memory.bus_bits // 8

    @property
    def activation_rows(self) -> int:
        """Rows of the activation scratchpad, each ``activation_lanes`` bytes."""
        return self.memory.activation_kib * 1024 // self.activation_lanes

    @property
    def activation_lanes(self) -> int:
        """Bytes of a row of the activation scratchpad, which holds ``array.rows`` activations."""
        return self.array.rows * self.array.activation_bytes

    @property
    def weight_rows(self) -> int:
        """Rows of the weight scratchpad, each ``weight_lanes`` bytes."""
        return self.memory.weight_kib * 1024 // self.weight_lanes

    def weight_bytes(self, count: int) -> int:
        """Bytes that ``count`` weights take, one behind the other from a byte's start on."""
        return -(-count * self.array.weight_bits // 8)

    @property
    def weight_lanes(self) -> int:
        """Bytes of a row of the weight scratchpad, which holds ``array.cols`` weights."""
        return self.weight_bytes(self.array.cols)

    @property
    def half_rows(self) -> int:
        """Rows of one accumulator half, each ``array.cols`` words."""
        return self.memory.accumulator_rows // 2

    @property
    def parameter_groups(self) -> int:
        """Groups of ``epilogue.lanes`` channels in the parameter memory."""
        return -(-self.memory.parameter_channels // self.epilogue.lanes)

    @property
    def table_rows(self) -> int:
        """Words of the table of ADD."""
        return TABLE_WORDS if self.epilogue.add else 0

    @property
    def offset_bits(self) -> int:
        """Bits of an offset from a base register: sums of offset and strides are modulo 2**offset_bits."""
        return min(32, self.memory.address_bits)

    def write_bytes(self, lanes: int) -> int:
        """Most bytes that LOAD or STORE write at once into a scratchpad of ``lanes`` lanes."""
        return 1 if self.control.engines == "serial" else min(self.bus_bytes, lanes)

    @property
    def raw_lanes(self) -> int:
        """Accumulator words per cycle of a raw store: what the bus carries, and no more than the epilogue's lanes."""
        return min(self.epilogue.lanes, self.bus_bytes // 4)

    @property
    def macs_per_cycle(self) -> int:
        return self.array.rows * self.array.cols

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
