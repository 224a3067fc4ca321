"""Which rows and bytes a command touches, and whether the accelerator accepts the command: shared by model and checks.

All functions are vectorised over runs, tiles or output rows, so that a caller bounds their memory, and return rows modulo 2**16, or
2**row_bits where they know the configuration (not yet compared with a depth), and offsets modulo 2**32.
"""

from __future__ import annotations

import numpy as np

from .commands import PARAMETER_WORDS, Bank, Command, Execute, Load, Operation, Store, Target, fields_of
from .config import Config
from .registers import ErrorCode

__all__ = ["accumulator_count", "activation_rows", "field_bits", "load_row_bytes", "load_rows", "memory_offsets", "objection",
           "parameter_groups", "run_count", "store_bytes", "store_rows", "target_rows", "tile_count", "tile_k_valid", "weight_rows",
           "window_span", "word_bytes"]

_PADDING = ("y_origin", "x_origin", "y_step", "x_step", "y_dilation", "x_dilation")
PARAMETER_BYTES = 4 * PARAMETER_WORDS


def field_bits(config: Config, kind: type[Command]) -> dict[str, int]:
    """Fields of which ``config`` keeps fewer bits than the command set has, and how many; more is UNSUPPORTED."""
    row_bits = config.control.row_bits
    counts = {Load: ("count1", "count2"), Store: ("count1", "count2"), Execute: ("ct_count", "x_count", "y_count", "b_count")}
    bits = dict.fromkeys(counts[kind], row_bits)
    if kind is not Execute and config.control.run_loops == 1:
        bits["count2"] = 1
    if kind is Load:
        bits["run"] = config.memory.address_bits
    if kind is Store and not config.epilogue.max_pool:
        bits["window"] = 1
    if kind is Execute and not config.control.padding:
        bits |= dict.fromkeys(_PADDING, 0)
    return {field.name: bits[field.name] for field in fields_of(kind) if bits.get(field.name, field.width) < field.width}


def objection(config: Config, command: Command) -> ErrorCode:
    """What is wrong with ``command`` as far as its fields tell, so that it is refused before it takes its tokens; else NONE.

    VALUE or UNSUPPORTED, and RANGE where the output rows of an EXECUTE leave their accumulator half.
    """
    if any(getattr(command, name) & -1 << bits for name, bits in field_bits(config, type(command)).items()):
        return ErrorCode.UNSUPPORTED
    match command:
        case Load():
            return _load_objection(config, command)
        case Execute():
            return _execute_objection(config, command)
        case Store():
            return _store_objection(config, command)
    raise TypeError(f"command must be Load, Execute or Store, not {command!r}")


def _load_objection(config: Config, c: Load) -> ErrorCode:
    if c.bank > max(Bank) or not (c.run and c.count1 and c.count2):
        return ErrorCode.VALUE
    unit = word_bytes(c)
    if unit == 1 and c.lane >= load_row_bytes(config, c):
        return ErrorCode.VALUE
    if unit > 1 and (c.lane or c.run % unit or (c.offset | c.stride1 | c.stride2) & 3):
        return ErrorCode.VALUE
    return ErrorCode.UNSUPPORTED if c.bank == Bank.TABLE and not config.epilogue.add else ErrorCode.NONE


def _execute_objection(config: Config, c: Execute) -> ErrorCode:
    outer, inner = config.control.outer_loops, config.control.inner_loops
    absent = (c.transpose and not config.array.transposer, c.ky_count > 1 and outer < 3, c.kx_count > 1 and outer < 2,
              c.b_count > 1 and inner < 3, c.y_count > 1 and inner < 2)
    if any(absent):
        return ErrorCode.UNSUPPORTED
    if not (c.ky_count and c.kx_count and c.ct_count and accumulator_count(c) and 1 <= c.k_last <= config.array.rows):
        return ErrorCode.VALUE
    half, first = divmod(c.accumulator_row, config.half_rows)
    return ErrorCode.RANGE if half > 1 or first + accumulator_count(c) > config.half_rows else ErrorCode.NONE


def _store_objection(config: Config, c: Store) -> ErrorCode:
    counted = c.count1 and c.count2 and c.window and 1 <= c.columns <= config.array.cols
    if not counted or c.target > max(Target) or c.low > c.high:
        return ErrorCode.VALUE
    if c.target != Target.MEMORY and c.lane >= _target_width(config, c):
        return ErrorCode.VALUE
    epilogue = config.epilogue
    absent = (c.operation == Operation.ADD and not epilogue.add) or (c.operation == Operation.MAX_POOL and not epilogue.max_pool)
    return ErrorCode.UNSUPPORTED if absent else ErrorCode.NONE


def _target_width(config: Config, c: Store) -> int:
    return config.activation_lanes if c.target == Target.ACTIVATION else config.weight_lanes


def run_count(c: Load | Store) -> int:
    """Runs of a LOAD, rows of a STORE's result."""
    return c.count1 * c.count2


def memory_offsets(c: Load | Store, runs: np.ndarray) -> np.ndarray:
    """First byte of each of ``runs`` (numbers in nest order) from the base register."""
    first = c.offset if isinstance(c, Load) else c.destination
    return _nest(c, runs, first, c.stride1, c.stride2) & 0xFFFF_FFFF


