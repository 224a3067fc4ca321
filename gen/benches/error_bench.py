"""What must end in an error, on any ports: the code, whose it was, where; nothing else is written, and the next program runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import cocotb
import numpy as np

from ...arch.commands import Bank, Command, Engine, Execute, Load, Operation, Store, pack
from ...arch.registers import Control, ErrorCode, State, Status
from .product import check_product, start_product
from .setting import COLS, CONFIG, GAP, ROWS, SEED, start
from .testbench import Testbench

LOAD, EXECUTE, STORE, FETCH = Engine.LOAD, Engine.EXECUTE, Engine.STORE, Engine.FETCH
BASE = 4096  # of base register 1; the others follow in steps of 1024


@dataclasses.dataclass(frozen=True)
class _Case:
    """A program, the sizes of its regions, and what must become of it."""

    error: ErrorCode
    engine: Engine
    program: list[Command] | np.ndarray
    sizes: dict[int, int] = dataclasses.field(default_factory=dict)
    command: int = 0
    address: int = 0

    @property
    def words(self) -> np.ndarray:
        return self.program if isinstance(self.program, np.ndarray) else pack(self.program)


def _cases() -> list[_Case]:
    word = CONFIG.bus_bytes
    beyond = (1 << 20) + BASE + 1024
    outside = Load(base=1, run=1, row=CONFIG.activation_rows)
    if CONFIG.activation_rows > 65535:
        outside = Load(base=1, bank=Bank.WEIGHT, run=1, row=CONFIG.weight_rows)
    return [
        _Case(ErrorCode.OPCODE, FETCH, np.array([0x0000_0A0F], np.uint32)),
        _Case(ErrorCode.OPCODE, FETCH, np.concatenate([pack([Load(base=1)]), np.arange(40, dtype=np.uint32)]), {1: 64}, command=1),
        _Case(ErrorCode.LENGTH, FETCH, pack([Load()])[:-1]),
        _Case(ErrorCode.LENGTH, FETCH, pack([Load()]) ^ np.array([0x100] + 7 * [0], np.uint32)),
        _Case(ErrorCode.VALUE, LOAD, [Load(base=1), Load(count1=0)], {1: 64}, command=1),
        _Case(ErrorCode.VALUE, STORE, [Store(window=0)]),
        *([] if CONFIG.epilogue.add else [_Case(ErrorCode.UNSUPPORTED, STORE, [Store(operation=Operation.ADD)])]),
        _Case(ErrorCode.RANGE, LOAD, [outside], {1: 64}),
        _Case(ErrorCode.ADDRESS, LOAD, [Load(base=1, offset=60, run=5)], {1: 64}, address=BASE + 60),
        _Case(ErrorCode.ADDRESS, LOAD, [Load(base=1, run=4), Load(base=1, run=4, count1=20, stride1=4)], {1: 64}, 1, BASE + 64),
        _Case(ErrorCode.ADDRESS, STORE, [Store(base=1, destination=62, columns=1, operation=Operation.RAW)], {1: 64}, address=BASE + 62),
        *([_Case(ErrorCode.BUS, LOAD, [Load(base=2, offset=(1 << 20) + 1, run=4)], {2: 1 << 21}, address=beyond // word * word)]
          if CONFIG.memory.address_bits > 21 else []),  # else there is no address beyond the memory
        _Case(ErrorCode.DEADLOCK, FETCH, [Load(base=1, wait=1), Execute(wait=1)], {1: 64}, command=2),
        _Case(ErrorCode.TOKEN_OVERFLOW, LOAD, [Load(base=1, post=1)] * (1 << CONFIG.control.token_bits), {1: 64},
              command=(1 << CONFIG.control.token_bits) - 1),
    ]


async def _check_error(bench: Testbench, expected: _Case) -> None:
    """The registers show ``expected``; what has no address shows 0."""
    assert await bench.read_register("ERROR_ENGINE") == expected.engine, f"{expected.error.name}: engine must be {expected.engine.name}"
    assert await bench.read_register("ERROR_COMMAND") == expected.command, f"{expected.error.name}: command must be {expected.command}"
    address = expected.address if expected.error != ErrorCode.BUS or CONFIG.memory.error_address else 0
    shown = await bench.read_register("ERROR_ADDRESS_LO")
    assert shown == address, f"{expected.error.name}: address must be {address:#x}, not {shown:#x}"


async def _run_case(bench: Testbench, case: _Case) -> None:
    await bench.launch(case.words, address=GAP, regions={i: (BASE + 1024 * (i - 1), size) for i, size in case.sizes.items()})
    before = bench.memory.copy()
    error = await bench.finish(cycles=20_000)
    assert error == case.error, f"{case.error.name}: got {error.name}"
    assert np.array_equal(bench.memory, before), f"{error.name}: memory was written"
    await _check_error(bench, case)


@cocotb.test()
async def errors(dut: Any) -> None:
    """Each error of a program; nothing is written."""
    bench = await start(dut, latency=5)
    for case in _cases():
        await _run_case(bench, case)
    await check_product(bench, np.random.default_rng(SEED), 5, COLS + 1, ROWS + 1, "int32")


@cocotb.test()
async def program_limits(dut: Any) -> None:
    """A program that is not inside base register 0, or not at a multiple of 4."""
    bench = await start(dut, latency=5)
    words = pack([Load(base=1)])
    for offset, base, error in ((4, 0, ErrorCode.ADDRESS), (0, 2, ErrorCode.VALUE)):
        await bench.launch(words, address=GAP + base, regions={1: (BASE, 64)}, offset=offset)
        assert await bench.finish(cycles=2_000) == error
        assert await bench.read_register("ERROR_ENGINE") == FETCH
    await check_product(bench, np.random.default_rng(SEED), 5, COLS + 1, ROWS + 1, "int8")


@cocotb.test()
@cocotb.parametrize(stall=[0.0, 0.3])
async def bus_errors(dut: Any, stall: float) -> None:
    """The memory refuses one word: BUS, with the word's address where it was read, the burst's where it was written."""
    bench = await start(dut, stall=stall, latency=20)
    word, rng = CONFIG.bus_bytes, np.random.default_rng(SEED)
    block = 16 * word  # of STORE's bursts
    row_bytes = 4 * COLS
    rows = min(CONFIG.half_rows, -(-5 * block // row_bytes))
    regions = {1: (BASE + 4, rows * row_bytes + 600)}
    middle = (BASE + 4 + rows * row_bytes // 2) // word * word
    for kind, case in {
            "activation": _Case(ErrorCode.BUS, LOAD, [Load(base=1, run=16), Load(base=1, run=500)], command=1, address=BASE + 256),
            "accumulator": _Case(ErrorCode.BUS, LOAD, [Load(base=1, bank=Bank.ACCUMULATOR, run=row_bytes, count1=2, stride1=256)],
                                 address=(BASE + 260) // word * word),
            "program": _Case(ErrorCode.BUS, FETCH, [Load(base=1)] * 20, address=(GAP + 400) // word * word),
            "store": _Case(ErrorCode.BUS, STORE, [Store(operation=Operation.RAW, base=1, columns=COLS, count1=rows, stride1=row_bytes)],
                           address=middle)}.items():
        bench.bad = {case.address + word - 1}
        await bench.launch(case.words, address=GAP, regions=regions)
        before = bench.memory.copy()
        assert await bench.finish(cycles=40_000) == ErrorCode.BUS, kind
        shown = await bench.read_register("ERROR_ADDRESS_LO")
        if kind == "store":
            assert case.address - block < shown <= case.address and shown % word == 0, f"store: {shown:#x}"
            start_at, size = regions[1]
            before[start_at:start_at + size] = bench.memory[start_at:start_at + size]
        elif kind == "program":
            assert await bench.read_register("ERROR_ENGINE") == FETCH
            assert shown == (case.address if CONFIG.memory.error_address else 0), f"program: {shown:#x}"
        else:
            await _check_error(bench, case)
        assert np.array_equal(bench.memory, before), f"{kind}: memory was written"
        bench.bad = set()
        await check_product(bench, rng, 5, COLS + 1, ROWS + 1, "int8")


@cocotb.test()
@cocotb.parametrize(command=[Control.ABORT, Control.RESET])
async def abort_and_reset(dut: Any, command: Control) -> None:
    """ABORT and RESET in the middle of work leave the memory's ports legal; START meanwhile is refused."""
    bench = await start(dut, stall=0.3, latency=20)
    rng = np.random.default_rng(SEED)
    for wait in (30, 150, 400):
        await start_product(bench, 61, 2 * COLS, 2 * ROWS)
        end = bench.cycle + wait
        while bench.cycle < end:
            await bench.read_register("STATUS")
        await bench.write_register("CONTROL", Control.START)
        status = await bench.read_register("STATUS")
        assert status & 3 == State.RUNNING and status & Status.START_REFUSED, f"STATUS is {status:#x} after START while RUNNING"
        await bench.write_register("CONTROL", command)
        error = await bench.finish(cycles=20_000)
        assert error == (ErrorCode.ABORTED if command == Control.ABORT else ErrorCode.NONE), error.name
        await check_product(bench, rng, 9, COLS, ROWS, "int8")
