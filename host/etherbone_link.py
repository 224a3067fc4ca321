"""Etherbone in UDP datagrams, one question at a time: words to write, then addresses to read, and the answer.

(CERN, «Etherbone», 2013, as LiteEth has it: addresses and words of 32 bits, one record in a datagram, which is done in order and as a whole
or not at all.)
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence

from .device import DeviceError

__all__ = ["EtherboneLink"]

_MAGIC, _VERSION, _SIZES = 0x4E6F, 1 << 4, 0x44  # 32 bits of address and of data
_HEAD = struct.Struct(">HBB4xBBBB")              # and of the record: flags, bytes of a word, how many are written and read
_MOST = 2048


class EtherboneLink:
    """The SoC at ``host``, whose Etherbone is at UDP ``port``; its answers come to the same port of this computer, whoever asked.

    Every question has a number, which its answer carries: what comes late is not taken for another answer, and a question that was
    answered twice was done twice.

    Parameters
    ----------
    silence_s : an answer that is not there by then is none

    Attributes
    ----------
    lost, doubled : questions without an answer, and answers that came again

    Raises
    ------
    DeviceError
        The port is in use.
    OSError
        There is no such host, or no way there.
    """

    def __init__(self, host: str, port: int, *, silence_s: float):
        self.silence_s = silence_s
        self.lost = self.doubled = 0
        self._number = random.getrandbits(32)  # an answer to the driver before this one is none
        self._answered: deque[int] = deque(maxlen=16)
        # Bound to the address that the SoC sees, so that nothing from elsewhere comes in.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, port))
            here = probe.getsockname()[0]
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.socket.bind((here, port))
            self.socket.connect((host, port))
        except OSError as error:
            self.socket.close()
            raise DeviceError(f"UDP port {port} of {here}, to which a SoC's Etherbone answers, cannot be used: {error.strerror}; is "
                              "another driver running?") from None

    def ask(self, reads: Sequence[int], *, address: int = 0, words: Sequence[int] = (), again: bool = False) -> list[int] | None:
        """Write ``words`` from ``address`` on, then read at the addresses ``reads``: what was read there, or None where no answer came, and
        nobody knows whether it was done. Without ``reads`` there is no answer. More words than the SoC keeps of a datagram stop it.
        ``again`` says that this is the last question once more, to which a late answer will do."""
        self._number = (self._number + (not again)) & 0xFFFF_FFFF
        record = struct.pack(f">{1 + len(words)}I", address, *words) if words else b""
        record += struct.pack(f">{1 + len(reads)}I", self._number, *reads) if reads else b""
        try:
            self.socket.send(_HEAD.pack(_MAGIC, _VERSION, _SIZES, 0, 0xF, len(words), len(reads)) + record)
            answer = self._answer(len(reads)) if reads else []
        except ConnectionError:  # nothing is at that port
            answer = None
        self.lost += answer is None
        return answer

    def once(self, reads: Sequence[int], *, address: int, words: Sequence[int]) -> bool:
        """Write as :meth:`ask` does: whether it was done exactly once. What was answered twice shows before the next answer, where the
        network does not turn the order of datagrams round."""
        doubled = self.doubled
        return self.ask(reads, address=address, words=words) is not None and self.ask(reads) is not None and self.doubled == doubled

    def close(self) -> None:
        self.socket.close()

    def _answer(self, count: int) -> list[int] | None:
        """The ``count`` words that answer the last question."""
        end = time.monotonic() + self.silence_s
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(_MOST)
            except TimeoutError:
                return None
            if len(data) < _HEAD.size + 4 or _HEAD.unpack_from(data)[0] != _MAGIC:
                continue
            words = _HEAD.unpack_from(data)[5]
            number, = struct.unpack_from(">I", data, _HEAD.size)
            if number in self._answered:
                self.doubled += 1
            elif number == self._number and words == count and len(data) >= _HEAD.size + 4 + 4 * count:
                self._answered.append(number)
                return list(struct.unpack_from(f">{count}I", data, _HEAD.size + 4))
        return None
