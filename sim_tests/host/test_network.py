"""Quantised networks: the reference against a plain loop, compiled memory maps, inference in parts, and errors."""

import dataclasses
import itertools

import numpy as np
import pytest
from networks import random_conv, random_dense, random_network
from systolith.arch.commands import pack
from systolith.arch.manifest import Manifest
from systolith.arch.numerics import requantise
from systolith.arch.settings import resolve
from systolith.boards import get_board
from systolith.host.accelerator import Accelerator
from systolith.host.inference import compile_network, infer
from systolith.host.model_device import ModelDevice
from systolith.host.network import FullyConnected, Network, NetworkError, Quantisation

UNIT = Quantisation(scale=1.0, zero_point=0)


def network_of(shape, *layers):
    return Network(layers=layers, input_shape=shape, input=UNIT, output=UNIT)


def plain_conv(x, layer):
    """The definition, output by output."""
    (top, bottom), (left, right) = layer.padding
    ky, kx, _, filters = layer.weights.shape
    padded = np.pad(x.astype(int) - layer.zero_in, ((0, 0), (top, bottom), (left, right), (0, 0)))
    span = (ky - 1) * layer.dilation[0] + 1, (kx - 1) * layer.dilation[1] + 1
    rows, columns = ((padded.shape[i + 1] - span[i]) // layer.stride[i] + 1 for i in (0, 1))
    acc = np.zeros((len(x), rows, columns, filters), np.int64)
    for y, column, j, i in np.ndindex(rows, columns, ky, kx):
        pixel = padded[:, y * layer.stride[0] + j * layer.dilation[0], column * layer.stride[1] + i * layer.dilation[1]]
        acc[:, y, column] += pixel @ layer.weights[j, i].astype(int)
    return requantise(acc + layer.bias, layer.multiplier, layer.shift, layer.zero_out, layer.low, layer.high)


@pytest.mark.parametrize("seed", range(5))
def test_reference_is_the_definition(seed):
    rng = np.random.default_rng(seed)
    layer = random_conv(rng, (3, 2), 4, 5, zero_in=int(rng.integers(-128, 128)), zero_out=3, stride=(2, 1), dilation=(1, 2),
                        padding=((1, 0), (2, 2)))
    x = rng.integers(-128, 128, (2, 7, 6, 4), np.int8)
    np.testing.assert_array_equal(network_of((7, 6, 4), layer).reference(x), plain_conv(x, layer))


def test_fully_connected_is_a_product():
    rng = np.random.default_rng(0)
    layer = random_dense(rng, 24, 5, zero_in=9)
    x = rng.integers(-128, 128, (3, 2, 3, 4), np.int8)
    acc = (x.reshape(3, 24).astype(int) - 9) @ layer.weights.astype(int) + layer.bias
    expected = requantise(acc, layer.multiplier, layer.shift, layer.zero_out, layer.low, layer.high)
    np.testing.assert_array_equal(network_of((2, 3, 4), layer).reference(x).reshape(3, 5), expected)


def test_memory_map_has_no_overlap():
    rng = np.random.default_rng(1)
    config = resolve({"memory": {"bus_bits": 128, "activation_kib": 2}, "array": {"rows": 4, "cols": 4}})
    compiled = compile_network(random_network(rng), config, 5)
    places = sorted(zip(compiled.bases, compiled.sizes, strict=True))
    assert all(base % 16 == 0 for base in compiled.bases)
    assert all(a + size <= b for (a, size), (b, _) in itertools.pairwise(places))
    assert compiled.sizes[0] == 4 * pack(compiled.commands).size and compiled.memory_bytes == sum(places[-1])


@pytest.mark.parametrize("memory_kib", [64, 6])
def test_inference_splits_what_does_not_fit(memory_kib):
    rng = np.random.default_rng(2)
    network = network_of((6, 6, 3), random_conv(rng, (3, 3), 3, 8, padding=((1, 1), (1, 1))), random_dense(rng, 288, 7))
    x = rng.integers(-128, 128, (37, 6, 6, 3), np.int8)
    manifest = Manifest(config=resolve({"array": {"rows": 8, "cols": 8}}))
    with Accelerator(ModelDevice(manifest, memory_bytes=memory_kib * 1024), manifest) as accelerator:
        result = infer(accelerator, network, x)
    np.testing.assert_array_equal(result.output, network.reference(x))
    assert (result.counters["programs"] > 1) == (memory_kib == 6)
    assert result.counters["macs"] == 37 * network.macs <= result.counters["macs_issued"]


@pytest.mark.parametrize("seed", range(3))
def test_inference_by_products(seed):
    """On the smallest machine, which has no padding: bit for bit the same, and every MAC is counted."""
    rng = np.random.default_rng(seed)
    padding = tuple(tuple(int(side) for side in rng.integers(0, 3, 2)) for _ in range(2))
    conv = random_conv(rng, (3, 2), 3, 5, zero_in=int(rng.integers(-128, 128)), zero_out=4, stride=(2, 1), dilation=(1, 2), padding=padding)
    rows, columns = network_of((7, 6, 3), conv).shapes[0].output_size
    network = network_of((7, 6, 3), conv, random_dense(rng, rows * columns * 5, 7, zero_in=4))
    x = rng.integers(-128, 128, (3, 7, 6, 3), np.int8)
    manifest = Manifest(config=resolve(get_board("icebreaker").settings))
    with Accelerator(ModelDevice(manifest, memory_bytes=1 << 14), manifest) as accelerator:
        result = infer(accelerator, network, x)
        wide = dataclasses.replace(conv, weights=np.int16(2) * np.clip(conv.weights, -127, 127))
        with pytest.raises(NetworkError, match=r"^weights must be int8 where control\.padding is false; "):
            infer(accelerator, network_of((7, 6, 3), wide), x)
    np.testing.assert_array_equal(result.output, network.reference(x))
    assert result.counters["macs"] == 3 * network.macs <= result.counters["macs_issued"]


def test_inference_needs_memory_for_one_input():
    rng = np.random.default_rng(3)
    network = network_of((4, 4, 4), random_dense(rng, 64, 7))
    manifest = Manifest(config=resolve({}))
    with Accelerator(ModelDevice(manifest, memory_bytes=256), manifest) as accelerator:
        with pytest.raises(NetworkError, match=r"^device memory must hold \d+ bytes for one input, not 256$"):
            infer(accelerator, network, np.zeros((2, 4, 4, 4), np.int8))


def test_errors():
    rng = np.random.default_rng(4)
    conv, dense = random_conv(rng, (3, 3), 2, 4, zero_out=5), random_dense(rng, 16, 3, zero_in=5)
    assert network_of((4, 4, 2), conv, dense).macs == 4 * 9 * 2 * 4 + 16 * 3
    for wrong, message in (
            (lambda: network_of((4, 4, 2)), "a network must have at least one layer"),
            (lambda: network_of((4, 4, 3), conv), "input channels must be 2, not 3"),
            (lambda: network_of((5, 4, 2), conv, dense), "inputs must be 16, not 24"),
            (lambda: network_of((4, 4, 2), conv, dataclasses.replace(dense, zero_in=6)),
             "zero point into layer 1 must be 5, as layer 0 gives it, not 6"),
            (lambda: dataclasses.replace(dense, bias=np.zeros(2, np.int32)), "bias must have one value per output, 3, not shape (2,)"),
            (lambda: dataclasses.replace(conv, weights=np.zeros((3, 3, 2, 4))),
             "weights must be int8 of shape (ky, kx, in, out), not float64 (3, 3, 2, 4)"),
            (lambda: FullyConnected(weights=np.zeros(3, np.int8), bias=conv.bias, multiplier=conv.bias, shift=conv.bias),
             "weights must be int8 of shape (in, out), not int8 (3,)"),
            (lambda: network_of((4, 4, 2), conv).reference(np.zeros((1, 4, 4, 3), np.int8)),
             "input must be int8 of shape (B, 4, 4, 2), not int8 (1, 4, 4, 3)"),
            (lambda: compile_network(network_of((4, 4, 2), conv), resolve({}), 2).write(print, np.zeros((1, 4, 4, 2), np.int8)),
             "input must be int8 of shape (2, 4, 4, 2), not int8 (1, 4, 4, 2)")):
        with pytest.raises(NetworkError) as error:
            wrong()
        assert str(error.value) == message
