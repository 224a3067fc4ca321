"""int16 activations from the driver down: products on the functional model and on the RTL, and what is refused."""

import re

import numpy as np
import pytest
from devices import simulated, small_config
from systolith.arch.config import ConfigError
from systolith.arch.cycles import predict_cycles
from systolith.arch.latency import Memory
from systolith.arch.manifest import Manifest
from systolith.arch.registers import Feature, offset_of
from systolith.arch.settings import resolve
from systolith.arch.tiling import PlanError
from systolith.cli import flow
from systolith.host.accelerator import Accelerator, Requantise
from systolith.host.model_device import ModelDevice

SEED = 20261127
SHAPES = [(1, 1, 1), (2, 3, 5), (7, 13, 11), (16, 16, 16), (31, 29, 37), (64, 33, 50), (1, 64, 3), (40, 1, 90)]
INT16 = {"activations": "int16"}
CONFIGS = {
    "1x1": small_config(1, 1, array=INT16),
    "7x5": small_config(7, 5, array=INT16),
    "8x8-lut-int4": small_config(8, 8, array=INT16 | {"weights": "int4", "multiplier": "lut"}),
    # A bus word per program word: serial engines read no more of a wider one.
    "6x4-serial": small_config(6, 4, array=INT16, memory={"bus_bits": 32}, control={"engines": "serial"}),
}
ON_RTL = ("7x5", "6x4-serial")  # those of test_random_programs.py, so that they are compiled once


def on_model(config, memory_bytes=1 << 20):
    manifest = Manifest(config=config)
    return Accelerator(ModelDevice(manifest, memory_bytes=memory_bytes), manifest)


def on_rtl(config, folder, memory_bytes=1 << 20):
    device = simulated(config, folder, memory_bytes=memory_bytes, latency=30, max_cycles=20_000_000)
    return Accelerator(device, Manifest.read(folder))


def operands(config, m, n, k):
    rng = np.random.default_rng([SEED, m, n, k])
    low, high = config.array.weight_limits
    a, w = rng.integers(-32768, 32768, (m, k), np.int16), rng.integers(low, high + 1, (k, n), np.int8)
    a.flat[0], w.flat[0] = -32768, low
    return a, w, rng


def exact(a, w):
    return (a.astype(np.int64) @ w.astype(np.int64)).astype(np.int32)


@pytest.mark.parametrize("name", CONFIGS)
def test_products(name, tmp_path):
    """Against NumPy; both devices move the same bytes, but that a serial dispatcher reads a command's first word twice."""
    config = CONFIGS[name]
    again = 4 if config.control.engines == "serial" else 0
    with on_model(config) as model, on_rtl(config, tmp_path / "g") if name in ON_RTL else on_model(config) as rtl:
        for shape in SHAPES:
            a, w, rng = operands(config, *shape)
            for accelerator in (model, rtl):
                assert np.array_equal(accelerator.matmul(a, w), exact(a, w)), (SEED, shape)
            if name not in ON_RTL:
                continue
            assert model.counters["bytes_written"] == rtl.counters["bytes_written"]
            assert model.counters["bytes_read"] + again * model.counters["commands"] == rtl.counters["bytes_read"]
            bias = rng.integers(-1 << 20, 1 << 20, shape[1], np.int32)
            assert np.array_equal(rtl.matmul(a, w, bias), (exact(a, w).astype(np.int64) + bias).astype(np.int32)), (SEED, shape)
            rounding = Requantise(multiplier=1 << 30, shift=-13, zero_point=3)
            results = [accelerator.matmul(a, w, bias, rounding) for accelerator in (model, rtl)]
            assert np.array_equal(*results)
            scaled = np.rint((exact(a, w).astype(np.int64) + bias) / (1 << 14))
            assert np.abs(results[0] - np.clip(scaled + 3, -128, 127)).max() <= 1, "beside rounding, what real numbers give"


