"""The serial accumulator against NumPy: touches as close as it allows, with loads and drains in between, and the foot in front of it."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.rtl.accumulator_serial import SerialAccumulator
from systolith.rtl.foot import Foot

COLS, HALF_ROWS, BITS = 3, 8, 19


@pytest.mark.parametrize(("delay", "seed"), [(0, 1), (3, 2), (3, 3)])
def test_touches_loads_and_drains(delay, seed):
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    dut = SerialAccumulator(cols=COLS, half_rows=HALF_ROWS, psum_bits=BITS, delay=delay)
    rows = 2 * HALF_ROWS
    content = np.zeros((rows, COLS), np.int64)
    psums, last_touch = {}, {}
    cycle = 0
    zero_due = -1

    async def step(ctx, touch=None):
        """A cycle, with the psums that are due in it; what is not due is noise, but 0 where it was asked for."""
        nonlocal cycle, zero_due
        due = psums.pop(cycle, None)
        if due is None:
            due = np.zeros(COLS, int) if zero_due == cycle else rng.integers(-1 << (BITS - 1), 1 << (BITS - 1), COLS)
        for port, value in zip(dut.psum, due, strict=True):
            ctx.set(port, int(value))
        row, accumulate = touch or (int(rng.integers(rows)), 1)
        ctx.set(dut.touch.valid, touch is not None)
        ctx.set(dut.touch.row, row)
        ctx.set(dut.touch.accumulate, accumulate)
        if touch:
            psum = rng.choice([-1 << (BITS - 1), (1 << (BITS - 1)) - 1, *rng.integers(-99, 99, 3)], COLS)
            psums[cycle + delay + dut.psum_cycles] = psum
            content[row] = psum + (content[row] if accumulate else 0)
            last_touch[row] = cycle
        load_ready, drain_ready, zero = (ctx.get(port) for port in (dut.load.ready, dut.drain.ready, dut.zero))
        words = [ctx.get(word) for word in dut.drain.words]
        if zero:
            assert cycle + 1 not in psums, "a row's psum would be zeroed"
            zero_due = cycle + 1
        await ctx.tick()
        cycle += 1
        return load_ready, drain_ready, words

    async def traffic(ctx, busy_half, touches):
        """Touches in one half for some cycles; yields one per step."""
        row = busy_half * HALF_ROWS + int(rng.integers(HALF_ROWS))
        accumulate = int(rng.integers(4) > 0)
        free = cycle - last_touch.get(row, -99) >= dut.distance_cycles
        return await step(ctx, (row, accumulate) if touches and rng.integers(3) and free else None)

    async def bench(ctx):
        for row in range(rows):  # everything begins with a known word
            await step(ctx, (row, 0))
        for _ in range(dut.settle_cycles):
            await step(ctx)
        for _ in range(60):
            half = int(rng.integers(2))
            row = (1 - half) * HALF_ROWS + int(rng.integers(HALF_ROWS))
            column, word = int(rng.integers(COLS)), int(rng.integers(1 << 32))
            # What waits for the other half must have settled.
            for _ in range(dut.settle_cycles):
                await traffic(ctx, half, True)
            ctx.set(dut.load.row, row)
            ctx.set(dut.load.column, column)
            ctx.set(dut.load.word, word)
            ctx.set(dut.load.valid, 1)
            for _ in range(100):
                ready, _, _ = await traffic(ctx, half, True)
                if ready:
                    break
            assert ready
            ctx.set(dut.load.valid, 0)
            ctx.set(dut.load.word, int(rng.integers(1 << 32)))
            content[row, column] = word
            for _ in range(dut.load_cycles - 1):
                await traffic(ctx, half, True)
            ctx.set(dut.drain.row, row)
            ctx.set(dut.drain.valid, 1)
            for _ in range(100):
                _, ready, words = await traffic(ctx, half, True)
                if ready:
                    break
            ctx.set(dut.drain.valid, 0)
            expected = (content[row] + 2**31) % 2**32 - 2**31
            assert ready and words == expected.tolist(), f"row {row} in cycle {cycle}"

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_a_drain_sees_a_touch_after_settle_cycles():
    dut = SerialAccumulator(cols=1, half_rows=2, psum_bits=BITS, delay=2)

    async def bench(ctx):
        for wait in (dut.settle_cycles, dut.settle_cycles - 1):
            for cycle in range(40):
                ctx.set(dut.touch.valid, cycle in (0, 20))
                ctx.set(dut.touch.row, 1)
                ctx.set(dut.psum[0], 5 if cycle == 2 + dut.psum_cycles else 6)
                ctx.set(dut.drain.row, 1)
                ctx.set(dut.drain.valid, 20 + wait <= cycle < 20 + wait + dut.drain_cycles + 1)
                if cycle == 20 + wait + dut.drain_cycles:
                    assert ctx.get(dut.drain.ready)
                    assert ctx.get(dut.drain.words[0]) == (6 if wait == dut.settle_cycles else 5)
                await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize(("sizes", "message"), [
    ({"half_rows": 3}, "half_rows must be a power of two from 2 on, not 3"), ({"delay": -1}, "delay must be at least 0, not -1")])
def test_sizes(sizes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        SerialAccumulator(**{"cols": 1, "half_rows": 4, "psum_bits": 16, "delay": 1, **sizes})


@pytest.mark.parametrize("col_delay", [[0, 1, 2], [0], [0, 0]])
def test_the_foot_takes_the_skew_away(col_delay):
    dut = Foot(psum_bits=BITS, col_delay=col_delay)
    rng = np.random.default_rng(4)
    values = rng.integers(-1000, 1000, (30, len(col_delay)))

    async def bench(ctx):
        for cycle in range(30):
            for c, delay in enumerate(col_delay):
                ctx.set(dut.i[c], int(values[cycle - delay, c]) if cycle >= delay else 0)
            ctx.set(dut.zero, cycle % 5 == 4)
            row = cycle - dut.latency_cycles
            if row >= 0:
                expected = [0] * len(col_delay) if (cycle - 1) % 5 == 4 else values[row].tolist()
                assert [ctx.get(o) for o in dut.o] == expected
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
