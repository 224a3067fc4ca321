"""What tells a good board from a bad one: memory, tokens, products, counters and cycles, each against something outside the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arch.commands import COMMANDS, pack
from ..arch.cycles import predict_cycles
from ..arch.cycles_serial import serial_cycles
from ..arch.latency import Memory
from ..arch.model import Model
from ..arch.random_programs import fill_program, random_program
from ..arch.registers import ErrorCode
from .accelerator import Accelerator, CounterError, ProgramFailed
from .device import DeviceTimeout
from .matmul import RequantiseInt16

__all__ = ["selftest"]

_REGION_BYTES, _LEAST_BYTES = 2048, 1024  # of random programs' data; of these and the programs
_COMMAND_BYTES = 4 * max(command.words for command in COMMANDS.values())
_TOLERANCE_CYCLES, _TOLERANCE = 8, 0.02  # of the cycle model, whichever is larger
_BEST = Memory(latency=1)  # no memory is faster


class _Failed(Exception):
    """A test's finding; the message is one line."""


class _NotRun(Exception):
    """Why this device cannot have a test; the message is one line."""


def selftest(accelerator: Accelerator, *, seed: int = 1, quick: bool = False, memory: Memory | None = None,
             progress: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Run the tests: ``passed``, ``not_run`` (names), ``seed`` and ``tests``, a list of ``name, passed, detail, seconds``.

    The device's memory is overwritten. A test that fails does not keep the others from running; a link that fails does. One that this
    device cannot have is ``passed`` None, with the reason in ``detail``; the whole has passed where no test has failed.

    Parameters
    ----------
    quick : a sixteenth of the memory, and fewer programs and products
    memory : what the cycle model knows of the device memory at best, if anything
    """
    tests: list[dict[str, Any]] = []
    for name, test in (("memory walk", _memory_walk), ("tokens", _tokens), ("products", _products), ("counters", _counters),
                       ("cycles", _cycles)):
        progress(f"self-test: {name}")
        start = time.monotonic()
        passed: bool | None
        try:
            detail, passed = test(accelerator, np.random.default_rng(seed), quick, memory), True
        except _NotRun as why:
            detail, passed = f"not run: {why}", None
        except (_Failed, ProgramFailed, DeviceTimeout, CounterError) as error:
            detail, passed = " ".join(str(error).split()), False
        tests.append({"name": name, "passed": passed, "detail": detail, "seconds": round(time.monotonic() - start, 3)})
    return {"passed": all(test["passed"] is not False for test in tests),
            "not_run": [test["name"] for test in tests if test["passed"] is None], "seed": seed, "tests": tests}


def _memory_walk(accelerator: Accelerator, rng: np.random.Generator, quick: bool, memory: Memory | None) -> str:
    """Each word its own random value, then inverted, so that every bit is both and an address line that sticks shows; then a one that
    walks through a word."""
    device = accelerator.device
    size = min(device.memory_bytes, 1 << 20) // (16 if quick else 1)
    data = rng.integers(0, 256, size, np.uint8)
    for pattern in (data, ~data):
        device.write_memory(0, pattern)
        _same(device.read_memory(0, size), pattern)
    lines = [1 << bit for bit in range(2, (device.memory_bytes - 1).bit_length())]
    for index, address in enumerate(lines):
        device.write_memory(address, np.array([0x01010101 * (index + 1)], "<u4"))
    for index, address in enumerate(lines):
        _same(device.read_memory(address, 4), np.full(4, index + 1, np.uint8), address)
    ones = (np.uint32(1) << np.arange(32, dtype=np.uint32)).astype("<u4")
    device.write_memory(0, ones)
    _same(device.read_memory(0, 128), ones.view(np.uint8))
    return f"{size:,} bytes twice, {len(lines)} address lines, 32 data lines"


def _same(found: np.ndarray, expected: np.ndarray, at: int = 0) -> None:
    wrong = np.flatnonzero(found != expected)
    if wrong.size:
        first = int(wrong[0])
        raise _Failed(f"{wrong.size} bytes differ, the first at 0x{at + first:x}: 0x{found[first]:02x} instead of 0x{expected[first]:02x}")


def _tokens(accelerator: Accelerator, rng: np.random.Generator, quick: bool, memory: Memory | None) -> str:
    """Random programs whose tokens order everything, byte for byte as the functional model has them."""
    config, device = accelerator.config, accelerator.device
    dump_bytes = config.memory.accumulator_rows * config.array.cols * 4
    # Programs have what the data leave, at least three quarters: in a small memory both are smaller.
    room = device.memory_bytes - dump_bytes
    least = max(_LEAST_BYTES, 16 * config.array.cols)  # a quarter holds a row of each on-chip memory
    if room < least:
        raise _NotRun(f"programs and their data need {dump_bytes + least:,} bytes of memory, and there are {device.memory_bytes:,}")
    region_bytes = min(_REGION_BYTES, room // 16 * 4)
    program_at = region_bytes + dump_bytes
    count, commands = (4, 20) if quick else (16, 40)
    commands = min(commands, (device.memory_bytes - program_at) // _COMMAND_BYTES - 2)  # two more write the dump
    # What is on chip after power-up or an earlier program is not known: a first program fills it.
    programs = [fill_program(config, region_bytes=region_bytes)]
    programs += [random_program(rng, config, commands=commands, region_bytes=region_bytes) for _ in range(count)]
    expected = np.zeros(program_at + 4 * max(pack(program).size for program in programs), np.uint8)
    model = Model(config, expected)
    for number, program in enumerate(programs):
        words = pack(program)
        expected[:] = rng.integers(0, 256, expected.size, np.uint8)
        expected[program_at:program_at + 4 * words.size] = words.astype("<u4").view(np.uint8)
        bases, sizes = [program_at, 0, region_bytes], [4 * words.size, region_bytes, dump_bytes]
        device.write_memory(0, expected)
        outcome = model.run(bases=bases, sizes=sizes, program_words=words.size, seed=number)
        assert outcome.error == ErrorCode.NONE
        accelerator.run(words, bases=bases, sizes=sizes)
        _same(device.read_memory(0, expected.size), expected)
    done = sum(map(len, programs))
    return f"{count} programs, {done} commands"


def _operands(accelerator: Accelerator, rng: np.random.Generator, m: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Random A and W, the least value of each at its beginning."""
    low, high = accelerator.config.array.weight_limits
    kind = np.iinfo(accelerator.config.array.activations)
    a, w = rng.integers(kind.min, kind.max + 1, (m, k), kind.dtype), rng.integers(low, high + 1, (k, n), np.int8)
    a[0, 0], w[0, 0] = kind.min, low
    return a, w


def _products(accelerator: Accelerator, rng: np.random.Generator, quick: bool, memory: Memory | None) -> str:
    """Shapes around the array's, extremes among the operands, against NumPy."""
    rows, cols = accelerator.config.array.rows, accelerator.config.array.cols
    shapes = [(1, 1, 1), (3, cols, rows), (5, cols + 1, rows + 1), (17, 2 * cols - 1, 3 * rows - 1)]
    if not quick:
        shapes += [tuple(int(side) for side in rng.integers(1, 60, 3)) for _ in range(6)]  # type: ignore[misc]
    for m, n, k in shapes:
        a, w = _operands(accelerator, rng, m, n, k)
        wrong = np.count_nonzero(accelerator.matmul(a, w) != a.astype(np.int32) @ w.astype(np.int32))
        if wrong:
            raise _Failed(f"{wrong} of {m * n} results of {m} × {n} × {k} differ from NumPy")
    if accelerator.config.array.accumulator_bits > 32:
        _wide_sums(accelerator)
    return f"{len(shapes)} products"


def _wide_sums(accelerator: Accelerator) -> None:
    """A product whose sums, of either sign, 32 bits and one more do not hold, requantised."""
    array = accelerator.config.array
    low, high = array.weight_limits
    k = (1 << 33) // (-low << 15) + 1
    a, w = np.full((1, k), -1 << 15, np.int16), np.full((k, array.cols), low, np.int8)
    w[:, 1::2] = high
    found = accelerator.matmul(a, w, requantise=RequantiseInt16(multiplier=1 << 30, shift=-18))
    expected = (a.astype(np.int64) @ w.astype(np.int64)) + (1 << 18) >> 19
    if not np.array_equal(found, expected):
        raise _Failed(f"sums of {k} products beyond 32 bits are {found.tolist()} requantised, and {expected.tolist()} by NumPy")


def _counters(accelerator: Accelerator, rng: np.random.Generator, quick: bool, memory: Memory | None) -> str:
    """What a product must have counted: commands, bytes written, and, which the driver checks, engines that add up to the cycles."""
    if not accelerator.config.control.counter_bits:
        raise _NotRun("this accelerator counts its cycles and nothing else: control.counter_bits is 0")
    m, n, k = 24, 2 * accelerator.config.array.cols, 2 * accelerator.config.array.rows
    accelerator.matmul(*_operands(accelerator, rng, m, n, k))
    commands = sum(len(plan.program) for plan in accelerator.plans)
    for name, expected in (("commands", commands), ("bytes_written", 4 * m * n)):
        if accelerator.counters[name] != expected:
            raise _Failed(f"{name} must be {expected}, not {accelerator.counters[name]}")
    return f"{commands} commands, {4 * m * n:,} bytes written"


def _cycles(accelerator: Accelerator, rng: np.random.Generator, quick: bool, memory: Memory | None) -> str:
    """A product of one tile, whose commands wait for each other, against the cycle model; of a memory that it does not know, only that
    it is not faster than any."""
    if not accelerator.device.counts_cycles:
        raise _NotRun("this device has no clock")
    rows, cols = accelerator.config.array.rows, accelerator.config.array.cols
    accelerator.matmul(*_operands(accelerator, rng, 8, cols, rows))
    cycles = accelerator.counters["cycles"]
    low, high = _expected_cycles(accelerator, memory or _BEST)
    model = f"the cycle model says {low:,} … {high:,}" if memory else \
        f"the cycle model, which does not know this memory, says at least {low:,}"
    if cycles < low or (memory and cycles > high):
        raise _Failed(f"{cycles:,} cycles, and {model}")
    return f"{cycles:,} cycles; {model}"


def _expected_cycles(accelerator: Accelerator, memory: Memory) -> tuple[int, int]:
    """The fewest and the most cycles of the last product."""
    config = accelerator.config
    runs = list(zip(accelerator.plans, accelerator.bases, strict=True))
    if config.control.engines == "serial":
        bounds = [serial_cycles(config, plan.program, memory=memory, bases=bases) for plan, bases in runs]
        return sum(low for low, _ in bounds), sum(high for _, high in bounds)
    expected = sum(predict_cycles(config, plan.program, memory=memory, bases=bases).cycles for plan, bases in runs)
    slack = max(_TOLERANCE_CYCLES, round(_TOLERANCE * expected))
    return expected - slack, expected + slack
