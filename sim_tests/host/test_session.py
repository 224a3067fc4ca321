"""Sessions: models of every operator on the functional model and on the RTL, batches, reports, and inputs that are refused."""

import types

import numpy as np
import pytest

pytest.importorskip("tflite", reason="the package 'tflite' is not installed")

from devices import generated, simulated
from random_models import Maker, random_network
from systolith.arch.manifest import Manifest
from systolith.arch.settings import resolve
from systolith.host.accelerator import Accelerator
from systolith.host.errors import NetworkError
from systolith.host.model_device import ModelDevice
from systolith.host.session import Session, load_model
from systolith.host.tflite_reader import read_tflite
from systolith.host.timeline import timeline
from tflite_writer import NONE, SAME, VALID

SEED = 20261127
CONFIG = resolve({"array": {"rows": 8, "cols": 8}})


def small_model(dtype="int8", *, softmax=True):
    """Convolution, depthwise convolution, addition, both pools, a classifier and softmax."""
    made = Maker(np.random.default_rng(SEED), dtype)
    x = made.input((1, 9, 8, 3))
    first = made.conv(x, 10, (3, 3), padding=SAME)
    y = made.add(made.depthwise(first, (3, 3)), first, fused=NONE)
    y = made.pool("MAX", y, (2, 2), stride=(2, 2), padding=SAME, fused=NONE)
    y = made.conv(y, 12, (1, 1), fused=NONE)
    y = made.pool("AVERAGE", y, made.shape(y)[1:3], padding=VALID, fused=NONE)
    y = made.dense(made.reshape(y, (1, 12)), 5, fused=NONE)
    return made.model(made.softmax(y) if softmax else y)


def on_model(config=CONFIG, memory_bytes=1 << 20):
    manifest = Manifest(config=config)
    return Accelerator(ModelDevice(manifest, memory_bytes=memory_bytes), manifest)


