"""What bounds a computation, and where its cycles went.

The roofline model (Williams, Waterman, Patterson 2009) with the accelerator's three roofs: the array, the bus and the memory behind it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from . import footprint
from .commands import Command, Execute
from .config import Config
from .latency import Latency, Memory

__all__ = ["Roofline", "explain", "roofline"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roofline:
    """No program that moves these bytes and issues these tiles takes less than the largest of the three.

    compute : cycles of the array: of each weight tile its rows or, if more, the change to the next tile
    transfer : cycles of the bus, reads and writes side by side
    memory : cycles of the memory, which may be slower than the bus and have one port for both
    macs, bytes : useful multiplications, and bytes read and written
    macs_per_cycle, bytes_per_cycle : of the array, and of whichever of bus and memory is slower
    """

    compute: int
    transfer: int
    memory: int
    macs: int
    bytes: int
    macs_per_cycle: int
    bytes_per_cycle: float

    @property
    def cycles(self) -> int:
        return max(self.compute, self.transfer, self.memory)

    @property
    def bound_by(self) -> str:
        """``array``, ``bus`` or ``memory``."""
        return "array" if self.cycles == self.compute else "bus" if self.cycles == self.transfer else "memory"

    @property
    def arithmetic_intensity(self) -> float:
        """Useful multiplications per byte moved."""
        return self.macs / self.bytes

    def to_dict(self) -> dict[str, Any]:
        return {
            "bound_by": self.bound_by, "cycles": self.cycles,
            "terms": {"transfer": self.transfer, "compute": self.compute, "memory": self.memory},
            "arithmetic_intensity": self.arithmetic_intensity, "ridge": self.macs_per_cycle / self.bytes_per_cycle,
            "macs_per_cycle": self.macs / self.cycles,
        }


def roofline(config: Config, program: Iterable[Command], *, macs: int, bytes_read: int, bytes_written: int, memory: Memory) -> Roofline:
    """The roofs of a program that moves so many bytes for ``macs`` useful multiplications."""
    latency, bus = Latency(config), config.bus_bytes
    compute = sum(footprint.tile_count(command) * latency.rows_cycles(footprint.accumulator_count(command))
                  for command in program if isinstance(command, Execute))
    reads, writes = -(-bytes_read // bus), -(-bytes_written // bus)
    together = reads + writes if memory.half_duplex else max(reads, writes)
    return Roofline(compute=compute, transfer=max(reads, writes), memory=together * memory.cycles_per_beat, macs=macs,
                    bytes=bytes_read + bytes_written, macs_per_cycle=config.macs_per_cycle, bytes_per_cycle=bus / memory.cycles_per_beat)


def explain(macs: int, macs_per_cycle: int, execute: Mapping[str, int]) -> dict[str, int]:
    """Where EXECUTE's cycles went: ``useful`` and ``padding`` instead of ``busy``, and each cause that is not 0. They add up to all."""
    useful = macs // macs_per_cycle
    causes = {cause: cycles for cause, cycles in execute.items() if cause != "busy" and cycles}
    return {"useful": useful, "padding": execute["busy"] - useful, **dict(sorted(causes.items(), key=lambda one: -one[1]))}
