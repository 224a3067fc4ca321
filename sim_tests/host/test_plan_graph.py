"""Graph planner on chains of convolutions: every plan, run by the functional model, equals the reference; its tokens are just enough."""

import dataclasses
import itertools

import numpy as np
import pytest
from networks import ARRAYS, random_config, random_conv, random_dense, random_network, run_on_model
from systolith.arch.commands import PEERS, Bank, Engine, Execute, Load, Store
from systolith.arch.registers import ErrorCode
from systolith.arch.rings import Ring
from systolith.arch.settings import resolve
from systolith.arch.tiling import ConvShape, PlanError, chunks, tiles
from systolith.host.arrange import fold_zero_point
from systolith.host.inference import compile_network
from systolith.host.network import Network, Quantisation

UNIT = Quantisation(scale=1.0, zero_point=0)


def network_of(shape, *layers):
    return Network(layers=layers, input_shape=shape, input=UNIT, output=UNIT)


def check(network, config, images, seed=0):
    x = np.random.default_rng(seed).integers(-128, 128, (images, *network.input_shape), np.int8)
    compiled = compile_network(network, config, images)
    result, output = run_on_model(compiled, x, seed=seed)
    assert result.error is ErrorCode.NONE and not result.hazards, (result.error, [str(h) for h in result.hazards[:3]])
    np.testing.assert_array_equal(output, network.reference(x))
    assert result.macs_issued == compiled.macs_issued
    return compiled


def config_of(rows, cols, **memory):
    return resolve({"array": {"rows": rows, "cols": cols}, "memory": memory})


@pytest.mark.parametrize("rows, cols", ARRAYS)
def test_every_geometry_on_every_array(rows, cols):
    """Stride, dilation, uneven padding, channels and filters that are no multiple of anything."""
    rng = np.random.default_rng(rows * 100 + cols)
    layer = random_conv(rng, (3, 2), 7, 9, zero_in=-5, zero_out=17, stride=(2, 1), dilation=(1, 2), padding=((0, 2), (3, 1)))
    check(network_of((8, 7, 7), layer), config_of(rows, cols), 3)


@pytest.mark.parametrize("seed", range(24))
def test_random_networks(seed):
    """Any layers on any accelerator, memories so small that everything is cut included."""
    rng = np.random.default_rng(seed)
    config, network = random_config(rng), random_network(rng)
    try:
        check(network, config, int(rng.integers(1, 8)), seed)
    except PlanError as error:
        assert "activation_kib must hold two windows" in str(error)


def test_kernels_larger_than_a_nest_counts():
    rng = np.random.default_rng(1)
    check(network_of((1, 300, 2), random_dense(rng, 600, 3)), config_of(4, 4), 2)
    check(network_of((300, 1, 1), random_dense(rng, 300, 3)), config_of(4, 4), 2)


def test_padding_injects_the_zero_point():
    """A window that is mostly padding gives bias and the few taps inside: exact only if padding is the zero point."""
    rng = np.random.default_rng(2)
    layer = random_conv(rng, (5, 5), 3, 4, zero_in=-128, padding=((4, 4), (4, 4)))
    compiled = check(network_of((1, 1, 3), layer), config_of(4, 4), 2)
    assert all(c.pad == -128 for c in compiled.commands if isinstance(c, Execute))


def test_images_larger_than_the_scratchpad():
    """Each tile loads its window only; windows overlap by the halo."""
    rng = np.random.default_rng(3)
    config = config_of(4, 4, activation_kib=1)
    compiled = check(network_of((30, 40, 4), random_conv(rng, (3, 3), 4, 5, padding=((1, 1), (1, 1)))), config, 1)
    read = sum(c.run * c.count1 * c.count2 for c in compiled.commands if isinstance(c, Load) and c.bank == Bank.ACTIVATION)
    assert config.activation_rows < 30 * 40 < read // 4 < 30 * 40 * 3


