# amaranth: UnusedElaboratable=no
"""The array alone: what a skewed stream of activations gives at the foot, and when."""

import re

import numpy as np
import pytest
from array_schedule import play
from systolith.arch import packed
from systolith.arch.config import ArrayConfig
from systolith.rtl.array import SystolicArray


def stream(dut, tiles, activations):
    """Back-to-back tiles, each over its block of activations, at the claimed distances: psums, shape (vectors, cols).

    tiles : list of arrays (rows, cols); activations : list of arrays (vectors, rows)
    """
    rows, cols = dut.rows, dut.cols
    events = {}

    def at(cycle, signal, value):
        events.setdefault(cycle, []).append((signal, int(value)))

    shift_from = start = 0
    starts = []
    for tile, block in zip(tiles, activations, strict=True):
        for i, k in enumerate(reversed(range(rows))):
            for c, delay in enumerate(dut.col_delay):
                at(shift_from + i + delay, dut.w[c], tile[k, c])
                at(shift_from + i + delay, dut.w_shift[c], 1)
        start = max(start, shift_from + rows - 1 + dut.shift_to_swap_cycles)
        for r, delay in enumerate(dut.row_delay):  # beside zeros, or the first vector
            at(start + delay, dut.swap[r], 1)
        shift_from = max(shift_from + rows, start + dut.swap_to_shift_cycles)
        start += dut.swap_cycles
        for i, vector in enumerate(block):
            for r, delay in enumerate(dut.row_delay):
                at(start + i + delay, dut.a[r], vector[r])
            starts.append(start + i)
        start += len(block)
    wanted = {(t + dut.latency_cycles + delay, c): (i, c) for i, t in enumerate(starts) for c, delay in enumerate(dut.col_delay)}
    signals = [*dut.a, *dut.swap, *dut.w, *dut.w_shift]
    result = play(dut, signals, events, wanted)
    return np.array([[result[i, c] for c in range(cols)] for i in range(len(starts))])


SHAPES = [(rows, cols, {"block_rows": block_rows}) for rows, cols, block_rows in (
    (1, 1, 0), (1, 4, 0), (4, 1, 0), (3, 5, 0), (5, 3, 0), (4, 4, 0), (1, 2, 1), (5, 3, 2), (4, 2, 1), (6, 2, 4))]
SHAPES += [(rows, cols, {"multiplier": "fast-inner-product", "block_rows": block_rows}) for rows, cols, block_rows in (
    (2, 1, 0), (2, 4, 0), (4, 1, 0), (4, 5, 0), (6, 3, 0), (2, 2, 1), (8, 3, 2), (8, 2, 1), (10, 2, 4))]
SHAPES += [(rows, cols, {"multiplier": "packed", "block_rows": block_rows}) for rows, cols, block_rows in (
    (1, 2, 0), (4, 1, 0), (3, 5, 0), (5, 4, 0), (1, 4, 1), (5, 5, 2), (8, 2, 4), (17, 3, 0))]
SHAPES += [(rows, cols, {"multiplier": "fast-inner-product", "side_dsp": True, **more}) for rows, cols, more in (
    (4, 5, {}), (2, 1, {"dsp_cols": 0}), (6, 3, {"block_rows": 1, "dsp_cols": 2}))]
# Columns without DSP blocks: all, the last ones, behind an odd number of packed ones.
SHAPES += [(rows, cols, {"multiplier": multiplier, "dsp_cols": dsp_cols, "block_rows": block_rows})
           for rows, cols, multiplier, dsp_cols, block_rows in (
               (1, 1, "single", 0, 0), (4, 3, "single", 0, 0), (5, 4, "single", 2, 2), (2, 3, "fast-inner-product", 0, 0),
               (6, 5, "fast-inner-product", 2, 1), (4, 4, "fast-inner-product", 3, 0), (4, 5, "packed", 3, 0),
               (3, 6, "packed", 2, 1), (3, 2, "packed", 1, 0))]


@pytest.mark.parametrize(("rows", "cols", "options", "weight_bits"), [
    (*shape, bits) for bits in (8, 4) for shape in SHAPES if (bits, shape[2].get("multiplier")) != (4, "packed")])
