# amaranth: UnusedElaboratable=no
"""Scratchpads against a NumPy array of bytes: every lane, every count, both ports."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.rtl.scratchpad import Scratchpad
from systolith.rtl.scratchpad_serial import SerialScratchpad

# width = lanes, a power of two that divides them (as bus bytes often do), and neither.
SHAPES = [(1, 1), (3, 3), (8, 8), (8, 4), (12, 4), (6, 4), (12, 8), (5, 4), (5, 2), (6, 3)]


def simulate(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def payload(row, lane, values, width):
    return {"row": row, "lane": lane, "count": len(values), "data": [int(v) & 255 for v in values] + [0xEE] * (width - len(values))}


async def read_back(ctx, dut):
    """All rows, shape (depth, lanes); each lane sampled exactly when it is due."""
    wait = max(dut.delay) + dut.latency_cycles
    seen = np.zeros((dut.depth, dut.lanes), dtype=np.int64)
    for cycle in range(dut.depth + wait):
        ctx.set(dut.row, min(cycle, dut.depth - 1))
        for lane, delay in enumerate(dut.delay):
            row = cycle - delay - dut.latency_cycles
            if 0 <= row < dut.depth:
                seen[row, lane] = ctx.get(dut.o[lane])
        await ctx.tick()
    return seen


@pytest.mark.parametrize("serial", [False, True], ids=["parallel", "serial"])
@pytest.mark.parametrize(("lanes", "width"), SHAPES)
def test_every_lane_and_count(lanes, width, serial):
    """Writes of all counts at all lanes, one per cycle, in random order; later ones over earlier ones."""
    seed = 1
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    depth = 9
    delay = list(range(lanes))
    width = 1 if serial else width
    dut = SerialScratchpad(lanes=lanes, depth=depth, delay=delay) if serial else Scratchpad(
        lanes=lanes, depth=depth, width=width, delay=delay)
    memory = np.zeros(depth * lanes, dtype=np.int64)
    cases = [(lane, count) for lane in range(lanes) for count in range(1, width + 1)]
    rng.shuffle(cases)
    seen = []

    async def bench(ctx):
        stream = dut.write[0].stream
        for i, (lane, count) in enumerate(cases):
            row, values = i % (depth - 1), rng.integers(-128, 128, count)
            start = row * lanes + lane
            memory[start:start + count] = values
            ctx.set(stream.valid, 1)
            ctx.set(stream.payload, payload(row, lane, values, width))
            assert ctx.get(stream.ready)
            await ctx.tick()
        ctx.set(stream.valid, 0)
        await ctx.tick().repeat(dut.write_latency_cycles)
        seen.append(await read_back(ctx, dut))

    simulate(dut, bench)
    np.testing.assert_array_equal(seen[0], memory.reshape(depth, lanes))


@pytest.mark.parametrize("serial", [False, True], ids=["parallel", "serial"])
def test_second_port_goes_first(serial):
    """Both ports busy at random: nothing is lost or written twice, and port 0 waits exactly while port 1 is valid."""
    seed, lanes, depth, width = 2, 6, 16, 4
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    width = 1 if serial else width
    dut = SerialScratchpad(lanes=lanes, depth=depth, delay=[0] * lanes) if serial else Scratchpad(
        lanes=lanes, depth=depth, width=width, delay=[0] * lanes)
    memory = np.zeros(depth * lanes, dtype=np.int64)
    seen = []

    async def bench(ctx):
        waiting = [None, None]
        accepted = [0, 0]
        for _ in range(400):
            for port in range(2):
                if waiting[port] is None and rng.integers(2):
                    waiting[port] = (int(rng.integers(depth - 1)), int(rng.integers(lanes)),
                                     rng.integers(-128, 128, int(rng.integers(1, width + 1))))
                stream = dut.write[port].stream
                ctx.set(stream.valid, waiting[port] is not None)
                if waiting[port]:
                    ctx.set(stream.payload, payload(*waiting[port], width))
            ready = [ctx.get(port.stream.ready) for port in dut.write]
            assert ready == [waiting[1] is None, True]
            for port in range(2):
                if waiting[port] and ready[port]:
                    row, lane, values = waiting[port]
                    memory[row * lanes + lane:][:len(values)] = values
                    waiting[port] = None
                    accepted[port] += 1
            await ctx.tick()
        assert min(accepted) > 50
        for port in dut.write:
            ctx.set(port.stream.valid, 0)
        await ctx.tick().repeat(dut.write_latency_cycles)
        seen.append(await read_back(ctx, dut))

    simulate(dut, bench)
    np.testing.assert_array_equal(seen[0], memory.reshape(depth, lanes))


@pytest.mark.parametrize("cut", [0, 1])
def test_write_latency_is_minimal(cut):
    dut = Scratchpad(lanes=2, depth=4, width=2, delay=[0, 0])

    async def bench(ctx):
        stream = dut.write[0].stream
        ctx.set(stream.payload, payload(1, 1, [11, 22], 2))
        read = dut.write_latency_cycles - cut
        for cycle in range(read + dut.latency_cycles):
            ctx.set(stream.valid, cycle == 0)
            ctx.set(dut.row, 1 if cycle == read else 3)
            await ctx.tick()
        assert ctx.get(dut.o[1]) == (0 if cut else 11)

    simulate(dut, bench)


def test_delays_are_checked():
    with pytest.raises(ValueError) as caught:
        Scratchpad(lanes=2, depth=4, width=2, delay=[0])
    assert str(caught.value) == "delay must have one entry per lane, 2, not [0]"
