"""A port whose line hurts what passes, in every way that a line can: bytes, bits, the rate, another program, a cable that is pulled."""

import ctypes
import random

from faulty_line import FAULTS as BYTE_FAULTS
from lockstep import LockstepPort
from systolith.arch.registers import SERIAL_CONTROL, SERIAL_MEMORY, SERIAL_RATE, SERIAL_REGISTERS
from systolith.arch.serial_link import Frame, control_address, header

__all__ = ["FAULTS", "FaultyPort"]


def _foreign(rng):
    """A frame of a program that does not ask: LiteX's writes and reads, to memory, registers and CONTROL, or the start of one."""
    address = rng.choice([SERIAL_MEMORY + 4 * rng.randrange(500), SERIAL_REGISTERS + 4 * rng.randrange(100), SERIAL_CONTROL,
                          control_address(1), SERIAL_RATE])
    words = [rng.choice([rng.getrandbits(32), 1, 3]) for _ in range(rng.randrange(1, 4))]
    frame = header(Frame.WRITE, address, len(words)) + b"".join(word.to_bytes(4, "big") for word in words)
    return rng.choice([frame, frame[:rng.randrange(1, len(frame))], header(Frame.READ, address, rng.randrange(1, 4)),
                       bytes((Frame.RESTART,)), bytes((Frame.DIGEST,))])


FAULTS = (*BYTE_FAULTS, "spike", "rate", "foreign", "pulled")


class FaultyPort(LockstepPort):
    """Hurts ``rate`` times per byte, on average, with one of :data:`FAULTS`; ``faults`` counts by kind those after which something else
    arrived than was sent, ``raised`` those among them at a higher rate than the board was built for.

    On the way to the board bytes are hurt before they are sent, on the way back after they have come; ``spike`` inverts the line for
    a part of a bit up to a few bits, ``rate`` sends a piece at another rate, ``foreign`` puts another program's frame before, into or
    behind a piece, ``pulled`` loses everything in both directions for a while that begins within a piece. A spike between two samples and
    a byte that is the same at another rate do no harm, and are not counted.
    """

    def __init__(self, *arguments, seed, **options):
        super().__init__(*arguments, **options)
        self.rng, self.rate = random.Random(seed), 0.0
        self.faults = dict.fromkeys(FAULTS, 0)
        self.raised = self._pulled = 0

    def sound(self, work):
        """What ``work`` gives while nothing is hurt."""
        rate, self.rate = self.rate, 0.0
        try:
            return work()
        finally:
            self.rate = rate

    def write(self, data):
        if self._pulled:
            self._pulled -= 1
            self._pass_by(len(data))
        elif (name := self._strike(len(data))) is None:
            super().write(data)
        else:
            self.library.board_heard(self._handle, b"", ctypes.c_size_t(0))
            self._hurt(name, bytearray(data))
            self._count(name, not self.library.board_heard(self._handle, bytes(data), ctypes.c_size_t(len(data))))

    def read(self, count):
        if self._pulled:
            data = super().read(count)
            return data[:self.rng.randrange(len(data) + 1)]
        name = self._strike(count)
        if name == "spike":
            self.library.board_spoilt(self._handle)
            self.spike(1, self.rng.randrange(1, 10 * count + 1) * round(self.bit_cycles), self._spike_cycles())
        came = super().read(count)
        if name is None or not came:
            return came
        data = bytearray(came)
        if name in ("pulled", "rate"):
            self._pulled = self.rng.randrange(1, 4) if name == "pulled" else 0
            del data[self.rng.randrange(len(data)):]
        elif name == "foreign":  # the other program takes some of our answer
            del data[:self.rng.randrange(1, len(data) + 1)]
        elif name in BYTE_FAULTS:
            BYTE_FAULTS[name](self.rng, data)
        data = bytes(data[:count])
        self._count(name, self.library.board_spoilt(self._handle) if name == "spike" else data != came)
        return data

    @property
    def bit_cycles(self):
        return self.board.clock_hz / min(self.baud, self.most_baud)

    def _count(self, name, hurt):
        self.faults[name] += hurt
        self.raised += hurt and self.baud > self.board.baud

    def _strike(self, count):
        """What happens to a piece of ``count`` bytes, if anything."""
        return self.rng.choice(FAULTS) if self.rng.random() < self.rate * count else None

    def _hurt(self, name, data):
        place = self.rng.randrange(len(data))
        if name == "spike":
            self.spike(0, self.rng.randrange(10 * len(data)) * round(self.bit_cycles) + self.rng.randrange(4), self._spike_cycles())
            super().write(data)
        elif name == "rate":
            end = self.rng.randrange(place + 1, len(data) + 1)
            super().write(data[:place])
            self._send_at(self.rng.choice([0.25, 0.5, 0.9, 1.1, 1.3]))
            super().write(data[place:end])
            self._send_at(1)
            super().write(data[end:])
        elif name == "foreign":
            place = self.rng.randrange(len(data) + 1)
            super().write(data[:place] + _foreign(self.rng) + data[place:])
        elif name == "pulled":
            super().write(data[:place])
            self._pulled = self.rng.randrange(4)
            self._pass_by(len(data) - place)
        else:
            BYTE_FAULTS[name](self.rng, data)
            super().write(data)

    def _send_at(self, share):
        """At so much of the rate."""
        self.library.board_send_rate(self._handle, ctypes.c_double(self.bit_cycles / share))

    def _spike_cycles(self):
        return self.rng.randrange(1, 4 * round(self.bit_cycles))

    def _pass_by(self, count):
        """The time of so many bytes that are sent into nowhere."""
        self._wait(1 << 62, 10 * count / self.baud)
