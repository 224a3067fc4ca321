"""The whole accelerator on Amaranth's simulator: small programs by hand, how they end, and where every cycle went."""

import random
from functools import partial

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator
from bus_memory import BusMemory
from systolith.arch.commands import Bank, Engine, Execute, Load, Operation, Store, pack
from systolith.arch.manifest import identity_registers
from systolith.arch.registers import STALLS, Control, ErrorCode, State, Status, offset_of
from systolith.arch.settings import resolve
from systolith.rtl.core import Core, flat_members
from systolith.rtl.interfaces import ReadPort, WritePort

SETTINGS = {"array": {"rows": 4, "cols": 4},
            "memory": {"activation_kib": 1, "weight_kib": 1, "accumulator_rows": 32, "parameter_channels": 16, "outstanding": 8}}
M, N, K = 6, 4, 8
BASE, SIZE = 0x1000, 0x2000  # base 1: all tensors
A_AT, W_AT, C_AT = 0x100, 0x203, 0x400
PROGRAM_AT = 0x4000


def gemm(**changes):
    """C = A·W for two weight tiles: LOAD A, LOAD W, EXECUTE, STORE; ``changes`` are fields by command name."""
    commands = {
        "load_a": {"bank": Bank.ACTIVATION, "base": 1, "offset": A_AT, "run": 4, "count1": M, "stride1": K, "row_stride1": 1,
                   "count2": 2, "stride2": 4, "row_stride2": M},
        "load_w": {"bank": Bank.WEIGHT, "base": 1, "offset": W_AT, "run": K * N, "post": 1},
        "execute": {"wait": 1, "post": 2, "k_last": 4, "ct_count": 2, "weight_ct": 4, "activation_ct": M, "x_count": M, "activation_x": 1},
        "store": {"wait": 2, "operation": Operation.RAW, "base": 1, "columns": N, "count1": M, "destination": C_AT, "stride1": 4 * N},
    }
    kinds = {"load_a": Load, "load_w": Load, "execute": Execute, "store": Store}
    return [kinds[name](**{**fields, **changes.get(name, {})}) for name, fields in commands.items()]


