"""What tiles need on chip: weights, parameters, tables and windows of tensors, found there or loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from .commands import PARAMETER_WORDS, TABLE_WORDS, Bank, Load, signed16
from .config import Config
from .hazards import Space
from .layers import Constant, Dynamic, Extent, Layer, Part, TensorSpec, fits_chip
from .plan_fetch import fetch_packed, fetch_plain, fill_packed
from .plan_memory import Placement
from .plan_passes import Pass
from .plan_targets import vector_rows, weight_rows
from .program import Region
from .rings import Ring
from .tiling import Chunk
from .views import Box, View, by_tiles, depth_of

__all__ = ["Resident"]

PARAMETER_BYTES = 4 * PARAMETER_WORDS
_BLOCKS = 4        # blocks of parameters that are on chip at once, at least
_CHANNELS = 64     # whose parameters come in together
_STRIPS = 6        # in which a packed image comes in, after the first tile's


class Resident:
    """Knows what is on chip; what is not is loaded by ``put(command, reads, writes)``.

    Parameters
    ----------
    config : the accelerator
    specs, layers, placement : tensors, who uses them, and where they are
    constants : base register of weights and parameters
    """

    def __init__(self, config: Config, specs: Mapping[str, TensorSpec], layers: Sequence[Layer], placement: Placement, *,
                 constants: int, put: Callable[[Load, list[Region], list[Region]], None]) -> None:
        self.config, self.specs, self.placement, self.constants, self._put = config, specs, placement, constants, put
        self._weights = Ring(0, placement.weight_ring)
        self._windows = Ring(*placement.windows)
        self._parameters = Ring(0, config.parameter_groups)
        self._blocks = _parameter_blocks(config, layers)
        self._table: int | None = None
        self._loaded: dict[str, int] = {}   # pixels of a tensor that have been asked for

    def table(self, offset: int) -> None:
        """The words that STORE looks up."""
        if offset != self._table:
            self._put(Load(bank=Bank.TABLE, base=self.constants, offset=offset, run=4 * TABLE_WORDS), [],
                      [Region(Space.TABLE, 0, TABLE_WORDS)])
            self._table = offset

    def parameters(self, offset: int, width: int) -> int:
        """Where the parameters of a part are, loaded if they must be, with those of the parts behind it."""
        block, size = self._blocks.get(offset, (offset, width * PARAMETER_BYTES))
        each = self.config.epilogue.lanes * PARAMETER_BYTES
        row, new = self._parameters.place(block, -(-size // each))
        if new:
            self._put(Load(bank=Bank.PARAMETER, base=self.constants, offset=block, run=size, row=row), [],
                      [Region(Space.PARAMETER, row, row - (-size // each))])
        return row + (offset - block) // each

    def constant(self, weights: Constant, part: Part, channels: int, one: Pass) -> tuple[dict[str, int], Region]:
        """EXECUTE's weight fields, the weights loaded."""
        rows = self.config.array.rows
        first, count = (0, rows) if weights.uniform else (one.block.first, one.block.count)
        row, new = self._weights.place((weights.offset, first), count)
        if new:
            run = self.config.weight_bytes(part.width)
            place = {"run": count * run} if run == self.config.weight_lanes else {
                "run": run, "count1": count, "stride1": run, "row_stride1": 1}
            self._put(Load(bank=Bank.WEIGHT, base=self.constants, offset=weights.offset + first * run, row=row, **place), [],
                      [Region(Space.WEIGHT, row, row + count)])
        if weights.uniform:
            return {"weight_row": row}, Region(Space.WEIGHT, row, row + rows)
        chunk = one.chunk
        start = row + chunk.first - first
        fields = {"weight_row": start, "weight_ct": rows, "weight_kx": signed16(channels), "weight_ky": signed16(chunk.kx_count * channels)}
        return fields, Region(Space.WEIGHT, start, start + chunk.count)

    def matrix(self, weights: Dynamic, part: Part, image: int, one: Pass) -> tuple[dict[str, int], Region]:
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
            start, tile = self._load_matrix(weights, part, matrix, block, array.cols * stride if weights.transposed else block.count), 0
        if weights.transposed:
            return ({"weight_row": start + (tile + chunk.ct - block.ct) * each, "weight_stride": stride, "weight_ct": each, "transpose": 1},
                    Region(Space.WEIGHT, start, start + array.cols * stride))
        row = start + chunk.first - block.first
        return {"weight_row": row, "weight_ct": array.rows}, Region(Space.WEIGHT, row, row + chunk.count)

    def _load_matrix(self, weights: Dynamic, part: Part, matrix: int, block: Chunk, rows: int) -> int:
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

    def view(self, name: str, needed: Box, first: int, depth: int) -> View:
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
