"""How fast the accelerator is simulated: ``sim``, cocotb on the same Verilog, and Amaranth's own simulator on the same design."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..host.accelerator import Accelerator
from . import console, flow, products
from .settings import choose

__all__ = ["Stopwatch", "simulator_page"]

SIDE = 32  # of the product, as in gen/benches/speed_bench.py
LATENCY = 30
_REPEATS = 20


class Stopwatch:
    """Adds up the seconds in which the device of an accelerator runs programs, by the clock on the wall or another one."""

    def __init__(self, accelerator: Accelerator, clock: Callable[[], float] = time.perf_counter):
        self._seconds = 0.0
        wait = accelerator.device.wait

        def timed(timeout_s: float | None = None) -> None:
            start = clock()
            wait(timeout_s)
            self._seconds += clock() - start

        accelerator.device.wait = timed  # type: ignore[method-assign]

    def read(self) -> float:
        """Seconds since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


def _sim(seed: int) -> tuple[int, float]:
    with flow.connect("sim", settings=flow.Settings(memory_latency=LATENCY, seed=seed), progress=console.progress) as accelerator:
        watch, cycles = Stopwatch(accelerator, time.process_time), 0
        a, w, _ = products.operands(SIDE, SIDE, SIDE, seed)
        for _ in range(_REPEATS):
            accelerator.matmul(a, w)
            cycles += accelerator.counters["cycles"]
        return cycles, watch.read()


def _cocotb(seed: int) -> tuple[int, float]:
    from ..gen.verify import verify
    folder = flow.generate_cached(choose(assignments=["shell=native"]), progress=console.progress)
    result = verify(folder, seed=seed, benches=["speed_bench"], progress=console.progress)
    if result.failed:
        raise flow.FlowError(f"the product under cocotb failed; see {result.log}")
    measured = json.loads((Path(result.log).parent / "speed.json").read_text(encoding="utf-8"))
    return measured["cycles"], measured["seconds"]


def _amaranth(seed: int) -> tuple[int, float]:
    """The core under Amaranth's simulator, with a memory like that of ``sim``."""
    from amaranth.sim import Simulator

    from ..arch.registers import Control, State, offset_of
    from ..host.matmul import MatmulJob
    from ..rtl.core import Core
    config = choose(assignments=["shell=native"]).config
    core: Any = Core(config)
    a, w, _ = products.operands(SIDE, SIDE, SIDE, seed)
    job = MatmulJob(config, a, w, None, None)
    part = job.parts(1 << 20)[0]
    plan, addresses = job.plan(part)
    memory = np.zeros(1 << 20, np.uint8)
    for address, data in [(addresses["program"], plan.words), *job.operands(part, addresses)]:
        octets = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        memory[address:address + octets.size] = octets
    width = config.bus_bytes
    measured = []

    async def bench(ctx: Any) -> None:
        now = 0
        reads: deque[tuple[int, int]] = deque()         # when, address
        writes: deque[tuple[int, bool]] = deque()       # address, last of its burst
        responses: deque[int] = deque()

        async def cycle() -> None:
            nonlocal now
            answers = bool(reads) and reads[0][0] <= now
            ctx.set(core.read_response_valid, answers)
            if answers:
                ctx.set(core.read_response_data, int.from_bytes(memory[reads[0][1]:reads[0][1] + width].tobytes(), "little"))
            responds = bool(responses) and responses[0] <= now
            ctx.set(core.write_response_valid, responds)
            if ctx.get(core.read_request_valid):
                first = ctx.get(core.read_request_address)
                reads.extend((now + LATENCY, first + width * beat) for beat in range(ctx.get(core.read_request_beats) + 1))
            if ctx.get(core.write_request_valid):
                first, last = ctx.get(core.write_request_address), ctx.get(core.write_request_beats)
                writes.extend((first + width * beat, beat == last) for beat in range(last + 1))
            if ctx.get(core.write_data_valid):
                address, last = writes.popleft()
                data, strobe = ctx.get(core.write_data_data), ctx.get(core.write_data_strobe)
                for lane in range(width):
                    if strobe >> lane & 1:
                        memory[address + lane] = data >> 8 * lane & 255
                if last:
                    responses.append(now + LATENCY)
            if answers and ctx.get(core.read_response_ready):
                reads.popleft()
            if responds and ctx.get(core.write_response_ready):
                responses.popleft()
            await ctx.tick()
            now += 1

        async def write(name: str, value: int) -> None:
            ctx.set(core.csr_address, offset_of(name))
            ctx.set(core.csr_write_data, value)
            ctx.set(core.csr_write, 1)
            await cycle()
            ctx.set(core.csr_write, 0)

        for ready in (core.read_request_ready, core.write_request_ready, core.write_data_ready):
            ctx.set(ready, 1)
        for name, region in plan.regions.items():
            for register, value in ((f"BASE{region.base}", addresses[name]), (f"SIZE{region.base}", region.bytes)):
                await write(f"{register}_LO", value)
        await write("PROGRAM_WORDS", plan.words.size)
        await write("CONTROL", Control.START)
        ctx.set(core.csr_address, offset_of("STATUS"))
        start, first = time.process_time(), now
        await cycle()
        await cycle()
        while ctx.get(core.csr_read_data) & 3 == State.RUNNING:
            await cycle()
        measured.append((now - first, time.process_time() - start))

    simulator = Simulator(core)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    region = plan.regions["c"]
    job.store(part, memory[addresses["c"]:addresses["c"] + region.bytes])
    if (job.result != products.exact_product(a, w).astype(np.int32)).any():
        raise flow.FlowError("the product under Amaranth's simulator is wrong")
    return measured[0]


def simulator_page(seed: int, machine: str) -> list[str]:
    """Lines of the page."""
    rows = []
    macs = SIDE ** 3
    for name, how, measure in (
            ("`sim`", "the emitted Verilog by Verilator, clock and memory in C++", _sim),
            ("cocotb", "the emitted Verilog by Verilator, clock and memory in Python", _cocotb),
            ("Amaranth", "the design in Amaranth's Python simulator", _amaranth)):
        console.progress(f"{SIDE} × {SIDE} × {SIDE} on {name}")
        cycles, seconds = measure(seed)
        products = _REPEATS if measure is _sim else 1
        rows.append(f"| {name} | {how} | {cycles:,} | {seconds:.2f} | {cycles / seconds:,.0f} | {products * macs / seconds:,.0f} |")
    return ["# Simulation speed", "", machine,
            f"The product {SIDE} × {SIDE} × {SIDE} on the built-in default, 16 × 16, memory latency {LATENCY}; results checked. "
            f"Compilation and elaboration do not count; `sim` computes it {_REPEATS} times. cocotb's time includes setting up registers "
            "and the check.", "",
            "| simulator | what runs | cycles | seconds of a processor | cycles per second | MACs per second |",
            "|---|---|---|---|---|---|", *rows, ""]
