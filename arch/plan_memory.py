"""Places for the tensors of a network by their lifetimes: in the scratchpads while that is possible, else in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from enum import Enum

from .config import Config
from .layers import Dynamic, Layer, Task, TensorSpec, fits_chip, root_of
from .lifetimes import Bands, Life, Segment, arrange
from .plan_targets import weight_rows
from .tiling import window
from .views import Box, Extent, by_tiles, depth_of, span

__all__ = ["DoesNotFit", "Placement", "Use", "place_tensors", "uses", "weight_shapes"]


_CANDIDATES = 12   # tensors that may have to go
_EARLY = 3   # tiles before the first that needs it, an input may come in


class DoesNotFit(Exception):
    """A tensor finds no room; ``name`` is the largest one of those that live when it happens, ``share`` what there is of what is needed."""

    def __init__(self, name: str, share: float):
        super().__init__(name)
        self.name, self.share = name, share


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """Where tensors are, by root.

    Parameters
    ----------
    chip : first row in the activation scratchpad
    weights : (tensor, transposed): first row in the weight scratchpad, and the tensor's shape there
    memory : (base register, offset, whether the program both writes and reads it)
    weight_ring : rows of the weight scratchpad, from 0 on, for weights from memory
    windows : (first row, rows) of the activation scratchpad for windows of tensors in memory
    scratch_bytes : memory for tensors of which the host knows nothing
    top : rows of the activation scratchpad that are used
    """

    specs: Mapping[str, TensorSpec]
    chip: Mapping[str, int]
    weights: Mapping[tuple[str, bool], tuple[int, Extent]]
    memory: Mapping[str, tuple[int, int, bool]]
    weight_ring: int
    windows: tuple[int, int]
    scratch_bytes: int
    top: int

    def root(self, name: str) -> str:
        return root_of(self.specs, name)

    def weights_at(self, weights: Dynamic) -> int | None:
        """First row of a tensor that lies in the weight scratchpad."""
        row, extent = self.weights.get((self.root(weights.tensor), weights.transposed), (None, None))
        return row if extent == self.specs[weights.tensor].extent else None


class Use(Enum):
    """How a layer reads a tensor: windows of activations, in another shape than it has on chip, as weights, as transposed weights, as
    weights from memory."""
    ACTIVATIONS = 0
    RESHAPED = 1
    WEIGHTS = 2
    TRANSPOSED = 3
    MATRICES = 4


def weight_shapes(specs: Mapping[str, TensorSpec], layers: Sequence[Layer]) -> dict[tuple[str, bool], Extent]:
    """Shapes in which tensors can lie in the weight scratchpad: those that their first readers want, if the channels stay."""
    shapes: dict[tuple[str, bool], Extent] = {}
    for layer in layers:
        for part in layer.parts:
            for term in part.terms:
                if isinstance(term.weights, Dynamic) and fits_chip(specs, term.weights.tensor):
                    root = root_of(specs, term.weights.tensor)
                    if not specs[root].given:
                        shapes.setdefault((root, term.weights.transposed), specs[term.weights.tensor].extent)
    return shapes


def uses(specs: Mapping[str, TensorSpec], layer: Layer, shapes: Mapping[tuple[str, bool], Extent]) -> Iterator[tuple[str, Use]]:
    """Tensors that a layer reads, by root; ``shapes`` as :func:`weight_shapes` gives them."""
    for part in layer.parts:
        for term in part.terms:
            if term.source is not None:
                name = layer.inputs[term.source]
                yield root_of(specs, name), Use.ACTIVATIONS if fits_chip(specs, name) else Use.RESHAPED
            if isinstance(term.weights, Dynamic):
                key = root_of(specs, term.weights.tensor), term.weights.transposed
                here = shapes.get(key) == specs[term.weights.tensor].extent
                yield key[0], (Use.TRANSPOSED if key[1] else Use.WEIGHTS) if here else Use.MATRICES


def place_tensors(config: Config, specs: Mapping[str, TensorSpec], layers: Sequence[Layer], tasks: Sequence[Task], *,
                  spilled: frozenset[str], windows: int, ring: int, scratch: int) -> Placement:
    """Where everything is, for ``tasks`` in this order.

    Parameters
    ----------
    spilled : tensors (and, with a + behind the name, tensors as weights) that are to be in memory
    windows : rows of the activation scratchpad that windows of them take
    ring : rows of the weight scratchpad for weights from memory
    scratch : base register of memory for them

    Raises
    ------
    DoesNotFit
        More must be spilled.
    """
    memory: dict[str, tuple[int, int]] = {}
    for name, spec in specs.items():
        if spec.memory is not None:
            memory[root_of(specs, name)] = spec.memory
    shapes = weight_shapes(specs, layers)
    read, whole = _lifetimes(config, specs, layers, tasks, shapes)
    chip: list[Life] = []
    weights: list[Life] = []
    inner: dict[str, Life] = {}
    reread: set[str] = set()
    for (root, use), (first, last) in whole.items():
        spec = specs[root]
        transposed = use is Use.TRANSPOSED
        if use is Use.ACTIVATIONS and root not in spilled:
            chip.append(read[root].life(root, together=spec.packing is not None))
        elif use in (Use.WEIGHTS, Use.TRANSPOSED) and root + "+" not in spilled:
            shape = shapes[root, transposed]
            size = shape.images * weight_rows(config, shape, transposed)
            weights.append(Life((root, transposed), size, (Segment(0, size, first, last),)))
        elif not spec.packing:
            reread.add(root)
            if root not in memory:  # once, whoever reads it
                size = -(-spec.extent.size // config.bus_bytes) * config.bus_bytes
                before = inner[root].segments if root in inner else ()
                inner[root] = Life(root, size, (*before, Segment(0, size, first, last)))
    offsets = arrange(inner.values())
    easy = {root for root, spec in specs.items() if spec.given or spec.packing}
    places = _fitting(chip, config.activation_rows - windows, easy)
    weight_places = _fitting(weights, config.weight_rows - ring, set())
    return Placement(
        specs=specs, chip={str(key): at + windows for key, at in places.items()},
        weights={life.key: (ring + weight_places[life.key], shapes[life.key]) for life in weights},  # type: ignore[misc, index]
        memory={root: (*where, root in reread and not specs[root].given) for root, where in memory.items()}
        | {str(key): (scratch, at, True) for key, at in offsets.items()},
        weight_ring=ring, windows=(0, windows), scratch_bytes=max((offsets[key] + life.size for key, life in inner.items()), default=0),
        top=windows + max((places[life.key] + life.size for life in chip), default=0))


def _lifetimes(config: Config, specs: Mapping[str, TensorSpec], layers: Sequence[Layer], tasks: Sequence[Task],
               shapes: Mapping[tuple[str, bool], Extent]) -> tuple[dict[str, Bands], dict[tuple[str, Use], tuple[int, int]]]:
    """When parts of each tensor are used as activations; and the first and last step of each use of a tensor."""
    rows, tiled = config.array.rows, by_tiles(config)
    bands: dict[str, Bands] = {}
    whole: dict[tuple[str, Use], tuple[int, int]] = {}
    written: dict[str, int] = {}
    known = [sorted(set(uses(specs, layer, shapes)), key=lambda use: (use[0], use[1].value)) for layer in layers]

    loaded: dict[str, int] = {}

    def touch(step: int, name: str, box: Box, tile: int, tiles: int) -> None:
        root, extent = root_of(specs, name), specs[name].extent
        depth = depth_of(config, specs[root].extent.channels)
        if root not in bands:
            bands[root] = Bands(extent.pixels, depth, tiled)
        if not box.pixels:
            return
        low, high = span(extent, box)
        bands[root].touch(step, low, high, tile, tiles)
        if specs[root].given and high > loaded.get(root, 0):  # all that LOAD brings in up to here, of all channels, and whole lines
            high = -(-high // extent.width) * extent.width
            bands[root].touch(step, loaded.get(root, 0), high, 0, depth, _EARLY)
            loaded[root] = high

    for step, task in enumerate(tasks):
        layer, box = layers[task.layer], task.box
        part = layer.parts[task.part]
        for use in known[task.layer]:
            given = specs[use[0]].given or specs[use[0]].packing
            whole[use] = whole.get(use, (written.get(use[0], step - _EARLY if given else step),))[0], step
        for term in part.terms:
            if term.source is not None and fits_chip(specs, name := layer.inputs[term.source]):
                source = box._replace(image=term.images[box.image]) if term.images else box
                touch(step, name, window(layer.shape, source), term.first, term.depth)
        hull = box._replace(x=part.phase + layer.step * box.x, columns=(box.columns - 1) * layer.step + 1)
        touch(step, layer.output, hull, part.first // rows, (part.first + part.width - 1) // rows - part.first // rows + 1)
        written.setdefault(root_of(specs, layer.output), step)
    return bands, whole


def _fitting(lives: Sequence[Life], rows: int, easy: Set[str]) -> dict[Hashable, int]:
    """Places within ``rows``. If there are none, one of the larger tensors has to go: one without which the others fit, best one that is
    ``easy`` to bring in again or small; if there is none, the one whose going helps most."""
    def top(some: Sequence[Life], places: Mapping[Hashable, int]) -> int:
        return max((places[one.key] + one.size for one in some), default=0)

    places = arrange(lives)
    if (needed := top(lives, places)) <= rows:
        return places
    scores = []
    for gone in sorted(lives, key=lambda one: -one.size)[:_CANDIDATES]:
        others = [one for one in lives if one is not gone]
        left = max(0, top(others, arrange(others)) - rows)
        scores.append((left, gone.key not in easy, gone.size, gone.key))
    *_, key = min(scores, key=lambda score: score[:3])
    raise DoesNotFit(key if isinstance(key, str) else f"{key[0]}+", rows / needed)  # type: ignore[index]
