"""A serial line as the master of a bus, bit by bit, with a bus that takes its time."""

import random

import pytest
from systolith.arch.registers import SERIAL_CONTROL, SERIAL_MEMORY, SERIAL_NOWHERE, SERIAL_RATE, SERIAL_REGISTERS, SERIAL_SOC, offset_of
from systolith.arch.serial_link import CONTROL_DONE, control_address
from systolith.rtl.serial_line import SerialBus
from uart_line import BIT, run_line

CLOCK_HZ = 1e6
MEMORY_BYTES = 1 << 20
WORD_CYCLES = 4 * 10 * BIT


class Bus:
    """What the master did, ``accesses`` as (address, written word or None); unwritten words read as their address."""

    def __init__(self, dut, latency):
        self.dut, self.latency = dut, latency
        self.accesses, self.words = [], {}

    async def serve(self, ctx):
        bus = self.dut.bus
        while True:
            if not ctx.get(bus.valid):
                await ctx.tick()
                continue
            address, written = 4 * ctx.get(bus.address), ctx.get(bus.write_data) if ctx.get(bus.write) else None
            for _ in range(self.latency()):
                await ctx.tick()
            assert ctx.get(bus.valid) and 4 * ctx.get(bus.address) == address, "an access holds until it is done"
            self.accesses.append((address, written))
            if written is not None:
                self.words[address] = written
            ctx.set(bus.read_data, self.words.get(address, address))
            ctx.set(bus.ready, 1)
            await ctx.tick()
            ctx.set(bus.ready, 0)


def run(testbench, latency=lambda: 2):
    dut = SerialBus(memory_bytes=MEMORY_BYTES, clock_hz=CLOCK_HZ, baud=round(CLOCK_HZ / BIT), timeout_s=1024 / CLOCK_HZ)
    bus = Bus(dut, latency)
    run_line(dut, lambda ctx, line: testbench(ctx, line, bus), clock_hz=CLOCK_HZ, background=[bus.serve])


def test_construction():
    with pytest.raises(ValueError, match="memory_bytes must be from 512 to 536870912, not 1073741824"):
        SerialBus(memory_bytes=1 << 30, clock_hz=CLOCK_HZ, baud=250_000)


def test_what_goes_to_the_bus():
    """Registers, memory and the SoC's own, to their first and last word and no further."""
    async def testbench(ctx, line, bus):
        places = [SERIAL_REGISTERS, SERIAL_REGISTERS + 0x1FC, SERIAL_MEMORY, SERIAL_MEMORY + MEMORY_BYTES - 4, SERIAL_SOC + 0x804]
        for place in places:
            await line.write(ctx, place, place ^ 0xFFFF_FFFF)
        for place in places:
            assert await line.read(ctx, place) == [place ^ 0xFFFF_FFFF]
        assert bus.accesses == [(place, place ^ 0xFFFF_FFFF) for place in places] + [(place, None) for place in places]
        bus.accesses.clear()
        for place in (0x200, 0x1000_0000, SERIAL_MEMORY - 4, SERIAL_MEMORY + MEMORY_BYTES, SERIAL_NOWHERE, SERIAL_SOC - 4):
            await line.write(ctx, place, 7)
            assert await line.read(ctx, place) == [0]
        assert not bus.accesses

    run(testbench)


def test_what_the_line_answers_itself():
    async def testbench(ctx, line, bus):
        assert await line.read(ctx, SERIAL_REGISTERS + offset_of("MEMORY_BYTES")) == [MEMORY_BYTES]
        assert await line.read(ctx, SERIAL_RATE) == [0], "at four cycles a bit there is no higher rate"
        assert not bus.accesses

    run(testbench)


def test_control_in_two_steps():
    async def testbench(ctx, line, bus):
        await line.write(ctx, control_address(5), 0)  # a second step without a first one
        assert await line.read(ctx, SERIAL_CONTROL) == [0] and not bus.accesses
        await line.write(ctx, SERIAL_CONTROL, 0)
        assert await line.read(ctx, SERIAL_CONTROL) == [1] and not bus.accesses
        for _ in range(2):  # once more is too much
            await line.write(ctx, control_address(5), 0xFFFF_FFFF)
            assert await line.read(ctx, SERIAL_CONTROL) == [CONTROL_DONE]
        assert bus.accesses == [(SERIAL_REGISTERS + offset_of("CONTROL"), 5)]

    run(testbench)


@pytest.mark.parametrize("seed", range(3))
def test_a_slow_bus_loses_nothing(seed):
    """A write may take as long as the next word on the line, and a read as long as it likes."""
    rng = random.Random(seed)
    print(f"seed {seed}")

    async def testbench(ctx, line, bus):
        words = [rng.getrandbits(32) for _ in range(20)]
        await line.write(ctx, SERIAL_MEMORY + 64, *words)
        for index, word in enumerate(words):
            assert await line.read(ctx, SERIAL_MEMORY + 64 + 4 * index) == [word]

    run(testbench, latency=lambda: rng.choice((0, 1, 40, WORD_CYCLES - 8)))
