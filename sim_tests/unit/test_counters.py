"""Counters against sums in NumPy."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.arch.registers import STALLS
from systolith.rtl.counters import Counters, totals_layout


@pytest.mark.parametrize("bits", [0, 16, 32])
def test_sums(bits):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    cycles = 400
    running = rng.random(cycles) < 0.9
    # Often the same again: consecutive increments of one counter meet in the memory.
    activities = np.stack([rng.integers(0, len(causes), cycles) // rng.integers(1, 4, cycles) for causes in STALLS.values()], axis=1)
    started = rng.integers(0, 8, cycles)
    read, written = rng.random((2, cycles)) < 0.5
    strobes = rng.integers(0, 256, cycles)
    dut = Counters(bits=bits, bus_bytes=8)
    values = {}

    async def bench(ctx):
        for i in range(cycles):
            ctx.set(dut.clear, i == 100)
            ctx.set(dut.count, int(running[i]))
            for port, activity in zip(dut.activity, activities[i], strict=True):
                ctx.set(port, int(activity))
            ctx.set(dut.started, int(started[i]))
            ctx.set(dut.word_read, int(read[i]))
            ctx.set(dut.word_written, int(written[i]))
            ctx.set(dut.strobe, int(strobes[i]))
            await ctx.tick()
        ctx.set(dut.count, 0)
        for port in (dut.started, dut.word_read, dut.word_written):
            ctx.set(port, 0)
        await ctx.tick().repeat(3)
        values.update({name: ctx.get(dut.totals[name]) for name in totals_layout().members})
        for engine, causes in STALLS.items():
            for index, cause in enumerate(causes):
                ctx.set(dut.address, 8 * engine + index)
                ctx.set(dut.count, 0)
                await ctx.tick()
                values[f"{engine.name}_{cause}".lower()] = ctx.get(dut.read_data)
        ctx.set(dut.count, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.read_data) == 0

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

    since = slice(101, None)
    assert values["cycles"] == running[since].sum()
    traffic = {"bytes_read": 8 * read[since].sum(), "bytes_written": np.bitwise_count(strobes[since] * written[since]).sum(),
               "commands": np.bitwise_count(started[since]).sum()}
    for name, expected in traffic.items():
        assert values[name] == (expected if bits else 0)
    for column, (engine, causes) in enumerate(STALLS.items()):
        counts = [values[f"{engine.name}_{cause}".lower()] for cause in causes]
        expected = np.bincount(activities[since, column][running[since]], minlength=len(causes))
        np.testing.assert_array_equal(counts, expected if bits else 0)
        assert not bits or sum(counts) == values["cycles"]
