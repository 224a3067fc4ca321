"""RAM against an array in NumPy."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.rtl.ram import RAM


@pytest.mark.parametrize("width, depth", [(8, 2), (8, 512), (32, 256), (5, 7)])
def test_reads_what_was_written(width, depth):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    dut = RAM(width=width, depth=depth)
    expected = rng.integers(-(1 << width - 1), 1 << width - 1, depth)
    order = rng.permutation(depth)
    seen = []

    async def bench(ctx):
        ctx.set(dut.write, 1)
        for address, value in enumerate(expected):
            ctx.set(dut.address, address)
            ctx.set(dut.i, int(value))
            await ctx.tick()
        ctx.set(dut.write, 0)
        ctx.set(dut.address, 0)
        ctx.set(dut.i, ~int(expected[0]))
        for address in [*order, *[0] * RAM.latency_cycles]:
            ctx.set(dut.read, int(address))
            seen.append(ctx.get(dut.o))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    np.testing.assert_array_equal(seen[RAM.latency_cycles:], expected[order])
