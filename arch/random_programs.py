"""Random programs whose tokens order everything they touch: what model, simulation and hardware must agree on."""

from __future__ import annotations

import numpy as np

from . import footprint
from .commands import Bank, Command, Execute, Load, Operation, Store, Target
from .config import Config
from .program import Program, Region
from .registers import ErrorCode

__all__ = ["fill_program", "random_program"]


def _regions(space, places) -> list[Region]:
    """Places as intervals."""
    places = np.unique(places)
    breaks = np.flatnonzero(np.diff(places) != 1)
    starts = np.concatenate(([0], breaks + 1))
    stops = np.concatenate((breaks, [len(places) - 1]))
    return [Region(space, int(places[a]), int(places[b]) + 1) for a, b in zip(starts, stops, strict=True)]


def _depth(config: Config, bank: int) -> int:
    return {Bank.ACTIVATION: config.activation_rows, Bank.WEIGHT: config.weight_rows, Bank.PARAMETER: config.parameter_groups,
            Bank.ACCUMULATOR: config.memory.accumulator_rows, Bank.TABLE: config.table_rows}[Bank(bank)]


def _bytes_touched(offsets: np.ndarray, run: int) -> np.ndarray:
    return (offsets[:, None] + np.arange(run)).ravel()


class _Source:
    """Draws commands until one is inside every limit."""

    def __init__(self, rng: np.random.Generator, config: Config, region_bytes: int):
        self.rng = rng
        self.config = config
        self.region_bytes = region_bytes

    def below(self, high: int) -> int:
        """0 … high − 1, small ones more often, so that commands meet."""
        return int(self.rng.integers(0, max(1, high if self.rng.random() < 0.3 else min(high, 24))))

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def load(self) -> tuple[Load, list[Region], list[Region]] | None:
        config = self.config
        bank = Bank(self.number(0, max(Bank) if config.epilogue.add else Bank.ACCUMULATOR))
        unit = footprint.word_bytes(Load(bank=bank))
        align = 1 if unit == 1 else 4
        width = footprint.load_row_bytes(config, Load(bank=bank))
        command = Load(
            bank=bank, base=1, offset=self.number(0, self.region_bytes // align - 1) * align,
            run=self.number(1, 5 * width // unit + 2) * unit, lane=self.below(min(width, 256)) if unit == 1 else 0,
            count1=self.number(1, 6), count2=self.number(1, 3),
            stride1=self.number(-40, 200) * align, stride2=self.number(-60, 400) * align,
            row=self.below(_depth(config, bank)), row_stride1=self.number(-2, 8), row_stride2=self.number(-8, 20))
        runs = np.arange(footprint.run_count(command))
        offsets, rows = footprint.memory_offsets(command, runs), footprint.load_rows(config, command, runs)
        if offsets.max() + command.run > self.region_bytes or rows.max() >= _depth(config, bank):
            return None
        if bank == Bank.ACCUMULATOR and (rows.min() // config.half_rows != rows.max() // config.half_rows):
            return None
        return command, _regions("memory", _bytes_touched(offsets, command.run)), _regions(bank, rows)

    def execute(self) -> tuple[Execute, list[Region], list[Region]] | None:
        config, control = self.config, self.config.control
        command = Execute(
            accumulate=self.number(0, 1), transpose=int(config.array.transposer and self.rng.random() < 0.3),
            weight_row=self.below(config.weight_rows), weight_stride=self.number(-1, 3), activation_row=self.below(config.activation_rows),
            accumulator_row=self.number(0, 1) * config.half_rows + self.below(config.half_rows), pad=self.number(-128, 127),
            k_last=self.number(1, config.array.rows), ky_count=self.number(1, 3) if control.outer_loops > 2 else 1,
            kx_count=self.number(1, 3) if control.outer_loops > 1 else 1, ct_count=self.number(1, 3),
            weight_ky=self.number(-3, 30), weight_kx=self.number(-3, 9), weight_ct=self.number(0, 8),
            activation_ct=self.number(-2, 6), activation_ky=self.number(-2, 9), activation_kx=self.number(-2, 3),
            x_count=self.number(1, 12), y_count=self.number(1, 4) if control.inner_loops > 1 else 1,
            b_count=self.number(1, 2) if control.inner_loops > 2 else 1, activation_b=self.number(-1, 30),
            activation_y=self.number(-2, 9), activation_x=self.number(-1, 3), **self.window())
        tiles = np.arange(footprint.tile_count(command))
        count = footprint.accumulator_count(command)
        first = command.accumulator_row
        if first // config.half_rows != (first + count - 1) // config.half_rows:
            return None
        weights = footprint.weight_rows(config, command, tiles)
        if not command.transpose:
            weights = weights[np.arange(config.array.rows) < footprint.tile_k_valid(config, command, tiles)[:, None]]
        rows, inside = footprint.activation_rows(command, tiles, np.arange(count))
        rows = rows[inside]
        if weights.max() >= config.weight_rows or (rows.size and rows.max() >= config.activation_rows):
            return None
        sums = [Region(Bank.ACCUMULATOR, first, first + count)]
        reads = _regions(Bank.WEIGHT, weights) + (_regions(Bank.ACTIVATION, rows) if rows.size else []) + sums
        return command, reads, sums

    def window(self) -> dict[str, int]:
        """Coordinates of an EXECUTE, where there is padding."""
        if not self.config.control.padding:
            return {}
        return {"y_origin": self.number(-2, 2), "x_origin": self.number(-2, 2), "y_step": self.number(0, 3), "x_step": self.number(0, 3),
                "y_dilation": self.number(0, 3), "x_dilation": self.number(0, 3), "height": self.number(1, 9), "width": self.number(1, 12)}

    def store(self) -> tuple[Store, list[Region], list[Region]] | None:
        config = self.config
        target = Target(self.number(0, 2))
        memory = target == Target.MEMORY
        width = {Target.ACTIVATION: config.activation_lanes, Target.WEIGHT: config.weight_lanes}.get(target, 1)
        low, high = sorted((self.number(-128, 127), self.number(-128, 127)))
        command = Store(
            operation=Operation(self.number(0, max(Operation))), target=target, base=1, bias=self.number(0, 1), **self.pooling(),
            row=self.number(0, 1) * config.half_rows + self.below(config.half_rows), columns=self.number(1, config.array.cols),
            count1=self.number(1, 9), count2=self.number(1, 3),
            destination=self.number(0, self.region_bytes - 1) if memory else self.below(_depth(config, target - 1)),
            stride1=self.number(-70, 150) if memory else self.number(-1, 6),
            stride2=self.number(-90, 300) if memory else self.number(-3, 12),
            zero_point=self.number(-128, 127), low=low, high=high, lane=0 if memory else self.below(min(width, 256)),
            parameter_group=self.below(config.parameter_groups))
        runs = np.arange(footprint.run_count(command))
        rows, octets = footprint.store_rows(command, runs), footprint.store_bytes(config, command)
        if rows.min() // config.half_rows != rows.max() // config.half_rows:
            return None
        groups = footprint.parameter_groups(config, command)
        if groups.size and groups[-1] >= config.parameter_groups:
            return None
        reads = _regions(Bank.ACCUMULATOR, rows) + (_regions(Bank.PARAMETER, groups) if groups.size else [])
        if command.operation == Operation.ADD:
            reads.append(Region(Bank.TABLE, 0, config.table_rows))
        if memory:
            offsets = footprint.memory_offsets(command, runs)
            if offsets.max() + octets > self.region_bytes:
                return None
            writes = _regions("memory", _bytes_touched(offsets, octets))
        else:
            targets = footprint.target_rows(config, command, runs)
            bank = Bank.ACTIVATION if target == Target.ACTIVATION else Bank.WEIGHT
            if targets.max() >= _depth(config, bank):
                return None
            writes = _regions(bank, targets)
        return command, reads, writes

    def pooling(self) -> dict[str, int]:
        """Windows of a STORE, where there are any, now and then with a last row that is too far away."""
        if not self.config.epilogue.max_pool or self.rng.random() < 0.5:
            return {}
        return {"window": self.number(1, 5), "window_stride": self.number(0, 9)}


def random_program(rng: np.random.Generator, config: Config, *, commands: int, region_bytes: int, brief: bool = False) -> list[Command]:
    """``commands`` valid commands on base 1 (``region_bytes`` bytes), then raw stores of the accumulator to base 2.

    Every conflict is ordered by tokens, and by no more than are needed, so that engines overlap. Base 2 must hold
    accumulator_rows × cols × 4 bytes. A ``brief`` program stores no row but those that were written.
    """
    source = _Source(rng, config, region_bytes)
    program = Program(config.control)
    sums = [Region(Bank.ACCUMULATOR, half * config.half_rows, (half + 1) * config.half_rows) for half in range(2)]
    written: list[np.ndarray] = []
    made = 0
    while made < commands:
        draw = source.load if made < 3 else (source.load, source.execute, source.store)[int(rng.integers(0, 3))]
        drawn = draw()
        if drawn is None or footprint.objection(config, drawn[0]) != ErrorCode.NONE:
            continue
        command, reads, writes = drawn
        program.add(command, reads=reads, writes=writes)
        written += [np.arange(region.start, region.stop) for region in writes if region.space == Bank.ACCUMULATOR]
        made += 1
    row_bytes = 4 * config.array.cols
    if brief:
        rows = np.concatenate([np.arange(0), *written])
        sums = [region for half in range(2) if (own := rows[rows // config.half_rows == half]).size
                for region in _regions(Bank.ACCUMULATOR, own)]
    for region in sums:
        dump = Store(operation=Operation.RAW, target=Target.MEMORY, base=2, row=region.start, columns=config.array.cols,
                     count1=region.stop - region.start, destination=region.start * row_bytes, stride1=row_bytes)
        program.add(dump, reads=[region])
    return program.commands


def fill_program(config: Config, *, region_bytes: int) -> list[Command]:
    """Loads the first ``region_bytes`` bytes from base 1 on into every row of every on-chip memory, again and again."""
    program: list[Command] = []
    for bank in Bank:
        if not _depth(config, bank):
            continue
        row_bytes = footprint.load_row_bytes(config, Load(bank=bank))
        block = config.half_rows if bank == Bank.ACCUMULATOR else _depth(config, bank)
        rows = min(region_bytes // row_bytes, block)  # of one run
        for first in range(0, _depth(config, bank), block):
            whole = block // rows
            program.append(Load(bank=bank, base=1, run=rows * row_bytes, count1=whole, row=first, row_stride1=rows))
            if rest := block % rows:
                program.append(Load(bank=bank, base=1, run=rest * row_bytes, row=first + whole * rows))
    return program