def test_tiles_back_to_back(rows, cols, options, weight_bits):
    packed = options.get("multiplier") == "packed"
    seed = 1
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    low, high = (-1 << weight_bits - 1) + packed, (1 << weight_bits - 1) - 1
    tiles = [rng.integers(low, high + 1, (rows, cols)) for _ in range(4)] + [rng.choice([low, high], (rows, cols))]
    blocks = [rng.integers(-128, 128, (count, rows)) for count in (1, 2 * rows + 2, 2, rows)] + [rng.choice([-128, 127], (5, rows))]
    psums = stream(SystolicArray(rows=rows, cols=cols, weight_bits=weight_bits, **options), tiles, blocks)
    np.testing.assert_array_equal(psums, np.concatenate([b @ t for b, t in zip(blocks, tiles, strict=True)]))


@pytest.mark.parametrize(("rows", "options"), [
    (33, {}), (50, {"dsp_cols": 1}), (66, {"multiplier": "fast-inner-product"}), (34, {"multiplier": "packed"}), (36, {"block_rows": 20})])
def test_tall_arrays(rows, options):
    """Several rows are one module, the last of them fewer."""
    seed = 5
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    tiles = [rng.integers(-127, 128, (rows, 2)) for _ in range(2)]
    blocks = [rng.integers(-128, 128, (3, rows)) for _ in tiles]
    psums = stream(SystolicArray(rows=rows, cols=2, **options), tiles, blocks)
    np.testing.assert_array_equal(psums, np.concatenate([b @ t for b, t in zip(blocks, tiles, strict=True)]))


@pytest.mark.parametrize("weight_bits", [8, 4])
@pytest.mark.parametrize(("rows", "cols", "options"), [shape for shape in SHAPES if shape[2].get("multiplier", "single") == "single"])
def test_int16_activations(rows, cols, options, weight_bits):
    """Over the whole range of both, −32768 · −128 among the products."""
    seed = 4
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    low, high = -1 << weight_bits - 1, (1 << weight_bits - 1) - 1
    tiles = [rng.integers(low, high + 1, (rows, cols)) for _ in range(4)] + [rng.choice([low, high], (rows, cols))]
    blocks = [rng.integers(-32768, 32768, (count, rows)) for count in (1, 2 * rows + 2, 2, rows)] + [rng.choice([-32768, 32767], (5, rows))]
    tiles[-1][0, 0] = low
    blocks[-1][0, 0] = -32768
    psums = stream(SystolicArray(rows=rows, cols=cols, weight_bits=weight_bits, activation_bits=16, **options), tiles, blocks)
    np.testing.assert_array_equal(psums, np.concatenate([b @ t for b, t in zip(blocks, tiles, strict=True)]))


@pytest.mark.parametrize(("rows", "cols"), [(1, 2), (3, 4), (8, 5)])
def test_a_weight_that_packed_columns_cannot_hold(rows, cols):
    """What −128 gives there is written down in arch/packed.py, so that programs on random memory have one meaning."""
    seed = rows
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    array = ArrayConfig(rows=rows, cols=cols, multiplier="packed")
    tiles = [rng.choice([-128, -127, 127, *rng.integers(-128, 128, 3)], (rows, cols)).astype(np.int8) for _ in range(6)]
    blocks = [rng.choice([-128, 127, *rng.integers(-128, 128, 3)], (count, rows)).astype(np.int8) for count in (1, 9, 2, rows, 3, 5)]
    psums = stream(SystolicArray(rows=rows, cols=cols, multiplier="packed"), tiles, blocks)
    np.testing.assert_array_equal(psums, np.concatenate([packed.matmul(array, b, t) for b, t in zip(blocks, tiles, strict=True)]))
    exact = np.concatenate([b.astype(np.int32) @ t for b, t in zip(blocks, tiles, strict=True)])
    assert np.any(psums != exact)


