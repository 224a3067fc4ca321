"""One attention head in int8, without softmax: O = P·V, P = Q·Kᵀ, and Q, K, V = X·Wq, X·Wk, X·Wv, each requantised."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..arch.config import Config
from ..arch.numerics import requantise, wrap32
from ..arch.plan_attention import AttentionPlan, plan_attention
from ..arch.plan_conv import fold_zero_point
from ..arch.plan_operands import Rounding
from .compile import CONSTANTS, INPUT, OUTPUT, Compiled, Constants, finish
from .network import NetworkError

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
    """The program for X of ``tokens`` rows.

    Raises
    ------
    PlanError
        The accelerator has no transposer, or its scratchpads do not hold the head.
    """
    constants = Constants(config)
    weights = tuple(constants.weights(w) for w, _ in head.projections)
    biases = [fold_zero_point(scaling.bias, w, head.zero_in) for w, scaling in head.projections]
    scalings = [*(scaling for _, scaling in head.projections), head.scores, head.output]
    roundings = [Rounding(base=CONSTANTS, parameters=constants.parameters(bias, scaling.multiplier, scaling.shift), zero_point=zero)
                 for bias, scaling, zero in zip([*biases, head.scores.bias, head.output.bias], scalings, [0, 0, 0, 0, head.zero_out],
                                                strict=True)]
    query, key, value, scores, output = roundings
    features, width = head.query_weights.shape
    plan = AttentionPlan(tokens=tokens, features=features, head=width, constants=CONSTANTS, weights=(weights[0], weights[1], weights[2]),
                         query=query, key=key, value=value, scores=scores, output=output)
    commands = plan_attention(config, plan, input_base=INPUT, output_base=OUTPUT)
    return finish(config, commands, constants.block, input_shape=(tokens, features), output_shape=(tokens, width), macs=plan.macs)
