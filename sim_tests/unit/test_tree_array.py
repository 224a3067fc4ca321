"""The array of adder trees against NumPy: random tiles as close as it allows, largest sums, and a psum of 0 on demand."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.rtl.tree_array import TreeArray


def run(rows, cols, tiles, blocks, zero=()):
    """Psums of the rows of ``blocks`` through ``tiles``, shape (rows of all blocks, cols); row i is zeroed where i is in ``zero``."""
    dut = TreeArray(rows=rows, cols=cols)
    assert dut.row_delay == [0] * rows and dut.col_delay == [0] * cols
    shifts, vectors, start = {}, {}, 0
    shift_from = 0
    for tile, block in zip(tiles, blocks, strict=True):
        for i, k in enumerate(reversed(range(rows))):
            shifts[shift_from + i] = tile[k]
        start = max(start, shift_from + rows - 1 + dut.shift_to_swap_cycles)
        vectors |= {start + i: (vector, i == 0) for i, vector in enumerate(block)}
        shift_from = max(shift_from + rows, start + dut.swap_to_shift_cycles)
        start += len(block)
    first = min(vectors)
    cycles = sorted(vectors)
    seen = {}

    async def bench(ctx):
        noise = np.random.default_rng(0)
        for cycle in range(cycles[-1] + dut.latency_cycles + 1):
            weights = shifts.get(cycle)
            for c in range(cols):
                ctx.set(dut.w_shift[c], weights is not None)
                ctx.set(dut.w[c], int(noise.integers(-128, 128) if weights is None else weights[c]))
            vector, swap = vectors.get(cycle, (noise.integers(-128, 128, rows), False))
            for r in range(rows):
                ctx.set(dut.a[r], int(vector[r]))
                ctx.set(dut.swap[r], swap)
            due = cycle - dut.latency_cycles
            ctx.set(dut.zero, due + 1 in vectors and cycles.index(due + 1) in zero)
            if due in vectors:
                seen[due] = [ctx.get(psum) for psum in dut.psum]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert first >= rows - 1
    return np.array([seen[cycle] for cycle in cycles])


@pytest.mark.parametrize(("rows", "cols"), [(8, 2), (1, 1), (2, 3), (5, 4), (7, 1)])
@pytest.mark.parametrize("seed", [1, 2])
def test_tiles_back_to_back(rows, cols, seed):
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    tiles = [rng.choice([-128, 127, *rng.integers(-128, 128, 6)], (rows, cols)) for _ in range(4)]
    blocks = [rng.choice([-128, 127, *rng.integers(-128, 128, 6)], (count, rows)) for count in (rows + 1, 1, 3, 2 * rows)]
    expected = np.concatenate([block @ tile for tile, block in zip(tiles, blocks, strict=True)])
    np.testing.assert_array_equal(run(rows, cols, tiles, blocks), expected)


def test_largest_sums_and_zero():
    rows, cols = 8, 2
    tile, block = np.full((rows, cols), -128), np.full((3, rows), -128)
    expected = block @ tile
    expected[1] = 0
    np.testing.assert_array_equal(run(rows, cols, [tile], [block], zero={1}), expected)


@pytest.mark.parametrize(("sizes", "message"), [
    ({"rows": 0, "cols": 2}, "rows must be at least 1, not 0"), ({"rows": 2, "cols": 0}, "cols must be at least 1, not 0")])
def test_sizes(sizes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        TreeArray(**sizes)
