"""Words over a serial line that may lose, change or invent bytes: what arrives is what was sent, or an error is raised."""

from __future__ import annotations

import contextlib
import secrets
import zlib
from collections.abc import Iterator

from ..arch.registers import SERIAL_CONTROL
from ..arch.serial_link import (
    AFTER_DIGEST,
    AFTER_HEADER,
    CONTROL_DONE,
    CONTROL_FIRST,
    LONG,
    LONG_WORDS,
    MOST_WORDS,
    Frame,
    checked_header,
    control_word,
    digest,
    header,
)
from .device import DeviceError
from .serial_port import SerialPort

__all__ = ["ATTEMPTS", "LinkError", "SerialLink"]

ATTEMPTS = 10


class LinkError(DeviceError):
    """Nothing comes back over the line, or too often something else than was sent."""


class _Broken(Exception):
    """What came back is not what this traffic gives; the message says how."""


class SerialLink:
    """Checked frames (:mod:`systolith.arch.serial_link`) over ``port``.

    Every transfer is checked by the device's CRC of everything on the line and repeated until it is right: a write goes to its own
    words or nowhere, a read has no effect, and CONTROL is written in two steps of which the device remembers the second.

    Parameters
    ----------
    pause_s : a silence after which the device understands a new frame

    Attributes
    ----------
    faults : transfers that had to be repeated
    """

    def __init__(self, port: SerialPort, *, pause_s: float):
        self.port = port
        self.pause_s = pause_s
        self.faults = 0
        self._crc = 0
        self._in_step = False

    def restart(self, attempts: int = ATTEMPTS) -> None:
        """Agree with the device on where the CRC begins, whatever either has seen before. Raises :class:`LinkError`."""
        self._in_step = False
        for _ in range(attempts):
            self.port.drain(self.pause_s)
            # An empty read whose address nobody can know, so that no late answer to something else will do.
            nonce = header(Frame.READ, 4 * secrets.randbits(30), 0) + bytes((Frame.DIGEST,))
            self._crc = 0
            self._send(bytes((Frame.RESTART,)), counted=False)
            self._send(nonce)
            with contextlib.suppress(_Broken):
                self._check()
                self._in_step = True
                return
        raise LinkError(f"nothing answers at port {self.port.name!r} with {self.port.baud} baud; is the board powered, its bitstream "
                        "loaded (systolith flash), and this the rate it was built for (PORT@BAUD)?")

    def write(self, address: int, data: bytes) -> None:
        """Put ``data``, words with their most significant byte first, at byte ``address`` and on, and know that they are there."""
        for start, frame, count, size in _frames(Frame.CHECKED_WRITE, address, len(data) // 4):
            part = data[4 * start:4 * (start + size)]
            self._repeat(lambda frame=frame, count=count, place=address + 4 * start, part=part: self._write(frame, place, count, part))

    def read(self, address: int, count: int) -> bytes:
        """``count`` words from byte ``address`` on, most significant byte first."""
        parts = [self._repeat(lambda frame=frame, blocks=blocks, place=address + 4 * start, size=size:
                              self._read(frame, place, blocks, 4 * size))
                 for start, frame, blocks, size in _frames(Frame.CHECKED_READ, address, count)]
        return b"".join(parts)

    def control(self, bits: int) -> None:
        """Write ``bits`` to CONTROL, exactly once."""
        word = control_word(bits).to_bytes(4, "big")
        for _ in range(ATTEMPTS):
            self.write(SERIAL_CONTROL, CONTROL_FIRST.to_bytes(4, "big"))
            try:
                self._write(Frame.CHECKED_WRITE, SERIAL_CONTROL, 1, word)
                return
            except _Broken:
                self.faults += 1
                self.restart()
            # It may have been done all the same.
            if int.from_bytes(self.read(SERIAL_CONTROL, 1), "big") & CONTROL_DONE:
                return
        raise self._failed("CONTROL")

    def release(self) -> None:
        """Let the device take plain frames again."""
        if self._in_step:
            self._send(checked_header(Frame.CHECKED_WRITE, 0, 0, self._crc))

    def _repeat(self, transfer):  # type: ignore[no-untyped-def]
        """The result of ``transfer``, once it succeeds."""
        why = "?"
        for _ in range(ATTEMPTS):
            if not self._in_step:
                self.restart()
            try:
                return transfer()
            except _Broken as error:
                self.faults += 1
                why = str(error)
                self.restart()
        raise self._failed(why)

    def _failed(self, why: str) -> LinkError:
        self._in_step = False
        return LinkError(f"the line at port {self.port.name!r} failed {ATTEMPTS} times in a row, last with: {why}; try a shorter cable, "
                         "another USB port, and that no other program uses it")

    def _write(self, frame: int, address: int, count: int, data: bytes) -> None:
        body = data + bytes((Frame.DIGEST,))
        self.port.write(checked_header(frame, address, count, self._crc) + body)  # at once: a pause would cut it
        self._crc = zlib.crc32(body, AFTER_HEADER)
        self._check()

    def _read(self, frame: int, address: int, count: int, size: int) -> bytes:
        self._send(header(frame, address, count))
        data = self.port.read(size)
        if len(data) < size:
            raise _Broken(f"{len(data)} of {size} bytes came")
        self._crc = zlib.crc32(data, self._crc)
        self._check()
        return data

    def _send(self, data: bytes, *, counted: bool = True) -> None:
        if counted:
            self._crc = zlib.crc32(data, self._crc)
        self.port.write(data)

    def _check(self) -> None:
        """Read a digest and raise :class:`_Broken` unless it is that of our own bytes."""
        expected, found = digest(self._crc), self.port.read(4)
        self._crc = AFTER_DIGEST
        if found != expected:
            raise _Broken(f"a digest of {found.hex() or 'no bytes'} instead of {expected.hex()}")


def _frames(kind: int, address: int, words: int) -> Iterator[tuple[int, int, int, int]]:
    """A transfer in frames: first word of it, command, count for the header, words."""
    start = 0
    while start < words:
        left = words - start
        ragged = -(address // 4 + start) % LONG_WORDS
        if left <= MOST_WORDS:
            size = left
            yield start, kind, size, size
        elif ragged:
            size = ragged
            yield start, kind, size, size
        else:
            blocks = min(MOST_WORDS, left // LONG_WORDS)
            size = blocks * LONG_WORDS
            yield start, kind | LONG, blocks, size
        start += size
