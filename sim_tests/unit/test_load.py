"""LOAD against NumPy: every bank, any alignment and pace; its errors; and the rate that it sustains."""

import random
from functools import partial

import numpy as np
import pytest
from amaranth import Mux
from amaranth.sim import Simulator
from bus_memory import BusMemory
from systolith.arch.commands import Bank, Engine, Load, pack
from systolith.arch.registers import STALLS, ErrorCode
from systolith.arch.settings import resolve
from systolith.rtl.interfaces import TABLE_FIELD
from systolith.rtl.load import LoadEngine
from systolith.rtl.load_fields import bank_lanes, bank_rows
from systolith.rtl.load_serial import SerialLoadEngine
from systolith.rtl.timing import DatapathTiming

SIZE = 1 << 16
TIMING = DatapathTiming(swap_cycles=0, swap_to_shift_cycles=1, shift_to_swap_cycles=1, fill_to_emit_cycles=1, emit_to_fill_cycles=1,
                        distance_cycles=4, settle_cycles=9, write_cycles=4, load_cycles=2, drain_cycles=3)


class Bench:
    """A LOAD engine with memory, base registers and the banks that it writes."""

    def __init__(self, settings, *, latency=4, stall=0.0, seed=0, base=0x1000, size=0x8000):
        self.config = config = resolve(settings)
        engine = SerialLoadEngine if config.control.engines == "serial" else LoadEngine
        self.dut = engine(config=config, timing=TIMING)
        self.memory = BusMemory(SIZE, config.bus_bytes, latency=latency, stall=stall, seed=seed, bounds=(base, base + size))
        self.memory.bytes[:] = np.random.default_rng(seed).integers(0, 256, SIZE)
        self.base, self.size = base, size
        self.choice = random.Random(seed)
        self.stall = stall
        lanes = bank_lanes(config)
        # One flat array per bank, in bytes; parameters and accumulator words are four of them.
        self.row_bytes = {Bank.ACTIVATION: lanes[Bank.ACTIVATION], Bank.WEIGHT: lanes[Bank.WEIGHT],
                          Bank.PARAMETER: 12 * lanes[Bank.PARAMETER], Bank.ACCUMULATOR: 4 * lanes[Bank.ACCUMULATOR], Bank.TABLE: 4}
        self.depth = bank_rows(config)
        self.banks = {bank: np.zeros(self.depth[bank] * self.row_bytes[bank], dtype=np.uint8) for bank in lanes}
        self.gives, self.started, self.activities = [], 0, []
        self.claims, self.loads = [], []  # of the accumulator's halves, and which is written, cycle by cycle
        self.written = [0]  # bytes written before each cycle
        self.sizes = []  # bytes of each command
        self.error = None
        self.error_gives = None

    def expect(self, commands):
        """What the banks hold after ``commands``."""
        banks = {bank: np.zeros_like(values) for bank, values in self.banks.items()}
        for c in commands:
            for i2 in range(c.count2):
                for i1 in range(c.count1):
                    source = self.base + (c.offset + i2 * c.stride2 + i1 * c.stride1) % (1 << 32)
                    row = (c.row + i2 * c.row_stride2 + i1 * c.row_stride1) % (1 << 16)
                    target = row * self.row_bytes[c.bank] + c.lane
                    banks[c.bank][target:target + c.run] = self.memory.bytes[source:source + c.run]
        return banks

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
            ctx.set(port.base, self.base)
            ctx.set(port.size, self.size)
            ctx.set(port.ready, 1)
            await ctx.tick()
            ctx.set(port.ready, 0)

    async def _scratchpad(self, ctx, bank):
        stream = getattr(self.dut, bank.name.lower()).stream
        ready = False
        while True:
            _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
            if valid and ready:
                at = payload.row * self.row_bytes[bank] + payload.lane
                assert payload.lane < self.row_bytes[bank] and 0 < payload.count
                self.banks[bank][at:at + payload.count] = list(payload.data)[:payload.count]
            ready = self.choice.random() >= self.stall
            ctx.set(stream.ready, ready)

    async def _words(self, ctx):
        dut, granted = self.dut, 0
        ready = hasattr(dut.accumulator, "ready") and dut.accumulator.ready  # of serial engines
        while True:
            _, _, valid, row, column, word, claim, *is_ready = await ctx.tick().sample(
                dut.accumulator.valid, dut.accumulator.row, dut.accumulator.column, dut.accumulator.word, dut.claim,
                *([] if ready is False else [ready]))
            load = valid and all(is_ready)
            self.claims.append(claim)
            self.loads.append(int(row >= self.config.half_rows) if load else None)
            if ready is not False:
                ctx.set(ready, self.choice.random() >= self.stall)
            if load:
                assert granted >> (row >= self.config.half_rows) & 1, "a half was written without its lock"
                at = row * self.row_bytes[Bank.ACCUMULATOR] + 4 * column
                self.banks[Bank.ACCUMULATOR][at:at + 4] = list(word.to_bytes(4, "little"))
            granted = claim & (granted | self.choice.choice([0, 1, 2, 3]) if self.stall else 3)
            ctx.set(dut.granted, granted)

    async def _parameters(self, ctx):
        port = self.dut.parameter
        while True:
            _, _, valid, group, lane, field, word = await ctx.tick().sample(
                port.valid, port.group, port.lane, port.field, port.word)
            if valid:
                bank = Bank.TABLE if field == TABLE_FIELD else Bank.PARAMETER
                at = group * self.row_bytes[bank] + (12 * lane + 4 * field if bank == Bank.PARAMETER else 0)
                self.banks[bank][at:at + 4] = list(word.to_bytes(4, "little"))

    async def _watch(self, ctx):
        dut, control, tokens = self.dut, self.dut.control, self.dut.tokens
        loaded = dut.accumulator.valid & (dut.accumulator.ready if hasattr(dut.accumulator, "ready") else 1)
        counts = [Mux(port.valid & port.ready, port.payload.count, 0) for port in (dut.activation.stream, dut.weight.stream)]
        while True:
            _, _, started, give, mask, activity, error, *moved = await ctx.tick().sample(
                control.started, tokens.give, tokens.give_mask, control.activity, control.error, *counts,
                loaded, dut.parameter.valid)
            self.started += started
            self.activities.append(STALLS[Engine.LOAD][activity])
            self.written.append(self.written[-1] + moved[0] + moved[1] + 4 * (moved[2] + moved[3]))
            if give:
                self.gives.append(mask)
                # All that the commands up to this one write is visible by now.
                assert self.written[max(0, len(self.written) - 1 - TIMING.write_cycles)] >= sum(self.sizes[:len(self.gives)])
            if error.valid and self.error is None:
                self.error, self.error_gives = (ErrorCode(error.code), error.address), len(self.gives)

    def run(self, commands, *, body=None, limit=60_000):
        """Feeds ``commands`` and waits until all are complete, an error came, or ``body`` returns; gives the cycles."""
        dut = self.dut
        self.sizes = [command.run * command.count1 * command.count2 for command in commands]

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
                if self.error or (len(self.gives) == len(commands) and ctx.get(dut.control.idle)):
                    return
            raise AssertionError("LOAD does not end")

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        words = pack(commands)
        background = [partial(self._feed, words=words), self._lookups, self._words, self._parameters, self._watch,
                      partial(self._scratchpad, bank=Bank.ACTIVATION), partial(self._scratchpad, bank=Bank.WEIGHT),
                      partial(self.memory.reads, port=dut.read)]
        for process in background:
            simulator.add_testbench(process, background=True)
        simulator.run()
        return len(self.activities)


