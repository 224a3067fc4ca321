"""Random programs against the functional model: all of memory must be what the model says, at any pace of the memory."""

from __future__ import annotations

import os
from typing import Any

import cocotb
import numpy as np

from ...arch.commands import Command, pack
from ...arch.model import Model
from ...arch.random_programs import fill_program, random_program
from ...arch.registers import ErrorCode
from .setting import CONFIG, GAP, SEED, start
from .testbench import Testbench

PROGRAMS = int(os.environ["SYSTOLITH_PROGRAMS"])
COMMANDS = 8
PACES = [(stall, latency) for stall in (0.0, 0.3) for latency in (1, 20, 100)]
DUMP_BYTES = 4 * CONFIG.memory.accumulator_rows * CONFIG.array.cols
PROGRAM = GAP
REGION, REGION_BYTES = 0x40C4, max(4096, 4 * max(CONFIG.array.rows, CONFIG.array.cols))  # within a word, a burst and a page
DUMP = REGION + REGION_BYTES + GAP
MEMORY = 1 << (DUMP + DUMP_BYTES + GAP).bit_length()


class _Twin:
    """What the accelerator should hold. Its memories survive a reset, so there is one for all tests of a simulation."""

    def __init__(self) -> None:
        self.model = Model(CONFIG, np.zeros(MEMORY, np.uint8))
        self.filled = False

    async def fill(self, bench: Testbench) -> None:
        """Memories on chip have no contents at power-up, and unknown ones after a failure."""
        if not self.filled:
            await self.run(bench, fill_program(CONFIG, region_bytes=REGION_BYTES), "filling the memories")

    async def run(self, bench: Testbench, commands: list[Command], what: str) -> None:
        """Run ``commands`` on both; ``what`` names them in errors."""
        self.filled = False
        words = pack(commands)
        regions = {1: (REGION, REGION_BYTES), 2: (DUMP, DUMP_BYTES)}
        await bench.launch(words, address=PROGRAM, regions=regions)
        self.model.machine.memory = bench.memory.copy()
        expected = self.model.run(bases=[PROGRAM, REGION, DUMP], sizes=[words.nbytes, REGION_BYTES, DUMP_BYTES], program_words=words.size)
        assert expected.error == ErrorCode.NONE and not expected.hazards, f"{what}: {expected}"
        error = await bench.finish(cycles=400_000, counters=False)
        assert error == ErrorCode.NONE, f"{what}: {error.name}"
        wrong = np.flatnonzero(bench.memory != self.model.machine.memory)
        assert not wrong.size, f"{what}: {wrong.size} bytes differ, the first is {wrong[0]:#x}"
        counted = (("BYTES_READ", expected.bytes_read), ("BYTES_WRITTEN", expected.bytes_written), ("COMMANDS", expected.commands))
        for name, value in counted if CONFIG.control.counter_bits else ():
            assert await bench.read_register(name) == value, f"{what}: {name} must be {value}"
        self.filled = True


TWIN = _Twin()


@cocotb.test()
@cocotb.parametrize(pace=range(len(PACES)))
async def random_programs(dut: Any, pace: int) -> None:
    """Programs of random commands that overlap as far as their tokens let them."""
    stall, latency = PACES[pace]
    bench = await start(dut, stall=stall, latency=latency, size=MEMORY)
    rng = np.random.default_rng([SEED, pace])
    await TWIN.fill(bench)
    for index in range(-(-PROGRAMS // len(PACES))):
        bench.memory[REGION:REGION + REGION_BYTES] = rng.integers(0, 256, REGION_BYTES, dtype=np.uint8)
        await TWIN.run(bench, random_program(rng, CONFIG, commands=COMMANDS, region_bytes=REGION_BYTES, brief=True),
                       f"seed {SEED}, stall {stall}, latency {latency}, program {index}")
