"""Tiles of a network as commands: LOADs of what is not on chip yet, EXECUTEs, STOREs, with the regions that each touches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .commands import PARAMETER_WORDS, TABLE_WORDS, Bank, Command, Execute, Load, Store, signed16
from .config import Config
from .hazards import Space
from .layers import Constant, Dynamic, Extent, Layer, Part, Task, TensorSpec, Term, fits_chip
from .plan_fetch import fetch_packed, fetch_plain, fill_packed
from .plan_memory import Placement
from .plan_order import Item
from .plan_passes import Pass, joined, passes
from .plan_schedule import Step
from .plan_targets import Piece, Results, to_activations, to_memory, to_weights, vector_rows, weight_rows
from .program import Region
from .rings import Ring
from .tiling import Chunk, window
from .views import Box, View, by_tiles, depth_of

__all__ = ["Emitter"]

PARAMETER_BYTES = 4 * PARAMETER_WORDS
_BLOCKS = 4        # blocks of parameters that are on chip at once, at least
_CHANNELS = 64     # whose parameters come in together
_STRIPS = 6   # in which a packed image comes in, after the first tile's


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
        self.config, self.specs, self.layers, self.placement, self.constants = config, specs, layers, placement, constants
        self.items: list[Item] = []
        self._weights = Ring(0, placement.weight_ring)
        self._windows = Ring(*placement.windows)
        self._parameters = Ring(0, config.parameter_groups)
        self._table: int | None = None
        self._passes: dict[tuple[int, int], list[Pass]] = {}
        self._blocks = _parameter_blocks(config, layers)
        self._layer = 0
        self._next_row, self._places = [0, 0], [0, 0]   # of each half: the first free row, and that of the tile in work
        self._loaded: dict[str, int] = {}   # pixels of a tensor that have been asked for

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
                weights, rows_read = self._constant(term.weights, part, term.channels(self.config.array.rows), one)
            else:
                weights, rows_read = self._dynamic(term.weights, part, box.image, one)
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
            self._passes[key] = passes(self.config, layer, layer.parts[task.part], self._weights.size)
        return self._passes[key]

    def _store(self, layer: Layer, part: Part, box: Box, half: int) -> None:
        """What becomes of a tile's sums."""
        sums = Region(Space.ACCUMULATOR, half, half + box.pixels * (layer.taps if layer.spread else 1))
        reads, fields = [sums], {"operation": layer.operation, "columns": part.width, "zero_point": layer.zero_point, "low": layer.low,
                                 "high": layer.high}
        if part.parameters is not None:
            group = self._parameter_group(part.parameters, part.width)
            reads.append(Region(Space.PARAMETER, group, group - (-part.width // self.config.epilogue.lanes)))
            fields["parameter_group"] = group
        if layer.table is not None:
            reads.append(Region(Space.TABLE, 0, TABLE_WORDS))
            if layer.table != self._table:
                self._put(Load(bank=Bank.TABLE, base=self.constants, offset=layer.table, run=4 * TABLE_WORDS), [], reads[-1:])
                self._table = layer.table
        if layer.spread:
            fields |= {"window": layer.taps, "window_stride": box.pixels}
        for piece in self._pieces(layer, part, box):
            self._put(Store(row=half + piece.row, **fields, **piece.fields), reads, piece.writes)

    def _parameter_group(self, offset: int, width: int) -> int:
        """Where the parameters of a part are, loaded if they must be, with those of the parts behind it."""
        block, size = self._blocks.get(offset, (offset, width * PARAMETER_BYTES))
        each = self.config.epilogue.lanes * PARAMETER_BYTES
        row, new = self._parameters.place(block, -(-size // each))
        if new:
            self._put(Load(bank=Bank.PARAMETER, base=self.constants, offset=block, run=size, row=row), [],
                      [Region(Space.PARAMETER, row, row - (-size // each))])
        return row + (offset - block) // each

    def _put(self, command: Command, reads: list[Region], writes: list[Region]) -> None:
        self.items.append(Item(command, reads, writes, self._layer))

    # Sums

    def _constant(self, weights: Constant, part: Part, channels: int, one: Pass) -> tuple[dict[str, int], Region]:
        """EXECUTE's weight fields, the weights loaded."""
        rows, cols = self.config.array.rows, self.config.array.cols
        first, count = (0, rows) if weights.uniform else (one.block.first, one.block.count)
        row, new = self._weights.place((weights.offset, first), count)
        if new:
            place = {"run": count * cols} if part.width == cols else {
                "run": part.width, "count1": count, "stride1": part.width, "row_stride1": 1}
            self._put(Load(bank=Bank.WEIGHT, base=self.constants, offset=weights.offset + first * part.width, row=row, **place), [],
                      [Region(Space.WEIGHT, row, row + count)])
        if weights.uniform:
            return {"weight_row": row}, Region(Space.WEIGHT, row, row + rows)
        chunk = one.chunk
        start = row + chunk.first - first
        fields = {"weight_row": start, "weight_ct": rows, "weight_kx": signed16(channels), "weight_ky": signed16(chunk.kx_count * channels)}
        return fields, Region(Space.WEIGHT, start, start + chunk.count)

    def _dynamic(self, weights: Dynamic, part: Part, image: int, one: Pass) -> tuple[dict[str, int], Region]:
        """The same for a tensor: it lies in the weight scratchpad, or is loaded from memory."""
        array, chunk, block = self.config.array, one.chunk, one.block
        extent = self.specs[weights.tensor].extent
        matrix = weights.images[image]
        each = -(-array.rows // array.cols)   # weight rows of a transposed chunk
        inner = extent.channels if weights.transposed else extent.height * extent.width
        start = self.placement.weights_at(weights)
        if start is not None:
            start += matrix * weight_rows(self.config, extent, weights.transposed)
            stride = vector_rows(self.config, inner)
            start += part.first * stride if weights.transposed else part.first // array.cols * inner + block.first
            tile = block.ct
        else:
            stride = block.ct_count * each
            start, tile = self._matrix(weights, part, matrix, block, array.cols * stride if weights.transposed else block.count), 0
        if weights.transposed:
            return ({"weight_row": start + (tile + chunk.ct - block.ct) * each, "weight_stride": stride, "weight_ct": each, "transpose": 1},
                    Region(Space.WEIGHT, start, start + array.cols * stride))
        row = start + chunk.first - block.first
        return {"weight_row": row, "weight_ct": array.rows}, Region(Space.WEIGHT, row, row + chunk.count)

    def _matrix(self, weights: Dynamic, part: Part, matrix: int, block: Chunk, rows: int) -> int:
        """First row of a block of a matrix in memory, loaded."""
        array, extent = self.config.array, self.specs[weights.tensor].extent
        row, new = self._weights.place((weights.tensor, weights.transposed, matrix, part.first, block.first), rows)
        if not new:
            return row
        base, offset, temporary = self.placement.memory[self.placement.root(weights.tensor)]
        size = extent.height * extent.width * extent.channels
        offset += matrix * size
        reads = [Region((Space.MEMORY, base), offset, offset + size)] if temporary else []
        writes = [Region(Space.WEIGHT, row, row + rows)]
        common = {"bank": Bank.WEIGHT, "base": base}
        if not weights.transposed:
            self._put(Load(**common, offset=offset + block.first * extent.channels + part.first, run=part.width, count1=block.count,
                           stride1=extent.channels, row_stride1=1, row=row), reads, writes)
            return row
        # A vector's channel tiles each begin a row; the last one may be shorter.
        each = -(-array.rows // array.cols)
        full, rest = divmod(block.count, array.rows)
        for tile, count, run in ((0, full, array.rows), (full, 1 if rest else 0, rest)):
            if count:
                self._put(Load(**common, offset=offset + part.first * extent.channels + block.first + tile * array.rows, run=run,
                               count1=count, stride1=array.rows, row_stride1=each, count2=part.width, stride2=extent.channels,
                               row_stride2=block.ct_count * each, row=row + tile * each), reads, writes)
        return row

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
        view = self._view(name, needed, term.first, term.depth)
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

    # Tensors

    def _view(self, name: str, needed: Box, first: int, depth: int) -> View:
        """Where the pixels ``needed`` are, loaded if they must be."""
        spec, place = self.specs[name], self.placement
        root = place.root(name)
        extent, tiled = spec.extent, by_tiles(self.config)
        if root in place.chip and fits_chip(self.specs, name):
            view = View(place.chip[root], Box(0, extent.images, 0, extent.height, 0, extent.width), 0,
                        depth_of(self.config, extent.channels), tiled)
            if place.specs[root].given or place.specs[root].packing:
                self._fetch_lines(name, view, needed)
            return view
        row, new = self._windows.place((root, needed, first, depth), needed.pixels * depth)
        view = View(row, needed, first, depth, tiled)
        if new and needed.pixels:
            if spec.packing:
                self._load_all(fill_packed(spec.packing, self.constants, view, needed), view, needed)
            self._fetch(name, view, needed, first, depth)
        return view

    def _fetch_lines(self, name: str, view: View, needed: Box) -> None:
        """Load the pixels of a tensor up to the last line of ``needed``, as far as that has not been done."""
        spec, root = self.specs[name], self.placement.root(name)
        extent = spec.extent
        start = self._loaded.get(root, 0)
        stop = ((needed.image + needed.images - 1) * extent.height + needed.y + needed.rows) * extent.width
        if not needed.pixels or stop <= start:
            return
        self._loaded[root] = stop
        if spec.packing:
            if not start:
                every = Box(0, extent.images, 0, extent.height, 0, extent.width)
                self._load_all(fill_packed(spec.packing, self.constants, view, every), view, every)
            else:  # in strips, for every one takes several commands
                stop = min(max(stop, start + -(-extent.height // _STRIPS) * extent.width), extent.pixels)
            self._loaded[root] = stop
            line, last = start // extent.width, stop // extent.width
            while line < last:
                image, y = divmod(line, extent.height)
                count = min(extent.height - y, last - line)
                self._fetch(name, view, Box(image, 1, y, count, 0, extent.width), 0, view.depth)
                line += count
        else:  # in the order of memory
            flat = view._replace(box=Box(0, 1, 0, 1, 0, extent.pixels))
            self._fetch(name, flat, Box(0, 1, 0, 1, start, stop - start), 0, view.depth, Extent(1, 1, extent.pixels, extent.channels))

    def _fetch(self, name: str, view: View, box: Box, first: int, depth: int, extent: Extent | None = None) -> None:
        spec = self.specs[name]
        extent = extent or spec.extent
        writes = [Region(Space.ACTIVATION, *rows) for rows in view.rows(box, first, depth)]
        if spec.packing:
            base, offset, _ = self.placement.memory[self.placement.root(str(spec.origin))]
            self._load_all(fetch_packed(spec.packing, base, offset, view, box), view, box)
            return
        base, offset, temporary = self.placement.memory[self.placement.root(name)]
        start = offset + ((box.image * extent.height + box.y) * extent.width + box.x) * extent.channels
        last = ((box.image + box.images - 1) * extent.height + box.y + box.rows - 1) * extent.width + box.x + box.columns
        reads = [Region((Space.MEMORY, base), start, offset + last * extent.channels)] if temporary else []
        for load in fetch_plain(self.config.array.rows, extent, base, offset, view, box, first, depth):
            self._put(load, reads, writes)

    def _load_all(self, loads: Iterator[Load], view: View, box: Box) -> None:
        """LOADs of parts of ``box``."""
        for load in loads:
            self._put(load, [], [Region(Space.ACTIVATION, *rows) for rows in view.rows(box, view.first, view.depth)])

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
                yield from to_weights(self.config, results, place.weights[root, transposed], transposed)
        if root in place.memory:
            yield from to_memory(results, *place.memory[root])


def _parameter_blocks(config: Config, layers: Sequence[Layer]) -> dict[int, tuple[int, int]]:
    """For the parameters of each part, of all layers but the first one, which should not wait: the block in which they are loaded,
    (offset, bytes). Parts of a layer that follow each other in memory share one."""
    each = config.epilogue.lanes * PARAMETER_BYTES
    most = max(1, min(config.parameter_groups // _BLOCKS, _CHANNELS // config.epilogue.lanes)) * each
    blocks: dict[int, tuple[int, int]] = {}
    for layer in layers[1:]:
        members: list[int] = []
        start = size = 0
        for part in (*layer.parts, None):
            offset = None if part is None else part.parameters
            if members and (part is None or offset != start + -(-size // each) * each
                            or offset + part.width * PARAMETER_BYTES - start > most):
                blocks |= dict.fromkeys(members, (start, size))
                members = []
            if part is not None and offset is not None and offset not in blocks:
                start = start if members else offset
                members.append(offset)
                size = offset - start + part.width * PARAMETER_BYTES
    return blocks
