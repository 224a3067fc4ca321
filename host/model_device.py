"""The functional model behind the registers of a device, so that the driver cannot tell it from hardware."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..arch.hazards import HazardError
from ..arch.manifest import Manifest
from ..arch.model import Model, Result
from ..arch.registers import BASES, REGISTERS, Control, State, offset_of
from .device import Device

__all__ = ["ModelDevice"]

_NAMES = {register.offset: register.name for register in REGISTERS}
_WRITABLE = {register.offset for register in REGISTERS if register.access == "rw"}


class ModelDevice(Device):
    """Runs programs on the functional model: exact results and error registers, no clock, so cycle counters read 0.

    Parameters
    ----------
    manifest : the accelerator that it stands for
    memory_bytes : size of the memory
    seed : of the order in which the engines take turns
    strict : a program whose result depends on timing raises :class:`~systolith.arch.hazards.HazardError` when it is started

    Attributes
    ----------
    hazards : of the last program
    """

    counts_cycles = False

    def __init__(self, manifest: Manifest, *, memory_bytes: int = 64 << 20, seed: int = 0, strict: bool = True):
        self.memory_bytes = memory_bytes
        self.memory = np.zeros(memory_bytes, np.uint8)
        self.seed = seed
        self.strict = strict
        self.hazards: tuple[Any, ...] = ()
        self._model = Model(manifest.config, self.memory)
        self._registers = {register.name: 0 for register in REGISTERS} | manifest.identity

    def read_register(self, offset: int) -> int:
        name = _NAMES.get(offset)
        return 0 if name is None or name == "CONTROL" else self._registers[name]

    def write_register(self, offset: int, value: int) -> None:
        if offset == offset_of("CONTROL"):
            self._control(Control(value & 15))
        elif offset in _WRITABLE:
            self._registers[_NAMES[offset]] = value & 0xFFFFFFFF

    def read_memory(self, address: int, count: int) -> npt.NDArray[np.uint8]:
        self.check_range(address, count)
        return self.memory[address:address + count].copy()

    def write_memory(self, address: int, data: npt.NDArray[Any]) -> None:
        octets = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self.check_range(address, octets.size)
        self.memory[address:address + octets.size] = octets

    def _control(self, control: Control) -> None:
        if control & Control.RESET:
            self._registers["STATUS"] = State.IDLE
        if control & Control.START:
            self._run()

    def _pair(self, name: str) -> int:
        return self._registers[f"{name}_LO"] | self._registers[f"{name}_HI"] << 32

    def _run(self) -> None:
        """A program runs whole within the write that starts it."""
        result = self._model.run(
            bases=[self._pair(f"BASE{index}") for index in range(BASES)], sizes=[self._pair(f"SIZE{index}") for index in range(BASES)],
            program_words=self._registers["PROGRAM_WORDS"], program_offset=self._registers["PROGRAM_OFFSET"], seed=self.seed)
        self.hazards = result.hazards
        self._show(result)
        if self.strict and result.hazards:
            raise HazardError(f"the program's result depends on timing: {result.hazards[0]}")

    def _show(self, result: Result) -> None:
        self._registers |= {
            "STATUS": State.ERROR if result.error else State.DONE,
            "ERROR_CODE": int(result.error), "ERROR_ENGINE": int(result.engine), "ERROR_COMMAND": result.command,
            "ERROR_ADDRESS_LO": result.address & 0xFFFFFFFF, "ERROR_ADDRESS_HI": result.address >> 32,
            "BYTES_READ": result.bytes_read & 0xFFFFFFFF, "BYTES_WRITTEN": result.bytes_written & 0xFFFFFFFF,
            "COMMANDS": result.commands & 0xFFFFFFFF,
        }
