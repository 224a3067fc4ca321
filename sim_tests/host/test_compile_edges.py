"""Where graphs meet the compiler's assumptions: results that are only another shape, products of what fully connected layers made."""

import numpy as np
import pytest
import systolith
from systolith.host.graph import Graph, Node, TensorInfo
from systolith.host.operators import Add, AveragePool2D, BatchMatMul, Conv2D, FullyConnected, HostOp, Requantise, Reshape
from systolith.host.session import Session

RNG = np.random.default_rng(11)


def conv(channels: int, filters: int) -> Conv2D:
    return Conv2D(weights=RNG.integers(-127, 128, (1, 1, channels, filters)).astype(np.int8), bias=np.zeros(filters, np.int32),
                  multiplier=np.full(filters, 1 << 30, np.int32), shift=np.full(filters, -5, np.int8))


def dense(inputs: int, outputs: int) -> FullyConnected:
    return FullyConnected(weights=RNG.integers(-127, 128, (inputs, outputs)).astype(np.int8), bias=np.zeros(outputs, np.int32),
                          multiplier=np.full(outputs, 1 << 30, np.int32), shift=np.full(outputs, -6, np.int8))


def check(shape, steps, outputs, copies=1, config=None):
    """``steps``: (operator, inputs, output) from "x" on; the session's results are those of the reference."""
    shapes, nodes = {"x": shape}, []
    for index, (operator, inputs, output) in enumerate(steps):
        shapes[output] = operator.output_shape(*(shapes[key] for key in inputs))
        nodes.append(Node(index=index, name="n", operator=operator, inputs=inputs, output=output))
    graph = Graph(nodes=tuple(nodes), tensors={key: TensorInfo(name=key, shape=s) for key, s in shapes.items()}, inputs=("x",),
                  outputs=outputs)
    x = RNG.integers(-128, 128, (copies * shape[0], *shape[1:])).astype(np.int8)
    with systolith.connect("model", config=config) as accelerator:
        got = Session(graph, accelerator).run(x)
    for mine, want in zip(got if len(outputs) > 1 else (got,), graph.batched(copies).reference(x), strict=True):
        np.testing.assert_array_equal(mine, want)


HOST = HostOp(name="NEGATE", function=lambda x: -np.maximum(x, -127), shape=(1, 4, 4, 6))
FLAT, FLAT_IN = Reshape(shape=(1, 96)), Reshape(shape=(1, 128))
CASES = {
    "only another shape": ([(FLAT_IN, ("x",), "y")], ("y",)),
    "both shapes": ([(conv(8, 6), ("x",), "a"), (FLAT, ("a",), "b")], ("a", "b")),
    "another shape twice": ([(conv(8, 6), ("x",), "a"), (FLAT, ("a",), "b"), (FLAT, ("a",), "c")], ("b", "c")),
    "of the input": ([(conv(8, 6), ("x",), "a"), (FLAT_IN, ("x",), "b")], ("a", "b")),
    "behind the host": ([(conv(8, 6), ("x",), "a"), (HOST, ("a",), "h"), (FLAT, ("h",), "b")], ("b",)),
    "before the host": ([(conv(8, 6), ("x",), "a"), (FLAT, ("a",), "b"), (Reshape(shape=(1, 4, 4, 6)), ("b",), "c"), (HOST, ("c",), "h")],
                        ("h", "b")),
    "the input itself": ([(conv(8, 6), ("x",), "a")], ("a", "x")),
}


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_other_shapes(name, copies):
    check((1, 4, 4, 8), *CASES[name], copies)


@pytest.mark.parametrize("array", [(16, 16), (8, 8), (24, 12), (3, 5)])
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("tokens, features", [(6, 16), (16, 20), (20, 7)])
def test_product_of_fully_connected_results(tokens, features, transposed, array):
    """Rows of a fully connected layer are the matrix of a product behind it, several heads of them too."""
    width = features if transposed else tokens
    steps = [(dense(features, features), ("x",), "q"), (dense(features, width if not transposed else features), ("x",), "k"),
             (Reshape(shape=(2, tokens, features)), ("q",), "q3"), (Reshape(shape=(2, tokens, width)), ("k",), "k3")]
    product = BatchMatMul(multiplier=1 << 30, shift=-9, zero_a=3, zero_b=-5, transpose_b=transposed)
    if not transposed:  # (tokens, tokens) · (tokens, width)
        steps.append((BatchMatMul(multiplier=1 << 30, shift=-9, transpose_b=True), ("q3", "q3"), "s"))
    steps.append((product, ("q3" if transposed else "s", "k3"), "y"))
    check((2, tokens, features), steps, ("y",), config={"array": dict(zip(("rows", "cols"), array, strict=True))})


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("operator", [Requantise(multiplier=1 << 30, shift=0),
                                      Add(first=0, table=np.zeros(256, np.int32), bias=0, multiplier=1 << 30, shift=-18)])
def test_product_of_element_wise_rows(operator, transposed):
    steps = [(dense(16, 16), ("x",), "a"), (operator, ("a", "a") if isinstance(operator, Add) else ("a",), "b"),
             (Reshape(shape=(1, 16, 16)), ("b",), "c"),
             (BatchMatMul(multiplier=1 << 30, shift=-8, transpose_b=transposed), ("x", "c"), "y")]
    check((1, 16, 16), steps, ("y",), copies=2)


def test_product_of_rows_in_another_shape():
    """(tokens, heads · width) read as (tokens · heads, width): through memory."""
    steps = [(dense(16, 24), ("x",), "a"), (Reshape(shape=(1, 18, 8)), ("a",), "b"), (dense(16, 8), ("x",), "q"),
             (Reshape(shape=(1, 6, 8)), ("q",), "q3"), (BatchMatMul(multiplier=1 << 30, shift=-8, transpose_b=True), ("q3", "b"), "y")]
    check((1, 6, 16), steps, ("y",), copies=2)


def test_average_of_a_fully_connected_result():
    steps = [(dense(128, 96), ("x",), "a"), (Reshape(shape=(1, 4, 4, 6)), ("a",), "b"), (AveragePool2D(kernel=(4, 4)), ("b",), "y")]
    check((1, 4, 4, 8), steps, ("y",), copies=2)
