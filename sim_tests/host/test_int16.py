"""int16 activations from the driver down: products on the functional model and on the RTL, and what is refused."""

import re

import numpy as np
import pytest
from devices import generated, run_words, simulated, small_config
from systolith.arch.commands import Bank, Execute, Load, Operation, ProgramError, Store, int16_fields, pack
from systolith.arch.config import ConfigError
from systolith.arch.cycles import predict_cycles
from systolith.arch.latency import Memory
from systolith.arch.manifest import Manifest
from systolith.arch.numerics import quantize_multiplier, reduce_multiplier, round_once
from systolith.arch.registers import Feature, offset_of
from systolith.arch.settings import resolve
from systolith.arch.tiling import PlanError
from systolith.boards import get_board
from systolith.cli import flow, products
from systolith.gen.fit import blocks_needed
from systolith.host.accelerator import Accelerator, Requantise, RequantiseInt16
from systolith.host.model_device import ModelDevice

SEED = 20261127
SHAPES = [(1, 1, 1), (2, 3, 5), (7, 13, 11), (31, 29, 37), (1, 64, 3), (40, 1, 90)]
INT16 = {"activations": "int16"}
CONFIGS = {
    "1x1": small_config(1, 1, array=INT16),
    "7x5": small_config(7, 5, array=INT16),
    "8x8-lut-int4": small_config(8, 8, array=INT16 | {"weights": "int4", "multiplier": "lut"}),
    "6x5-wide": small_config(6, 5, array=INT16 | {"accumulator_bits": 40}),
    "8x4-widest": small_config(8, 4, array=INT16 | {"accumulator_bits": 48}, memory={"bus_bits": 32},
                               epilogue={"max_pool": False}),
    # A bus word per program word: serial engines read no more of a wider one.
    "6x4-serial": small_config(6, 4, array=INT16, memory={"bus_bits": 32}, control={"engines": "serial"}),
}
ON_RTL = ("7x5", "6x4-serial", "6x5-wide", "8x4-widest")  # those of test_random_programs.py, so that they are compiled once


def on_model(config, memory_bytes=1 << 20):
    manifest = Manifest(config=config)
    return Accelerator(ModelDevice(manifest, memory_bytes=memory_bytes), manifest)


def on_rtl(config):
    device = simulated(config, memory_bytes=1 << 20, latency=30, max_cycles=20_000_000)
    return Accelerator(device, Manifest.read(generated(config)))


def operands(config, m, n, k):
    rng = np.random.default_rng([SEED, m, n, k])
    low, high = config.array.weight_limits
    a, w = rng.integers(-32768, 32768, (m, k), np.int16), rng.integers(low, high + 1, (k, n), np.int8)
    a.flat[0], w.flat[0] = -32768, low
    return a, w, rng


def exact(a, w):
    return (a.astype(np.int64) @ w.astype(np.int64)).astype(np.int32)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in ON_RTL])
def test_products_on_the_model(name):
    config = CONFIGS[name]
    with on_model(config) as accelerator:
        for shape in SHAPES[:3]:
            a, w, _ = operands(config, *shape)
            assert np.array_equal(accelerator.matmul(a, w), exact(a, w)), (SEED, shape)


