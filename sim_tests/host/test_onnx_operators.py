"""Every ONNX operator over random shapes and quantisations, against ONNX Runtime's own kernels on its own inputs."""

from __future__ import annotations

import numpy as np
import pytest
from nightly import NIGHTLY

pytest.importorskip("onnx", reason="reads ONNX files, which needs the extra 'onnx'")
pytest.importorskip("onnxruntime", reason="its oracle is ONNX Runtime, of the extra 'onnx'")

from onnx_cases import CASES
from onnx_models import oracle
from systolith.host.graph import Graph
from systolith.host.onnx_reader import read_onnx

TRIALS = 400 if NIGHTLY else 25
# Results that are exactly halves, which ONNX Runtime rounds to even, or by the noise of its float sums.
HALVES: dict[str, float] = {}


def outputs(graph: Graph, arrays: list[np.ndarray]) -> list[np.ndarray]:
    results = graph.reference(*(graph.tensors[key].encode(x) for key, x in zip(graph.inputs, arrays, strict=True)))
    return [graph.tensors[key].decode(y) for key, y in zip(graph.outputs, results, strict=True)]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("name", CASES)
def test_operator(name, dtype):
    seed = 20261125 + sum(map(ord, name + dtype))
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    different = total = 0
    for trial in range(TRIALS):
        model, arrays = CASES[name](rng, dtype)
        want, = oracle(model, *arrays)
        got, = outputs(read_onnx(model), arrays)
        assert got.dtype == want.dtype and got.shape == want.shape, trial
        steps = np.abs(got.astype(int) - want.astype(int))
        assert steps.max() <= 1, f"trial {trial}: {steps.max()} steps apart"
        different += np.count_nonzero(steps)
        total += steps.size
    print(f"{different} of {total} results one step apart")
    assert different <= HALVES.get(name, 0.001) * total
