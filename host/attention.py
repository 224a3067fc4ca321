"""One attention head in int8, without softmax: O = P·V, P = Q·Kᵀ, and Q, K, V = X·Wq, X·Wk, X·Wv, each requantised."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arch.config import Config
from ..arch.layers import Constant, Dynamic, Extent, Layer, Part, TensorSpec, Term
from ..arch.numerics import requantise, wrap32
from ..arch.plan_graph import plan_graph
from ..arch.tiling import ConvShape, PlanError, cuts
from ..arch.views import by_tiles
from .arrange import fold_zero_point
from .compile import CONSTANTS, INPUT, OUTPUT, SCRATCH, Compiled, Place, finish
from .constants import Constants, check_results_as_weights
from .errors import NetworkError

__all__ = ["AttentionHead", "Scaling", "compile_attention"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """Bias (int32), multiplier (int32) and shift (int8), each one per output column."""

    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AttentionHead:
    """Weights int8 (features, head); scaling of Q, K, V, P (one per token) and O; zero points of X and O, the others' are 0."""

    query_weights: np.ndarray
    key_weights: np.ndarray
    value_weights: np.ndarray
    query: Scaling
    key: Scaling
    value: Scaling
    scores: Scaling
    output: Scaling
    zero_in: int = 0
    zero_out: int = 0

    def __post_init__(self) -> None:
        shape = self.query_weights.shape
        for name in ("query_weights", "key_weights", "value_weights"):
            weights = getattr(self, name)
            if weights.dtype != np.int8 or weights.ndim != 2 or weights.shape != shape:
                raise NetworkError(f"{name} must be int8 of shape (features, head), all alike, not {weights.dtype} {weights.shape}")

    @property
    def projections(self) -> tuple[tuple[np.ndarray, Scaling], ...]:
        """Weights and scaling of Q, K, V."""
        return ((self.query_weights, self.query), (self.key_weights, self.key), (self.value_weights, self.value))

    def reference(self, x: np.ndarray) -> np.ndarray:
        """What the head computes: int8 (tokens, features) → int8 (tokens, head)."""
        q, k, v = (_product(x, weights, scaling, zero_in=self.zero_in) for weights, scaling in self.projections)
        p = _product(q, k.T, self.scores)
        return _product(p, v, self.output, zero_out=self.zero_out)


def _product(a: np.ndarray, w: np.ndarray, scaling: Scaling, *, zero_in: int = 0, zero_out: int = 0) -> np.ndarray:
    acc = wrap32((a.astype(np.int64) - zero_in) @ w.astype(np.int64) + scaling.bias)
    return requantise(acc, scaling.multiplier, scaling.shift, zero_out)


def compile_attention(head: AttentionHead, config: Config, tokens: int) -> Compiled:
    """The program for X of ``tokens`` rows. Everything between X and O is made on the device, and stays there if it fits; K goes through
    the transposer, V lies beside it as ordinary weights.

    Raises
    ------
    PlanError
        The accelerator has no transposer, or is too small for this.
    """
    if not config.array.transposer:
        raise PlanError("array.transposer must be true for attention")
    check_results_as_weights(config)
    constants = Constants(config)
    features, width = head.query_weights.shape
    rows = config.array.rows
    specs = {"x": TensorSpec(extent=Extent(1, 1, tokens, features), memory=(INPUT, 0), given=True)}
    layers: list[Layer] = []

    def product(output: str, source: str, inner: int, scaling: Scaling, bias: np.ndarray, weights: np.ndarray | Dynamic,
                at: Sequence[int] = (), **fields: Any) -> None:
        filters = len(bias)
        specs[output] = TensorSpec(extent=Extent(1, 1, tokens, filters), memory=(OUTPUT, 0) if output == "o" else None)
        depth = -(-inner // rows)
        parts = []
        for first, count in cuts(filters, config.array.cols, [config.array.cols, *at, *([rows] if by_tiles(config) else [])]):
            part = slice(first, first + count)
            matrix = weights if isinstance(weights, Dynamic) else Constant(constants.weights(weights[:, part]))
            term = Term(source=0, weights=matrix, depth=depth, k_last=inner - (depth - 1) * rows)
            parts.append(Part(first=first, width=count, terms=(term,),
                              parameters=constants.parameters(bias[part], scaling.multiplier[part], scaling.shift[part])))
        shape = ConvShape(height=1, width=tokens, channels=inner, filters=filters)
        layers.append(Layer(node=len(layers), inputs=(source,), output=output, shape=shape, area=(0, 1, 0, tokens), images=1,
                            parts=tuple(parts), **fields))

    for name, at, (weights, scaling) in zip("kqv", ([rows], (), ()), (head.projections[i] for i in (1, 0, 2)), strict=True):
        product(name, "x", features, scaling, fold_zero_point(scaling.bias, weights, head.zero_in), weights, at)
    product("p", "q", width, head.scores, head.scores.bias, Dynamic("k", (0,), transposed=True))
    product("o", "p", tokens, head.output, head.output.bias, Dynamic("v", (0,)), zero_point=head.zero_out)
    plan = plan_graph(config, specs, layers, constants=CONSTANTS, scratch=SCRATCH)
    return finish(config, plan.commands, constants.block, inputs=(Place("x", 0, (tokens, features)),),
                  outputs=(Place("o", 0, (tokens, width)),), macs=tokens * width * (3 * features + 2 * tokens),
                  scratch_bytes=plan.scratch_bytes)