@pytest.mark.parametrize("name", ON_RTL)
def test_products(name):
    """Against NumPy; both devices move the same bytes, but that a serial dispatcher reads a command's first word twice."""
    config = CONFIGS[name]
    again = 4 if config.control.engines == "serial" else 0
    with on_model(config) as model, on_rtl(config) as rtl:
        for shape in SHAPES:
            a, w, rng = operands(config, *shape)
            for accelerator in (model, rtl):
                assert np.array_equal(accelerator.matmul(a, w), exact(a, w)), (SEED, shape)
            assert model.counters["bytes_written"] == rtl.counters["bytes_written"]
            assert model.counters["bytes_read"] + again * model.counters["commands"] == rtl.counters["bytes_read"]
            bias = rng.integers(-1 << 20, 1 << 20, shape[1], np.int32)
            assert np.array_equal(rtl.matmul(a, w, bias), (exact(a, w).astype(np.int64) + bias).astype(np.int32)), (SEED, shape)
            shift = rng.integers(-9, -4, shape[1])
            rounding = RequantiseInt16(multiplier=1 << 30, shift=shift, low=-256 * 100, high=29_999)
            expected = np.clip(np.floor((exact(a, w).astype(np.int64) + bias) * 2.0 ** (shift - 1) + 0.5), -25600, 29_999)
            for accelerator in (model, rtl):
                results = accelerator.matmul(a, w, bias, rounding)
                assert results.dtype == np.int16 and np.array_equal(results, expected), (SEED, shape)
            assert model.counters["bytes_written"] == rtl.counters["bytes_written"]


@pytest.mark.parametrize("name", ["7x5", "6x5-wide"])
def test_the_cycle_model_is_the_rtl(name):
    """Cycles of products, those that the bus bounds among them."""
    config = CONFIGS[name]
    with on_rtl(config) as accelerator:
        for shape in SHAPES:
            a, w, _ = operands(config, *shape)
            for requantise in (None, RequantiseInt16(multiplier=1 << 30, shift=-20)):
                accelerator.matmul(a, w, requantise=requantise)
                predicted = sum(predict_cycles(config, plan.program, memory=Memory(latency=30), bases=bases).cycles
                                for plan, bases in zip(accelerator.plans, accelerator.bases, strict=True))
                assert abs(predicted - accelerator.counters["cycles"]) <= 0.02 * accelerator.counters["cycles"] + 4, shape


def test_sums_wrap_at_32_bits():
    """1024 times −32768 · −128 is 2**32."""
    config = CONFIGS["7x5"]
    a, w = np.full((1, 1025), -32768, np.int16), np.full((1025, 2), -128, np.int8)
    for accelerator in (on_model(config), on_rtl(CONFIGS["7x5"])):
        with accelerator:
            assert accelerator.matmul(a, w).tolist() == [[1 << 22, 1 << 22]]


@pytest.mark.parametrize("name", ["6x5-wide", "8x4-widest"])
def test_wide_sums(name):
    """Sums far beyond 32 bits: raw results are their lowest 32 bits, requantised ones are exact; the largest bias goes with them."""
    config, k = CONFIGS[name], 3000
    low = config.array.weight_limits[0]
    a, w, rng = operands(config, 5, 7, k)
    a[1:3], w[:, 2:4] = -32768, low
    a[3], bias = 32767, np.array([0, 1, (1 << 31) - 1, -1 << 31, 5, -7, 0], np.int32)
    sums = a.astype(np.int64) @ w.astype(np.int64) + bias
    assert np.abs(sums).max() >> 33, "the test is of sums that 32 bits and one more do not hold"
    shift = rng.integers(-23, -19, 7)
    rounding = RequantiseInt16(multiplier=rng.integers(1 << 30, 1 << 31, 7), shift=shift)
    factor = [int(value) for value in rounding.multiplier]
    expected = [[(int(total) * f + (1 << 30 - int(s))) >> 31 - int(s) for total, f, s in zip(row, factor, shift, strict=True)]
                for row in sums]
    assert np.abs(np.array(expected, object)).max() > 8000
    for accelerator in (on_model(config), on_rtl(config)):
        with accelerator:
            assert np.array_equal(accelerator.matmul(a, w, bias), sums.astype(np.int32)), SEED
            results = accelerator.matmul(a, w, bias, rounding)
            assert np.array_equal(results, np.clip(np.array(expected, np.int64), -32768, 32767)), SEED


