"""Every TFLite operator against LiteRT's reference kernels, byte for byte, over random shapes and quantisation parameters."""

import numpy as np
import pytest

pytest.importorskip("tflite", reason="the package 'tflite' is not installed")
pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")

from random_models import Maker, random_geometry, random_network
from systolith.host.operators import Conv2D, DepthwiseConv2D, FullyConnected
from systolith.host.tflite_reader import read_tflite
from tflite_writer import NONE, RELU, RELU6, SAME, VALID, lite_rt

SEED = 20261125
CASES = range(25)
TYPES = pytest.mark.parametrize("dtype", ["int8", "uint8"])


def compare(made, *outputs):
    """The graph of the model, whose reference equals the kernels."""
    model = made.model(*outputs)
    inputs = made.random_inputs()
    graph = read_tflite(model)
    results = graph.reference(*(graph.tensors[key].encode(x) for key, x in zip(graph.inputs, inputs, strict=True)))
    expected = lite_rt(model, *inputs)
    for key, result, wanted in zip(graph.outputs, results, expected, strict=True):
        decoded = graph.tensors[key].decode(result)
        assert decoded.dtype == wanted.dtype
        np.testing.assert_array_equal(decoded, wanted)
    return graph


def image(rng, made, *, channels=None, batch=None):
    return made.input((int(rng.integers(1, 3)) if batch is None else batch, *(int(rng.integers(1, 12)) for _ in range(2)),
                       int(rng.integers(1, 20)) if channels is None else channels))


def each_case(dtype, operator):
    """Generators and makers of all cases of an operator."""
    for case in CASES:
        seed = [SEED, case, sum(operator.encode())]
        print("seed", seed)
        rng = np.random.default_rng(seed)
        yield rng, Maker(rng, dtype)


@TYPES
def test_convolution(dtype):
    for rng, made in each_case(dtype, "conv"):
        x = image(rng, made)
        geometry = random_geometry(rng, made.shape(x)[1:3])
        y = made.conv(x, int(rng.integers(1, 20)), geometry.pop("kernel"), **geometry)
        (node,) = compare(made, y).nodes
        assert isinstance(node.operator, Conv2D) and node.op == "Conv2D"


def test_grouped_convolution():
    for rng, made in each_case("int8", "grouped"):
        groups = int(rng.integers(2, 5))
        x = image(rng, made, channels=groups * int(rng.integers(1, 4)))
        geometry = random_geometry(rng, made.shape(x)[1:3])
        compare(made, made.conv(x, groups * int(rng.integers(1, 4)), geometry.pop("kernel"), groups=groups, **geometry))


@TYPES
def test_depthwise_convolution(dtype):
    for rng, made in each_case(dtype, "depthwise"):
        x = image(rng, made)
        geometry = random_geometry(rng, made.shape(x)[1:3])
        y = made.depthwise(x, geometry.pop("kernel"), multiplier=int(rng.integers(1, 4)), **geometry)
        (node,) = compare(made, y).nodes
        assert isinstance(node.operator, DepthwiseConv2D)


@TYPES
def test_fully_connected(dtype):
    for rng, made in each_case(dtype, "dense"):
        inputs = int(rng.integers(1, 400))
        keep = bool(rng.integers(0, 2)) and dtype == "int8"
        shape = (int(rng.integers(1, 4)), int(rng.integers(1, 4)), inputs) if keep else (int(rng.integers(1, 4)), inputs)
        y = made.dense(made.input(shape), int(rng.integers(1, 40)), keep_axes=keep)
        graph = compare(made, y)
        assert isinstance(graph.nodes[0].operator, FullyConnected) and len(graph.nodes) == 1 + keep


@TYPES
def test_add(dtype):
    for rng, made in each_case(dtype, "add"):
        shape = tuple(int(n) for n in rng.integers(1, 30, int(rng.integers(1, 5))))
        a, b = (made.input(shape, scale=float(10 ** rng.uniform(-3, 0))) for _ in range(2))
        compare(made, made.add(a, b))
    made = Maker(np.random.default_rng(SEED), dtype)
    a = made.input((4, 300), scale=0.25)
    compare(made, made.add(a, a), made.add(made.input((4, 300), scale=0.25), a))  # one tensor twice, equal scales


@TYPES
@pytest.mark.parametrize("kind", ["AVERAGE", "MAX"])
def test_pool(kind, dtype):
    for rng, made in each_case(dtype, kind):
        x = image(rng, made)
        kernel = tuple(int(rng.integers(1, n + 4)) for n in made.shape(x)[1:3])
        fits = all(k <= n for k, n in zip(kernel, made.shape(x)[1:3], strict=True))
        padding = int(rng.choice([SAME, VALID])) if fits else SAME
        y = made.pool(kind, x, kernel, stride=tuple(int(s) for s in rng.integers(1, 4, 2)), padding=padding)
        compare(made, y)


