"""Graphs of every operator, drawn at random, on accelerators drawn at random: byte for byte the reference, without a hazard."""

import os

import numpy as np
import pytest
from graphs import check_graph, random_graph
from networks import random_config
from systolith.arch.config import resolve
from systolith.arch.tiling import PlanError

SEEDS = range(400 if os.environ.get("SYSTOLITH_NIGHTLY") else 40)
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


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shape", [(8, 8), (16, 16), (24, 12)])
def test_random_graphs_on_usual_arrays(shape, seed):
    rng = np.random.default_rng(1000 + seed)
    rows, cols = shape
    check_graph(random_graph(rng, operators=8, channels=40), resolve({"array": {"rows": rows, "cols": cols}}), seed)
