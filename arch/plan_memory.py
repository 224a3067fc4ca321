"""Places for the tensors of a network by their lifetimes: in the scratchpads while that is possible, else in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from .config import Config
from .layers import Dynamic, Layer, Task, TensorSpec, fits_chip, root_of
from .plan_targets import weight_rows
from .views import depth_of

__all__ = ["DoesNotFit", "Life", "Placement", "Use", "arrange", "place_tensors", "uses"]


_EARLY = 3   # tiles before the first that needs it, an input may come in


class DoesNotFit(Exception):
    """A tensor finds no room; ``name`` is the largest one of those that live when it happens, ``share`` what there is of what is needed."""

    def __init__(self, name: str, share: float):
        super().__init__(name)
        self.name, self.share = name, share


class Life(NamedTuple):
    """Something of ``size`` rows or bytes that lives from step ``start`` to step ``stop``, both included."""

    key: Hashable
    size: int
    start: int
    stop: int


def arrange(lives: Sequence[Life]) -> dict[Hashable, int]:
    """Where each of them begins: the largest first, each as low as those that live beside it leave it."""
    placed: list[tuple[Life, int]] = []
    for life in sorted(lives, key=lambda one: (-one.size, one.start)):
        taken = sorted((at, at + other.size) for other, at in placed if other.start <= life.stop and life.start <= other.stop)
        at = 0
        for start, stop in taken:
            if start >= at + life.size:
                break
            at = max(at, stop)
        placed.append((life, at))
    return {life.key: at for life, at in placed}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """Where tensors are, by root.

    Parameters
    ----------
    chip : first row in the activation scratchpad
    weights : (tensor, transposed): first row in the weight scratchpad
    memory : (base register, offset, whether the program both writes and reads it)
    weight_ring : rows of the weight scratchpad, from 0 on, for weights from memory
    windows : (first row, rows) of the activation scratchpad for windows of tensors in memory
    scratch_bytes : memory for tensors of which the host knows nothing
    top : rows of the activation scratchpad that are used
    """

    specs: Mapping[str, TensorSpec]
    chip: Mapping[str, int]
    weights: Mapping[tuple[str, bool], int]
    memory: Mapping[str, tuple[int, int, bool]]
    weight_ring: int
    windows: tuple[int, int]
    scratch_bytes: int
    top: int

    def root(self, name: str) -> str:
        return root_of(self.specs, name)

    def weights_at(self, weights: Dynamic) -> int | None:
        """First row of a tensor that lies in the weight scratchpad as these matrices."""
        return self.weights.get((self.root(weights.tensor), weights.transposed)) if same_matrices(self.specs, weights.tensor) else None


class Use(Enum):
    """How a layer reads a tensor: windows of activations, in another shape than it has on chip, as weights, as transposed weights."""
    ACTIVATIONS = 0
    RESHAPED = 1
    WEIGHTS = 2
    TRANSPOSED = 3


def same_matrices(specs: Mapping[str, TensorSpec], name: str) -> bool:
    """Whether a tensor has the matrices, (images, pixels, channels), of the first tensor with its bytes."""
    mine, root = specs[name].extent, specs[root_of(specs, name)].extent
    return (mine.images, mine.height * mine.width, mine.channels) == (root.images, root.height * root.width, root.channels)


def uses(specs: Mapping[str, TensorSpec], layer: Layer) -> Iterator[tuple[str, Use]]:
    """Tensors that a layer reads, by root."""
    for part in layer.parts:
        for term in part.terms:
            if term.source is not None:
                name = layer.inputs[term.source]
                yield root_of(specs, name), Use.ACTIVATIONS if fits_chip(specs, name) else Use.RESHAPED
            if isinstance(term.weights, Dynamic):
                use = Use.TRANSPOSED if term.weights.transposed else Use.WEIGHTS
                yield root_of(specs, term.weights.tensor), use if same_matrices(specs, term.weights.tensor) else Use.RESHAPED


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
    steps: dict[tuple[str, Use], list[int]] = {}   # first and last step
    written: dict[str, int] = {}
    known = [sorted(set(uses(specs, layer)), key=lambda use: (use[0], use[1].value)) for layer in layers]
    for step, task in enumerate(tasks):
        for use in known[task.layer]:
            steps.setdefault(use, [step, step])[1] = step
        written.setdefault(root_of(specs, layers[task.layer].output), step)
    memory: dict[str, tuple[int, int] | None] = {}
    for name, spec in specs.items():
        if spec.memory is not None:
            memory[root_of(specs, name)] = spec.memory
    chip, weights, reread, inner = [], [], set(), []
    for (root, use), (first, last) in steps.items():
        spec = specs[root]
        first = min(first, written.get(root, first - _EARLY))
        transposed = use is Use.TRANSPOSED
        if use is Use.ACTIVATIONS and root not in spilled:
            chip.append(Life(root, spec.extent.pixels * depth_of(config, spec.extent.channels), first, last))
        elif use in (Use.WEIGHTS, Use.TRANSPOSED) and root + "+" not in spilled and not spec.given:
            weights.append(Life((root, transposed), spec.extent.images * weight_rows(config, spec.extent, transposed), first, last))
        elif not spec.packing:
            reread.add(root)
            if root not in memory:
                inner.append(Life(root, -(-spec.extent.size // config.bus_bytes) * config.bus_bytes, first, last))
    # A tensor that both readers of its activations and of its weights take from memory is there once.
    merged = {life.key: life for life in inner}
    for life in inner:
        other = merged[life.key]
        merged[life.key] = other._replace(start=min(life.start, other.start), stop=max(life.stop, other.stop))
    offsets = arrange(list(merged.values()))
    places = _fitting(chip, config.activation_rows - windows)
    weight_places = _fitting(weights, config.weight_rows - ring)
    return Placement(
        specs=specs, chip={str(key): at + windows for key, at in places.items()},
        weights={life.key: ring + weight_places[life.key] for life in weights},  # type: ignore[misc]
        memory={root: (*where, root in reread and not specs[root].given) for root, where in memory.items() if where is not None}
        | {str(key): (scratch, at, True) for key, at in offsets.items()},
        weight_ring=ring, windows=(0, windows),
        scratch_bytes=max((offsets[key] + life.size for key, life in merged.items()), default=0),
        top=windows + max((places[life.key] + life.size for life in chip), default=0))


def _fitting(lives: Sequence[Life], rows: int) -> dict[Hashable, int]:
    places = arrange(lives)
    for life in sorted(lives, key=lambda one: places[one.key] + one.size):
        if places[life.key] + life.size > rows:
            beside = [one for one in lives if one.start <= life.stop and life.start <= one.stop]
            worst = max(beside, key=lambda one: (one.size, one.stop - one.start))
            raise DoesNotFit(worst.key if isinstance(worst.key, str) else f"{worst.key[0]}+",  # type: ignore[index]
                             rows / max(places[one.key] + one.size for one in lives))
    return places
