"""The functional model behind the registers of a device, so that the driver cannot tell it from hardware."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..arch.hazards import HazardError
from ..arch.manifest import Manifest
from ..arch.model import Model, Result
from ..arch.registers import BASES, COMPLETED_BITS, REGISTERS, WATCHDOG_CYCLES, Control, State, Status, offset_of
from .device import Device

__all__ = ["ModelDevice"]

_NAMES = {register.offset: register.name for register in REGISTERS}
_WRITABLE = {register.offset for register in REGISTERS if register.access == "rw"}
_IN_SETS = {f"{kind}{index}_{half}" for kind in ("BASE", "SIZE") for index in range(BASES) for half in ("LO", "HI")}


class ModelDevice(Device):
    """Runs programs on the functional model: exact results and error registers, no clock, so cycle counters read 0.

    A program has ended when the write that starts it returns, so none ever waits in the queue.

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
        control = manifest.config.control
        self._queues = control.queue_programs > 0
        self._watchdog = (1 << control.watchdog_bits) - 1
        self._registers["WATCHDOG"] = min(WATCHDOG_CYCLES, self._watchdog)
        self._sets = tuple(dict.fromkeys(_IN_SETS, 0) for _ in range(2))

    def read_register(self, offset: int) -> int:
        name = _NAMES.get(offset)
        return 0 if name is None or name == "CONTROL" else self._bank(name)[name]

    def write_register(self, offset: int, value: int) -> None:
        if offset == offset_of("CONTROL"):
            self._control(Control(value & 31))
        elif offset == offset_of("PROGRAM_BASES"):
            self._registers["PROGRAM_BASES"] = value & int(self._queues)
        elif offset == offset_of("WATCHDOG"):
            self._registers["WATCHDOG"] = value & self._watchdog
        elif offset in _WRITABLE:
            self._bank(_NAMES[offset])[_NAMES[offset]] = value & 0xFFFFFFFF

    def read_memory(self, address: int, count: int) -> npt.NDArray[np.uint8]:
        self.check_range(address, count)
        return self.memory[address:address + count].copy()

    def write_memory(self, address: int, data: npt.NDArray[Any]) -> None:
        octets = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self.check_range(address, octets.size)
        self.memory[address:address + octets.size] = octets

    def _control(self, control: Control) -> None:
        failed = self._registers["STATUS"] & 3 == State.ERROR
        if control & Control.RESET:
            self._registers |= {"STATUS": State.IDLE, "COMPLETED": 0}
        elif control & Control.CLEAR_IRQ:
            self._registers["STATUS"] &= ~Status.IRQ
        elif control & Control.START or (control & Control.ENQUEUE and not failed):
            self._run()
        elif control & Control.ENQUEUE:
            self._registers["STATUS"] |= Status.START_REFUSED

    def _bank(self, name: str) -> dict[str, int]:
        """Where a register is: base registers are in the set that PROGRAM_BASES names."""
        return self._sets[self._registers["PROGRAM_BASES"]] if name in _IN_SETS else self._registers

    def _pair(self, name: str) -> int:
        low, high = f"{name}_LO", f"{name}_HI"
        return self._bank(low)[low] | self._bank(high)[high] << 32

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
            "STATUS": (State.ERROR if result.error else State.DONE) | Status.IRQ,
            "ERROR_CODE": int(result.error), "ERROR_ENGINE": int(result.engine), "ERROR_COMMAND": result.command,
            "ERROR_ADDRESS_LO": result.address & 0xFFFFFFFF, "ERROR_ADDRESS_HI": result.address >> 32,
            "BYTES_READ": result.bytes_read & 0xFFFFFFFF, "BYTES_WRITTEN": result.bytes_written & 0xFFFFFFFF,
            "COMMANDS": result.commands & 0xFFFFFFFF,
            "COMPLETED": self._registers["COMPLETED"] + (self._queues and not result.error) & (1 << COMPLETED_BITS) - 1,
        }
