"""Good Stuff Department OrangeCrab r0.2 with an LFE5U-25F or -85F. It has no serial bridge: an adapter at pins 0 (rx) and 1 (tx) of its
header.

Pins: amaranth-boards 0.0.21, ``orangecrab_r0_2.py``.
"""

from __future__ import annotations

from .board import Board, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARDS"]

_LVCMOS33 = {"IO_TYPE": "LVCMOS33"}

BOARDS = tuple(
    Board(
        name=f"orangecrab-{size}",
        title=f"OrangeCrab r0.2 {size.upper()}",
        family="ecp5",
        device=f"LFE5U-{size.upper()}",
        package="CSFBGA285",
        speed="8",
        oscillator_mhz=48,
        clock_mhz=72,
        baud=1_000_000,
        memory_kib=memory_kib,
        toolchain="yosys, nextpnr-ecp5, ecppack",
        loader=("-b", "orangeCrab"),
        pins={
            "oscillator": Pin("A9", _LVCMOS33),
            "rx": Pin("N17", _LVCMOS33 | {"PULLMODE": "UP"}),
            "tx": Pin("M18", _LVCMOS33),
            "led": Pin("M3", _LVCMOS33, inverted=True),
        },
        settings=FITS[f"LFE5U-{size.upper()}"],
        resources=RESOURCES[f"LFE5U-{size.upper()}"],
    ) for size, memory_kib in (("25f", 32), ("85f", 128)))
