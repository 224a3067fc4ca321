"""A simulated board at a port that needs no clock on the wall: its time goes on while the driver sends or waits, and stands otherwise.

Every run with the same seed is the same, and thousands of faults take seconds.
"""

import ctypes
from pathlib import Path

from systolith.gen.simulate_board import compile_board

__all__ = ["LockstepPort", "lockstep_library"]

HARNESS = Path(__file__).with_name("board_link.cpp")


def lockstep_library(folder):
    """The simulation of the board generated in ``folder``."""
    library = ctypes.CDLL(str(compile_board(folder, harness=HARNESS, shared=True).path))
    library.board_open.restype = ctypes.c_void_p
    library.board_cycles.restype = ctypes.c_uint64
    library.board_wait.restype = ctypes.c_size_t
    library.board_heard.restype = library.board_spoilt.restype = ctypes.c_bool
    return library


class LockstepPort:
    """What :class:`~systolith.host.serial_port.SerialPort` is to the driver, with an adapter that does at most ``most_baud``.

    It says so, as some do, where ``honest``; otherwise it sends at the rate it has. It holds each byte back for ``latency_s``.
    """

    name = "lockstep"

    def __init__(self, library, board, *, silence_s, most_baud=10**9, honest=False, latency_s=0.0):
        self.library, self.board, self.silence_s = library, board, silence_s
        self.most_baud, self.honest = most_baud, honest
        self._handle = ctypes.c_void_p(library.board_open())
        library.board_latency(self._handle, ctypes.c_uint64(round(latency_s * board.clock_hz)))
        self.tried = []
        self.set_baud(board.baud)

    def clock(self):
        return self.library.board_cycles(self._handle) / self.board.clock_hz

    def set_baud(self, baud):
        self.tried.append(baud)
        if self.honest and baud > self.most_baud:
            return False
        self.baud = baud
        self.library.board_rate(self._handle, ctypes.c_double(self.board.clock_hz / min(baud, self.most_baud)))
        return True

    def write(self, data):
        self.library.board_send(self._handle, bytes(data), ctypes.c_size_t(len(data)))

    def read(self, count):
        return self._take(min(count, self._wait(count, self.silence_s)))

    def drain(self, quiet_s):
        self._take(self._wait(1 << 62, quiet_s))

    def close(self):
        pass

    def switch_off(self):
        self.library.board_close(self._handle)

    def spike(self, way, after, cycles):
        self.library.board_spike(self._handle, ctypes.c_int(way), ctypes.c_uint64(after), ctypes.c_uint64(cycles))

    def _wait(self, count, silence_s):
        return self.library.board_wait(self._handle, ctypes.c_size_t(count), ctypes.c_uint64(round(silence_s * self.board.clock_hz)))

    def _take(self, count):
        data = ctypes.create_string_buffer(count or 1)
        self.library.board_take(self._handle, data, ctypes.c_size_t(count))
        return data.raw[:count]