SMALL = {"memory": {"activation_kib": 1, "weight_kib": 1, "accumulator_rows": 16, "parameter_channels": 24, "outstanding": 4}}


def small(rows, cols, **memory):
    return {**SMALL, "array": {"rows": rows, "cols": cols}, "memory": {**SMALL["memory"], **memory}}


def serial(rows, cols, **memory):
    return {**small(rows, cols, **memory), "epilogue": {"lanes": 1}, "control": {"engines": "serial"}}


def random_load(choice, bench):
    """A LOAD that breaks no rule."""
    bank = choice.choice(list(bench.banks))
    unit = {Bank.PARAMETER: 12, Bank.ACCUMULATOR: 4, Bank.TABLE: 4}.get(bank, 1)
    align = 1 if unit == 1 else 4
    row_bytes, total = bench.row_bytes[bank], bench.banks[bank].size
    count1, count2 = choice.randrange(1, 5), choice.randrange(1, 4)
    run = unit * choice.choice([1, choice.randrange(1, 60 // unit + 2), choice.randrange(1, min(total, 300) // unit)])
    lane = choice.randrange(row_bytes) if unit == 1 else 0
    run = min(run, total - lane)
    free_rows = (total - lane - run) // row_bytes
    row_stride1 = choice.randrange(free_rows // (count1 * count2) + 1)
    row_stride2 = choice.randrange(free_rows // (count1 * count2) + 1)
    span = (count1 - 1) * row_stride1 + (count2 - 1) * row_stride2
    row = choice.randrange(free_rows - span + 1)
    if choice.random() < 0.2:  # from the end backwards: negative strides
        row, row_stride1, row_stride2 = row + span, -row_stride1, -row_stride2
    stride1, stride2 = (align * choice.randrange(-300, 300) for _ in range(2))
    low = min(0, (count1 - 1) * stride1) + min(0, (count2 - 1) * stride2)
    high = max(0, (count1 - 1) * stride1) + max(0, (count2 - 1) * stride2) + run
    offset = align * choice.randrange(-(low // align), (bench.size - high) // align)
    return Load(bank=bank, base=choice.randrange(8), offset=offset, run=run, lane=lane, count1=count1, count2=count2, stride1=stride1,
                stride2=stride2, row=row, row_stride1=row_stride1, row_stride2=row_stride2,
                wait=choice.randrange(4), post=choice.randrange(4))


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("settings", [
    small(4, 4), small(1, 1), small(3, 5, bus_bits=32), small(16, 8), small(5, 24, bus_bits=128), serial(4, 2, bus_bits=32),
    serial(3, 5, bus_bits=64), small(4, 8, outstanding=1), small(8, 4, outstanding=2), serial(4, 4, outstanding=1)],
    ids=["4x4", "1x1", "3x5-bus32", "16x8", "5x24-bus128", "4x2-serial-engine", "3x5-serial-engine", "one-burst", "two-bursts",
         "one-burst-serial-engine"])
def test_random_loads(settings, stall):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    bench = Bench(settings, stall=stall, latency=choice.randrange(1, 12), seed=seed)
    commands = [random_load(choice, bench) for _ in range(10)]
    bench.run(commands)
    assert bench.error is None
    expected = bench.expect(commands)
    for bank in bench.banks:
        np.testing.assert_array_equal(bench.banks[bank], expected[bank], err_msg=bank.name)
    assert bench.gives == [command.post for command in commands]
    assert bench.started == len(commands)


@pytest.mark.parametrize("change", [
    {"count1": 0}, {"count2": 0}, {"run": 0}, {"lane": 4}, {"bank": Bank.WEIGHT, "lane": 8},
    *({"bank": bank, **field} for bank in (Bank.ACCUMULATOR, Bank.PARAMETER, Bank.TABLE)
      for field in ({"lane": 1}, {"run": 26}, {"offset": 2}, {"stride1": 1}, {"stride2": 6})),
    {"bank": 5}, {"bank": 7, "run": 0}, {"bank": Bank.PARAMETER, "run": 16}, {"bank": Bank.PARAMETER, "run": 4 * 0x155551},
    {"bank": Bank.PARAMETER, "run": 4}],
    ids=lambda change: "-".join(f"{key}{int(value)}" for key, value in change.items()))
def test_value_errors(change):
    good = Load(bank=Bank.ACTIVATION, offset=40, run=24, count1=4, stride1=32, row_stride1=8)
    bench = Bench(small(4, 8))
    bench.run([good, Load(**{"bank": Bank.ACTIVATION, "offset": 0, "run": 24, **change}), good])
    assert bench.error[0] == ErrorCode.VALUE
    assert bench.error_gives == 1 and bench.started == 1  # all before it is complete, and it has not begun


@pytest.mark.parametrize("settings", [serial(4, 8), {**small(4, 8), "epilogue": {"add": False}}], ids=["serial", "pipelined"])
@pytest.mark.parametrize("change, code", [({}, ErrorCode.UNSUPPORTED), ({"run": 6}, ErrorCode.VALUE)])
def test_no_table(settings, change, code):
    bench = Bench(settings)
    bench.run([Load(**{"bank": Bank.TABLE, "run": 8, **change})])
    assert bench.error[0] == code and bench.started == 0


@pytest.mark.parametrize("engine", [small, serial], ids=["pipelined", "serial"])
def test_address_limit_is_exact(engine):
    for size, fits in ((0x100, True), (0xFF, False)):
        bench = Bench(engine(4, 4), size=size)
        bench.run([Load(bank=Bank.WEIGHT, offset=0xC0, run=0x20, count1=2, stride1=0x20, row_stride1=8)])
        assert bench.error == (None if fits else (ErrorCode.ADDRESS, 0x10E0))
        assert bench.banks[Bank.WEIGHT][:32].any() and bench.banks[Bank.WEIGHT][32:].any() == fits


@pytest.mark.parametrize("engine", [small, serial], ids=["pipelined", "serial"])
@pytest.mark.parametrize("base, offset", [(0x1002, 0), (0x1000, 0x8001), (0x1000, 0xFFFF_FFFC)])
def test_address_errors(base, offset, engine):
    bench = Bench(engine(4, 4), base=base)
    bank = Bank.ACCUMULATOR if base & 3 else Bank.ACTIVATION
    bench.run([Load(bank=bank, offset=offset, run=4)])
    assert bench.error == (ErrorCode.ADDRESS, (base + offset) % (1 << 32)) and bench.memory.words_read == 0


def test_run_longer_than_the_limit():
    bench = Bench(small(4, 4), size=0x10)
    bench.run([Load(bank=Bank.ACTIVATION, run=0x11)])
    assert bench.error == (ErrorCode.ADDRESS, 0x1000)


@pytest.mark.parametrize("bank, engine", [(bank, engine) for engine in (small, serial) for bank in Bank
                                          if engine is small or bank != Bank.TABLE])
def test_range_errors(bank, engine):
    bench = Bench(engine(4, 4))
    rows, row_bytes = bench.depth[bank], bench.row_bytes[bank]
    whole = row_bytes * 3
    last_rows = [Load(bank=bank, row=rows - 3, run=whole), Load(bank=bank, row=rows - 3, run=whole + 12)]
    bench.run(last_rows)
    assert bench.error[0] == ErrorCode.RANGE
    assert bench.error_gives == 1 and not bench.banks[bank][:-whole].any()
    bench = Bench(engine(4, 4))
    bench.run([Load(bank=bank, row=0, row_stride1=-1, count1=2, run=12)])  # row −1 is 65535
    assert bench.error[0] == ErrorCode.RANGE


def test_a_chunk_that_reaches_beyond_the_last_row_is_not_written():
    bench = Bench(small(4, 4))
    bench.run([Load(bank=Bank.ACTIVATION, row=255, lane=2, run=4)])
    assert bench.error == (ErrorCode.RANGE, 0) and not bench.banks[Bank.ACTIVATION].any()


def test_an_error_waits_for_the_command_before():
    """The words of both come without a gap; the first command still counts as complete when the second fails."""
    bench = Bench(small(8, 8), latency=30)
    bench.run([Load(bank=Bank.ACTIVATION, run=512, post=3), Load(bank=Bank.WEIGHT, row=128, run=8)])
    assert bench.error == (ErrorCode.RANGE, 0) and bench.error_gives == 1 and bench.gives == [3]


def test_bus_error():
    bench = Bench(small(4, 4), latency=9)
    bench.memory.bad.add(0x1108)
    bench.run([Load(bank=Bank.ACTIVATION, run=64, post=2), Load(bank=Bank.WEIGHT, offset=0x100, run=32, post=1)])
    assert bench.error == (ErrorCode.BUS, 0) and bench.error_gives == 1 and bench.gives == [2]
    np.testing.assert_array_equal(bench.banks[Bank.WEIGHT][:8], bench.memory.bytes[0x1100:0x1108])
    assert not bench.banks[Bank.WEIGHT][8:].any()


@pytest.mark.parametrize("engine", [small, serial], ids=["pipelined", "serial"])
def test_waits_for_tokens(engine):
    bench = Bench(engine(4, 4))
    control, tokens = bench.dut.control, bench.dut.tokens

    async def body(ctx):
        for available, activity in ((0, "wait_execute"), (1, "wait_store"), (2, "wait_execute")):
            ctx.set(tokens.available, available)
            await ctx.tick().repeat(40)
            assert ctx.get(control.blocked) and not ctx.get(control.idle) and ctx.get(tokens.take)
            assert bench.activities[-1] == activity
        ctx.set(control.halt, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(control.idle) and not ctx.get(tokens.take)

    bench.run([Load(bank=Bank.ACTIVATION, run=4, wait=3)], body=body)
    assert bench.memory.words_read == 0


@pytest.mark.parametrize("when", range(24, 60, 6))
@pytest.mark.parametrize("engine", [small, serial], ids=["pipelined", "serial"])
def test_halt_drains_what_was_requested(when, engine):
    bench = Bench(engine(8, 8), latency=20, stall=0.2, seed=when)
    control, tokens, read = bench.dut.control, bench.dut.tokens, bench.dut.read

    async def body(ctx):
        outstanding = 0
        for cycle in range(400):
            ctx.set(tokens.taken, ctx.get(tokens.take))
            ctx.set(control.halt, cycle >= when)
            *_, asked, beats, answered, idle = await ctx.tick().sample(
                read.request.valid & read.request.ready, read.request.payload.beats, read.response.valid & read.response.ready,
                control.idle)
            outstanding += asked * (beats + 1) - answered
            assert not idle or outstanding == 0 or answered
            if cycle > when + 1 and idle:
                return
        raise AssertionError("LOAD does not become idle")

    bench.run([Load(bank=Bank.ACTIVATION, run=72, count1=8, stride1=80, row_stride1=9)] * 4, body=body)


@pytest.mark.parametrize("bus_bits", [32, 64, 128])
@pytest.mark.parametrize(("memory_stall", "stall"), [(0.0, 0.0), (0.0, 0.4), (0.0, 0.8), (0.5, 0.0), (0.5, 0.4)])
def test_a_half_is_claimed_once_for_a_run(memory_stall, stall, bus_bits):
    """Nobody else gets the half between two words of a run, however late it is granted and the words come, but before a last word that
    comes late, nor before a word is in its RAM; both halves are free at the end."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    bench = Bench(small(4, 4, bus_bits=bus_bits), stall=memory_stall, seed=seed)
    bench.stall = stall  # of the grants
    run = Load(bank=Bank.ACCUMULATOR, run=16 * 13, row=2)  # rows 2 to 14, of which 8 is the first of the second half
    bench.run([run])
    np.testing.assert_array_equal(bench.banks[Bank.ACCUMULATOR], bench.expect([run])[Bank.ACCUMULATOR])
    for half in range(2):
        claimed = [claim >> half & 1 for claim in [*bench.claims, 0]]
        times = sum(before < after for before, after in zip([0, *claimed], claimed, strict=False))
        assert times == 1 or (memory_stall and times == 2), f"seed {seed}, half {half}"
    assert all(claim >> half & 1 for cycle, half in enumerate(bench.loads) if half is not None
               for claim in bench.claims[cycle:cycle + TIMING.load_cycles + 1])
    assert bench.claims[-1] == 0


@pytest.mark.parametrize("latency", [30, 100])
def test_panels_fill_the_bus(latency):
    """A weight panel, runs of two bus words with a stride, loads at one bus word per cycle."""
    runs, commands = 128, 4
    bench = Bench({"array": {"rows": 16, "cols": 16}, "memory": {"weight_kib": 16}}, latency=latency)
    bench.run([Load(bank=Bank.WEIGHT, run=16, count1=runs, stride1=48, row_stride1=1, row=i * runs) for i in range(commands)])
    words = 2 * runs * commands
    busy = bench.activities.count("busy")
    first, last = bench.activities.index("busy"), len(bench.activities) - bench.activities[::-1].index("busy")
    print(f"latency {latency}: {words} words in {last - first} cycles, the first after {first}")
    assert busy == words
    assert last - first <= words + 2
