"""The order of LOADs, EXECUTEs and STOREs of a matrix product, and about how long they take.

Dispatch is in order, so the order in the program decides how far ahead each engine may run. Steps are taken one after the other; behind
each EXECUTE come as many LOADs for later steps as fit into its duration, most urgent first, once the panel that they
replace is done with. A LOAD that has time waits behind one that has not.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any, NamedTuple

from . import footprint
from .commands import Bank
from .gemm_operands import Activations, Operand, Parameters, Piece, TransposedWeights, Weights
from .gemm_tiling import Block, Gemm, Step, Tiling, steps
from .residency import Fill, residency

__all__ = ["Costs", "Fetch", "Schedule", "schedule"]

_MANY_BLOCKS = 6


class Costs:
    """About how many cycles commands take."""

    LATENCY = 40   # from a request to its first data, with what starts and ends a command
    COMMAND = 16   # fetching and decoding one command, of which the bus sees half

    def __init__(self, gemm: Gemm):
        self.config = config = gemm.config
        self.slot = gemm.least_rows - 1
        self.settle = config.array.rows + config.array.cols + 12

    def load(self, bank: Bank, runs: int, run: int) -> int:
        bus = self.config.bus_bytes
        per_cycle = {Bank.ACTIVATION: min(bus, self.config.activation_lanes), Bank.WEIGHT: min(bus, self.config.weight_lanes)}.get(bank, 4)
        return runs * max(-(-run // per_cycle), -(-run // bus))

    def execute(self, rows: int, tiles: int) -> int:
        return tiles * max(rows, self.slot)

    def store(self, rows: int, columns: int, value_bytes: int) -> int:
        lanes = self.config.raw_lanes if value_bytes == 4 else self.config.epilogue.lanes
        return rows * max(-(-columns // lanes), -(-columns * value_bytes // self.config.bus_bytes))


class Fetch(NamedTuple):
    """A piece on its way into a slot."""

    operand: Operand
    piece: Piece
    slot: int


class Schedule(NamedTuple):
    """What the program does: fetches, steps (with the slots of A and W) and stores of blocks (with panel and slot of the parameters)."""

    items: list[Fetch | tuple[Step, int, int] | tuple[Block, tuple[int, ...], int]]
    cycles: int  # about
    activations: Activations
    weights: Weights
    parameters: Parameters | None


class _Waiting:
    """The pieces of one operand that are still to be loaded: (first step that needs it, fill, piece), in the order of need."""

    def __init__(self, operand: Operand, todo: list[Step]):
        self.operand = operand
        self.fills, self.used = residency([operand.panel(step) for step in todo], operand.slots)
        users: list[list[int]] = [[] for _ in self.fills]
        for step, number in enumerate(self.used):
            users[number].append(step)
        entries: list[tuple[int, Fill, Piece]] = []
        for number, fill in enumerate(self.fills):
            for piece in operand.pieces(fill.panel, number):
                before = next((user for user in users[number] if operand.serves(piece, todo[user])), None)
                if before is not None:
                    entries.append((before, fill, piece))
        entries.sort(key=lambda entry: entry[0])
        self.queue = deque(entries)
        self.late = -1  # step up to which something is put off

    def put_off(self, todo: list[Step]) -> None:
        """What the first block's STORE needs comes with the second block: unlike the operands of both, it has time."""
        ends = [number for number, step in enumerate(todo) if step.complete]
        if len(ends) >= _MANY_BLOCKS and self.before == ends[0] and self.used[ends[0]] == self.used[ends[1]]:
            self.late = ends[1]
            self.queue = deque((max(before, self.late), fill, piece) for before, fill, piece in self.queue)

    @property
    def before(self) -> int:
        return self.queue[0][0]

    def slot(self, step: int) -> int:
        return self.fills[self.used[step]].slot


class _Scheduler:
    """Orders everything on a model of the engines that knows durations and dependencies, but no contention."""

    def __init__(self, gemm: Gemm, tiling: Tiling):
        self.gemm = gemm
        self.costs = Costs(gemm)
        self.todo = steps(gemm, tiling)
        self.activations = Activations(gemm, tiling)
        self.weights = (TransposedWeights if gemm.transpose else Weights)(gemm, tiling)
        self.parameters = Parameters(gemm, tiling) if gemm.parameters else None
        self.waiting = [_Waiting(one, self.todo) for one in (self.activations, self.weights, self.parameters) if one]
        if self.parameters:
            self.waiting[2].put_off(self.todo)
        self.items: list[Any] = []
        self.load_end, self.execute_end, self.store_end = Costs.LATENCY, 0, 0
        self.unstored: deque[tuple[int, Step]] = deque()    # complete steps whose parameters are not fetched yet
        self.executed: list[int] = []                       # end of each step
        self.stored = [0, 0]                                # end of each block's STORE, after two that did not happen
        self.arrived: defaultdict[int, int] = defaultdict(int)  # by step: when the last piece that it is the first to need is there

    def run(self) -> Schedule:
        for number, step in enumerate(self.todo):
            while urgent := [one for one in self.waiting if one.queue and one.before <= number]:
                self._fetch(min(urgent, key=lambda one: one.before))
            self._execute(number, step)
            if step.complete:
                self.unstored.append((number, step))
            while self.unstored and not (self.parameters and self.waiting[2].queue and self.waiting[2].before <= self.waiting[2].late):
                self._store(*self.unstored.popleft())
            while self.load_end < self.execute_end:
                free = [one for one in self.waiting if one.queue and one.queue[0][1].after < number]
                if not free:
                    break
                self._fetch(min(free, key=lambda one: one.before))
        return Schedule(self.items, self.store_end + Costs.LATENCY, self.activations, self.weights, self.parameters)

    def _command(self) -> None:
        """The program comes over the same bus as the operands."""
        self.load_end += Costs.COMMAND // 2

    def _fetch(self, waiting: _Waiting) -> None:
        before, fill, piece = waiting.queue.popleft()
        commands = waiting.operand.loads(piece, fill.slot)
        if fill.after >= 0:
            self.load_end = max(self.load_end, self.executed[fill.after] + self.costs.settle)
        self.load_end += sum(self.costs.load(waiting.operand.bank, footprint.run_count(one), one.run) for one in commands)
        self.arrived[before] = self.load_end + Costs.LATENCY
        self._command()
        self.items.append(Fetch(waiting.operand, piece, fill.slot))

    def _execute(self, number: int, step: Step) -> None:
        self._command()
        cycles = self.costs.execute(len(step.m), -(-len(step.k) // self.gemm.config.array.rows))
        self.execute_end = max(self.execute_end, self.arrived[number], self.stored[-2]) + max(Costs.COMMAND, cycles)
        self.executed.append(self.execute_end)
        self.items.append((step, self.waiting[0].slot(number), self.waiting[1].slot(number)))

    def _store(self, number: int, step: Step) -> None:
        self._command()
        block = step.block
        cycles = sum(self.costs.store(len(block.m), len(self.gemm.columns(tile)), self.gemm.result_bytes) for tile in block.tiles)
        self.store_end = max(self.store_end, self.execute_end + self.costs.settle) + cycles
        self.stored.append(self.store_end)
        panel, slot = ((), 0) if self.parameters is None else (self.parameters.panel(step), self.waiting[2].slot(number))
        self.items.append((block, panel, slot))


def schedule(gemm: Gemm, tiling: Tiling) -> Schedule:
    """Order all commands of a product, and estimate its cycles."""
    return _Scheduler(gemm, tiling).run()
