"""The table of base registers: what the host writes is what it reads and what engines look up."""

import random

import pytest
from amaranth.sim import Simulator
from systolith.rtl.bases import BaseTable


@pytest.mark.parametrize("address_bits", [16, 32, 40, 64])
def test_registers_and_lookups(address_bits):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    dut = BaseTable(address_bits=address_bits, lookups=3)
    values = [choice.randrange(1 << 32) for _ in range(32)]
    mask = (1 << address_bits) - 1
    pairs = [tuple((values[4 * i + 2 * j] | values[4 * i + 2 * j + 1] << 32) & mask for j in range(2)) for i in range(8)]
    served = []

    async def lookups(ctx, index):
        port = dut.lookup[index]
        for _ in range(20):
            number = choice.randrange(8)
            ctx.set(port.index, number)
            ctx.set(port.valid, 1)
            for _ in range(13):
                _, _, ready, base, size = await ctx.tick().sample(port.ready, port.base, port.size)
                if ready:
                    break
            assert ready and (base, size) == pairs[number]
            served.append(index)
            ctx.set(port.valid, 0)
            await ctx.tick().repeat(choice.randrange(10, 30))

    async def bench(ctx):
        for address, value in enumerate(values):
            ctx.set(dut.address, address)
            ctx.set(dut.write_data, value)
            ctx.set(dut.write, 1)
            await ctx.tick()
        ctx.set(dut.write, 0)
        for address in range(32):
            ctx.set(dut.address, address)
            await ctx.tick()
            pair, half = divmod(address, 2)
            assert ctx.get(dut.read_data) == pairs[pair // 2][pair % 2] >> 32 * half & 0xFFFF_FFFF
        ctx.set(dut.running, 1)
        ctx.set(dut.write, 1)  # has no effect while running
        ctx.set(dut.write_data, 0)
        for address in range(1500):
            if len(served) == 60:
                break
            ctx.set(dut.address, address % 32)
            await ctx.tick()
        assert len(served) == 60

    async def after(ctx, index):
        while not ctx.get(dut.running):
            await ctx.tick()
        await lookups(ctx, index)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    for index in range(3):
        async def process(ctx, index=index):
            await after(ctx, index)
        simulator.add_testbench(process)
    simulator.run()


def test_two_sets():
    """The host prepares one set while a program uses the other, which it cannot change."""
    dut = BaseTable(address_bits=40, lookups=1, sets=2)
    pairs = [[(1000 * number + index, 2000 * number + index) for index in range(8)] for number in (1, 2)]

    async def fill(ctx, number, values):
        ctx.set(dut.port_set, number)
        ctx.set(dut.write, 1)
        for index, pair in enumerate(values):
            for half, value in enumerate(pair):
                for high in range(2):
                    ctx.set(dut.address, 4 * index + 2 * half + high)
                    ctx.set(dut.write_data, value >> 32 * high & 0xFFFF_FFFF)
                    await ctx.tick()
        ctx.set(dut.write, 0)

    async def look_up(ctx, index):
        port = dut.lookup[0]
        ctx.set(port.index, index)
        ctx.set(port.valid, 1)
        for _ in range(6):
            _, _, ready, base, size = await ctx.tick().sample(port.ready, port.base, port.size)
            if ready:
                break
        ctx.set(port.valid, 0)
        assert ready
        await ctx.tick()
        return base, size

    async def bench(ctx):
        await fill(ctx, 0, pairs[0])
        ctx.set(dut.running, 1)
        for running in (0, 1, 0):
            ctx.set(dut.running_set, running)
            await fill(ctx, running, [(0, 0)] * 8)
            await fill(ctx, 1 - running, pairs[1 - running])
            assert [await look_up(ctx, index) for index in range(8)] == pairs[running]
        ctx.set(dut.running, 0)
        for number in range(2):
            ctx.set(dut.port_set, number)
            for index in range(8):
                ctx.set(dut.address, 4 * index)
                await ctx.tick()
                assert ctx.get(dut.read_data) == pairs[number][index][0]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