@pytest.mark.parametrize("rows", [2, 4, 12])
def test_fast_inner_product_at_the_extremes(rows):
    """Each operand is −128 or 127 (or zero): the sums and the terms are as large as they become, and what leaves is exact."""
    seed = 3
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    tiles = [np.full((rows, 2), -128), np.full((rows, 2), 127), *rng.choice([-128, 127, 0], (4, rows, 2))]
    blocks = [np.concatenate([np.full((1, rows), -128), np.full((1, rows), 127), rng.choice([-128, 127], (6, rows))]) for _ in tiles]
    psums = stream(SystolicArray(rows=rows, cols=2, multiplier="fast-inner-product"), tiles, blocks)
    np.testing.assert_array_equal(psums, np.concatenate([b @ t for b, t in zip(blocks, tiles, strict=True)]))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize(("multiplier", "weight_bits"), [
    ("single", 8), ("fast-inner-product", 8), ("packed", 8), ("single", 4), ("fast-inner-product", 4)])
def test_psums_are_just_wide_enough(rows, multiplier, weight_bits):
    """The largest sum, rows · 2**14 or rows · 2**10, fits exactly, and not in one bit less."""
    if rows % 2 and multiplier == "fast-inner-product":
        rows += 1
    dut = SystolicArray(rows=rows, cols=2, multiplier=multiplier, weight_bits=weight_bits)
    activations, weight = np.full((1, rows), -128), (-1 << weight_bits - 1) + (multiplier == "packed")
    largest = -128 * weight * rows
    assert (stream(dut, [np.full((rows, 2), weight)], [activations]) == largest).all()
    assert largest >= 2**(dut.psum_bits - 2) or dut.psum_bits == 8 + weight_bits


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("weight_bits", [8, 4])
def test_psums_of_int16_are_just_wide_enough(rows, weight_bits):
    """The largest sum, rows · 2**22 or rows · 2**18, fits exactly, and not in one bit less."""
    dut = SystolicArray(rows=rows, cols=2, weight_bits=weight_bits, activation_bits=16)
    low = -1 << weight_bits - 1
    largest = -32768 * low * rows
    assert (stream(dut, [np.full((rows, 2), low)], [np.full((1, rows), -32768)]) == largest).all()
    assert largest >= 2**(dut.psum_bits - 2) or dut.psum_bits == 16 + weight_bits


def test_the_largest_array_of_int16_sums_within_an_accumulator_word():
    assert SystolicArray(rows=256, cols=1, activation_bits=16).psum_bits == 32


def test_delays_of_three_by_two():
    dut = SystolicArray(rows=3, cols=2)
    assert (dut.row_delay, dut.col_delay, dut.latency_cycles) == ([0, 1, 2], [0, 1], 5)
    assert dut.swap_to_shift_cycles == 2


def test_delays_of_packed_columns():
    """Two columns take a step together, the fifth one alone; three cycles in the element and two at the foot."""
    dut = SystolicArray(rows=4, cols=5, multiplier="packed", block_rows=2)
    assert (dut.row_delay, dut.col_delay, dut.latency_cycles) == ([0, 1, 3, 4], [0, 0, 1, 1, 2], 9)


def test_delays_with_pairs_and_crossings():
    """Four rows of multipliers, a crossing in the middle: the weights wait there too, so the next tile does not come later."""
    dut = SystolicArray(rows=8, cols=2, multiplier="fast-inner-product", block_rows=2)
    assert (dut.row_delay, dut.latency_cycles) == ([0, 0, 1, 1, 3, 3, 4, 4], 10)
    assert dut.swap_to_shift_cycles == 3


@pytest.mark.parametrize(("arguments", "message"), [
    ({"rows": 0}, "rows must be at least 1, not 0"), ({"cols": 0}, "cols must be at least 1, not 0"),
    ({"multiplier": "double"}, "multiplier must be one of 'single', 'fast-inner-product', 'packed', not 'double'"),
    ({"dsp_cols": -1}, "dsp_cols must be at least 0, not -1"),
    ({"rows": 3, "multiplier": "fast-inner-product"}, "rows must be even for fast-inner-product, not 3"),
    ({"block_rows": -1}, "block_rows must be at least 0, not -1"),
    ({"activation_bits": 12}, "activation_bits must be 8 or 16, not 12"),
    *(({"rows": 2, "multiplier": kind, "activation_bits": 16}, f"activation_bits must be 8 where multiplier is {kind!r}; 'single' takes 16")
      for kind in ("fast-inner-product", "packed"))])
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SystolicArray(**{"rows": 1, "cols": 1, **arguments})
