"""Words over a serial line that may lose, change or invent bytes: what arrives is what was sent, or an error is raised."""

from __future__ import annotations

import contextlib
import secrets
import zlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..arch.registers import SERIAL_CONTROL, SERIAL_MEMORY, SERIAL_NOWHERE, SERIAL_RATE
from ..arch.serial_link import (
    AFTER_DIGEST,
    AFTER_HEADER,
    BYTE_BITS,
    CONTROL_DONE,
    LONG,
    LONG_WORDS,
    MOST_WORDS,
    Frame,
    checked_header,
    control_address,
    digest,
    header,
)
from .device import DeviceError
from .line_rates import Rate, line_rates
from .serial_port import SerialPort

__all__ = ["ATTEMPTS", "LinkError", "SerialLink"]

_Result = TypeVar("_Result")

ATTEMPTS = 10
BLOCK_S = 0.15  # of the line, at most, between two digests
LEAST_WORDS = 16  # of a block
TRIAL_WORDS, TRIAL_BLOCKS = 16, 8  # each way before a rate is used: a few, and 4 KiB
RATE_FAULTS = 3  # times that one transfer may fail before its rate is given up
RETURN_TRIPS = 2000  # round trips in which a device at another rate is back, even one that is simulated slowly


class LinkError(DeviceError):
    """Nothing comes back over the line, or too often something else than was sent."""


class _Broken(Exception):
    """What came back is not what this traffic gives; the message says how."""


