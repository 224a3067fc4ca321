"""Programs for matrix products of any size: C[M, N] = A[M, K] · W[K, N], operands and result in device memory as NumPy has them.

>>> plan = plan_gemm(config, 100, 75, 200)
>>> plan.words, plan.regions["c"].bytes
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from .commands import PARAMETER_WORDS, Bank, Command, Execute, Operation, Store, pack, signed16
from .config import Config
from .cycles import predict_cycles
from .gemm_operands import BASES
from .gemm_schedule import Costs, Fetch, Schedule, schedule
from .gemm_tiling import Block, Gemm, Step, Tiling
from .program import Program, Region
from .tiling import PlanError

__all__ = ["GemmPlan", "MemoryRegion", "plan_gemm", "split_gemm"]

_LEAST_TRIED, _MOST_TRIED, _COMMANDS_TRIED = 3, 48, 6000  # tilings, and their commands in all, whose schedule is worked out
_PREDICTED, _COMMANDS_PREDICTED = 8, 150  # of those, how many are asked of the cycle model, and how many commands they may have


class MemoryRegion(NamedTuple):
    """Bytes that a program expects behind a base register, from offset 0 on."""

    base: int
    bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class GemmPlan:
    """A matrix product as a program.

    Attributes
    ----------
    gemm, tiling : what is computed, and how it is cut
    program, words : the commands, and the same as uint32
    regions : "program", "a", "w", "c" and, where the epilogue needs them, "parameters" (int32, shape (N, 3): bias, multiplier, shift)
    macs_issued : multiplications by the array, padding included; ``gemm.macs`` of them are useful
    estimated_cycles : what the planner compared tilings by
    """

    gemm: Gemm
    tiling: Tiling
    program: list[Command]
    words: np.ndarray
    regions: dict[str, MemoryRegion]
    macs_issued: int
    estimated_cycles: int

    def describe(self) -> str:
        """One line for reports."""
        g, t = self.gemm, self.tiling
        kept = "rows of A stay, W passes" if t.outer == "m" else "columns of W stay, A passes"
        return (f"{g.m}×{g.n}×{g.k} as panels of {t.rows} rows, {t.tiles} column tiles of {g.width} and {t.depth} of K; {kept}; "
                f"{len(self.program)} commands")


def plan_gemm(config: Config, m: int, n: int, k: int, *, out: Literal["int32", "int8", "int16"] = "int32", bias: bool = False,
              transpose: bool = False, zero_point: int = 0, low: int = -128, high: int = 127) -> GemmPlan:
    """Plan C[M, N] = A[M, K] · W[K, N].

    Parameters
    ----------
    m, n, k : at least 1; each operand at most 4 GiB
    out : the activations' type requantises, with ``zero_point``, ``low`` and ``high`` as STORE has them
    bias : whether int32 results get a bias; requantised results always do
    transpose : memory holds W as (N, K)

    Raises
    ------
    PlanError
        A size is not positive, an operand is larger than an offset can reach, or ``transpose`` needs a transposer.
    """
    for name, value in (("m", m), ("n", n), ("k", k)):
        if value < 1:
            raise PlanError(f"{name} must be at least 1, not {value!r}")
    if out not in ("int32", config.array.activations):
        raise PlanError(f"out must be 'int32' or {config.array.activations!r}, the activations' type, not {out!r}")
    if transpose and not config.array.transposer:
        raise PlanError("array.transposer must be true for a transposed W, not false")
    gemm = Gemm(config=config, m=m, n=n, k=k, out=out, bias=bias, transpose=transpose)
    regions = {"a": m * k * config.array.activation_bytes, "w": gemm.matrix_bytes, "c": m * n * gemm.result_bytes}
    if gemm.parameters:
        regions["parameters"] = 4 * PARAMETER_WORDS * n
    for name, size in regions.items():
        if size > 1 << 32:
            raise PlanError(f"{name} must be at most {1 << 32} bytes, not {size}; split the product with split_gemm")
    tiling, best, program = _best(gemm, zero_point=zero_point, low=low, high=high)
    words = pack(program)
    regions["program"] = 4 * words.size
    issued = sum(item.x_count * item.ct_count for item in program if isinstance(item, Execute))
    return GemmPlan(gemm=gemm, tiling=tiling, program=program, words=words,
                    regions={name: MemoryRegion(BASES[name], size) for name, size in regions.items()},
                    macs_issued=issued * config.macs_per_cycle, estimated_cycles=best.cycles)


def split_gemm(m: int, n: int, k: int, *, budget_bytes: int, result_bytes: int = 4, activation_bytes: int = 1,
               row_bytes: Callable[[int], int] = int) -> Iterator[tuple[range, range]]:
    """Cut a product into (rows of A, columns of W), whole in K, whose operands and result fit ``budget_bytes`` together.

    ``row_bytes`` gives the bytes of so many weights of a row of W, as :meth:`Gemm.weight_bytes` does.

    Raises
    ------
    PlanError
        Not even one row by one column fits.
    """
    def need(rows: int, columns: int) -> int:
        return (rows * activation_bytes + row_bytes(columns)) * k + rows * columns * result_bytes

    rows, columns = m, n
    while need(rows, columns) > budget_bytes:
        if rows == columns == 1:
            raise PlanError(f"device memory must hold {need(1, 1)} bytes for one element with K = {k}, not {budget_bytes}")
        if rows >= columns:
            rows = -(-rows // 2)
        else:
            columns = -(-columns // 2)
    for row in range(0, m, rows):
        for column in range(0, n, columns):
            yield range(row, min(row + rows, m)), range(column, min(column + columns, n))


def _best(gemm: Gemm, **epilogue: int) -> tuple[Tiling, Schedule, list[Command]]:
    """The tiling whose schedule takes the fewest cycles, of those that look best at first sight.

    Schedules know no contention. Where programs are short, that decides, so the best of them are asked of the cycle model.
    """
    tried: list[tuple[Tiling, Schedule]] = []
    commands = 0
    for tiling in sorted(_candidates(gemm), key=lambda tiling: _first_sight(gemm, tiling))[:_MOST_TRIED]:
        if len(tried) >= _LEAST_TRIED and commands > _COMMANDS_TRIED:
            break
        tried.append((tiling, schedule(gemm, tiling)))
        commands += len(tried[-1][1].items)
    tried.sort(key=lambda pair: pair[1].cycles)
    finalists = [(tiling, plan, _emit(gemm, plan, **epilogue)) for tiling, plan in tried[:_PREDICTED]
                 if plan is tried[0][1] or len(plan.items) <= _COMMANDS_PREDICTED]
    if len(finalists) == 1:
        return finalists[0]
    return min(finalists, key=lambda one: predict_cycles(gemm.config, one[2]).cycles)


def _candidates(gemm: Gemm) -> Iterator[Tiling]:
    """Tilings that fit the memories."""
    config, rows = gemm.config, gemm.config.array.rows
    k_tiles = -(-gemm.k // rows)
    depths = dict.fromkeys(min(gemm.k, rows * -(-k_tiles // count)) for count in (*range(1, 17), *_powers(32, 65536)))
    for depth in depths:
        pitch = -(-depth // rows)
        most_rows = min(config.activation_rows // pitch, config.half_rows, gemm.m)
        most_tiles = min(config.weight_rows // gemm.tile_rows(depth), gemm.n_tiles, 255)
        if gemm.width < config.array.cols:
            most_tiles = min(most_tiles, 1)
        if gemm.parameters:
            most_tiles = min(most_tiles, config.parameter_groups // gemm.groups)
        if not most_rows or not most_tiles:
            continue
        for height in _shares(most_rows):
            for tiles in _shares(most_tiles):
                if depth < gemm.k and height * tiles > config.half_rows:
                    continue
                yield Tiling(rows=height, tiles=tiles, depth=depth, outer="m")
                if height < gemm.m and tiles < gemm.n_tiles:  # else both orders are the same
                    yield Tiling(rows=height, tiles=tiles, depth=depth, outer="n")


def _powers(start: int, stop: int) -> Iterator[int]:
    while start <= stop:
        yield start
        start *= 2


def _shares(total: int) -> list[int]:
    """The whole, and what fits 2, 3, 4, 6, … times, rounded up."""
    return list(dict.fromkeys(-(-total // share) for share in (1, 2, 3, 4, 6, 8, 12, 16)))


def _first_sight(gemm: Gemm, tiling: Tiling) -> float:
    """Cycles as the largest of array, bus and result traffic, with some for what does not overlap."""
    costs, config = Costs(gemm), gemm.config
    ms, ns, ks = -(-gemm.m // tiling.rows), -(-gemm.n_tiles // tiling.tiles), -(-gemm.k // tiling.depth)
    pitch = -(-tiling.depth // config.array.rows)
    a_slots, w_slots = config.activation_rows // (tiling.rows * pitch), config.weight_rows // (gemm.tile_rows(tiling.depth) * tiling.tiles)
    # How often each panel is loaded: once while it stays, else each time that the loops come by.
    a_loads = 1 if a_slots >= ms * ks or (tiling.outer == "m" and a_slots >= ks) else ns
    w_loads = 1 if w_slots >= ns * ks or (tiling.outer == "n" and w_slots >= ks) else ms
    row_last = gemm.m - (ms - 1) * tiling.rows
    k_tiles = -(-gemm.k // config.array.rows)
    array = gemm.n_tiles * (costs.execute(tiling.rows, k_tiles) * (ms - 1) + costs.execute(row_last, k_tiles))
    width = min(tiling.tiles * gemm.width, gemm.n)
    a_bytes = config.array.activation_bytes
    load = (a_loads * gemm.m * gemm.k * a_bytes / min(config.bus_bytes, config.activation_lanes)
            + w_loads * gemm.k * ns * costs.load(Bank.WEIGHT, 1, config.weight_bytes(width)))
    store = gemm.n_tiles * costs.store(gemm.m, min(gemm.width, gemm.n), gemm.result_bytes)
    # Whole panels over K grow from a small corner; chunks of K are there as a whole before the array is busy.
    tile_bytes = config.weight_bytes(gemm.width)
    corner = min(tiling.rows, gemm.least_rows) * a_bytes + tile_bytes if ks == 1 else tiling.rows * a_bytes + tiling.tiles * tile_bytes
    start = corner * tiling.depth / config.bus_bytes
    exposed = 0 if (a_slots > 1 and w_slots > 1) or ms * ns * ks == 1 else min(array, load) / 2
    return max(array, load, store) + start + exposed + Costs.COMMAND * ms * (ns + gemm.n_tiles) * ks


def _emit(gemm: Gemm, plan: Schedule, *, zero_point: int, low: int, high: int) -> list[Command]:
    program = Program(gemm.config.control)
    for item in plan.items:
        match item:
            case Fetch(operand, piece, slot):
                for load in operand.loads(piece, slot):
                    program.add(load, writes=operand.regions(piece, slot))
            case (Step() as step, int(a_slot), int(w_slot)):
                _add_execute(program, gemm, plan, step, a_slot, w_slot)
            case (Block() as block, panel, slot):
                _add_stores(program, gemm, plan, block, panel, slot, {"zero_point": zero_point, "low": low, "high": high})
    return program.commands


def _add_execute(program: Program, gemm: Gemm, plan: Schedule, step: Step, a_slot: int, w_slot: int) -> None:
    a, w, rows = plan.activations, plan.weights, gemm.config.array.rows
    count = -(-len(step.k) // rows)
    command = Execute(
        accumulate=int(step.k.start > 0), accumulator_row=step.row, x_count=len(step.m), ct_count=count,
        k_last=len(step.k) - (count - 1) * rows,
        weight_row=w.row(w_slot, w.panel(step), step.tile, step.k.start), weight_stride=signed16(w.vector_stride),
        transpose=int(gemm.transpose), weight_ct=signed16(w.k_stride) if count > 1 else 0,
        activation_row=a.row(a_slot, a.panel(step), step.m.start, step.k.start), activation_x=signed16(a.pitch),
        activation_ct=int(count > 1))
    program.add(command, reads=[*a.reads(step, a_slot), *w.reads(step, w_slot)],
                writes=[Region("accumulator", step.row, step.row + len(step.m))])


def _add_stores(program: Program, gemm: Gemm, plan: Schedule, block: Block, panel: tuple[int, ...], slot: int,
                epilogue: dict[str, int]) -> None:
    """One STORE for all whole tiles and one for the last; where columns have parameters, one for each tile."""
    row_bytes, rows = gemm.n * gemm.result_bytes, len(block.m)
    whole = sum(len(gemm.columns(tile)) == gemm.width for tile in block.tiles)
    groups = [block.tiles[:whole], block.tiles[whole:]]
    if plan.parameters:
        groups = [range(tile, tile + 1) for tile in block.tiles]
    for tiles in groups:
        if not tiles:
            continue
        row = block.row + (tiles.start - block.tiles.start) * rows
        columns = gemm.columns(tiles.start)
        options: dict[str, int] = {}
        reads = [Region("accumulator", row, row + rows * len(tiles))]
        if plan.parameters:
            options["parameter_group"] = plan.parameters.row(slot, panel, tiles.start)
            reads += plan.parameters.reads(tiles.start, panel, slot)
        if gemm.out != "int32":
            options |= {"operation": Operation.REQUANTISE, **epilogue}
        elif gemm.bias:
            options["bias"] = 1
        program.add(Store(row=row, columns=len(columns), count1=rows, count2=len(tiles), base=BASES["c"],
                          destination=block.m.start * row_bytes + columns.start * gemm.result_bytes, stride1=row_bytes if rows > 1 else 0,
                          stride2=gemm.width * gemm.result_bytes if len(tiles) > 1 else 0, **options), reads=reads)
