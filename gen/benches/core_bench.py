"""Matrix products against NumPy over stalls and latencies, and what must end in an error, on whatever ports the accelerator has."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from ...arch import numerics
from ...arch.commands import Command, Execute, Load, Store, pack
from ...arch.plan_gemm import plan_gemm
from ...arch.registers import Control, ErrorCode
from .setting import COLS, CONFIG, GAP, MANIFEST, ROWS, SEED, place, start
from .testbench import Testbench

# Smaller than the array, one more than it, primes, several tiles in every direction, and a single row.
SHAPES = [(1, 1, 1), (ROWS + 1, COLS + 1, ROWS + 1), (7, 5, 3), (13, 2 * COLS + 3, 3 * ROWS + 1), (1, COLS, 2 * ROWS),
          (61, COLS, 2 * ROWS + 5)]


async def _product(bench: Testbench, rng: np.random.Generator, m: int, n: int, k: int, out: str) -> None:
    """One matrix product; everything outside the result must keep its bytes."""
    a, w = (rng.integers(-128, 128, shape, dtype=np.int8) for shape in ((m, k), (k, n)))
    a.flat[0], w.flat[0] = -128, -128
    bias = rng.integers(-(1 << 16), 1 << 16, n, dtype=np.int32)
    multiplier, shift = numerics.quantize_multiplier(rng.uniform(2**-12, 2**-7, n))
    plan = plan_gemm(CONFIG, m, n, k, out=out, bias=True, zero_point=-3, low=-120, high=115)  # type: ignore[arg-type]
    at = place({name: region.bytes for name, region in plan.regions.items()})
    operands = {"a": a, "w": w, "parameters": np.stack([bias, multiplier, shift.astype(np.int32)], axis=1).astype("<i4")}
    for name, values in operands.items():
        octets = np.ascontiguousarray(values).view(np.uint8).ravel()
        bench.memory[at[name]:at[name] + octets.size] = octets
    # The program is the last region to be written, so that the copy below is what must be left untouched.
    await bench.launch(plan.words, address=at["program"],
                       regions={region.base: (at[name], region.bytes) for name, region in plan.regions.items() if region.base})
    before = bench.memory.copy()
    error = await bench.finish(cycles=200_000)
    assert error == ErrorCode.NONE, f"{m}×{n}×{k} {out}: {error.name}"
    sums = (a.astype(np.int64) @ w.astype(np.int64) + bias).astype(np.int32)
    expected = sums if out == "int32" else numerics.requantise(sums, multiplier, shift, -3, -120, 115)
    size = expected.nbytes
    result = bench.memory[at["c"]:at["c"] + size].copy()
    wrong = np.flatnonzero(result != np.ascontiguousarray(expected).view(np.uint8).ravel())
    assert not wrong.size, f"{m}×{n}×{k} {out}, seed {SEED}: {wrong.size} of {size} bytes differ, the first is byte {wrong[0]}"
    bench.memory[at["c"]:at["c"] + size] = before[at["c"]:at["c"] + size]
    changed = np.flatnonzero(bench.memory != before)
    assert not changed.size, f"{m}×{n}×{k} {out}: byte {changed[0]:#x} outside the result was written"


@cocotb.test()
async def identity(dut: Any) -> None:
    """The device shows what the manifest says."""
    bench = await start(dut)
    for name, value in MANIFEST.identity.items():
        assert await bench.read_register(name) == value, f"{name} must be {value:#x}"


@cocotb.test()
@cocotb.parametrize(out=["int32", "int8"], stall=[0.0, 0.4], latency=[1, 20, 100])
async def product(dut: Any, out: str, stall: float, latency: int) -> None:
    """Matrix products of all shapes, one after the other without a reset between."""
    bench = await start(dut, stall=stall, latency=latency)
    rng = np.random.default_rng(SEED)
    for m, n, k in SHAPES:
        await _product(bench, rng, m, n, k, out)


async def _fails(bench: Testbench, program: list[Command] | np.ndarray, *, sizes: dict[int, int] | None = None) -> ErrorCode:
    """The error of a program that must not write anything."""
    words = program if isinstance(program, np.ndarray) else pack(program)
    await bench.launch(words, address=GAP, regions={i: (4096 + 1024 * i, size) for i, size in (sizes or {}).items()})
    before = bench.memory.copy()
    error = await bench.finish(cycles=20_000)
    assert np.array_equal(bench.memory, before), f"{error.name}: memory was written"
    return error


@cocotb.test()
async def errors(dut: Any) -> None:
    """Each error code is reached, nothing is written, and the next program runs."""
    bench = await start(dut, latency=5)
    cases: list[tuple[ErrorCode, list[Command] | np.ndarray, dict[int, int]]] = [
        (ErrorCode.OPCODE, np.array([0x0000_0A0F], np.uint32), {}),
        (ErrorCode.LENGTH, pack([Load()])[:-1], {}),
        (ErrorCode.LENGTH, pack([Load()]) ^ np.array([0x100] + 7 * [0], np.uint32), {}),
        (ErrorCode.VALUE, [Load(count1=0)], {}),
        (ErrorCode.UNSUPPORTED, [Store(operation=3)], {}),
        (ErrorCode.RANGE, [Load(base=1, run=1, row=CONFIG.activation_rows)] if CONFIG.activation_rows < 65536 else
         [Load(base=1, bank=1, run=1, row=CONFIG.weight_rows)], {1: 64}),
        (ErrorCode.ADDRESS, [Load(base=1, offset=60, run=5)], {1: 64}),
        (ErrorCode.ADDRESS, [Store(base=1, destination=61)], {1: 64}),
        (ErrorCode.BUS, [Load(base=2, offset=1 << 20, run=4)], {2: 1 << 21}),
        (ErrorCode.DEADLOCK, [Load(base=1, wait=1), Execute(wait=1)], {1: 64}),
        (ErrorCode.TOKEN_OVERFLOW, [Load(base=1, post=1)] * (1 << CONFIG.control.token_bits), {1: 64}),
    ]
    for expected, program, sizes in cases:
        error = await _fails(bench, program, sizes=sizes)
        assert error == expected, f"{expected.name}: got {error.name}"
    await _product(bench, np.random.default_rng(SEED), 5, COLS + 1, ROWS + 1, "int32")


@cocotb.test()
@cocotb.parametrize(command=[Control.ABORT, Control.RESET])
async def abort_and_reset(dut: Any, command: Control) -> None:
    """ABORT and RESET in the middle of work leave the memory ports legal, and the next program runs."""
    bench = await start(dut, stall=0.3, latency=20)
    rng = np.random.default_rng(SEED)
    for wait in (30, 150, 400):
        plan = plan_gemm(CONFIG, 61, 2 * COLS, 2 * ROWS)
        at = place({name: region.bytes for name, region in plan.regions.items()})
        await bench.launch(plan.words, address=at["program"],
                           regions={region.base: (at[name], region.bytes) for name, region in plan.regions.items() if region.base})
        end = bench.cycle + wait
        while bench.cycle < end:
            await bench.read_register("STATUS")
        await bench.write_register("CONTROL", Control.START)  # refused while it runs
        await bench.write_register("CONTROL", command)
        error = await bench.finish(cycles=20_000)
        assert error == (ErrorCode.ABORTED if command == Control.ABORT else ErrorCode.NONE), error.name
        await _product(bench, rng, 9, COLS, ROWS, "int8")
