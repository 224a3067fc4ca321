"""Colorlight 5A-75B (revision 7.0), a driver of LED panels with an LFE5U-25F: serial line at J19, at the pads of its button and lamp.

Pins: amaranth-boards 0.0.21, ``colorlight_5a75b_r7_0.py``.
"""

from __future__ import annotations

from .board import Board, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARD"]

_LVCMOS33 = {"IO_TYPE": "LVCMOS33"}

BOARD = Board(
    name="colorlight-5a75b",
    title="Colorlight 5A-75B",
    family="ecp5",
    device="LFE5U-25F",
    package="CABGA256",
    speed="6",
    oscillator_mhz=25,
    clock_mhz=60,
    baud=1_000_000,
    memory_kib=32,
    toolchain="yosys, nextpnr-ecp5, ecppack",
    loader=("-b", "colorlight"),
    pins={"oscillator": Pin("P6", _LVCMOS33), "rx": Pin("M13", _LVCMOS33 | {"PULLMODE": "UP"}), "tx": Pin("P11", _LVCMOS33)},
    settings=FITS["LFE5U-25F"],
    resources=RESOURCES["LFE5U-25F"],
)
