"""What the benches share, whatever the accelerator's ports are: memory, running one program, and what must hold at its end."""

from __future__ import annotations

import abc
import random
from typing import Any

import numpy as np

from ...arch import registers
from ...arch.config import Config
from ...arch.registers import Control, ErrorCode, State

__all__ = ["PERIOD_NS", "Testbench"]

PERIOD_NS = 10


class Testbench(abc.ABC):
    """The accelerator, its clock, a memory of ``size`` bytes with ``latency`` cycles, and access to its registers.

    ``stall`` is the probability with which each handshake is held up in a cycle: 0 for none. Addresses from ``size`` on
    answer with an error, and so do bus words that hold an address in ``bad``, which are not written.
    """

    def __init__(self, dut: Any, config: Config, *, size: int, latency: int, stall: float, seed: int):
        self.dut = dut
        self.config = config
        self.random = random.Random(seed)
        self.memory = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
        self.latency = latency
        self.stall = stall
        self.bad: set[int] = set()
        self.cycle = 0

    @abc.abstractmethod
    async def start(self) -> None:
        """Reset, then serve the memory."""

    @abc.abstractmethod
    async def write_register(self, name: str, value: int) -> None:
        """Write the low 32 bits of ``value``."""

    @abc.abstractmethod
    async def read_register(self, name: str) -> int: ...

    @abc.abstractmethod
    async def wait(self) -> None:
        """Let some cycles pass in which a program may end."""

    @abc.abstractmethod
    def check_quiet(self) -> None:
        """Raise AssertionError unless all that was asked of the memory has been answered."""

    def refuses(self, address: int, length: int) -> bool:
        """Whether the memory answers the bus words of these bytes with an error."""
        width = self.config.bus_bytes
        first, behind = address // width * width, -(-(address + length) // width) * width
        return behind > len(self.memory) or not self.bad.isdisjoint(range(first, behind))

    async def set_base(self, index: int, address: int, size: int) -> None:
        for name, value in (("BASE", address), ("SIZE", size)):
            await self.write_register(f"{name}{index}_LO", value)
            await self.write_register(f"{name}{index}_HI", value >> 32)

    async def launch(self, words: np.ndarray, *, address: int, regions: dict[int, tuple[int, int]], offset: int = 0) -> None:
        """Put a program at ``address``, set the base registers to ``regions`` (address, bytes) and start it at ``offset`` from there."""
        image = words.astype("<u4").view(np.uint8)
        self.memory[address:address + len(image)] = image
        await self.set_base(0, address, len(image))
        for index, (start, size) in regions.items():
            await self.set_base(index, start, size)
        await self.write_register("PROGRAM_OFFSET", offset)
        await self.write_register("PROGRAM_WORDS", len(words))
        await self.write_register("CONTROL", Control.START)

    async def finish(self, *, cycles: int, counters: bool = True, quiet: bool = True) -> ErrorCode:
        """Wait until the program ends, at most ``cycles`` cycles; return its error.

        With ``counters``, check that each engine's cycles add up; with ``quiet``, that the memory owes no answer.
        """
        end = self.cycle + cycles
        while (state := await self.read_register("STATUS") & 3) == State.RUNNING:
            assert self.cycle < end, f"the program must end within {cycles} cycles"
            await self.wait()
        if counters and self.config.control.counter_bits:
            total = await self.read_register("CYCLES")
            for engine, causes in registers.STALLS.items():
                spent = {cause: await self.read_register(f"{engine.name}_{cause.upper()}") for cause in causes}
                assert sum(spent.values()) == total, f"{engine.name}: busy + stalls must be {total} cycles, not {spent}"
        error = ErrorCode(await self.read_register("ERROR_CODE"))
        assert (state == State.ERROR) == (error != ErrorCode.NONE), f"state {state} with error {error.name}"
        if quiet:
            self.check_quiet()
        return error
