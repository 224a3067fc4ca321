"""The registers between a host and what it asks: every access is done once and in order, however long the answer takes."""

import random

import pytest
from amaranth.sim import Simulator
from systolith.rtl.host_register import HostRegister

WORDS = 64
ACCESSES = 300
SEED = 20261128


@pytest.mark.parametrize("most", [0, 1, 3])
def test_accesses_in_order(most):
    """Reads and writes, one behind the other or not, against a list; each is seen once, and takes two cycles more than its answer."""
    print(f"seed {SEED + most}")
    choice = random.Random(SEED + most)
    dut = HostRegister()
    memory, mirror = list(range(100, 100 + WORDS)), list(range(100, 100 + WORDS))
    asked, seen, took, waited = [], [], [], []

    async def answers(ctx):
        port = dut.o
        while True:
            _, _, valid = await ctx.tick().sample(port.valid)
            if not valid:
                continue
            cycles = choice.randint(0, most)
            before = ctx.get(port.address), ctx.get(port.write), ctx.get(port.write_data)
            for _ in range(cycles):
                await ctx.tick()
                assert ctx.get(port.valid) and (ctx.get(port.address), ctx.get(port.write), ctx.get(port.write_data)) == before
            place, write, value = before
            ctx.set(port.read_data, memory[place])
            ctx.set(port.ready, 1)
            await ctx.tick()
            ctx.set(port.ready, 0)
            ctx.set(port.read_data, 0xdead)
            if write:
                memory[place] = value
            seen.append((place, write))
            waited.append(cycles)

    async def asks(ctx):
        port = dut.i
        for _ in range(ACCESSES):
            place, write, value = choice.randrange(WORDS), choice.randrange(2), choice.randrange(1 << 32)
            asked.append((place, write))
            for signal, wanted in ((port.address, place), (port.write, write), (port.write_data, value), (port.valid, 1)):
                ctx.set(signal, wanted)
            cycles, ready = 0, False
            while not ready:
                _, _, ready, data = await ctx.tick().sample(port.ready, port.read_data)
                cycles += 1
                assert cycles < 20
            took.append(cycles)
            if write:
                mirror[place] = value
            else:
                assert data == mirror[place]
            if choice.randrange(2):
                ctx.set(port.valid, 0)
                await ctx.tick().repeat(choice.randint(1, 3))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(asks)
    simulator.add_testbench(answers, background=True)
    simulator.run()
    assert seen == asked and memory == mirror and len(took) == ACCESSES
    # It is seen in one cycle and answered in the next; the registers take two more.
    assert {cycles - held for cycles, held in zip(took, waited, strict=True)} == {2 + 2}
