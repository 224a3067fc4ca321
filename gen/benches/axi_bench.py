"""What only an AXI bus can do to the accelerator: odd register accesses, two kinds of error, and channels that stand still."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiResp

from ...arch.commands import Engine, Load, pack
from ...arch.registers import REGISTER_BYTES, Control, ErrorCode, offset_of
from .axi_testbench import AXITestbench
from .product import check_product, start_product
from .setting import COLS, CONFIG, GAP, ROWS, SEED, start

CHANNELS = ("ar", "r", "aw", "w", "b")


async def _start(dut: Any, **options: Any) -> AXITestbench:
    bench = await start(dut, **options)
    assert isinstance(bench, AXITestbench)
    return bench


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.5])
async def register_accesses(dut: Any, stall: float) -> None:
    """Every access is answered; SLVERR where it is misaligned, beyond the map, or of some bytes; many at once come in order."""
    bench = await _start(dut, stall=stall)
    port = bench.registers
    await bench.write_register("PROGRAM_OFFSET", 0x12345678)
    offset = offset_of("PROGRAM_OFFSET")
    for address, data in ((offset, b"\xff"), (offset, b"\xff\xff"), (offset + 1, b"\xff\xff\xff"), (offset + 2, b"\xff\xff"),
                          (REGISTER_BYTES, bytes(4)), (4092, bytes(4))):
        assert (await port.write(address, data)).resp == AxiResp.SLVERR, f"write of {len(data)} bytes at {address:#x}"
    for address, length in ((offset + 1, 3), (offset + 2, 2), (offset + 3, 1), (REGISTER_BYTES, 4), (4092, 4)):
        assert (await port.read(address, length)).resp == AxiResp.SLVERR, f"read of {length} bytes at {address:#x}"
    assert await bench.read_register("PROGRAM_OFFSET") == 0x12345678
    rng = np.random.default_rng(SEED)
    values = [int(value) for value in rng.integers(0, 1 << 16, 16)]
    names = [f"{kind}{index}_LO" for index in range(8) for kind in ("BASE", "SIZE")]
    writes = [port.init_write(offset_of(name), value.to_bytes(4, "little")) for name, value in zip(names, values, strict=True)]
    for write in writes:
        await write.wait()
    reads = [port.init_read(offset_of(name), 4) for name in names]
    for name, value, read in zip(names, values, reads, strict=True):
        await read.wait()
        assert int.from_bytes(read.data.data, "little") == value, f"{name}, seed {SEED}"


@cocotb.test()
async def decode_errors(dut: Any) -> None:
    """DECERR is BUS too, for reads and for writes."""
    bench = await _start(dut, latency=3)
    bench.response = AxiResp.DECERR
    rng = np.random.default_rng(SEED)
    for engine, bad in ((Engine.LOAD, "a"), (Engine.STORE, "c")):
        addresses = await start_product(bench, 2 * ROWS, 2 * COLS, ROWS)
        bench.bad = {addresses[bad]}
        assert await bench.finish(cycles=20_000) == ErrorCode.BUS
        assert await bench.read_register("ERROR_ENGINE") == engine
        bench.bad = set()
        await check_product(bench, rng, 9, COLS, ROWS, "int8")


@cocotb.test()
@cocotb.parametrize(command=[Control.ABORT, Control.RESET])
async def stop_within_bursts(dut: Any, command: Control) -> None:
    """ABORT and RESET between two words of a read burst and of a write burst: both bursts are completed."""
    bench = await _start(dut, stall=0.2, latency=10)
    rng = np.random.default_rng(SEED)
    for way in ("reading", "writing"):
        await start_product(bench, 61, 2 * COLS + 1, 2 * ROWS + 1)
        for _ in range(20_000):
            await RisingEdge(dut.aclk)
            if getattr(bench.checker, f"within_{way}"):
                break
        else:
            raise AssertionError(f"no burst was seen while {way}")
        await bench.write_register("CONTROL", command)
        error = await bench.finish(cycles=20_000)
        assert error == (ErrorCode.ABORTED if command == Control.ABORT else ErrorCode.NONE), error.name
        await check_product(bench, rng, 9, COLS, ROWS, "int8")


@cocotb.test()
async def standstill(dut: Any) -> None:
    """Each channel stands still for 2,000 cycles in the middle of a product, which is right all the same."""
    bench = await _start(dut, latency=3)
    rng = np.random.default_rng(SEED)
    for channel in CHANNELS:
        stopper = cocotb.start_soon(_stand_still(bench, channel, cycles=2_000))
        await check_product(bench, rng, 21, 2 * COLS, 2 * ROWS, "int32")
        await stopper


async def _stand_still(bench: AXITestbench, channel: str, *, cycles: int) -> None:
    await ClockCycles(bench.dut.aclk, 150)
    bench.memory_channels[channel].pause = True
    await ClockCycles(bench.dut.aclk, cycles)
    bench.memory_channels[channel].pause = False


@cocotb.test(skip=not CONFIG.control.watchdog_bits)
async def no_answer(dut: Any) -> None:
    """Words that never come end in TIMEOUT; once they have come after all, the next program runs."""
    bench = await _start(dut, latency=3)
    await bench.write_register("WATCHDOG", 300)
    words = pack([Load(base=1, run=64)])
    await bench.launch(words, address=GAP, regions={1: (4096, 64)})
    while not bench.checker.reads > 1:  # the program, then LOAD
        await RisingEdge(dut.aclk)
    bench.memory_channels["r"].pause = True
    assert await bench.finish(cycles=2_000, quiet=False) == ErrorCode.TIMEOUT
    assert await bench.read_register("ERROR_ENGINE") in (Engine.LOAD, Engine.FETCH)
    bench.memory_channels["r"].pause = False
    await ClockCycles(dut.aclk, 200)
    bench.check_quiet()
    await bench.write_register("WATCHDOG", 0)
    await check_product(bench, np.random.default_rng(SEED), 9, COLS, ROWS, "int8")
