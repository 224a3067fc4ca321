"""The simulated device: the emitted Verilog compiled by Verilator, with its memory, in a shared library."""

from __future__ import annotations

import contextlib
import ctypes
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arch.manifest import Manifest
from .device import Device, DeviceError, DeviceTimeout, check_identity, describe_activity

__all__ = ["EVENT", "SimulatedDevice"]

# One line of the command trace; value 8 means that a command begins, 0 … 7 is the engine's activity from that cycle on.
EVENT = np.dtype([("cycle", np.uint64), ("engine", np.uint32), ("value", np.uint32)])
_CHUNK_CYCLES = 1 << 20  # between looks at the clock on the wall and at Ctrl-C
_ENDED, _OUT_OF_TIME, _PROTOCOL = 0, 1, 2


class _Settings(ctypes.Structure):
    """``Settings`` of gen/harness.cpp."""
    _fields_ = (("memory_bytes", ctypes.c_uint64), ("latency", ctypes.c_uint32), ("cycles_per_beat", ctypes.c_uint32),
                ("half_duplex", ctypes.c_uint32), ("stall", ctypes.c_uint32), ("seed", ctypes.c_uint64))


_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "create": (ctypes.c_void_p, [ctypes.POINTER(_Settings)]),
    "destroy": (None, [ctypes.c_void_p]),
    "memory": (ctypes.c_void_p, [ctypes.c_void_p]),
    "read_register": (ctypes.c_uint32, [ctypes.c_void_p, ctypes.c_uint32]),
    "write_register": (None, [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32]),
    "run": (ctypes.c_int32, [ctypes.c_void_p, ctypes.c_uint64]),
    "cycle": (ctypes.c_uint64, [ctypes.c_void_p]),
    "activity": (ctypes.c_uint32, [ctypes.c_void_p]),
    "message": (ctypes.c_char_p, [ctypes.c_void_p]),
    "stop_memory": (None, [ctypes.c_void_p, ctypes.c_int32]),
    "vcd": (ctypes.c_int32, [ctypes.c_void_p, ctypes.c_char_p]),
    "trace": (None, [ctypes.c_void_p, ctypes.c_int32]),
    "event_count": (ctypes.c_uint64, [ctypes.c_void_p]),
    "events": (ctypes.c_void_p, [ctypes.c_void_p]),
    "clear_events": (None, [ctypes.c_void_p]),
}


