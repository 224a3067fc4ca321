# amaranth: UnusedElaboratable=no
"""The serial line, bit by bit, against a line model that knows nothing of the RTL."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator
from systolith.rtl.uart import UARTReceiver, UARTTransmitter, bit_cycles


def simulate(dut, *testbenches, processes=()):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    for process in processes:
        simulator.add_testbench(process, background=True)
    simulator.run()


def frame(byte, stop=1):
    return [0, *(byte >> i & 1 for i in range(8)), stop]


@pytest.mark.parametrize(("clock_hz", "baud", "cycles"), [(12e6, 1_000_000, 12), (60e6, 1_000_000, 60), (25e6, 115_200, 217)])
def test_bit_cycles(clock_hz, baud, cycles):
    assert bit_cycles(clock_hz, baud) == cycles


@pytest.mark.parametrize("baud", [4_000_000, 3_200_000])
def test_bit_cycles_refuses_what_the_clock_cannot_divide(baud):
    with pytest.raises(ValueError, match="baud must divide the clock of 12000000 Hz within 2.5 % and be at most a quarter of it, "
                                         f"not {baud}"):
        bit_cycles(12e6, baud)


def test_construction():
    with pytest.raises(ValueError, match="bit_cycles must be at least 4, not 3"):
        UARTReceiver(bit_cycles=3)
    with pytest.raises(ValueError, match="bit_cycles must be at least 1, not 0"):
        UARTTransmitter(bit_cycles=0)


@pytest.mark.parametrize(("cycles", "skew", "built"), [
    (4, 1.0, None), (12, 1.0, None), (16, 0.97, None), (16, 1.03, None), (100, 0.96, None), (100, 1.04, None),
    (4, 1.0, 100), (5, 1.0, 16), (16, 0.97, 17), (16, 1.03, 16)])
def test_receive(cycles, skew, built):
    """Every byte arrives, at the sender's own idea of a bit; a byte without a stop bit does not."""
    dut = UARTReceiver(bit_cycles=built or cycles, adjustable=built is not None)
    rng = random.Random(1)
    wanted = [0, 255, 0x55, 0xaa, *(rng.randrange(256) for _ in range(12))]
    got = []

    async def send(ctx):
        time = 0.0
        now = 0
        if built:
            ctx.set(dut.cycles, cycles - 1)
        for i, byte in enumerate(wanted):
            bits = [*frame(0x5a, stop=0), 1, *frame(byte)] if i == 5 else frame(byte)
            for bit in [*bits, *[1] * rng.randrange(3)]:
                ctx.set(dut.rx, bit)
                time += cycles * skew
                await ctx.tick().repeat(round(time) - now)
                now = round(time)
        await ctx.tick().repeat(3 * cycles)

    async def receive(ctx):
        async for clk, rst, valid, byte in ctx.tick().sample(dut.o.valid, dut.o.payload):
            if clk and not rst and valid:
                got.append(byte)

    simulate(dut, send, processes=[receive])
    assert got == wanted


def test_receive_ignores_a_glitch():
    dut = UARTReceiver(bit_cycles=16)

    async def testbench(ctx):
        ctx.set(dut.rx, 0)
        await ctx.tick().repeat(4)
        ctx.set(dut.rx, 1)
        for _ in range(400):
            await ctx.tick()
            assert not ctx.get(dut.o.valid)

    simulate(dut, testbench)


@pytest.mark.parametrize(("cycles", "built"), [(1, None), (4, None), (7, None), (4, 100), (7, 7)])
def test_transmit_back_to_back(cycles, built):
    dut = UARTTransmitter(bit_cycles=built or cycles, adjustable=built is not None)
    wanted = [0, 255, 0x55, 0x13, 0x80]
    line = []

    async def send(ctx):
        if built:
            ctx.set(dut.cycles, cycles - 1)
        for byte in wanted:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(12 * cycles)

    async def watch(ctx):
        async for clk, rst, tx in ctx.tick().sample(dut.tx):
            if clk and not rst:
                line.append(tx)

    simulate(dut, send, processes=[watch])
    start = line.index(0)
    bits = [bit for byte in wanted for bit in frame(byte)]
    assert line[start:start + cycles * len(bits)] == [bit for bit in bits for _ in range(cycles)]
    assert set(line[start + cycles * len(bits):]) == {1}


def test_loopback():
    """What the transmitter sends, the receiver gets, at the same bit length."""
    m = Module()
    m.submodules.transmitter = transmitter = UARTTransmitter(bit_cycles=5)
    m.submodules.receiver = receiver = UARTReceiver(bit_cycles=5)
    m.d.comb += receiver.rx.eq(transmitter.tx)

    async def testbench(ctx):
        for byte in (0x00, 0xff, 0xa5):
            ctx.set(transmitter.i.payload, byte)
            ctx.set(transmitter.i.valid, 1)
            await ctx.tick().until(transmitter.i.ready)
            ctx.set(transmitter.i.valid, 0)
            for _ in range(80):
                if ctx.get(receiver.o.valid):
                    break
                await ctx.tick()
            assert ctx.get(receiver.o.valid) and ctx.get(receiver.o.payload) == byte

    simulate(m, testbench)
