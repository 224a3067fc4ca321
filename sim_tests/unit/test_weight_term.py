"""The weights' term: tiles as close behind each other as the array lets them come, with gaps between weights."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.rtl.weight_term import WeightTerm


@pytest.mark.parametrize("rows", [2, 4, 8])
def test_tiles(rows):
    seed = rows
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    dut = WeightTerm(psum_bits=18)
    tiles = rng.choice([-128, 127, *rng.integers(-128, 128, 5)], (30, rows))
    weights, takes = {}, {}
    cycle = 0
    for tile in tiles:
        for byte in reversed(tile):
            cycle += int(rng.integers(0, 2))
            weights[cycle] = int(byte)
            cycle += 1
        # The last weight, a cycle later the swap, and the term is wanted when the first element adds.
        takes[cycle - 1 + dut.latency_cycles] = -sum(int(tile[i]) * int(tile[i + 1]) for i in range(0, rows, 2))
    seen = {}

    async def bench(ctx):
        for t in range(cycle + 8):
            ctx.set(dut.w_shift, t in weights)
            ctx.set(dut.w, weights.get(t, 99))
            ctx.set(dut.take, t in takes)
            if t - 1 in takes:
                seen[t - 1] = ctx.get(dut.o)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == takes
