"""Calibrating the reads of a DDR3 memory: when a part's pins look at what the chip sends, for each byte of a word.

LiteDRAM's PHY for ECP5 has two registers for each lane: how late its window for the strobe opens (``delay``), and by how many bits the
words that come out of it are shifted (``bitslip``). Neither is known before: they depend on the board. Writes need none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .device import Device, DeviceError

__all__ = ["ATTEMPTS", "Setting", "level", "widest"]

BURSTS = 4             # of eight words, read at each setting
BURST_WORDS = 8
ATTEMPTS = 3
PATIENCE = 1000        # attempts with a link that fails; a few do where it fails once in ten times


class Setting(NamedTuple):
    """What a lane is set to, and the width of the window of delays in whose middle that is."""
    bitslip: int
    delay: int
    width: int


def level(device: Device, soc: Mapping[str, Any], *, read: Callable[[int], int], write: Callable[[int, int], bool]) -> list[Setting]:
    """Set every lane of the memory of ``device`` to the middle of the widest window of delays in which it reads what was written.

    All lanes are tried at once, and judged by themselves: a setting is good where the bytes are right and the chip's strobe was seen. The
    registers count what is written to them, and a link may write twice: where it knows that it may have, the count begins anew; what was
    set is read with, and all is done anew if that is wrong.

    Parameters
    ----------
    soc : of the manifest
    read, write : a word of the SoC at a byte address; a write is done once at least, and says whether it was known to be once

    Raises
    ------
    DeviceError
        A lane reads right at no setting, or not at what it was set to.
    """
    lanes = _Lanes(device, soc, read, write)
    lanes.release()  # as a driver may not have come to
    device.write_memory(0, lanes.data)
    wrong: list[str] = []
    for _ in range(ATTEMPTS):
        settings = [widest(good) for good in lanes.scan()]
        wrong = [f"byte {lane} of the board's DDR3 reads right at none of {lanes.delays} delays and {lanes.bitslips} bitslips"
                 for lane, setting in enumerate(settings) if setting is None]
        if not wrong:
            found = [setting for setting in settings if setting is not None]
            lanes.set(found)
            wrong = [f"byte {lane} of the board's DDR3 reads wrong where it had read right, {ATTEMPTS} times"
                     for lane, good in enumerate(lanes.right()) if not good]
            if not wrong:
                return found
    raise DeviceError(f"{wrong[0]}; is this the board that the bitstream was built for?")


class _Lanes:
    """The registers of the lanes, and the words they are tried with."""

    def __init__(self, device: Device, soc: Mapping[str, Any], read: Callable[[int], int], write: Callable[[int, int], bool]) -> None:
        self.device = device
        self.lanes, self.delays, self.bitslips = (int(soc["levelling"][name]) for name in ("lanes", "delays", "bitslips"))
        self.data = np.random.default_rng(0xDD3).integers(0, 256, BURSTS * BURST_WORDS * self.lanes, np.uint8)
        self._registers, self._read, self._write = soc["registers"], read, write

    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each lane reads what was written, as it is set."""
        self._certain("burstdet_clr")
        found = self.device.read_memory(0, self.data.size)
        seen = self._read(self._registers["ddrphy_burstdet_seen"])
        return np.array([bool(seen >> lane & 1) and np.array_equal(found[lane::self.lanes], self.data[lane::self.lanes])
                         for lane in range(self.lanes)])

    def scan(self) -> npt.NDArray[np.bool_]:
        """Whether each lane reads right at each setting: shape (lanes, bitslips, delays)."""
        good = np.zeros((self.lanes, self.bitslips, self.delays), bool)
        everyone = (1 << self.lanes) - 1
        for bitslip in range(self.bitslips):
            for delay in range(self.delays):
                self._select(everyone)
                if not delay:
                    self._count("bitslip", bitslip, known=bitslip > 0)
                self._count("inc", delay, known=delay > 0)
                self.release()
                good[:, bitslip, delay] = self.right()
        return good

    def set(self, settings: list[Setting]) -> None:
        """Set each lane."""
        for lane, setting in enumerate(settings):
            self._select(1 << lane)
            self._count("bitslip", setting.bitslip)
            self._count("inc", setting.delay)
        self.release()

    def _count(self, name: str, to: int, *, known: bool = False) -> None:
        """Let the register ``name`` have counted ``to``, from one less if that is ``known``, else from its start."""
        def anew() -> bool:
            self._certain({"bitslip": "rdly_dq_bitslip_rst", "inc": "rdly_dq_rst"}[name])
            return all(self._pulse(f"rdly_dq_{name}") for _ in range(to))

        if not (known and self._pulse(f"rdly_dq_{name}")):
            self._until(anew, f"rdly_dq_{name}")

    def _certain(self, name: str) -> None:
        """What is the same twice as once, but must not come once more behind what is done next."""
        self._until(lambda: self._pulse(name), name)

    def _until(self, known: Callable[[], bool], name: str) -> None:
        for _ in range(PATIENCE):
            if known():
                return
        raise DeviceError(f"register {name} of the board's DDR3 was not written exactly once in {PATIENCE} attempts; what loses or doubles "
                          "so much on the way to the board?")

    def _select(self, chosen: int) -> None:
        """Hold the lanes of a bit set: those are what the other registers change."""
        self._write(self._registers["ddrphy_dly_sel"], chosen)

    def release(self) -> None:
        """All of them are held once more, so that they go on together."""
        self._select((1 << self.lanes) - 1)
        self._select(0)

    def _pulse(self, name: str) -> bool:
        return self._write(self._registers[f"ddrphy_{name}"], 1)


def widest(good: npt.NDArray[np.bool_]) -> Setting | None:
    """The middle of the longest run of good delays; of several as long ones that of the lowest bitslip and delay. None without any.

    Parameters
    ----------
    good : shape (bitslips, delays)
    """
    best: Setting | None = None
    for bitslip, row in enumerate(good):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], row.astype(np.int8), [0]))))
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            if best is None or end - first > best.width:
                best = Setting(bitslip, int(first + end - 1) // 2, int(end - first))
    return best
