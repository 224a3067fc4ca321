"""Radiona ULX3S with the smaller parts: as :mod:`.ulx3s_85f`."""

from __future__ import annotations

import dataclasses

from . import ulx3s_85f
from .parts import FITS, RESOURCES

__all__ = ["BOARDS"]

BOARDS = tuple(
    dataclasses.replace(ulx3s_85f.BOARD, name=f"ulx3s-{size}", title=f"Radiona ULX3S {size.upper()}", device=f"LFE5U-{size.upper()}",
                        clock_mhz=60, memory_kib=memory_kib, settings=FITS[f"LFE5U-{size.upper()}"],
                        resources=RESOURCES[f"LFE5U-{size.upper()}"])
    for size, memory_kib in (("12f", 32), ("25f", 32), ("45f", 64)))
