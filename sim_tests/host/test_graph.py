"""Graphs and their operators: definitions written out, borders, batches, and what does not fit."""

import dataclasses

import numpy as np
import pytest
from systolith.arch.numerics import requantise
from systolith.host.errors import NetworkError
from systolith.host.graph import Graph, Node, Quantisation, TensorInfo
from systolith.host.operators import (
    Add,
    AveragePool2D,
    BatchMatMul,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    HostOp,
    MaxPool2D,
    Requantise,
    Reshape,
)

SEED = 20261128
ONE = {"multiplier": 1 << 30, "shift": 1}


def parameters(outputs, **more):
    return {"bias": np.arange(outputs, dtype=np.int32), "multiplier": np.full(outputs, 1 << 30, np.int32),
            "shift": np.full(outputs, -5, np.int8), **more}


def random(*shape):
    return np.random.default_rng(SEED).integers(-128, 128, shape, np.int8)


def finish(op, acc):
    return requantise(acc + op.bias, op.multiplier, op.shift, op.zero_out, op.low, op.high)


def test_wide_weights_have_parts():
    """Weights of a file with a zero point of its own leave int8: what runs is a sum of int8 products."""
    weights = np.array([[255, -255, 3], [-128, 127, 128]], np.int16)
    op = FullyConnected(weights=weights, **parameters(3, zero_in=-7))
    assert all(part.dtype == np.int8 for part in op.parts) and len(op.parts) == 3
    np.testing.assert_array_equal(sum(part.astype(int) for part in op.parts), weights)
    x = random(4, 2)
    np.testing.assert_array_equal(op.reference(x), finish(op, (x.astype(int) + 7) @ weights.astype(int)))
    assert len(FullyConnected(weights=random(3, 3), **parameters(3)).parts) == 1
    with pytest.raises(NetworkError, match=r"^weights must be int8 of shape \(in, out\), not int16 \(1, 1\)$"):
        FullyConnected(weights=np.full((1, 1), 256, np.int16), **parameters(1))


def test_depthwise_is_a_convolution_with_a_diagonal():
    weights = random(3, 2, 4, 2)
    op = DepthwiseConv2D(weights=weights, **parameters(8, zero_in=3, zero_out=-1, low=-100), stride=(2, 1), padding=((1, 1), (0, 1)))
    full = np.zeros((3, 2, 4, 8), np.int8)
    for c in range(4):
        full[:, :, c, 2 * c:2 * c + 2] = weights[:, :, c]
    conv = Conv2D(weights=full, **{field: getattr(op, field) for field in (
        "bias", "multiplier", "shift", "zero_in", "zero_out", "low", "high", "stride", "padding")})
    x = random(2, 6, 5, 4)
    np.testing.assert_array_equal(op.reference(x), conv.reference(x))
    assert op.output_shape(x.shape) == conv.output_shape(x.shape) == op.reference(x).shape
    assert conv.macs(x.shape) == 4 * op.macs(x.shape)


@pytest.mark.parametrize("offset", [0, 128])
def test_averages(offset):
    """Halves away from zero, or upwards where the file's type has no sign; padding does not count."""
    x = np.array([[-3, -2, 1, 2, -1, 0, 5, 4]], np.int8).reshape(1, 1, 8, 1)
    op = AveragePool2D(kernel=(1, 2), stride=(1, 2), offset=offset)
    assert op.reference(x).ravel().tolist() == [-2 if offset else -3, 2, 0 if offset else -1, 5]
    padded = AveragePool2D(kernel=(1, 3), padding=((0, 0), (1, 1)), offset=offset)
    assert padded.counts(1, 8).tolist() == [[2, 3, 3, 3, 3, 3, 3, 2]]
    assert padded.reference(x)[0, 0, 1, 0] == -1


def test_maximum_and_its_clamp():
    x = random(2, 5, 5, 3)
    op = MaxPool2D(kernel=(2, 3), stride=(2, 2), padding=((0, 1), (1, 1)), low=-20, high=100)
    padded = np.pad(x, ((0, 0), (0, 1), (1, 1), (0, 0)), constant_values=-128)
    expected = [[padded[:, y:y + 2, c:c + 3].max(axis=(1, 2)) for c in range(0, 5, 2)] for y in range(0, 5, 2)]
    np.testing.assert_array_equal(op.reference(x), np.clip(np.array(expected).transpose(2, 0, 1, 3), -20, 100))