def test_the_widest_sums():
    """One tile, 130,050 times: beyond 2**41, of either sign, against integers."""
    config = CONFIGS["8x4-widest"]
    rows, cols, base, room = config.array.rows, config.array.cols, 0x1000, 0x1000
    weights = np.full((rows, cols), -128, np.int8)
    weights[:, 1::2] = 127
    parameters = np.tile(np.array([0, 1 << 30, -28], "<i4"), (cols, 1))
    memory = np.zeros(2 * base, np.uint8)
    for at, values in ((base, np.full(rows, -32768, "<i2")), (base + 256, weights), (base + 512, parameters)):
        memory[at:at + values.nbytes] = values.view(np.uint8).ravel()
    program = pack([
        Load(bank=Bank.ACTIVATION, base=1, run=2 * rows), Load(bank=Bank.WEIGHT, base=1, offset=256, run=rows * cols),
        Load(bank=Bank.PARAMETER, base=1, offset=512, run=12 * cols, post=1),
        Execute(ky_count=255, kx_count=255, ct_count=2, k_last=rows, wait=1, post=2),
        Store(operation=Operation.REQUANTISE, base=1, columns=cols, destination=1024, wait=2, **int16_fields(-32768, 32767))])
    sums = 255 * 255 * 2 * rows * -32768 * weights[0].astype(np.int64)
    assert np.abs(sums).min() >> 41
    with simulated(config, memory_bytes=1 << 16, latency=5, max_cycles=20_000_000) as device:
        device.write_memory(0, memory)
        outcome = run_words(device, config, program, {1: (base, room)}, program=memory.size)
        results = device.read_memory(base + 1024, 2 * cols).view("<i2")
    assert not outcome.error and results.tolist() == (sums + (1 << 28) >> 29).tolist()


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
    both = Feature.INT16_ACTIVATIONS | Feature.WIDE_ACCUMULATOR
    for array, bits in ((INT16, Feature.INT16_ACTIVATIONS), (INT16 | {"accumulator_bits": 40}, both), ({}, 0)):
        device = ModelDevice(Manifest(config=resolve({"array": array})), memory_bytes=1 << 16)
        assert device.read_register(offset_of("FEATURES")) & both == bits


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


@pytest.mark.parametrize(("settings", "message"), [
    ({"array": {"accumulator_bits": 40}},
     "array.accumulator_bits must be 32 unless array.activations is 'int16' and array.dataflow 'ws', not 40"),
    ({"array": INT16 | {"accumulator_bits": 48, "dataflow": "os"}},
     "array.accumulator_bits must be 32 unless array.activations is 'int16' and array.dataflow 'ws', not 48"),
    ({"array": INT16 | {"accumulator_bits": 48}, "epilogue": {"multiplier": "serial"}},
     "array.accumulator_bits must be 32 unless control.engines is 'pipelined' and epilogue.multiplier 'parallel', not 48"),
    ({"array": INT16 | {"accumulator_bits": 40}, "control": {"engines": "serial"}},
     "array.accumulator_bits must be 32 unless control.engines is 'pipelined' and epilogue.multiplier 'parallel', not 40"),
    ({"array": INT16 | {"accumulator_bits": 36}}, "array.accumulator_bits must be one of 32, 40, 48, not 36"),
    ({"array": INT16 | {"accumulator_bits": 40.0}}, "array.accumulator_bits must be one of 32, 40, 48, not 40.0")])
