# amaranth: UnusedElaboratable=no
"""The corner turn against a transposed matrix, block after block, with cycles in between in which nothing moves."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.rtl.corner_turn import CornerTurn


@pytest.mark.parametrize("pauses", [False, True])
@pytest.mark.parametrize(("size", "width"), [(1, 8), (2, 8), (3, 16), (8, 8)])
def test_blocks_leave_turned(size, width, pauses):
    seed = size + 10 * pauses
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    half = 1 << width - 1
    blocks = rng.integers(-half, half, (5, size, size))
    dut, seen = CornerTurn(size=size, width=width), []

    async def bench(ctx):
        for number in range(len(blocks) + 1):
            ctx.set(dut.down, number % 2)
            out = []
            for index in range(size):
                while pauses and rng.random() < 0.4:
                    ctx.set(dut.move, 0)
                    await ctx.tick()
                ctx.set(dut.move, 1)
                for lane in range(size):
                    ctx.set(dut.i[lane], int(blocks[number % len(blocks)][index][lane]))
                out.append([ctx.get(lane) for lane in dut.o])
                await ctx.tick()
            seen.append(out)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    # The last value of each vector first, the first vector in the last lane.
    np.testing.assert_array_equal(np.array(seen[1:]), blocks.transpose(0, 2, 1)[:, ::-1, ::-1])
