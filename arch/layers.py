"""What the planner of networks works on: tensors, and layers as sums of products of tensors with weight tiles.

Every operator becomes a :class:`Layer`. Its output columns are cut into :class:`Part` s of at most ``cols`` channels; a part is a sum of
:class:`Term` s, each of them one walk of EXECUTE: windows of an input tensor times weights, constant ones or such as the device has made.

- A convolution has one term per part, over all channel tiles of its input.
- A depthwise one reads a single channel tile, with weights that are zero off a diagonal; so does pooling, with ones.
- Element-wise addition sums two inputs, the second one 256-fold (see :func:`systolith.arch.numerics.add`).
- A product of two tensors has weights that the device made, and further terms for the zero points.

Integers only: weights and parameters are offsets in the block of constants, in the order in which they are loaded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from .commands import Operation
from .tiling import ConvShape
from .views import Box, Extent

__all__ = ["Constant", "Dynamic", "Extent", "Layer", "Packing", "Part", "Task", "TensorSpec", "Term", "fits_chip", "root_of"]


@dataclasses.dataclass(frozen=True)
class Constant:
    """Weights at ``offset`` of the constants: for each tap (kernel row, kernel column) the channels of all channel tiles, each row
    ``width`` weights from a byte's start on. With ``uniform`` there is one tile only, which serves all."""

    offset: int
    uniform: bool = False


@dataclasses.dataclass(frozen=True)
class Dynamic:
    """Weights that are a tensor: matrix ``images[b]`` of it for output image b. Its pixels are K and its channels N, or, with
    ``transposed``, the other way round."""

    tensor: str
    images: tuple[int, ...]
    transposed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Term:
    """Products that a part sums up.

    Parameters
    ----------
    source : input of the layer that is read; None streams ``pad`` in every row
    weights : what it is multiplied by
    first, depth : channel tiles of the source that are read
    k_last : valid rows of the last one
    pad : value outside the image
    times : how often the whole sum is taken, where weights are uniform and the kernel is 1 × 1
    images : image of the source for each output image; empty where it is the same
    """

    source: int | None
    weights: Constant | Dynamic
    first: int = 0
    depth: int = 1
    k_last: int = 1
    pad: int = 0
    times: int = 1
    images: tuple[int, ...] = ()

    def channels(self, rows: int) -> int:
        """Rows of weights for one tap."""
        return (self.depth - 1) * rows + self.k_last


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Output channels ``first`` … ``first + width − 1`` of the columns x = ``phase`` + step · X.

    ``parameters`` : offset of 12 bytes for each of them; None where the operation has none
    """

    first: int
    width: int
    terms: tuple[Term, ...]
    parameters: int | None = None
    phase: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """A part of a network's work that one sequence of tiles does.

    Parameters
    ----------
    node : number of the operator it belongs to
    inputs, output : tensors
    shape : of the windows that are read; its filters do not matter
    area : (first row, rows, first column, columns) of the windows that this layer does
    images : output images
    parts : cover the output's channels (and phases)
    operation, zero_point, low, high : what STORE does
    step : output columns per window
    spread : each tap has accumulator rows of its own, of which STORE takes the maximum
    table : offset of the words that the operation looks up
    single : a tile is one image at most, since weights depend on the image
    """

    node: int
    inputs: tuple[str, ...]
    output: str
    shape: ConvShape
    area: tuple[int, int, int, int]
    images: int
    parts: tuple[Part, ...]
    operation: Operation = Operation.REQUANTISE
    zero_point: int = 0
    low: int = -128
    high: int = 127
    step: int = 1
    spread: bool = False
    table: int | None = None
    single: bool = False

    @property
    def taps(self) -> int:
        return self.shape.kernel[0] * self.shape.kernel[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Packing:
    """How LOAD makes a tensor whose pixels are runs of an image in memory, so that few channels fill the array's rows.

    Pixel (t, X), lanes ``j·run`` … ``(j + 1)·run − 1``, is image row ``t·line − top + j``, bytes ``(X·step − left)·channels`` … of it:
    overlapping runs of ``run`` bytes. What is outside the image is ``pad``, which ``filler`` (offset in the constants, a row full) holds.

    Parameters
    ----------
    height, width, channels : of the image in memory
    lines, line, top : image rows per pixel, from pixel row to pixel row, and above the image
    run, step, left : bytes of a run, image columns from pixel to pixel, and left of the image
    """

    height: int
    width: int
    channels: int
    lines: int
    line: int
    top: int
    run: int
    step: int
    left: int
    filler: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """A tensor of a network.

    Parameters
    ----------
    extent : its shape
    memory : (base register, offset) of an input or output of the program
    given : it is there at the start
    alias : tensor of which this one is another shape, row-major
    packing : how it comes about from tensor ``origin``, an input
    """

    extent: Extent
    memory: tuple[int, int] | None = None
    given: bool = False
    alias: str | None = None
    packing: Packing | None = None
    origin: str | None = None


def root_of(specs: Mapping[str, TensorSpec], name: str) -> str:
    """The tensor whose bytes ``name`` has."""
    while (alias := specs[name].alias) is not None:
        name = alias
    return name


def fits_chip(specs: Mapping[str, TensorSpec], name: str) -> bool:
    """Whether ``name`` can be read where its root lies on chip: another shape of it can where only pixels are grouped otherwise."""
    return specs[name].extent.channels == specs[root_of(specs, name)].extent.channels


class Task(NamedTuple):
    """A tile of a layer: which windows, and which part of the output channels."""

    layer: int
    box: Box
    part: int
