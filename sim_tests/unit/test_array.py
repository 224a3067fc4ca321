# amaranth: UnusedElaboratable=no
"""The array alone: what a skewed stream of activations gives at the foot, and when."""

import numpy as np
import pytest
from amaranth.sim import Simulator
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
        for i, vector in enumerate(block):
            for r, delay in enumerate(dut.row_delay):
                at(start + i + delay, dut.a[r], vector[r])
                at(start + i + delay, dut.swap[r], i == 0)
            starts.append(start + i)
        shift_from = max(shift_from + rows, start + dut.swap_to_shift_cycles)
        start += len(block)
    result = {}
    wanted = {(t + dut.latency_cycles + delay, c): (i, c) for i, t in enumerate(starts) for c, delay in enumerate(dut.col_delay)}
    signals = [*dut.a, *dut.swap, *dut.w, *dut.w_shift]

    async def bench(ctx):
        for cycle in range(max(cycle for cycle, _ in wanted) + 1):
            for signal in signals:
                ctx.set(signal, 0)
            for signal, value in events.get(cycle, []):
                ctx.set(signal, value)
            for c in range(cols):
                if (cycle, c) in wanted:
                    result[wanted[cycle, c]] = ctx.get(dut.psum[c])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array([[result[i, c] for c in range(cols)] for i in range(len(starts))])


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 4), (4, 1), (3, 5), (5, 3), (4, 4)])
def test_tiles_back_to_back(rows, cols):
    rng = np.random.default_rng(1)
    tiles = [rng.integers(-128, 128, (rows, cols)) for _ in range(5)]
    blocks = [rng.integers(-128, 128, (count, rows)) for count in (1, 2 * rows + 2, 2, rows, 3)]
    psums = stream(SystolicArray(rows=rows, cols=cols), tiles, blocks)
    np.testing.assert_array_equal(psums, np.concatenate([b @ t for b, t in zip(blocks, tiles, strict=True)]))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 9])
def test_psums_are_just_wide_enough(rows):
    """The largest sum, rows · 2**14, fits exactly, and not in one bit less."""
    dut = SystolicArray(rows=rows, cols=1)
    lowest = np.full((rows, 1), -128)
    assert stream(dut, [lowest], [lowest.T])[0, 0] == rows * 2**14
    assert rows * 2**14 >= 2**(dut.psum_bits - 2)


def test_delays_of_three_by_two():
    dut = SystolicArray(rows=3, cols=2)
    assert (dut.row_delay, dut.col_delay, dut.latency_cycles) == ([0, 1, 2], [0, 1], 5)


@pytest.mark.parametrize(("name", "size"), [("rows", {"rows": 0, "cols": 1}), ("cols", {"rows": 1, "cols": 0})])
def test_sizes_are_checked(name, size):
    with pytest.raises(ValueError) as caught:
        SystolicArray(**size)
    assert str(caught.value) == f"{name} must be at least 1, not 0"
