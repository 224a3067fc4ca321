"""Damaged and hostile TFLite files: one line of NetworkError, never another exception, a hang or much memory."""

import itertools
import math
import resource
import struct
import time

import numpy as np
import pytest

pytest.importorskip("tflite", reason="the package 'tflite' is not installed")

from random_models import Maker, random_network
from systolith.host.errors import NetworkError
from systolith.host.tflite_reader import read_tflite
from tflite_writer import NONE, SAME, Writer

SEED = 20261126
MUTATIONS = 2000
SLOWEST_S = 2.0


def corpus():
    """Small models with every operator."""
    files = []
    for case in range(6):
        rng = np.random.default_rng([SEED, case])
        made, y = random_network(rng, dtype=("int8", "uint8")[case % 2], blocks=4, most=8, channels=6)
        files.append(made.model(y))
    made = Maker(np.random.default_rng(SEED))
    a = made.input((2, 3, 4))
    files.append(made.model(made.batch_matmul(a, made.input((2, 4, 5)))))
    return files


def attempt(data):
    """Whether the file was read."""
    start = time.process_time()
    try:
        graph = read_tflite(data)
        if sum(math.prod(info.shape) for info in graph.tensors.values()) < 100_000:  # and it can be computed
            graph.reference(*(np.zeros(graph.tensors[key].shape, np.int8) for key in graph.inputs))
    except NetworkError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return False
    finally:
        assert time.process_time() - start < SLOWEST_S
    return True


