# amaranth: UnusedElaboratable=no
"""Device memory against a bytearray, with random bursts, strobes, stalls and host accesses."""

import random

import pytest
from amaranth.sim import Simulator
from systolith.rtl.device_memory import DeviceMemory

SIZE = 1024


class TB:
    """Drivers of the accelerator's ports and the host's; each keeps what it saw."""

    def __init__(self, *, bus_bits=64, ports=2, stall=0.0, seed=0):
        print("seed", seed)
        self.dut = DeviceMemory(memory_bytes=SIZE, bus_bits=bus_bits, address_bits=20, ports=ports)
        self.bus_bytes = bus_bits // 8
        self.rng = random.Random(seed)
        self.stall = stall
        self.cycle = 0
        self.beats = []      # (cycle, data, error) of read responses
        self.responses = []  # errors of write responses

    def run(self, *testbenches):
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        for testbench in testbenches:
            simulator.add_testbench(testbench)
        simulator.add_testbench(self._monitor, background=True)
        simulator.run()

    async def _monitor(self, ctx):
        read, write = self.dut.read.response, self.dut.write.response
        while True:
            ctx.set(read.ready, self.rng.random() >= self.stall)
            ctx.set(write.ready, self.rng.random() >= self.stall)
            sampled = ctx.tick().sample(read.valid, read.ready, read.payload.data, read.payload.error,
                                        write.valid, write.ready, write.payload.error)
            _, _, read_valid, read_ready, data, error, write_valid, write_ready, write_error = await sampled
            if read_valid and read_ready:
                self.beats.append((self.cycle, data, error))
            if write_valid and write_ready:
                self.responses.append(write_error)
            self.cycle += 1

    async def _send(self, ctx, port, **payload):
        while self.rng.random() < self.stall:
            await ctx.tick()
        for name, value in payload.items():
            ctx.set(port.payload[name], value)
        ctx.set(port.valid, 1)
        for _ in range(500):
            _, _, ready = await ctx.tick().sample(port.ready)
            if ready:
                break
        assert ready, "not accepted for 500 cycles"
        ctx.set(port.valid, 0)

    async def request_read(self, ctx, address, beats):
        await self._send(ctx, self.dut.read.request, address=address, beats=beats - 1)

    async def write(self, ctx, address, words, strobes):
        await self._send(ctx, self.dut.write.request, address=address, beats=len(words) - 1)
        for i, (word, strobe) in enumerate(zip(words, strobes, strict=True)):
            await self._send(ctx, self.dut.write.data, data=word, strobe=strobe, last=i == len(words) - 1)

    async def host(self, ctx, address, value=None):
        port = self.dut.host
        ctx.set(port.address, address)
        ctx.set(port.write, value is not None)
        ctx.set(port.write_data, value or 0)
        ctx.set(port.valid, 1)
        for _ in range(500):
            _, _, ready, data = await ctx.tick().sample(port.ready, port.read_data)
            if ready:
                break
        assert ready, "no answer for 500 cycles"
        ctx.set(port.valid, 0)
        return data

    async def until(self, ctx, condition):
        for _ in range(2000):
            if condition():
                return
            await ctx.tick()
        raise AssertionError("nothing for 2000 cycles")


def store(memory, bus_bytes, address, word, strobe):
    for i in range(bus_bytes):
        if strobe >> i & 1 and address + i < SIZE:
            memory[address + i] = word >> 8 * i & 0xff


@pytest.mark.parametrize(("name", "value", "message"), [
    ("memory_bytes", 1000, "memory_bytes must be a power of two and at least two bus words, not 1000"),
    ("memory_bytes", 8, "memory_bytes must be a power of two and at least two bus words, not 8"),
    ("ports", 3, "ports must be 1 or 2, not 3")])
