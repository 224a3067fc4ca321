# amaranth: UnusedElaboratable=no
"""The transposer alone: tiles filled by columns come out by rows."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.rtl.transposer import Transposer

SHAPES = [(1, 1), (1, 4), (4, 1), (2, 3), (3, 2), (4, 4), (7, 3), (3, 8)]


def transpose(dut, tiles, *, fill_to_emit, emit_to_fill):
    """Rows as they are emitted, per tile, shape (rows, cols), for tiles that follow each other at these distances."""
    rows, cols, pieces = dut.rows, dut.cols, dut.pieces
    strobes, bytes_in, wanted = {}, {}, {}
    cycle = 0
    for index, tile in enumerate(tiles):
        for n in reversed(range(cols)):
            vector = np.zeros(pieces * cols, dtype=int)
            vector[:rows] = tile[:, n]
            for piece in range(pieces):
                strobes[cycle] = {"fill": 1, "piece": piece, "emit": 0}
                for lane, delay in enumerate(dut.delay):
                    bytes_in[cycle + delay, lane] = int(vector[piece * cols + lane])
                cycle += 1
        cycle += fill_to_emit - 1
        for k in reversed(range(rows)):
            strobes[cycle] = {"fill": 0, "piece": 0, "emit": 1}
            for c, delay in enumerate(dut.delay):
                wanted[cycle + delay, c] = (index, k, c)
            cycle += 1
        cycle += emit_to_fill - 1
    result = np.zeros((len(tiles), rows, cols), dtype=int)

    async def bench(ctx):
        for now in range(cycle + max(dut.delay) + 1):
            for name, value in strobes.get(now, {"fill": 0, "piece": 0, "emit": 0}).items():
                ctx.set(getattr(dut, name), value)
            for lane in range(cols):
                ctx.set(dut.i[lane], bytes_in.get((now, lane), 99))
                if (now, lane) in wanted:
                    result[wanted[now, lane]] = ctx.get(dut.o[lane])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return result


@pytest.mark.parametrize(("rows", "cols"), SHAPES)
@pytest.mark.parametrize("scale", [1, 2])
def test_tiles_as_closely_as_allowed(rows, cols, scale):
    dut = Transposer(rows=rows, cols=cols, delay=[1 + scale * c for c in range(cols)])
    tiles = np.random.default_rng(1).integers(-128, 128, (3, rows, cols))
    np.testing.assert_array_equal(
        transpose(dut, tiles, fill_to_emit=dut.fill_to_emit_cycles, emit_to_fill=dut.emit_to_fill_cycles), tiles)


@pytest.mark.parametrize(("rows", "cols", "scale", "cut"), [
    (1, 4, 1, "emit_to_fill"), (4, 4, 1, "fill_to_emit"), (4, 4, 2, "fill_to_emit"),
    (4, 4, 2, "emit_to_fill"), (7, 3, 1, "fill_to_emit"), (7, 3, 2, "fill_to_emit"), (7, 3, 2, "emit_to_fill"),
    (3, 8, 1, "fill_to_emit"), (3, 8, 1, "emit_to_fill"), (3, 8, 2, "emit_to_fill"),
])
def test_distances_are_minimal(rows, cols, scale, cut):
    dut = Transposer(rows=rows, cols=cols, delay=[1 + scale * c for c in range(cols)])
    distances = {"fill_to_emit": dut.fill_to_emit_cycles, "emit_to_fill": dut.emit_to_fill_cycles}
    distances[cut] -= 1
    assert distances[cut] >= 1
    tiles = np.random.default_rng(2).integers(-128, 128, (3, rows, cols))
    assert (transpose(dut, tiles, **distances) != tiles).any()


def test_passes_weights_through():
    dut = Transposer(rows=2, cols=2, delay=[0, 1])

    async def bench(ctx):
        ctx.set(dut.i[0], -7)
        ctx.set(dut.i[1], 8)
        assert [ctx.get(o) for o in dut.o] == [-7, 8]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_delays_are_checked():
    with pytest.raises(ValueError) as caught:
        Transposer(rows=2, cols=2, delay=[0])
    assert str(caught.value) == "delay must have one entry per column, 2, not [0]"
