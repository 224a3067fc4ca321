"""Attention heads through the transposer: exact for any array, and refused with a reason where they do not fit."""

import dataclasses

import numpy as np
import pytest
from networks import ARRAYS, random_config, random_head, run_on_model
from systolith.arch.commands import Bank, Execute, Load, Store, Target
from systolith.arch.registers import ErrorCode
from systolith.arch.settings import resolve
from systolith.arch.tiling import PlanError
from systolith.host.attention import compile_attention
from systolith.host.network import NetworkError


def check(head, config, tokens, seed):
    x = np.random.default_rng(seed).integers(-128, 128, (tokens, head.query_weights.shape[0]), np.int8)
    compiled = compile_attention(head, config, tokens)
    result, output = run_on_model(compiled, x, seed=seed)
    assert result.error is ErrorCode.NONE and not result.hazards, (result.error, [str(h) for h in result.hazards[:3]])
    np.testing.assert_array_equal(output, head.reference(x))
    return compiled


@pytest.mark.parametrize("tokens, features, width", [(16, 16, 16), (17, 30, 11), (1, 1, 1), (7, 3, 26)])
@pytest.mark.parametrize("rows, cols", ARRAYS)
def test_exact_on_every_array(rows, cols, tokens, features, width):
    config = resolve({"array": {"rows": rows, "cols": cols}})
    seed = rows * cols + tokens
    check(random_head(np.random.default_rng(seed), tokens, features, width), config, tokens, seed)


@pytest.mark.parametrize("seed", range(12))
def test_random_heads(seed):
    rng = np.random.default_rng(seed)
    config = random_config(rng)
    tokens, features, width = rng.integers(1, 40, 3).tolist()
    try:
        check(random_head(rng, tokens, features, width), config, tokens, seed)
    except PlanError as error:
        assert "activation_kib must hold two windows" in str(error)


def test_everything_between_is_made_on_the_device():
    """X is loaded once; Q, K, V and P are stored to scratchpads; K is read through the transposer; only O goes to memory."""
    compiled = check(random_head(np.random.default_rng(0), 20, 24, 18), resolve({"array": {"rows": 6, "cols": 4}}), 20, 0)
    loads = [c for c in compiled.commands if isinstance(c, Load)]
    assert sum(c.run * c.count1 for c in loads if c.bank == Bank.ACTIVATION) == 20 * 24
    assert sum(c.run * c.count1 for c in loads if c.bank == Bank.WEIGHT) == 3 * 24 * 18
    stored = {target: sum(c.columns * c.count1 for c in compiled.commands if isinstance(c, Store) and c.target == target)
              for target in Target}
    assert stored == {Target.MEMORY: 20 * 18, Target.ACTIVATION: 20 * 18 + 20 * 20, Target.WEIGHT: 2 * 20 * 18}
    assert any(c.transpose for c in compiled.commands if isinstance(c, Execute))
    assert compiled.macs == 20 * 18 * (3 * 24 + 2 * 20)


def test_transposer_is_needed():
    with pytest.raises(PlanError, match=r"^array.transposer must be true for attention$"):
        compile_attention(random_head(np.random.default_rng(0), 60, 32, 16), resolve({"array": {"transposer": False}}), 60)


@pytest.mark.parametrize("memory", [{"activation_kib": 1}, {"weight_kib": 2}])
def test_what_does_not_fit_goes_through_memory(memory):
    compiled = check(random_head(np.random.default_rng(0), 60, 32, 16), resolve({"memory": memory}), 60, 0)
    assert compiled.sizes[4] > 0


def test_weights_must_be_alike():
    head = random_head(np.random.default_rng(0), 4, 5, 6)
    with pytest.raises(NetworkError, match=r"^key_weights must be int8 of shape \(features, head\), all alike, not int8 \(5, 3\)$"):
        dataclasses.replace(head, key_weights=head.key_weights[:, :3])