def expected(model, x):
    graph = read_tflite(model)
    info = graph.tensors[graph.inputs[0]]
    results = [graph.reference(info.encode(part))[0] for part in np.split(x, len(x) // info.shape[0])]
    return np.concatenate([graph.tensors[graph.outputs[0]].decode(y) for y in results])


def data(dtype, *shape):
    low = 0 if dtype == "uint8" else -128
    return np.random.default_rng(SEED).integers(low, low + 256, shape, np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_on_the_model(dtype):
    model, x = small_model(dtype), data(dtype, 3, 9, 8, 3)
    with on_model() as accelerator:
        session = Session(model, accelerator)
        y = session.run(x)
        report = session.report
        np.testing.assert_array_equal(session.run(x[1:2]), y[1:2])
    np.testing.assert_array_equal(y, expected(model, x))
    assert y.dtype == dtype and report["batch"] == 3
    assert "cycles" not in report and report["predicted_cycles"] > 0
    assert report["macs"] == 3 * read_tflite(model).macs <= report["macs_issued"]
    assert report["fallback_ops"] == [{"index": 8, "op": "SOFTMAX", "macs": 0}] and report["host_bytes_rearranged"] == 0
    assert [layer["op"] for layer in report["layers"] if layer["bound_by"] == "host"] == ["SOFTMAX"]
    assert sum(layer["predicted_cycles"] for layer in report["layers"] if "predicted_cycles" in layer) == report["predicted_cycles"]
    assert sum(layer["macs"] for layer in report["layers"]) == report["macs"]
    assert all(0 < layer["utilisation"] <= layer["ceiling"] <= 1 for layer in report["layers"] if "utilisation" in layer)
    assert [layer["index"] for layer in report["layers"]] == sorted(layer["index"] for layer in report["layers"])


def test_memory_that_holds_one_input():
    """As many inputs at once as fit, and an error where not even one does."""
    model, x = small_model(), data("int8", 5, 9, 8, 3)
    with on_model() as accelerator:
        session = Session(model, accelerator)
        session.run(x[:1])
        one = session.runs[0].compiled.memory_bytes
    with on_model(memory_bytes=one + 800) as accelerator:
        session = Session(model, accelerator)
        np.testing.assert_array_equal(session.run(x), expected(model, x))
        assert len(session.runs) > 1
    with on_model(memory_bytes=512) as accelerator:
        with pytest.raises(NetworkError, match=r"^device memory must hold \d+ bytes for one input, not 512$"):
            Session(model, accelerator).run(x)


def test_models_that_mix_inputs_run_one_by_one():
    made = Maker(np.random.default_rng(SEED))
    a = made.input((3, 4))
    model = made.model(made.batch_matmul(a, made.input((4, 5))))
    x, w = data("int8", 6, 4), data("int8", 8, 5)
    graph = read_tflite(model)
    with on_model() as accelerator:
        session = Session(graph, accelerator)
        y = session.run(x, w)
    for i in range(2):
        np.testing.assert_array_equal(y[3 * i:3 * i + 3], graph.reference(x[3 * i:3 * i + 3], w[4 * i:4 * i + 4])[0])


@pytest.mark.parametrize("kind", ["input", "quantize", "add", "dense", "conv", "batch_matmul"])
@pytest.mark.parametrize("rows, cols", [(3, 5), (5, 3)])
def test_second_operands_that_the_device_makes(rows, cols, kind):
    """A product's second operand is written as weights by whatever operator makes it, matrix by matrix, transposed or not."""
    for case in range(6):
        print("seed", [SEED, case])
        rng = np.random.default_rng([SEED, case])
        made, outer, transpose = Maker(rng), ((), (1,), (2,))[case % 3], bool(case % 2)
        m, k, n = (int(size) for size in rng.integers(1, 20, 3))
        shape = (*outer, n, k) if transpose else (*outer, k, n)
        a, b = made.input((*outer, m, k)), made.input(shape)
        if kind == "quantize":
            b = made.quantize(b)
        elif kind == "add":
            b = made.add(b, b)
        elif kind == "dense":
            b = made.dense(b, shape[-1], keep_axes=len(shape) > 2)
        elif kind == "conv":
            image = made.reshape(b, (outer[0] if outer else 1, shape[-2], 1, shape[-1]))
            b = made.reshape(made.conv(image, shape[-1], (1, 1)), shape)
        elif kind == "batch_matmul":
            b = made.batch_matmul(made.input((*outer, shape[-2], 5)), made.input((*outer, 5, shape[-1])))
        graph = read_tflite(made.model(made.batch_matmul(a, b, transpose_b=transpose)))
        inputs = made.random_inputs()
        with on_model(resolve({"array": {"rows": rows, "cols": cols}})) as accelerator:
            np.testing.assert_array_equal(Session(graph, accelerator).run(*inputs), graph.reference(*inputs)[0])


def test_attention():
    for case in range(2):
        print("seed", [SEED, case])
        rng = np.random.default_rng([SEED, case])
        made = Maker(rng)
        x = made.input((1, *(int(size) for size in rng.integers(1, 8, 2)), int(rng.integers(1, 20))))
        model = made.model(made.attention(x, int(rng.integers(1, 20))))
        with on_model() as accelerator:
            session = Session(model, accelerator)
            data = np.concatenate([made.random_inputs()[0] for _ in range(2)])
            np.testing.assert_array_equal(session.run(data), expected(model, data))
            assert [op["op"] for op in session.report["fallback_ops"]] == ["SOFTMAX"]


def test_inputs_that_are_refused():
    with on_model() as accelerator:
        session = Session(small_model(), accelerator)
        for arrays, message in (
                ((), "there must be one array for each input ('t0'), not 0"),
                ((data("int8", 9, 8, 3),), "input 't0' must be int8 of shape (B, 9, 8, 3), not int8 (9, 8, 3)"),
                ((data("uint8", 1, 9, 8, 3),), "input 't0' must be int8 of shape (B, 9, 8, 3), not uint8 (1, 9, 8, 3)"),
                ((data("int8", 0, 9, 8, 3),), "input 't0' must be int8 of shape (B, 9, 8, 3), not int8 (0, 9, 8, 3)"),
                (([1, 2],), "input 't0' must be int8 of shape (B, 9, 8, 3), not list")):
            with pytest.raises(NetworkError) as error:
                session.run(*arrays)
            assert str(error.value) == message
        made = Maker(np.random.default_rng(SEED))
        a, b = made.input((1, 3)), made.input((1, 3))
        with pytest.raises(NetworkError, match=r"^all inputs must have the same batch, not 1, 2$"):
            Session(made.model(made.add(a, b)), accelerator).run(data("int8", 1, 3), data("int8", 2, 3))


def test_files_that_are_refused(tmp_path):
    for name, content, message in (
            ("a.tflite", b"no", "file must be a TFLite model (bytes 4 to 7 are 'TFL3'); it is not"),
            ("a.h5", b"no", "must be a TFLite file (.tflite) or an ONNX file (.onnx)")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(NetworkError, match=r"^model 'a\..*" + message.replace("(", r"\(").replace(")", r"\)")):
            load_model(path)
    with pytest.raises(NetworkError, match=r"^model '.*absent' cannot be read: No such file or directory$"):
        load_model(tmp_path / "absent")


@pytest.fixture(scope="module")
def device():
    device = simulated(CONFIG, memory_bytes=1 << 20)
    yield types.SimpleNamespace(accelerator=Accelerator(device, Manifest.read(generated(CONFIG))))
    device.close()


def test_on_the_rtl(device):
    """Measured cycles of the layers add up to the program's, and each is near its prediction."""
    model, x = small_model(), data("int8", 2, 9, 8, 3)
    session = Session(model, device.accelerator)
    np.testing.assert_array_equal(session.run(x), expected(model, x))
    report = session.report
    assert sum(layer.get("cycles", 0) for layer in report["layers"]) == report["cycles"]
    assert abs(report["predicted_cycles"] / report["cycles"] - 1) < 0.1
    assert all(sum(causes.values()) == report["cycles"] for causes in report["stalls"].values())
    assert all(0 < layer["utilisation"] <= layer["ceiling"] for layer in report["layers"] if "utilisation" in layer)
    assert {layer["bound_by"] for layer in report["layers"]} <= {"execute", "load", "store", "fetch", "host"}
    for run in session.runs:
        assert (np.diff(run.measured.begin[[c.engine.name == "EXECUTE" for c in run.compiled.commands]]) > 0).all()
        assert (run.measured.end >= run.measured.begin).all() and run.measured.end.max() <= run.counters["cycles"]
    picture = timeline(session.runs)
    assert picture.startswith("<svg ") and picture.count("measured") == picture.count("predicted") == 3
    assert "DepthwiseConv2D" in picture


@pytest.mark.parametrize("case", range(2))
def test_random_networks_on_the_rtl(device, case):
    print("seed", [SEED, case])
    rng = np.random.default_rng([SEED, case])
    made, y = random_network(rng, dtype=("int8", "uint8")[case % 2], most=10)
    model, (x,) = made.model(y), made.random_inputs()
    np.testing.assert_array_equal(Session(model, device.accelerator).run(x), expected(model, x))
