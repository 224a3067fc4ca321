"""The watchdog counts cycles without movement while somebody waits, and nothing else."""

import random

import pytest
from amaranth.sim import Simulator
from systolith.rtl.watchdog import Watchdog


@pytest.mark.parametrize("limit", [0, 1, 2, 7, 15])
def test_against_a_count(limit):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    dut = Watchdog(bits=4)

    async def bench(ctx):
        ctx.set(dut.limit, limit)
        await ctx.tick()
        still = 0
        for _ in range(3000):
            waits, moves = choice.random() < 0.97, choice.random() < 0.1
            ctx.set(dut.waits, waits)
            ctx.set(dut.moves, moves)
            still = still + 1 if waits and not moves else 0
            assert ctx.get(dut.expired) == (limit != 0 and still >= limit)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
