"""What travels on a serial line between a host and an accelerator: LiteX's UARTBone frames, and frames that can be trusted.

    WRITE   0x01  n  a3 a2 a1 a0   d3 d2 d1 d0 …     n words to word address a on, no answer
    READ    0x02  n  a3 a2 a1 a0                     answered by n words, d3 d2 d1 d0 each

Addresses count 32-bit words; addresses and data travel most significant byte first; n is 1 … 255. This is what LiteX's
``RemoteClient`` and ``litex_server --uart`` speak (litex/soc/cores/uart.py, ``Stream2Wishbone``). It has neither checksum nor
acknowledgement: a corrupt address writes elsewhere. So the device keeps a CRC-32 (IEEE 802.3, as ``zlib.crc32`` has it) of every
bit of every byte on the line, both ways, and knows four more frames, marked by bit 7:

    RESTART         0x80                                        the CRC begins anew, as of no bytes
    CHECKED_WRITE   0x81  n  a3 a2 a1 a0  c0 c1 c2 c3   data …  a write whose header carries the CRC of all before c0
    CHECKED_READ    0x82  n  a3 a2 a1 a0                        n words, then the digest of everything up to their last byte
    DIGEST          0x83                                        answered by the digest

- With LONG (0x04) in its first byte, n of a checked frame counts blocks of 128 words, the address being a multiple of 128.
- There is one frame on the line at a time: the device takes no byte while it answers, and could not order what both ways carry at once.
- c is ``zlib.crc32`` of the bytes before it, least significant byte first. A header whose c is wrong writes nothing, and the
  device then reads nothing more until the line has been silent for its timeout. So the header is the window of the write: its words
  go there or nowhere, however the line breaks them, and writing them once more repairs them. After a good header the CRC goes on
  from ``AFTER_HEADER``.
- A digest is the register of the CRC, least significant byte first, which is ``zlib.crc32`` inverted. Its own bytes belong to the CRC,
  and leave ``AFTER_DIGEST``.
- A frame cut by the timeout, and a byte that comes while the device cannot take it, restart the CRC, so that the next digest is wrong.
- The first checked header with n > 0 arms the device: from then on, WRITE frames are read and not done. One with n = 0 disarms it.

CONTROL is written in two steps, which the *address* tells apart, because a header is checked before anything is done: a word at
``SERIAL_CONTROL`` is the first, one at :func:`control_address` the second, and that address holds CONTROL's bits. What the words are does
not matter. The second step is done if the first one was the step before, and only then. Reading ``SERIAL_CONTROL`` gives bit 0 after a
first step, and ``CONTROL_DONE`` from a second step that was done until the next first one. (The CRC in every header is over all that was
said since the host's random number at RESTART: no late or repeated frame passes for another.)

A session begins at the rate that the device was built for. ``SERIAL_RATE`` reads as its clock in kHz, or as 0 where the rate is fixed.
Writing to it the clock cycles of a bit less one, at least ``LEAST_BIT_CYCLES`` less one and fewer than it was built for, changes the rate
once the next digest has been sent; a RESTART before that forgets it. The device goes back to the rate it was built for when a header with
n = 0 disarms it, and when no good checked header has come for ``RATE_TIMEOUTS`` of its timeouts, at a new rate for the first ``RATE_TRIAL``
of them: whatever becomes of the host or the line, it is found where it was. Time in which the words of a frame move does not count.
"""

from __future__ import annotations

import enum
import zlib

from .registers import REGISTER_BYTES, SERIAL_CONTROL

__all__ = ["AFTER_DIGEST", "AFTER_HEADER", "BYTE_BITS", "CONTROL_BITS", "CONTROL_DONE", "CONTROL_SECOND", "CONTROL_STEP",
           "LEAST_BIT_CYCLES", "LONG", "LONG_WORDS", "MOST_WORDS", "POLYNOMIAL", "RATE_TIMEOUTS", "RATE_TRIAL", "Frame", "checked_header",
           "control_address", "digest", "header"]

MOST_WORDS = 255
LONG = 0x04
LONG_WORDS = 128

POLYNOMIAL = 0xEDB88320      # of CRC-32, least significant bit first
AFTER_HEADER = 0x2144DF1C    # zlib.crc32 of any bytes followed by their own zlib.crc32
AFTER_DIGEST = 0xFFFFFFFF    # of any bytes followed by their own digest

CONTROL_BITS = 5
CONTROL_SECOND = REGISTER_BYTES      # in a second step's address, above the register's place
CONTROL_STEP = 2 * REGISTER_BYTES    # CONTROL's bits from there on
CONTROL_DONE = 2

BYTE_BITS = 10  # on the line, with start and stop
LEAST_BIT_CYCLES = 4  # a receiver samples bits in their middle
RATE_TIMEOUTS = 8     # a power of two
RATE_TRIAL = 2


class Frame(enum.IntEnum):
    """The first byte of a frame; other bytes between frames are skipped."""
    WRITE = 0x01
    READ = 0x02
    RESTART = 0x80
    CHECKED_WRITE = 0x81
    CHECKED_READ = 0x82
    DIGEST = 0x83


def header(frame: int, address: int, count: int) -> bytes:
    """First bytes of a frame for ``count`` words, or blocks of a long frame, from byte ``address`` on, a multiple of 4."""
    return bytes((frame, count)) + (address // 4).to_bytes(4, "big")


def checked_header(frame: int, address: int, count: int, crc: int) -> bytes:
    """Likewise of a checked write, after bytes whose ``zlib.crc32`` is ``crc``."""
    start = header(frame, address, count)
    return start + zlib.crc32(start, crc).to_bytes(4, "little")


def digest(crc: int) -> bytes:
    """What the device sends after bytes whose ``zlib.crc32`` is ``crc``."""
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")


def control_address(bits: int) -> int:
    """Byte address of the second step for ``bits`` of CONTROL."""
    return SERIAL_CONTROL + CONTROL_SECOND + CONTROL_STEP * bits
