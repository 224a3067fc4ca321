"""arch/numerics.py against the reference kernels' arithmetic, written out in Python integers, and against the kernels themselves."""

from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from systolith.arch import numerics
from systolith.arch.numerics import (
    ROUND_ONCE,
    SHIFT_MAX,
    SHIFT_MIN,
    UNIT_WIDE,
    WIDE_SHIFT_MAX,
    matmul,
    quantize_multiplier,
    reduce_multiplier,
    requantise,
    round_once,
    scale,
    scale_wide,
    wrap32,
)

SEED = 20260711
MODELS = Path(__file__).parents[3] / "shared" / "models"
INT32 = np.iinfo(np.int32)
CORNERS = [0, 1, -1, 2, -2, 3, -3, INT32.max, INT32.min, INT32.max - 1, INT32.min + 1, 1 << 30, -(1 << 30), (1 << 30) - 1,
           0x5555_5555, -0x5555_5555, 127, -128]


def wrap(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def reference_scale(acc: int, multiplier: int, shift: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul and RoundingDivideByPOT, step by step."""
    a = wrap(acc << max(shift, 0))
    product = a * multiplier
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    magnitude, sign = divmod(abs(product + nudge), 1 << 31)[0], 1 if product + nudge >= 0 else -1
    high = sign * magnitude  # C's division truncates
    exponent = max(-shift, 0)
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (1 if high < 0 else 0)
    return (high >> exponent) + (1 if high & mask > threshold else 0)


def reference_requantise(acc, multiplier, shift, zero_point, low, high) -> int:
    return min(max(reference_scale(int(acc), int(multiplier), int(shift)) + zero_point, low), high)


def test_corners():
    cases = [(a, m, s) for a in CORNERS for m in CORNERS if m >= 0 for s in range(SHIFT_MIN, SHIFT_MAX + 1)]
    acc, multiplier, shift = (np.array(column) for column in zip(*cases, strict=True))
    expected = [reference_scale(*case) for case in cases]
    np.testing.assert_array_equal(scale(acc, multiplier, shift), expected)


def test_ties_round_away_from_zero():
    # multiplier 2**30 halves: 2·acc·2**30 / 2**31 = acc, then the shift's own halves.
    acc = np.array([2, -2, 6, -6, 10, -10, 1, -1, 3, -3])
    np.testing.assert_array_equal(scale(acc, 1 << 30, -1), [1, -1, 2, -2, 3, -3, 1, 0, 1, -1])
    np.testing.assert_array_equal(scale(acc * 2, 1 << 30, -1), [1, -1, 3, -3, 5, -5, 1, -1, 2, -2])


def test_random_values_per_channel():
    rng = np.random.default_rng(SEED)
    print("seed", SEED)
    shape = (300, 7)
    acc = rng.integers(INT32.min, INT32.max, shape, endpoint=True) >> rng.integers(0, 31, shape)
    multiplier = rng.integers(0, INT32.max, 7, endpoint=True).astype(np.int32)
    shift = rng.integers(SHIFT_MIN, SHIFT_MAX, 7, endpoint=True).astype(np.int8)
    for zero_point, low, high in [(0, -128, 127), (127, -128, 127), (-128, -128, 127), (3, -5, 90), (-9, 7, 7)]:
        result = requantise(acc.astype(np.int32), multiplier, shift, zero_point, low, high)
        assert result.dtype == np.int8
        expected = [[reference_requantise(a, m, s, zero_point, low, high) for a, m, s in zip(row, multiplier, shift, strict=True)]
                    for row in acc]
        np.testing.assert_array_equal(result, expected)


def test_zero_point_does_not_overflow():
    assert requantise(INT32.max, INT32.max, 0, 127) == 127
    assert requantise(INT32.min, INT32.max, 0, -128) == -128


def test_rounding_once():
    # acc · 2**30 · 2**(−2 − 31) = acc ÷ 8: 4 ÷ 8 is a tie either way, 3 ÷ 8 becomes one by rounding to quarters first.
    acc = np.array([3, 4, -3, -4, -5, 12, -12])
    np.testing.assert_array_equal(scale(acc, 1 << 30, -2), [1, 1, 0, -1, -1, 2, -2])
    np.testing.assert_array_equal(scale(acc, (1 << 30) + ROUND_ONCE, -2), [0, 1, 0, 0, -1, 2, -1])
    rng = np.random.default_rng(SEED)
    acc = rng.integers(INT32.min, INT32.max, 2000, endpoint=True) >> rng.integers(0, 31, 2000)
    multiplier = rng.integers(0, INT32.max, 2000, endpoint=True)
    for shift in range(SHIFT_MIN, SHIFT_MAX + 1):
        product = (wrap32(acc << max(shift, 0)).astype(np.int64) * multiplier).astype(object)  # Python's integers
        expected = [(p + (1 << (30 - min(shift, 0)))) >> (31 - min(shift, 0)) for p in product]
        np.testing.assert_array_equal(scale(acc, multiplier + ROUND_ONCE, shift), expected)


def test_wide_sums_are_rounded_once():
    """Against Python's integers, and with a multiplier of 15 bits the function of TFLite for int64."""
    rng = np.random.default_rng(SEED)
    print("seed", SEED)
    most = (1 << 47) - 1
    acc = np.array([0, 1, -1, most, -most - 1, 1 << 24, -1 << 24, (1 << 24) - 1, *rng.integers(-most - 1, most, 400)])
    multiplier = rng.integers(0, (1 << 31) - 1, acc.size, endpoint=True)
    multiplier[:40:5], multiplier[1:40:5] = (1 << 31) - 1, 1 << 30
    for shift in range(SHIFT_MIN, WIDE_SHIFT_MAX + 1):
        expected = [(int(a) * int(f) + (1 << 30 - shift)) >> 31 - shift for a, f in zip(acc, multiplier, strict=True)]
        np.testing.assert_array_equal(scale_wide(acc, multiplier, shift), expected)
        np.testing.assert_array_equal(scale_wide(acc, multiplier + ROUND_ONCE, np.int8(shift)), expected)
        reduced = np.array([0x7FFF if f >= 0x7FFF0000 else (int(f) + (1 << 15)) >> 16 for f in multiplier])
        expected = [(int(a) * int(f) + (1 << 14 - shift)) >> 15 - shift for a, f in zip(acc, reduced, strict=True)]
        np.testing.assert_array_equal(scale_wide(acc, reduce_multiplier(multiplier), shift), expected)
    np.testing.assert_array_equal(scale_wide(acc, *UNIT_WIDE), acc)
    assert not scale_wide(acc, (1 << 31) - 1, 8).any(), "a shift that is none moves everything out"
    assert requantise(np.int64(1 << 40), 1 << 30, -25, 0, -32768, 32767, dtype=np.int16, bits=48) == 1 << 14


def test_words_of_any_width_wrap():
    values = np.array([0, -1, 1 << 39, -(1 << 39) - 1, 1 << 47, (1 << 40) + 5])
    assert numerics.wrap(values, 32).dtype == np.int32 and numerics.wrap(values, 40).dtype == np.int64
    for bits in (32, 40, 48):
        np.testing.assert_array_equal(numerics.wrap(values, bits), (values + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1))
    a, w = np.full((1, 140_000), -32768, np.int16), np.full((140_000, 1), -128, np.int8)
    assert matmul(a, w, 48).item() == 140_000 << 22 and matmul(a, w, 40).item() == (140_000 << 22) - (1 << 40)
    with pytest.raises(ValueError, match=r"^bits must be 32 where operands are int8, not 40$"):
        matmul(a.astype(np.int8), w, 40)


def rounded(acc, real):
    exact = acc * real
    return np.sign(exact) * np.floor(np.abs(exact) + 0.5)


def test_multipliers_that_round_once():
    rng = np.random.default_rng(SEED)
    real = np.concatenate([2.0 ** rng.uniform(-11, 4, 300), [0.5, 0.25, 0.125, 2.0**-9, 3 * 2.0**-10, 1.0, 1.5]])
    multiplier, shift = round_once(real)
    assert (multiplier < 0).all() and multiplier.dtype == np.int32 and shift.dtype == np.int8
    reach = 256 / real
    acc = np.rint(rng.uniform(-reach, reach, (3000, real.size)))
    acc[:1000] = np.rint((np.rint(acc[:1000] * real) + 0.5) / real)  # about where the result changes
    np.testing.assert_array_equal(scale(acc, multiplier, shift), rounded(acc, real))


def test_small_multipliers_that_round_once():
    """As far as the accumulators reach; beyond, at most one in a million is wrong, by one."""
    rng = np.random.default_rng(SEED)
    for real, reach in ((2.0**-30 / 3, 1 << 24), (2.0**-18 * 0.77, 1 << 20), (2.0**-15 * 0.7, (1 << 31) - 1)):
        multiplier, shift = round_once(real, reach)
        acc = rng.integers(-min(reach, 256 / real), min(reach, 256 / real), 1_000_000)
        result = scale(acc, multiplier, shift)
        assert np.count_nonzero(result != rounded(acc, real)) <= (reach > 1 << 24)
    with pytest.raises(ValueError, match=r"^scale factor must be below 2\*\*8, not 300.0$"):
        round_once(300.0)


def test_bits_that_hardware_does_not_keep_are_ignored():
    assert scale(1 << 20, 1 << 30, np.int8(64 - 5)) == scale(1 << 20, 1 << 30, -5)


@pytest.mark.parametrize("real, expected", [
    (0.0, (0, 0)), (1.0, (1 << 30, 1)), (0.5, (1 << 30, 0)), (0.25, (1 << 30, -1)), (1 - 2.0**-33, (1 << 30, 1)),
    (1 - 2.0**-32, (1 << 30, 1)), (1 - 2.0**-31, ((1 << 31) - 1, 0)), (2.0**-32, (1 << 30, -31)), (2.0**-33, (0, 0)),
    (2.0**29, (1 << 30, 30)), (0.75 + 2.0**-32, (3 << 29 | 1, 0)), (0.75 + 2.0**-33, (3 << 29, 0)),
])
def test_quantize_multiplier(real, expected):
    multiplier, shift = quantize_multiplier(real)
    assert (int(multiplier), int(shift)) == expected
    assert (multiplier.dtype, shift.dtype) == (np.int32, np.int8)


@pytest.mark.parametrize("real, message", [
    (-1.0, "scale factor must be finite and not negative, not -1.0"),
    ([0.5, float("inf")], "scale factor must be finite and not negative, not inf"),
    (2.0**30, "scale factor must be below 2**30, not 1073741824.0"),
])
def test_quantize_multiplier_rejects(real, message):
    with pytest.raises(ValueError) as raised:
        quantize_multiplier(real)
    assert str(raised.value) == message


@pytest.mark.parametrize("m, k, n", [(1, 1, 1), (3, 0, 2), (5, 1024, 3), (2, 1025, 3), (1, 5000, 2)])
def test_matmul(m, k, n):
    rng = np.random.default_rng(SEED)
    a = rng.integers(-128, 128, (m, k), dtype=np.int8)
    w = rng.integers(-128, 128, (k, n), dtype=np.int8)
    result = matmul(a, w)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, a.astype(np.int64) @ w.astype(np.int64))


def test_matmul_wraps():
    k = (1 << 17) + 3  # 2**14 · (2**17 + 3) wraps
    a = np.full((1, k), -128, dtype=np.int8)
    assert matmul(a, a.T)[0, 0] == wrap(k << 14)
    assert wrap32([1 << 31, -(1 << 31) - 1, 5]).tolist() == [INT32.min, INT32.max, 5]


def test_matmul_rejects_other_types():
    with pytest.raises(TypeError, match="operands must be int8, not float64 and int8"):
        matmul(np.zeros((1, 1)), np.zeros((1, 1), np.int8))


def _convolve(x: np.ndarray, weights: np.ndarray, pad: int, out_shape: tuple[int, ...]) -> np.ndarray:
    """int8 NHWC convolution with SAME padding by im2col: int32 of ``out_shape``; weights are (O, ky, kx, I)."""
    out, ky, kx, _ = weights.shape
    sizes = list(zip(x.shape[1:3], out_shape[1:3], (ky, kx), strict=True))
    strides = [-(-size // count) for size, count, _ in sizes]
    totals = [max((count - 1) * stride + kernel - size, 0)
              for (size, count, kernel), stride in zip(sizes, strides, strict=True)]
    x = np.pad(x, [(0, 0), *((total // 2, total - total // 2) for total in totals), (0, 0)], constant_values=pad)
    windows = sliding_window_view(x, (ky, kx), axis=(1, 2))[:, ::strides[0], ::strides[1]]  # (B, y, x, I, ky, kx)
    columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, weights[0].size)
    return matmul(columns, weights.reshape(out, -1).T).reshape(out_shape)


@pytest.mark.parametrize("name, sample, convolutions, connected", [
    ("ad01_int8", "ad01", 0, 10), ("pretrainedResnet_quant", "ic", 9, 1), ("kws_ref_model", "kws", 5, 1), ("vww_96_int8", "vww", 14, 1)])
def test_layers_of_real_models(name, sample, convolutions, connected):
    """Every plain convolution is byte for byte what LiteRT's reference kernels make of it.

    Fully connected layers too, with one rounding: since LiteRT 2 their reference kernel multiplies by the scale in float64.
    """
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    if not MODELS.is_dir():
        pytest.skip(f"the models' folder {MODELS} is not there")
    interpreter = litert.Interpreter(
        str(MODELS / f"{name}.tflite"), experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.load(MODELS / "samples.npz")[f"{sample}_in"][:1])
    interpreter.invoke()
    details = {tensor["index"]: tensor["quantization_parameters"] for tensor in interpreter.get_tensor_details()}
    compared = {"CONV_2D": 0, "FULLY_CONNECTED": 0}
    for operation in interpreter._get_ops_details():
        kind = operation["op_name"]
        if kind not in compared:
            continue
        x, weights, bias = (interpreter.get_tensor(index) for index in operation["inputs"])
        expected = interpreter.get_tensor(operation["outputs"][0])
        source, kernel, _ = (details[index] for index in operation["inputs"])
        target = details[operation["outputs"][0]]
        pad = int(source["zero_points"][0])
        acc = (_convolve(x, weights, pad, expected.shape) if kind == "CONV_2D"
               else matmul(x.reshape(-1, weights.shape[1]), weights.T).reshape(expected.shape))
        folded = bias.astype(np.int64) - pad * weights.reshape(len(weights), -1).astype(np.int64).sum(axis=1)
        factor = np.float64(source["scales"][0]) * kernel["scales"].astype(np.float64) / np.float64(target["scales"][0])
        multiplier = round_once(factor) if kind == "FULLY_CONNECTED" else quantize_multiplier(factor)
        np.testing.assert_array_equal(requantise(wrap32(acc + folded), *multiplier, int(target["zero_points"][0])), expected)
        compared[kind] += 1
    assert compared == {"CONV_2D": convolutions, "FULLY_CONNECTED": connected}
