"""What a kind of multiplier asks of configurations, weights and boards."""

import re

import numpy as np
import pytest
from networks import random_dense, random_head
from systolith import connect
from systolith.arch.config import ConfigError
from systolith.arch.settings import resolve
from systolith.arch.tiling import PlanError
from systolith.boards import get_board
from systolith.cli.settings import choose
from systolith.gen.fit import estimate, excess
from systolith.host.attention import compile_attention
from systolith.host.inference import compile_network
from systolith.host.network import Network, Quantisation

PACKED = {"array": {"rows": 4, "cols": 6, "multiplier": "packed"}}


def test_packed_columns_refuse_a_weight_of_minus_128():
    a, w = np.ones((3, 5), np.int8), np.full((5, 7), -127, np.int8)
    with connect("model", config=PACKED) as acc:
        assert (acc.matmul(a, w) == a.astype(int) @ w).all()
        w[4, 6] = -128
        with pytest.raises(ValueError, match=r"^weights must be from -127 to 127 where array\.multiplier is 'packed', not -128$"):
            acc.matmul(a, w)
        assert (acc.matmul(w.T.copy(), np.ones((5, 2), np.int8)) == w.T.astype(int).sum(axis=1, keepdims=True)).all()  # as activations


@pytest.mark.parametrize("settings", [{"multiplier": "lut"}, {"multiplier": "packed", "dsp_cols": 1}, {"multiplier": "packed", "cols": 1}])
def test_others_take_it(settings):
    a, w = np.full((3, 4), -128, np.int8), np.full((4, 1), -128, np.int8)
    with connect("model", config={"array": {"rows": 4, "cols": 4, **settings}}) as acc:
        assert (acc.matmul(a, w) == 4 << 14).all()


def test_networks_on_packed_columns():
    rng = np.random.default_rng(1)
    layer = random_dense(rng, 20, 10)
    layer.weights[7, 3] = -128
    network = Network(layers=(layer,), input_shape=(1, 1, 20), input=Quantisation(scale=1.0, zero_point=0),
                      output=Quantisation(scale=1.0, zero_point=0))
    message = "operator 0 (FullyConnected, 'layer 0'): weights must be from -127 to 127 where array.multiplier is 'packed', not -128"
    with pytest.raises(PlanError, match=f"^{re.escape(message)}$"):
        compile_network(network, resolve(PACKED), 1)
    layer.weights[:] = np.maximum(layer.weights, -127)
    compile_network(network, resolve(PACKED), 1)
    message = "array.multiplier must not be 'packed' for products of two tensors, which may hold −128"
    with pytest.raises(PlanError, match=f"^{re.escape(message)}$"):
        compile_attention(random_head(rng, 3, 4, 5), resolve(PACKED), 3)


@pytest.mark.parametrize(("array", "multiplier", "dsp_columns", "blocks"), [
    ({"rows": 12, "cols": 12}, "auto", 12, 144),                    # one for each fits
    ({"rows": 24, "cols": 12}, "fast-inner-product", 12, 144),      # two rows each
    ({"rows": 24, "cols": 24}, "fast-inner-product", 12, 144),      # and the other half in look-up tables
    ({"rows": 15, "cols": 12}, "single", 9, 135),                   # an odd number of rows makes no pairs
    ({"rows": 24, "cols": 24, "dsp_cols": 4}, "auto", 4, 96),       # as it was asked for
    ({"rows": 24, "cols": 24, "dsp_cols": 8}, "fast-inner-product", 8, 96 + 12),  # and the terms of activations
    ({"rows": 24, "cols": 24, "multiplier": "lut"}, "lut", 0, 0)])
def test_auto_fills_the_board(array, multiplier, dsp_columns, blocks):
    """156 multipliers, of which the epilogue's three lanes take twelve."""
    target = choose(board="ulx3s-85f", config={"array": array})
    chosen = target.config.array
    assert (chosen.multiplier, chosen.dsp_columns, chosen.dsp_blocks) == (multiplier, dsp_columns, blocks)
    assert resolve(target.config.to_dict()) == target.config
    assert "dsp" not in excess(target.config, target.board)


@pytest.mark.parametrize(("board", "array", "side_dsp", "blocks"), [
    ("ulx3s-85f", {}, False, 144),                                                          # none is left
    ("ulx3s-25f", {}, True, 16 + 4),                                                        # 28, of which the epilogue takes eight
    ("ulx3s-85f", {"rows": 24, "cols": 13, "side_dsp": True}, True, 144),                   # which costs a column
    ("ulx3s-85f", {"rows": 24, "cols": 24, "dsp_cols": 8}, True, 96 + 12)])
def test_auto_gives_what_is_left_to_the_term_of_activations(board, array, side_dsp, blocks):
    target = choose(board=board, config={"array": array})
    chosen = target.config.array
    assert (chosen.multiplier, chosen.side_dsp, chosen.dsp_blocks) == ("fast-inner-product", side_dsp, blocks)
    assert resolve(target.config.to_dict()) == target.config
    assert "dsp" not in excess(target.config, target.board)


def test_auto_is_single_without_a_board_and_elsewhere():
    assert resolve({"array": {"rows": 64, "cols": 64}}).array.multiplier_kind == "single"
    assert choose(board="ice40-hx8k").config.array.multiplier == "auto"


@pytest.mark.parametrize(("array", "dsp"), [
    ({"multiplier": "packed"}, 8 * 4), ({"multiplier": "packed", "cols": 7}, 8 * 4), ({"multiplier": "packed", "dsp_cols": 3}, 8 * 2),
    ({"multiplier": "lut"}, 0), ({"multiplier": "fast-inner-product", "dsp_cols": 5}, 4 * 5),
    ({"multiplier": "fast-inner-product", "dsp_cols": 5, "side_dsp": True}, 4 * 6), ({"dsp_cols": 5}, 8 * 5)])
def test_estimate_of_multipliers(array, dsp):
    config = resolve({"array": {"rows": 8, "cols": 8, **array}, "epilogue": {"lanes": 2}})
    assert estimate(config, get_board("ulx3s-85f"))["dsp"] == dsp + 8


@pytest.mark.parametrize(("array", "message"), [
    ({"multiplier": "booth"},
     "array.multiplier must be one of 'auto', 'single', 'fast-inner-product', 'packed', 'dual', 'lut', not 'booth'"),
    ({"multiplier": "packed", "side_dsp": True},
     "array.side_dsp must be false where array.multiplier is 'packed'; 'fast-inner-product' takes it"),
    ({"side_dsp": True}, "array.side_dsp must be false where array.multiplier comes to 'single'; 'fast-inner-product' takes it"),
    ({"side_dsp": 1}, "array.side_dsp must be one of False, True, not 1"),
    ({"dsp_cols": -1}, "array.dsp_cols must be from 0 to 256, not -1"),
    ({"dsp_cols": "all"}, "array.dsp_cols must be a whole number, not 'all'")])
def test_refused(array, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        resolve({"array": array})
