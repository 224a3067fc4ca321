"""In which order the tiles of a network are done: list scheduling with a rough idea of time.

Layers overlap: a tile may be next as soon as what it reads has been scheduled. Of the next tiles of a few unfinished layers, the one is
taken that lets the array wait least, now (for what the tile reads, for its weights, for the accumulator half that it takes) and
afterwards (for the half that STORE is still emptying when it ends). Tiles of one layer stay in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .config import Config
from .latency import Latency
from .layers import Constant, Layer, Part, Task, TensorSpec, root_of
from .tiling import window
from .views import Box, depth_of

__all__ = ["Scheduler"]

_DRAIN = 34       # cycles from a tile's last row to the first that STORE reads, besides what settles
_WRITTEN = 24     # from there to the last byte written, besides the rows
_BEGIN = 8        # from what is written to the first row that needs it, besides the preload
_PARAMETER = 12   # bytes of a channel's parameters


class _Cost(NamedTuple):
    execute: int
    store: int
    load: int     # bytes of constants, where they are not on chip yet


class Scheduler:
    """Order of all tiles of ``layers``.

    Parameters
    ----------
    config : the accelerator
    specs : tensors
    layers : in an order in which they can be done
    boxes : tiles of each
    ahead : unfinished layers that take part
    """

    def __init__(self, config: Config, specs: Mapping[str, TensorSpec], layers: Sequence[Layer], boxes: Sequence[Sequence[Box]], *,
                 ahead: int, ring: int) -> None:
        self.config, self.specs, self.layers, self.ahead, self.ring = config, specs, layers, ahead, ring
        latency = Latency(config)
        rows = config.array.rows
        self._tile = latency.swap_to_shift - 2 + max(rows + 1 + latency.shift_to_swap, latency.tile)  # cycles of a weight tile, at least
        self._settle, self._preload = latency.settle, rows + 4 + _BEGIN
        self._queues = [deque(_sequence(config, layer, many, index, ring)) for index, (layer, many) in
                        enumerate(zip(layers, boxes, strict=True))]
        # Of every channel tile and pixel: channels that are still to be made, and when it was made.
        self._missing: dict[str, np.ndarray] = {}
        self._made: dict[str, np.ndarray] = {}
        for layer in layers:
            root = root_of(specs, layer.output)
            extent = specs[root].extent
            depth = depth_of(config, extent.channels)
            missing = np.full((depth, extent.pixels), rows, np.int32)
            missing[-1] = extent.channels - (depth - 1) * rows
            self._missing[root], self._made[root] = missing, np.zeros((depth, extent.pixels), np.int64)
        self._resident: deque[tuple[object, int, int]] = deque()   # constants on chip: key, rows, when they were used last
        self._held: dict[object, int] = {}
        self._ready: dict[int, int | None] = {}

    def order(self) -> list[Task]:
        """All tiles."""
        if self.ahead <= 1:
            return [task for queue in self._queues for task in queue]
        tasks: list[Task] = []
        array = load = store = 0          # when each engine is free
        halves = [0, 0]
        active = deque(range(len(self.layers)))
        while active:
            best: tuple[int, int, int, int] | None = None
            half = len(tasks) % 2
            for index in list(active)[:self.ahead]:
                ready = self._reads_ready(index)
                if ready is None:
                    continue
                cost = self._cost(self._queues[index][0])
                start = max(array, halves[half], ready + self._preload, load + cost.load // self.config.bus_bytes if cost.load else 0)
                end = start + cost.execute
                # The next tile finds its half when STORE has done the one before: that is waiting too.
                wait = (start - array) + max(0, halves[1 - half] - end)
                score = (wait, -index, start, end)
                if best is None or score < best:
                    best = score
            assert best is not None, "the first unfinished layer can always go on"
            _, negative, start, end = best
            index = -negative
            task = self._queues[index].popleft()
            cost = self._cost(task)
            if cost.load:
                load = self._load(task, load, end)
            begin = max(end + self._settle, store)
            store = begin + cost.store
            halves[half] = store + 5
            array = end
            self._write(task, store + _WRITTEN)
            self._ready.pop(index, None)
            tasks.append(task)
            if not self._queues[index]:
                active.remove(index)
        return tasks

    def _cost(self, task: Task) -> _Cost:
        layer = self.layers[task.layer]
        part = layer.parts[task.part]
        rows, lanes = self.config.array.rows, self.config.epilogue.lanes
        pixels = task.box.pixels
        tiles = sum(layer.taps * term.depth * term.times for term in part.terms)
        store = pixels * -(-part.width // lanes) * (layer.taps if layer.spread else 1)
        load = sum(size * part.width for key, size in constants(layer, part, rows) if key not in self._held)
        if part.parameters is not None and part.parameters not in self._held:
            load += part.width * _PARAMETER * self.config.bus_bytes // 4   # four bytes in a cycle
        return _Cost(tiles * max(pixels, self._tile), store, load)

    def _load(self, task: Task, time: int, end: int) -> int:
        """Constants of a task come in from ``time`` on, where older ones are not needed any more; when they are there."""
        layer = self.layers[task.layer]
        part = layer.parts[task.part]
        for key, size in constants(layer, part, self.config.array.rows):
            if key in self._held:
                continue
            while self._resident and sum(self._held.values()) + size > self.ring:
                old, _, used = self._resident.popleft()
                self._held.pop(old, None)
                time = max(time, used)
            time += size * part.width // self.config.bus_bytes
            self._held[key] = size
            self._resident.append((key, size, end))
        if part.parameters is not None and part.parameters not in self._held:
            self._held[part.parameters] = 0
            time += part.width * _PARAMETER // 4
        return time

    def _reads_ready(self, index: int) -> int | None:
        """When all that the layer's next tile reads has been written; None while that is not scheduled."""
        if self._ready.get(index) is None:
            self._ready[index] = self._look(self._queues[index][0])
        return self._ready[index]

    def _look(self, task: Task) -> int | None:
        layer = self.layers[task.layer]
        time = 0
        for term in layer.parts[task.part].terms:
            regions = []
            if term.source is not None:
                box = task.box._replace(image=term.images[task.box.image]) if term.images else task.box
                regions.append((layer.inputs[term.source], window(layer.shape, box), term.first, term.depth))
            if not isinstance(term.weights, Constant):
                extent = self.specs[term.weights.tensor].extent
                regions.append((term.weights.tensor, Box(term.weights.images[task.box.image], 1, 0, extent.height, 0, extent.width), 0,
                                depth_of(self.config, extent.channels)))
            for name, box, first, depth in regions:
                missing = self._missing.get(root_of(self.specs, name))
                if missing is None or not box.pixels:
                    continue
                extent = self.specs[name].extent
                low = (box.image * extent.height + box.y) * extent.width + box.x
                high = ((box.image + box.images - 1) * extent.height + box.y + box.rows - 1) * extent.width + box.x + box.columns
                if missing[first:first + depth, low:high].any():
                    return None
                time = max(time, int(self._made[root_of(self.specs, name)][first:first + depth, low:high].max()))
        return time

    def _write(self, task: Task, time: int) -> None:
        layer = self.layers[task.layer]
        part, box = layer.parts[task.part], task.box
        root = root_of(self.specs, layer.output)
        extent = self.specs[layer.output].extent
        rows = self.config.array.rows
        first_x = part.phase + layer.step * box.x
        place = (slice(box.image, box.image + box.images), slice(box.y, box.y + box.rows),
                 slice(first_x, first_x + (box.columns - 1) * layer.step + 1, layer.step))
        shape = extent.images, extent.height, extent.width
        for tile in range(part.first // rows, (part.first + part.width - 1) // rows + 1):
            channels = min(part.first + part.width, (tile + 1) * rows) - max(part.first, tile * rows)
            self._missing[root][tile].reshape(shape)[place] -= channels
            made = self._made[root][tile].reshape(shape)
            made[place] = np.maximum(made[place], time)


def constants(layer: Layer, part: Part, rows: int) -> list[tuple[object, int]]:
    """(key, weight rows) of the constant weights of a part."""
    return [(term.weights.offset, rows if term.weights.uniform else layer.taps * term.channels(rows))
            for term in part.terms if isinstance(term.weights, Constant)]


def _sequence(config: Config, layer: Layer, boxes: Sequence[Box], index: int, ring: int) -> list[Task]:
    """Tiles of a layer: all parts of a box one after the other where the weights stay on chip meanwhile, else all boxes of a part."""
    weights = sum(size for part in layer.parts for _, size in constants(layer, part, config.array.rows))
    if weights <= ring or len(boxes) == 1:
        return [Task(index, box, part) for box in boxes for part in range(len(layer.parts))]
    return [Task(index, box, part) for part in range(len(layer.parts)) for box in boxes]
