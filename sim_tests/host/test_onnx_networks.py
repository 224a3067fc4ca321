"""Whole ONNX networks: float ones quantised by ONNX Runtime, against it and on the accelerator."""

from __future__ import annotations

import numpy as np
import pytest
from nightly import NIGHTLY

pytest.importorskip("onnx", reason="reads ONNX files, which needs the extra 'onnx'")
pytest.importorskip("onnxruntime", reason="its oracle is ONNX Runtime, of the extra 'onnx'")

import systolith
from onnx_models import Maker, session
from onnx_networks import TRAINING, digits, random_network, residual
from systolith.host.errors import NetworkError
from systolith.host.onnx_quantise import quantise_onnx
from systolith.host.onnx_reader import read_onnx
from systolith.host.session import Session


def decoded(graph, *arrays):
    graph = graph.batched(len(arrays[0]) // graph.tensors[graph.inputs[0]].outer_shape[0])
    results = graph.reference(*(graph.tensors[key].encode(x) for key, x in zip(graph.inputs, arrays, strict=True)))
    return [graph.tensors[key].decode(y) for key, y in zip(graph.outputs, results, strict=True)]


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(scores.argmax(axis=1) == labels))


@pytest.mark.parametrize(("pool", "accurate", "same"), [("MaxPool", 0.9, 1.0), ("GlobalAveragePool", 0.6, 1.0),
                                                        # Halves by the hundred, which ONNX Runtime rounds to even.
                                                        ("AveragePool", 0.9, 0.98)])
def test_top1(pool, accurate, same):
    images, labels = digits()
    model = quantise_onnx(residual(pool), images[:100])
    run = session(model, any_weights=True)
    images, labels = images[TRAINING:], labels[TRAINING:]
    want = np.concatenate([run.run(None, {run.get_inputs()[0].name: x[None]})[0] for x in images])
    got, = decoded(read_onnx(model), images)
    agreement = np.mean(want.argmax(axis=1) == got.argmax(axis=1))
    print(f"{pool}: accuracy {accuracy(got, labels):.4f}, ONNX Runtime {accuracy(want, labels):.4f}, same class {agreement:.4f}, largest "
          f"difference {np.abs(want - got).max():.4f}, {np.mean(want != got):.4f} of all results differ")
    assert got.dtype == np.float32 and got.shape == want.shape
    assert accuracy(got, labels) > accurate
    assert agreement >= same


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "residual.onnx"
    path.write_bytes(residual())
    return path


@pytest.mark.parametrize("array", [{}, {"rows": 8, "cols": 8}, {"rows": 24, "cols": 12}])
def test_on_the_functional_model(model, array):
    """From the float file to results, byte for byte those of the graph; only softmax is the host's."""
    images, _ = digits()
    with systolith.connect("model", config={"array": array}) as accelerator:
        run = Session(model, accelerator, calibration=images[:100])
        got = run.run(images[TRAINING:TRAINING + 5])
    want, = decoded(run.graph, images[TRAINING:TRAINING + 5])
    np.testing.assert_array_equal(got, want)
    assert [op["op"] for op in run.report["fallback_ops"]] == ["Softmax"]
    assert run.report["host_bytes_rearranged"] == 0  # one channel: NCHW is NHWC


def test_on_the_rtl(model):
    images, _ = digits()
    with systolith.connect("sim", config={"array": {"rows": 8, "cols": 8}}) as accelerator:
        run = Session(model, accelerator, calibration=images[:100])
        got = run.run(images[TRAINING:TRAINING + 1])
    want, = decoded(run.graph, images[TRAINING:TRAINING + 1])
    np.testing.assert_array_equal(got, want)
    assert run.report["cycles"] == pytest.approx(run.report["predicted_cycles"], rel=0.05)


def test_axes_of_the_file_at_the_border():
    """NCHW outside, NHWC inside: once for the input and once for the output, counted by the session."""
    m = Maker(np.random.default_rng(0), "uint8")
    x, q = m.input((2, 3, 6, 5)), m.quantisation()
    y = m.node("MaxPool", m.dequantize(x, q), kernel_shape=[2, 2])
    m.output(m.quantize(y, q))
    graph = read_onnx(m.model())
    (info,), (out,) = ([graph.tensors[key] for key in keys] for keys in (graph.inputs, graph.outputs))
    assert (info.shape, info.outer_shape, info.dtype) == ((2, 6, 5, 3), (2, 3, 6, 5), "uint8")
    assert (out.shape, out.outer_shape, out.dtype) == ((2, 5, 4, 3), (2, 3, 5, 4), "uint8")
    data = m.array((2, 3, 6, 5))
    with systolith.connect("model") as accelerator:
        run = Session(graph, accelerator)
        got = run.run(data)
    np.testing.assert_array_equal(got, np.lib.stride_tricks.sliding_window_view(data, (2, 2), (2, 3)).max((-1, -2)))
    assert run.report["host_bytes_rearranged"] == data.size + got.size
    assert run.report["fallback_ops"] == []


