"""Damaged, hostile and unsupported ONNX files: one line of NetworkError, nothing else, at once and without much memory."""

from __future__ import annotations

import os
import resource
import time
import warnings

import numpy as np
import pytest
from nightly import NIGHTLY

pytest.importorskip("onnx", reason="reads ONNX files, which needs the extra 'onnx'")
pytest.importorskip("onnxruntime", reason="its models are made with ONNX Runtime, of the extra 'onnx'")

import onnx
from onnx_cases import CASES
from onnx_models import Maker
from systolith.host.errors import NetworkError
from systolith.host.graph import LARGEST_TENSOR
from systolith.host.onnx_reader import read_onnx

MUTATIONS = 40_000 if NIGHTLY else 4_000
NUMBERS = [-(1 << 63), -(1 << 31), -2, -1, 0, 1, 2, 3, 7, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 63) - 1]
FLOATS = [float("nan"), float("inf"), -1.0, 0.0, 1e-45, 1e38, 3.0]


def attempt(data: bytes) -> bool:
    """Whether the file could be read; fails on anything but a result or one line of NetworkError."""
    try:
        read_onnx(data)
    except NetworkError as error:
        assert "\n" not in str(error) and str(error)
        return False
    return True


def damaged(rng: np.random.Generator, data: bytes) -> bytes:
    """Truncated, with flipped bits, with bytes replaced, moved or inserted."""
    raw = bytearray(data)
    way = rng.integers(5)
    if way == 0:
        return bytes(raw[:rng.integers(len(raw))])
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(raw)))
        if way == 1:
            raw[at] ^= 1 << int(rng.integers(8))
        elif way == 2:
            raw[at] = int(rng.integers(256))
        elif way == 3:
            raw[at:at] = rng.bytes(int(rng.integers(1, 10)))
        else:
            piece = raw[at:at + int(rng.integers(1, 40))]
            to = int(rng.integers(len(raw)))
            raw[to:to + len(piece)] = piece
    return bytes(raw)


