"""The MLPerf Tiny reference models on accelerators: every output byte for byte what LiteRT's reference kernels gave."""

from pathlib import Path

import numpy as np
import pytest
from nightly import NIGHTLY, nightly

pytest.importorskip("tflite", reason="the package 'tflite' is not installed")

from devices import generated, simulated
from systolith.arch.manifest import Manifest
from systolith.arch.settings import resolve
from systolith.host.accelerator import Accelerator
from systolith.host.model_device import ModelDevice
from systolith.host.session import Session

MODELS = Path(__file__).parents[3] / "shared" / "models"
NAMES = {"ad01": "ad01_int8", "kws": "kws_ref_model", "ic": "pretrainedResnet_quant", "vww": "vww_96_int8"}
ARRAYS = [(8, 8), (16, 16), (24, 12)]
pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason=f"the models' folder {MODELS} is not there")


def config_of(rows, cols):
    return resolve({"array": {"rows": rows, "cols": cols}})


def check(accelerator, name, samples=None):
    """All samples, or the last ``samples``; returns the report."""
    data = np.load(MODELS / "samples.npz")
    x, y = (data[f"{name}_{end}"] for end in ("in", "out"))
    count = len(x) if samples is None else samples
    session = Session(MODELS / f"{NAMES[name]}.tflite", accelerator)
    np.testing.assert_array_equal(session.run(x[-count:]), y[-count:])
    report = session.report
    assert {op["op"] for op in report["fallback_ops"]} <= {"SOFTMAX"} and report["host_bytes_rearranged"] == 0
    return report


@pytest.mark.parametrize("rows, cols, name", [
    pytest.param(*array, name, marks=nightly("a minute; the other arrays run it") if (array, name) == ((24, 12), "vww") else ())
    for array in ARRAYS for name in NAMES])
def test_samples_on_the_functional_model(rows, cols, name):
    """Every sample; without SYSTOLITH_NIGHTLY on the built-in default only, and one on the others."""
    manifest = Manifest(config=config_of(rows, cols))
    with Accelerator(ModelDevice(manifest), manifest) as accelerator:
        check(accelerator, name, samples=None if NIGHTLY or (rows, cols) == (16, 16) else 1)


@pytest.fixture(scope="module", params=ARRAYS, ids="{0[0]}x{0[1]}".format)
def rtl(request):
    if request.param != (8, 8) and not NIGHTLY:
        pytest.skip("the larger arrays run with SYSTOLITH_NIGHTLY=1; the benchmarks have them too")
    config = config_of(*request.param)
    device = simulated(config)
    yield Accelerator(device, Manifest.read(generated(config)))
    device.close()


@pytest.mark.parametrize("name", NAMES)
def test_one_sample_on_the_rtl(rtl, name):
    report = check(rtl, name, samples=1)
    assert sum(layer.get("cycles", 0) for layer in report["layers"]) == report["cycles"]
    assert abs(report["predicted_cycles"] / report["cycles"] - 1) < 0.1