def test_symbolic_batch():
    """A first axis that is a symbol is 1, and more inputs are a batch."""
    images, _ = digits()
    graph = read_onnx(quantise_onnx(residual(batch="N"), images[:50]))
    assert graph.tensors[graph.inputs[0]].outer_shape == (1, 1, 8, 8)
    np.testing.assert_array_equal(decoded(graph, images[:4])[0][1:2], decoded(graph, images[1:2])[0])


def test_two_outputs_of_one_tensor():
    """Integers and what they mean, of the same bytes, and an input under another shape."""
    m = Maker(np.random.default_rng(0))
    x, q = m.input((1, 4, 6)), m.quantisation()
    w, ws, wz, _ = m.weights((6, 5))
    y = m.quantize(m.node("MatMul", m.dequantize(x, q), m.node("DequantizeLinear", w, ws, wz)), q)
    real, flat = m.dequantize(y, q), m.node("Flatten", x)
    for name, dtype in ((y, "int8"), (real, "float32"), (flat, "int8")):
        m.output(name, dtype)
    model, data = m.model(), m.array((1, 4, 6))
    with systolith.connect("model") as accelerator:
        got = Session(model, accelerator).run(data)
    for mine, theirs in zip(got, session(model).run(None, {x: data}), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


CALIBRATION_ERRORS = {
    "shape": (lambda x: x[:, :, :7], r"calibration of input 'input_1' must be float32 of shape \(n, 1, 8, 8\), n a multiple of 1, not "
              r"float32 \(100, 1, 7, 8\)"),
    "type": (lambda x: x.astype(np.float64), r"calibration of input 'input_1' must be float32 of shape .* not float64 \(100, 1, 8, 8\)"),
    "empty": (lambda x: x[:0], r"calibration of input 'input_1' must be float32 of shape .* not float32 \(0, 1, 8, 8\)"),
    "not finite": (lambda x: x / 0 * 0, "calibration of input 'input_1' must be finite"),
    "name": (lambda x: {"image": x}, "calibration must have arrays for the inputs input_1, not for image"),
    "number": (lambda x: [x, x], "calibration must have an array for each of the inputs input_1, not 2"),
}


@pytest.mark.parametrize("name", CALIBRATION_ERRORS)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.filterwarnings("ignore:divide by zero encountered")
def test_calibration_errors(name):
    change, message = CALIBRATION_ERRORS[name]
    with pytest.raises(NetworkError, match=f"^{message}$"):
        quantise_onnx(residual(), change(digits()[0][:100]))


def test_calibration_of_quantised_model():
    images, _ = digits()
    with pytest.raises(NetworkError, match=r"^model is quantised already: leave calibration away$"):
        quantise_onnx(quantise_onnx(residual(), images[:20]), images[:20])


def test_model_that_onnx_runtime_refuses():
    m = Maker(np.random.default_rng(0), "float32")
    m.output(m.node("Conv", m.input((1, 2, 5, 5)), m.constant(np.ones((3, 7, 3, 3), np.float32))))
    with pytest.raises(NetworkError, match=r"^ONNX Runtime cannot quantise the model: \w+: ") as caught:
        quantise_onnx(m.model(), np.zeros((1, 2, 5, 5), np.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(200 if NIGHTLY else 12))
def test_random_networks(seed):
    """Quantised by ONNX Runtime: the accelerator is the graph, byte for byte, and the graph is ONNX Runtime but for single steps."""
    rng = np.random.default_rng(seed)
    float_model, x = random_network(rng)
    model = quantise_onnx(float_model, x)
    graph = read_onnx(model)
    run = session(model, any_weights=True)
    want = np.concatenate([run.run(None, {run.get_inputs()[0].name: each[None]})[0] for each in x])
    reference, = decoded(graph, x)
    rows, cols = (int(n) for n in rng.integers(3, 17, 2))
    with systolith.connect("model", config={"array": {"rows": rows, "cols": cols}}) as accelerator:
        got = Session(graph, accelerator).run(x[:3])
    np.testing.assert_array_equal(got, reference[:3])
    steps = np.abs(reference - want) / graph.tensors[graph.outputs[0]].quantisation.scale
    print(f"{rows} × {cols}: {np.mean(steps > 0.5):.4f} of the results differ, by {steps.max():.0f} steps at most")
    assert steps.max() < 3.5
    assert np.mean(steps > 0.5) < 0.1