def test_addition():
    table = np.random.default_rng(SEED).integers(-(1 << 27), 1 << 27, 256, np.int32)
    op = Add(first=1, table=table, bias=-(5 << 19), multiplier=1 << 30, shift=-18, zero_out=4)
    a, b = random(3, 7), random(7, 3).T.copy()
    acc = ((b.astype(np.int64) - 5) << 19) + table[a.astype(int) + 128]
    np.testing.assert_array_equal(op.reference(a, b), requantise(acc, 1 << 30, -18, 4))


def test_matrix_product():
    op = BatchMatMul(multiplier=1 << 30, shift=-6, zero_a=3, zero_b=-9, zero_out=1, transpose_b=True)
    a, b = random(2, 1, 4, 5), random(3, 6, 5)
    acc = np.einsum("xymk,ynk->xymn", np.broadcast_to(a, (2, 3, 4, 5)).astype(int) - 3, b.astype(int) + 9)
    np.testing.assert_array_equal(op.reference(a, b), requantise(acc, 1 << 30, -6, 1))
    assert op.output_shape(a.shape, b.shape) == (2, 3, 4, 6) and op.macs(a.shape, b.shape) == 2 * 3 * 4 * 6 * 5


def test_borders():
    uint8 = TensorInfo(name="u", shape=(2, 3), dtype="uint8")
    x = np.array([[0, 127, 128], [200, 255, 1]], np.uint8)
    assert uint8.encode(x).tolist() == [[-128, -1, 0], [72, 127, -127]]
    np.testing.assert_array_equal(uint8.decode(uint8.encode(x)), x)
    real = TensorInfo(name="f", shape=(1, 6), dtype="float32", quantisation=Quantisation(scale=0.5, zero_point=3))
    assert real.encode(np.float32([[0.25, -0.25, 0.24, 1000, -1000, 1]])).tolist() == [[4, 2, 3, 127, -128, 5]]
    assert real.decode(np.int8([[3, 4, 1, 3, 3, 3]])).tolist() == [[0, 0.5, -1, 0, 0, 0]]
    with pytest.raises(NetworkError, match=r"^input 'f' must be finite numbers$"):
        real.encode(np.full((1, 6), np.nan, np.float32))
    for wrong in (np.zeros((1, 6), np.float64), np.zeros((6,), np.float32)):
        with pytest.raises(NetworkError, match=r"^input 'f' must be float32 of shape \(1, 6\), not "):
            real.encode(wrong)


