# amaranth: UnusedElaboratable=no
"""UARTBone frames against a word memory in Python."""

import random

import pytest
from amaranth.sim import Simulator
from systolith.arch.serial_link import AFTER_HEADER, LONG, LONG_WORDS, Frame, header
from systolith.rtl.uartbone import UARTBone

TIMEOUT = 50


def write_frame(address, words):
    return bytes([1, len(words)]) + address.to_bytes(4, "big") + b"".join(word.to_bytes(4, "big") for word in words)


def read_frame(address, count):
    return bytes([2, count]) + address.to_bytes(4, "big")


class TB:
    """Feeds bytes, answers the bus from a dictionary with random delays, collects answers with random back-pressure."""

    def __init__(self, seed=0, stalls=True):
        self.dut = UARTBone(timeout_ticks=TIMEOUT)
        self.rng = random.Random(seed)
        self.stalls = stalls
        self.memory = {}
        self.writes = []
        self.answer = bytearray()

    def run(self, testbench):
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(testbench)
        simulator.add_testbench(self._bus, background=True)
        simulator.add_testbench(self._collect, background=True)
        simulator.run()

    async def stall(self, ctx, most):
        for _ in range(self.rng.randrange(most) if self.stalls else 0):
            await ctx.tick()

    async def send(self, ctx, data):
        for byte in data:
            ctx.set(self.dut.i.payload, byte)
            ctx.set(self.dut.i.valid, 1)
            for _ in range(200):
                _, _, ready = await ctx.tick().sample(self.dut.i.ready)
                if ready:
                    break
            assert ready, "no byte was accepted for 200 cycles"
            ctx.set(self.dut.i.valid, 0)
            await self.stall(ctx, 3)

    async def answered(self, ctx, count):
        for _ in range(100 + 40 * count):
            if len(self.answer) >= count:
                break
            await ctx.tick()
        assert len(self.answer) == count
        data = bytes(self.answer)
        self.answer.clear()
        return [int.from_bytes(data[i:i + 4], "big") for i in range(0, count, 4)]

    async def _bus(self, ctx):
        bus = self.dut.bus
        while True:
            while not ctx.get(bus.valid):
                await ctx.tick()
            await self.stall(ctx, 4)
            address = ctx.get(bus.address)
            assert ctx.get(bus.valid)
            if ctx.get(bus.write):
                self.writes.append(address)
                self.memory[address] = ctx.get(bus.write_data)
            else:
                ctx.set(bus.read_data, self.memory.get(address, 0))
            ctx.set(bus.ready, 1)
            await ctx.tick()
            ctx.set(bus.ready, 0)

    async def _collect(self, ctx):
        o = self.dut.o
        while True:
            ctx.set(o.ready, not self.stalls or self.rng.randrange(3) == 0)
            _, _, valid, ready, byte = await ctx.tick().sample(o.valid, o.ready, o.payload)
            if valid and ready:
                self.answer.append(byte)


def test_construction():
    with pytest.raises(ValueError, match="timeout_ticks must be at least 1, not 0"):
        UARTBone(timeout_ticks=0)


@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_frames(stalls, seed):
    tb = TB(seed, stalls)
    rng = random.Random(seed)
    print("seed", seed)

    async def testbench(ctx):
        expected = {}
        for _ in range(30):
            address = rng.choice([0, 0x10, 0x1000_0000, 0x3fff_fff0]) + rng.randrange(8)
            count = rng.choice([1, 2, 5])
            if rng.random() < 0.5:
                words = [rng.getrandbits(32) for _ in range(count)]
                await tb.send(ctx, write_frame(address, words))
                expected.update({address + i: word for i, word in enumerate(words)})
            else:
                await tb.send(ctx, read_frame(address, count))
                assert await tb.answered(ctx, 4 * count) == [expected.get(address + i, 0) for i in range(count)]
        await ctx.tick().repeat(20)
        assert tb.memory == expected

    tb.run(testbench)


def test_longest_burst():
    tb = TB(stalls=False)

    async def testbench(ctx):
        words = [0x01020304 * i & 0xffff_ffff for i in range(255)]
        await tb.send(ctx, write_frame(100, words))
        await tb.send(ctx, read_frame(100, 255))
        assert await tb.answered(ctx, 4 * 255) == words

    tb.run(testbench)


def test_a_long_frame_counts_blocks():
    tb = TB(stalls=False)
    first, count = 3 * LONG_WORDS, 2 * LONG_WORDS

    async def testbench(ctx):
        ctx.set(tb.dut.crc, AFTER_HEADER ^ 0xffff_ffff)  # every check is good, and this is the digest's first byte
        words = [0x01020304 * i & 0xffff_ffff for i in range(count)]
        await tb.send(ctx, header(Frame.CHECKED_WRITE | LONG, 4 * first, 2) + bytes(4))
        await tb.send(ctx, b"".join(word.to_bytes(4, "big") for word in words))
        await tb.send(ctx, header(Frame.CHECKED_READ | LONG, 4 * first, 2))
        assert (await tb.answered(ctx, 4 * count + 4))[:-1] == words
        assert tb.writes == list(range(first, first + count))

    tb.run(testbench)


def test_noise_and_empty_frames_between_frames():
    tb = TB()

    async def testbench(ctx):
        await tb.send(ctx, bytes([0, 3, 0xff, 0x55]))
        await tb.send(ctx, write_frame(7, []))
        await tb.send(ctx, read_frame(7, 0))
        await tb.send(ctx, write_frame(7, [42]))
        await tb.send(ctx, read_frame(7, 1))
        assert await tb.answered(ctx, 4) == [42]
        assert tb.writes == [7]

    tb.run(testbench)


@pytest.mark.parametrize("length", range(1, 10))
def test_broken_frame_is_dropped_after_the_timeout(length):
    """A frame cut anywhere writes nothing, and the next frame after the pause is understood."""
    tb = TB()

    async def testbench(ctx):
        await tb.send(ctx, write_frame(5, [0xdeadbeef])[:length])
        await ctx.tick().repeat(TIMEOUT + 5)
        await tb.send(ctx, write_frame(9, [1]))
        await tb.send(ctx, read_frame(9, 1))
        assert await tb.answered(ctx, 4) == [1]
        assert tb.writes == [9]

    tb.run(testbench)


def test_a_pause_shorter_than_the_timeout_is_part_of_the_frame():
    tb = TB(stalls=False)

    async def testbench(ctx):
        for byte in write_frame(5, [0x11223344]):
            await tb.send(ctx, [byte])
            await ctx.tick().repeat(TIMEOUT - 2)
        assert tb.memory == {5: 0x11223344}

    tb.run(testbench)


def test_a_byte_that_nobody_takes_restarts_the_crc():
    """While an answer waits: the line would carry it, the frames never see it."""
    tb = TB(stalls=False)

    async def testbench(ctx):
        await tb.send(ctx, read_frame(3, 255))
        for _ in range(100):
            ctx.set(tb.dut.i.valid, 1)
            ready, restart = ctx.get(tb.dut.i.ready), ctx.get(tb.dut.restart)
            if not ready:
                break
            await ctx.tick()
        assert not ready and restart
        ctx.set(tb.dut.i.valid, 0)
        assert not ctx.get(tb.dut.restart)

    tb.run(testbench)
