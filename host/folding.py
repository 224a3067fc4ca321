"""Where few channels would leave most of the array's rows idle: which tensors are folded, and how first layers are packed by LOAD."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence, Set
from typing import NamedTuple

import numpy as np

from ..arch.config import Config
from ..arch.layers import Packing
from ..arch.tiling import ConvShape
from .arrange import Folding, folded_shape
from .constants import Constants
from .graph import Graph, Node
from .operators import Conv2D, DepthwiseConv2D

__all__ = ["Packed", "choose_foldings", "choose_packing"]


class Packed(NamedTuple):
    """How an input is packed, and the geometry of the convolution over it."""

    packing: Packing
    geometry: ConvShape


def choose_foldings(graph: Graph, nodes: Sequence[Node], config: Config, fixed: Set[str]) -> dict[str, int]:
    """Tensors that have several pixels side by side in their channels, and how many: where all their users take that.

    ``fixed`` : tensors that have to stay as they are
    """
    users: dict[str, list[Node]] = {}
    for node in nodes:
        for key in node.inputs:
            users.setdefault(key, []).append(node)
    foldings: dict[str, int] = {}
    for node in nodes:
        made = node.output
        if made in fixed or not _foldable(node) or not users.get(made) or not all(map(_foldable, users[made])):
            continue
        _, _, width, channels = graph.tensors[made].shape
        most = min(config.array.rows, config.array.cols) // channels
        for fold in range(most, 1, -1):
            if width % fold == 0 and _takes(graph, node, foldings.get(node.inputs[0], 1), fold) and all(
                    _takes(graph, user, fold, None) for user in users[made]):
                foldings[made] = fold
                break
    return foldings


def _foldable(node: Node) -> bool:
    op = node.operator
    return isinstance(op, Conv2D) or (isinstance(op, DepthwiseConv2D) and op.weights.shape[3] == 1)


def _takes(graph: Graph, node: Node, inputs: int, outputs: int | None) -> bool:
    """Whether a convolution reads a tensor folded so and writes one folded so; None: whatever suits, at best what it reads."""
    assert isinstance(node.operator, Conv2D | DepthwiseConv2D)
    shape = node.operator.shape(*graph.tensors[node.inputs[0]].shape[1:])
    if outputs is None:
        outputs = inputs // math.gcd(inputs, shape.stride[1])
    return folded_shape(shape, Folding(inputs=inputs, outputs=outputs)) is not None


def choose_packing(config: Config, shape: ConvShape, pixels: int, pad: int, given: bool, constants: Constants) -> Packed | None:
    """How LOAD packs the input of a convolution with so few channels that this pays, ``pixels`` outputs side by side; None where not.

    Parameters
    ----------
    pad : the padding's value
    given : the input is in memory
    """
    rows, run = config.array.rows, (shape.stride[1] * (pixels - 1) + shape.kernel[1]) * shape.channels
    if not given or shape.dilation[1] != 1 or run > rows or (shape.kernel[1] == 1 and pixels == 1 and shape.kernel[0] == 1):
        return None
    kernel_y, stride_y = shape.kernel[0], shape.stride[0]
    most = min(rows // run, kernel_y) if shape.dilation[0] == 1 else 1
    columns = shape.output_size[1] // pixels
    parts = -(-shape.filters * pixels // config.array.cols)

    def cost(lines: int) -> float:
        """Cycles of EXECUTE and LOAD, whichever is longer."""
        words = lines * columns * (run / config.bus_bytes + 0.9)
        each = stride_y if lines >= kernel_y else math.gcd(stride_y, lines)
        loads = (shape.output_size[0] * stride_y / each) * words
        return max(-(-kernel_y // lines) * parts * shape.output_size[0] * columns, loads)

    lines = min(range(1, most + 1), key=cost)
    plain = kernel_y * shape.kernel[1] * -(-shape.channels // rows) * parts * shape.output_pixels // pixels
    if cost(lines) >= plain:
        return None
    filler = constants.activations(np.full(rows, pad, np.int8))
    common = {"height": shape.height, "width": shape.width, "channels": shape.channels, "run": run, "step": shape.stride[1] * pixels,
              "left": shape.padding[1][0], "filler": filler}
    if lines == 1:  # rows outside the image are EXECUTE's padding
        packing = Packing(lines=1, line=1, top=0, **common)
        geometry = dataclasses.replace(shape, width=columns, channels=run, kernel=(kernel_y, 1), stride=(stride_y, 1),
                                       dilation=(shape.dilation[0], 1), padding=(shape.padding[0], (0, 0)))
        return Packed(packing, geometry)
    groups = -(-kernel_y // lines)
    line = stride_y if groups == 1 else math.gcd(stride_y, lines)
    height = (shape.output_size[0] - 1) * (stride_y // line) + (groups - 1) * (lines // line) + 1
    packing = Packing(lines=lines, line=line, top=shape.padding[0][0], **common)
    geometry = ConvShape(height=height, width=columns, channels=lines * run, filters=shape.filters, kernel=(groups, 1),
                         stride=(stride_y // line, 1), dilation=(max(1, lines // line), 1))
    return Packed(packing, geometry)