def chain():
    """x → convolution → reshape → double, all of batch 1."""
    conv = Conv2D(weights=random(2, 2, 3, 4), **parameters(4))
    tensors = {"x": TensorInfo(name="x", shape=(1, 4, 5, 3)), "y": TensorInfo(name="y", shape=(1, 3, 4, 4)),
               "z": TensorInfo(name="z", shape=(1, 48)), "d": TensorInfo(name="d", shape=(1, 48))}
    nodes = (Node(index=0, name="c", operator=conv, inputs=("x",), output="y"),
             Node(index=1, name="r", operator=Reshape(shape=(1, 48)), inputs=("y",), output="z"),
             Node(index=2, name="h", operator=HostOp(name="HALVE", function=lambda v: v // 2, shape=(1, 48)), inputs=("z",), output="d"))
    return Graph(nodes=nodes, tensors=tensors, inputs=("x",), outputs=("d", "y"))


def test_graph():
    graph, x = chain(), random(3, 4, 5, 3)
    conv = graph.nodes[0].operator
    halves, images = graph.batched(3).reference(x)
    np.testing.assert_array_equal(images, conv.reference(x))
    np.testing.assert_array_equal(halves, conv.reference(x).reshape(3, 48) // 2)
    assert graph.macs == 12 * 2 * 2 * 3 * 4 and graph.batched(3).macs == 3 * graph.macs
    assert [node.op for node in graph.nodes] == ["Conv2D", "Reshape", "HALVE"]
    assert [node.on_host for node in graph.nodes] == [False, False, True]


def test_graphs_that_do_not_fit():
    graph = chain()
    first, second, third = graph.nodes
    for change, message in (
            ({"inputs": ()}, "a network must have at least one input and one output"),
            ({"nodes": (second, first, third)}, "operator 1 (Reshape, 'r') reads tensor 'y', which nothing before it makes"),
            ({"nodes": (first, first)}, "operator 0 (Conv2D, 'c') writes tensor 'y', which is there already"),
            ({"nodes": (first,)}, "output 'd' must be the result of an operator or an input"),
            ({"tensors": {**graph.tensors, "z": TensorInfo(name="z", shape=(48,))}},
             "operator 1 (Reshape, 'r') gives shape (1, 48), but its output is declared as (48,)"),
            ({"tensors": {**graph.tensors, "x": TensorInfo(name="x", shape=(1, 4, 5, 2))}},
             "operator 0 (Conv2D, 'c'): input channels must be 3, not 2"),
            ({"tensors": {**graph.tensors, "x": TensorInfo(name="x", shape=(1, 1, 5, 3))}},
             "operator 0 (Conv2D, 'c'): kernel must fit the padded image, not span (2, 2) over 1 × 5")):
        with pytest.raises(NetworkError) as error:
            dataclasses.replace(graph, **change)
        assert str(error.value) == message
    for arrays, message in (((), "there must be one array for each of 1 inputs, not 0"),
                            ((random(1, 4, 5, 2),), "input 'x' must be int8 of shape (1, 4, 5, 3), not int8 (1, 4, 5, 2)")):
        with pytest.raises(NetworkError) as error:
            graph.reference(*arrays)
        assert str(error.value) == message
    with pytest.raises(NetworkError, match=r"^batch must be at least 1, not 0$"):
        graph.batched(0)
    product = BatchMatMul(**ONE)
    tensors = {key: TensorInfo(name=key, shape=shape) for key, shape in (("a", (2, 3)), ("b", (3, 4)), ("c", (2, 4)))}
    mixing = Graph(nodes=(Node(index=0, name="m", operator=product, inputs=("a", "b"), output="c"),), tensors=tensors, inputs=("a", "b"),
                   outputs=("c",))
    with pytest.raises(NetworkError, match=r"^operator 0 \(BatchMatMul, 'm'\): inputs must be \(…, M, K\) and \(…, K, N\), not"):
        mixing.batched(2)  # two products at once would mix their rows


@pytest.mark.parametrize("make, message", [
    (lambda: TensorInfo(name="t", shape=(0, 3)),
     "tensor 't' must have axes of positive sizes, 268435456 elements at most, not shape (0, 3)"),
    (lambda: TensorInfo(name="t", shape=(1,), dtype="int16"), "tensor 't' must be int8, uint8 or float32, not int16"),
    (lambda: TensorInfo(name="t", shape=(1,), dtype="float32"), "float tensor 't' must have a scale and zero point"),
    (lambda: MaxPool2D(kernel=(2, 2), padding=((2, 0), (0, 0))),
     "padding of a pool must be less than its kernel (2, 2), not ((2, 0), (0, 0))"),
    (lambda: Add(first=2, table=np.zeros(256, np.int32), bias=0, **ONE), "first must be 0 or 1, not 2"),
    (lambda: Add(first=0, table=np.zeros(255, np.int32), bias=0, **ONE), "table must be int32 of shape (256,), not int32 (255,)"),
    (lambda: Add(first=0, table=np.zeros(256, np.int32), bias=0, **ONE).output_shape((1, 2), (2, 1)),
     "both inputs must have one shape, not (1, 2) and (2, 1)"),
    (lambda: FullyConnected(weights=random(4, 2), **parameters(2)).output_shape((3, 5)), "inputs must be 4 in each row, not shape (3, 5)"),
    (lambda: Conv2D(weights=random(1, 1, 2, 2), **parameters(2)).output_shape((3, 5)),
     "input must have 4 axes (batch, height, width, channels), not shape (3, 5)"),
    (lambda: Reshape(shape=(2, 2)).output_shape(Requantise(**ONE).output_shape((3,))), "shape (2, 2) must hold 3 elements, as (3,) does"),
])
def test_values_that_are_refused(make, message):
    with pytest.raises(NetworkError) as error:
        make()
    assert str(error.value) == message
