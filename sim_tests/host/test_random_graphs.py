"""Graphs of every operator, drawn at random, on accelerators drawn at random: byte for byte the reference, without a hazard."""

import numpy as np
import pytest
from graphs import GraphMaker, check_graph, random_graph
from networks import random_config
from nightly import NIGHTLY
from systolith.arch.commands import Execute, Store, Target
from systolith.arch.settings import resolve
from systolith.arch.tiling import PlanError
from systolith.host.compile import compile_graph
from systolith.host.operators import AveragePool2D

SEEDS = range(400 if NIGHTLY else 40)
# What the smallest memories may refuse.
REFUSED = ("activation_kib must hold two windows", "accumulator_rows must be at least")


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs(seed):
    rng = np.random.default_rng(seed)
    config = random_config(rng)
    graph = random_graph(rng, host=seed % 5 == 0)
    try:
        check_graph(graph, config, seed)
    except PlanError as error:
        assert any(reason in str(error) for reason in REFUSED), error


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs_of_int4_weights(seed):
    rng = np.random.default_rng(4000 + seed)
    config = random_config(rng, weights="int4")
    graph = random_graph(rng, host=seed % 5 == 0, limits=config.array.weight_limits)
    try:
        check_graph(graph, config, seed)
    except PlanError as error:
        assert any(reason in str(error) for reason in REFUSED), error


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shape", [(8, 8), (16, 16), (24, 12)])
def test_random_graphs_on_usual_arrays(shape, seed):
    rng = np.random.default_rng(1000 + seed)
    rows, cols = shape
    check_graph(random_graph(rng, operators=8, channels=40), resolve({"array": {"rows": rows, "cols": cols}}), seed)


@pytest.mark.parametrize("rows, cols", [(8, 8), (16, 16), (24, 12), (3, 5)])
def test_attention_stays_on_chip(rows, cols):
    """Q·Kᵀ and P·V of three projections, all of them made on the device, with any zero points: nothing goes through memory."""
    rng = np.random.default_rng(rows)
    maker = GraphMaker(rng, (1, 11, 19))
    q, k, v = (maker.reshape(maker.dense("in0", 14, 19), (1, 11, 14)) for _ in range(3))
    graph = maker.graph(maker.product(maker.product(q, k, transpose_b=True), v))
    program, = check_graph(graph, resolve({"array": {"rows": rows, "cols": cols}})).programs
    assert program.sizes[4] == 0
    assert {c.target for c in program.commands if isinstance(c, Store)} == set(Target)
    assert any(c.transpose for c in program.commands if isinstance(c, Execute))


def test_residual_network_larger_than_the_chip():
    """Tensors go through memory window by window, a sum reads both of its operands from there, and the batch goes in groups."""
    rng = np.random.default_rng(5)
    maker = GraphMaker(rng, (2, 17, 23, 6))
    first = maker.conv("in0", 9)
    graph = maker.graph(maker.conv(maker.sum(first, maker.requantise(first)), 7))
    sizes = {"array": {"rows": 8, "cols": 8}, "memory": {"activation_kib": 1, "weight_kib": 2, "accumulator_rows": 64}}
    program, = check_graph(graph, resolve(sizes)).programs
    assert program.sizes[4] > 0


def test_averages_of_every_count():
    """Windows of 1 to 256 pixels, padded so that each place has its own count; the extremes of int8 and ties among the values."""
    rng = np.random.default_rng(6)
    for kernel in ((1, 1), (2, 2), (3, 5), (7, 7), (16, 16)):
        maker = GraphMaker(rng, (1, 16, 16, 3))
        padding = tuple(((k - 1) // 2, k // 2) for k in kernel)
        graph = maker.graph(maker.add(AveragePool2D(kernel=kernel, padding=padding), "in0"))
        check_graph(graph, resolve({"array": {"rows": 4, "cols": 4}}), kernel[0])


def test_what_is_not_there_is_named():
    rng = np.random.default_rng(7)
    maker = GraphMaker(rng, (1, 4, 4, 3))
    graph = maker.graph(maker.sum("in0", "in0"))
    with pytest.raises(PlanError, match=r"^operator 0 \(Add, 'node t0'\): epilogue.add must be true for element-wise addition$"):
        compile_graph(graph, resolve({"epilogue": {"add": False}}))