def twisted(rng: np.random.Generator, data: bytes) -> bytes:
    """A well-formed file that says something else."""
    model = onnx.ModelProto.FromString(data)
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)] + ["", "elsewhere"]
    for _ in range(int(rng.integers(1, 4))):
        node = graph.node[rng.integers(len(graph.node))]
        tensor = graph.initializer[rng.integers(len(graph.initializer))] if graph.initializer else None
        way = rng.integers(14)
        if way == 0 and node.input:
            node.input[rng.integers(len(node.input))] = str(rng.choice(names))
        elif way == 1:
            node.output[0] = str(rng.choice(names))
        elif way == 2:
            node.op_type = str(rng.choice([n.op_type for n in graph.node] + ["Loop", "Softmax", "Transpose", "Reshape", "Shape", "MatMul"]))
        elif way == 3 and len(graph.node) > 1:
            del graph.node[rng.integers(len(graph.node))]
        elif way == 4 and tensor is not None:
            graph.initializer.remove(tensor)
        elif way == 5 and tensor is not None and tensor.dims:
            tensor.dims[rng.integers(len(tensor.dims))] = int(rng.choice(NUMBERS))
        elif way == 6 and tensor is not None:
            tensor.data_type = int(rng.integers(0, 25))
        elif way == 7 and tensor is not None and tensor.data_type == 1:
            tensor.raw_data = np.full(max(len(tensor.raw_data) // 4, 1), rng.choice(FLOATS), "<f4").tobytes()
        elif way == 8 and node.attribute:
            found = node.attribute[rng.integers(len(node.attribute))]
            if found.ints:
                found.ints[rng.integers(len(found.ints))] = int(rng.choice(NUMBERS))
            else:
                found.i = int(rng.choice(NUMBERS))
                found.type = int(rng.integers(0, 15))
        elif way == 9:
            dims = graph.input[0].type.tensor_type.shape.dim
            if dims:
                dims[rng.integers(len(dims))].dim_value = int(rng.choice(NUMBERS))
        elif way == 10:
            del graph.input[0].type.tensor_type.shape.dim[-1:]
        elif way == 11:
            node.input.append(str(rng.choice(names)))
        elif way == 12 and node.input:
            del node.input[-1]
        else:
            name = str(rng.choice(["axis", "perm", "pads", "strides", "group", "axes", "to", "block_size"]))
            value = [int(n) for n in rng.choice(NUMBERS, 2)] if rng.random() < 0.5 else int(rng.choice(NUMBERS))
            node.attribute.append(onnx.helper.make_attribute(name, value))
    return model.SerializeToString()


def test_mutations():
    seed = int(os.environ.get("SYSTOLITH_SEED", 4))
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    seeds = [case(rng, dtype)[0] for case in CASES.values() for dtype in ("int8", "uint8")]
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    readable = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(MUTATIONS):
            data = seeds[number % len(seeds)]
            mutated = twisted(rng, data) if number % 3 else damaged(rng, data)
            try:
                readable += attempt(mutated)
            except Exception as error:
                raise AssertionError(f"mutation {number}: {type(error).__name__}: {error}") from error
    seconds, grown = time.monotonic() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{readable} of {MUTATIONS} could be read, {seconds:.1f} s, {grown:.0f} MiB more")
    assert MUTATIONS * 0.02 < readable < MUTATIONS * 0.9
    assert grown < 200
    assert seconds < 0.02 * MUTATIONS


def test_noise():
    rng = np.random.default_rng(5)
    for size in (0, 1, 2, 10, 100, 10_000):
        for _ in range(20):
            assert not attempt(rng.bytes(size))


def small(**changes: object) -> Maker:
    """x → DequantizeLinear → Conv → QuantizeLinear."""
    m = Maker(np.random.default_rng(0))
    x, q = m.input((1, 2, 5, 5)), (m.constant(np.float32(0.1)), m.constant(np.int8(3)), np.float32(0.1))
    w, ws, wz, _ = m.weights((4, 2, 3, 3), axis=0)
    m.output(m.quantize(m.node("Conv", m.dequantize(x, q), m.node("DequantizeLinear", w, ws, wz, axis=0), **changes), q))
    return m


def edited(change, **changes) -> bytes:
    """:func:`small` after ``change(model)``."""
    model = onnx.ModelProto.FromString(small(**changes).model())
    change(model)
    return model.SerializeToString()


def constant_of(model, name):
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def external(model, **where):
    tensor = constant_of(model, "c_5")
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in where.items():
        tensor.external_data.add(key=key, value=str(value))


def float_model(model):
    del model.graph.node[:]
    model.graph.node.append(onnx.helper.make_node("Relu", ["input_1"], ["y"]))
    model.graph.input[0].type.tensor_type.elem_type = 1
    model.graph.output[0].name = "y"


def dynamic_model(model):
    float_model(model)
    model.graph.node[0].op_type = "DynamicQuantizeLinear"


def cycle(model):
    model.graph.node[0].input[0] = model.graph.output[0].name


SUPPORTED = "supported are Abs, Add, AveragePool, BatchNormalization, Cast, Clip, Concat, Constant, Conv, DequantizeLinear, Div, " \
    "Dropout, Elu, Erf, Exp, Flatten, Gather, Gelu, Gemm, GlobalAveragePool, HardSigmoid, HardSwish, Identity, LeakyRelu, MatMul, " \
    "MaxPool, Mul, Neg, QGemm, QLinearAdd, QLinearAveragePool, QLinearConv, QLinearGlobalAveragePool, QLinearMatMul, QLinearSoftmax, " \
    "QuantizeLinear, ReduceMean, Relu, Reshape, Shape, Sigmoid, Softmax, Softplus, Squeeze, Sub, Tanh, Transpose, Unsqueeze"
MESSAGES = {
    "noise": (lambda: b"\xff" * 20, "model is not an ONNX file, or it is truncated or damaged"),
    "empty": (lambda: b"", "model must hold a graph with at least one operator: it is not an ONNX model, or it is empty"),
    "float": (lambda: edited(float_model), "model is float, so it needs calibration: give typical inputs, calibration=arrays or "
              "--calibration FILE.npy, or quantise it with ONNX Runtime (static, QDQ)"),
    "dynamic": (lambda: edited(dynamic_model), "operator 0 (DynamicQuantizeLinear, '') quantises while it runs, which is not supported: "
                "quantise the float model statically, with calibration inputs"),
    "operator": (lambda: edited(lambda m: setattr(m.graph.node[2], "op_type", "ConvTranspose")),
                 f"operator 2 (ConvTranspose, 'n_conv_9') is not supported; {SUPPORTED}"),
    "domain": (lambda: edited(lambda m: setattr(m.graph.node[2], "domain", "acme")),
               "operator 2 (Conv, 'n_conv_9') is of domain 'acme'; supported are the standard operators and those of com.microsoft"),
    "opset": (lambda: edited(lambda m: setattr(m.opset_import[0], "version", 9)),
              "operator set must be from 10 to 28, not 9: convert the model with onnx.version_converter"),
    "cycle": (lambda: edited(cycle), "operator 0 (DequantizeLinear, 'n_dequantizelinear_7') reads tensor 'quantizelinear_10', which is no "
              "input, no initialiser and no result of an operator before it"),
    "missing": (lambda: edited(lambda m: m.graph.initializer.remove(constant_of(m, "c_5"))),
                "operator 1 (DequantizeLinear, 'n_dequantizelinear_8') reads tensor 'c_5', which is no input, no initialiser and no result "
                "of an operator before it"),
    "dynamic shape": (lambda: edited(lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_param", "h")),
                      "input 'input_1' must have a fixed shape, its first axis excepted, not (1, 2, ?, 5)"),
    "no rank": (lambda: edited(lambda m: m.graph.input[0].type.tensor_type.ClearField("shape")),
                "input 'input_1' must have a fixed shape, its first axis excepted, not unknown"),
    "zero size": (lambda: edited(lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[3], "dim_value", 0)),
                  f"tensor 'input_1' must have axes of positive sizes, {LARGEST_TENSOR} elements at most, not shape (1, 5, 0, 2)"),
    "huge": (lambda: edited(lambda m: constant_of(m, "c_4").dims.__setitem__(0, 1 << 40)),
             f"initialiser 'c_4' must have at most {LARGEST_TENSOR} elements, not shape (1099511627776, 2, 3, 3)"),
    "too little data": (lambda: edited(lambda m: constant_of(m, "c_4").dims.__setitem__(0, 1 << 20)),
                        "initialiser 'c_4' must have data for 18874368 elements, as its shape (1048576, 2, 3, 3) says, not 72"),
    "type": (lambda: edited(lambda m: setattr(constant_of(m, "c_4"), "data_type", 5)),
             "operator 1 (DequantizeLinear, 'n_dequantizelinear_8'): constant 'c_4' must be float32, uint8, int8, int32, int64, not int16"),
    "input type": (lambda: edited(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 10)),
                   "tensor 'input_1' must be one of float32, uint8, int8, int32, int64, not float16"),
    "scale": (lambda: edited(lambda m: setattr(constant_of(m, "c_2"), "raw_data", np.float32(np.nan).tobytes())),
              "operator 0 (DequantizeLinear, 'n_dequantizelinear_7'): scale must be positive and finite, not nan"),
    "scale of a channel": (lambda: edited(lambda m: setattr(constant_of(m, "c_5"), "raw_data", np.float32([1, 1, -2, 1]).tobytes())),
                           "operator 1 (DequantizeLinear, 'n_dequantizelinear_8'): scales must be positive and finite, not -2.0"),
    "groups": (lambda: small(group=3).model(), "operator 2 (Conv, 'n_conv_9'): weights of shape (4, 2, 3, 3) in 3 groups must fit 2 input "
               "channels"),
    "kernel": (lambda: small(dilations=[3, 3]).model(), "operator 2 (Conv, 'n_conv_9'): kernel must fit the padded image, not span (7, 7) "
               "over 5 × 5"),
    "attribute": (lambda: small(pads=1).model(),
                  "operator 2 (Conv, 'n_conv_9'): attribute 'pads' must be a list of integers, not of type 2"),
    "data of bytes": (lambda: edited(lambda m: external(m, location="weights.bin")),
                      "initialiser 'c_5' is in the file 'weights.bin': give the model as a path, or with its data inside"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name):
    make, message = MESSAGES[name]
    with pytest.raises(NetworkError) as caught:
        read_onnx(make())
    assert str(caught.value) == message


@pytest.mark.parametrize("location", ["/etc/passwd", "../outside.bin", "", "link.bin", "folder", "a/../../outside.bin", "nul\0.bin",
                                      "x" * 5000])
def test_data_outside_the_folder(tmp_path, location):
    (tmp_path / "outside.bin").write_bytes(bytes(16))
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    path = folder / "model.onnx"
    path.write_bytes(edited(lambda m: external(m, location=location, length=16)))
    with pytest.raises(NetworkError) as caught:
        read_onnx(path)
    assert str(caught.value).startswith(("initialiser 'c_5' must have its data in a file within the model's folder, not in ",
                                         "data of initialiser 'c_5', "))


@pytest.mark.parametrize("where", [{"offset": -4}, {"offset": 1 << 62}, {"length": 15}, {"length": "many"}, {"offset": 1}])
def test_external_data_that_is_not_there(tmp_path, where):
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    (tmp_path / "model.onnx").write_bytes(edited(lambda m: external(m, **{"location": "weights.bin", "length": 16} | where)))
    with pytest.raises(NetworkError, match=r"must have 16 bytes|cannot be read"):
        read_onnx(tmp_path / "model.onnx")


def test_external_data(tmp_path):
    """Weights beside the model are read as if they were inside."""
    scales = np.frombuffer(constant_of(onnx.ModelProto.FromString(small().model()), "c_5").raw_data, np.float32)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "weights.bin").write_bytes(bytes(8) + scales.tobytes())
    (tmp_path / "model.onnx").write_bytes(edited(lambda m: external(m, location="data/weights.bin", offset=8, length=16)))
    x = np.random.default_rng(1).integers(-128, 128, (1, 5, 5, 2)).astype(np.int8)
    np.testing.assert_array_equal(read_onnx(tmp_path / "model.onnx").reference(x)[0], read_onnx(small().model()).reference(x)[0])


def test_no_file(tmp_path):
    with pytest.raises(NetworkError, match=r"nothing\.onnx cannot be read: No such file or directory$"):
        read_onnx(tmp_path / "nothing.onnx")
