"""A serial port of this computer: opening it, and what can be wrong with it, each in one line that says what to do."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from .device import DeviceError

__all__ = ["PortError", "SerialPort", "list_ports"]


_LOOK_S = 0.004  # between looks at the clock
_PIECE = 4096    # bytes for the operating system at once
_TCGETS2, _OSPEED = 0x802C542A, 10  # Linux's: settings with the rate as a number, and its place among them


class PortError(DeviceError):
    """The port cannot be opened, or has gone."""


def list_ports() -> list[tuple[str, str]]:
    """Name and description of each serial port that the operating system knows."""
    from serial.tools.list_ports import comports
    return sorted((port.device, port.description) for port in comports())


def _others(name: str) -> str:
    """The ports that there are besides ``name``, as the end of a sentence."""
    known = ", ".join(f"{port} ({text})" if text not in ("n/a", port) else port for port, text in list_ports() if port != name)
    return f"there is {known}" if known else "there is no serial port: is the board plugged in?"


def _remedy(port: str) -> str:
    """What gives a user a port that they may not open: its group, where that may read and write and is not root's."""
    try:
        import grp
        status = os.stat(port)
        if status.st_gid and status.st_mode & 0o060 == 0o060:
            group = grp.getgrgid(status.st_gid).gr_name
            return f"it belongs to group {group!r}: run: sudo usermod -aG {group} $USER, and log in again"
    except (ImportError, KeyError, OSError):
        return "ask who may"
    kind = Path(port).name.rstrip("0123456789")
    return (f"only root may: put KERNEL==\"{kind}[0-9]*\", GROUP=\"dialout\", MODE=\"0660\" into /etc/udev/rules.d/99-serial.rules, "
            "run: sudo usermod -aG dialout $USER, log in again, and plug the board in again")


class SerialPort:
    """Bytes to and from ``name``, which nobody else with an exclusive lock can open meanwhile.

    Parameters
    ----------
    name : a device file, or what the operating system calls its ports
    baud : bits per second
    silence_s : a read ends when nothing has come for so long
    clock : of such seconds; a simulated board's own, which may be slow, where one is at the other end

    Raises
    ------
    PortError
        There is no such port, it may not be opened, another program has it, or it does not do that rate.
    """

    def __init__(self, name: str, baud: int, *, silence_s: float, clock: Callable[[], float] = time.monotonic):
        import serial
        self.name = name
        self.baud = baud
        self.silence_s = silence_s
        self.clock = clock
        self._sent = clock()  # when the line will have carried what was written
        self._gone = (serial.SerialException, OSError)
        self._refused: tuple[type[Exception], ...] = (ValueError, OverflowError)
        with contextlib.suppress(ImportError):
            import termios
            self._refused += (termios.error,)
        try:
            self._port = serial.Serial(name, baud, timeout=_LOOK_S, write_timeout=60, exclusive=True)
        except (serial.SerialException, OSError, ValueError, OverflowError) as error:
            raise PortError(self._why(error)) from None

    def set_baud(self, baud: int) -> bool:
        """Change the rate, while nothing is under way; False, and the rate as it was, where the adapter says that it has none so near."""
        try:
            self._port.baudrate = baud
            if abs(self._true_baud(baud) / baud - 1) <= 0.025:
                self.baud = baud
                return True
        except self._gone as error:
            if getattr(error, "errno", None) in (errno.EIO, errno.ENODEV, errno.ENXIO, errno.EBADF):
                raise self._lost(error) from None
        except self._refused:
            pass
        if baud != self.baud:
            self.set_baud(self.baud)
        return False

    def _true_baud(self, asked: int) -> int:
        """What the adapter's driver has made of ``asked``, where the operating system tells."""
        try:
            import fcntl
            settings = array.array("i", [0] * 64)
            fcntl.ioctl(self._port.fileno(), _TCGETS2, settings)
            return settings[_OSPEED]
        except (ImportError, OSError, AttributeError):
            return asked

    def _why(self, error: Exception) -> str:
        code = getattr(error, "errno", None)
        if code in (errno.EACCES, errno.EPERM):
            return f"port {self.name!r} may not be opened by you; {_remedy(self.name)}"
        if code in (errno.EBUSY, errno.EWOULDBLOCK):
            return f"port {self.name!r} is in use by another program; close that one"
        if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or not Path(self.name).exists():
            return f"port {self.name!r} does not exist; {_others(self.name)}"
        if not isinstance(error, OSError):
            return f"port {self.name!r} does not do {self.baud} baud; choose another rate, PORT@BAUD"
        return f"port {self.name!r} is no serial port{f' ({os.strerror(code)})' if code else ''}; {_others(self.name)}"

    def write(self, data: bytes) -> None:
        """Hand over all of ``data``; returns when the operating system has it."""
        self._sent = max(self._sent, self.clock()) + 10 * len(data) / self.baud
        try:
            for start in range(0, len(data), _PIECE):  # each has its time, whatever the rate
                self._port.write(data[start:start + _PIECE])
        except self._gone as error:
            raise self._lost(error) from None

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes; fewer where nothing came for ``silence_s``."""
        received = bytearray()
        last = self.clock()
        try:
            while len(received) < count:
                part = self._port.read(min(count - len(received), self._port.in_waiting or 1))
                if part:
                    received += part
                    last = self.clock()
                elif self.clock() - max(last, self._sent) >= self.silence_s:
                    break
        except self._gone as error:
            raise self._lost(error) from None
        return bytes(received)

    def drain(self, quiet_s: float, limit_s: float = 20.0) -> None:
        """Throw away what comes until nothing has come for ``quiet_s``, or raise :class:`PortError` after ``limit_s``."""
        start = last = self.clock()
        try:
            while self.clock() - max(last, self._sent) < quiet_s:
                if self._port.in_waiting:
                    self._port.read(self._port.in_waiting)
                    last = self.clock()
                    if last > start + limit_s:
                        raise PortError(f"port {self.name!r} does not fall silent; something else than an accelerator sends there")
                time.sleep(_LOOK_S / 4)
        except self._gone as error:
            raise self._lost(error) from None

    def close(self) -> None:
        """Give the port back."""
        with contextlib.suppress(*self._gone):
            self._port.close()

    def _lost(self, error: Exception) -> PortError:
        import serial
        if isinstance(error, serial.SerialTimeoutException):
            return PortError(f"port {self.name!r} takes no more bytes; is its other end alive?")
        return PortError(f"port {self.name!r} has gone; is the cable still plugged in?")
