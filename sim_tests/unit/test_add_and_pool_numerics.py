"""Element-wise sums and averages of arch/numerics.py against LiteRT's reference kernels and against their arithmetic, written out."""

import numpy as np
import pytest
from systolith.arch import numerics
from systolith.arch.numerics import add, add_parameters, average_pool_multiplier, requantise, scale, wrap32

SEED = 20261125


def litert(operator, options, inputs, output, kind=""):
    """``run(*arrays)`` of a TFLite model with one ``operator``; tensors are (shape, scale, zero point), all int8."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(shape, factor, zero):
        t = schema.TensorT()
        t.shape, t.type, t.buffer = list(shape), schema.TensorType.INT8, 0
        t.quantization = schema.QuantizationParametersT()
        t.quantization.scale, t.quantization.zeroPoint = [factor], [zero]
        return t

    model, graph, one, code, buffer = (
        schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT(), schema.BufferT())
    graph.tensors = [tensor(*t) for t in (*inputs, output)]
    graph.inputs = one.inputs = list(range(len(inputs)))
    graph.outputs = one.outputs = [len(inputs)]
    one.builtinOptionsType, one.builtinOptions = getattr(schema.BuiltinOptions, kind), options(schema)
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 2
    graph.operators, model.subgraphs, model.operatorCodes, model.buffers, model.version = [one], [graph], [code], [buffer], 3
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    session = interpreter.Interpreter(
        model_content=bytes(builder.Output()), experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF)
    session.allocate_tensors()

    def run(*arrays):
        for detail, array in zip(session.get_input_details(), arrays, strict=True):
            session.set_tensor(detail["index"], array)
        session.invoke()
        return session.get_tensor(session.get_output_details()[0]["index"])

    return run


def all_pairs():
    """Every pair of int8 values, in two arrays of shape (1, 256, 256, 1)."""
    values = np.arange(-128, 128, dtype=np.int8)
    return tuple(np.ascontiguousarray(x).reshape(1, 256, 256, 1) for x in np.meshgrid(values, values, indexing="ij"))


def operands(x):
    """(x1 − 256·x2) of two int8 arrays: what the array makes of them."""
    return x[0].astype(np.int32) - 256 * x[1].astype(np.int32)


QUANTISATIONS = [  # (scale, zero point) of both inputs and the output
    ((0.1, 0), (0.1, 0), (0.2, 0)),            # equal scales: both factors are one half
    ((0.0235, 5), (0.0471, -7), (0.06, 11)),
    ((0.0471, -128), (0.0235, 127), (0.05, -128)),
    ((0.9, 127), (0.00031, -128), (0.8, 3)),   # the second one hardly counts
    ((1e-3, 4), (2.5, -3), (0.02, 0)),         # saturates at both ends
]


@pytest.mark.parametrize("first, second, output", QUANTISATIONS)
def test_add_is_litert(first, second, output):
    def options(schema):
        return schema.AddOptionsT()

    shape = (1, 256, 256, 1)
    run = litert("ADD", options, [(shape, *first), (shape, *second)], (shape, *output), "AddOptions")
    x = all_pairs()
    p = add_parameters(*first, *second, output[0])
    result = add(operands((x[p.first], x[1 - p.first])), p.table, p.multiplier, p.shift, output[1])
    np.testing.assert_array_equal(result, run(*x))


def test_add_at_random_scales():
    """The reference kernel's steps, by scale() alone, which has its own test: factors from the scales, two terms, one sum."""
    rng = np.random.default_rng(SEED)
    print("seed", SEED)
    x = all_pairs()
    for _ in range(40):
        s1, s2, out = np.exp(rng.uniform(-9, 3, 3)).astype(np.float32).astype(float)
        z1, z2, zero = (int(z) for z in rng.integers(-128, 128, 3))
        low, high = sorted(int(v) for v in rng.integers(-128, 128, 2))
        larger = 2 * max(s1, s2)
        if larger / (2**20 * out) >= 1:
            continue
        terms = [scale((v.astype(np.int32) - z) << 20, *numerics.quantize_multiplier(s / larger)).astype(np.int64)
                 for v, s, z in zip(x, (s1, s2), (z1, z2), strict=True)]
        expected = requantise(wrap32(sum(terms)), *numerics.quantize_multiplier(larger / (2**20 * out)), zero, low, high)
        p = add_parameters(s1, z1, s2, z2, out)
        assert p.first == int(s2 > s1)
        result = add(operands((x[p.first], x[1 - p.first])), p.table, p.multiplier, p.shift, zero, low, high)
        np.testing.assert_array_equal(result, expected)


