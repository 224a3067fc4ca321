"""Fetch: the words of a program from anywhere in memory, its limits, and halting."""

import random
from functools import partial

import numpy as np
import pytest
from amaranth.sim import Simulator
from bus_memory import BusMemory
from systolith.arch.registers import ErrorCode
from systolith.rtl.fetch import Fetch
from systolith.rtl.fetch_serial import SerialFetch


def make(bus_bits, serial):
    return SerialFetch(address_bits=32, bus_bits=bus_bits, addresses=True) if serial else Fetch(address_bits=32, bus_bits=bus_bits)


async def answer_lookups(ctx, port, base, size):
    while True:
        while not (await ctx.tick().sample(port.valid))[-1]:
            pass
        assert ctx.get(port.index) == 0
        ctx.set(port.base, base)
        ctx.set(port.size, size)
        ctx.set(port.ready, 1)
        await ctx.tick()
        ctx.set(port.ready, 0)


def run(*, base, offset, words, size=1 << 15, bus_bits=64, latency=5, stall=0.0, seed=0, halt_at=None, bad=(), serial=False):
    """Reads a program and returns (fetch's words, error or None, cycles from start to the last word)."""
    dut = make(bus_bits, serial)
    memory = BusMemory(1 << 16, bus_bits // 8, latency=latency, stall=stall, seed=seed, bounds=(base, base + size))
    memory.bytes[:] = np.random.default_rng(seed).integers(0, 256, 1 << 16)
    memory.bad.update(bad)
    choice = random.Random(seed)
    got, error, cycle = [], None, 0
    expected = memory.bytes[base + offset:base + offset + 4 * words].view("<u4").tolist()

    async def bench(ctx):
        nonlocal error, cycle
        ctx.set(dut.offset, offset)
        ctx.set(dut.words, words)
        await ctx.tick()
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for cycle in range(20_000):
            ready = choice.random() >= stall
            ctx.set(dut.o.ready, ready)
            if serial:
                ctx.set(dut.wanted, len(got) < words and ready)
            ctx.set(dut.halt, halt_at is not None and cycle >= halt_at)
            _, _, valid, word, report, idle = await ctx.tick().sample(dut.o.valid, dut.o.payload, dut.error, dut.idle)
            if valid and ready:
                assert halt_at is None or cycle < halt_at
                got.append(word)
            if report.valid:
                error = ErrorCode(report.code), report.address
                return
            if halt_at is not None:
                if cycle > halt_at and idle:
                    await ctx.tick().repeat(40)
                    assert ctx.get(dut.idle) and not ctx.get(dut.read.request.valid)
                    return
            elif len(got) >= words and idle:
                return
        raise AssertionError("fetch does not end")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.add_testbench(partial(answer_lookups, port=dut.lookup, base=base, size=size), background=True)
    simulator.add_testbench(partial(memory.reads, port=dut.read), background=True)
    simulator.run()
    assert got[:words] == expected[:len(got)]
    return got, error, cycle


@pytest.mark.parametrize("serial", [False, True], ids=["pipelined", "serial"])
@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("bus_bits", [32, 64, 512])
def test_any_place_and_pace(bus_bits, stall, serial):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    for words in (1, 2, 7, choice.randrange(200, 300)):
        got, error, _ = run(base=4 * choice.randrange(1 << 10), offset=4 * choice.randrange(1 << 10), words=words, bus_bits=bus_bits,
                            stall=stall, latency=choice.randrange(1, 8 if serial else 30), seed=seed, serial=serial)
        assert error is None and len(got) >= words


def test_keeps_ahead_of_dispatch():
    """At a latency of 30, two bursts in flight give a word in less than two cycles."""
    _, _, cycles = run(base=0x1000, offset=0, words=640, latency=30)
    print(f"640 words in {cycles} cycles")
    assert cycles < 640 * 1.2 + 60


@pytest.mark.parametrize("offset, words, size, error", [
    (0x100, 16, 0x140, None), (0x100, 16, 0x13F, (ErrorCode.ADDRESS, 0x2100)), (0x100, 17, 0x140, (ErrorCode.ADDRESS, 0x2100)),
    (0, 0xFFFF_FFFF, 0x1000, (ErrorCode.ADDRESS, 0x2000)), (0xFFFF_FFFC, 2, 0x1000, (ErrorCode.ADDRESS, 0x1FFC)),
    (0x102, 1, 0x1000, (ErrorCode.VALUE, 0x2100))])
@pytest.mark.parametrize("serial", [False, True], ids=["pipelined", "serial"])
def test_limits(offset, words, size, error, serial):
    if error is None:
        assert run(base=0x2000, offset=offset, words=words, size=size, serial=serial)[1] is None
    else:
        assert reports_without_reading(offset, words, size, serial) == [error]


def reports_without_reading(offset, words, size, serial):
    dut = make(64, serial)
    reports = []

    async def bench(ctx):
        ctx.set(dut.offset, offset)
        ctx.set(dut.words, words)
        await ctx.tick()
        ctx.set(dut.start, 1)
        ctx.set(dut.read.request.ready, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for _ in range(20):
            _, _, report, asked = await ctx.tick().sample(dut.error, dut.read.request.valid)
            assert not asked
            if report.valid:
                reports.append((ErrorCode(report.code), report.address))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.add_testbench(partial(answer_lookups, port=dut.lookup, base=0x2000, size=size), background=True)
    simulator.run()
    return reports


def test_nothing_to_read():
    got, error, _ = run(base=0, offset=0xFFFF_FFF0, words=0)
    assert error is None and not got


@pytest.mark.parametrize("serial", [False, True], ids=["pipelined", "serial"])
def test_bus_error(serial):
    _, error, _ = run(base=0, offset=0, words=100, bad=[0x40], serial=serial)
    assert error[0] == ErrorCode.BUS and (not serial or error[1] == 0x40)


@pytest.mark.parametrize("serial", [False, True], ids=["pipelined", "serial"])
@pytest.mark.parametrize("halt_at", range(0, 60, 3))
def test_halt(halt_at, serial):
    run(base=0, offset=0, words=200, latency=9, stall=0.7, seed=halt_at, halt_at=halt_at, serial=serial)