def test_mutations():
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    files = corpus()
    assert all(attempt(data) for data in files)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = 0
    for number in range(MUTATIONS):
        data = bytearray(files[number % len(files)])
        kind = rng.integers(0, 4)
        if kind == 0:  # truncated
            data = data[:int(rng.integers(0, len(data)))]
        elif kind == 1:  # some bits
            for _ in range(int(rng.integers(1, 6))):
                data[int(rng.integers(8, len(data)))] ^= 1 << int(rng.integers(0, 8))
        elif kind == 2:  # a word that is large, negative or random, at an aligned place
            place = 4 * int(rng.integers(2, len(data) // 4))
            data[place:place + 4] = struct.pack("<I", int(rng.choice([0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, len(data),
                                                                        rng.integers(0, 1 << 32)])))
        else:  # a piece of the file over another one
            length = int(rng.integers(1, 200))
            start, place = (int(rng.integers(8, len(data) - length)) for _ in range(2))
            data[place:place + length] = data[start:start + length]
        read += attempt(bytes(data))
    print(f"{read} of {MUTATIONS} were still models")
    assert 0 < read < MUTATIONS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.parametrize("length", [0, 1, 7, 8, 15, 16, 100, 5000])
def test_random_bytes(length):
    rng = np.random.default_rng([SEED, length])
    for _ in range(50):
        data = bytearray(rng.integers(0, 256, length, np.uint8).tobytes())
        assert not attempt(bytes(data))
        data[4:8] = b"TFL3"
        assert not attempt(bytes(data[:max(length, 8)]))


def refused(data, message):
    with pytest.raises(NetworkError) as error:
        read_tflite(data)
    assert str(error.value) == message


def conv_model(change=lambda writer, x, weights, bias, y: None, **fields):
    """One convolution; ``change`` may spoil its tensors."""
    w = Writer()
    x = w.tensor((1, 4, 4, 2), "int8", 0.1, 3, name="x")
    weights = w.constant(np.ones((3, 1, 1, 2), np.int8), 0.2)
    bias = w.constant(np.zeros(3, np.int32), 0.02)
    y = w.tensor((1, 4, 4, 3), "int8", 0.5, 0, name="y")
    change(*(w.tensors[i] for i in (x, weights, bias, y)), w)
    options = {"Padding": SAME, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1, "FusedActivationFunction": NONE}
    w.add("CONV_2D", [x, weights, bias], [y], "Conv2DOptions", **options | fields)
    return w.finish([x], [y])


def spoil(which, **values):
    def change(*tensors):
        for name, value in values.items():
            setattr(tensors[which], name, value)
    return change


@pytest.mark.parametrize("model, message", [
    (conv_model(spoil(0, dtype="int16")), "tensor 'x' must be int8 or uint8, not int16; quantise the whole model to int8"),
    (conv_model(spoil(0, scales=[])),
     "unsupported quantisation: tensor 'x' must have one scale and zero point, not 0"),
    (conv_model(spoil(0, scales=[float("nan")])), "unsupported quantisation: scale of tensor 'x' must be finite and positive, not nan"),
    (conv_model(spoil(0, zeros=[200])), "unsupported quantisation: zero point of tensor 'x' must be in the range of int8"),
    (conv_model(spoil(1, zeros=[3])), "operator 0 (CONV_2D): unsupported quantisation: int8 weights 't1' must have zero point 0"),
    (conv_model(spoil(1, scales=[0.1, 0.2], zeros=[0, 0])), "operator 0 (CONV_2D): unsupported quantisation: weights 't1' must have one "
     "scale, or one per channel along axis 0, not 2 along axis 0"),
    (conv_model(spoil(1, data=None)), "operator 0 (CONV_2D): weights 't1' must be constant"),
    (conv_model(spoil(2, data=np.zeros(4, np.int32), shape=(4,))),
     "operator 0 (CONV_2D): bias 't2' must be a constant int32 of 3 elements, not int32 (4,)"),
    (conv_model(spoil(0, shape=(1, 1, 4, 2), signature=(1, -1, 4, 2))),
     "tensor 'x' has a dynamic shape (1, -1, 4, 2); convert the model with fixed sizes (only the batch may be open)"),
    (conv_model(spoil(0, shape=(1, 4, 4, 3))),
     "operator 0 (CONV_2D): channels 3 must be a multiple of the filters' 2, and 3 filters of the groups"),
    (conv_model(spoil(0, shape=(4, 8))), "operator 0 (CONV_2D): input must have 4 axes (batch, height, width, channels), not shape (4, 8)"),
    (conv_model(spoil(3, shape=(1, 4, 5, 3))),
     "operator 0 (Conv2D, 'y') gives shape (1, 4, 4, 3), but its output is declared as (1, 4, 5, 3)"),
    (conv_model(spoil(3, scales=[1e-30])), "operator 0 (CONV_2D): unsupported quantisation: scale factor must be below 2**30, not "
     "2.000000053262491e+28"),
    (conv_model(StrideH=0), "operator 0 (CONV_2D): kernel (1, 1), stride (0, 1) and dilation (1, 1) must be at least 1"),
    (conv_model(StrideH=1000), "operator 0 (Conv2D, 'y'): convolution stride must be from 1 to 255, not 1000"),
    (conv_model(Padding=7), "operator 0 (CONV_2D): padding must be SAME or VALID, not number 7"),
    (conv_model(FusedActivationFunction=4),
     "operator 0 (CONV_2D): fused activation must be one of NONE, RELU, RELU_N1_TO_1, RELU6, not TANH"),
])
def test_what_is_not_supported(model, message):
    refused(model, message)


def test_operators_that_are_not_supported():
    w = Writer()
    x, y = (w.tensor((1, 8), "int8", 0.1) for _ in range(2))
    w.add("LOGISTIC", [x], [y])
    refused(w.finish([x], [y]), "operator 0 (LOGISTIC) is not supported; supported are CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, "
            "BATCH_MATMUL, AVERAGE_POOL_2D, MAX_POOL_2D, ADD, RESHAPE, SQUEEZE, EXPAND_DIMS, QUANTIZE, DEQUANTIZE, RELU, RELU_N1_TO_1, "
            "RELU6, SOFTMAX, MEAN, PAD, PADV2")


def test_float_models():
    w = Writer()
    x, y = w.tensor((1, 8), "float32"), w.tensor((1, 8), "float32")
    w.add("RELU", [x], [y])
    refused(w.finish([x], [y]), "model is not quantised (all its tensors are float): quantise it to int8 first, for TFLite with a "
            "representative data set, or give the ONNX model with calibration inputs")
    w = Writer()
    x, y = w.tensor((1, 8), "float32", name="x"), w.tensor((1, 8), "int8", 0.1)
    w.add("RELU", [x], [y])
    refused(w.finish([x], [y]), "input 'x' is float32 without an operator that quantises it: quantise the whole model to int8")


def test_a_constant_used_many_times_over():
    """Each use is a copy: a small file must not ask for more than a few times its size."""
    w = Writer()
    weights, bias = w.constant(np.ones((256, 256), np.int8), 0.2), w.constant(np.zeros(256, np.int32), 0.02)
    x = [w.tensor((1, 256), "int8", 0.1) for _ in range(200)]
    for a, b in itertools.pairwise(x):
        w.add("FULLY_CONNECTED", [a, weights, bias], [b], "FullyConnectedOptions")
    refused(w.finish(x[:1], x[-1:]), "operator 16 (FULLY_CONNECTED): constants must not be used many times over")


def test_a_tensor_that_is_there_many_times_over():
    """References are four bytes each, and every one asks for all that they refer to."""
    w = Writer()
    x = w.tensor((1, 8), "int8", np.full(20_000, 0.1))
    y = w.tensor((1, 8), "int8", 0.1)
    w.add("RELU", [x], [y])
    w.repeated = 20_000
    data = w.finish([x], [y])
    assert len(data) < 400_000
    refused(data, "TFLite file is damaged: a vector is longer than the file")


def test_giant_shapes():
    """Sizes that no file has to hold are refused before something is allocated."""
    for shape in ((1, 3000, 3000, 10), (1, 30000, 30000, 100), (1, 1 << 30, 4, 1)):
        w = Writer()
        x, y = w.tensor(shape, "int8", 0.1), w.tensor((1, shape[3]), "int8", 0.1)
        w.add("MEAN", [x, w.constant(np.int32([1, 2]))], [y], "ReducerOptions", KeepDims=False)
        with pytest.raises(NetworkError, match="at most"):
            read_tflite(w.finish([x], [y]))

    made = Maker(np.random.default_rng(SEED))
    x = made.input((1, 3, 3, 2))
    model = made.model(made.pool("AVERAGE", x, (32767, 32767), fused=NONE))
    refused(model, "operator 0 (AVERAGE_POOL_2D): kernel of a pool must cover at most 65536 pixels, not (32767, 32767)")
