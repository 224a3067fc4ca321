"""The MLPerf Tiny reference models: the graph's reference equals what LiteRT's reference kernels gave, byte for byte."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tflite", reason="the package 'tflite' is not installed")

from systolith.host.tflite_reader import read_tflite

MODELS = Path(__file__).parents[3] / "shared" / "models"
NAMES = {"ad01": "ad01_int8", "kws": "kws_ref_model", "ic": "pretrainedResnet_quant", "vww": "vww_96_int8"}
MACS = {"ad01": 264_192, "kws": 2_656_768, "ic": 12_501_632, "vww": 7_489_664}
pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason=f"the models' folder {MODELS} is not there")


@pytest.mark.parametrize("name", NAMES)
def test_every_sample(name):
    graph = read_tflite((MODELS / f"{NAMES[name]}.tflite").read_bytes())
    samples = np.load(MODELS / "samples.npz")
    x, expected = samples[f"{name}_in"], samples[f"{name}_out"]
    (together,) = graph.batched(len(x)).reference(x)
    np.testing.assert_array_equal(together, expected)
    (alone,) = graph.reference(x[-1:])
    np.testing.assert_array_equal(alone, expected[-1:])
    assert graph.macs == MACS[name]
    assert {node.op for node in graph.nodes if type(node.operator).__name__ == "HostOp"} <= {"SOFTMAX"}
