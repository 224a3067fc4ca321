"""Requantise lanes against arch/numerics.py."""

import numpy as np
import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator
from systolith.arch.numerics import ROUND_ONCE, SHIFT_MAX, SHIFT_MIN, UNIT_WIDE, WIDE_SHIFT_MAX, requantise
from systolith.rtl.requantise import ParallelRequantise, SerialRequantise, WideRequantise, requantiser

SEED = 20260712
MAX, MIN = (1 << 31) - 1, -(1 << 31)


def run(dut, columns, settings, *, gap=0):
    """Results for the columns (acc, multiplier, shift), started back to back, each exactly ``latency_cycles`` after its start."""
    count = len(columns[0])
    interval = dut.interval_cycles + gap
    results = []

    async def testbench(ctx):
        for port, value in zip((dut.zero_point, dut.low, dut.high), settings, strict=True):
            ctx.set(port, value)
        for cycle in range((count - 1) * interval + dut.latency_cycles + 1):
            for port, column in zip((dut.acc, dut.multiplier, dut.shift), columns, strict=True):
                index, phase = divmod(cycle - dut.multiplier_cycles * (port is dut.multiplier), interval)
                starting = phase == 0 and 0 <= index < count
                ctx.set(port, int(column[index]) if starting else -1 if port is dut.acc else 0)
            index, phase = divmod(cycle, interval)
            ctx.set(dut.start, phase == 0 and 0 <= index < count)
            index, phase = divmod(cycle - dut.latency_cycles, interval)
            if phase == 0 and index >= 0:
                results.append(ctx.get(dut.o))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return np.array(results)


def check(dut, columns, settings, *, bits=32, **options):
    columns = [np.asarray(column) for column in columns]
    acc, multiplier, shift = columns
    limits, dtype = settings, np.int8
    if dut.result_bits == 16:  # the fields of a STORE say it so
        zero_point, low, high = settings
        limits, dtype = (0, 256 * low, 256 * high + 255 - zero_point % 256), np.int16
    expected = [requantise(np.int32(a) if bits == 32 else a, m, np.int8(s), *limits, dtype=dtype, bits=bits)
                for a, m, s in zip(acc, multiplier, shift, strict=True)]
    np.testing.assert_array_equal(run(dut, columns, settings, **options), expected)


KINDS = [ParallelRequantise, SerialRequantise]
EVERY = pytest.mark.parametrize("kind", KINDS)
BITS = pytest.mark.parametrize("bits", [8, 16])


@BITS
@EVERY
def test_corners(kind, bits):
    accs = [0, 1, -1, 2, -3, MAX, MIN, MAX - 1, MIN + 1, 1 << 30, -(1 << 30), 0x5555_5555, -0x5555_5555, 3 << 14, -(3 << 14)]
    multipliers = [0, 1, MAX, 1 << 30, (1 << 30) + 1, 0x6000_0000, 0xFFFF, 0x1_0000, ROUND_ONCE, 0x6000_0000 + ROUND_ONCE, MAX + ROUND_ONCE]
    shifts = [SHIFT_MIN, -30, -16, -9, -8, -7, -2, -1, 0, 1, 15, SHIFT_MAX]
    if kind is SerialRequantise:
        multipliers, shifts = multipliers[2:6] + multipliers[9:], shifts[::2]
    cases = [(a, m, s) for a in accs for m in multipliers for s in shifts]
    check(kind(bits), list(zip(*cases, strict=True)), (0, -128, 127))


@EVERY
@pytest.mark.parametrize("settings", [(127, -128, 127), (-128, -128, 127), (5, -20, 30), (-100, -100, 127), (17, -3, -3)])
def test_ties_and_results_near_the_clamp(kind, settings):
    """acc · 2**30 · 2**(shift − 31) runs through all halves and quarters around the int8 range."""
    acc = np.arange(-1100, 1100, 3 if kind is ParallelRequantise else 17)
    for shift in (0, -1, -2):
        check(kind(), (acc, np.full_like(acc, 1 << 30), np.full_like(acc, shift)), settings)
    check(kind(), (acc, np.full_like(acc, (1 << 30) + ROUND_ONCE), np.full_like(acc, -2)), settings)


