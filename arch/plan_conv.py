"""Convolutional networks: a chain of layers on a batch of images as one program, with no copy of a window anywhere.

The chain is cut into segments. Within a segment tensors stay on chip, and as many images go through it together as fit;
between segments they pass through memory. A segment of one layer loads only the window of its input that a tile needs, so that
images of any size work. A fully connected layer is the convolution whose kernel is the whole image.

Zero points are folded at compile time: bias' = bias − zero_point · Σ weights. Padding injects the zero point, so that this holds at the
borders too.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from .commands import Command
from .config import Config
from .hazards import Space
from .plan_layer import LayerPlanner
from .plan_operands import ActivationTarget, Destination, MemoryTarget, MemoryTensor, MemoryWeights, Ring, Rounding
from .program import Program, Region
from .tiling import ConvShape, PlanError, Tensor, Tile, tiles

__all__ = ["ConvLayer", "NetworkPlan", "fold_zero_point", "plan_network"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvLayer:
    """A layer of a chain: geometry, the padding's value, and where its constants lie.

    ``weights`` is the byte offset of int8 HWIO weights from base register ``base``; ``rounding`` names the parameters.
    """

    shape: ConvShape
    base: int
    weights: int
    rounding: Rounding
    pad: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """Commands, and bytes of memory that they need for tensors between segments."""

    commands: list[Command]
    scratch_bytes: int


def fold_zero_point(bias: np.ndarray, weights: np.ndarray, zero_point: int) -> np.ndarray:
    """The bias for activations that are used without subtracting their zero point: int32, one per filter, wrapping.

    Parameters
    ----------
    bias : int32, shape (filters,)
    weights : int8, shape (…, filters)
    """
    sums = weights.reshape(-1, weights.shape[-1]).sum(axis=0, dtype=np.int64)
    return (bias.astype(np.int64) - zero_point * sums).astype(np.int32)


def plan_network(config: Config, layers: Sequence[ConvLayer], images: int, *, input_base: int, output_base: int,
                 scratch_base: int) -> NetworkPlan:
    """The program that takes ``images`` int8 NHWC images, from byte 0 of ``input_base``, through ``layers`` to ``output_base``.

    Raises
    ------
    PlanError
        A layer does not fit this configuration, or does not take what the one before gives.
    """
    for index, (before, after) in enumerate(itertools.pairwise(layers), start=1):
        given, taken = (*before.shape.output_size, before.shape.filters), (after.shape.height, after.shape.width, after.shape.channels)
        if given != taken:
            raise PlanError(f"layer {index} must take {given}, as layer {index - 1} gives it, not {taken!r}")
    planner = LayerPlanner(config, Program(config.control))
    first = layers[0].shape
    source = MemoryTensor(base=input_base, offset=0, height=first.height, width=first.width)
    scratch = 0
    for segment in _segments(config, layers):
        last = segment[-1].shape
        height, width = last.output_size
        final = segment[-1] is layers[-1]
        target = MemoryTensor(base=output_base if final else scratch_base, offset=0 if final else scratch, height=height, width=width,
                              temporary=not final)
        if not final:
            scratch += images * height * width * last.filters
        if len(segment) > 1:
            _chain(planner, segment, images, source, target)
        else:
            _stream(planner, segment[0], images, source, target)
        source = target
    return NetworkPlan(commands=planner.program.commands, scratch_bytes=scratch)


def _input_rows(config: Config, layer: ConvLayer) -> int:
    """Activation rows of one image that enters ``layer``."""
    return layer.shape.height * layer.shape.width * _depth(config, layer)


def _depth(config: Config, layer: ConvLayer) -> int:
    return -(-layer.shape.channels // config.array.rows)


def _segments(config: Config, layers: Sequence[ConvLayer]) -> Iterator[Sequence[ConvLayer]]:
    """The chain in as few pieces as one image fits on chip, each tensor beside the next."""
    start = 0
    for stop in range(1, len(layers) + 1):
        if stop == len(layers) or _input_rows(config, layers[stop - 1]) + _input_rows(config, layers[stop]) > config.activation_rows:
            yield layers[start:stop]
            start = stop


def _order(planner: LayerPlanner, shape: ConvShape, cuts: list[Tile], filters: list[tuple[int, int]],
           reload: int = 0) -> Iterator[tuple[Tile, tuple[int, int]]]:
    """Tiles outside where the weights stay, or loading them again costs less than ``reload``, the bytes of loading all tiles' input once
    more; filters outside otherwise."""
    stay = sum(chunk.count for chunk in planner.chunks(shape)) * len(filters) <= planner.weights.size
    if stay or shape.inner * shape.filters * (len(cuts) - 1) <= reload * (len(filters) - 1):
        return itertools.product(cuts, filters)
    return ((tile, columns) for columns in filters for tile in cuts)


def _chain(planner: LayerPlanner, layers: Sequence[ConvLayer], images: int, source: MemoryTensor, target: MemoryTensor) -> None:
    """Layers whose tensors stay on chip, group of images after group of images."""
    config, available = planner.config, planner.config.activation_rows
    sizes = [_input_rows(config, layer) for layer in layers]
    # Best: a place for each tensor and two for the input, so that the next group loads while this one computes. Else two ends.
    apart = available // (sizes[0] + sum(sizes))
    most = apart or available // max(a + b for a, b in itertools.pairwise(sizes))
    groups = -(-images // most)
    each = -(-images // groups)
    if apart:
        starts = [each * (sizes[0] + sum(sizes[:i])) for i in range(len(sizes))]
    else:
        starts = [0 if i % 2 == 0 else available - each * size for i, size in enumerate(sizes)]

    flat = [layer.shape.flattened(1) for layer in layers]
    source = dataclasses.replace(source, height=flat[0][0].height, width=flat[0][0].width)

    def tensor(index: int, group: int) -> Tensor:
        shape, factor = flat[index]
        row = 0 if index == 0 and group % 2 == 0 else starts[index]
        return Tensor(row=row, height=shape.height, width=shape.width, depth=_depth(config, layers[index]), image=group * each * factor)

    def cut(index: int, group: int) -> list[Tile]:
        shape, factor = flat[index]
        first, count = group * each * factor, min(each, images - group * each) * factor
        return [dataclasses.replace(tile, image=tile.image + first)
                for tile in tiles(shape, count, most=config.half_rows, loops=config.control.inner_loops)]

    def load(group: int) -> None:
        """Bring in the group's images, in the pieces that the first layer's tiles wait for."""
        whole = tensor(0, group)
        for image, count in {tile.image: tile.images for tile in cut(0, group)}.items():
            part = dataclasses.replace(whole, row=whole.address(image, 0, 0), image=image)
            planner.load_pixels(part, layers[0].shape.channels, source=source, images=count)

    for group in range(groups):
        if not (apart and group):
            load(group)
        for index, layer in enumerate(layers):
            shape, _ = flat[index]
            if index + 1 == len(layers):
                goal: Destination = MemoryTarget(tensor=target, filters=shape.filters)
            else:
                goal = ActivationTarget(row=starts[index + 1], depth=_depth(config, layers[index + 1]),
                                        pixel=group * each * layer.shape.output_pixels)
            held = tensor(index, group)
            planner.layer(shape, _order(planner, shape, cut(index, group), goal.filter_tiles(config, shape.filters)),
                          source=functools.partial(_held, shape, held), target=goal, rounding=layer.rounding, pad=layer.pad,
                          weights=MemoryWeights(base=layer.base, offset=layer.weights, shape=shape))
            if apart and index == 0 and group + 1 < groups:
                load(group + 1)


def _held(shape: ConvShape, tensor: Tensor, tile: Tile) -> tuple[Tensor, Region]:
    """A tensor that is on chip, and what of it ``tile`` reads."""
    top, bottom, _, _ = tile.window(shape)
    last = tile.image + tile.images - 1
    return tensor, Region(Space.ACTIVATION, tensor.address(tile.image, top, 0), tensor.address(last, bottom, 0))


def _stream(planner: LayerPlanner, layer: ConvLayer, images: int, source: MemoryTensor, target: MemoryTensor) -> None:
    """One layer from memory to memory: each tile's window is loaded when it is needed."""
    config, depth = planner.config, _depth(planner.config, layer)
    shape, images = layer.shape.flattened(images)
    source = dataclasses.replace(source, height=shape.height, width=shape.width)
    ring = Ring(0, config.activation_rows)
    cuts = tiles(shape, images, most=config.half_rows, loops=config.control.inner_loops, window_rows=config.activation_rows // 2,
                 depth=depth)

    def find(tile: Tile) -> tuple[Tensor, Region]:
        top, bottom, left, right = tile.window(shape)
        # Whole lines, and of several images whole images, are consecutive in memory.
        if tile.columns == shape.output_size[1]:
            left, right = 0, shape.width
        if tile.images > 1:
            top, bottom = 0, shape.height
        rows = tile.images * (bottom - top) * (right - left) * depth
        row, fresh = ring.place(tile, rows)
        held = Tensor(row=row, height=bottom - top, width=right - left, depth=depth, image=tile.image, y=top, x=left)
        if fresh and rows:
            planner.load_pixels(held, shape.channels, source=source, images=tile.images)
        return held, Region(Space.ACTIVATION, row, row + rows)

    filters = MemoryTarget(tensor=target, filters=shape.filters)
    order = _order(planner, shape, cuts, filters.filter_tiles(config, shape.filters), images * shape.height * shape.width * shape.channels)
    planner.layer(shape, order, source=find, weights=MemoryWeights(base=layer.base, offset=layer.weights, shape=shape), target=filters,
                  rounding=layer.rounding, pad=layer.pad)
