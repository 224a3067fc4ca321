"""In which order the tiles of a network are done: list scheduling with a rough idea of time.

Layers overlap: a tile may be next as soon as what it reads has been scheduled. Of the next tiles of a few unfinished layers, and the next
passes of those that were begun, the one is taken that lets the array wait least: now, for what it reads, its weights or its accumulator
half; and afterwards, for the half that STORE is still emptying when it ends. Tiles of one layer begin in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .config import Config
from .latency import Latency
from .layers import Layer, Task, TensorSpec
from .plan_passes import Pass, passes
from .plan_progress import Constants, Progress, constants
from .views import Box

__all__ = ["Scheduler", "Step"]

_READ = 5         # cycles from the last row that STORE reads to the next tile in that half
_WRITTEN = 24     # from the last row that STORE reads until it is written
_BEGIN = 12       # from what is written to the first row that needs it, besides the preload


class Step(NamedTuple):
    """Passes ``first`` … ``stop − 1`` of a task, with its sums in ``half``."""

    task: Task
    half: int
    first: int
    stop: int


class _Open:
    """A task that has been begun: which of its passes is next, when each can begin, and how long each takes."""

    def __init__(self, task: Task, ready: list[int], cycles: list[int]) -> None:
        self.task, self.ready, self.cycles = task, ready, cycles
        self.next = 0

    @property
    def left(self) -> int:
        """Cycles of all passes that are left."""
        return sum(self.cycles[self.next:])


class Scheduler:
    """Order of all tiles of ``layers``.

    Parameters
    ----------
    config : the accelerator
    specs : tensors
    layers : in an order in which they can be done
    boxes : tiles of each
    ahead : unfinished layers that take part
    ring : rows of the weight scratchpad for weights from memory
    """

    def __init__(self, config: Config, specs: Mapping[str, TensorSpec], layers: Sequence[Layer], boxes: Sequence[Sequence[Box]], *,
                 ahead: int, ring: int) -> None:
        self.config, self.layers, self.ahead, self.ring = config, layers, ahead, ring
        self._latency = latency = Latency(config)
        self._settle, self._preload = latency.settle, config.array.rows + 4 + _BEGIN
        self._queues = [deque(_sequence(config, layer, many, index, ring // 2)) for index, (layer, many) in
                        enumerate(zip(layers, boxes, strict=True))]
        self._passes: dict[tuple[int, int], list[Pass]] = {}
        self._progress = Progress(config, specs, layers)
        self._constants = Constants(config, ring)
        self._waiting: dict[int, _Open | None] = {}   # the next task of each layer, if all that it reads has been scheduled
        self._array = self._store = 0                 # when each engine is free
        self._halves: list[_Open | int] = [0, 0]      # a task that was begun, or when the half is free

    def order(self) -> list[Step]:
        """All tiles, pass by pass; passes of one that follow each other are one step."""
        steps: list[Step] = []
        if self.ahead <= 1:
            tasks = [task for queue in self._queues for task in queue]
            return [Step(task, number % 2, 0, len(self.passes(task))) for number, task in enumerate(tasks)]
        active = deque(range(len(self.layers)))
        while active or any(isinstance(half, _Open) for half in self._halves):
            step = self._next([index for index, _ in zip(active, range(self.ahead), strict=False)])
            last = steps[-1] if steps else None
            if last is not None and (last.task, last.half, last.stop) == (step.task, step.half, step.first):
                steps[-1] = last._replace(stop=step.stop)
            else:
                steps.append(step)
            if step.first == 0 and not self._queues[step.task.layer]:
                active.remove(step.task.layer)
        return steps

    def passes(self, task: Task) -> list[Pass]:
        """Of a task, in order."""
        key = task.layer, task.part
        if key not in self._passes:
            layer = self.layers[task.layer]
            self._passes[key] = passes(self.config, layer, layer.parts[task.part], self.ring)
        return self._passes[key]

    def _next(self, active: Sequence[int]) -> Step:
        """Choose a pass and let the clocks go on."""
        best: tuple[int, int, int, int, _Open] | None = None
        for half, state in enumerate(self._halves):
            if isinstance(state, _Open):
                tried = [(self._wait(half, state, self._array), state.left, -state.task.layer, half, state)]
            else:
                tried = [(self._wait(half, one, max(self._array, state)), one.left, -index, half, one) for index in active
                         if (one := self._begin(index)) is not None]
            best = min([*tried, *([best] if best else [])], key=lambda one: one[:4], default=None)
        assert best is not None, "the first unfinished layer can always go on"
        *_, half, chosen = best
        return self._take(half, chosen)

    def _begin(self, index: int) -> _Open | None:
        """The next task of a layer, if it can be begun."""
        if self._waiting.get(index) is None and self._queues[index]:
            task = self._queues[index][0]
            every = self.passes(task)
            ready = self._progress.ready(task, every)
            self._waiting[index] = None if ready is None else _Open(
                task, ready, [one.tiles * self._latency.rows_cycles(task.box.pixels) for one in every])
        return self._waiting.get(index)

    def _start(self, one: _Open, time: int) -> int:
        """When the next pass of a task begins, from ``time`` on."""
        start = max(time, one.ready[one.next] + self._preload)
        if one.next == 0:
            layer = self.layers[one.task.layer]
            needed = self._constants.needed(layer, layer.parts[one.task.part]) + self._progress.fetch(one.task)
            if needed:
                start = max(start, self._constants.time + needed + 40)
        return start

    def _wait(self, half: int, one: _Open, time: int) -> int:
        """Cycles that the array is idle before the next pass of a task, and after its last one if nothing else can be done then."""
        start = self._start(one, time)
        other = self._halves[1 - half]
        after = 0 if isinstance(other, _Open) else max(0, other - start - one.left)
        return start - self._array + after

    def _take(self, half: int, one: _Open) -> Step:
        task, layer = one.task, self.layers[one.task.layer]
        part = layer.parts[task.part]
        state = self._halves[half]
        start = self._start(one, self._array if isinstance(state, _Open) else max(self._array, state))
        if one.next == 0:
            self._queues[task.layer].popleft()
            self._waiting[task.layer] = None
            self._constants.load(layer, part, start + one.left, self._progress.fetched(task))
            self._halves[half] = one
        self._array = start + one.cycles[one.next]
        one.next += 1
        step = Step(task, half, one.next - 1, one.next)
        if one.next == len(one.cycles):
            rows = task.box.pixels * (layer.taps if layer.spread else 1)
            self._store = max(self._array + self._settle, self._store) + rows * -(-part.width // self.config.epilogue.lanes)
            self._halves[half] = self._store + _READ
            self._progress.written(task, self._store + _WRITTEN)
        return step


def _sequence(config: Config, layer: Layer, boxes: Sequence[Box], index: int, ring: int) -> list[Task]:
    """Tiles of a layer: all parts of a box one after the other where the weights stay on chip meanwhile, else all boxes of a part."""
    weights = sum(size for part in layer.parts for _, size in constants(layer, part, config.array.rows))
    if weights <= ring or len(boxes) == 1:
        return [Task(index, box, part) for box in boxes for part in range(len(layer.parts))]
    return [Task(index, box, part) for part in range(len(layer.parts)) for box in boxes]