@EVERY
@pytest.mark.parametrize("settings", [(0, -128, 127), (100, 0, 23), (-1, 0, 0), (0, -17, -17)])
def test_int16_results_near_the_clamp(kind, settings):
    """The same around the limits of int16, and around those that the settings give."""
    edges = [-32768, 32767, 256 * settings[1], 256 * settings[2] + 255 - settings[0] % 256, 0]
    acc = np.concatenate([2 * edge + np.arange(-9, 10, 1 if kind is ParallelRequantise else 3) for edge in edges])
    for shift, once in ((0, 0), (-1, 0), (-1, ROUND_ONCE)):
        check(kind(16), (acc << -shift, np.full_like(acc, (1 << 30) + once), np.full_like(acc, shift)), settings)


@BITS
@EVERY
def test_random(kind, bits):
    rng = np.random.default_rng(SEED)
    print("seed", SEED)
    count = 4000 if kind is ParallelRequantise else 600
    shift = rng.integers(SHIFT_MIN, SHIFT_MAX, count, endpoint=True)
    # Mostly accumulators whose result is within its type, so that rounding shows.
    multiplier = rng.integers(0, MAX, count, endpoint=True)
    acc = rng.integers(MIN, MAX, count, endpoint=True)
    reach = 140 << bits - 8
    fitting = np.clip(rng.uniform(-reach, reach, count) * 2.0 ** (31 - shift) / np.maximum(multiplier, 1), MIN, MAX).astype(np.int64)
    acc = np.where(rng.random(count) < 0.8, fitting, acc)
    multiplier += rng.integers(0, 2, count) * ROUND_ONCE
    check(kind(bits), (acc, multiplier, shift), (int(rng.integers(-128, 128)), -128, 127), gap=int(kind is SerialRequantise))


@pytest.mark.parametrize("bits", [40, 48])
def test_wide_corners(bits):
    """Every shift that a field holds, those that are no shift of such words among them."""
    most = (1 << bits - 1) - 1
    accs = [0, 1, -1, 3, -3, most, -most - 1, MAX + 1, MIN - 1, 1 << bits - 2, 0x55_5555_5555, -0x55_5555_5555, 12_345 << 16, -1 << 23]
    multipliers = [0, 1, MAX, 1 << 30, 0x6000_0001, 0xFFFF, 0x1_0000, ROUND_ONCE + 0x4321_0000]
    cases = [(a, m, s) for a in accs for m in multipliers for s in range(-32, 32)]
    check(WideRequantise(16, bits), list(zip(*cases, strict=True)), (-1, -128, 127), bits=bits)
    same = np.array([*range(-40, 40), 29_999, 30_000, 40_000, -40_000])
    check(WideRequantise(16, bits), [same, *(np.full(same.shape, value) for value in UNIT_WIDE)], (208, -100, 117), bits=bits)


@pytest.mark.parametrize("bits", [40, 48])
def test_wide_random(bits):
    rng = np.random.default_rng([SEED, bits])
    print("seed", SEED)
    count, most = 4000, (1 << bits - 1) - 1
    shift = rng.integers(SHIFT_MIN, WIDE_SHIFT_MAX, count, endpoint=True)
    multiplier = rng.integers(0, MAX, count, endpoint=True)
    fitting = np.clip(rng.uniform(-36_000, 36_000, count) * 2.0 ** (31 - shift) / np.maximum(multiplier, 1), -most, most).astype(np.int64)
    acc = np.where(rng.random(count) < 0.8, fitting, rng.integers(-most - 1, most, count, endpoint=True))
    check(WideRequantise(16, bits), (acc, multiplier, shift), (17, -120, 110), bits=bits)


def test_kinds():
    for name, kind in (("parallel", ParallelRequantise), ("serial", SerialRequantise)):
        lane = requantiser(name)
        assert type(lane) is kind
        Fragment.get(lane, None)
    with pytest.raises(ValueError) as raised:
        requantiser("dsp")
    assert str(raised.value) == "multiplier must be one of 'parallel', 'serial', not 'dsp'"
    assert type(requantiser("parallel", 16, 40)) is WideRequantise
    for arguments in (("serial", 16, 40), ("parallel", 8, 40), ("parallel", 16, 49)):
        with pytest.raises(ValueError) as raised:
            requantiser(*arguments)
        assert str(raised.value) == (
            f"bits must be 32 or, for a parallel multiplier and results of 16 bits, up to 48, not {arguments[-1]}")
    assert (WideRequantise.latency_cycles, WideRequantise.interval_cycles) == (11, 1)
    assert (ParallelRequantise.latency_cycles, ParallelRequantise.interval_cycles) == (11, 1)
    assert (SerialRequantise.latency_cycles, SerialRequantise.interval_cycles) == (14, 8)
