"""Parts of the planner, each against a plain account of what it must do."""

import numpy as np
import pytest
from systolith.arch.commands import Bank, Execute, Load, Store
from systolith.arch.lifetimes import Bands, Life, Segment, arrange
from systolith.arch.plan_fetch import Dimension, fetch_packed, fetch_plain, fill_packed, merge
from systolith.arch.plan_order import Item, Order
from systolith.arch.program import Region
from systolith.arch.settings import resolve
from systolith.arch.tiling import ConvShape, cuts, window
from systolith.arch.views import Box, Extent, View
from systolith.host.arrange import Folding, diagonal, folded_shape, folded_weights, packed_weights
from systolith.host.constants import Constants
from systolith.host.folding import choose_packing
from systolith.host.operators import conv_patches

ZERO = 7


def conv(x, weights, **geometry):
    """Σ x·w in int64 by the operator's own windows, padding being ``ZERO``."""
    shape = ConvShape(height=x.shape[1], width=x.shape[2], channels=x.shape[3], filters=weights.shape[3], kernel=weights.shape[:2],
                      **geometry)
    patches = conv_patches(x.astype(np.int64), shape, ZERO)
    return shape, patches.reshape(*patches.shape[:3], -1) @ weights.reshape(-1, weights.shape[3]).astype(np.int64)


@pytest.mark.parametrize("stride, padding, kernel, dilation", [(1, (1, 1), 3, 1), (2, (0, 1), 3, 1), (1, (2, 2), 3, 2), (2, (0, 0), 2, 1)])
@pytest.mark.parametrize("inputs, outputs", [(1, 2), (2, 2), (2, 1), (4, 2), (3, 3)])
def test_folded_convolutions(inputs, outputs, stride, padding, kernel, dilation):
    """The same sums over neighbouring pixels side by side, the padding's value outside included."""
    rng = np.random.default_rng(inputs * 10 + outputs)
    x = rng.integers(-128, 128, (1, 5, 24, 2), np.int8)
    weights = rng.integers(-128, 128, (2, kernel, 2, 3), np.int8)
    shape, expected = conv(x, weights, stride=(1, stride), padding=((1, 0), padding), dilation=(1, dilation))
    folding = Folding(inputs=inputs, outputs=outputs)
    folded = folded_shape(shape, folding)
    if folded is None:
        assert shape.output_size[1] % outputs or stride * outputs % inputs
        return
    made = folded_weights(weights, shape, folding)
    padded = np.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)), constant_values=ZERO).reshape(1, 6, 24 // inputs, 2 * inputs)
    got = conv(padded, made, stride=(1, folded.stride[1]), padding=((0, 0), folded.padding[1]))[1][:, :, :shape.output_size[1] // outputs]
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)


@pytest.mark.parametrize("kernel, stride, padding, pixels", [
    ((3, 3), (1, 1), ((1, 1), (1, 1)), 1), ((3, 3), (2, 2), ((0, 1), (0, 1)), 2), ((10, 4), (2, 2), ((4, 5), (1, 1)), 1),
    ((5, 3), (1, 2), ((2, 2), (1, 2)), 1), ((2, 2), (2, 2), ((0, 0), (0, 0)), 1)])
@pytest.mark.parametrize("channels", [1, 2])
def test_packed_images(kernel, stride, padding, pixels, channels):
    """What LOAD brings in for a first layer, times the weights for it, is the convolution: runs, borders, lines above and below."""
    rng = np.random.default_rng(kernel[0])
    config = resolve({"array": {"rows": 16, "cols": 16}})
    x = rng.integers(-128, 128, (2, 20, 12, channels), np.int8)
    weights = rng.integers(-128, 128, (*kernel, channels, 3), np.int8)
    shape, expected = conv(x, weights, stride=stride, padding=padding)
    constants = Constants(config)
    packed = choose_packing(config, shape, pixels, ZERO, True, constants)
    if packed is None:
        pytest.skip("packing does not pay here")
    packing, geometry = packed
    box = Box(0, 2, 0, geometry.height, 0, geometry.width)
    rows = np.full((box.pixels, 16), 99, np.int8)
    view = View(0, box, 0, 1, True)
    banks = {1: constants.block.view(np.int8), 2: x.ravel()}
    for load in [*fill_packed(packing, 1, view, box), *fetch_packed(packing, 2, 0, view, box)]:
        place(load, banks, rows)
    lanes = packing.lines * packing.run
    image = rows[:, :lanes].reshape(2, geometry.height, geometry.width, lanes)
    made = packed_weights(weights, packing, stride[1], pixels)
    got = conv(image, made, stride=geometry.stride, padding=geometry.padding, dilation=geometry.dilation)[1]
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)