def test_widths_of_sums_that_are_refused(settings, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        resolve(settings)


def test_what_wide_sums_need_of_a_part():
    """Products of 48 × 32 bits, six of 16 instead of four, and two block RAMs of 36 bits for a word."""
    board, sizes = get_board("ulx3s-85f"), {"rows": 4, "cols": 4} | INT16
    narrow, wide = (blocks_needed(resolve({"array": sizes | {"accumulator_bits": bits}, "epilogue": {"lanes": 3}}), board)
                    for bits in (32, 40))
    assert wide["dsp"] - narrow["dsp"] == 2 * 3 and wide["bram"] - narrow["bram"] == 2 * 4
    # Of a column's two halves, as yosys counts them: 1024 words of 40 bits are three of 18 × 1024 each, 2048 five of 9 × 2048.
    for rows, bits, rams in ((1024, 32, 2), (1024, 40, 4), (2048, 40, 6), (2048, 48, 6), (4096, 40, 10), (4096, 48, 12), (4096, 32, 8)):
        counts = [blocks_needed(resolve({"array": {"rows": 4, "cols": cols, "accumulator_bits": bits} | INT16,
                                         "memory": {"accumulator_rows": rows, "weight_kib": 1}, "epilogue": {"lanes": 1}}), board)["bram"]
                  for cols in (4, 5)]
        assert counts[1] - counts[0] - 1 == rams, (rows, bits, "besides a bank of weights")


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
        products.compare(1, 1, 1, accelerator=accelerator)


# Requantised results

def lite_rt_outputs(kind, a, w, bias, scales, activation):
    """What LiteRT's reference kernel of a layer makes of the operands: ``scales`` of input, weights (N), output."""
    from tflite_writer import VALID, Writer, lite_rt
    (m, k), n = a.shape, w.shape[1]
    writer, (scale_in, scale_w, scale_out) = Writer(), scales
    constants = (writer.constant(w.T.copy() if kind == "FULLY_CONNECTED" else w.T.reshape(n, 1, 1, k).copy(), scale_w),
                 writer.constant(bias.astype(np.int64), scale_in * scale_w))
    inner, outer = ((m, k), (m, n)) if kind == "FULLY_CONNECTED" else ((1, m, 1, k), (1, m, 1, n))
    x, y = writer.tensor(inner, "int16", scale_in), writer.tensor(outer, "int16", scale_out)
    options = {"FusedActivationFunction": activation} | (
        {} if kind == "FULLY_CONNECTED" else {"Padding": VALID, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1})
    writer.add(kind, [x, *constants], [y], "FullyConnectedOptions" if kind == "FULLY_CONNECTED" else "Conv2DOptions", **options)
    return lite_rt(writer.finish([x], [y]), a.reshape(inner))[0].reshape(m, n)


@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6"])
@pytest.mark.parametrize("kind", ["CONV_2D", "FULLY_CONNECTED"])
def test_requantised_as_tflite_does(kind, activation):
    """Bit for bit what LiteRT's kernels of int16 activations, int8 weights and 64-bit bias give, on model and RTL."""
    pytest.importorskip("tflite", reason="the package 'tflite' is not installed")
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT, whose kernels are the oracle, is not installed")
    import tflite_writer
    config = CONFIGS["7x5"]
    m, n, k = 40, 23, 60
    a, w, rng = operands(config, m, n, k)
    scale_in, scale_w = np.float32(rng.uniform(1e-5, 1e-4)), rng.uniform(1e-3, 1e-2, n).astype(np.float32)
    # The results fill their type, and some leave it.
    scale_out = np.float32(scale_in * scale_w.mean() * np.sqrt(k) * 60)
    bias = rng.integers(-1 << 22, 1 << 22, n, np.int32)
    real = np.float64(scale_in) * scale_w.astype(np.float64) / np.float64(scale_out)
    if kind == "CONV_2D":
        multiplier, shift = quantize_multiplier(real)
        multiplier = reduce_multiplier(multiplier)
    else:
        # The same product of two float32 as the kernel has.
        multiplier, shift = round_once(real, (1 << 31) - 1, -32768, 32767)
        multiplier = multiplier & 0x7FFF_FFFF
    high = min(32767, round(6 / float(scale_out))) if activation == "RELU6" else 32767
    rounding = RequantiseInt16(multiplier=multiplier, shift=shift, low=-32768 if activation == "NONE" else 0, high=high)
    expected = lite_rt_outputs(kind, a, w, bias, (scale_in, scale_w, scale_out), getattr(tflite_writer, activation))
    assert (np.abs(expected.astype(np.int64)) == high).any() and len(np.unique(expected)) > 300
    # RELU6 has all that there is to be clamped: one run of the RTL is enough.
    for accelerator in (on_model(config), *([on_rtl(CONFIGS["7x5"])] if activation == "RELU6" else [])):
        with accelerator:
            assert np.array_equal(accelerator.matmul(a, w, bias, rounding), expected), (SEED, kind)


@pytest.mark.parametrize("kind", ["CONV_2D", "FULLY_CONNECTED"])
def test_wide_sums_are_requantised_as_tflite_does(kind):
    """The same of sums beyond 32 bits, which only wider accumulators hold."""
    pytest.importorskip("tflite", reason="the package 'tflite' is not installed")
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT, whose kernels are the oracle, is not installed")
    import tflite_writer
    config = CONFIGS["6x5-wide"]
    m, n, k = 40, 23, 4000
    rng = np.random.default_rng([SEED, m, n, k])
    a, w = rng.integers(-4000, 32768, (m, k), np.int16), rng.integers(-20, 128, (k, n), np.int8)
    w[:, ::2] = ~w[:, ::2]
    bias = rng.integers(-1 << 30, 1 << 30, n, np.int32)
    sums = np.abs(a.astype(np.int64) @ w.astype(np.int64) + bias)
    scale_in, scale_w = np.float32(rng.uniform(1e-5, 1e-4)), rng.uniform(1e-3, 1e-2, n).astype(np.float32)
    scale_out = np.float32(scale_in * (scale_w * sums).max() / 34_000)
    multiplier, shift = quantize_multiplier(np.float64(scale_in) * scale_w.astype(np.float64) / np.float64(scale_out))
    rounding = RequantiseInt16(multiplier=reduce_multiplier(multiplier) if kind == "CONV_2D" else multiplier, shift=shift)
    expected = lite_rt_outputs(kind, a, w, bias, (scale_in, scale_w, scale_out), tflite_writer.NONE)
    assert (sums >= 1 << 31).mean() > 0.3 and (np.abs(expected.astype(np.int64)) >= 32767).any() and len(np.unique(expected)) > 300
    for accelerator in (on_model(config), on_rtl(config)):
        with accelerator:
            assert np.array_equal(accelerator.matmul(a, w, bias, rounding), expected), (SEED, kind)


@pytest.mark.parametrize(("requantise", "error", "message"), [
    (Requantise(multiplier=1, shift=0), TypeError,
     "requantise must be a RequantiseInt16 where array.activations is 'int16', not a Requantise"),
    (RequantiseInt16(multiplier=1, shift=-3), ValueError,
     "sums to be requantised to int16 must be below 2**31, and those of column 1 may reach 2155872256; cut K, or make weights smaller, "
     "or set array.accumulator_bits to 48")])
def test_what_cannot_be_requantised_is_refused(requantise, error, message):
    """Column 1 reaches 514 · 32768 · 128, one of the others half as much."""
    a, w = np.full((2, 514), -32768, np.int16), np.full((514, 3), -128, np.int8)
    w[:, [0, 2]] = 64
    with on_model(CONFIGS["7x5"]) as accelerator, pytest.raises(error, match=f"^{re.escape(message)}$"):
        accelerator.matmul(a, w, requantise=requantise)


def test_what_cannot_be_requantised_of_wide_sums_is_refused():
    a, w = np.full((1, 1 << 17), -32768, np.int16), np.full((1 << 17, 2), -128, np.int8)
    with on_model(CONFIGS["6x5-wide"]) as accelerator:
        with pytest.raises(ValueError) as raised:
            accelerator.matmul(a, w, requantise=RequantiseInt16(multiplier=1, shift=-3))
        assert str(raised.value) == ("sums to be requantised to int16 must be below 2**39, and those of column 0 may reach 549755813888; "
                                     "cut K, or make weights smaller, or set array.accumulator_bits to 48")
        with pytest.raises(ValueError, match=r"^shift must be at most 7 where array\.accumulator_bits is 40, not 8$"):
            accelerator.matmul(a[:, :9], w[:9], requantise=RequantiseInt16(multiplier=1, shift=[0, 8]))


@pytest.mark.parametrize(("name", "k", "shift", "message"), [
    ("7x5", 4096, 30, f"may reach {4096 << 52}; cut K, or make weights smaller"),
    ("7x5", 300, 22, f"may reach {300 << 44}; cut K, or make weights smaller"),
    ("7x5-os", 600, -3, f"may reach {600 << 22}; cut K, or make weights smaller"),
    ("6x4-serial", 600, -3, f"may reach {600 << 22}; cut K, or make weights smaller")])
def test_sums_that_are_too_large_whatever_is_done(name, k, shift, message):
    """Moved to the left, and where accumulators cannot be wider: nobody is told to make them so."""
    config = CONFIGS[name] if name in CONFIGS else small_config(7, 5, array=INT16 | {"dataflow": "os"})
    a, w = np.full((1, k), -32768, np.int16), np.full((k, 2), -128, np.int8)
    with on_model(config) as accelerator, pytest.raises(ValueError) as raised:
        accelerator.matmul(a, w, requantise=RequantiseInt16(multiplier=1 << 30, shift=shift))
    assert str(raised.value) == f"sums to be requantised to int16 must be below 2**31, and those of column 0 {message}"


def test_int16_rules_are_for_int16_activations():
    with on_model(small_config(7, 5)) as accelerator, pytest.raises(TypeError) as caught:
        accelerator.matmul(np.ones((2, 3), np.int8), np.ones((3, 2), np.int8), requantise=RequantiseInt16(multiplier=1, shift=0))
    assert str(caught.value) == "requantise must be a Requantise where array.activations is 'int8', not a RequantiseInt16"


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"low": -100}, ValueError, "low must be a multiple of 256 for int16 results, not -100"),
    ({"high": 32768}, ValueError, "high must be from -32768 to 32767, not 32768"),
    ({"low": 256, "high": 255}, ValueError, "low must be at most high, 255, not 256"),
    ({"multiplier": -1}, ValueError, "multiplier must be from 0 to 2147483647, not -1"),
    ({"shift": 0.5}, TypeError, "shift must be of whole numbers, not float64")])
