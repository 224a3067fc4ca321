"""What the schedule knows of the state of things: which parts of tensors are there, and which constants are on chip."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from .commands import PARAMETER_WORDS
from .config import Config
from .layers import Constant, Layer, Part, Task, TensorSpec, fits_chip, root_of
from .plan_passes import Pass
from .tiling import window
from .views import Box, depth_of, span

__all__ = ["Constants", "Progress", "constants"]

_RUN = 0.9   # words of a short run, besides its bytes


class Progress:
    """Of every channel tile and pixel of a tensor: how many channels are still to be made, and when it was made."""

    def __init__(self, config: Config, specs: Mapping[str, TensorSpec], layers: Sequence[Layer]) -> None:
        self.config, self.specs, self.layers = config, specs, layers
        rows = config.array.rows
        self._missing: dict[str, np.ndarray] = {}
        self._made: dict[str, np.ndarray] = {}
        self._pixel_cycles: dict[str, float] = {}   # of a tensor that is given: cycles to load a pixel
        self._fetched: dict[str, int] = {}
        for layer in layers:
            root = root_of(specs, layer.output)
            extent = specs[root].extent
            depth = depth_of(config, extent.channels)
            missing = np.full((depth, extent.pixels), rows, np.int32)
            missing[-1] = extent.channels - (depth - 1) * rows
            self._missing[root], self._made[root] = missing, np.zeros((depth, extent.pixels), np.int64)
        for name, spec in specs.items():
            if spec.packing is not None:
                self._pixel_cycles[name] = spec.packing.lines * (spec.packing.run / config.bus_bytes + _RUN)
            elif spec.given:
                self._pixel_cycles[name] = spec.extent.channels / config.bus_bytes

    def ready(self, task: Task, every: Sequence[Pass]) -> list[int] | None:
        """When all that each pass reads has been written; None while that is not scheduled."""
        layer = self.layers[task.layer]
        times = []
        for one in every:
            term = layer.parts[task.part].terms[one.term]
            time = 0
            if term.source is not None:
                box = task.box._replace(image=term.images[task.box.image]) if term.images else task.box
                seen = self._look(layer.inputs[term.source], window(layer.shape, box, (one.chunk.ky, one.chunk.ky_count)),
                                  term.first + one.chunk.ct, one.chunk.ct_count)
                if seen is None:
                    return None
                time = seen
            if not isinstance(term.weights, Constant):
                extent = self.specs[term.weights.tensor].extent
                seen = self._look(term.weights.tensor, Box(term.weights.images[task.box.image], 1, 0, extent.height, 0, extent.width), 0,
                                  depth_of(self.config, extent.channels))
                if seen is None:
                    return None
                time = max(time, seen)
            times.append(time)
        return times

    def _look(self, name: str, box: Box, first: int, depth: int) -> int | None:
        root = root_of(self.specs, name)
        missing = self._missing.get(root)
        if missing is None or not box.pixels:
            return 0
        low, high = span(self.specs[name].extent, box)
        if not fits_chip(self.specs, name):
            first, depth, low, high = 0, len(missing), 0, missing.shape[1]  # another shape: all of it
        if missing[first:first + depth, low:high].any():
            return None
        return int(self._made[root][first:first + depth, low:high].max())

    def written(self, task: Task, time: int) -> None:
        """A task is complete."""
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

    def fetch(self, task: Task) -> int:
        """Cycles of LOAD to bring in what the task needs of the program's inputs."""
        return sum(int((stop - start) * self._pixel_cycles[root]) for root, start, stop in self._inputs(task))

    def fetched(self, task: Task) -> int:
        """The same, and they are there from now on."""
        cycles = self.fetch(task)
        self._fetched |= {root: stop for root, _, stop in self._inputs(task)}
        return cycles

    def _inputs(self, task: Task) -> list[tuple[str, int, int]]:
        layer, found = self.layers[task.layer], []
        for term in layer.parts[task.part].terms:
            if term.source is None:
                continue
            root = root_of(self.specs, layer.inputs[term.source])
            if root in self._pixel_cycles:
                box = window(layer.shape, task.box)
                start, stop = self._fetched.get(root, 0), span(self.specs[root].extent, box)[1] if box.pixels else 0
                if stop > start:
                    found.append((root, start, stop))
        return found


class Constants:
    """Constants on chip, and when LOAD has brought in the last ones."""

    def __init__(self, config: Config, ring: int) -> None:
        self.config, self.ring = config, ring
        self.time = 0
        self._resident: deque[tuple[object, int]] = deque()   # in the order of loading: key, when it was used
        self._held: dict[object, int] = {}
        self._rows = 0

    def needed(self, layer: Layer, part: Part) -> int:
        """Cycles of LOAD for what of a part is not on chip."""
        row_bytes = self.config.weight_bytes(part.width)
        cycles = sum(size * row_bytes // self.config.bus_bytes for key, size in constants(layer, part, self.config.array.rows)
                     if key not in self._held)
        if part.parameters is not None and part.parameters not in self._held:
            cycles += part.width * PARAMETER_WORDS
        return cycles

    def load(self, layer: Layer, part: Part, used: int, fetched: int) -> None:
        """Bring them in for a tile that is done at ``used``, and take ``fetched`` cycles for other things."""
        for key, size in constants(layer, part, self.config.array.rows):
            if key in self._held:
                continue
            while self._resident and self._rows + size > self.ring:
                old, until = self._resident.popleft()
                self._rows -= self._held.pop(old, 0)
                self.time = max(self.time, until)
            self.time += size * self.config.weight_bytes(part.width) // self.config.bus_bytes
            self._held[key] = size
            self._rows += size
            self._resident.append((key, used))
        if part.parameters is not None and part.parameters not in self._held:
            self._held[part.parameters] = 0
            self.time += part.width * PARAMETER_WORDS
        self.time += fetched


def constants(layer: Layer, part: Part, rows: int) -> list[tuple[object, int]]:
    """(key, weight rows) of the constant weights of a part."""
    return [(term.weights.offset, rows if term.weights.uniform else layer.taps * term.channels(rows))
            for term in part.terms if isinstance(term.weights, Constant)]
