"""Each kind of multiplier and each dataflow in the compiled RTL: products, random programs, networks, and the cycle model's cycles."""

import dataclasses
import functools

import numpy as np
import pytest
from devices import generated, run_words, simulated
from graphs import random_graph
from systolith.arch.commands import pack
from systolith.arch.cycles import Memory, predict_cycles
from systolith.arch.manifest import Manifest
from systolith.arch.model import Model
from systolith.arch.random_programs import fill_program, random_program
from systolith.arch.registers import ErrorCode
from systolith.arch.settings import resolve
from systolith.arch.tiling import PlanError
from systolith.host import digits
from systolith.host.accelerator import Accelerator
from systolith.host.compile import compile_graph
from systolith.host.inference import infer
from systolith.host.quantise import quantise

LATENCY, MEMORY = 20, 1 << 20
ARRAYS = {
    "fast-inner-product": {"rows": 6, "cols": 4, "multiplier": "fast-inner-product"},
    "packed": {"rows": 5, "cols": 6, "multiplier": "packed", "block_rows": 2},
    "packed-odd": {"rows": 4, "cols": 7, "multiplier": "packed"},
    "packed-rest-lut": {"rows": 3, "cols": 6, "multiplier": "packed", "dsp_cols": 3},
    "lut": {"rows": 8, "cols": 3, "multiplier": "lut"},
    "single-rest-lut": {"rows": 3, "cols": 5, "multiplier": "single", "dsp_cols": 2},
    "os": {"rows": 8, "cols": 6, "dataflow": "os"},
    "os-rest-lut": {"rows": 5, "cols": 7, "dataflow": "os", "dsp_cols": 3},
    "pairs-rest-lut": {"rows": 8, "cols": 6, "multiplier": "fast-inner-product", "dsp_cols": 4, "block_rows": 2},
}


@functools.cache
def trained():
    """(data, quantised network), once for all arrays."""
    data = digits.load()
    return data, quantise(digits.train(data), data.train_images)


@pytest.fixture(scope="module", params=ARRAYS)
def accelerator(request):
    memory = {"activation_kib": 8, "weight_kib": 8, "accumulator_rows": 128}
    config = resolve({"array": ARRAYS[request.param], "memory": memory})
    device = simulated(config, latency=LATENCY, memory_bytes=MEMORY, max_cycles=20_000_000)
    with Accelerator(device, Manifest.read(generated(config)), timeout_s=120) as made:
        yield made


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (20, 30, 40), (64, 48, 97), (97, 31, 103)])
def test_products_and_their_cycles(accelerator, m, n, k):
    seed = m
    print(f"seed {seed}")
    rng, low = np.random.default_rng(seed), accelerator.config.array.weight_limits[0]
    for w in (rng.integers(low, 128, (k, n), np.int8), rng.choice(np.array([low, 127], np.int8), (k, n))):
        a = rng.choice(np.array([-128, 127, *rng.integers(-128, 128, 9)], np.int8), (m, k))
        np.testing.assert_array_equal(accelerator.matmul(a, w), a.astype(np.int32) @ w.astype(np.int32))
        predicted = [predict_cycles(accelerator.config, plan.program, memory=Memory(latency=LATENCY), bases=bases)
                     for plan, bases in zip(accelerator.plans, accelerator.bases, strict=True)]
        cycles = accelerator.counters["cycles"]
        assert abs(sum(part.cycles for part in predicted) - cycles) <= max(8, 0.01 * cycles)


def test_random_programs(accelerator):
    """Byte for byte as on the functional model, −128 among what is by chance a weight included; transposed tiles too."""
    config, region_bytes, dump, program = accelerator.config, 4096, 0x4000, 0x20000
    bases = {1: (0x1000, region_bytes), 2: (dump, 4 * config.memory.accumulator_rows * config.array.cols)}
    memory = np.zeros(MEMORY, np.uint8)
    model = Model(config, memory)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        # What is on chip from before is another's, so the first program fills it.
        words = pack(random_program(rng, config, commands=40, region_bytes=region_bytes) if seed else
                     fill_program(config, region_bytes=region_bytes))
        memory[:] = rng.integers(0, 256, MEMORY, dtype=np.uint8)
        memory[program:program + 4 * len(words)] = words.astype("<u4").view(np.uint8)
        accelerator.device.write_memory(0, memory)
        regions = [(program, 4 * len(words)), bases[1], bases[2]]
        expected = model.run(bases=[start for start, _ in regions], sizes=[size for _, size in regions], program_words=len(words),
                             seed=seed)
        outcome = run_words(accelerator.device, config, words, bases, program=program)
        assert (expected.error, outcome.error) == (ErrorCode.NONE, ErrorCode.NONE), f"seed {seed}"
        wrong = np.flatnonzero(accelerator.device.read_memory(0, MEMORY) != memory)
        assert not wrong.size, f"seed {seed}: {wrong.size} bytes differ, the first at {wrong[0]:#x}"


@pytest.mark.parametrize("seed", range(4))
def test_random_graphs(accelerator, seed):
    """Convolutions, pools, sums; and products of two results, which packed columns refuse."""
    rng, low = np.random.default_rng(100 + seed), accelerator.config.array.weight_limits[0]
    graph = random_graph(rng, operators=7, side=9, channels=14, batch=2)
    graph = dataclasses.replace(graph, nodes=tuple(
        dataclasses.replace(node, operator=dataclasses.replace(node.operator, weights=np.maximum(node.operator.weights, low)))
        if hasattr(node.operator, "weights") else node for node in graph.nodes))
    arrays = [rng.integers(-128, 128, graph.tensors[key].shape, np.int8) for key in graph.inputs]
    try:
        compiled = compile_graph(graph, accelerator.config)
    except PlanError as error:
        pytest.skip(f"this accelerator cannot: {error}")

    def run(program, inputs):
        device = accelerator.device
        program.write(device.write_memory, *inputs)
        accelerator.run(program.words, bases=program.bases, sizes=program.sizes)
        return program.read(device.read_memory)

    for output, expected in zip(compiled.run(run, arrays), graph.reference(*arrays), strict=True):
        np.testing.assert_array_equal(output, expected)


def test_digits(accelerator):
    """64 real images through the demo network."""
    data, network = trained()
    x = network.input.quantise(data.test_images[:64])
    result = infer(accelerator, network, x)
    np.testing.assert_array_equal(result.output, network.reference(x))
    assert digits.accuracy(result.output, data.test_labels[:64]) > 0.9
