"""The serial epilogue against NumPy: every corner of the requantisation, raw words with and without bias."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.arch.numerics import requantise, wrap32
from systolith.rtl.epilogue_serial import SerialEpilogue

CORNERS = [0, 1, -1, 2, -2, 127, -128, 1 << 30, -(1 << 30), (1 << 31) - 1, -(1 << 31)]


async def results(ctx, dut, *, column, channel, pace):
    """The bytes of one word, and the cycles from ``start`` to the first."""
    ctx.set(dut.column, column)
    ctx.set(dut.channel, channel)
    await ctx.tick()
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)
    octets, cycles = [], 1
    for _ in range(1500):
        ready = pace.random() < 0.7
        ctx.set(dut.o.ready, ready)
        valid, payload = ctx.get(dut.o.valid), ctx.get(dut.o.payload)
        if valid and ready:
            octets.append(payload.data)
        await ctx.tick()
        cycles += not octets and not valid
        if valid and ready and payload.last:
            ctx.set(dut.o.ready, 0)
            return octets, cycles
    raise AssertionError("no last byte")


@pytest.mark.parametrize("mode", ["raw", "bias", "requantise", "int16"])
def test_equals_numerics(mode):
    requantises = mode in ("requantise", "int16")
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng, pace = np.random.default_rng(seed), random.Random(seed)
    cases, cols = 250 if requantises else 40, 3
    words = np.array([*CORNERS, *rng.integers(-(1 << 31), 1 << 31, cases - len(CORNERS))])
    words = np.where(rng.random(cases) < 0.3, words >> 16, words)
    bias = rng.choice([0, 1, -1, -(1 << 31), int(rng.integers(-(1 << 31), 1 << 31))], cases)
    multiplier = np.where(rng.random(cases) < 0.2, rng.choice([0, 1, (1 << 31) - 1], cases), rng.integers(0, 1 << 32, cases))
    shift = np.where(rng.random(cases) < 0.3, rng.integers(-32, 32, cases), rng.integers(-28, 0, cases))
    low, high = np.sort(rng.integers(-128, 128, 2))
    zero_point = int(rng.integers(-128, 128))
    dut = SerialEpilogue(cols=cols, channels=cases, result_bytes=1 + (mode == "int16"))
    limits, dtype = (zero_point, int(low), int(high)), np.int8
    if mode == "int16":
        limits, dtype = (0, 256 * int(low), 256 * int(high) + 255 - zero_point % 256), np.int16

    async def bench(ctx):
        port = dut.parameter
        ctx.set(port.valid, 1)
        for channel in range(cases):
            for field, values in enumerate((bias, multiplier, shift)):
                ctx.set(port.group, channel)
                ctx.set(port.field, field)
                ctx.set(port.word, int(values[channel]) & 0xFFFF_FFFF)
                await ctx.tick()
        ctx.set(port.valid, 0)
        ctx.set(dut.settings, {"requantise": requantises, "bias": mode != "raw", "zero_point": zero_point, "low": int(low),
                               "high": int(high)})
        for channel in range(cases):
            column = channel % cols
            for index, word in enumerate(dut.words):
                ctx.set(word, int(words[channel]) if index == column else 0x5555_5555)
            octets, cycles = await results(ctx, dut, column=column, channel=channel, pace=pace)
            total = wrap32(words[channel] + (bias[channel] if mode != "raw" else 0))
            if requantises:
                expected = requantise(total, multiplier[channel], shift[channel], *limits, dtype=dtype)
                assert octets == list(expected.tobytes()), f"channel {channel}"
                left, right = max(0, shift[channel]), max(0, -shift[channel])
                assert cycles == 68 + right + 33 * left, f"shift {shift[channel]}"
            else:
                assert octets == list(np.asarray(total).astype("<i4").tobytes()), f"channel {channel}"
                assert cycles == (34 if mode == "bias" else 1)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