def test_chain_stays_on_chip():
    """Inner tensors never go to memory, each weight is loaded once, and several images go together."""
    rng = np.random.default_rng(4)
    network = network_of((8, 8, 1), random_conv(rng, (3, 3), 1, 16, padding=((1, 1), (1, 1))),
                         random_conv(rng, (3, 3), 16, 32, stride=(2, 2), padding=((0, 1), (0, 1))), random_dense(rng, 512, 10))
    compiled = check(network, config_of(16, 16), 40)
    assert compiled.sizes[4] == 0
    loads = [c for c in compiled.commands if isinstance(c, Load)]
    weights = sum(c.run * c.count1 for c in loads if c.bank == Bank.WEIGHT)
    # Once each, but for rows of zeros where kernel rows are packed in pairs.
    assert weights == sum(layer.weights.size for layer in network.layers) + 3 * 16
    # The first layer's nine taps of one channel are packed into two tiles.
    assert compiled.macs_issued == 40 * 16 * 16 * (64 * 2 + 16 * 9 * 2 + 32)


def test_groups_and_tiles_take_turns():
    """The next group of images loads beside the one in use, and the next tile fills the other accumulator half."""
    rng = np.random.default_rng(6)
    config = config_of(8, 8, activation_kib=2, accumulator_rows=64)
    network = network_of((5, 5, 8), random_conv(rng, (3, 3), 8, 8), random_conv(rng, (2, 2), 8, 3))
    compiled = check(network, config, 20)
    rows = [c.row for c in compiled.commands if isinstance(c, Load) and c.bank == Bank.ACTIVATION]
    assert all(abs(a - b) >= 25 for a, b in itertools.pairwise(rows)), rows  # an image is 25 rows
    halves = [c.row // config.half_rows for c in compiled.commands if isinstance(c, Store)]
    assert abs(halves.count(0) - halves.count(1)) <= 2


def test_memory_between_segments():
    """A tensor that does not fit beside the next one goes through memory, in order."""
    rng = np.random.default_rng(5)
    network = network_of((12, 12, 8), random_conv(rng, (3, 3), 8, 32, padding=((1, 1), (1, 1))), random_conv(rng, (1, 1), 32, 8),
                         random_conv(rng, (2, 2), 8, 4, stride=(2, 2)))
    for images in (1, 3):
        compiled = check(network, config_of(4, 4, activation_kib=4), images)
        assert compiled.sizes[4] > 0


@pytest.mark.parametrize("seed", range(3))
def test_every_token_is_needed(seed):
    """Without any one wait or post the model finds a hazard, a deadlock or a token left over."""
    rng = np.random.default_rng(seed)
    network = network_of((6, 6, 3), random_conv(rng, (3, 3), 3, 9, padding=((1, 1), (1, 1))), random_conv(rng, (2, 2), 9, 5))
    config = config_of(4, 4, activation_kib=1, weight_kib=1)
    x = rng.integers(-128, 128, (2, 6, 6, 3), np.int8)
    compiled = compile_network(network, config, 2)
    pairs = [(index, bit) for index, command in enumerate(compiled.commands) for bit in (0, 1) if command.wait >> bit & 1]
    assert pairs
    for index, bit in rng.permutation(pairs)[:12]:
        commands = list(compiled.commands)
        taker = commands[index]
        giver = PEERS[taker.engine][bit]
        # The matching give: as many gives of the pair stand before it as takes stand before the take.
        order = sum(c.engine == taker.engine and c.wait >> bit & 1 for c in commands[:index])
        back = PEERS[giver].index(taker.engine)
        gives = [i for i, c in enumerate(commands) if c.engine == giver and c.post >> back & 1]
        commands[index] = dataclasses.replace(taker, wait=taker.wait & ~(1 << bit))
        commands[gives[order]] = dataclasses.replace(commands[gives[order]], post=commands[gives[order]].post & ~(1 << back))
        result, _ = run_on_model(compiled, x, commands=commands)
        assert result.hazards or result.error, f"token {index}.{bit} is not needed"


def test_fold_zero_point():
    weights = np.arange(-6, 6, dtype=np.int8).reshape(2, 3, 1, 2)
    bias = np.array([5, -7], np.int32)
    np.testing.assert_array_equal(fold_zero_point(bias, weights, -3), bias + 3 * weights.reshape(-1, 2).sum(axis=0))


@pytest.mark.parametrize("seed", range(8))
def test_tiles_cover_the_output_in_order(seed):
    rng = np.random.default_rng(seed)
    shape = ConvShape(height=int(rng.integers(3, 20)), width=int(rng.integers(3, 20)), channels=3, filters=2, kernel=(3, 2), stride=(2, 1))
    images, most, loops = int(rng.integers(1, 5)), int(rng.integers(1, 200)), int(rng.integers(1, 4))
    position = 0
    for tile in tiles(shape, images, most=most, loops=loops):
        rows, columns = shape.output_size
        assert (tile.image * rows + tile.y) * columns + tile.x == position and tile.pixels <= most
        assert tile.images == 1 or loops == 3
        assert tile.rows == 1 or loops >= 2
        position += tile.pixels
    assert position == images * shape.output_pixels


@pytest.mark.parametrize("most", [4, 5, 9, 12, 30, 59, 60, 100])
@pytest.mark.parametrize("loops", [1, 2, 3])
def test_chunks_cover_the_weights_in_order(most, loops):
    position = 0
    for chunk in chunks((3, 4), 5, 4, most=most, loops=loops):
        assert chunk.first == position and 0 < chunk.count <= most
        assert (chunk.ky_count == 1 or loops == 3) and (chunk.kx_count == 1 or loops >= 2)
        assert (chunk.ct_count - 1) * 4 + chunk.k_last == chunk.count // (chunk.ky_count * chunk.kx_count)
        position += chunk.count
    assert position == 3 * 4 * 5


def test_ring_keeps_what_it_can():
    ring = Ring(10, 8)
    assert ring.place("a", 4) == (10, True)
    assert ring.place("b", 4) == (14, True)
    assert ring.place("a", 4) == (10, False)
    assert ring.place("c", 3) == (10, True)
    assert ring.place("b", 4) == (14, False)
    assert ring.place("a", 4) == (13, True)
    assert ring.place("b", 4) == (10, True)


@pytest.mark.parametrize("changes, message", [
    ({"height": 0}, "convolution height must be from 1 to 32767, not 0"),
    ({"stride": (1, 256)}, "convolution stride must be from 1 to 255, not 256"),
    ({"kernel": (5, 1)}, "kernel must fit the padded image, not span (5, 1) over 4 × 4"),
])
def test_shape_errors(changes, message):
    with pytest.raises(PlanError) as error:
        ConvShape(**{"height": 4, "width": 4, "channels": 1, "filters": 1, **changes})
    assert str(error.value) == message


@pytest.mark.parametrize("sections, message", [
    ({"memory": {"parameter_channels": 1}, "epilogue": {"lanes": 1}}, "memory.parameter_channels must be at least array.cols, 4, not 1"),
    ({"control": {"padding": False}}, "control.padding must be true for the layers of a network")])
def test_plan_errors(sections, message):
    network = network_of((4, 4, 2), random_conv(np.random.default_rng(0), (2, 2), 2, 3))
    with pytest.raises(PlanError) as error:
        compile_network(network, resolve({"array": {"rows": 4, "cols": 4}, **sections}), 1)
    assert str(error.value) == message


def test_engines_are_all_used():
    rng = np.random.default_rng(0)
    compiled = check(network_of((4, 4, 2), random_conv(rng, (2, 2), 2, 3)), config_of(2, 2), 1)
    assert {c.engine for c in compiled.commands} == {Engine.LOAD, Engine.EXECUTE, Engine.STORE}