class SimulatedDevice(Device):
    """The emitted Verilog, clock by clock, with a memory of its own.

    Parameters
    ----------
    library : shared library that ``gen.simulate.compile_simulation`` has made
    manifest : of the generated folder; the device must show its identity
    memory_bytes : size of the memory
    latency : cycles from a request to its first word or response, at least 1
    cycles_per_beat : cycles from one bus word to the next, at least 1
    half_duplex : reads and writes share the words, as with one SDRAM
    stall : fraction of cycles, 0 … 0.95, in which each memory channel hesitates at random, from ``seed``
    max_cycles : a program that runs longer is ended with :class:`DeviceTimeout`
    vcd : file for waveforms (the library must have been compiled for them)
    trace : record what the engines do, for :mod:`.trace`

    Raises
    ------
    DeviceMismatch
        The library is not of this manifest.
    DeviceError
        The library cannot be loaded or cannot write waveforms.
    """

    def __init__(self, library: str | Path, manifest: Manifest, *, memory_bytes: int = 64 << 20, latency: int = 30,
                 cycles_per_beat: int = 1, half_duplex: bool = False, stall: float = 0.0, seed: int = 0,
                 max_cycles: int = 1_000_000_000, vcd: str | Path | None = None, trace: bool = False):
        for name, value, low in (("memory_bytes", memory_bytes, manifest.config.bus_bytes), ("latency", latency, 1),
                                 ("cycles_per_beat", cycles_per_beat, 1), ("max_cycles", max_cycles, 1)):
            if value < low:
                raise ValueError(f"{name} must be at least {low}, not {value!r}")
        if not 0 <= stall <= 0.95:
            raise ValueError(f"stall must be from 0 to 0.95, not {stall!r}")
        self._handle: int | None = None
        self.memory_bytes = memory_bytes
        self.max_cycles = max_cycles
        try:
            self._library = ctypes.CDLL(str(library))
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(self._library, f"systolith_{name}")
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise DeviceError(f"simulation library {str(library)!r} cannot be loaded: {error}") from None
        settings = _Settings(memory_bytes, latency, cycles_per_beat, half_duplex, math.ceil(256 * stall), seed)
        self._handle = self._library.systolith_create(ctypes.byref(settings))
        self.memory: npt.NDArray[np.uint8] = np.ctypeslib.as_array(
            ctypes.cast(self._library.systolith_memory(self._handle), ctypes.POINTER(ctypes.c_uint8)), (memory_bytes,))
        try:
            check_identity(self, manifest)
            if vcd is not None and not self._library.systolith_vcd(self._handle, str(vcd).encode()):
                raise DeviceError(f"waveforms cannot be written to {str(vcd)!r}: no such folder, or a library compiled without them")
        except DeviceError:
            self.close()
            raise
        self._tracing = trace
        self._library.systolith_trace(self._handle, int(trace))

    @property
    def cycle(self) -> int:
        """Clock cycles since the device was made."""
        return int(self._library.systolith_cycle(self._handle))

    def read_register(self, offset: int) -> int:
        return int(self._library.systolith_read_register(self._handle, offset))

    def write_register(self, offset: int, value: int) -> None:
        self._library.systolith_write_register(self._handle, offset, value)

    def read_memory(self, address: int, count: int) -> npt.NDArray[np.uint8]:
        self.check_range(address, count)
        return self.memory[address:address + count].copy()

    def write_memory(self, address: int, data: npt.NDArray[Any]) -> None:
        octets = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self.check_range(address, octets.size)
        self.memory[address:address + octets.size] = octets

    def stop_memory(self, stopped: bool = True) -> None:
        """From now on the memory accepts and answers nothing, or does again; the host's own accesses still work."""
        self._library.systolith_stop_memory(self._handle, int(stopped))

    def wait(self, timeout_s: float | None = None) -> None:
        """Run the clock until the program ends.

        Raises :class:`DeviceTimeout` after ``max_cycles`` or ``timeout_s`` seconds, saying what each engine was doing, and
        :class:`DeviceError` where the machine breaks a rule of its memory ports.
        """
        start, end = time.monotonic(), self.cycle + self.max_cycles
        while (outcome := self._library.systolith_run(self._handle, min(_CHUNK_CYCLES, end - self.cycle))) == _OUT_OF_TIME:
            late = timeout_s is not None and time.monotonic() - start > timeout_s
            if late or self.cycle >= end:
                raise self._timeout(timeout_s if late else None)
        if outcome == _PROTOCOL:
            raise DeviceError(f"memory port: {self._library.systolith_message(self._handle).decode()}")

    def poll(self, ended: Callable[[], bool], timeout_s: float | None = None) -> None:
        """Each look at a register takes a cycle; :class:`DeviceTimeout` as for :meth:`wait`."""
        start, end = time.monotonic(), self.cycle + self.max_cycles
        while not ended():
            late = timeout_s is not None and time.monotonic() - start > timeout_s
            if late or self.cycle >= end:
                raise self._timeout(timeout_s if late else None)

    def _timeout(self, seconds: float | None) -> DeviceTimeout:
        """After ``seconds``, or after ``max_cycles``."""
        limit = f"{self.max_cycles} cycles" if seconds is None else f"{seconds} s"
        doing = describe_activity(self._library.systolith_activity(self._handle))
        return DeviceTimeout(f"the program has not ended after {limit}: {doing}")

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Trace what happens within, whatever ``trace`` said."""
        self._library.systolith_trace(self._handle, 1)
        self._library.systolith_clear_events(self._handle)
        try:
            yield
        finally:
            if self._handle is not None:
                self._library.systolith_trace(self._handle, int(self._tracing))

    def take_events(self) -> npt.NDArray[np.void]:
        """The trace since the last call, an array of :data:`EVENT`."""
        count = int(self._library.systolith_event_count(self._handle))
        if not count:
            return np.empty(0, EVENT)
        events = np.frombuffer(ctypes.string_at(self._library.systolith_events(self._handle), count * EVENT.itemsize), EVENT)
        self._library.systolith_clear_events(self._handle)
        return events

    def close(self) -> None:
        if self._handle is not None:
            self.memory = np.empty(0, np.uint8)
            self._library.systolith_vcd(self._handle, None)
            self._library.systolith_destroy(self._handle)
            self._handle = None
