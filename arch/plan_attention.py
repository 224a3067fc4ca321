"""One attention head as one program: Q = X·Wq, K = X·Wk, V = X·Wv, P = Q·Kᵀ, O = P·V, each requantised to int8.

Everything between X and O is made on chip and stays there. K goes to the weight scratchpad as it leaves the epilogue, row after
row, and the transposer turns it while it is preloaded; V lies there as ordinary weights. There is no softmax on the device: P are
the requantised scores. Operands made on the device have zero point 0, for nothing could fold another into a bias; X may have any.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

from .commands import Command
from .config import Config
from .hazards import Space
from .plan_layer import LayerPlanner
from .plan_operands import (
    ActivationTarget,
    Destination,
    MemoryTarget,
    MemoryTensor,
    MemoryWeights,
    ResidentWeights,
    Rounding,
    TransposedTarget,
    TransposedWeights,
    Weights,
    WeightTarget,
)
from .program import Program, Region
from .tiling import ConvShape, PlanError, Tensor, Tile, tiles

__all__ = ["AttentionPlan", "plan_attention"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionPlan:
    """Where the operands of a head lie, and how each product is rounded.

    Parameters
    ----------
    tokens, features, head : X is (tokens, features), Wq, Wk, Wv are (features, head), O is (tokens, head)
    constants : base register of the weights and parameters; ``weights`` are the offsets of Wq, Wk, Wv
    query, key, value, scores, output : rounding of Q, K, V, P, O
    """

    tokens: int
    features: int
    head: int
    constants: int
    weights: tuple[int, int, int]
    query: Rounding
    key: Rounding
    value: Rounding
    scores: Rounding
    output: Rounding

    def __post_init__(self) -> None:
        for name in ("query", "key", "value", "scores"):
            if getattr(self, name).zero_point:
                raise PlanError(f"zero point of {name} must be 0, not {getattr(self, name).zero_point!r}")

    @property
    def macs(self) -> int:
        """Useful multiplications."""
        return self.tokens * self.head * (3 * self.features + 2 * self.tokens)


def plan_attention(config: Config, plan: AttentionPlan, *, input_base: int, output_base: int) -> list[Command]:
    """The program that takes X, int8 row-major at byte 0 of ``input_base``, to O at byte 0 of ``output_base``.

    Raises
    ------
    PlanError
        The configuration has no transposer, or its scratchpads do not hold the head.
    """
    rows, cols = config.array.rows, config.array.cols
    if not config.array.transposer:
        raise PlanError("array.transposer must be true for attention")
    tokens, head = plan.tokens, plan.head
    # Activations: X, Q, P. Weights: a ring for Wq, Wk, Wv, then K and V.
    depth_x, depth_q, depth_p = (-(-n // rows) for n in (plan.features, head, tokens))
    need = tokens * (depth_x + depth_q + depth_p)
    if need > config.activation_rows:
        raise PlanError(f"memory.activation_kib must hold X, Q and P, {need} rows, not {config.activation_rows}; make it larger")
    key_rows, value_rows = TransposedWeights.rows(config, head, tokens), -(-head // cols) * tokens
    ring = config.weight_rows - key_rows - value_rows
    if ring < 2 * rows:
        raise PlanError(f"memory.weight_kib must hold K, V and two tiles, {key_rows + value_rows + 2 * rows} rows, "
                        f"not {config.weight_rows}; make it larger")
    planner = LayerPlanner(config, Program(config.control), weight_rows=ring)
    x = Tensor(row=0, height=1, width=1, depth=depth_x)
    q = Tensor(row=tokens * depth_x, height=1, width=1, depth=depth_q)
    p = Tensor(row=tokens * (depth_x + depth_q), height=1, width=1, depth=depth_p)
    key, value = ring, ring + key_rows
    planner.load_pixels(x, plan.features, source=MemoryTensor(base=input_base, offset=0, height=1, width=1), images=tokens)

    def product(source: Tensor, weights: Weights, target: Destination, rounding: Rounding, inner: int, filters: int) -> None:
        shape = ConvShape(height=1, width=1, channels=inner, filters=filters)
        cuts = tiles(shape, tokens, most=config.half_rows, loops=config.control.inner_loops)
        planner.layer(shape, itertools.product(cuts, target.filter_tiles(config, filters)), source=functools.partial(_held, source),
                      weights=weights, target=target, rounding=rounding)

    projection = ConvShape(height=1, width=1, channels=plan.features, filters=head)
    wq, wk, wv = (MemoryWeights(base=plan.constants, offset=offset, shape=projection) for offset in plan.weights)
    output = MemoryTensor(base=output_base, offset=0, height=1, width=1)
    product(x, wk, TransposedTarget(row=key, inner=head), plan.key, plan.features, head)
    product(x, wq, ActivationTarget(row=q.row, depth=depth_q), plan.query, plan.features, head)
    product(x, wv, WeightTarget(row=value, inner=tokens), plan.value, plan.features, head)
    product(q, TransposedWeights(row=key, inner=head), ActivationTarget(row=p.row, depth=depth_p), plan.scores, head, tokens)
    product(p, ResidentWeights(row=value, inner=tokens), MemoryTarget(tensor=output, filters=head), plan.output, tokens, head)
    return planner.program.commands


def _held(tensor: Tensor, tile: Tile) -> tuple[Tensor, Region]:
    """Rows of ``tensor`` that ``tile`` reads."""
    start = tensor.address(tile.image, 0, 0)
    return tensor, Region(Space.ACTIVATION, start, start + tile.images * tensor.depth)
