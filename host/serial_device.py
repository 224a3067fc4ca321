"""An accelerator behind a serial line: a board with the serial shell, real or simulated."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arch.manifest import Manifest
from ..arch.registers import SERIAL_BAUD, SERIAL_MEMORY, SERIAL_NOWHERE, SERIAL_REGISTERS, offset_of
from ..arch.serial_link import BYTE_BITS, LEAST_BIT_CYCLES, Frame, header
from .device import Device, DeviceError, DeviceMismatch, check_identity
from .sdram import wake
from .serial_link import LinkError, SerialLink
from .serial_port import PortError, SerialPort

__all__ = ["LinkError", "PortError", "SerialDevice"]

FIND_S, SILENCE_S = 2.0, 1.0
SIMULATED_FIND_S, SIMULATED_SILENCE_S = 10.0, 60.0
PAUSE_S = 0.3  # above the device's timeout, which is 0.1 … 0.2 s


class SerialDevice(Device):
    """Registers and memory over a :class:`~systolith.host.serial_link.SerialLink`.

    Registers are written when something depends on them, those beside each other in one frame. The memory of a SoC is made to work
    first, where that was not done since power-up.

    Parameters
    ----------
    port : of this computer, or one that is open, with a rate and a silence
    manifest : of the generated folder; the device must show its identity. None takes any accelerator
    baud : of the bitstream
    negotiate : go on at the highest rate that the device and the adapter have in common
    silence_s : an answer is given up when nothing has come for so long; by default 1 s, the first one 2 s, and a minute and 10 s at a
        pseudo-terminal, because a simulated board behind it may be a thousand times slower than a real one
    pause_s : a silence after which the device understands a new frame
    clock : of these seconds; a simulated board's own, where it is known

    Raises
    ------
    PortError
        The port cannot be used.
    LinkError
        Nothing answers.
    DeviceMismatch
        What answers is not this accelerator.
    DeviceError
        Its SoC's memory does not work.
    """

    def __init__(self, port: str | SerialPort, manifest: Manifest | None, *, baud: int = SERIAL_BAUD, negotiate: bool = True,
                 silence_s: float | None = None, pause_s: float = PAUSE_S, clock: Callable[[], float] = time.monotonic):
        self._pending: dict[int, int] = {}
        named = isinstance(port, str)
        self._port = SerialPort(port, baud, silence_s=silence_s or FIND_S, clock=clock) if isinstance(port, str) else port
        simulated = silence_s is None and self._port.name.startswith("/dev/pts/")
        if simulated:
            self._port.silence_s = SIMULATED_FIND_S
        self.link = SerialLink(self._port, pause_s=pause_s, patient=simulated)
        try:
            self._find()
            if manifest is not None:
                check_identity(self, manifest)
            if simulated:
                self._port.silence_s = SIMULATED_SILENCE_S
            if negotiate:
                self.link.negotiate()
            if named and silence_s is None and not simulated:
                self._port.silence_s = SILENCE_S
            self.memory_bytes = self.read_register(offset_of("MEMORY_BYTES"))
            if manifest is not None and self.memory_bytes != manifest.memory_bytes:
                raise DeviceMismatch(f"the device is not the accelerator in the manifest: MEMORY_BYTES must be {manifest.memory_bytes}, "
                                     f"not {self.memory_bytes}; load the bitstream that was built from this folder")
            if manifest is not None and manifest.soc is not None:
                self.wake(manifest.soc)
        except BaseException:
            self.close()
            raise

    def wake(self, soc: Mapping[str, Any]) -> None:
        """Make the memory of a board's LiteX variant work, whose manifest has ``soc``. Raises :class:`DeviceError` where it does not."""
        wake(self, soc, read=self._read_word, write=self._write_word, wait=self._pass)

    def read_register(self, offset: int) -> int:
        return self.read_registers([offset])[0]

    def read_registers(self, offsets: Sequence[int]) -> list[int]:
        self._flush()
        first = min(offsets)
        words = np.frombuffer(self.link.read(SERIAL_REGISTERS + first, (max(offsets) - first) // 4 + 1), ">u4")
        return [int(words[(offset - first) // 4]) for offset in offsets]

    def write_register(self, offset: int, value: int) -> None:
        if offset == offset_of("CONTROL"):
            self._flush()
            self.link.control(int(value))
        else:
            self._pending[offset] = int(value)

    def read_memory(self, address: int, count: int) -> npt.NDArray[np.uint8]:
        self.check_range(address, count)
        self._flush()
        words = self._read(address // 4 * 4, -(-(address % 4 + count) // 4))
        return words.view(np.uint8)[address % 4:][:count].copy()

    def write_memory(self, address: int, data: npt.NDArray[Any]) -> None:
        octets = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self.check_range(address, octets.size)
        if not octets.size:
            return
        self._flush()
        # Whole words: the bytes beside the data are read first.
        first, last = address // 4 * 4, (address + octets.size - 1) // 4 * 4
        words = np.empty((last - first) // 4 + 1, "<u4")
        for index, place, ragged in ((0, first, address % 4), (-1, last, (address + octets.size) % 4)):
            if ragged:
                words[index] = self._read(place, 1)[0]
        words.view(np.uint8)[address % 4:][:octets.size] = octets
        self.link.write(SERIAL_MEMORY + first, words.astype(">u4").tobytes())

    def close(self) -> None:
        with contextlib.suppress(DeviceError):
            self.link.release()
        self._port.close()

    def _read_word(self, address: int) -> int:
        return int.from_bytes(self.link.read(address, 1), "big")

    def _write_word(self, address: int, value: int) -> bool:
        """Whether it was written exactly once: an answer that was lost hides that it was."""
        faults = self.link.faults
        self.link.write(address, value.to_bytes(4, "big"))
        return self.link.faults == faults

    def _pass(self, cycles: int) -> None:
        """Let ``cycles`` of the device's clock pass, by words that the line is busy with for them: a simulated board has its own time."""
        self.link.read(SERIAL_NOWHERE, -(-cycles // (4 * BYTE_BITS * LEAST_BIT_CYCLES)))

    def _flush(self) -> None:
        """Write the registers that wait."""
        offsets = sorted(self._pending)
        runs: list[list[int]] = []
        for offset in offsets:
            if runs and offset == runs[-1][-1] + 4:
                runs[-1].append(offset)
            else:
                runs.append([offset])
        for run in runs:
            self.link.write(SERIAL_REGISTERS + run[0], b"".join(self._pending[offset].to_bytes(4, "big") for offset in run))
        self._pending.clear()

    def _read(self, address: int, count: int) -> npt.NDArray[np.uint32]:
        """``count`` words of the memory."""
        return np.frombuffer(self.link.read(SERIAL_MEMORY + address, count), ">u4").astype("<u4")

    def _find(self) -> None:
        """Raise unless something answers like a device of this version."""
        try:
            self.link.restart(attempts=3)
        except LinkError:
            self._port.write(header(Frame.READ, SERIAL_REGISTERS, 1))
            if len(self._port.read(4)) == 4:
                raise DeviceMismatch(f"what answers at port {self._port.name!r} is no accelerator of this version; load the bitstream that "
                                     "was built from this folder: systolith flash") from None
            raise
