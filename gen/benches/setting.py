"""What ``gen/verify.py`` told the benches: the accelerator and the seed; and the bench for the ports that it has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cocotb

from ...arch.commands import pack
from ...arch.config import Config
from ...arch.manifest import Manifest
from ...arch.random_programs import fill_program
from ...arch.registers import ErrorCode
from .testbench import Testbench

__all__ = ["COLS", "CONFIG", "GAP", "MANIFEST", "ROWS", "SEED", "place", "start"]

MANIFEST = Manifest.read(Path(os.environ["SYSTOLITH_DIRECTORY"]))
CONFIG: Config = MANIFEST.config
SEED = int(os.environ["SYSTOLITH_SEED"])
ROWS, COLS = CONFIG.array.rows, CONFIG.array.cols
_filled = False
GAP = 192  # bytes of sentinel between regions, and not a multiple of any bus word's page


def place(sizes: dict[str, int]) -> dict[str, int]:
    """Addresses with sentinels between regions; each a little off the bus words."""
    addresses, at = {}, GAP
    for index, (name, size) in enumerate(sizes.items()):
        offset = 0 if name == "program" else 4 * (index % 2) if name == "parameters" else (3 * index) % CONFIG.bus_bytes
        addresses[name] = at + offset
        at = -(-(at + offset + size) // 64) * 64 + GAP
    return addresses


async def start(dut: Any, *, stall: float = 0.0, latency: int = 1, size: int = 1 << 17) -> Testbench:
    """The accelerator after reset, with a memory of ``size`` bytes."""
    if CONFIG.shell == "axi":
        from .axi_testbench import AXITestbench as Bench
    else:
        from .native_testbench import NativeTestbench as Bench  # type: ignore[assignment]
    bench = Bench(dut, CONFIG, size=size, latency=latency, stall=stall, seed=SEED)
    await bench.start()
    global _filled
    if not _filled and cocotb.SIM_NAME.lower().startswith("icarus"):
        # Garbage times a weight of zero is zero in hardware, and unknown where memories are unknown.
        region_bytes = size // 4
        await bench.launch(pack(fill_program(CONFIG, region_bytes=region_bytes)), address=size // 2, regions={1: (0, region_bytes)})
        assert await bench.finish(cycles=1_000_000) == ErrorCode.NONE
        _filled = True
    return bench