def test_the_cycle_model_is_the_rtl(tmp_path):
    """Cycles of products, those that the bus bounds among them."""
    config = CONFIGS["7x5"]
    with on_rtl(config, tmp_path / "g") as accelerator:
        for shape in SHAPES:
            a, w, _ = operands(config, *shape)
            accelerator.matmul(a, w)
            predicted = sum(predict_cycles(config, plan.program, memory=Memory(latency=30), bases=bases).cycles
                            for plan, bases in zip(accelerator.plans, accelerator.bases, strict=True))
            assert abs(predicted - accelerator.counters["cycles"]) <= 0.02 * accelerator.counters["cycles"] + 4, shape


def test_sums_wrap_at_32_bits(tmp_path):
    """1024 times −32768 · −128 is 2**32."""
    config = CONFIGS["7x5"]
    a, w = np.full((1, 1025), -32768, np.int16), np.full((1025, 2), -128, np.int8)
    for accelerator in (on_model(config), on_rtl(config, tmp_path / "g")):
        with accelerator:
            assert accelerator.matmul(a, w).tolist() == [[1 << 22, 1 << 22]]


@pytest.mark.parametrize("name, size", [("1x1", 8192), ("7x5", 6144)])
def test_work_larger_than_memory(name, size):
    config = CONFIGS[name]
    a, w, _ = operands(config, 60, 41, 30)
    with on_model(config, size) as accelerator:
        assert np.array_equal(accelerator.matmul(a, w), exact(a, w))
        assert accelerator.counters["programs"] > 1


def test_larger_than_the_scratchpads():
    config = resolve({"array": INT16 | {"rows": 12, "cols": 10}, "memory": {"activation_kib": 1, "weight_kib": 1}})
    a, w, _ = operands(config, 70, 150, 700)
    with on_model(config) as accelerator:
        assert np.array_equal(accelerator.matmul(a, w), exact(a, w))


def test_operands_of_another_type_are_refused():
    for config, given, wanted in ((CONFIGS["7x5"], "int8", "int16"), (small_config(7, 5), "int16", "int8")):
        with on_model(config) as accelerator, pytest.raises(TypeError, match=f"^a must be {wanted}, not {given}$"):
            accelerator.matmul(np.ones((2, 3), given), np.ones((3, 2), np.int8))


def test_identity():
    for activations, bit in (("int16", Feature.INT16_ACTIVATIONS), ("int8", 0)):
        manifest = Manifest(config=resolve({"array": {"activations": activations}}))
        device = ModelDevice(manifest, memory_bytes=1 << 16)
        assert device.read_register(offset_of("FEATURES")) & Feature.INT16_ACTIVATIONS == bit


def test_the_activation_scratchpad_holds_half_the_rows():
    int8, int16 = (resolve({"array": {"rows": 9, "activations": activations}}) for activations in ("int8", "int16"))
    assert (int8.activation_lanes, int16.activation_lanes) == (9, 18)
    assert (int8.activation_rows, int16.activation_rows) == (64 * 1024 // 9, 64 * 1024 // 18)


@pytest.mark.parametrize(("array", "message"), [
    *(({"multiplier": kind}, f"array.multiplier must be 'auto', 'single' or 'lut' where array.activations is 'int16', not {kind!r}")
      for kind in ("fast-inner-product", "packed", "dual")),
    ({"rows": 129}, "array.rows must be at most 128 where array.activations is 'int16', not 129")])
def test_arrays_that_have_no_int16_are_refused(array, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        resolve({"array": INT16 | array})


def test_an_array_of_more_multipliers_than_the_part_has():
    """The rest multiplies in look-up tables, since pairs of rows are of int8."""
    config = resolve({"array": INT16 | {"rows": 8, "cols": 8}}, dsp_blocks=16 + 5 * 8)
    assert (config.array.multiplier, config.array.dsp_columns) == ("single", 5)


def test_networks_and_comparisons_are_refused():
    from systolith.arch.plan_graph import plan_graph
    with pytest.raises(PlanError, match=r"^array\.activations must be 'int8' for the layers of a network, not 'int16'$"):
        plan_graph(CONFIGS["7x5"], {}, [], constants=1, scratch=2)
    message = r"^array\.activations must be 'int8' for a comparison, which is what the other backends multiply, not 'int16'$"
    with on_model(CONFIGS["7x5"]) as accelerator, pytest.raises(flow.FlowError, match=message):
        flow.compare(1, 1, 1, accelerator=accelerator)
