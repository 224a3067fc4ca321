"""Watches an AXI4 manager and an AXI4-Lite subordinate in every cycle, and raises AssertionError where they break the protocol.

The rules are those of Arm's IHI 0022, each named where it is checked; and those of this accelerator, which are stricter: bursts of
whole bus words from aligned addresses, one ID, and no byte written outside the regions that the program was given.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = ["AXIChecker", "AXILiteChecker", "Channel"]

_PAGE = 4096
_INCREMENTING = 1


class Channel:
    """One handshake.

    Parameters
    ----------
    dut : has the signals, each with ``value``
    prefix, name : of the channel, as in ``m_axi`` and ``aw``
    fields : payload, without the channel's name
    loose : those of them that may hold X
    """

    def __init__(self, dut: Any, prefix: str, name: str, fields: Iterable[str], *, loose: Iterable[str] = ()):
        self.name = f"{prefix}_{name}"
        self.valid, self.ready = (getattr(dut, f"{self.name}{field}") for field in ("valid", "ready"))
        self.fields = tuple(fields)
        self.signals = [getattr(dut, f"{self.name}{field}") for field in self.fields]
        self.loose = tuple(field in loose for field in self.fields)
        self.held: tuple[str, ...] | None = None
        self.shown: str | None = None  # what ``valid`` is, if it is followed

    async def follow(self) -> None:
        """Keep ``shown`` up to date, which is much quicker than a look in every cycle."""
        while True:
            self.shown = str(self.valid.value)
            await self.valid.value_change

    def sample(self) -> dict[str, Any] | None:
        """The payload accepted in the cycle that ends, or None: numbers, and loose fields as text, the highest bit first."""
        valid = self.shown or str(self.valid.value)
        if valid == "0":
            assert self.held is None, f"{self.name}: valid was withdrawn before ready"
            return None
        ready = str(self.ready.value)
        assert valid == "1" and ready in "01", f"{self.name}: valid is {valid}, ready is {ready}"
        values = tuple(str(signal.value) for signal in self.signals)
        if self.held is None:
            for field, value, loose in zip(self.fields, values, self.loose, strict=True):
                assert loose or set(value) <= {"0", "1"}, f"{self.name}{field} is {value} while valid"
        else:
            for field, before, value in zip(self.fields, self.held, values, strict=True):
                assert before == value, f"{self.name}{field} changed from {before} to {value} while it waited"
        self.held = None if ready == "1" else values
        if ready == "0":
            return None
        return {field: value if loose else int(value, 2)
                for field, value, loose in zip(self.fields, values, self.loose, strict=True)}

    def check_reset(self) -> None:
        """IHI 0022, reset: valid is low."""
        assert str(self.valid.value) == "0", f"{self.name}: valid must be 0 during reset"


class _Burst(NamedTuple):
    id: int
    address: int
    beats: int


class AXIChecker:
    """All five channels of an AXI4 manager, with its interconnect's answers.

    Parameters
    ----------
    dut : has ``m_axi_…``
    bus_bytes : width of the data bus

    Members
    -------
    writable : pairs (first byte, behind the last) that may be written; all of memory where None
    reads, writes : bursts seen
    """

    def __init__(self, dut: Any, bus_bytes: int, *, prefix: str = "m_axi"):
        self.bus_bytes = bus_bytes
        self.writable: list[tuple[int, int]] | None = None
        self.reads = self.writes = 0
        request = ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos")
        self.ar, self.aw = (Channel(dut, prefix, name, request) for name in ("ar", "aw"))
        self.r = Channel(dut, prefix, "r", ("id", "resp", "last", "data"), loose=("data",))
        self.w = Channel(dut, prefix, "w", ("strb", "last", "data"), loose=("data",))
        self.b = Channel(dut, prefix, "b", ("id", "resp"))
        self.channels = self.ar, self.r, self.aw, self.w, self.b
        self._reading: collections.deque[_Burst] = collections.deque()  # not all words have come
        self._read_beats = 0
        self._writing: collections.deque[_Burst] = collections.deque()  # not all words have gone
        self._written_beats = 0
        self._words: collections.deque[dict[str, Any]] = collections.deque()  # ahead of their address
        self._answers: collections.deque[_Burst] = collections.deque()  # complete, no response yet

    def sample(self) -> None:
        """Look at one cycle, when its edge has come and before anything changes."""
        # Answers first: none may belong to what is only asked in this cycle.
        if (word := self.r.sample()) is not None:
            self._take_read_word(word)
        if (response := self.b.sample()) is not None:
            assert self._answers, "m_axi_b: a response without a burst that is complete"
            burst = self._answers.popleft()
            assert response["id"] == burst.id, f"m_axi_b: id must be {burst.id}, not {response['id']}"
        if (request := self.ar.sample()) is not None:
            self._reading.append(self._take_burst("m_axi_ar", request))
            self.reads += 1
        if (request := self.aw.sample()) is not None:
            self._writing.append(self._take_burst("m_axi_aw", request))
            self.writes += 1
        if (word := self.w.sample()) is not None:
            self._words.append(word)
        while self._writing and self._words:
            self._place_word(self._words.popleft())

    @property
    def within_reading(self) -> bool:
        """Some words of a burst have come, and not all."""
        return self._read_beats > 0

    @property
    def within_writing(self) -> bool:
        """Some words of a burst have gone, and not all."""
        return self._written_beats > 0

    def check_reset(self) -> None:
        for channel in (self.ar, self.aw, self.w):
            channel.check_reset()

    def check_quiet(self) -> None:
        """Every burst has ended, with all its words and its response."""
        for what, waiting in (("read bursts that lack words", self._reading), ("write bursts that lack words", self._writing),
                              ("words without a write burst", self._words), ("write bursts without a response", self._answers)):
            assert not waiting, f"m_axi: {len(waiting)} {what}"
        for channel in (self.ar, self.aw, self.w):
            assert str(channel.valid.value) == "0", f"{channel.name}: valid must be 0 when all is done"

    def _take_burst(self, name: str, request: dict[str, Any]) -> _Burst:
        address, beats, size = request["addr"], request["len"] + 1, 1 << request["size"]
        assert request["burst"] == _INCREMENTING, f"{name}: burst must be INCR, not {request['burst']}"
        assert size == self.bus_bytes, f"{name}: size must be {self.bus_bytes} bytes, not {size}"
        assert address % size == 0, f"{name}: address must start a bus word, not {address:#x}"
        last = address + beats * size - 1
        assert address // _PAGE == last // _PAGE, f"{name}: burst from {address:#x} to {last:#x} crosses 4 kB"
        assert request["lock"] == 0, f"{name}: lock must be 0"
        # IHI 0022, AxCACHE: allocation needs a modifiable transaction.
        assert request["cache"] & 2 or not request["cache"] & 12, f"{name}: cache {request['cache']:#x} is reserved"
        return _Burst(request["id"], address, beats)

    def _take_read_word(self, word: dict[str, Any]) -> None:
        assert self._reading, "m_axi_r: a word without a burst"
        burst = self._reading[0]
        self._read_beats += 1
        last = self._read_beats == burst.beats
        assert word["id"] == burst.id, f"m_axi_r: id must be {burst.id}, not {word['id']}"
        assert word["last"] == last, f"m_axi_r: last must be {last:d} at word {self._read_beats} of {burst.beats}"
        if last:
            self._reading.popleft()
            self._read_beats = 0

    def _place_word(self, word: dict[str, Any]) -> None:
        burst = self._writing[0]
        address = burst.address + self._written_beats * self.bus_bytes
        self._written_beats += 1
        last = self._written_beats == burst.beats
        assert word["last"] == last, f"m_axi_w: last must be {last:d} at word {self._written_beats} of {burst.beats}, {address:#x}"
        strobe = word["strb"]
        if set(word["data"]) - {"0", "1"}:
            for lane in range(self.bus_bytes):
                first = 8 * (self.bus_bytes - 1 - lane)
                octet = set(word["data"][first:first + 8])
                assert not strobe >> lane & 1 or octet <= {"0", "1"}, f"m_axi_w: data is X in byte {lane} of {address:#x}"
        if strobe and self.writable is not None:
            low, high = address + (strobe & -strobe).bit_length() - 1, address + strobe.bit_length()
            assert any(first <= low and high <= behind for first, behind in self.writable), (
                f"m_axi_w: bytes {low:#x} to {high - 1:#x} are outside of what may be written")
        if last:
            self._answers.append(self._writing.popleft())
            self._written_beats = 0


class AXILiteChecker:
    """All five channels of an AXI4-Lite subordinate: what waits holds, and each access has one answer.

    Parameters
    ----------
    dut : has ``s_axil_…``
    """

    def __init__(self, dut: Any, *, prefix: str = "s_axil"):
        self.aw = Channel(dut, prefix, "aw", ("addr",))
        self.w = Channel(dut, prefix, "w", ("data", "strb"))
        self.b = Channel(dut, prefix, "b", ("resp",))
        self.ar = Channel(dut, prefix, "ar", ("addr",))
        self.r = Channel(dut, prefix, "r", ("data", "resp"))
        self.channels = self.ar, self.r, self.aw, self.w, self.b
        self._addresses = self._words = self._reads = 0

    def sample(self) -> None:
        """Look at one cycle, when its edge has come and before anything changes."""
        if self.b.sample() is not None:
            assert self._addresses and self._words, f"{self.b.name}: a response without address and data"
            self._addresses -= 1
            self._words -= 1
        if self.r.sample() is not None:
            assert self._reads, f"{self.r.name}: data without an address"
            self._reads -= 1
        self._addresses += self.aw.sample() is not None
        self._words += self.w.sample() is not None
        self._reads += self.ar.sample() is not None

    def check_reset(self) -> None:
        for channel in (self.b, self.r):
            channel.check_reset()
