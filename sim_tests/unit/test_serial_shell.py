# amaranth: UnusedElaboratable=no
"""The serial shell, bit by bit over its line, around a stand-in for the core whose memory ports the test drives."""

import random
import zlib

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from systolith.arch.commands import Bank, Execute, Load, Operation, Store, pack
from systolith.arch.numerics import quantize_multiplier, requantise
from systolith.arch.registers import (
    MAGIC,
    SERIAL_CONTROL,
    SERIAL_MEMORY,
    SERIAL_REGISTERS,
    Control,
    ErrorCode,
    State,
    Status,
    offset_of,
)
from systolith.arch.serial_link import AFTER_DIGEST, CONTROL_DONE, Frame, checked_header, control_address, digest, header
from systolith.arch.settings import resolve
from systolith.boards import BOARDS
from systolith.rtl.core import Core
from systolith.rtl.serial_shell import SerialShell
from uart_line import BIT, run_line

CLOCK_HZ = 1e6
BAUD = 250_000
TIMEOUT = 1024
MEMORY_BYTES = 1024
CONFIG = resolve({"array": {"rows": 2, "cols": 2}, "memory": {"bus_bits": 64}, "epilogue": {"lanes": 2}, "shell": "serial"})


class CoreStandIn(wiring.Component):
    """The core's flat ports with a register file behind the register port; memory ports are left to the test."""

    def __init__(self, config):
        address, data = config.memory.address_bits, config.memory.bus_bits
        super().__init__({
            "csr_address": In(10), "csr_write": In(1), "csr_write_data": In(32), "csr_read_data": Out(32), "irq": Out(1),
            "read_request_valid": Out(1), "read_request_ready": In(1), "read_request_address": Out(address), "read_request_beats": Out(8),
            "read_response_valid": In(1), "read_response_ready": Out(1), "read_response_data": In(data), "read_response_error": In(1),
            "write_request_valid": Out(1), "write_request_ready": In(1), "write_request_address": Out(address),
            "write_request_beats": Out(8), "write_data_valid": Out(1), "write_data_ready": In(1), "write_data_data": Out(data),
            "write_data_strobe": Out(data // 8), "write_data_last": Out(1),
            "write_response_valid": In(1), "write_response_ready": Out(1), "write_response_error": In(1),
        })
        self.writes = Signal(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = Memory(shape=32, depth=256, init=[])
        write_port, read_port = registers.write_port(), registers.read_port()
        m.d.comb += [
            read_port.addr.eq(self.csr_address[2:]), self.csr_read_data.eq(read_port.data), read_port.en.eq(1),
            write_port.addr.eq(self.csr_address[2:]), write_port.data.eq(self.csr_write_data), write_port.en.eq(self.csr_write),
        ]
        m.d.sync += self.writes.eq(self.writes + self.csr_write)
        return m


def run(testbench, *, memory_ports=2, config=CONFIG, core_type=CoreStandIn):
    core = core_type(config)
    dut = SerialShell(config=config, core=core, memory_bytes=MEMORY_BYTES, clock_hz=CLOCK_HZ, baud=BAUD, memory_ports=memory_ports,
                      timeout_s=TIMEOUT / CLOCK_HZ)
    run_line(dut, lambda ctx, line: testbench(ctx, core, line), clock_hz=CLOCK_HZ)


def test_construction():
    with pytest.raises(ValueError, match=r"baud must divide the clock of 1000000 Hz .* not 300000"):
        SerialShell(config=CONFIG, core=None, memory_bytes=MEMORY_BYTES, clock_hz=CLOCK_HZ, baud=300_000)


def test_registers():
    async def testbench(ctx, core, line):
        base, control = SERIAL_REGISTERS + offset_of("BASE0_LO"), SERIAL_REGISTERS + offset_of("CONTROL")
        await line.write(ctx, base, 1, 2, 3, 0xffff_ffff)
        await line.write(ctx, control, 5)
        assert await line.read(ctx, base, 4) == [1, 2, 3, 0xffff_ffff]
        assert await line.read(ctx, control) == [5]
        assert ctx.get(core.writes) == 5, "each write reaches the core once"
        assert await line.read(ctx, SERIAL_REGISTERS + offset_of("MEMORY_BYTES")) == [MEMORY_BYTES]

    run(testbench)


def test_nowhere():
    """Addresses between the regions: reads give 0, writes change nothing, and the line stays usable."""
    async def testbench(ctx, core, line):
        for address in (0x200, 0x0100_0000, SERIAL_MEMORY - 4, SERIAL_MEMORY + MEMORY_BYTES, 0x8000_0000, 0xffff_fffc):
            await line.write(ctx, address, 7)
            assert await line.read(ctx, address) == [0]
        assert ctx.get(core.writes) == 0
        assert await line.read(ctx, SERIAL_MEMORY) == [0]

    run(testbench)


@pytest.mark.parametrize("memory_ports", [1, 2])
def test_memory_from_both_sides(memory_ports):
    """The host fills memory, the core reads it and writes back, the host reads that."""
    rng = random.Random(3)
    words = [rng.getrandbits(32) for _ in range(8)]

    async def testbench(ctx, core, line):
        await line.write(ctx, SERIAL_MEMORY + MEMORY_BYTES - 32, *words)
        ctx.set(core.read_request_address, MEMORY_BYTES - 32)
        ctx.set(core.read_request_beats, 3)
        ctx.set(core.read_request_valid, 1)
        await ctx.tick().until(core.read_request_ready)
        ctx.set(core.read_request_valid, 0)
        ctx.set(core.read_response_ready, 1)
        seen = []
        for _ in range(20):
            _, _, valid, data, error = await ctx.tick().sample(core.read_response_valid, core.read_response_data, core.read_response_error)
            if valid:
                assert not error
                seen += [data & 0xffff_ffff, data >> 32]
        assert seen == words

        ctx.set(core.write_request_address, 16)
        ctx.set(core.write_request_beats, 1)
        ctx.set(core.write_request_valid, 1)
        await ctx.tick().until(core.write_request_ready)
        ctx.set(core.write_request_valid, 0)
        ctx.set(core.write_data_valid, 1)
        for last, data, strobe in (0, 0x1111_2222_3333_4444, 0xff), (1, 0x5555_6666_7777_8888, 0x0f):
            ctx.set(core.write_data_data, data)
            ctx.set(core.write_data_strobe, strobe)
            ctx.set(core.write_data_last, last)
            await ctx.tick().until(core.write_data_ready)
        ctx.set(core.write_data_valid, 0)
        ctx.set(core.write_response_ready, 1)
        error, = await ctx.tick().sample(core.write_response_error).until(core.write_response_valid)
        assert not error
        assert await line.read(ctx, SERIAL_MEMORY + 16, 4) == [0x3333_4444, 0x1111_2222, 0x7777_8888, 0]

    run(testbench, memory_ports=memory_ports)


def test_a_product_on_the_real_core():
    """C = A·W over the line only: operands and program into memory, bases, START, STATUS, result."""
    config = resolve({"array": {"rows": 2, "cols": 2}, "epilogue": {"lanes": 1}, "shell": "serial", "memory": {
        "activation_kib": 1, "weight_kib": 1, "accumulator_rows": 16, "parameter_channels": 2, "bus_bits": 32, "outstanding": 4}})
    rng = np.random.default_rng(5)
    a, w = rng.integers(-128, 128, (3, 2), dtype=np.int8), rng.integers(-128, 128, (2, 2), dtype=np.int8)
    program = pack([
        Load(bank=Bank.ACTIVATION, base=1, run=6),
        Load(bank=Bank.WEIGHT, base=1, offset=8, run=4, post=1),
        Execute(wait=1, post=2, k_last=2, x_count=3, activation_x=1),
        Store(wait=2, operation=Operation.RAW, base=1, columns=2, count1=3, destination=16, stride1=8)])
    data_at, program_at = 0, 256

    async def testbench(ctx, core, line):
        async def register(name, *values):
            await line.write(ctx, SERIAL_REGISTERS + offset_of(name), *values)

        assert await line.read(ctx, SERIAL_REGISTERS + offset_of("MAGIC")) == [MAGIC]
        data = np.frombuffer(a.tobytes() + bytes(2) + w.tobytes(), "<u4")
        await line.write(ctx, SERIAL_MEMORY + data_at, *map(int, data))
        await line.write(ctx, SERIAL_MEMORY + program_at, *map(int, program))
        await register("BASE0_LO", program_at, 0, 4 * len(program), 0)
        await register("BASE1_LO", data_at, 0, 64, 0)
        await register("PROGRAM_OFFSET", 0, len(program))
        await register("CONTROL", Control.START)
        assert await line.read(ctx, SERIAL_REGISTERS + offset_of("STATUS")) == [State.DONE | Status.IRQ]
        assert await line.read(ctx, SERIAL_REGISTERS + offset_of("ERROR_CODE")) == [ErrorCode.NONE]
        c = np.array(await line.read(ctx, SERIAL_MEMORY + 16, 6), np.uint32).view(np.int32).reshape(3, 2)
        np.testing.assert_array_equal(c, a.astype(np.int32) @ w.astype(np.int32))

    run(testbench, config=config, core_type=Core)


def test_a_requantised_product_on_the_smallest_core():
    """The iCEBreaker's configuration: int8 in, int8 out with bias, all over the line, with single-port memory."""
    config = resolve(BOARDS["icebreaker"].settings)
    rows, cols, m = config.array.rows, config.array.cols, 3
    rng = np.random.default_rng(6)
    a, w = rng.integers(-128, 128, (m, rows), dtype=np.int8), rng.integers(-128, 128, (rows, cols), dtype=np.int8)
    bias = rng.integers(-5000, 5000, cols)
    multiplier, shift = quantize_multiplier(np.full(cols, 0.003))
    channels = np.stack([bias, multiplier, shift], axis=1).astype("<i4")
    data = a.tobytes() + w.tobytes() + channels.tobytes()
    result_at, program_at = 128, 256
    program = pack([
        Load(bank=Bank.ACTIVATION, base=1, run=a.size), Load(bank=Bank.WEIGHT, base=1, offset=a.size, run=w.size),
        Load(bank=Bank.PARAMETER, base=1, offset=a.size + w.size, run=channels.nbytes, post=1),
        Execute(wait=1, post=2, k_last=rows, x_count=m, activation_x=1),
        Store(wait=2, operation=Operation.REQUANTISE, base=1, columns=cols, count1=m, destination=result_at, stride1=cols, zero_point=-7)])
    assert len(data) <= result_at and program_at + 4 * len(program) <= MEMORY_BYTES

    async def testbench(ctx, core, line):
        await line.write(ctx, SERIAL_MEMORY, *map(int, np.frombuffer(data, "<u4")))
        await line.write(ctx, SERIAL_MEMORY + program_at, *map(int, program))
        for name, values in (("BASE0_LO", (program_at, 0, 4 * len(program), 0)), ("BASE1_LO", (0, 0, program_at, 0)),
                             ("PROGRAM_OFFSET", (0, len(program))), ("CONTROL", (Control.START,))):
            await line.write(ctx, SERIAL_REGISTERS + offset_of(name), *values)
        for _ in range(20):
            status, = await line.read(ctx, SERIAL_REGISTERS + offset_of("STATUS"))
            if status & 3 != State.RUNNING:
                break
        assert status == State.DONE | Status.IRQ
        words = await line.read(ctx, SERIAL_MEMORY + result_at, 2)
        c = np.array(words, "<u4").view(np.int8)[:m * cols].reshape(m, cols)
        np.testing.assert_array_equal(c, requantise(a.astype(np.int32) @ w + bias, multiplier, shift, -7))

    run(testbench, config=config, core_type=Core, memory_ports=1)


class CheckedLine:
    """The checked frames of a host that trusts nothing, on a :class:`Line`."""

    def __init__(self, line):
        self.line = line
        self.crc = 0

    async def send(self, ctx, data):
        self.crc = zlib.crc32(data, self.crc)
        await self.line.send(ctx, data)

    async def restart(self, ctx):
        await self.line.send(ctx, bytes([Frame.RESTART]))
        self.crc = 0

    async def write(self, ctx, address, *words, frame=Frame.CHECKED_WRITE, count=None, flip=()):
        head = bytearray(checked_header(frame, address, len(words) if count is None else count, self.crc))
        for place in flip:
            head[place] ^= 1 << place % 8
        await self.send(ctx, bytes(head))
        await self.send(ctx, b"".join(word.to_bytes(4, "big") for word in words))

    async def receive(self, ctx, count):
        for _ in range(200 + count * 12 * BIT):
            if len(self.line.received) >= count:
                break
            await ctx.tick()
        assert len(self.line.received) == count
        data = bytes(self.line.received)
        self.line.received.clear()
        return data

    async def check(self, ctx):
        """Whether a digest is that of our own bytes."""
        expected = digest(self.crc)
        found = await self.receive(ctx, 4)
        self.crc = AFTER_DIGEST
        return found == expected

    async def good(self, ctx):
        await self.send(ctx, bytes([Frame.DIGEST]))
        self.line.received.clear()
        return await self.check(ctx)

    async def read(self, ctx, address, count, frame=Frame.CHECKED_READ):
        self.line.received.clear()
        await self.send(ctx, header(frame, address, count))
        size = 4 * count
        data = await self.receive(ctx, size + 4)
        self.line.received[:] = data[size:]
        self.crc = zlib.crc32(data[:size], self.crc)
        assert await self.check(ctx)
        return [int.from_bytes(data[i:i + 4], "big") for i in range(0, size, 4)]


def run_checked(testbench):
    async def with_checks(ctx, core, line):
        await testbench(ctx, core, CheckedLine(line))

    run(with_checks)


def test_checked_frames():
    """Both ways, with a digest that covers all of it."""
    async def testbench(ctx, core, line):
        await line.restart(ctx)
        await line.write(ctx, SERIAL_MEMORY + 8, 1, 0, 0xffff_ffff)
        assert await line.good(ctx)
        assert await line.read(ctx, SERIAL_MEMORY + 4, 5) == [0, 1, 0, 0xffff_ffff, 0]
        assert await line.good(ctx)

    run_checked(testbench)


@pytest.mark.parametrize("place", range(10))
def test_a_broken_header_writes_nothing(place):
    """Any byte of it, and what follows is not read before a silence."""
    async def testbench(ctx, core, line):
        await line.restart(ctx)
        await line.write(ctx, SERIAL_MEMORY, 7, 8, flip=[place])
        await ctx.tick().repeat(5 * TIMEOUT)  # a command byte that is another one may be answered at length
        await line.restart(ctx)
        assert await line.read(ctx, SERIAL_MEMORY, 40) == [0] * 40  # the word that a flipped bit of a0 leads to is among them
        assert await line.good(ctx)

    run_checked(testbench)


def test_after_a_checked_write_plain_writes_do_nothing():
    async def testbench(ctx, core, line):
        await line.line.write(ctx, SERIAL_MEMORY, 1)
        await line.restart(ctx)
        await line.write(ctx, SERIAL_MEMORY + 4, 2)
        await line.line.write(ctx, SERIAL_MEMORY, 3)
        assert await line.line.read(ctx, SERIAL_MEMORY, 2) == [1, 2]
        await line.restart(ctx)
        await line.write(ctx, 0)  # no words: disarms
        await line.line.write(ctx, SERIAL_MEMORY, 3)
        assert await line.line.read(ctx, SERIAL_MEMORY, 2) == [3, 2]

    run_checked(testbench)


def test_what_nobody_took_is_seen():
    """A frame that a pause cut, and bytes that come during an answer: the digest is not that of the same bytes in good order."""
    async def testbench(ctx, core, line):
        await line.restart(ctx)
        frame = checked_header(Frame.CHECKED_WRITE, SERIAL_MEMORY, 2, line.crc) + bytes([0, 0, 0, 5])
        await line.send(ctx, frame)
        await ctx.tick().repeat(TIMEOUT + 100)
        await line.send(ctx, bytes([0, 0, 0, 6]))
        assert not await line.good(ctx), "the second word was never written"
        await line.restart(ctx)
        assert await line.read(ctx, SERIAL_MEMORY, 2) == [5, 0]
        await line.send(ctx, header(Frame.CHECKED_READ, SERIAL_MEMORY, 2))
        await line.send(ctx, bytes([0x55]))
        data = await line.receive(ctx, 12)
        assert data[:8] == bytes([0, 0, 0, 5, 0, 0, 0, 0]) and data[8:] != digest(zlib.crc32(data[:8], line.crc))

    run_checked(testbench)


def test_control_in_two_steps():
    """Each at an address of its own, which the header's check covers; what the words are, unchecked as yet, does not matter."""
    async def testbench(ctx, core, line):
        control, start = SERIAL_REGISTERS + offset_of("CONTROL"), control_address(Control.START)
        await line.restart(ctx)
        await line.write(ctx, start, 0)
        await line.write(ctx, SERIAL_CONTROL, Control.RESET)
        await line.write(ctx, SERIAL_CONTROL + 4, Control.RESET)
        await line.write(ctx, start + 0x10_0000, Control.RESET)
        assert await line.read(ctx, SERIAL_CONTROL, 1) == [1]
        assert ctx.get(core.writes) == 0, "without a first step, the first step, and what is no step"
        for bits in (Control.START, Control.RESET | Control.CLEAR_IRQ, 31):
            before = ctx.get(core.writes)
            await line.write(ctx, SERIAL_CONTROL, 0xFFFF_FFFF)
            assert await line.read(ctx, SERIAL_CONTROL, 1) == [1]
            await line.write(ctx, control_address(bits), 0x1234_5678 | Control.ABORT)
            assert await line.read(ctx, SERIAL_CONTROL, 1) == [CONTROL_DONE]
            assert (await line.read(ctx, control, 1))[0] & 31 == bits
            await line.write(ctx, start, 0)
            assert ctx.get(core.writes) == before + 1, "a second step that comes again is not done"
            assert await line.read(ctx, SERIAL_CONTROL, 1) == [CONTROL_DONE]

    run_checked(testbench)
