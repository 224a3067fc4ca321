"""A board in Python: the functional model behind the frames of arch/serial_link.py, on a pseudo-terminal."""

import os
import pty
import select
import threading
import tty
import zlib

import numpy as np
from systolith.arch.registers import SERIAL_CONTROL, SERIAL_MEMORY, SERIAL_RATE, SERIAL_REGISTERS, offset_of
from systolith.arch.serial_link import LONG, LONG_WORDS
from systolith.host.device import Device

__all__ = ["FakeBoard"]


class FakeBoard:
    """Serves ``device`` at pseudo-terminal ``port`` in a thread. ``silent`` boards read and never answer; ``plain`` ones know LiteX's
    frames only.

    ``register`` may replace what a register shows: offset and true value → shown value.
    """

    def __init__(self, device: Device | None, *, silent: bool = False, plain: bool = False, register=lambda offset, value: value):
        self.device, self.silent, self.plain, self.register = device, silent, plain, register
        self.crc = 0
        self.first = self.done = 0
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
                for byte in os.read(self._master, 4096):
                    self.crc = zlib.crc32(bytes((byte,)), self.crc)
                    yield byte

    def _send(self, data):
        if not self.silent:
            self.crc = zlib.crc32(data, self.crc)
            os.write(self._master, data)

    def _serve(self):
        stream = self._bytes()

        def take(count):
            return bytes(next(stream) for _ in range(count))

        try:
            while True:
                command = next(stream)
                if command == 0x80:
                    self.crc = 0
                elif command == 0x83 and not self.plain:
                    self._send((self.crc ^ 0xFFFFFFFF).to_bytes(4, "little"))
                elif command in (1, 2) or (command in (0x81, 0x82, 0x85, 0x86) and not self.plain):
                    count = next(stream) * (LONG_WORDS if command & LONG else 1)
                    address = 4 * int.from_bytes(take(4), "big") & 0xFFFFFFFF
                    if command in (0x81, 0x85):
                        assert take(4) and self.crc == 0x2144DF1C, "a checked header's check"
                    for place in range(address, address + 4 * count, 4):
                        if command & 1:
                            self._write(place, int.from_bytes(take(4), "big"))
                        else:
                            self._send(self._read(place).to_bytes(4, "big"))
                    if command in (0x82, 0x86):
                        self._send((self.crc ^ 0xFFFFFFFF).to_bytes(4, "little"))
        except (StopIteration, RuntimeError):
            pass

    def _write(self, place, value):
        if place >= SERIAL_MEMORY:
            self.device.write_memory(place - SERIAL_MEMORY, np.array([value], np.uint32))
        elif place == SERIAL_CONTROL:
            self.first, self.done = 1, 0
        elif place > SERIAL_CONTROL:
            bits, rest = divmod(place - SERIAL_CONTROL - 0x200, 0x400)
            assert rest == 0 and bits < 32, "a second step's address"
            if self.first:
                self.device.write_register(offset_of("CONTROL"), bits)
                self.done = 1
            self.first = 0
        else:
            self.device.write_register(place - SERIAL_REGISTERS, value)

    def _read(self, place):
        if place >= SERIAL_MEMORY:
            return int(self.device.read_memory(place - SERIAL_MEMORY, 4).view("<u4")[0])
        if place == SERIAL_CONTROL:
            return self.first | self.done << 1
        if place == SERIAL_RATE:
            return 0  # a terminal has no rate
        offset = place - SERIAL_REGISTERS
        value = self.device.memory_bytes if offset == offset_of("MEMORY_BYTES") else self.device.read_register(offset)
        return self.register(offset, value)