def test_rules_that_are_none(arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        RequantiseInt16(**{"multiplier": 1, "shift": 0} | arguments)


def test_fields_of_int16_limits():
    for low, high in ((-32768, 32767), (0, 32767), (0, 23170), (-256, -1), (512, 513)):
        assert Store(**int16_fields(low, high)).int16_limits == (low, high)
    with pytest.raises(ProgramError, match=r"^low must be a multiple of 256 where activations are int16, not 3$"):
        int16_fields(3, 4)


def test_sums_of_int8_tensors_are_refused():
    assert not resolve({"array": INT16}).epilogue.add
    with pytest.raises(ConfigError, match=r"^epilogue\.add must be False where array\.activations is 'int16', not True$"):
        resolve({"array": INT16, "epilogue": {"add": True}})
    with pytest.raises(ConfigError, match=r"^epilogue\.lanes must be at most array\.cols and half the bus bytes, here 2, not 3$"):
        resolve({"array": INT16, "memory": {"bus_bits": 32}, "epilogue": {"lanes": 3}})


def test_the_command_line_checks_int16_products():
    with on_model(CONFIGS["6x5-wide"]) as accelerator:
        assert products.matmul(accelerator, 3, 4, 2000, out="int16")["correct"]
    with on_model(CONFIGS["7x5"]) as accelerator:
        assert products.matmul(accelerator, 9, 8, 7, out="int16")["correct"]
        with pytest.raises(flow.FlowError, match=r"^out must be one of 'int32', 'int16', not 'int8'$"):
            products.matmul(accelerator, 9, 8, 7, out="int8")