def place(load, banks, rows):
    """A LOAD, run by run, into ``rows``."""
    flat, width = rows.reshape(-1), rows.shape[1]
    assert load.bank == Bank.ACTIVATION
    for j in range(load.count2):
        for i in range(load.count1):
            start = load.offset + i * load.stride1 + j * load.stride2
            at = (load.row + i * load.row_stride1 + j * load.row_stride2) * width + load.lane
            assert 0 <= start <= len(banks[load.base]) - load.run
            flat[at:at + load.run] = banks[load.base][start:start + load.run]


@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize("channels", [1, 3, 4, 8, 10])
@pytest.mark.parametrize("box", [Box(0, 2, 0, 4, 0, 5), Box(1, 1, 1, 2, 0, 5), Box(0, 1, 0, 3, 2, 2)])
def test_plain_loads(box, channels, tiled):
    """Every pixel's channel tiles where the view says that they are."""
    rng = np.random.default_rng(channels)
    extent, depth = Extent(2, 4, 5, channels), -(-channels // 4)
    x = rng.integers(-128, 128, (2, 4, 5, channels), np.int8)
    rows = np.full((box.pixels * depth, 4), 99, np.int8)
    view = View(0, box, 0, depth, tiled)
    for load in fetch_plain(4, extent, 2, 0, view, box, 0, depth):
        place(load, {2: x.ravel()}, rows)
    for b, y, c, tile in np.ndindex(box.images, box.rows, box.columns, depth):
        here = x[box.image + b, box.y + y, box.x + c, 4 * tile:4 * tile + 4]
        np.testing.assert_array_equal(rows[view.address(box.image + b, box.y + y, box.x + c, tile), :len(here)], here)
    assert sorted(row for start, stop in view.rows(box, 0, depth) for row in range(start, stop)) == list(range(box.pixels * depth))


def test_diagonal_weights():
    rng = np.random.default_rng(0)
    weights = rng.integers(-128, 128, (2, 1, 7, 3), np.int8)   # output 3·c + j
    tile = diagonal(weights, 13, 4, 4)                         # channels 4, 5: the second channel tile of 4 rows, lanes 0 and 1
    assert tile.shape == (2, 1, 2, 4)
    for column, output in enumerate(range(13, 17)):
        channel, each = divmod(output, 3)
        expected = np.zeros((2, 1, 2), np.int8)
        expected[:, :, channel - 4] = weights[:, :, channel, each]
        np.testing.assert_array_equal(tile[..., column], expected)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_alive_at_once_shares_rows(seed):
    rng = np.random.default_rng(seed)
    lives = []
    for key in range(int(rng.integers(1, 12))):
        edges = np.cumsum(rng.integers(1, 30, int(rng.integers(1, 5))))
        firsts = rng.integers(0, 40, len(edges))
        lives.append(Life(key, int(edges[-1]), tuple(
            Segment(int(stop - size), int(stop), int(first), int(first + rng.integers(0, 10)))
            for stop, size, first in zip(edges, np.diff(edges, prepend=0), firsts, strict=True))))
    places = arrange(lives)
    for step in range(50):
        used = [row for life in lives for s in life.segments if s.first <= step <= s.last
                for row in range(places[life.key] + s.start, places[life.key] + s.stop)]
        assert len(used) == len(set(used))
    assert max(places[life.key] + life.size for life in lives) <= sum(life.size for life in lives)


def test_a_tensor_grows_where_the_one_before_dies():
    """Each step reads a band of one and writes the same band of the next, which needs the rows of two bands more."""
    pixels = 640
    one, two = Bands(pixels, 1, True), Bands(pixels, 1, True)
    for step in range(10):
        one.touch(step, step * 64, (step + 1) * 64, 0, 1)
        one.touch(0, step * 64, (step + 1) * 64, 0, 1)
        two.touch(step, step * 64, (step + 1) * 64, 0, 1)
        two.touch(10, step * 64, (step + 1) * 64, 0, 1)
    lives = [one.life("one"), two.life("two")]
    places = arrange(lives)
    assert max(places[life.key] + life.size for life in lives) == pixels + 64


def items_of(*commands):
    """Items of weight rows: ("L", row) loads a row, ("E", row) reads it, ("S", row) stores an accumulator row."""
    made = []
    for kind, row in commands:
        region = [Region("w", row, row + 1)]
        match kind:
            case "L":
                made.append(Item(Load(bank=Bank.WEIGHT, run=16, row=row), [], region, 0))
            case "E":
                made.append(Item(Execute(weight_row=row), region, [], 0))
            case _:
                made.append(Item(Store(row=row), [Region("a", row, row + 1)], [], 0))
    return made


@pytest.mark.parametrize("seed", range(10))
def test_orders_mean_the_same(seed):
    """LOADs stay in order, never behind what needs them, never before what must be done with the rows that they overwrite."""
    rng = np.random.default_rng(seed)
    items = items_of(*[("LES"[rng.integers(3)], int(rng.integers(6))) for _ in range(80)])
    order = Order(resolve({}), items)
    for changed in (order.hoisted(1), order.hoisted(9), order.timed(0, 2), order.timed(2, 1)):
        assert [item for item in changed if not isinstance(item.command, Load)] == order.others
        assert [item for item in changed if isinstance(item.command, Load)] == [item for item, _ in order.loads]
        at = {id(item): place for place, item in enumerate(changed)}
        for i, one in enumerate(items):
            for two in items[i + 1:]:
                if {type(one.command), type(two.command)} == {Load, Execute} and (one.writes + one.reads) == (two.writes + two.reads):
                    assert at[id(one)] < at[id(two)]


def test_cuts_and_merged_loops():
    assert cuts(10, 4, [5]) == [(0, 4), (4, 1), (5, 4), (9, 1)]
    assert cuts(3, 5) == [(0, 3)]
    assert merge([Dimension(5, 2, 1), Dimension(1, 9, 9), Dimension(3, 10, 5), Dimension(2, 31, 15)]) == [
        Dimension(15, 2, 1), Dimension(2, 31, 15)]


def test_windows_are_clipped():
    shape = ConvShape(height=6, width=5, channels=1, filters=1, kernel=(3, 2), stride=(2, 1), padding=((1, 1), (1, 0)))
    assert window(shape, Box(0, 1, 0, 2, 0, 5)) == Box(0, 1, 0, 4, 0, 5)
    assert window(shape, Box(0, 1, 0, 1, 0, 1), (0, 1)) == Box(0, 1, 0, 0, 0, 1)
    assert window(shape, Box(2, 1, 2, 1, 4, 1), (1, 2)) == Box(2, 1, 4, 2, 3, 2)


def test_constants_are_there_once():
    constants = Constants(resolve({}))
    first = constants.weights(np.arange(5, dtype=np.int8))
    assert constants.weights(np.ones(3, np.int8)) == 8 and constants.weights(np.arange(5, dtype=np.int8)) == first == 0
    assert constants.block.size == 16
