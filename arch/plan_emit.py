"""Tiles of a network as commands: LOADs of what is not on chip yet, EXECUTEs, STOREs, with the regions that each touches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .commands import TABLE_WORDS, Command, Execute, Store, signed16
from .config import Config
from .hazards import Space
from .layers import Constant, Layer, Part, Task, TensorSpec, Term
from .plan_memory import Placement
from .plan_order import Item
from .plan_passes import Pass, joined, passes
from .plan_resident import Resident
from .plan_schedule import Step
from .plan_targets import Piece, Results, to_activations, to_memory, to_weights
from .program import Region
from .tiling import Chunk, window
from .views import Box, View, by_tiles, depth_of

__all__ = ["Emitter"]


class Emitter:
    """Turns steps into :attr:`items`, one after the other.

    Parameters
    ----------
    config : the accelerator
    specs : tensors
    placement : where they are
    constants : base register of weights and parameters
    """

    def __init__(self, config: Config, specs: Mapping[str, TensorSpec], layers: Sequence[Layer], placement: Placement, *,
                 constants: int) -> None:
        self.config, self.specs, self.layers, self.placement = config, specs, layers, placement
        self.items: list[Item] = []
        self._resident = Resident(config, specs, layers, placement, constants=constants, put=self._put)
        self._passes: dict[tuple[int, int], list[Pass]] = {}
        self._layer = 0
        self._next_row, self._places = [0, 0], [0, 0]   # of each half: the first free row, and that of the tile in work

    def add(self, step: Step) -> None:
        """All commands of a step."""
        task = step.task
        layer, self._layer = self.layers[task.layer], task.layer
        part, box = layer.parts[task.part], task.box
        if step.first == 0:
            self._places[step.half] = self._sums(step.half, box.pixels * (layer.taps if layer.spread else 1))
        half = self._places[step.half]
        every = self._passes_of(task)
        for number, one in enumerate(joined(every[step.first:step.stop])):
            term = part.terms[one.term]
            row = half + one.spread * box.pixels
            if isinstance(term.weights, Constant):
                weights, rows_read = self._resident.constant(term.weights, part, term.channels(self.config.array.rows), one)
            else:
                weights, rows_read = self._resident.matrix(term.weights, part, box.image, one)
            walk, pixels = self._activations(layer, term, box, one.chunk)
            fresh = layer.spread or step.first + number == 0
            self._put(Execute(accumulate=int(not fresh), accumulator_row=row, **walk, **weights), [rows_read, *pixels],
                      [Region(Space.ACCUMULATOR, row, row + box.pixels)])
        if step.stop == len(every):
            self._store(layer, part, box, half)

    def _sums(self, half: int, rows: int) -> int:
        """First accumulator row for a tile: behind those of the one before it in this half, so that it need not wait until STORE has
        written, only until it has read."""
        start = self._next_row[half]
        if start + rows > self.config.half_rows:
            start = 0
        self._next_row[half] = start + rows
        return half * self.config.half_rows + start

    def _passes_of(self, task: Task) -> list[Pass]:
        key = task.layer, task.part
        if key not in self._passes:
            layer = self.layers[task.layer]
            self._passes[key] = passes(self.config, layer, layer.parts[task.part], self.placement.weight_ring)
        return self._passes[key]

    def _store(self, layer: Layer, part: Part, box: Box, half: int) -> None:
        """What becomes of a tile's sums."""
        sums = Region(Space.ACCUMULATOR, half, half + box.pixels * (layer.taps if layer.spread else 1))
        reads, fields = [sums], {"operation": layer.operation, "columns": part.width, "zero_point": layer.zero_point, "low": layer.low,
                                 "high": layer.high}
        if part.parameters is not None:
            group = self._resident.parameters(part.parameters, part.width)
            reads.append(Region(Space.PARAMETER, group, group - (-part.width // self.config.epilogue.lanes)))
            fields["parameter_group"] = group
        if layer.table is not None:
            reads.append(Region(Space.TABLE, 0, TABLE_WORDS))
            self._resident.table(layer.table)
        if layer.spread:
            fields |= {"window": layer.taps, "window_stride": box.pixels}
        for piece in self._pieces(layer, part, box):
            self._put(Store(row=half + piece.row, **fields, **piece.fields), reads, piece.writes)

    def _put(self, command: Command, reads: list[Region], writes: list[Region]) -> None:
        self.items.append(Item(command, reads, writes, self._layer))

    def _activations(self, layer: Layer, term: Term, box: Box, chunk: Chunk) -> tuple[dict[str, Any], list[Region]]:
        """EXECUTE's nests over windows and taps, the tensor loaded where it must be."""
        counts = {"ky_count": chunk.ky_count, "kx_count": chunk.kx_count, "ct_count": chunk.ct_count, "k_last": chunk.k_last,
                  "pad": term.pad}
        if term.source is None:  # coordinates beyond the only row of a tensor
            return {**counts, "y_origin": -1, "x_count": box.pixels}, []
        shape, name = layer.shape, layer.inputs[term.source]
        source = box._replace(image=term.images[box.image]) if term.images else box
        needed = window(shape, source)
        own = window(shape, source, (chunk.ky, chunk.ky_count))
        tile = term.first + chunk.ct
        view = self._resident.view(name, needed, term.first, term.depth)
        (sy, sx), (dy, dx) = shape.stride, shape.dilation
        y = box.y * sy - shape.padding[0][0] + chunk.ky * dy
        x = box.x * sx - shape.padding[1][0] + chunk.kx * dx
        step = view.pixel_stride
        line, image = view.box.columns * step, view.box.rows * view.box.columns * step
        if term.times > 1:
            dx = 0
        fields = {
            **counts, "activation_row": view.address(source.image, y, x, tile) % 0x10000, "activation_ct": signed16(view.tile_stride),
            "activation_ky": signed16(dy * line), "activation_kx": signed16(dx * step), "y_origin": y, "x_origin": x, "y_dilation": dy,
            "x_dilation": dx, "height": shape.height, "width": shape.width}
        reads = [Region(Space.ACTIVATION, *rows) for rows in view.rows(own, tile, chunk.ct_count)]
        if box.rows == box.columns == 1:  # images as columns of one line, which the smallest nest can walk
            return {**fields, "x_count": box.images, "activation_x": signed16(image)}, reads
        return {**fields, "x_count": box.columns, "y_count": box.rows, "b_count": box.images, "activation_b": signed16(image),
                "activation_y": signed16(sy * line), "activation_x": signed16(sx * step), "y_step": sy, "x_step": sx}, reads

    def _pieces(self, layer: Layer, part: Part, box: Box) -> Iterator[Piece]:
        """STOREs to all the places that the layer's output has."""
        place, extent = self.placement, self.specs[layer.output].extent
        root = place.root(layer.output)
        results = Results(extent, box._replace(x=part.phase + layer.step * box.x), layer.step, part.first, part.width)
        if root in place.chip:
            view = View(place.chip[root], Box(0, extent.images, 0, extent.height, 0, extent.width), 0,
                        depth_of(self.config, extent.channels), by_tiles(self.config))
            yield from to_activations(self.config, results, view)
        for transposed in (False, True):
            if (root, transposed) in place.weights:
                row, shape = place.weights[root, transposed]
                yield from to_weights(self.config, results, row, transposed, shape)
        if root in place.memory:
            yield from to_memory(results, *place.memory[root])
