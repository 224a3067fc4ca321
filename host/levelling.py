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

__all__ = ["Setting", "level", "widest"]

BURSTS = 4             # of eight words, read at each setting
BURST_WORDS = 8


class Setting(NamedTuple):
    """What a lane is set to, and the width of the window of delays in whose middle that is."""
    bitslip: int
    delay: int
    width: int


def level(device: Device, soc: Mapping[str, Any], *, read: Callable[[int], int], write: Callable[[int, int], None]) -> list[Setting]:
    """Set every lane of the memory of ``device`` to the middle of the widest window of delays in which it reads what was written.

    All lanes are tried at once, and judged by themselves: a setting is good where the bytes are right and the chip's strobe was seen.

    Parameters
    ----------
    soc : of the manifest
    read, write : a word of the SoC at a byte address

    Raises
    ------
    DeviceError
        A lane reads right at none.
    """
    registers, levelling = soc["registers"], soc["levelling"]
    lanes, delays, bitslips = (int(levelling[name]) for name in ("lanes", "delays", "bitslips"))
    everyone = (1 << lanes) - 1

    def pulse(name: str) -> None:
        write(registers[f"ddrphy_{name}"], 1)

    def select(chosen: int) -> None:
        write(registers["ddrphy_dly_sel"], chosen)

    def release() -> None:
        # A lane that is chosen is held. All of them are once more, so that they go on together.
        select(everyone)
        select(0)

    data = np.random.default_rng(0xDD3).integers(0, 256, BURSTS * BURST_WORDS * lanes, np.uint8)
    device.write_memory(0, data)
    good = np.zeros((lanes, bitslips, delays), bool)
    select(everyone)
    pulse("rdly_dq_bitslip_rst")
    for bitslip in range(bitslips):
        select(everyone)
        if bitslip:
            pulse("rdly_dq_bitslip")
        pulse("rdly_dq_rst")
        for delay in range(delays):
            if delay:
                select(everyone)
                pulse("rdly_dq_inc")
            release()
            pulse("burstdet_clr")
            found = device.read_memory(0, data.size)
            seen = read(registers["ddrphy_burstdet_seen"])
            for lane in range(lanes):
                good[lane, bitslip, delay] = bool(seen >> lane & 1) and np.array_equal(found[lane::lanes], data[lane::lanes])

    settings = []
    for lane in range(lanes):
        setting = widest(good[lane])
        if setting is None:
            raise DeviceError(f"byte {lane} of the board's DDR3 reads right at none of {delays} delays and {bitslips} bitslips; "
                              "is this the board that the bitstream was built for?")
        settings.append(setting)
        select(1 << lane)
        pulse("rdly_dq_bitslip_rst")
        for _ in range(setting.bitslip):
            pulse("rdly_dq_bitslip")
        pulse("rdly_dq_rst")
        for _ in range(setting.delay):
            pulse("rdly_dq_inc")
    release()
    return settings


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
