"""An accelerator on the same chip as this program: registers and memory mapped into it, as on a Zynq or in a SoC that runs Linux."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arch.manifest import Manifest
from ..arch.registers import BASES, REGISTER_BYTES, offset_of
from .device import Device, DeviceError, check_identity

__all__ = ["AXIDevice", "parse_place"]

_PLACE = re.compile(r"([^@]+)(?:@(0x[0-9a-fA-F]+|\d+)(?:\+(0x[0-9a-fA-F]+|\d+))?)?")
_DEVICES, _UIO = "/dev", "/sys/class/uio"
_UDMABUF = ("/sys/class/u-dma-buf", "/sys/class/udmabuf")


def parse_place(text: str) -> tuple[str, int | None, int | None]:
    """``PATH[@ADDRESS[+BYTES]]`` as path, address and bytes. Raises ``ValueError``."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError(f"a mapping must be PATH[@ADDRESS[+BYTES]], not {text!r}")
    return match[1], *(None if part is None else int(part, 0) for part in match.groups()[1:])  # type: ignore[return-value]


class AXIDevice(Device):
    """Registers and memory of one UIO device; or registers through UIO or ``/dev/mem``, memory through u-dma-buf or ``/dev/mem``.

    The accelerator's memory bus has physical addresses: the driver's address 0 is the first byte of the buffer, whose physical address is
    added to every base register.

    Parameters
    ----------
    registers : ``PATH`` or name of a UIO device, whose first map they are, or ``/dev/mem@ADDRESS``
    memory : None for the second map of the UIO device; ``PATH``, a u-dma-buf device; or ``PATH@ADDRESS[+BYTES]`` with its physical
        address: of ``/dev/mem`` the bytes to use, which the kernel must have been told to leave alone
    manifest : of the generated folder; the device must show its identity

    Raises
    ------
    DeviceError
        Something cannot be mapped.
    DeviceMismatch
        What is there is not this accelerator.
    """

    def __init__(self, registers: str, memory: str | None, manifest: Manifest):
        self._maps: list[mmap.mmap] = []
        self._bases = [0] * BASES
        try:
            path, address, _ = parse_place(registers)
            path = _uio_path(path)
            skipped, size = 0, REGISTER_BYTES
            if address is None and (known := _uio_map(path, 0)) is not None:
                _, size, skipped = known
            if size < REGISTER_BYTES:
                raise DeviceError(f"map 0 of {path!r} must hold the registers, {REGISTER_BYTES} bytes, not {size}")
            self._registers = self._map(path, address or 0, skipped + REGISTER_BYTES, "registers")[skipped:].view("<u4")
            self.physical, self.memory_bytes, self._memory = self._uio_memory(path) if memory is None else self._other_memory(memory)
            check_identity(self, manifest)
        except BaseException:
            self.close()
            raise

    def read_register(self, offset: int) -> int:
        index, high = _base_index(offset)
        if index is not None:
            return self._bases[index] >> 32 * high & 0xFFFFFFFF
        return int(self._registers[offset // 4])

    def read_registers(self, offsets: Sequence[int]) -> list[int]:
        return [self.read_register(offset) for offset in offsets]

    def write_register(self, offset: int, value: int) -> None:
        index, high = _base_index(offset)
        if index is None:
            self._registers[offset // 4] = value
            return
        self._bases[index] = self._bases[index] & ~(0xFFFFFFFF << 32 * high) | value << 32 * high
        # A carry goes into the upper half, so both are written.
        physical = self._bases[index] + self.physical
        self._registers[offset_of(f"BASE{index}_LO") // 4] = physical & 0xFFFFFFFF
        self._registers[offset_of(f"BASE{index}_HI") // 4] = physical >> 32 & 0xFFFFFFFF

    def read_memory(self, address: int, count: int) -> npt.NDArray[np.uint8]:
        self.check_range(address, count)
        return self._memory[address:address + count].copy()

    def write_memory(self, address: int, data: npt.NDArray[Any]) -> None:
        octets = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self.check_range(address, octets.size)
        self._memory[address:address + octets.size] = octets

    def close(self) -> None:
        # The views must go before the maps that they are of.
        self._registers = self._memory = np.empty(0, np.uint8)
        for mapped in self._maps:
            with contextlib.suppress(BufferError):
                mapped.close()
        self._maps.clear()

    def _uio_memory(self, path: str) -> tuple[int, int, npt.NDArray[np.uint8]]:
        """Physical address, bytes and contents of the second map of UIO device ``path``."""
        known = _uio_map(path, 1)
        if known is None:
            raise DeviceError(f"{path!r} must be a UIO device with a second map, the memory; give the memory as well, axi:REGISTERS,MEMORY")
        address, size, skipped = known
        # To mmap, the offset is the number of the map.
        return address + skipped, size - skipped, self._map(path, mmap.PAGESIZE, size, "memory")[skipped:]

    def _other_memory(self, memory: str) -> tuple[int, int, npt.NDArray[np.uint8]]:
        """Likewise of ``PATH[@ADDRESS[+BYTES]]``."""
        path, address, size = parse_place(memory)
        if address is None or size is None:
            address, size = _buffer(path, address)
        return address, size, self._map(path, address if path == "/dev/mem" else 0, size, "memory")

    def _map(self, path: str, offset: int, size: int, what: str) -> npt.NDArray[np.uint8]:
        """``size`` bytes of ``path`` from ``offset`` on, which need not begin a page."""
        skipped = offset % mmap.PAGESIZE
        try:
            file = os.open(path, os.O_RDWR | os.O_SYNC)  # uncached, where the driver of a buffer can
            try:
                mapped = mmap.mmap(file, skipped + size, offset=offset - skipped)
            finally:
                os.close(file)
        except PermissionError:
            raise DeviceError(f"{what} at {path!r} may not be opened by you; run as root, or give the file to your group (udev)") from None
        except (OSError, ValueError) as error:
            raise DeviceError(f"{what} at {path!r} cannot be mapped: {getattr(error, 'strerror', None) or error}") from None
        self._maps.append(mapped)
        return np.frombuffer(mapped, np.uint8)[skipped:skipped + size]


def _base_index(offset: int) -> tuple[int | None, int]:
    """Which base register's address is at ``offset``, and whether it is the upper half."""
    index, within = divmod(offset - offset_of("BASE0_LO"), 16)
    return (index, within // 4) if 0 <= index < BASES and within in (0, 4) else (None, 0)


def _uio_path(text: str) -> str:
    """The file of the UIO device that ``text`` names: the file itself, or what the device tree calls the device."""
    if "/" in text:
        return text
    known = {described.name: (described / "name").read_text().strip() for described in sorted(Path(_UIO).glob("uio*"))}
    for device, name in known.items():
        if text in (device, name):
            return f"{_DEVICES}/{device}"
    there = ", ".join(f"{device} ({name})" for device, name in known.items())
    raise DeviceError(f"no UIO device is called {text!r}; there is {there or 'none: does the device tree have one (docs/zynq.md)?'}")


def _uio_map(path: str, number: int) -> tuple[int, int, int] | None:
    """Physical address of map ``number`` of UIO device ``path``, its bytes, and how many of them come before what is mapped."""
    described = Path(_UIO) / Path(os.path.realpath(path)).name / "maps" / f"map{number}"
    try:
        address, size = (int((described / name).read_text(), 0) for name in ("addr", "size"))
        skipped = int((described / "offset").read_text(), 0) if (described / "offset").is_file() else 0
    except OSError:
        return None
    return address, size, skipped


def _buffer(path: str, address: int | None) -> tuple[int, int]:
    """Physical address and bytes of a buffer: what u-dma-buf says in sysfs, or what was given and the size of the file."""
    for folder in _UDMABUF:
        described = Path(folder) / Path(path).name
        if described.is_dir():
            return int((described / "phys_addr").read_text(), 0), int((described / "size").read_text(), 0)
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise DeviceError(f"memory at {path!r} cannot be mapped: {error.strerror}") from None
    if address is None or not size:
        raise DeviceError(f"memory at {path!r} is no u-dma-buf; give its physical address and size, PATH@ADDRESS+BYTES")
    return address, size
