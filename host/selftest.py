"""What tells a good board from a bad one: memory, tokens, products and counters, each against something outside the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arch.commands import pack
from ..arch.cycles import predict_cycles
from ..arch.latency import Memory
from ..arch.model import Model
from ..arch.random_programs import fill_program, random_program
from ..arch.registers import ErrorCode
from .accelerator import Accelerator, CounterError, ProgramFailed
from .device import DeviceTimeout

__all__ = ["selftest"]

_REGION_BYTES = 2048
_TOLERANCE = 0.02


class _Failed(Exception):
    """A test's finding; the message is one line."""


def selftest(accelerator: Accelerator, *, seed: int = 1, quick: bool = False, memory: Memory | None = None,
             progress: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Run the tests: ``passed``, ``seed`` and ``tests``, a list of ``name, passed, detail, seconds``.

    The device's memory is overwritten. A test that fails does not keep the others from running; a link that fails does.

    Parameters
    ----------
    quick : a sixteenth of the memory, and fewer programs and products
    memory : what the cycle model knows of the device memory at best, if anything
    """
    tests = []
    for name, test in (("memory walk", _memory_walk), ("tokens", _tokens), ("products", _products), ("counters", _counters)):
        progress(f"self-test: {name}")
        start = time.monotonic()
        try:
            detail, passed = test(accelerator, np.random.default_rng(seed), quick, memory), True
        except (_Failed, ProgramFailed, DeviceTimeout, CounterError) as error:
            detail, passed = " ".join(str(error).split()), False
        tests.append({"name": name, "passed": passed, "detail": detail, "seconds": round(time.monotonic() - start, 3)})
    return {"passed": all(test["passed"] for test in tests), "seed": seed, "tests": tests}


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
    dump_at, program_at = _REGION_BYTES, -(-(_REGION_BYTES + dump_bytes) // 4096) * 4096
    count, commands = (4, 20) if quick else (16, 40)
    # What is on chip after power-up or an earlier program is not known: a first program fills it.
    programs = [fill_program(config, region_bytes=_REGION_BYTES)]
    programs += [random_program(rng, config, commands=commands, region_bytes=_REGION_BYTES) for _ in range(count)]
    longest = max(pack(program).size for program in programs)
    expected = np.zeros(program_at + 4 * longest, np.uint8)
    if expected.size > device.memory_bytes:
        return f"not run: a program needs {expected.size:,} bytes of memory and there are {device.memory_bytes:,}"
    model = Model(config, expected)
    for number, program in enumerate(programs):
        words = pack(program)
        expected[:] = rng.integers(0, 256, expected.size, np.uint8)
        expected[program_at:program_at + 4 * words.size] = words.astype("<u4").view(np.uint8)
        bases, sizes = [program_at, 0, dump_at], [4 * words.size, _REGION_BYTES, dump_bytes]
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
    return f"{len(shapes)} products"


def _counters(accelerator: Accelerator, rng: np.random.Generator, quick: bool, memory: Memory | None) -> str:
    """What a product must have counted: commands, bytes written, engines that add up to the cycles, and the cycle model's cycles.

    The memory behind the accelerator may be slower than the model's but not faster.
    """
    m, n, k = 24, 2 * accelerator.config.array.cols, 2 * accelerator.config.array.rows
    a, w = _operands(accelerator, rng, m, n, k)
    accelerator.matmul(a, w)
    counters = accelerator.counters
    if not accelerator.device.counts_cycles:
        return "this device has no clock"
    cycles = counters["cycles"]
    if not accelerator.config.control.counter_bits:
        return f"{cycles:,} cycles; this accelerator counts nothing else"
    program = [command for plan in accelerator.plans for command in plan.program]
    for name, expected in (("commands", len(program)), ("bytes_written", 4 * m * n)):
        if counters[name] != expected:
            raise _Failed(f"{name} must be {expected}, not {counters[name]}")
    if memory is None:
        return f"{cycles:,} cycles"
    slow = Memory(latency=memory.latency, cycles_per_beat=memory.cycles_per_beat, half_duplex=memory.half_duplex, bursts=1)
    fast = Memory(latency=1, cycles_per_beat=memory.cycles_per_beat, half_duplex=False, bursts=memory.bursts)
    low, high = (sum(predict_cycles(accelerator.config, plan.program, memory=kind, bases=bases).cycles
                     for plan, bases in zip(accelerator.plans, accelerator.bases, strict=True)) for kind in (fast, slow))
    if not low * (1 - _TOLERANCE) <= cycles <= high * (1 + _TOLERANCE):
        raise _Failed(f"{cycles} cycles, and the cycle model says {low} with a fast memory and {high} with a slow one")
    return f"{cycles:,} cycles, within the cycle model's {low:,} and {high:,}"