def test_construction(name, value, message):
    with pytest.raises(ValueError, match=message):
        DeviceMemory(**{"memory_bytes": 1024, "bus_bits": 64, "address_bits": 20, name: value})


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("ports", [1, 2])
@pytest.mark.parametrize("bus_bits", [32, 64, 128])
def test_random_writes_then_reads(bus_bits, ports, stall):
    tb = TB(bus_bits=bus_bits, ports=ports, stall=stall, seed=bus_bits + ports)
    rng = tb.rng
    words = SIZE // tb.bus_bytes

    async def testbench(ctx):
        memory = bytearray(SIZE)
        for address in range(0, SIZE, 4):
            value = rng.getrandbits(32)
            await tb.host(ctx, address // 4, value)
            memory[address:address + 4] = value.to_bytes(4, "little")
        bursts = 0
        for _ in range(20):
            start, count = rng.randrange(words), rng.randrange(1, 12)
            count = min(count, words - start)
            data = [rng.getrandbits(bus_bits) for _ in range(count)]
            strobes = [rng.choice([0, (1 << tb.bus_bytes) - 1, rng.getrandbits(tb.bus_bytes)]) for _ in range(count)]
            await tb.write(ctx, start * tb.bus_bytes, data, strobes)
            bursts += 1
            for i in range(count):
                store(memory, tb.bus_bytes, (start + i) * tb.bus_bytes, data[i], strobes[i])
        await tb.until(ctx, lambda: len(tb.responses) == bursts)
        assert tb.responses == [0] * bursts
        wanted = []
        for _ in range(20):
            start, count = rng.randrange(words), rng.randrange(1, 12)
            count = min(count, words - start)
            await tb.request_read(ctx, start * tb.bus_bytes, count)
            wanted += [int.from_bytes(memory[a * tb.bus_bytes:(a + 1) * tb.bus_bytes], "little") for a in range(start, start + count)]
        await tb.until(ctx, lambda: len(tb.beats) == len(wanted))
        assert [(data, error) for _, data, error in tb.beats] == [(data, 0) for data in wanted]
        for address in range(0, SIZE, 4):
            assert await tb.host(ctx, address // 4) == int.from_bytes(memory[address:address + 4], "little")

    tb.run(testbench)


@pytest.mark.parametrize("ports", [1, 2])
def test_everything_at_once(ports):
    """Reader, writer and host use separate parts of the memory in the same cycles; none disturbs another."""
    tb = TB(ports=ports, stall=0.3, seed=ports)
    rng = random.Random(ports)
    content = [rng.getrandbits(64) for _ in range(32)]
    written = [rng.getrandbits(64) for _ in range(32)]
    filled = []

    async def reader(ctx):
        await tb.write(ctx, 0, content, [0xff] * 32)
        await tb.until(ctx, lambda: tb.responses)
        filled.append(True)
        for _ in range(4):
            await tb.request_read(ctx, 0, 32)
        await tb.until(ctx, lambda: len(tb.beats) == 4 * 32)
        assert [data for _, data, _ in tb.beats] == content * 4

    async def writer(ctx):
        await tb.until(ctx, lambda: filled)
        for start in range(0, 32, 8):
            await tb.write(ctx, (64 + start) * 8, written[start:start + 8], [0xff] * 8)

    async def host(ctx):
        await tb.until(ctx, lambda: filled)
        for i in range(40):
            value = rng.getrandbits(32)
            await tb.host(ctx, 200 + i % 3, value)
            assert await tb.host(ctx, 200 + i % 3) == value
        await tb.until(ctx, lambda: len(tb.responses) == 5)
        for i, word in enumerate(written):
            assert await tb.host(ctx, 2 * (64 + i)) | await tb.host(ctx, 2 * (64 + i) + 1) << 32 == word

    tb.run(reader, writer, host)


@pytest.mark.parametrize("ports", [1, 2])
def test_latency_and_throughput(ports):
    """Seven cycles to the first word (five with one port), then one word per cycle, across bursts too."""
    tb = TB(ports=ports)

    async def testbench(ctx):
        start = tb.cycle
        for i in range(4):
            await tb.request_read(ctx, 64 * i, 8)
        await tb.until(ctx, lambda: len(tb.beats) == 32)
        first = {1: 5, 2: 8}[ports]
        assert [cycle - start for cycle, _, _ in tb.beats] == list(range(first, first + 32))

    tb.run(testbench)


@pytest.mark.parametrize("ports", [1, 2])
def test_words_beyond_the_memory(ports):
    """Error for each such word, nothing written, also where an address would wrap round; the next burst is clean."""
    tb = TB(ports=ports)

    async def testbench(ctx):
        for address in range(0, SIZE, 4):
            await tb.host(ctx, address // 4, address)
        await tb.request_read(ctx, SIZE - 16, 4)
        await tb.request_read(ctx, 4 * SIZE, 1)
        await tb.request_read(ctx, 0, 1)
        await tb.until(ctx, lambda: len(tb.beats) == 6)
        assert [error for _, _, error in tb.beats] == [0, 0, 1, 1, 1, 0]
        await tb.write(ctx, SIZE - 8, [1, 2], [0xff, 0xff])
        await tb.write(ctx, 8 * SIZE, [3], [0xff])
        await tb.write(ctx, 8, [4], [0xff])
        await tb.until(ctx, lambda: len(tb.responses) == 3)
        assert tb.responses == [1, 1, 0]
        assert await tb.host(ctx, 0) == 0
        assert await tb.host(ctx, 2) == 4
        assert await tb.host(ctx, SIZE // 4 - 2) == 1

    tb.run(testbench)
