"""Memory for serial engines against a bytearray: words, strobes, limits, and a host in between."""

import random

import pytest
from amaranth.sim import Simulator
from systolith.rtl.word_memory import WordMemory

SIZE = 256


async def send(ctx, port, **payload):
    for name, value in payload.items():
        ctx.set(port.payload[name], value)
    ctx.set(port.valid, 1)
    for _ in range(50):
        if (await ctx.tick().sample(port.ready))[-1]:
            break
    else:
        raise AssertionError("not accepted for 50 cycles")
    ctx.set(port.valid, 0)


async def receive(ctx, port, choice):
    """The payload, taken at random."""
    for _ in range(50):
        ready = choice.random() < 0.5
        ctx.set(port.ready, ready)
        _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
        if valid and ready:
            ctx.set(port.ready, 0)
            return payload
    raise AssertionError("no response for 50 cycles")


async def access(ctx, port, address, value=None):
    ctx.set(port.address, address)
    ctx.set(port.write, value is not None)
    ctx.set(port.write_data, value or 0)
    ctx.set(port.valid, 1)
    for _ in range(50):
        _, _, ready, data = await ctx.tick().sample(port.ready, port.read_data)
        if ready:
            ctx.set(port.valid, 0)
            return data
    raise AssertionError("no answer for 50 cycles")


@pytest.mark.parametrize("seed", [1, 2])
def test_reader_writer_and_host_at_once(seed):
    """Each in a third of the memory, so that what they see is known whatever their order; the reader sees what the host wrote before."""
    print(f"seed {seed}")
    dut = WordMemory(memory_bytes=SIZE, address_bits=12)
    memory = bytearray(SIZE)
    words = SIZE // 4
    done = []

    async def reader(ctx):
        choice = random.Random(seed)
        while not done:
            await ctx.tick()
        for _ in range(60):
            word = choice.randrange(words // 3)
            outside = choice.random() < 0.1
            await send(ctx, dut.read.request, address=4 * word + SIZE * outside, beats=0)
            answer = await receive(ctx, dut.read.response, choice)
            assert answer.error == outside
            if not outside:
                assert answer.data == int.from_bytes(memory[4 * word:4 * word + 4], "little")
        done.append("reader")

    async def writer(ctx):
        choice = random.Random(seed + 10)
        while not done:
            await ctx.tick()
        for _ in range(60):
            word = choice.randrange(words // 3, 2 * words // 3)
            outside = choice.random() < 0.1
            data, strobe = choice.getrandbits(32), choice.getrandbits(4)
            await send(ctx, dut.write.request, address=4 * word + SIZE * outside, beats=0)
            await send(ctx, dut.write.data, data=data, strobe=strobe, last=1)
            answer = await receive(ctx, dut.write.response, choice)
            assert answer.error == outside
            for i in range(4):
                if strobe >> i & 1 and not outside:
                    memory[4 * word + i] = data >> 8 * i & 255
        done.append("writer")

    async def host(ctx):
        choice = random.Random(seed + 20)
        for word in range(words):
            value = choice.getrandbits(32)
            memory[4 * word:4 * word + 4] = value.to_bytes(4, "little")
            await access(ctx, dut.host, word, value)
        done.append("filled")
        while len(done) < 3:
            word = choice.randrange(2 * words // 3, words)
            if choice.random() < 0.5:
                value = choice.getrandbits(32)
                await access(ctx, dut.host, word, value)
                memory[4 * word:4 * word + 4] = value.to_bytes(4, "little")
            else:
                assert await access(ctx, dut.host, word) == int.from_bytes(memory[4 * word:4 * word + 4], "little")
            await ctx.tick().repeat(choice.randrange(1, 5))
        for word in range(words):
            assert await access(ctx, dut.host, word) == int.from_bytes(memory[4 * word:4 * word + 4], "little")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in (host, reader, writer):
        simulator.add_testbench(bench)
    simulator.run()
    assert sorted(done) == ["filled", "reader", "writer"]


def test_latencies():
    dut = WordMemory(memory_bytes=SIZE, address_bits=12)

    async def bench(ctx):
        ctx.set(dut.read.request.valid, 1)
        assert ctx.get(dut.read.request.ready)
        await ctx.tick()
        ctx.set(dut.read.request.valid, 0)
        assert not ctx.get(dut.read.response.valid)
        await ctx.tick()
        assert ctx.get(dut.read.response.valid)
        ctx.set(dut.read.response.ready, 1)
        await ctx.tick()
        ctx.set(dut.write.data.valid, 1)
        assert ctx.get(dut.write.data.ready)
        await ctx.tick()
        assert ctx.get(dut.write.response.valid)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("size", [4, 100])
def test_sizes(size):
    with pytest.raises(ValueError, match=f"^memory_bytes must be a power of two and at least two bus words, not {size}$"):
        WordMemory(memory_bytes=size, address_bits=12)
