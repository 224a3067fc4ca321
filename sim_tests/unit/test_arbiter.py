"""Two readers of one memory: each gets its own words, in its own order, and nobody starves the bus."""

import random
from functools import partial

import pytest
from amaranth.sim import Simulator
from bus_memory import BusMemory
from systolith.rtl.arbiter import ReadArbiter


async def reader(ctx, dut, port, bursts, got, *, stall, seed):
    """Requests ``bursts`` of (address, beats) and appends the words that come, each with its address, to ``got``."""
    choice = random.Random(seed)
    bursts = list(bursts)
    ready = False
    while True:
        _, _, accepted, valid, word, address = await ctx.tick().sample(
            port.request.valid & port.request.ready, port.response.valid, port.response.payload.data, dut.address)
        if accepted:
            bursts.pop(0)
        if valid and ready:
            got.append((word, address))
        if accepted or not ctx.get(port.request.valid):
            ctx.set(port.request.valid, bool(bursts) and choice.random() >= stall)
            if bursts:
                ctx.set(port.request.payload, {"address": bursts[0][0], "beats": bursts[0][1]})
        ready = choice.random() >= stall
        ctx.set(port.response.ready, ready)


def run(bursts, *, latency, stall, seed, outstanding=16, limit=5000):
    dut = ReadArbiter(address_bits=16, bus_bits=64, outstanding=outstanding)
    memory = BusMemory(1 << 16, 8, latency=latency, stall=stall, seed=seed)
    memory.bytes[:] = [random.Random(seed).randrange(256) for _ in range(1 << 16)]
    got = [[], []]
    expected = [[(int.from_bytes(memory.bytes[at:at + 8].tobytes(), "little"), at)
                 for address, beats in asked for at in range(address, address + 8 * beats + 1, 8)] for asked in bursts]
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        while [len(words) for words in got] != [len(words) for words in expected]:
            await ctx.tick()
            cycles += 1
            assert cycles < limit

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    for index, port in enumerate((dut.urgent, dut.bulk)):
        simulator.add_testbench(partial(reader, dut=dut, port=port, bursts=bursts[index], got=got[index], stall=stall, seed=seed + index),
                                background=True)
    simulator.add_testbench(partial(memory.reads, port=dut.o), background=True)
    simulator.run()
    assert got == expected
    return cycles


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("outstanding", [2, 16])
def test_words_return_to_their_reader(stall, outstanding):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)

    def some_bursts():
        for _ in range(40):
            word, beats = choice.randrange(1 << 13), choice.choice([0, 0, 1, 5, 15])
            yield 8 * (word - max(0, word % 64 + beats - 63)), beats

    run([list(some_bursts()), list(some_bursts())], latency=choice.randrange(1, 20), stall=stall, seed=seed, outstanding=outstanding)


def test_short_bursts_fill_the_bus():
    bursts = [[(8 * i, 0) for i in range(100)], [(16 * i, 1) for i in range(100)]]
    assert run(bursts, latency=10, stall=0.0, seed=1) <= 300 + 16
