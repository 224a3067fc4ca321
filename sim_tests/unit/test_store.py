"""STORE against NumPy: memory and scratchpads, raw and requantised, any alignment and pace; its errors; its rate."""

import dataclasses
import random
from collections import deque
from functools import partial

import numpy as np
import pytest
from amaranth.sim import Simulator
from bus_memory import BusMemory
from systolith.arch.commands import Engine, Operation, Store, Target, pack
from systolith.arch.numerics import UNIT, add, requantise, wrap32
from systolith.arch.registers import STALLS, ErrorCode
from systolith.arch.settings import resolve
from systolith.rtl.interfaces import TABLE_FIELD
from systolith.rtl.store import StoreEngine
from systolith.rtl.store_serial import SerialStoreEngine
from systolith.rtl.timing import DatapathTiming

SIZE = 1 << 16
TIMING = DatapathTiming(swap_cycles=0, swap_to_shift_cycles=1, shift_to_swap_cycles=1, fill_to_emit_cycles=1, emit_to_fill_cycles=1,
                        distance_cycles=4, settle_cycles=9, write_cycles=4, load_cycles=2, drain_cycles=3)


class Bench:
    """A STORE engine with accumulator, parameters, memory, base registers and scratchpads."""

    def __init__(self, settings, *, latency=4, stall=0.0, grants=None, seed=0, base=0x1000, size=0x8000):
        self.config = config = resolve(settings)
        engine = SerialStoreEngine if config.control.engines == "serial" else StoreEngine
        self.dut = engine(config=config, timing=TIMING)
        self.memory = BusMemory(SIZE, config.bus_bytes, latency=latency, stall=stall, seed=seed, bounds=(base, base + size))
        self.base, self.size, self.stall = base, size, stall
        self.grants = grants if grants is not None else 0.5 if stall else 1.0  # how likely a half is granted in a cycle
        self.choice = random.Random(seed)
        rng = np.random.default_rng(seed)
        self.accumulator = rng.integers(-(1 << 31), 1 << 31, (config.memory.accumulator_rows, config.array.cols))
        channels = config.parameter_groups * config.epilogue.lanes
        self.bias = rng.integers(-(1 << 31), 1 << 31, channels)
        self.multiplier = rng.integers(1 << 30, 1 << 31, channels)
        self.shift = rng.integers(-27, -20, channels)
        self.table = rng.integers(-(1 << 31), 1 << 31, config.table_rows)
        # What nobody writes must stay: everything begins as noise.
        self.memory.bytes[:] = rng.integers(0, 256, SIZE)
        self.scratchpads = {target: rng.integers(0, 256, rows * lanes).astype(np.uint8) for target, rows, lanes in (
            (Target.ACTIVATION, config.activation_rows, config.array.rows), (Target.WEIGHT, config.weight_rows, config.array.cols))}
        self.lanes = {Target.ACTIVATION: config.array.rows, Target.WEIGHT: config.array.cols}
        self.gives, self.started, self.activities = [], 0, []
        self.error = self.error_gives = None
        self.written_when_given = []
        self.requests = []
        self.writes = 0  # into scratchpads

    def row_bytes(self, c):
        return c.columns * (4 if c.operation == Operation.RAW else 1)

    def result(self, c, row):
        values = self.accumulator[row + np.arange(c.window) * c.window_stride, :c.columns].max(axis=0)
        channels = c.parameter_group * self.config.epilogue.lanes + np.arange(c.columns)
        if c.operation == Operation.RAW:
            return wrap32(values + self.bias[channels] if c.bias else values).view(np.uint8)
        if c.operation == Operation.MAX_POOL:
            return requantise(values, *UNIT, c.zero_point, c.low, c.high).view(np.uint8)
        multiplier, shift = self.multiplier[channels], self.shift[channels]
        if c.operation == Operation.ADD:
            return add(values, self.table, multiplier, shift, c.zero_point, c.low, c.high).view(np.uint8)
        return requantise(wrap32(values + self.bias[channels]), multiplier, shift, c.zero_point, c.low, c.high).view(np.uint8)

    def expect(self, commands):
        """Memory and scratchpads after ``commands``."""
        memory = self.memory.bytes.copy()
        scratchpads = {target: content.copy() for target, content in self.scratchpads.items()}
        for c in commands:
            for i2 in range(c.count2):
                for i1 in range(c.count1):
                    data = self.result(c, c.row + i2 * c.count1 + i1)
                    place = c.destination + i2 * c.stride2 + i1 * c.stride1
                    if c.target == Target.MEMORY:
                        at = self.base + place % (1 << 32)
                        memory[at:at + len(data)] = data
                    else:
                        at = place % (1 << 16) * self.lanes[c.target] + c.lane
                        scratchpads[c.target][at:at + len(data)] = data
        return memory, scratchpads

    async def _feed(self, ctx, words):
        stream = self.dut.commands
        for word in words:
            while self.choice.random() < self.stall:
                await ctx.tick()
            ctx.set(stream.payload, int(word))
            ctx.set(stream.valid, 1)
            while not (await ctx.tick().sample(stream.ready))[-1]:
                pass
            ctx.set(stream.valid, 0)

    async def _lookups(self, ctx):
        port = self.dut.lookup
        while True:
            while not (await ctx.tick().sample(port.valid))[-1]:
                pass
            await ctx.tick().repeat(2)
            ctx.set(port.base, self.base)
            ctx.set(port.size, self.size)
            ctx.set(port.ready, 1)
            await ctx.tick()
            ctx.set(port.ready, 0)

    async def _drain(self, ctx):
        """The accumulator and its locks: a half that is not granted reads as noise."""
        dut, granted = self.dut, 0
        pipeline = deque([None] * TIMING.drain_cycles)
        shown = None
        half_rows = self.config.half_rows
        while True:
            _, _, half, row, claim = await ctx.tick().sample(dut.drain.half, dut.drain.row, dut.claim)
            pipeline.append(half * half_rows + row if granted >> half & 1 else None)
            pipeline.popleft()
            row = pipeline[0]
            if row != shown:
                values = [self.choice.randrange(1 << 31)] * self.config.array.cols if row is None else self.accumulator[row]
                for word, value in zip(dut.drain.words, values, strict=True):
                    ctx.set(word, int(value))
                shown = row
            granted = claim & (granted | sum((self.choice.random() < self.grants) << half for half in (0, 1)))
            ctx.set(dut.granted, granted)

    async def _drain_serial(self, ctx):
        """The same for serial engines: words are there in the cycle with ready, which comes when it likes."""
        dut, drain, ready = self.dut, self.dut.drain, False
        granted = wait = 0
        while True:
            _, _, valid, row, claim = await ctx.tick().sample(drain.valid, drain.row, dut.claim)
            assert not valid or granted >> row // self.config.half_rows & 1, "a half was read without its lock"
            wait = 0 if ready or not valid else wait + 1
            ready = bool(valid) and wait >= 2 and self.choice.random() >= self.stall
            for word, value in zip(drain.words, self.accumulator[row], strict=True):
                ctx.set(word, int(value) if ready else self.choice.randrange(1 << 31))
            ctx.set(drain.ready, ready)
            granted = claim & (granted | self.choice.choice([0, 1, 2, 3]) if self.stall else 3)
            ctx.set(dut.granted, granted)

    async def _scratchpad(self, ctx, target):
        stream = getattr(self.dut, target.name.lower()).stream
        content, lanes = self.scratchpads[target], self.lanes[target]
        ready, held = False, None
        while True:
            _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
            write = (payload.row, payload.lane, payload.count, tuple(payload.data))
            assert held is None or (valid and write == held), "a write changed while it waited"
            if valid and ready:
                at = payload.row * lanes + payload.lane
                assert 0 < payload.count and at + payload.count <= len(content), "a write beyond the scratchpad"
                content[at:at + payload.count] = list(payload.data)[:payload.count]
                self.writes += 1
            held = write if valid and not ready else None
            ready = self.choice.random() >= self.stall
            ctx.set(stream.ready, ready)

    async def _watch(self, ctx):
        control, tokens, request = self.dut.control, self.dut.tokens, self.dut.write.request
        while True:
            _, _, started, give, mask, activity, error, asked, burst = await ctx.tick().sample(
                control.started, tokens.give, tokens.give_mask, control.activity, control.error,
                request.valid & request.ready, request.payload)
            self.started += started
            self.activities.append(STALLS[Engine.STORE][activity])
            if asked:
                self.requests.append((burst.address, burst.beats + 1))
            if give:
                self.gives.append(mask)
                self.written_when_given.append(self.memory.bytes_written)
            if error.valid and self.error is None:
                self.error, self.error_gives = (ErrorCode(error.code), error.address), len(self.gives)

    async def _load_parameters(self, ctx, table):
        port = self.dut.parameter
        lanes = self.config.epilogue.lanes
        ctx.set(port.valid, 1)
        for channel in range(len(self.bias)):
            for field, words in enumerate((self.bias, self.multiplier, self.shift)):
                ctx.set(port.group, channel // lanes)
                ctx.set(port.lane, channel % lanes)
                ctx.set(port.field, field)
                ctx.set(port.word, int(words[channel]) & 0xFFFF_FFFF)
                await ctx.tick()
        ctx.set(port.field, TABLE_FIELD)
        for place, word in enumerate(self.table if table else []):
            ctx.set(port.group, place)
            ctx.set(port.word, int(word) & 0xFFFF_FFFF)
            await ctx.tick()
        ctx.set(port.valid, 0)

    def run(self, commands, *, body=None, limit=60_000):
        """Feeds ``commands`` and waits until all are complete, an error came, or ``body`` returns."""
        dut = self.dut

        async def bench(ctx):
            ctx.set(dut.tokens.available, 3)
            if body:
                await body(ctx)
                return
            took = 0
            for _ in range(limit):
                take = ctx.get(dut.tokens.take)
                assert not (took and take)  # the counters tell only after next what is left
                ctx.set(dut.tokens.taken, take)
                took = take
                await ctx.tick()
                if self.error:
                    return
                if len(self.gives) == len(commands) and ctx.get(dut.control.idle):
                    assert not ctx.get(dut.claim), "a half stays claimed"
                    return
            raise AssertionError("STORE does not end")

        async def start(ctx):
            await self._load_parameters(ctx, any(command.operation == Operation.ADD for command in commands))
            await self._feed(ctx, pack(commands))

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        serial = self.config.control.engines == "serial"
        drain = self._drain_serial if serial else self._drain
        for process in (start, self._lookups, drain, self._watch, partial(self._scratchpad, target=Target.ACTIVATION),
                        partial(self._scratchpad, target=Target.WEIGHT), partial(self.memory.writes, port=dut.write)):
            simulator.add_testbench(process, background=True)
        simulator.run()

    def check(self, commands, expected):
        memory, scratchpads = expected
        np.testing.assert_array_equal(self.memory.bytes, memory)
        for target, content in scratchpads.items():
            np.testing.assert_array_equal(self.scratchpads[target], content, err_msg=target.name)
        assert self.gives == [command.post for command in commands]
        assert self.started == len(commands)


def small(rows, cols, *, lanes=None, multiplier="parallel", engines="pipelined", add=None, **memory):
    memory = {"activation_kib": 1, "weight_kib": 1, "accumulator_rows": 16, "parameter_channels": 2 * cols, **memory}
    epilogue = {"multiplier": multiplier, **({"lanes": lanes} if lanes else {}),
                **({"add": add, "max_pool": not add} if add is not None else {})}
    return {"array": {"rows": rows, "cols": cols}, "memory": memory, "epilogue": epilogue, "control": {"engines": engines}}


def random_store(choice, bench):
    """A STORE that breaks no rule."""
    config = bench.config
    epilogue = config.epilogue
    operation = choice.choice([Operation.RAW, Operation.REQUANTISE] + epilogue.add * [Operation.ADD] + epilogue.max_pool * [
        Operation.MAX_POOL])
    window, window_stride = 1, choice.randrange(99)
    if epilogue.max_pool and choice.randrange(2):
        window, window_stride = choice.randint(1, min(6, config.half_rows)), choice.randrange(3)
        window_stride = min(window_stride, (config.half_rows - 1) // window)
    window_rows = (window - 1) * window_stride  # those behind the first one
    target = choice.choice([Target.MEMORY, Target.MEMORY, Target.ACTIVATION, Target.WEIGHT])
    columns = choice.choice([config.array.cols, choice.randint(1, config.array.cols)])
    data_bytes = columns * (4 if operation == Operation.RAW else 1)
    count1 = choice.randint(1, config.half_rows - window_rows)
    count2 = choice.randint(1, (config.half_rows - window_rows) // count1)
    row = choice.randrange(2) * config.half_rows + choice.randint(0, config.half_rows - window_rows - count1 * count2)
    lane = 0
    if target == Target.MEMORY:
        stride1 = choice.choice([data_bytes, data_bytes, choice.randint(data_bytes, data_bytes + 40)])
        stride2 = choice.choice([count1 * stride1, count1 * stride1 + choice.randrange(40)])
        if choice.random() < 0.2:
            stride1, stride2 = -stride1, -stride2
        unit, limit = 1, bench.size
    else:
        lanes = bench.lanes[target]
        lane = choice.randrange(lanes)
        unit, limit = lanes, len(bench.scratchpads[target])
        rows = -(-(lane + data_bytes) // lanes)
        if rows * count1 * count2 * lanes > limit:
            count1 = count2 = 1
        stride1 = rows + choice.randrange(2) if rows * 2 * count1 * count2 * lanes <= limit else rows
        stride2 = count1 * stride1
    first = min(0, (count1 - 1) * stride1) + min(0, (count2 - 1) * stride2)
    last = max(0, (count1 - 1) * stride1) + max(0, (count2 - 1) * stride2)
    destination = choice.randint(-first, (limit - data_bytes - lane) // unit - last)
    low, high = sorted(choice.choices(range(-128, 128), k=2))
    return Store(
        operation=operation, target=target, base=choice.randrange(8), bias=choice.randrange(2), window=window,
        window_stride=window_stride, row=row, columns=columns, count1=count1, count2=count2,
        destination=destination, stride1=stride1, stride2=stride2, zero_point=choice.randint(-128, 127),
        low=choice.choice([-128, low]), high=choice.choice([127, high]), lane=lane,
        parameter_group=choice.randint(0, config.parameter_groups - -(-columns // config.epilogue.lanes)),
        wait=choice.randrange(4), post=choice.randrange(4))


SHAPES = {
    "1x1": small(1, 1), "3x5-bus32": small(3, 5, lanes=3, bus_bits=32), "5x3-bus128": small(5, 3, lanes=2, bus_bits=128),
    "8x8-serial": small(8, 8, lanes=1, bus_bits=32, multiplier="serial"), "4x16": small(4, 16, lanes=4),
    "16x16-bus128": small(16, 16, lanes=4, bus_bits=128), "4x6-add": small(4, 6, add=True), "4x6-pool": small(4, 6, add=False),
    "4x2-serial-engine": small(4, 2, lanes=1, engines="serial", bus_bits=32),
    "3x5-serial-engine": small(3, 5, lanes=1, engines="serial", bus_bits=64),
}


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("shape", SHAPES)
def test_random_stores(shape, stall):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    bench = Bench(SHAPES[shape], stall=stall, latency=choice.randrange(1, 12), seed=seed)
    commands = [random_store(choice, bench) for _ in range(8)]
    expected = bench.expect(commands)
    bench.run(commands)
    assert bench.error is None
    bench.check(commands, expected)


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_both_halves_wait_for_their_own(seed):
    """Rows pile up before the reader: one whose half is not granted waits, whatever half the row behind it is of."""
    choice = random.Random(seed)
    bench = Bench(small(2, 4, lanes=4), grants=0.02, seed=seed)
    commands = [Store(operation=choice.choice([Operation.RAW, Operation.REQUANTISE]), row=8 * choice.randrange(2) + choice.randrange(6),
                      columns=choice.randint(1, 4), count1=choice.randint(1, 2), stride1=16, destination=64 * place) for place in range(24)]
    expected = bench.expect(commands)
    bench.run(commands)
    bench.check(commands, expected)


@pytest.mark.parametrize("change, code", [
    *(({name: 0}, ErrorCode.VALUE) for name in ("count1", "count2", "columns")),
    ({"columns": 9}, ErrorCode.VALUE), ({"low": 5, "high": 4}, ErrorCode.VALUE),
    ({"target": 3}, ErrorCode.VALUE), ({"window": 0}, ErrorCode.VALUE),
    ({"target": Target.ACTIVATION, "lane": 4}, ErrorCode.VALUE), ({"target": Target.WEIGHT, "lane": 8}, ErrorCode.VALUE),
], ids=lambda value: "-".join(f"{key}{int(item)}" for key, item in value.items()) if isinstance(value, dict) else value.name)
def test_refused_commands(change, code):
    """The command before is complete, the refused one has not begun."""
    good = Store(columns=8, count1=4, stride1=50, lane=200)
    bench = Bench(small(4, 8), latency=20)
    expected = bench.expect([good])
    bench.run([good, Store(**{"columns": 8, "count1": 2, **change}), good])
    assert bench.error == (code, 0)
    assert bench.error_gives == 1
    bench.check([good], expected)


@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize("change, lacks", [
    ({"operation": Operation.ADD}, "add"), ({"operation": Operation.ADD, "count1": 0}, "add"),
    ({"operation": Operation.MAX_POOL}, "max_pool"), ({"window": 2}, "max_pool"), ({"window": 3, "count1": 0}, "max_pool")],
    ids=["add", "add-count", "max_pool", "window", "window-count"])
def test_absent_operations(add, change, lacks):
    """VALUE goes before UNSUPPORTED, but not before a field with too many bits."""
    bench = Bench(small(4, 8, add=add))
    bench.run([Store(**{"columns": 8, **change})])
    absent = lacks == ("max_pool" if add else "add")
    value = change.get("count1") == 0 and not (absent and "window" in change)
    assert (bench.error and bench.error[0]) == (ErrorCode.VALUE if value else ErrorCode.UNSUPPORTED if absent else None)


def leading(command, rows):
    """``command`` as if it had only so many rows."""
    return Store(**{**vars(command), "count1": rows, "count2": 1})


@pytest.mark.parametrize("name, command, good_rows, code, address", [
    ("both halves", Store(row=6, columns=8, count1=4, stride1=32), 2, ErrorCode.RANGE, None),
    ("beyond the accumulator", Store(row=14, columns=8, count1=4, stride1=32), 2, ErrorCode.RANGE, None),
    ("far beyond", Store(row=32, columns=8), 0, ErrorCode.RANGE, None),
    ("wrapping", Store(row=65535, columns=8, count1=2, stride1=32), 0, ErrorCode.RANGE, None),
    ("window", Store(row=2, columns=8, count1=4, stride1=32, window=3, window_stride=2), 2, ErrorCode.RANGE, None),
    ("window in both halves", Store(row=5, columns=8, count1=4, stride1=32, window=4, window_stride=1), 0, ErrorCode.RANGE, None),
    ("wide window", Store(row=1, columns=8, window=2, window_stride=65535), 0, ErrorCode.RANGE, None),
    ("long window", Store(row=8, columns=8, window=255, window_stride=65535), 0, ErrorCode.RANGE, None),
    ("window beyond", Store(row=12, columns=8, count1=2, stride1=32, window=17, window_stride=1), 0, ErrorCode.RANGE, None),
    ("parameters", Store(columns=5, operation=Operation.REQUANTISE, parameter_group=3), 0, ErrorCode.RANGE, None),
    ("raw parameters", Store(columns=5, bias=1, parameter_group=3), 0, ErrorCode.RANGE, None),
    ("weight rows", Store(columns=8, target=Target.WEIGHT, destination=120, stride1=5, count1=3), 1, ErrorCode.RANGE, None),
    ("running over", Store(columns=8, target=Target.WEIGHT, destination=120, stride1=4, count1=2, lane=1), 1, ErrorCode.RANGE, None),
    ("negative row", Store(columns=8, target=Target.ACTIVATION, destination=8, stride1=-8, count1=3), 2, ErrorCode.RANGE, None),
    ("limit", Store(columns=8, destination=0x7FA1, stride1=32, count1=4), 2, ErrorCode.ADDRESS, 0x1000 + 0x7FE1),
    ("below", Store(columns=1, destination=8, stride1=-8, count1=4), 2, ErrorCode.ADDRESS, 0x1000 - 8),
    ("wraps to the limit", Store(columns=8, destination=0xFFFF_FFF0), 0, ErrorCode.ADDRESS, 0x1000 - 16),
], ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("engines", ["pipelined", "serial"])
def test_rows_that_break_a_rule(name, command, good_rows, code, address, engines):
    """Rows before the one that breaks the rule are written, it and all others are not."""
    if command.window > 1 and engines == "serial":
        pytest.skip("serial engines have no windows")
    before = Store(columns=3, count1=3, stride1=12, destination=0x100)
    bench = Bench(small(4, 8, engines=engines, lanes=1 if engines == "serial" else 4), latency=15)
    assert bench.config.parameter_groups * bench.config.epilogue.lanes == 16
    if command.parameter_group and engines == "serial":
        command = dataclasses.replace(command, parameter_group=12)  # the same channel
    expected = bench.expect([before, *([leading(command, good_rows)] if good_rows else [])])
    bench.run([before, command, before])
    assert bench.error is not None and bench.error[0] == code
    if address is not None:
        assert bench.error[1] == address
    assert bench.error_gives == 1
    bench.gives, bench.started = bench.gives[:1], bench.started - 1
    bench.check([before], expected)


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("engines", ["pipelined", "serial"])
def test_address_limit_is_exact(fits, engines):
    bench = Bench(small(4, 8, engines=engines, lanes=1), size=0x200 - (not fits))
    bench.run([Store(columns=8, count1=4, stride1=32, destination=0x180)])
    assert bench.error == (None if fits else (ErrorCode.ADDRESS, 0x11E0))


@pytest.mark.parametrize("burst", [0x280, 0x2C0])  # amid the command, and its last one
def test_bus_error(burst):
    """The burst's address is reported; the command and all later ones give no tokens."""
    bench = Bench(small(4, 8), latency=9)
    bench.memory.bad.add(0x1000 + burst + 8)
    bench.run([Store(columns=8, count1=4, stride1=32, post=3), Store(columns=8, count1=4, stride1=0x40, destination=0x200, post=1),
               Store(columns=8, destination=0x400, post=2)])
    assert bench.error == (ErrorCode.BUS, 0x1000 + burst)
    assert bench.gives == [3]


def test_adjacent_rows_share_bursts():
    """Rows without gaps are one run: bursts of 16 words from the first multiple of 16 on, and no byte twice."""
    bench = Bench(small(4, 8, accumulator_rows=64), base=0x1000)
    bench.run([Store(columns=8, count1=8, stride1=32, count2=4, stride2=256, destination=40)])
    assert bench.requests == [(0x1028, 11), *((0x1080 + 128 * i, 16) for i in range(7)), (0x1400, 5)]
    assert bench.memory.bytes_written == 32 * 32


def test_tiny_rows_do_not_wait_for_a_full_burst():
    """More one-byte rows than the queues hold: the words that are complete leave, and the rest of a word waits for its bytes."""
    bench = Bench(small(4, 8, accumulator_rows=1024, bus_bits=128))
    command = Store(columns=1, count1=300, stride1=1, destination=3, operation=Operation.REQUANTISE)
    expected = bench.expect([command])
    bench.run([command])
    bench.check([command], expected)
    assert bench.memory.bytes_written == 300
    assert sum(beats for _, beats in bench.requests) == -(-303 // 16)


@pytest.mark.parametrize("engines", ["pipelined", "serial"])
def test_waits_for_tokens(engines):
    bench = Bench(small(4, 8, engines=engines, lanes=1))
    control, tokens = bench.dut.control, bench.dut.tokens

    async def body(ctx):
        await ctx.tick().repeat(80)
        for available, activity in ((0, "wait_load"), (1, "wait_execute"), (2, "wait_load")):
            ctx.set(tokens.available, available)
            await ctx.tick().repeat(40)
            assert ctx.get(control.blocked) and not ctx.get(control.idle) and ctx.get(tokens.take)
            assert bench.activities[-1] == activity and not ctx.get(bench.dut.claim)
        ctx.set(control.halt, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(control.idle) and not ctx.get(tokens.take)

    bench.run([Store(columns=8, wait=3)], body=body)
    assert not bench.requests


def test_tokens_are_given_when_all_is_written():
    """Memory: after the last response. Between targets the order of commands holds."""
    bench = Bench(small(4, 8), latency=30)
    targets = [Target.MEMORY, Target.ACTIVATION, Target.WEIGHT, Target.MEMORY]
    commands = [Store(columns=8, count1=4, stride1=8 if target else 40, destination=40 * post, target=target, post=post)
                for post, target in enumerate(targets)]
    expected = bench.expect(commands)
    bench.run(commands)
    bench.check(commands, expected)
    assert bench.written_when_given == [128, 128, 128, 256]


@pytest.mark.parametrize("target", [Target.MEMORY, Target.ACTIVATION])
@pytest.mark.parametrize("when", range(60, 180, 40))
@pytest.mark.parametrize("engines", ["pipelined", "serial"])
def test_halt(target, when, engines):
    """Whatever was requested is completed, nothing else is; no row leaves; the engine becomes idle."""
    lanes = 1 if engines == "serial" else 4
    bench = Bench(small(4, 8, accumulator_rows=64, engines=engines, lanes=lanes), latency=20, stall=0.3, seed=when)
    control, tokens, write = bench.dut.control, bench.dut.tokens, bench.dut.write
    words_before = len(bench.bias) * 3

    async def body(ctx):
        owed = responses = 0
        late = None
        for cycle in range(1500):
            ctx.set(tokens.taken, ctx.get(tokens.take))
            ctx.set(control.halt, cycle >= words_before + when)
            *_, asked, beats, moved, answered, idle = await ctx.tick().sample(
                write.request.valid & write.request.ready, write.request.payload.beats, write.data.valid & write.data.ready,
                write.response.valid & write.response.ready, control.idle)
            owed += asked * (beats + 1) - moved
            responses += asked - answered
            if cycle > words_before + when + 2:
                late = late if late is not None else len(bench.requests)
                if idle:
                    assert owed == responses == 0
                    assert len(bench.requests) - late <= 1  # one may have been on offer
                    return
        raise AssertionError("STORE does not become idle")

    step = 56 if target == Target.MEMORY else 8
    bench.run([Store(columns=8, count1=24, stride1=step, destination=7, target=target)] * 6, body=body)


@pytest.mark.parametrize("command, words", [
    (Store(columns=16, count1=32, stride1=64), 256),  # raw, two words per bus word
    (Store(columns=16, count1=32, stride1=96), 256),
    (Store(columns=16, count1=32, stride1=64, operation=Operation.REQUANTISE), 128),  # four groups per row
    (Store(columns=16, count1=32, stride1=16, operation=Operation.REQUANTISE), 128),
    (Store(columns=16, count1=32, stride1=1, operation=Operation.REQUANTISE, target=Target.WEIGHT), 128),
], ids=["raw", "raw-apart", "int8-apart", "int8", "int8-scratchpad"])
def test_rate(command, words):
    """One group per cycle without gaps, within a command and from one command to the next."""
    bench = Bench({"array": {"rows": 16, "cols": 16}, "memory": {"activation_kib": 8, "weight_kib": 8, "accumulator_rows": 128,
                                                                 "parameter_channels": 16}}, latency=20)
    bench.run([command] * 3)
    first, last = bench.activities.index("busy"), len(bench.activities) - bench.activities[::-1].index("busy")
    print(f"{3 * words} groups in {last - first} cycles")
    assert last - first <= 3 * words + 30
    assert bench.activities.count("busy") >= 3 * words


@pytest.mark.parametrize("rows, cols, lanes, bus_bits, operation, columns, writes", [
    (16, 16, 4, 64, Operation.REQUANTISE, 16, 2), (16, 16, 4, 64, Operation.ADD, 10, 2), (24, 12, 3, 64, Operation.MAX_POOL, 12, 2),
    (16, 16, 4, 128, Operation.REQUANTISE, 16, 1), (8, 5, 2, 64, Operation.REQUANTISE, 5, 1), (3, 5, 4, 64, Operation.REQUANTISE, 5, 3),
    (16, 16, 4, 64, Operation.RAW, 15, 8), (5, 6, 3, 64, Operation.RAW, 6, 6)])
def test_scratchpad_writes_are_few(rows, cols, lanes, bus_bits, operation, columns, writes):
    """Chunks share a write as far as the port is wide: LOAD has the port in the other cycles."""
    bench = Bench(small(rows, cols, lanes=lanes, bus_bits=bus_bits))
    command = Store(operation=operation, target=Target.ACTIVATION, columns=columns, count1=4, stride1=4 * columns // rows + 2, lane=1)
    expected = bench.expect([command])
    bench.run([command])
    bench.check([command], expected)
    assert bench.writes == 4 * writes