def test_batch_matmul():
    for rng, made in each_case("int8", "batch_matmul"):
        m, k, n = (int(size) for size in rng.integers(1, 40, 3))
        outer = rng.integers(1, 4, int(rng.integers(1, 3)))
        transpose = bool(rng.integers(0, 2))
        a = made.input((*map(int, outer), m, k))
        b_shape = (*map(int, outer), n, k) if transpose else (*map(int, outer), k, n)
        b = made.input(b_shape) if rng.random() < 0.7 else made.writer.constant(rng.integers(-128, 128, b_shape[-2:], np.int8), 0.02, 0)
        compare(made, made.batch_matmul(a, b, transpose_b=transpose))


def test_attention():
    for rng, made in each_case("int8", "attention"):
        graph = compare(made, made.attention(image(rng, made), int(rng.integers(1, 20))))
        assert sum(node.op == "BatchMatMul" for node in graph.nodes) == 2


@TYPES
def test_reshape_and_requantise(dtype):
    for rng, made in each_case(dtype, "reshape"):
        x = image(rng, made)
        batch, *rest = made.shape(x)
        compare(made, made.quantize(made.reshape(x, (batch, int(np.prod(rest))))), made.quantize(x, "uint8" if dtype == "int8" else "int8"))


@TYPES
@pytest.mark.parametrize("name", ["RELU", "RELU6"])
def test_activations(name, dtype):
    for rng, made in each_case(dtype, name):
        compare(made, made.relu(image(rng, made), name))


@TYPES
def test_softmax(dtype):
    for rng, made in each_case(dtype, "softmax"):
        outer = (int(n) for n in rng.integers(1, 5, int(rng.integers(0, 3))))
        shape = (int(rng.integers(1, 30)), *outer, int(rng.choice([1, 2, 10, 12, 300])))
        x = made.input(shape, scale=float(10 ** rng.uniform(-2.5, 0.5)))
        graph = compare(made, made.softmax(x, beta=float(rng.choice([1.0, 1.0, 0.5, 2.0]))))
        assert [node.op for node in graph.nodes] == ["SOFTMAX"]


@TYPES
def test_mean(dtype):
    for rng, made in each_case(dtype, "mean"):
        compare(made, made.mean(image(rng, made), keep_axes=bool(rng.integers(0, 2))))


@TYPES
def test_pad(dtype):
    for rng, made in each_case(dtype, "pad"):
        x = image(rng, made, batch=1)
        padded = made.pad(x, tuple(tuple(int(v) for v in rng.integers(0, 4, 2)) for _ in range(2)))
        y = made.conv(padded, 5, (1, 1), padding=int(rng.integers(0, 2)))
        assert len(compare(made, y).nodes) == 1  # folded into the convolution
        # Read by something else as well, it is computed.
        z = made.pool("MAX", padded, (1, 1), padding=VALID, fused=NONE)
        assert len(compare(made, y, z).nodes) == 3


@TYPES
@pytest.mark.parametrize("case", range(20))
def test_networks(case, dtype):
    seed = [SEED, case]
    print("seed", seed)
    rng = np.random.default_rng(seed)
    made, y = random_network(rng, dtype=dtype)
    graph = compare(made, y)
    if graph.inputs and case % 4 == 0:  # several inputs at once are each one for itself
        many = graph.batched(3)
        x = np.random.default_rng(seed).integers(-128, 128, many.tensors[many.inputs[0]].shape, np.int8)
        (together,) = many.reference(x)
        np.testing.assert_array_equal(together, np.concatenate([graph.reference(part)[0] for part in np.split(x, 3)]))


def test_float_border():
    """QUANTIZE behind a float input and DEQUANTIZE before a float output are done on the host."""
    for rng, made in each_case("int8", "border"):
        source = made.writer.tensor((2, 5, 4, 3), "float32")
        made.inputs.append(source)
        x = made.activation((2, 5, 4, 3), 0.05)
        made.writer.add("QUANTIZE", [source], [x], "QuantizeOptions")
        y = made.conv(x, 4, (3, 3), fused=int(rng.choice([NONE, RELU, RELU6])))
        target = made.writer.tensor(made.shape(y), "float32")
        made.writer.add("DEQUANTIZE", [y], [target], "DequantizeOptions")
        model = made.model(target)
        data = (rng.normal(0, 3, (2, 5, 4, 3)) * 10 ** rng.uniform(-1, 1)).astype(np.float32)
        data.ravel()[:60] = (np.arange(60) - 30.5) * np.float32(0.05)  # ties
        graph = read_tflite(model)
        (result,) = graph.reference(graph.tensors[graph.inputs[0]].encode(data))
        decoded = graph.tensors[graph.outputs[0]].decode(result)
        (expected,) = lite_rt(model, data)
        assert decoded.dtype == np.float32
        np.testing.assert_array_equal(decoded, expected)
        assert len(graph.nodes) == 1
