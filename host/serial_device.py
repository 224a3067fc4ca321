"""An accelerator behind a serial line: a board with the serial shell, real or simulated."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..arch.manifest import Manifest
from ..arch.registers import SERIAL_BAUD, SERIAL_MEMORY, SERIAL_REGISTERS, offset_of
from ..arch.serial_link import MOST_WORDS, Frame, header
from .device import Device, DeviceError, DeviceMismatch, check_identity
from .serial_port import SerialPort

__all__ = ["COMMON_RATES", "LinkError", "SerialDevice"]

COMMON_RATES = (115_200, 230_400, 460_800, 921_600, 1_000_000, 2_000_000, 3_000_000)

FIND_S, SILENCE_S, SIMULATED_SILENCE_S = 2.0, 1.0, 60.0


class LinkError(DeviceError):
    """Nothing, or not enough, comes back over the line."""


class SerialDevice(Device):
    """Registers and memory over UARTBone frames.

    Writes follow each other without waiting; a read waits for its answer, because the device takes no byte while it answers.

    Parameters
    ----------
    port : of this computer
    manifest : of the generated folder; the device must show its identity
    baud : of the bitstream
    silence_s : an answer is given up when nothing has come for so long; by default 1 s, and a minute at a pseudo-terminal, because a
        simulated board behind it may be a thousand times slower than a real one

    Raises
    ------
    PortError
        The port cannot be used.
    LinkError
        Nothing answers.
    DeviceMismatch
        What answers is not this accelerator.
    """

    def __init__(self, port: str, manifest: Manifest, *, baud: int = SERIAL_BAUD, silence_s: float | None = None):
        self._port = SerialPort(port, baud, silence_s=silence_s or FIND_S)
        try:
            self._find()
            if silence_s is None:
                self._port.silence_s = SIMULATED_SILENCE_S if port.startswith("/dev/pts/") else SILENCE_S
            check_identity(self, manifest)
            self.memory_bytes = self.read_register(offset_of("MEMORY_BYTES"))
            if self.memory_bytes != manifest.memory_bytes:
                raise DeviceMismatch(f"the device is not the accelerator in the manifest: MEMORY_BYTES must be {manifest.memory_bytes}, "
                                     f"not {self.memory_bytes}; load the bitstream that was built from this folder")
        except BaseException:
            self.close()
            raise

    def read_register(self, offset: int) -> int:
        return int(self._read(SERIAL_REGISTERS + offset, 1)[0])

    def write_register(self, offset: int, value: int) -> None:
        self._write(SERIAL_REGISTERS + offset, np.array([value], np.uint32))

    def read_memory(self, address: int, count: int) -> npt.NDArray[np.uint8]:
        self.check_range(address, count)
        words = self._read(SERIAL_MEMORY + address // 4 * 4, -(-(address % 4 + count) // 4))
        return words.view(np.uint8)[address % 4:][:count].copy()

    def write_memory(self, address: int, data: npt.NDArray[Any]) -> None:
        octets = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self.check_range(address, octets.size)
        if not octets.size:
            return
        # Whole words: the bytes beside the data are read first.
        first, last = address // 4 * 4, (address + octets.size - 1) // 4 * 4
        words = np.empty((last - first) // 4 + 1, "<u4")
        for index, place, ragged in ((0, first, address % 4), (-1, last, (address + octets.size) % 4)):
            if ragged:
                words[index] = self._read(SERIAL_MEMORY + place, 1)[0]
        words.view(np.uint8)[address % 4:][:octets.size] = octets
        self._write(SERIAL_MEMORY + first, words)

    def close(self) -> None:
        self._port.close()

    def _find(self) -> None:
        """Raise :class:`LinkError` unless something answers like a device."""
        if len(self._ask(SERIAL_REGISTERS, 1)) == 4:
            return
        # A device that took the start of our frame for something else understands us after its own timeout.
        self._port.drain(0.15)
        if len(self._ask(SERIAL_REGISTERS, 1)) < 4:
            raise LinkError(f"nothing answers at port {self._port.name!r} with {self._port.baud} baud; is the board powered, its bitstream "
                            "loaded (systolith flash), and this the rate it was built for (PORT@BAUD)?")

    def _ask(self, address: int, count: int) -> bytes:
        self._port.write(header(Frame.READ, address, count))
        return self._port.read(4 * count)

    def _read(self, address: int, count: int) -> npt.NDArray[np.uint32]:
        """``count`` words from byte ``address`` on."""
        answer = bytearray()
        for start in range(0, count, MOST_WORDS):
            words = min(MOST_WORDS, count - start)
            part = self._ask(address + 4 * start, words)
            if len(part) < 4 * words:
                raise LinkError(f"the device at port {self._port.name!r} has sent {len(part)} of {4 * words} bytes")
            answer += part
        return np.frombuffer(bytes(answer), ">u4").astype("<u4")

    def _write(self, address: int, words: npt.NDArray[np.uint32]) -> None:
        data = words.astype(">u4").tobytes()
        self._port.write(b"".join(
            header(Frame.WRITE, address + start, len(part) // 4) + part
            for start in range(0, len(data), 4 * MOST_WORDS) for part in [data[start:start + 4 * MOST_WORDS]]))
