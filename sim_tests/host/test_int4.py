"""int4 weights from the driver down: products and networks on the functional model and on the RTL, and what is refused."""

import re

import numpy as np
import pytest
from devices import generated, simulated, small_config
from systolith.arch.manifest import Manifest
from systolith.arch.registers import Feature, offset_of
from systolith.arch.settings import resolve
from systolith.arch.tiling import PlanError
from systolith.host.accelerator import Accelerator, Requantise
from systolith.host.model_device import ModelDevice

SEED = 20261126
SHAPES = [(1, 1, 1), (2, 3, 5), (7, 13, 11), (16, 16, 16), (31, 29, 37), (64, 33, 50), (1, 64, 3), (40, 1, 90)]
CONFIGS = {
    "1x1": small_config(1, 1, array={"weights": "int4"}),
    "7x5": small_config(7, 5, array={"weights": "int4"}),
    "8x8-pairs": small_config(8, 8, array={"weights": "int4", "multiplier": "fast-inner-product"}),
    # A bus word per program word: serial engines read no more of a wider one.
    "6x4-serial": small_config(6, 4, array={"weights": "int4"}, memory={"bus_bits": 32}, control={"engines": "serial"}),
}


def on_model(config, memory_bytes=1 << 20):
    manifest = Manifest(config=config)
    return Accelerator(ModelDevice(manifest, memory_bytes=memory_bytes), manifest)


def on_rtl(config, memory_bytes=1 << 20):
    device = simulated(config, memory_bytes=memory_bytes, latency=30, max_cycles=20_000_000)
    return Accelerator(device, Manifest.read(generated(config)))


def operands(m, n, k):
    rng = np.random.default_rng([SEED, m, n, k])
    a, w = rng.integers(-128, 128, (m, k), np.int8), rng.integers(-8, 8, (k, n), np.int8)
    a.flat[0], w.flat[0] = -128, -8
    return a, w, rng


def exact(a, w):
    return (a.astype(np.float64) @ w.astype(np.float64)).astype(np.int32)


@pytest.mark.parametrize("name", CONFIGS)
def test_products(name):
    """Against NumPy; both devices move the same bytes, but that a serial dispatcher reads a command's first word twice."""
    config = CONFIGS[name]
    again = 4 if config.control.engines == "serial" else 0
    with on_model(config) as model, on_rtl(config) as rtl:
        for shape in SHAPES:
            a, w, rng = operands(*shape)
            for accelerator in (model, rtl):
                assert np.array_equal(accelerator.matmul(a, w), exact(a, w)), (SEED, shape)
            assert model.counters["bytes_written"] == rtl.counters["bytes_written"]
            assert model.counters["bytes_read"] + again * model.counters["commands"] == rtl.counters["bytes_read"]
            bias = rng.integers(-1000, 1000, shape[1], np.int32)
            rounding = Requantise(multiplier=1 << 30, shift=-5, zero_point=3)
            results = [accelerator.matmul(a, w, bias, rounding) for accelerator in (model, rtl)]
            assert np.array_equal(*results)
            scaled = np.rint((exact(a, w) + bias) / 64)
            assert np.abs(results[0] - np.clip(scaled + 3, -128, 127)).max() <= 1, "beside rounding, what real numbers give"


@pytest.mark.parametrize("name, size", [("1x1", 8192), ("7x5", 4096)])
def test_work_larger_than_memory(name, size):
    config = CONFIGS[name]
    a, w, _ = operands(60, 41, 30)
    for accelerator in (on_model(config, size), on_rtl(config, size)):
        with accelerator:
            assert np.array_equal(accelerator.matmul(a, w), exact(a, w))
            assert accelerator.counters["programs"] > 1


def test_larger_than_the_scratchpads():
    config = resolve({"array": {"rows": 12, "cols": 10, "weights": "int4"}, "memory": {"activation_kib": 1, "weight_kib": 1}})
    a, w, _ = operands(70, 150, 700)
    with on_model(config) as accelerator:
        assert np.array_equal(accelerator.matmul(a, w), exact(a, w))


def test_what_is_no_int4_weight_is_refused():
    with on_model(CONFIGS["7x5"]) as accelerator:
        a, w, _ = operands(3, 4, 5)
        for value in (8, -9, 127, -128):
            w[2, 3] = value
            with pytest.raises(ValueError) as caught:
                accelerator.matmul(a, w)
            assert str(caught.value) == f"weights must be from -8 to 7 where array.weights is 'int4', not {value}"


