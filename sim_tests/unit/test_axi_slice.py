"""Register slices and the elastic buffer: nothing lost, nothing changed, at full rate, and no path across it."""

import random

import pytest
from amaranth.sim import Simulator
from systolith.rtl.axi_slice import RegisterSlice
from systolith.rtl.elastic_buffer import ElasticBuffer


def transfer(slice, *, stall_in, stall_out, count=200, seed=1):
    """What came out of ``range(count)``, and after how many cycles the last one did."""
    rng = random.Random(seed)
    received, cycles = [], 0

    async def source(ctx):
        value = 0
        while value < count:
            if rng.random() < stall_in:
                await ctx.tick()
                continue
            ctx.set(slice.i.payload, value)
            ctx.set(slice.i.valid, 1)
            await ctx.tick().until(slice.i.ready)
            ctx.set(slice.i.valid, 0)
            value += 1

    async def sink(ctx):
        nonlocal cycles
        held = None
        while len(received) < count:
            ready = rng.random() >= stall_out
            ctx.set(slice.o.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(slice.o.valid, slice.o.payload)
            cycles += 1
            assert cycles < 20 * count
            assert held is None or (valid and payload == held), f"seed {seed}: payload {held} did not hold"
            held = payload if valid and not ready else None
            if valid and ready:
                received.append(payload)

    simulator = Simulator(slice)
    simulator.add_clock(1e-6)
    simulator.add_testbench(source)
    simulator.add_testbench(sink)
    simulator.run()
    return received, cycles


KINDS = {"slice": RegisterSlice, "light slice": lambda shape: RegisterSlice(shape, light=True), "elastic buffer": ElasticBuffer}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stall_in, stall_out", [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3), (0.1, 0.9)])
def test_all_arrives_in_order(kind, stall_in, stall_out):
    received, _ = transfer(KINDS[kind](16), stall_in=stall_in, stall_out=stall_out)
    assert received == list(range(200))


@pytest.mark.parametrize("kind, cycles", [("slice", 201), ("light slice", 400), ("elastic buffer", 201)])
def test_throughput_and_latency(kind, cycles):
    """One per cycle, or in two cycles, and one cycle of latency."""
    assert transfer(KINDS[kind](16), stall_in=0, stall_out=0)[1] == cycles


@pytest.mark.parametrize("kind", KINDS)
def test_no_path_crosses(kind):
    """Inputs of one cycle are not seen at the outputs in it."""
    slice = KINDS[kind](4)

    async def testbench(ctx):
        for full in range(3):
            before = ctx.get(slice.o.valid), ctx.get(slice.i.ready)
            for valid, ready in ((0, 0), (0, 1), (1, 0), (1, 1)):
                ctx.set(slice.i.valid, valid)
                ctx.set(slice.o.ready, ready)
                assert (ctx.get(slice.o.valid), ctx.get(slice.i.ready)) == before, f"with {full} inside"
            ctx.set(slice.o.ready, 0)
            await ctx.tick()

    simulator = Simulator(slice)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