def _nest(c: Load | Store, runs: np.ndarray, first: int, stride1: int, stride2: int) -> np.ndarray:
    i2, i1 = np.divmod(runs, c.count1)
    return first + i2 * stride2 + i1 * stride1


def load_row_bytes(config: Config, c: Load) -> int:
    """Bytes in memory that fill one row of the bank."""
    return {Bank.ACTIVATION: config.activation_lanes, Bank.WEIGHT: config.weight_lanes, Bank.ACCUMULATOR: 4 * config.array.cols,
            Bank.PARAMETER: PARAMETER_BYTES * config.epilogue.lanes, Bank.TABLE: 4}[Bank(c.bank)]


def word_bytes(c: Load) -> int:
    """Bytes that a LOAD does not tear apart: its run is so many or a multiple."""
    return {Bank.ACCUMULATOR: 4, Bank.PARAMETER: PARAMETER_BYTES, Bank.TABLE: 4}.get(Bank(c.bank), 1)


def load_rows(config: Config, c: Load, runs: np.ndarray) -> np.ndarray:
    """Rows that each of ``runs`` of a LOAD writes, shape (runs, rows per run)."""
    first = _nest(c, runs, c.row, c.row_stride1, c.row_stride2)
    return (first[:, None] + np.arange(_spread(c.lane + c.run, load_row_bytes(config, c)))) & _row_mask(config)


def _spread(count: int, width: int) -> int:
    """Rows that ``count`` bytes of a run take; beyond all rows there are, they are the same again."""
    return min(-(-count // width), 1 << 16)


def _row_mask(config: Config) -> int:
    return (1 << config.control.row_bits) - 1


def tile_count(c: Execute) -> int:
    """Weight tiles of an EXECUTE."""
    return c.ky_count * c.kx_count * c.ct_count


def accumulator_count(c: Execute) -> int:
    """Output rows of an EXECUTE: consecutive accumulator rows from ``accumulator_row`` on."""
    return c.b_count * c.y_count * c.x_count


def _taps(c: Execute, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tap, ct = np.divmod(tiles, c.ct_count)
    ky, kx = np.divmod(tap, c.kx_count)
    return ky, kx, ct


def tile_k_valid(config: Config, c: Execute, tiles: np.ndarray) -> np.ndarray:
    """Valid K rows of each of ``tiles`` (numbers in nest order)."""
    return np.where(tiles % c.ct_count == c.ct_count - 1, c.k_last, config.array.rows)


def weight_rows(config: Config, c: Execute, tiles: np.ndarray) -> np.ndarray:
    """Weight rows that ``tiles`` may read, shape (tiles, vectors) or, transposed, (tiles, cols, pieces).

    A plain tile reads only the first :func:`tile_k_valid` of its vectors.
    """
    ky, kx, ct = _taps(c, tiles)
    first = c.weight_row + ky * c.weight_ky + kx * c.weight_kx + ct * c.weight_ct
    if not c.transpose:
        return (first[:, None] + np.arange(config.array.rows) * c.weight_stride) & _row_mask(config)
    pieces = -(-config.array.rows // config.array.cols)
    vectors = np.arange(config.array.cols)[:, None] * c.weight_stride + np.arange(pieces)
    return (first[:, None, None] + vectors) & _row_mask(config)


def activation_rows(c: Execute, tiles: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Activation rows of ``outputs`` for ``tiles``, and whether each is inside the tensor: both of shape (tiles, outputs)."""
    ky, kx, ct = (t[:, None] for t in _taps(c, tiles))
    line, x = np.divmod(outputs, c.x_count)
    b, y = np.divmod(line, c.y_count)
    rows = (c.activation_row + ct * c.activation_ct + ky * c.activation_ky + kx * c.activation_kx
            + (b * c.activation_b + y * c.activation_y + x * c.activation_x)) & 0xFFFF
    inside_y = (c.y_origin + y * c.y_step + ky * c.y_dilation) & 0xFFFF < c.height
    inside_x = (c.x_origin + x * c.x_step + kx * c.x_dilation) & 0xFFFF < c.width
    return rows, inside_y & inside_x


def window_span(c: Store) -> int:
    """From the first accumulator row of a STORE's window to its last."""
    return (c.window - 1) * c.window_stride


def store_rows(c: Store, runs: np.ndarray) -> np.ndarray:
    """Accumulator rows that each of ``runs`` of a STORE reads, shape (runs, window)."""
    return (c.row + runs)[:, None] + np.arange(c.window) * c.window_stride


def parameter_groups(config: Config, c: Store) -> np.ndarray:
    """Groups of the parameter memory that a STORE reads, in order; empty where it needs none."""
    needed = c.operation in (Operation.REQUANTISE, Operation.ADD) or (c.operation == Operation.RAW and c.bias)
    return c.parameter_group + np.arange(-(-c.columns // config.epilogue.lanes) if needed else 0)


def store_bytes(config: Config, c: Store) -> int:
    """Bytes of each row of the result."""
    return c.columns * (4 if c.operation == Operation.RAW else config.array.activation_bytes)


def target_rows(config: Config, c: Store, runs: np.ndarray) -> np.ndarray:
    """Scratchpad rows that each of ``runs`` of a STORE writes, shape (runs, rows each)."""
    first = _nest(c, runs, c.destination, c.stride1, c.stride2)
    return (first[:, None] + np.arange(_spread(c.lane + store_bytes(config, c), _target_width(config, c)))) & _row_mask(config)