def test_identity():
    for weights, bit in (("int4", Feature.INT4_WEIGHTS), ("int8", 0)):
        manifest = Manifest(config=resolve({"array": {"weights": weights}}))
        device = ModelDevice(manifest, memory_bytes=1 << 16)
        assert device.read_register(offset_of("FEATURES")) & Feature.INT4_WEIGHTS == bit


def test_the_weight_scratchpad_holds_twice_the_rows():
    int8, int4 = (resolve({"array": {"cols": 9, "weights": weights}}) for weights in ("int8", "int4"))
    assert (int8.weight_lanes, int4.weight_lanes) == (9, 5)
    assert (int8.weight_rows, int4.weight_rows) == (48 * 1024 // 9, 48 * 1024 // 5)


# Networks

def small_model(weights, seed=SEED):
    """Every operator that works with int4 weights."""
    from random_models import Maker
    from tflite_writer import NONE, SAME, VALID
    made = Maker(np.random.default_rng(seed), weights=weights)
    x = made.input((1, 9, 8, 3))
    first = made.conv(x, 11, (3, 3), padding=SAME)
    y = made.add(made.depthwise(first, (3, 3)), first, fused=NONE)
    y = made.pool("MAX", y, (2, 2), stride=(2, 2), padding=SAME, fused=NONE)
    y = made.conv(y, 12, (3, 3), stride=(2, 2), fused=NONE)
    y = made.quantize(y)
    y = made.pool("AVERAGE", y, made.shape(y)[1:3], padding=VALID, fused=NONE)
    return made, made.dense(made.reshape(y, (1, 12)), 5, fused=NONE)


@pytest.mark.parametrize("rows, cols", [(8, 8), (7, 5), (16, 16), (4, 1)])
def test_a_network_whose_weights_fit(rows, cols):
    """LiteRT's reference kernels, byte for byte, on the model and, for one array, on the RTL."""
    pytest.importorskip("tflite")
    pytest.importorskip("ai_edge_litert.interpreter")
    from systolith.host.session import Session
    from tflite_writer import lite_rt
    config = resolve({"array": {"rows": rows, "cols": cols, "weights": "int4"}})
    for seed in range(SEED, SEED + 3):
        made, output = small_model((-8, 7), seed)
        model, inputs = made.model(output), made.random_inputs()
        expected = lite_rt(model, *inputs)[0]
        with on_model(config) as accelerator:
            assert np.array_equal(Session(model, accelerator).run(*inputs), expected), f"seed {seed}"
    if (rows, cols) == (7, 5):
        with on_rtl(config) as accelerator:
            assert np.array_equal(Session(model, accelerator).run(*inputs), expected), f"seed {seed}"


def test_a_network_with_other_weights_is_refused():
    """The first layer with such a weight is named."""
    pytest.importorskip("tflite")
    from random_models import Maker
    from systolith.host.session import Session
    rng = np.random.default_rng(SEED)
    made = Maker(rng, weights=(-8, 7))
    x = made.conv(made.input((1, 6, 6, 3)), 4, (3, 3))
    made.weights = 9, 11
    x = made.depthwise(x, (3, 3))
    made.weights = 100, 120
    model = made.model(made.conv(x, 4, (1, 1)))
    with on_model(CONFIGS["7x5"]) as accelerator, pytest.raises(PlanError) as caught:
        Session(model, accelerator).run(*made.random_inputs())
    assert re.fullmatch(r"operator 1 \(DepthwiseConv2D, '.*'\): weights must be from -8 to 7 where array.weights is 'int4', not (9|1[01])",
                        str(caught.value))


def test_products_of_two_tensors_are_refused():
    """What STORE puts into the weight scratchpad is bytes."""
    pytest.importorskip("tflite")
    from random_models import Maker
    from systolith.host.session import Session
    made = Maker(np.random.default_rng(SEED), weights=(-8, 7))
    x = made.input((1, 6, 8))
    model = made.model(made.batch_matmul(x, x, transpose_b=True))
    with on_model(CONFIGS["7x5"]) as accelerator, pytest.raises(PlanError) as caught:
        Session(model, accelerator).run(*made.random_inputs())
    assert str(caught.value).endswith("array.weights must be 'int8' for a product of two tensors, not 'int4'")
