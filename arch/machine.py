"""What the memories of an accelerator hold, and what each command does to them: the golden meaning of the command set.

Bit for bit, garbage included: a scratchpad lane that a run does not reach keeps its old value. Commands run as a whole; control (queues,
tokens, errors) is in :mod:`model`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from . import footprint, numerics, packed
from .commands import PARAMETER_WORDS, Bank, Execute, Load, Operation, Store, Target
from .config import Config
from .hazards import Space
from .registers import ErrorCode

__all__ = ["AccessError", "Machine", "Touch", "Traffic"]

# Called as touch(space, places, write=…) for what a command reads and writes.
Touch = Callable[..., None]

_CHUNK = 1 << 20  # elements of an index array: bounds the memory that one command needs, whatever its counts


class AccessError(Exception):
    """An access outside a memory; it and all that follows in the command is not performed."""

    def __init__(self, code: ErrorCode, address: int = 0):
        super().__init__(code.name, address)
        self.code = code
        self.address = address


@dataclasses.dataclass
class Traffic:
    """What went over the bus and through the array."""

    bytes_read: int = 0
    bytes_written: int = 0
    rows_issued: int = 0


class Machine:
    """Scratchpads, accumulator, parameters and table, all zero at first and kept from program to program.

    Parameters
    ----------
    config : the accelerator
    memory : uint8 array, the device memory behind the bus

    Attributes
    ----------
    activation : int8, shape (activation_rows, activation_lanes): bytes, of int16 activations two for each
    weight : int8, shape (weight_rows, weight_lanes): bytes, of int4 weights two in each
    accumulator : int32, shape (accumulator_rows, cols); of more than 32 bits int64, wrapped to so many
    parameters : int32, shape (parameter_groups · lanes, 3): bias, multiplier, shift
    table : int32, shape (256,), or (0,) without ADD
    """

    def __init__(self, config: Config, memory: np.ndarray):
        if memory.dtype != np.uint8 or memory.ndim != 1:
            raise TypeError(f"memory must be a one-dimensional uint8 array, not {memory.dtype} with {memory.ndim} dimensions")
        self.config = config
        self.memory = memory
        self.activation = np.zeros((config.activation_rows, config.activation_lanes), np.int8)
        self.weight = np.zeros((config.weight_rows, config.weight_lanes), np.int8)
        self.accumulator = np.zeros((2 * config.half_rows, config.array.cols),
                                    np.int32 if config.array.accumulator_bits == 32 else np.int64)
        self.parameters = np.zeros((config.parameter_groups * config.epilogue.lanes, PARAMETER_WORDS), np.int32)
        self.table = np.zeros(config.table_rows, np.int32)
        self.traffic = Traffic()

    @property
    def space_sizes(self) -> dict[Space, int]:
        return {Space.ACTIVATION: len(self.activation), Space.WEIGHT: len(self.weight), Space.ACCUMULATOR: len(self.accumulator),
                Space.PARAMETER: self.config.parameter_groups, Space.TABLE: len(self.table), Space.MEMORY: self.memory.size}

    def bus_words_bytes(self, address: int | np.ndarray, count: int) -> int | np.ndarray:
        """Bytes of the bus words that hold ``count`` bytes from ``address`` on."""
        width = self.config.bus_bytes
        return ((address + count - 1) // width - address // width + 1) * width

    def missing_word(self, address: int) -> int:
        """What is reported of a read that leaves the memory from ``address`` on: the first bus word that is not there."""
        width = self.config.bus_bytes
        return max(address, self.memory.size) // width * width if self.config.memory.error_address else 0

    def load(self, c: Load, bases: Sequence[int], sizes: Sequence[int], touch: Touch) -> None:
        """Perform a LOAD; raises :class:`AccessError` at the first run that breaks a rule, after those before it."""
        banks: dict[Bank, tuple[np.ndarray, Space]] = {
            Bank.ACTIVATION: (self.activation, Space.ACTIVATION), Bank.WEIGHT: (self.weight, Space.WEIGHT),
            Bank.PARAMETER: (self.parameters, Space.PARAMETER), Bank.ACCUMULATOR: (self.accumulator, Space.ACCUMULATOR),
            Bank.TABLE: (self.table, Space.TABLE)}
        bank, space = banks[Bank(c.bank)]
        # Bytes; or the words of wider accumulators, which memory has as int32.
        item = np.dtype(np.int32 if bank.dtype == np.int64 else np.uint8)
        flat = bank.reshape(-1) if bank.dtype == np.int64 else bank.reshape(-1).view(np.uint8)
        row_bytes = footprint.load_row_bytes(self.config, c)
        places = np.arange(c.run)
        for part in _chunks(footprint.run_count(c), c.run):
            runs = np.arange(part.start, part.stop)
            rows = footprint.load_rows(self.config, c, runs)
            addresses, failure = self._addresses(c, runs, c.run, bases, sizes)
            good = _leading(np.all(rows[:len(addresses)] < flat.size * item.itemsize // row_bytes, axis=1))
            failure = AccessError(ErrorCode.RANGE) if good < len(addresses) else failure
            source = addresses[:good, None] + places
            touch(Space.MEMORY, source, write=False)
            touch(space, rows[:good], write=True)
            # A run goes on modulo 2**row_bits rows, which only a scratchpad of that many rows can show.
            lands = (rows[:good, :1] * row_bytes + c.lane + places[::item.itemsize]) % (row_bytes << self.config.control.row_bits)
            flat[lands // item.itemsize] = self.memory[source].view(item)
            self.traffic.bytes_read += int(np.sum(self.bus_words_bytes(addresses[:good], c.run)))
            if failure:
                raise failure

    def _addresses(self, c: Load | Store, runs: np.ndarray, count: int, bases: Sequence[int],
                   sizes: Sequence[int]) -> tuple[np.ndarray, AccessError | None]:
        """Addresses of ``runs`` of ``count`` bytes, up to the first outside the base register's limit or the memory, and that failure."""
        offsets = footprint.memory_offsets(c, runs) & (1 << self.config.offset_bits) - 1
        base, size = bases[c.base], sizes[c.base]
        # Words are moved whole, so the fields that say where they are and the base are multiples of 4.
        aligned = isinstance(c, Store) or c.bank in (Bank.ACTIVATION, Bank.WEIGHT) or base & 3 == 0
        within_limit = (offsets <= size - count) & aligned
        good = _leading(within_limit & (offsets <= self.memory.size - base - count))
        if good == len(runs):
            return offsets + base, None
        address = base + int(offsets[good]) & (1 << self.config.memory.address_bits) - 1
        if not within_limit[good]:
            failure = AccessError(ErrorCode.ADDRESS, address)
        else:
            failure = AccessError(ErrorCode.BUS, self.missing_word(address) if isinstance(c, Load) else address)
        return offsets[:good] + (base if good else 0), failure

    def execute(self, c: Execute, touch: Touch) -> None:
        """Perform an EXECUTE; raises :class:`AccessError` before the group of tiles in which an access breaks a rule."""
        config = self.config
        rows, cols = config.array.rows, config.array.cols
        count = footprint.accumulator_count(c)
        outputs = np.arange(count)
        target = slice(c.accumulator_row, c.accumulator_row + count)
        touch(Space.ACCUMULATOR, target.start + outputs, write=True)
        if c.accumulate:
            touch(Space.ACCUMULATOR, target.start + outputs, write=False)
        else:
            self.accumulator[target] = 0
        for part in _chunks(footprint.tile_count(c), max(count, cols) * rows):
            tiles = np.arange(part.start, part.stop)
            weights = self._tiles(c, tiles, touch)
            taken, inside = footprint.activation_rows(c, tiles, outputs)
            taken, inside = taken & (1 << config.control.row_bits) - 1, inside | (not config.control.padding)
            read = taken[inside]
            _check_depth(read, len(self.activation))
            touch(Space.ACTIVATION, read, write=False)
            vectors = self.activation.view(f"<i{config.array.activation_bytes}")
            activations = np.where(inside[..., None], vectors[np.where(inside, taken, 0)], vectors.dtype.type(c.pad))
            activations = activations.transpose(1, 0, 2).reshape(count, -1)
            sums = self.accumulator[target]
            sums += packed.matmul(config.array, activations, weights.reshape(-1, cols))
            if sums.dtype == np.int64:
                sums[...] = numerics.wrap(sums, config.array.accumulator_bits)
        self.traffic.rows_issued += count * footprint.tile_count(c)

    def _tiles(self, c: Execute, tiles: np.ndarray, touch: Touch) -> np.ndarray:
        """Weight tiles as the array holds them: int8, shape (tiles, rows, cols), zero beyond the valid K rows."""
        rows, cols = self.config.array.rows, self.config.array.cols
        where = footprint.weight_rows(self.config, c, tiles)
        valid = np.arange(rows) < footprint.tile_k_valid(self.config, c, tiles)[:, None]
        read = where if c.transpose else where[valid]
        _check_depth(read, len(self.weight))
        touch(Space.WEIGHT, read, write=False)
        if c.transpose:
            vectors = self._vectors(where).reshape(len(tiles), cols, -1)[..., :rows]
            return np.where(valid[..., None], vectors.transpose(0, 2, 1), np.int8(0))
        return np.where(valid[..., None], self._vectors(np.where(valid, where, 0)), np.int8(0))

    def _vectors(self, rows: np.ndarray) -> np.ndarray:
        """Weights of scratchpad ``rows``: int8, with one more dimension of ``cols``."""
        array = self.config.array
        return numerics.unpack_int4(self.weight[rows], array.cols) if array.weight_bits == 4 else self.weight[rows]

    def store(self, c: Store, bases: Sequence[int], sizes: Sequence[int], touch: Touch) -> None:
        """Perform a STORE; raises :class:`AccessError` at the first row that breaks a rule, after those before it."""
        half = self.config.half_rows
        count = max(0, min(footprint.run_count(c), half - c.row % half - footprint.window_span(c))) if c.row < 2 * half else 0
        failure = AccessError(ErrorCode.RANGE) if count < footprint.run_count(c) else None
        runs = np.arange(count)
        rows = footprint.store_rows(c, runs)
        touch(Space.ACCUMULATOR, rows, write=False)
        data = self._epilogue(c, rows, touch)
        if c.target == Target.MEMORY:
            self._store_memory(c, runs, data, bases, sizes, touch)
        else:
            self._store_scratchpad(c, runs, data, touch)
        if failure:
            raise failure

    def _store_memory(self, c: Store, runs: np.ndarray, data: np.ndarray, bases: Sequence[int], sizes: Sequence[int],
                      touch: Touch) -> None:
        addresses, failure = self._addresses(c, runs, data.shape[1], bases, sizes)
        lands = addresses[:, None] + np.arange(data.shape[1])
        touch(Space.MEMORY, lands, write=True)
        self.memory[lands] = data[:len(lands)]
        self.traffic.bytes_written += lands.size
        if failure:
            raise failure

    def _epilogue(self, c: Store, rows: np.ndarray, touch: Touch) -> np.ndarray:
        """The bytes of each row of the result, made of the accumulator's ``rows`` (rows, window): uint8, shape (rows, bytes)."""
        values = self.accumulator[rows[:, 0], :c.columns]
        for place in range(1, c.window):
            np.maximum(values, self.accumulator[rows[:, place], :c.columns], out=values)
        groups = footprint.parameter_groups(self.config, c)
        _check_depth(groups, self.config.parameter_groups)
        touch(Space.PARAMETER, groups, write=False)
        first = c.parameter_group * self.config.epilogue.lanes if groups.size else 0
        bias, multiplier, shift = self.parameters[first:first + c.columns].T
        bits = self.config.array.accumulator_bits
        unit = numerics.unit(bits)
        match c.operation:
            case Operation.RAW:
                values += bias if c.bias else 0
                values = values.astype(np.int32, copy=False)
            case Operation.REQUANTISE if self.config.array.activation_bytes == 2:
                values = numerics.requantise(numerics.wrap(values + bias, bits), multiplier, shift, 0, *c.int16_limits, dtype=np.int16,
                                             bits=bits)
            case Operation.REQUANTISE:
                values = numerics.requantise(values + bias, multiplier, shift, c.zero_point, c.low, c.high)
            case Operation.ADD:
                touch(Space.TABLE, np.arange(self.table.size), write=False)
                values = numerics.add(values, self.table, multiplier, shift, c.zero_point, c.low, c.high)
            case Operation.MAX_POOL if self.config.array.activation_bytes == 2:
                values = numerics.requantise(values, *unit, 0, *c.int16_limits, dtype=np.int16, bits=bits)
            case Operation.MAX_POOL:
                values = numerics.requantise(values, *numerics.UNIT, c.zero_point, c.low, c.high)
        return np.ascontiguousarray(values).view(np.uint8).reshape(len(rows), footprint.store_bytes(self.config, c))

    def _store_scratchpad(self, c: Store, runs: np.ndarray, data: np.ndarray, touch: Touch) -> None:
        bank, space = ((self.activation, Space.ACTIVATION) if c.target == Target.ACTIVATION else (self.weight, Space.WEIGHT))
        rows = footprint.target_rows(self.config, c, runs)
        good = _leading(np.all(rows < len(bank), axis=1))
        touch(space, rows[:good], write=True)
        width = bank.shape[1]
        lands = (rows[:good, :1] * width + c.lane + np.arange(data.shape[1])) % (width << self.config.control.row_bits)
        bank.reshape(-1).view(np.uint8)[lands] = data[:good]
        if good < len(rows):
            raise AccessError(ErrorCode.RANGE)


def _check_depth(rows: np.ndarray, depth: int) -> None:
    if rows.size and rows.max() >= depth:
        raise AccessError(ErrorCode.RANGE)


def _leading(good: np.ndarray) -> int:
    """How many items come before the first that is not good."""
    return len(good) if good.all() else int(good.argmin())


def _chunks(count: int, size: int) -> Iterator[slice]:
    """Slices that cover ``count`` items of ``size`` elements each, in order and of bounded size."""
    step = max(1, _CHUNK // size)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