class SerialLink:
    """Checked frames (:mod:`systolith.arch.serial_link`) over ``port``.

    Every transfer is checked by the device's CRC of everything on the line and repeated until it is right: a write goes to its own
    words or nowhere, a read has no effect, and CONTROL is written in two steps of which the device remembers the second.

    Long transfers go in blocks, each a frame and the digest that confirms it. A second block cannot be under way before that digest:
    while the device answers it takes no bytes, and its CRC, of both ways, would be of bytes in an order that the host does not know. So
    what hides an adapter's latency is that a block takes long: ``BLOCK_S`` at any rate, of which a round trip of 2 ms is 1.3 %, as far as
    the 127 KiB of a frame go. More in one frame would take too long where the device mishears a read and answers all of that. After a
    fault blocks are a quarter as long, so that a bad line repeats little, and twice as long after each that was right.

    Parameters
    ----------
    pause_s : a silence after which the device understands a new frame
    patient : nobody knows how long an answer may take; no rate is given up for being slow

    Attributes
    ----------
    faults : transfers that had to be repeated
    """

    def __init__(self, port: SerialPort, *, pause_s: float, patient: bool = False):
        self.port = port
        self.pause_s = pause_s
        self.patient = patient
        self.faults = 0
        self._crc = 0
        self._in_step = False
        self._most_words = LONG_WORDS * MOST_WORDS
        self._built_baud = port.baud
        self._rates: list[Rate] = []  # those above the built one that may still work, the highest first
        self._raised = False
        self._trusted = 0.0  # when the device last had a good header
        self._trip_s = 0.0

    def restart(self, attempts: int = ATTEMPTS) -> None:
        """Agree with the device on where the CRC begins, whatever either has seen before. Raises :class:`LinkError`."""
        self._in_step = False
        for attempt in range(attempts):
            if attempt and self._raised:
                self._lower()
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

    def negotiate(self) -> None:
        """Go on at the highest rate that the device can make and the adapter carries; each is tried by checked transfers. Without loss."""
        clock_hz = 1000 * int.from_bytes(self.read(SERIAL_RATE, 1), "big")
        self._rates = line_rates(clock_hz, self._built_baud) if clock_hz else []
        self._raise()

    def write(self, address: int, data: bytes) -> None:
        """Put ``data``, words with their most significant byte first, at byte ``address`` and on, and know that they are there."""
        done = 0
        while done < len(data):
            done += self._repeat(lambda start: self._write_block(address + start, data, start), done)

    def read(self, address: int, count: int) -> bytes:
        """``count`` words from byte ``address`` on, most significant byte first."""
        data = bytearray()
        while len(data) < 4 * count:
            data += self._repeat(lambda start: self._read_block(address + start, count - start // 4), len(data))
        return bytes(data)

    def control(self, bits: int) -> None:
        """Write ``bits`` to CONTROL, exactly once."""
        for _ in range(ATTEMPTS):
            self.write(SERIAL_CONTROL, bytes(4))
            try:
                self._write(Frame.CHECKED_WRITE, control_address(bits), 1, bytes(4))
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

    def _write_block(self, address: int, data: bytes, start: int) -> int:
        """Write as much of ``data`` from ``start`` on as a block has now: how many bytes."""
        frame, count, size = self._frame(Frame.CHECKED_WRITE, address, (len(data) - start) // 4)
        self._write(frame, address, count, data[start:start + 4 * size])
        return 4 * size

    def _read_block(self, address: int, words: int) -> bytes:
        """Likewise of ``words``: the bytes."""
        frame, count, size = self._frame(Frame.CHECKED_READ, address, words)
        return self._read(frame, address, count, 4 * size)

    @property
    def _block_words(self) -> int:
        """Of a block, at most, for now."""
        return max(LEAST_WORDS, min(self._most_words, int(BLOCK_S * self.port.baud / (4 * BYTE_BITS))))

    def _frame(self, kind: int, address: int, words: int) -> tuple[int, int, int]:
        """What a block of a transfer that has ``words`` left begins with: command and count for the header, and its words."""
        words = min(words, self._block_words)
        ragged = -(address // 4) % LONG_WORDS
        if words <= MOST_WORDS:
            return kind, words, words
        if ragged:
            return kind, ragged, ragged
        blocks = min(MOST_WORDS, words // LONG_WORDS)
        return kind | LONG, blocks, blocks * LONG_WORDS

    def _repeat(self, transfer: Callable[[int], _Result], start: int) -> _Result:
        """The result of ``transfer`` of the block at ``start``, once it succeeds."""
        why = "?"
        for failed in range(ATTEMPTS):
            if not self._in_step:
                self.restart()
            self._keep()
            try:
                result = transfer(start)
                self._most_words = min(2 * self._most_words, LONG_WORDS * MOST_WORDS)
                return result
            except _Broken as error:
                self.faults += 1
                self._most_words = max(LEAST_WORDS, self._block_words // 4)
                why = str(error)
                if self._raised and failed + 1 >= RATE_FAULTS:
                    self._rates.pop(0)
                    self._lower()
                self.restart()
        raise self._failed(why)

    def _keep(self) -> None:
        """Have the device at the rate that the next transfer takes it to be at."""
        if not self._raised:
            self._raise()
        elif (silent_s := self.port.clock() - self._trusted) > self.pause_s:
            # The device may have gone back by now, which is no fault.
            try:
                with self._quickly():
                    self._write(Frame.CHECKED_WRITE, SERIAL_NOWHERE, 1, bytes(4))
            except _Broken:
                self.faults += silent_s < 2 * self.pause_s
                self._lower()
                self.restart()
                self._raise()

    def _raise(self) -> None:
        """Try the rates that are left."""
        while self._rates and not self._raised:
            if not self._try(self._rates[0]):
                self._rates.pop(0)

    def _try(self, rate: Rate) -> bool:
        """Whether the line carries ``rate``, which it then has."""
        if not self.port.set_baud(rate.baud):
            return False
        self.port.set_baud(self._built_baud)
        for _ in range(ATTEMPTS):
            start = self.port.clock()
            try:
                self._write(Frame.CHECKED_WRITE, SERIAL_RATE, 1, (rate.cycles - 1).to_bytes(4, "big"))
            except _Broken:  # at the built rate: not this one's fault
                self.faults += 1
                self._return()
                continue
            self._trip_s = self.port.clock() - start
            self.port.set_baud(rate.baud)
            self.port.drain(2 / self._built_baud)  # the device changes when its last stop bit has ended
            self._raised = True
            with contextlib.suppress(_Broken):
                with self._quickly():
                    self._exchange(0, TRIAL_WORDS)
                self._exchange(LONG, TRIAL_BLOCKS)
                return True
            self._return()
            return False
        raise self._failed("the line's rate")

    def _exchange(self, long: int, count: int) -> None:
        """Random words to where none are kept, and whatever the memory has; ``count`` words, or blocks with ``LONG``."""
        size = 4 * count * (LONG_WORDS if long else 1)
        self._write(Frame.CHECKED_WRITE | long, SERIAL_NOWHERE, count, secrets.token_bytes(size))
        self._read(Frame.CHECKED_READ | long, SERIAL_MEMORY, count, size)

    def _lower(self) -> None:
        """The built rate again, to which the device comes back by itself."""
        self.port.set_baud(self._built_baud)
        self._raised = self._in_step = False

    def _return(self) -> None:
        """Meet the device at the built rate."""
        self._lower()
        start = self.port.clock()
        while True:
            try:
                with self._quickly():
                    return self.restart()
            except LinkError:
                if self.port.clock() - start > max(10 * self.pause_s, RETURN_TRIPS * self._trip_s):
                    raise

    @contextlib.contextmanager
    def _quickly(self) -> Iterator[None]:
        """Wait for an answer not much longer than the last one took."""
        silence_s = self.port.silence_s
        if not self.patient:
            self.port.silence_s = min(silence_s, max(0.8 * self.pause_s, 10 * self._trip_s))
        try:
            yield
        finally:
            self.port.silence_s = silence_s

    def _failed(self, why: str) -> LinkError:
        self._in_step = False
        return LinkError(f"the line at port {self.port.name!r} failed {ATTEMPTS} times in a row, last with: {why}; try a shorter cable, "
                         "another USB port, and that no other program uses it")

    def _write(self, frame: int, address: int, count: int, data: bytes) -> None:
        body = data + bytes((Frame.DIGEST,))
        trusted = self.port.clock()
        self.port.write(checked_header(frame, address, count, self._crc) + body)  # at once: a pause would cut it
        self._crc = zlib.crc32(body, AFTER_HEADER)
        self._check()
        self._trusted = trusted

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
