"""A board in Python: the functional model behind UARTBone frames on a pseudo-terminal."""

import os
import pty
import select
import threading
import tty

import numpy as np
from systolith.arch.registers import SERIAL_MEMORY, SERIAL_REGISTERS, offset_of
from systolith.host.device import Device

__all__ = ["FakeBoard"]


class FakeBoard:
    """Serves ``device`` at pseudo-terminal ``port`` in a thread. ``silent`` boards read and never answer.

    ``register`` may replace what a register shows: offset and true value → shown value.
    """

    def __init__(self, device: Device | None, *, silent: bool = False, register=lambda offset, value: value):
        self.device, self.silent, self.register = device, silent, register
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.pull()

    def pull(self):
        """The cable is pulled: both ends of the terminal close."""
        self._stop.set()
        self._thread.join(10)
        for end in (self._master, self._slave):
            if end is not None:
                os.close(end)
        self._master = self._slave = None

    def _bytes(self):
        while not self._stop.is_set():
            if select.select([self._master], [], [], 0.01)[0]:
                yield from os.read(self._master, 4096)

    def _serve(self):
        stream = self._bytes()

        def take(count):
            return bytes(next(stream) for _ in range(count))

        try:
            while True:
                command = next(stream)
                if command not in (1, 2):
                    continue
                count = next(stream)
                address = 4 * int.from_bytes(take(4), "big")
                for place in range(address, address + 4 * count, 4):
                    if command == 1:
                        self._write(place, int.from_bytes(take(4), "big"))
                    elif not self.silent:
                        os.write(self._master, self._read(place).to_bytes(4, "big"))
        except (StopIteration, RuntimeError):
            pass

    def _write(self, place, value):
        if place >= SERIAL_MEMORY:
            self.device.write_memory(place - SERIAL_MEMORY, np.array([value], np.uint32))
        else:
            self.device.write_register(place - SERIAL_REGISTERS, value)

    def _read(self, place):
        if place >= SERIAL_MEMORY:
            return int(self.device.read_memory(place - SERIAL_MEMORY, 4).view("<u4")[0])
        offset = place - SERIAL_REGISTERS
        value = self.device.memory_bytes if offset == offset_of("MEMORY_BYTES") else self.device.read_register(offset)
        return self.register(offset, value)
