"""What travels on a serial line between a host and an accelerator: frames as LiteX's UARTBone has them.

    WRITE   0x01  n  a3 a2 a1 a0   d3 d2 d1 d0 …     n words to word address a on, no answer
    READ    0x02  n  a3 a2 a1 a0                     answered by n words, d3 d2 d1 d0 each

Addresses count 32-bit words; addresses and data travel most significant byte first; n is 1 … 255. This is what LiteX's
``RemoteClient`` and ``litex_server --uart`` speak (litex/soc/cores/uart.py, ``Stream2Wishbone``).
"""

from __future__ import annotations

import enum

__all__ = ["HEADER_BYTES", "MOST_WORDS", "Frame", "header"]

MOST_WORDS = 255
HEADER_BYTES = 6


class Frame(enum.IntEnum):
    """The first byte of a frame; other bytes between frames are skipped."""
    WRITE = 0x01
    READ = 0x02


def header(frame: Frame, address: int, count: int) -> bytes:
    """First bytes of a frame for ``count`` words from byte ``address`` on, a multiple of 4."""
    return bytes((frame, count)) + (address // 4).to_bytes(4, "big")
