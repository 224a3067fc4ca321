"""A port whose line hurts what passes, in every way that a line can: bytes, bits, the rate, another program, a cable that is pulled."""

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
    """Hurts ``rate`` times per byte, on average, with one of :data:`FAULTS`; ``faults`` counts them by kind.

    On the way to the board bytes are hurt before they are sent, on the way back after they have come; ``spike`` inverts the line for
    a part of a bit up to a few bits, ``rate`` sends a piece at another rate, ``foreign`` puts another program's frame before, into or
    behind a piece, ``pulled`` loses everything in both directions for a while that begins within a piece.
    """

    def __init__(self, *arguments, seed, **options):
        super().__init__(*arguments, **options)
        self.rng, self.rate = random.Random(seed), 0.0
        self.faults = dict.fromkeys(FAULTS, 0)
        self._pulled = 0

    def write(self, data):
        if self._pulled:
            self._pulled -= 1
            self._pass_by(len(data))
        elif (name := self._strike(len(data))) is None:
            super().write(data)
        else:
            self._hurt(name, bytearray(data))

    def read(self, count):
        name = self._strike(count)
        if name == "spike":
            self.spike(1, self.rng.randrange(1, 10 * count + 1) * round(self.bit_cycles), self._spike_cycles())
        data = bytearray(super().read(count))
        if self._pulled or name in ("pulled", "rate"):
            self._pulled = self._pulled or self.rng.randrange(1, 4) if name == "pulled" else self._pulled
            return bytes(data[:self.rng.randrange(len(data) + 1)])
        if name == "foreign" and data:  # the other program takes some of our answer
            del data[:self.rng.randrange(1, len(data) + 1)]
        elif name in BYTE_FAULTS and data:
            BYTE_FAULTS[name](self.rng, data)
        return bytes(data[:count])

    @property
    def bit_cycles(self):
        return self.board.clock_hz / min(self.baud, self.most_baud)

    def _strike(self, count):
        """What happens to a piece of ``count`` bytes, if anything."""
        if not count or self.rng.random() >= self.rate * count:
            return None
        name = self.rng.choice(FAULTS)
        self.faults[name] += 1
        return name

    def _hurt(self, name, data):
        place = self.rng.randrange(len(data) + 1)
        if name == "spike":
            self.spike(0, self.rng.randrange(10 * len(data)) * round(self.bit_cycles) + self.rng.randrange(4), self._spike_cycles())
            super().write(data)
        elif name == "rate":
            super().write(data[:place])
            baud = self.baud
            self.set_baud(round(baud * self.rng.choice([0.25, 0.5, 0.9, 1.1, 1.3])))
            end = self.rng.randrange(place, len(data) + 1)
            super().write(data[place:end])
            self.set_baud(baud)
            super().write(data[end:])
        elif name == "foreign":
            super().write(data[:place] + _foreign(self.rng) + data[place:])
        elif name == "pulled":
            super().write(data[:place])
            self._pulled = self.rng.randrange(4)
            self._pass_by(len(data) - place)
        else:
            BYTE_FAULTS[name](self.rng, data)
            super().write(data)

    def _spike_cycles(self):
        return self.rng.randrange(1, 4 * round(self.bit_cycles))

    def _pass_by(self, count):
        """The time of so many bytes that are sent into nowhere."""
        self._wait(1 << 62, 10 * count / self.baud)
