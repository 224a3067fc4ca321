"""A batch in groups of images that go through the network one after the other, so that their tensors find room on chip."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from .layers import Dynamic, Layer, Part, TensorSpec, Term
from .tiling import pieces

__all__ = ["batch_of", "in_groups"]


def batch_of(specs: Mapping[str, TensorSpec], layers: Sequence[Layer]) -> int:
    """Images that can be done one after the other: the largest number by which all tensors and layers divide; 1 where images mix."""
    batch = math.gcd(*(spec.extent.images for spec in specs.values()))
    for layer in layers:
        for part in layer.parts:
            for term in part.terms:
                maps = [term.images] if term.images else []
                if isinstance(term.weights, Dynamic):
                    maps.append(term.weights.images)
                for images in maps:
                    # Image b of the output needs one of the same group.
                    source = max(images) + 1
                    if len(images) % batch or source % batch or any(
                            at * batch // len(images) != image * batch // source for at, image in enumerate(images)):
                        return 1
    return batch


def in_groups(specs: Mapping[str, TensorSpec], layers: Sequence[Layer], batch: int, most: int,
              groups: int | None = None) -> tuple[dict[str, TensorSpec], list[Layer]]:
    """The same work on at most ``most`` of ``batch`` images at a time, or only the first ``groups`` groups of it."""
    all_specs: dict[str, TensorSpec] = {}
    all_layers: list[Layer] = []
    for start, count in itertools.islice(pieces(batch, most), groups):
        _one_group(specs, layers, batch, start, count, all_specs, all_layers)
    return all_specs, all_layers


def _one_group(specs: Mapping[str, TensorSpec], layers: Sequence[Layer], batch: int, start: int, count: int,
               all_specs: dict[str, TensorSpec], all_layers: list[Layer]) -> None:
    def named(name: str) -> str:
        return f"{name} from image {start}"

    for name, spec in specs.items():
        memory = spec.memory
        if memory is not None:
            memory = memory[0], memory[1] + start * (spec.extent.size // batch)
        all_specs[named(name)] = dataclasses.replace(
            spec, extent=dataclasses.replace(spec.extent, images=count * (spec.extent.images // batch)), memory=memory,
            alias=None if spec.alias is None else named(spec.alias), origin=None if spec.origin is None else named(spec.origin))
    for layer in layers:
        each = layer.images // batch
        all_layers.append(dataclasses.replace(
            layer, inputs=tuple(map(named, layer.inputs)), output=named(layer.output), images=count * each,
            parts=tuple(_part(part, start * each, count * each, batch, start, named) for part in layer.parts)))


def _part(part: Part, first: int, count: int, batch: int, start: int, named: Callable[[str], str]) -> Part:
    """A part for output images ``first`` … ``first + count − 1``."""
    def own(images: tuple[int, ...]) -> tuple[int, ...]:
        before = start * (max(images) + 1) // batch
        return tuple(image - before for image in images[first:first + count])

    def term(one: Term) -> Term:
        weights = one.weights
        if isinstance(weights, Dynamic):
            weights = dataclasses.replace(weights, tensor=named(weights.tensor), images=own(weights.images))
        return dataclasses.replace(one, weights=weights, images=own(one.images) if one.images else ())

    return dataclasses.replace(part, terms=tuple(map(term, part.terms)))
