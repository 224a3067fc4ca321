# amaranth: UnusedElaboratable=no
"""The epilogue against arch/numerics.py: every group shape, both multipliers, a consumer that hesitates."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.arch import numerics
from systolith.arch.numerics import ROUND_ONCE, requantise, wrap, wrap32
from systolith.rtl.epilogue import Epilogue
from systolith.rtl.interfaces import TABLE_FIELD

SEED = 20260713
MIN, MAX = -(1 << 31), (1 << 31) - 1


class Bench:
    """An epilogue beside a table of rows that answers drain requests, and parameters as NumPy has them."""

    def __init__(self, *, seed=SEED, rows=6, drain_cycles=3, parameter_groups=9, multiplier="parallel", **shape):
        self.rng = np.random.default_rng(seed)
        self.random = random.Random(seed)
        print("seed", seed, shape)
        self.dut = Epilogue(parameter_groups=parameter_groups, multiplier=multiplier, drain_cycles=drain_cycles, **shape)
        bits = self.dut.bits
        self.rows = self.rng.integers(-1 << bits - 1, (1 << bits - 1) - 1, (rows, self.dut.cols), endpoint=True)
        channels = parameter_groups * self.dut.lanes
        self.bias = self.rng.integers(MIN, MAX, channels, endpoint=True)
        self.multiplier = self.rng.integers(1 << 30, MAX, channels, endpoint=True) + self.rng.integers(0, 2, channels) * ROUND_ONCE
        self.shift = self.rng.integers(-26, -20, channels) + 8 * (self.dut.result_bytes - 1) + 32 - bits
        self.table = self.rng.integers(MIN, MAX, 256, endpoint=True)
        self.settings = {"requantise": 1, "bias": 1, "add": 0, "unit": 0, "zero_point": 0, "low": -128, "high": 127}
        self.cycle = 0
        self.row = 0
        self.issued = []  # cycle of each group
        self.arrived = []  # cycle of each chunk
        self.chunks = []

    def groups(self, rows, columns, parameter_group):
        """What the reader issues for a window of ``rows``, and the chunks that must come of it (None before the last row)."""
        dut, settings = self.dut, self.settings
        channels = parameter_group * dut.lanes + np.arange(columns)
        values = self.rows[rows, :columns].max(axis=0)
        if settings["bias"]:
            values = wrap(values + self.bias[channels], dut.bits)
        if settings["add"]:
            x1 = values.astype(np.int8)
            values = wrap32((x1.astype(np.int64) << 19) + self.table[(values - x1 >> 8) % 256])
        multiplier, shift = self.multiplier[channels], self.shift[channels]
        if settings["unit"]:
            multiplier[:], shift[:] = numerics.unit(dut.bits)
        step = dut.lanes if settings["requantise"] else dut.raw_lanes
        for first in range(0, columns, dut.lanes):
            for part, start in enumerate(range(first, min(first + dut.lanes, columns), step)):
                end = min(start + step, first + dut.lanes, columns)
                if settings["requantise"]:
                    limits, dtype = [settings[name] for name in ("zero_point", "low", "high")], np.int8
                    if dut.result_bytes == 2:
                        zero_point, low, high = limits
                        limits, dtype = (0, 256 * low, 256 * high + 255 - zero_point % 256), np.int16
                    result = requantise(values[start:end], multiplier[start:end], shift[start:end], *limits, dtype=dtype,
                                        bits=dut.bits).tobytes()
                else:
                    result = wrap32(values[start:end]).astype("<i4").tobytes()
                for place, row in enumerate(rows):
                    valid = place == len(rows) - 1
                    yield {"index": first // dut.lanes, "part": part, "parameter_group": parameter_group + first // dut.lanes,
                           "bytes": len(result), "last": end == columns, "valid": valid, "read": 1, "fresh": not place}, (
                               (result, end == columns) if valid else None), row

    async def load_parameters(self, ctx):
        port = self.dut.parameter
        ctx.set(port.valid, 1)
        for channel in range(len(self.bias)):
            for field, words in enumerate((self.bias, self.multiplier, self.shift)):
                ctx.set(port.group, channel // self.dut.lanes)
                ctx.set(port.lane, channel % self.dut.lanes)
                ctx.set(port.field, field)
                ctx.set(port.word, int(words[channel]) & 0xFFFF_FFFF)
                await ctx.tick()
        ctx.set(port.field, TABLE_FIELD)
        for place, word in enumerate(self.table if self.dut.add else []):
            ctx.set(port.group, place)
            ctx.set(port.word, int(word) & 0xFFFF_FFFF)
            await ctx.tick()
        ctx.set(port.valid, 0)

    async def issue(self, ctx, groups, *, idle=0.0):
        for group, _, row in groups:
            while not ctx.get(self.dut.ready) or self.random.random() < idle:
                ctx.set(self.dut.group, {"read": 0, "fresh": self.random.randrange(2)})
                self.row = self.random.randrange(len(self.rows))
                await ctx.tick()
            ctx.set(self.dut.group, group)
            self.row = row
            self.issued.append(self.cycle)
            await ctx.tick()
        ctx.set(self.dut.group, {"read": 0})

    async def drain(self, ctx):
        """Words of the row of ``drain_cycles`` ago."""
        pipeline = [0] * self.dut.drain_cycles
        async for _ in ctx.tick():
            pipeline = [self.row, *pipeline[:-1]]
            for word, value in zip(self.dut.words, self.rows[pipeline[-1]], strict=True):
                ctx.set(word, int(value))
            self.cycle += 1

    def collect(self, stall):
        async def collect(ctx):
            dut = self.dut
            while True:
                ctx.set(dut.o.ready, self.random.random() >= stall)
                _, _, valid, ready, chunk = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
                if valid and ready:
                    count = chunk.bytes
                    self.chunks.append((bytes(chunk.data[i] for i in range(count)), bool(chunk.last)))
                    self.arrived.append(self.cycle - 1)
        return collect

    def run(self, testbench, *, stall=0.0):
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self.drain, background=True)
        simulator.add_testbench(self.collect(stall), background=True)
        simulator.add_testbench(testbench)
        simulator.run()


async def apply(ctx, bench, **settings):
    """Change settings once nothing is in the pipeline."""
    for _ in range(100):
        if ctx.get(bench.dut.empty):
            break
        await ctx.tick()
    assert ctx.get(bench.dut.empty)
    bench.settings = {**bench.settings, **settings}
    ctx.set(bench.dut.settings, bench.settings)


SHAPES = [{"cols": 1, "lanes": 1, "raw_lanes": 1}, {"cols": 3, "lanes": 2, "raw_lanes": 1}, {"cols": 5, "lanes": 3, "raw_lanes": 2},
          {"cols": 8, "lanes": 4, "raw_lanes": 4}, {"cols": 16, "lanes": 4, "raw_lanes": 2}, {"cols": 40, "lanes": 2, "raw_lanes": 2}]


# Requantise, bias, add, unit: raw without and with the bias, requantised, ADD, MAX_POOL.
KINDS = [(0, 0, 0, 0), (0, 1, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)]


@pytest.mark.parametrize("shape, add, pool", [*((shape, True, True) for shape in SHAPES), (SHAPES[2], True, False),
                                              (SHAPES[2], False, True), (SHAPES[2], False, False),
                                              (SHAPES[2] | {"result_bytes": 2}, False, True),
                                              (SHAPES[3] | {"result_bytes": 2}, False, False)],
                         ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None)
@pytest.mark.parametrize("multiplier, drain_cycles", [("parallel", 3), ("serial", 1)])
def test_random_commands(shape, multiplier, drain_cycles, add, pool):
    random_commands(shape, multiplier, drain_cycles, add, pool)


@pytest.mark.parametrize(("shape", "bits", "pool"), [(SHAPES[2], 40, False), (SHAPES[3], 48, True)])
def test_random_commands_with_wide_words(shape, bits, pool):
    random_commands(shape | {"result_bytes": 2, "bits": bits}, "parallel", 3, False, pool)


def random_commands(shape, multiplier, drain_cycles, add, pool):
    bench = Bench(multiplier=multiplier, drain_cycles=drain_cycles, parameter_groups=25, add=add, max_pool=pool, **shape)
    expected = []

    async def testbench(ctx):
        await bench.load_parameters(ctx)
        for kind in bench.random.sample([kind for kind in KINDS if add >= kind[2] and pool >= kind[3]] * 2, k=7 if add and pool else 6):
            low, high = sorted(bench.rng.integers(-128, 128, 2).tolist())
            await apply(ctx, bench, **dict(zip(("requantise", "bias", "add", "unit"), kind, strict=True)),
                        zero_point=bench.random.randrange(-128, 128), low=low - low % 64, high=high | 63)
            for _ in range(5):
                columns = bench.random.randint(1, bench.dut.cols)
                first = bench.random.randint(0, 25 - -(-columns // bench.dut.lanes))
                window = bench.random.randint(1, 4) if pool else 1
                groups = list(bench.groups([bench.random.randrange(len(bench.rows)) for _ in range(window)], columns, first))
                expected.extend(chunk for _, chunk, _ in groups if chunk)
                await bench.issue(ctx, groups, idle=0.2)
        await ctx.tick().repeat(200)

    bench.run(testbench, stall=0.3)
    assert bench.chunks == expected


@pytest.mark.parametrize("multiplier, requantised", [("parallel", 1), ("serial", 1), ("parallel", 0)])
def test_latency_and_throughput(multiplier, requantised):
    """One group per cycle (serial: per interval) without a gap, each after exactly the stated latency."""
    bench = Bench(cols=16, lanes=4, raw_lanes=2, multiplier=multiplier)
    bench.settings["requantise"] = requantised
    groups = [group for row in range(20) for group in bench.groups([row % 6], 16, 0)]

    async def testbench(ctx):
        await bench.load_parameters(ctx)
        await apply(ctx, bench)
        await bench.issue(ctx, groups)
        await ctx.tick().repeat(50)

    bench.run(testbench)
    dut = bench.dut
    assert bench.chunks == [chunk for _, chunk, _ in groups]
    interval = dut.interval_cycles if requantised else 1
    assert np.diff(bench.issued).tolist() == [interval] * (len(groups) - 1)
    latency = dut.requantise_cycles if requantised else dut.raw_cycles
    assert (np.array(bench.arrived) - bench.issued).tolist() == [latency] * len(groups)


def test_stalled_output_holds_the_reader():
    """With nobody taking chunks, exactly ``depth`` groups are let in, and none is lost."""
    bench = Bench(cols=8, lanes=4, raw_lanes=2)
    groups = [group for row in range(40) for group in bench.groups([row % 6], 8, 1)]

    async def testbench(ctx):
        await bench.load_parameters(ctx)
        await apply(ctx, bench)
        await bench.issue(ctx, groups[:bench.dut.depth])
        for _ in range(50):
            assert not ctx.get(bench.dut.ready)
            await ctx.tick()
        assert ctx.get(bench.dut.o.valid)

    bench.run(testbench, stall=1.0)
    assert len(bench.issued) == bench.dut.depth


@pytest.mark.parametrize("arguments, message", [
    ({"lanes": 5}, "raw_lanes, lanes and cols must not decrease, from 1 on, not 1, 5, 4"),
    ({"raw_lanes": 3}, "raw_lanes, lanes and cols must not decrease, from 1 on, not 3, 2, 4"),
    ({"drain_cycles": 0}, "drain_cycles must be at least 1, not 0"),
    ({"multiplier": "none"}, "multiplier must be one of 'parallel', 'serial', not 'none'"),
])
def test_rejects(arguments, message):
    defaults = {"cols": 4, "lanes": 2, "raw_lanes": 1, "parameter_groups": 4, "multiplier": "parallel", "drain_cycles": 1}
    with pytest.raises(ValueError) as raised:
        Epilogue(**{**defaults, **arguments})
    assert str(raised.value) == message