def test_add_looks_at_sixteen_bits_only():
    """The rest of the accumulator's word, and a wrap of the sum, change nothing but in the defined way."""
    table = np.random.default_rng(SEED).integers(-2**31, 2**31, 256).astype(np.int32)
    x1, x2 = np.array([-128, -1, 0, 127, 5]), np.array([-128, 127, 3, 0, -77])
    acc = x1 - 256 * x2
    for far in (0, 1 << 16, -(1 << 30)):
        result = add(wrap32(acc + far), table, 0x7FFF_FFFF, -19, 0)
        expected = [requantise(wrap32((int(a) << 19) + int(table[-b % 256])), 0x7FFF_FFFF, -19, 0) for a, b in zip(x1, x2, strict=True)]
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("scales, message", [
    ((0.0, 0.1, 0.1), "scales must be finite and above 0, not 0.0, 0.1 and 0.1"),
    ((1.0, 0.5, 2.0**-20), "output scale must be above 2**-19 of the larger input scale 1.0, not 9.5367431640625e-07"),
])
def test_add_parameters_reject(scales, message):
    with pytest.raises(ValueError) as raised:
        add_parameters(scales[0], 0, scales[1], 0, scales[2])
    assert str(raised.value) == message


def divided(total, count):
    """AVERAGE_POOL_2D's reference kernel: half of the count away from zero, then a division that truncates."""
    rounded = np.abs(total) + count // 2
    return np.where(total < 0, -(rounded // count), rounded // count)


def test_averages_are_exact():
    """All sums of up to 256 int8 values; and the largest sums and all ties of as many as are allowed."""
    for count in range(1, 257):
        total = np.arange(-128 * count, 128 * count + 1, dtype=np.int32)
        np.testing.assert_array_equal(scale(total, *average_pool_multiplier(count)), divided(total, count), err_msg=str(count))
    for count in range(257, 2048):
        quotients = np.arange(-128, 128) * count
        total = np.concatenate([quotients + near for near in (count // 2 - 1, count // 2, count // 2 + 1, 0)]).astype(np.int32)
        total = total[np.abs(total) <= 128 * count]
        np.testing.assert_array_equal(scale(total, *average_pool_multiplier(count)), divided(total, count), err_msg=str(count))


@pytest.mark.parametrize("kernel", [(1, 3), (2, 2), (5, 7)])
def test_averages_are_litert(kernel):
    """SAME padding, so that counts differ from place to place."""
    def options(schema):
        o = schema.Pool2DOptionsT()
        o.filterHeight, o.filterWidth = kernel
        o.strideH = o.strideW = 1
        o.padding = schema.Padding.SAME
        return o

    shape = (1, 9, 11, 40)
    run = litert("AVERAGE_POOL_2D", options, [(shape, 0.1, 3)], (shape, 0.1, 3), "Pool2DOptions")
    rng = np.random.default_rng(SEED)
    x = rng.integers(-128, 128, shape).astype(np.int8)
    x[..., :4] >>= 5  # small sums: many ties
    padding = [(0, 0), *(((k - 1) // 2, k // 2) for k in kernel), (0, 0)]
    window = (1, *kernel, 1)
    total, count = (np.lib.stride_tricks.sliding_window_view(np.pad(v.astype(np.int32), padding), window).sum(axis=(-4, -3, -2, -1))
                    for v in (x, np.ones(shape, np.int8)))
    result = np.zeros(shape, np.int8)
    for n in np.unique(count):
        result[count == n] = requantise(total[count == n].astype(np.int32), *average_pool_multiplier(int(n)), 0)
    np.testing.assert_array_equal(result, run(x))


@pytest.mark.parametrize("count", [0, 2048])
def test_averages_of_too_many(count):
    with pytest.raises(ValueError) as raised:
        average_pool_multiplier(count)
    assert str(raised.value) == f"values of an average must be from 1 to 2047, not {count}"


def test_factor_of_one():
    """It gives back every int8, and what is larger stays larger, whatever the word."""
    value = np.array([-2**31, -2**31 + 1, -2**30 - 1, -2**30, -129, *range(-128, 128), 128, 2**30, 2**30 + 1, 2**31 - 1])
    np.testing.assert_array_equal(requantise(value, *numerics.UNIT, 0), np.clip(value, -128, 127))
    np.testing.assert_array_equal(requantise(value, *numerics.UNIT, -100, -120, 9), np.clip(value - 100, -120, 9))
