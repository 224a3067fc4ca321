"""A pseudo-terminal in front of another one, that hurts the bytes which pass: a bad cable."""

import contextlib
import os
import random
import select
import termios
import threading
import tty

__all__ = ["FAULTS", "FaultyLine"]


def _flip(rng, data):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _change(rng, data):
    data[rng.randrange(len(data))] ^= rng.randrange(1, 256)


def _drop(rng, data):
    del data[rng.randrange(len(data))]


def _double(rng, data):
    place = rng.randrange(len(data))
    data.insert(place, data[place])


def _invent(rng, data):
    data.insert(rng.randrange(len(data) + 1), rng.randrange(256))


def _swallow(rng, data):
    start = rng.randrange(len(data))
    del data[start:start + rng.randrange(1, 60)]


def _repeat(rng, data):
    start = rng.randrange(len(data))
    data[start:start] = data[start:start + rng.randrange(1, 60)]


FAULTS = {"flip": _flip, "change": _change, "drop": _drop, "double": _double, "invent": _invent, "swallow": _swallow, "repeat": _repeat}


class FaultyLine:
    """Passes bytes between terminal ``port`` of its own and the terminal ``behind``, and hurts some.

    ``rate`` is how often, per byte, a piece of what passes gets one of :data:`FAULTS`; a piece is at most ``piece`` bytes. ``faults``
    counts them by kind.
    """

    def __init__(self, behind: str, *, rate: float = 0.0, seed: int = 1, piece: int = 512):
        self.rate, self.rng, self.piece = rate, random.Random(seed), piece
        self.faults = dict.fromkeys(FAULTS, 0)
        self._behind = os.open(behind, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._behind)
        settings = termios.tcgetattr(self._behind)
        settings[4] = settings[5] = termios.B230400
        termios.tcsetattr(self._behind, termios.TCSANOW, settings)
        self._front, self._kept = os.openpty()
        tty.setraw(self._kept)
        self.port = os.ttyname(self._kept)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._pass, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.pull()

    def pull(self):
        """The cable is pulled."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join(10)
            for end in (self._behind, self._front, self._kept):
                os.close(end)

    def _pass(self):
        with contextlib.suppress(OSError):  # an end has gone
            self._pieces()

    def _pieces(self):
        ways = {self._front: self._behind, self._behind: self._front}
        while not self._stop.is_set():
            for source in select.select(list(ways), [], [], 0.02)[0]:
                data = bytearray(os.read(source, self.piece))
                if data and self.rng.random() < self.rate * len(data):
                    name = self.rng.choice(list(FAULTS))
                    FAULTS[name](self.rng, data)
                    self.faults[name] += 1
                while data:
                    del data[:os.write(ways[source], data)]
