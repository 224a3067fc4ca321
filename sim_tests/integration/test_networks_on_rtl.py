"""Networks and attention heads on the compiled RTL: byte for byte what the NumPy references say, for arrays that are not square."""

import functools

import numpy as np
import pytest
from devices import generated, simulated
from graphs import random_graph
from networks import random_head, random_network
from systolith.arch.manifest import Manifest
from systolith.arch.settings import resolve
from systolith.arch.tiling import PlanError
from systolith.host import digits
from systolith.host.accelerator import Accelerator
from systolith.host.attention import compile_attention
from systolith.host.compile import compile_graph
from systolith.host.inference import execute, infer
from systolith.host.network import Network
from systolith.host.quantise import quantise

ARRAYS = [(3, 5), (5, 3), (8, 8)]


@functools.cache
def trained():
    """(data, quantised network), once for all arrays."""
    data = digits.load()
    return data, quantise(digits.train(data), data.train_images)


@pytest.fixture(scope="module", params=ARRAYS, ids=lambda shape: f"{shape[0]}x{shape[1]}")
def accelerator(request):
    rows, cols = request.param
    config = resolve({"array": {"rows": rows, "cols": cols}, "memory": {"activation_kib": 8, "weight_kib": 8, "accumulator_rows": 128}})
    device = simulated(config, latency=11, max_cycles=20_000_000)
    with Accelerator(device, Manifest.read(generated(config)), timeout_s=120) as made:
        yield made


@pytest.mark.parametrize("seed", range(8))
def test_random_networks(accelerator, seed):
    rng = np.random.default_rng(seed)
    network: Network = random_network(rng, side=9, channels=12, filters=14)
    x = rng.integers(-128, 128, (int(rng.integers(1, 5)), *network.input_shape), np.int8)
    result = infer(accelerator, network, x)
    np.testing.assert_array_equal(result.output, network.reference(x))
    # EXECUTE is busy once per row that it streams: padding is injected, never skipped.
    busy = result.counters["stalls"]["execute"]["busy"]
    assert busy * accelerator.config.macs_per_cycle == result.counters["macs_issued"]


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs(accelerator, seed):
    """Depthwise convolutions, pools, sums, products of two results, and everything between them."""
    rng = np.random.default_rng(100 + seed)
    graph = random_graph(rng, operators=7, side=9, channels=14, batch=2)
    arrays = [rng.integers(-128, 128, graph.tensors[key].shape, np.int8) for key in graph.inputs]
    try:
        compiled = compile_graph(graph, accelerator.config)
    except PlanError as error:
        pytest.skip(f"the accelerator is too small: {error}")

    def run(program, inputs):
        device = accelerator.device
        program.write(device.write_memory, *inputs)
        accelerator.run(program.words, bases=program.bases, sizes=program.sizes)
        return program.read(device.read_memory)

    for output, expected in zip(compiled.run(run, arrays), graph.reference(*arrays), strict=True):
        np.testing.assert_array_equal(output, expected)


@pytest.mark.parametrize("tokens, features, width", [(16, 12, 8), (11, 7, 13), (1, 3, 2)])
def test_attention_head(accelerator, tokens, features, width):
    """Q·Kᵀ and P·V with Q, K, V made on the device, K through the transposer."""
    rng = np.random.default_rng(tokens)
    head = random_head(rng, tokens, features, width)
    x = rng.integers(-128, 128, (tokens, features), np.int8)
    compiled = compile_attention(head, accelerator.config, tokens)
    np.testing.assert_array_equal(execute(accelerator, compiled, x).output, head.reference(x))


def test_digits(accelerator):
    """64 real images through the demo network."""
    data, network = trained()
    x = network.input.quantise(data.test_images[:64])
    result = infer(accelerator, network, x)
    np.testing.assert_array_equal(result.output, network.reference(x))
    assert digits.accuracy(result.output, data.test_labels[:64]) > 0.9
