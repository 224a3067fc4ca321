"""MuseLab iCESugar-Pro with an LFE5U-25F, serial line through its iCELink bridge.

Pins: amaranth-boards 0.0.21, ``icesugar_pro.py``.
"""

from __future__ import annotations

from .board import Board, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARD"]

_LVCMOS33 = {"IO_TYPE": "LVCMOS33"}

BOARD = Board(
    name="icesugar-pro",
    title="MuseLab iCESugar-Pro",
    family="ecp5",
    device="LFE5U-25F",
    package="CABGA256",
    speed="6",
    oscillator_mhz=25,
    clock_mhz=60,
    baud=1_000_000,
    memory_kib=32,
    toolchain="yosys, nextpnr-ecp5, ecppack",
    loader=("-c", "cmsisdap"),
    pins={
        "oscillator": Pin("P6", _LVCMOS33),
        "rx": Pin("A9", _LVCMOS33 | {"PULLMODE": "UP"}),
        "tx": Pin("B9", _LVCMOS33),
        "led": Pin("A12", _LVCMOS33),
    },
    settings=FITS["LFE5U-25F"],
    resources=RESOURCES["LFE5U-25F"],
)