class Harness(wiring.Component):
    """The core with its memory ports as the signatures of ``rtl/interfaces.py``."""

    def __init__(self, core):
        self.core = core
        memory = core.config.memory
        super().__init__({"read": Out(ReadPort(memory.address_bits, memory.bus_bits)),
                          "write": Out(WritePort(memory.address_bits, memory.bus_bits))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.core
        for way in ("read", "write"):
            for name, flow, signal in flat_members(way, getattr(self, way)):
                flat = getattr(core, name)
                m.d.comb += signal.eq(flat) if flow is Out else flat.eq(signal)
        return m


class Bench:
    """A core with memory, driven through its registers."""

    def __init__(self, *, settings=SETTINGS, latency=5, stall=0.0, seed=0):
        self.config = resolve(settings)
        self.core = core = Core(self.config)
        self.memory = BusMemory(1 << 16, self.config.bus_bytes, latency=latency, stall=stall, seed=seed)
        self.harness = Harness(core)
        self.rng = np.random.default_rng(seed)
        self.a = self.rng.integers(-128, 128, (M, K), np.int8)
        self.w = self.rng.integers(-128, 128, (K, N), np.int8)
        bytes_ = self.memory.bytes
        bytes_[:] = 0xA5
        bytes_[BASE + A_AT:][:M * K] = self.a.view(np.uint8).ravel()
        bytes_[BASE + W_AT:][:K * N] = self.w.view(np.uint8).ravel()
        self.ctx = None

    def expected(self):
        return self.a.astype(np.int32) @ self.w.astype(np.int32)

    def result(self):
        return self.memory.bytes[BASE + C_AT:][:M * N * 4].view(np.int32).reshape(M, N)

    async def set(self, name, value):
        ctx, core = self.ctx, self.core
        ctx.set(core.csr_address, offset_of(name))
        ctx.set(core.csr_write_data, int(value))
        ctx.set(core.csr_write, 1)
        await ctx.tick()
        ctx.set(core.csr_write, 0)

    async def get(self, name):
        self.ctx.set(self.core.csr_address, offset_of(name))
        await self.ctx.tick()
        return self.ctx.get(self.core.csr_read_data)

    async def state(self):
        return State(await self.get("STATUS") & 3)

    async def load_program(self, commands, *, size=SIZE):
        words = pack(commands) if not isinstance(commands, np.ndarray) else commands
        self.memory.bytes[PROGRAM_AT:][:4 * words.size] = words.view(np.uint8)
        for name, value in (("BASE0_LO", PROGRAM_AT - 64), ("SIZE0_LO", 0x2000), ("BASE1_LO", BASE), ("SIZE1_LO", size),
                            ("PROGRAM_OFFSET", 64), ("PROGRAM_WORDS", words.size), ("IRQ_ENABLE", 1)):
            await self.set(name, value)

    async def wait(self, limit=3000):
        """Until the program has ended, which the interrupt tells."""
        for _ in range(limit):
            if self.ctx.get(self.core.irq):
                return await self.state()
            await self.ctx.tick()
        raise AssertionError("the program does not end")

    async def execute(self, commands, **options):
        await self.load_program(commands, **options)
        await self.set("CONTROL", Control.START)
        state = await self.wait()
        await self.check_counters()
        return state

    async def check_counters(self):
        cycles = await self.get("CYCLES")
        for engine, causes in STALLS.items():
            counts = {cause: await self.get(f"{engine.name}_{cause.upper()}") for cause in causes}
            assert sum(counts.values()) == cycles, f"{engine.name}: {counts} is not {cycles}"

    async def error(self):
        return (ErrorCode(await self.get("ERROR_CODE")), Engine(await self.get("ERROR_ENGINE")), await self.get("ERROR_COMMAND"),
                await self.get("ERROR_ADDRESS_LO"))

    def run(self, body):
        async def bench(ctx):
            self.ctx = ctx
            await body(self)

        simulator = Simulator(self.harness)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.add_testbench(partial(self.memory.reads, port=self.harness.read), background=True)
        simulator.add_testbench(partial(self.memory.writes, port=self.harness.write), background=True)
        simulator.run()


@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_gemm(stall):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")

    async def body(b):
        assert await b.execute(gemm()) == State.DONE
        np.testing.assert_array_equal(b.result(), b.expected())
        assert await b.error() == (ErrorCode.NONE, Engine.NONE, 0, 0)
        assert await b.get("COMMANDS") == 4
        assert await b.get("BYTES_WRITTEN") == 4 * M * N == b.memory.bytes_written
        assert await b.get("BYTES_READ") == 8 * b.memory.words_read
        assert await b.get("EXECUTE_BUSY") == 2 * M
        assert (b.memory.bytes[BASE + C_AT + 4 * M * N:][:64] == 0xA5).all()

    Bench(stall=stall, seed=seed).run(body)


def test_programs_follow_each_other_without_configuration():
    """An error, an abort, a reset: the next START finds everything as the host left it."""
    async def body(b):
        words = pack(gemm())
        await b.load_program(words)
        for disturbance in (None, "error", "abort", "reset", None):
            b.memory.bytes[BASE + C_AT:][:4 * M * N] = 0
            b.memory.bytes[PROGRAM_AT:][:4] = 0 if disturbance == "error" else words[:1].view(np.uint8)
            await b.set("CONTROL", Control.START)
            if disturbance == "abort":
                await b.ctx.tick().repeat(b.rng.integers(40, 120))
                await b.set("CONTROL", Control.ABORT)
            if disturbance == "reset":
                await b.ctx.tick().repeat(b.rng.integers(40, 120))
                await b.set("CONTROL", Control.RESET)
                await b.ctx.tick().repeat(60)
                assert await b.get("STATUS") == State.IDLE and await b.get("CYCLES") == 0
                continue
            state = await b.wait()
            await b.check_counters()
            code = {None: ErrorCode.NONE, "error": ErrorCode.OPCODE, "abort": ErrorCode.ABORTED}[disturbance]
            assert (await b.error())[0] == code and state == (State.ERROR if disturbance else State.DONE)
            if not disturbance:
                np.testing.assert_array_equal(b.result(), b.expected())

    Bench().run(body)


@pytest.mark.parametrize("name, expected", [
    # Nobody gives what one of them waits for.
    ("execute", {"wait": 3}), ("load_a", {"wait": 2}), ("store", {"wait": 3})])
def test_deadlock(name, expected):
    async def body(b):
        assert await b.execute(gemm(**{name: expected})) == State.ERROR
        assert await b.error() == (ErrorCode.DEADLOCK, Engine.FETCH, 4, 0)
        assert (b.memory.bytes[BASE + C_AT:][:4 * M * N] == 0xA5).all()

    Bench().run(body)


def test_deadlock_behind_a_full_queue():
    async def body(b):
        queue = b.config.control.queue_commands
        program = [Execute(wait=2)] * (queue + 1) + [gemm()[0]]
        assert await b.execute(program) == State.ERROR
        assert await b.error() == (ErrorCode.DEADLOCK, Engine.FETCH, queue, 0)

    Bench().run(body)


@pytest.mark.parametrize("engine, quiet, posting", [
    (Engine.LOAD, Load(base=1, run=4), Load(base=1, run=4, post=1)), (Engine.EXECUTE, Execute(), Execute(post=2)),
    (Engine.STORE, Store(base=1), Store(base=1, post=1))], ids=["load", "execute", "store"])
def test_token_overflow(engine, quiet, posting):
    """Counters of two bits hold three tokens: the fourth is one too many, and its command is named."""
    async def body(b):
        assert await b.execute([quiet, quiet, *[posting] * 6]) == State.ERROR
        assert await b.error() == (ErrorCode.TOKEN_OVERFLOW, engine, 5, 0)

    Bench(settings={**SETTINGS, "control": {"token_bits": 2}}).run(body)


def test_bad_header():
    async def body(b):
        words = pack(gemm())
        words[16] ^= 0x4
        assert await b.execute(words) == State.ERROR
        assert await b.error() == (ErrorCode.OPCODE, Engine.FETCH, 2, 0)

    Bench().run(body)


@pytest.mark.parametrize("register, value, expected", [
    ("SIZE0_LO", 64, (ErrorCode.ADDRESS, PROGRAM_AT)), ("PROGRAM_OFFSET", 66, (ErrorCode.VALUE, 0))], ids=["outside", "unaligned"])
def test_errors_of_the_program_s_address(register, value, expected):
    code, address = expected

    async def body(b):
        await b.load_program(gemm())
        await b.set(register, value)
        await b.set("CONTROL", Control.START)
        assert await b.wait() == State.ERROR
        assert await b.error() == (code, Engine.FETCH, 0, address)

    Bench().run(body)


def test_bus_error_of_the_program():
    """The word that the memory answers with an error is the third; what was read before it is given up."""
    async def body(b):
        b.memory.bad = {PROGRAM_AT + 2 * b.config.bus_bytes}
        assert await b.execute(gemm()) == State.ERROR
        code, engine, _, address = await b.error()
        assert (code, engine, address) == (ErrorCode.BUS, Engine.FETCH, PROGRAM_AT + 2 * b.config.bus_bytes)

    Bench().run(body)


@pytest.mark.parametrize("size, expected", [
    (C_AT + 4 * M * N - 1, (ErrorCode.ADDRESS, Engine.STORE, 0, BASE + C_AT + 4 * (M - 1) * N)),
    (C_AT, (ErrorCode.ADDRESS, Engine.STORE, 0, BASE + C_AT)),
    (W_AT + K * N - 1, (ErrorCode.ADDRESS, Engine.LOAD, 1, BASE + W_AT))])
def test_address_limits(size, expected):
    async def body(b):
        assert await b.execute(gemm(), size=size) == State.ERROR
        assert await b.error() == expected
        np.testing.assert_array_equal(b.memory.bytes[BASE + size:PROGRAM_AT], before[BASE + size:PROGRAM_AT])

    bench = Bench()
    before = bench.memory.bytes.copy()
    bench.run(body)


@pytest.mark.parametrize("change, expected", [
    ({"load_w": {"run": 0}}, (ErrorCode.VALUE, Engine.LOAD, 1, 0)),
    ({"load_w": {"row": 250}}, (ErrorCode.RANGE, Engine.LOAD, 1, 0)),
    ({"execute": {"x_count": 0}}, (ErrorCode.VALUE, Engine.EXECUTE, 0, 0)),
    ({"execute": {"activation_x": 64}}, (ErrorCode.RANGE, Engine.EXECUTE, 0, 0)),
    ({"store": {"columns": 5}}, (ErrorCode.VALUE, Engine.STORE, 0, 0)),
    ({"store": {"window": 0}}, (ErrorCode.VALUE, Engine.STORE, 0, 0)),
    ({"store": {"window": 255, "window_stride": 1}}, (ErrorCode.RANGE, Engine.STORE, 0, 0)),
    ({"store": {"row": 30}}, (ErrorCode.RANGE, Engine.STORE, 0, 0))])
def test_errors_of_engines(change, expected):
    async def body(b):
        assert await b.execute(gemm(**change)) == State.ERROR
        assert await b.error() == expected

    Bench().run(body)


def test_identity_and_status():
    async def body(b):
        b.ctx.set(b.core.build_hash, 0x0123_4567_89AB_CDEF)
        for name, value in identity_registers(b.config, build_hash=0x0123_4567_89AB_CDEF).items():
            assert await b.get(name) == value, name
        assert await b.get("STATUS") == State.IDLE
        await b.load_program([])
        assert await b.get("BASE1_LO") == BASE and await b.get("SIZE1_LO") == SIZE and await b.get("BASE1_HI") == 0
        await b.set("CONTROL", Control.START)
        await b.ctx.tick().repeat(10)
        assert await b.get("STATUS") == State.DONE | Status.IRQ

    Bench().run(body)
