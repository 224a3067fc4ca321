"""What every device is: 32-bit registers and byte-addressed memory. The driver knows nothing else."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..arch.manifest import Manifest
from ..arch.registers import MAGIC, STALLS, State, offset_of

__all__ = ["Device", "DeviceError", "DeviceMismatch", "DeviceTimeout", "check_identity", "describe_activity"]


class DeviceError(RuntimeError):
    """The link to a device failed, or the device broke the rules of its ports; the message is one line."""


class DeviceMismatch(DeviceError):
    """The device is not the accelerator that the manifest describes."""


class DeviceTimeout(DeviceError):
    """A program did not end in time."""


class Device(abc.ABC):
    """Registers plus memory, and a way to wait for the end of a program. A context manager: leaving it closes the link.

    ``memory_bytes`` : size of the device memory, whose addresses begin at 0
    ``counts_cycles`` : whether the cycle counters mean anything
    ``timeout_s`` : limit for one program where the caller gives none
    """

    memory_bytes: int
    counts_cycles: bool = True
    timeout_s: float = 60.0

    @abc.abstractmethod
    def read_register(self, offset: int) -> int:
        """The register at byte ``offset``."""

    def read_registers(self, offsets: Sequence[int]) -> list[int]:
        """The registers at ``offsets``, in one go where the link has one."""
        return [self.read_register(offset) for offset in offsets]

    @abc.abstractmethod
    def write_register(self, offset: int, value: int) -> None:
        """Set the register at byte ``offset`` to a 32-bit value."""

    @abc.abstractmethod
    def read_memory(self, address: int, count: int) -> npt.NDArray[np.uint8]:
        """A copy of ``count`` bytes from ``address`` on. Raises ``ValueError`` outside the memory."""

    @abc.abstractmethod
    def write_memory(self, address: int, data: npt.NDArray[Any]) -> None:
        """Put the bytes of an array, in C order, at ``address``. Raises ``ValueError`` outside the memory."""

    def wait(self, timeout_s: float | None = None) -> None:
        """Return once no program runs. Raises :class:`DeviceTimeout` after ``timeout_s`` seconds, by default the device's."""
        self.poll(lambda: State(self.read_register(offset_of("STATUS")) & 3) is not State.RUNNING, timeout_s)

    def poll(self, ended: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Return once ``ended()``, which reads registers, is true. Raises :class:`DeviceTimeout` as :meth:`wait` does."""
        start, pause_s = time.monotonic(), 0.0
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        while not ended():
            if time.monotonic() - start > limit_s:
                raise DeviceTimeout(f"the program has not ended after {limit_s} s")
            time.sleep(pause_s)
            pause_s = min(0.01, pause_s + 0.0005)

    def close(self) -> None:  # noqa: B027 - most devices hold nothing that must be released
        """End the link. A closed device is not used again."""

    def check_range(self, address: int, count: int) -> None:
        """Raise ``ValueError`` unless ``count`` bytes from ``address`` on lie in the memory."""
        if address < 0 or count < 0 or address + count > self.memory_bytes:
            raise ValueError(f"memory access must lie in 0 … {self.memory_bytes}, not {address} … {address + count}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_identity(device: Device, manifest: Manifest) -> None:
    """Raise :class:`DeviceMismatch` where an identity register differs from the manifest."""
    names = ["MAGIC", *manifest.identity]
    magic, *values = device.read_registers([offset_of(name) for name in names])
    if magic != MAGIC:
        raise DeviceMismatch(f"no accelerator answers: register MAGIC must be 0x{MAGIC:08x}, not 0x{magic:08x}")
    for (name, expected), found in zip(manifest.identity.items(), values, strict=True):
        if found != expected:
            raise DeviceMismatch(f"the device is not the accelerator in the manifest: {name} must be 0x{expected:08x}, "
                                 f"not 0x{found:08x}; load the bitstream that was built from this folder")


def describe_activity(activity: int) -> str:
    """``activity[8:0]`` of the core in words: what each engine is doing."""
    return ", ".join(f"{engine.name} {causes[min(activity >> 3 * index & 7, len(causes) - 1)]}"
                     for index, (engine, causes) in enumerate(STALLS.items()))
