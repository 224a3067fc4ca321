"""Lattice ECP5 Versa with an LFE5UM-45F, serial line through its FTDI bridge; its oscillator is differential.

Pins: amaranth-boards 0.0.21, ``versa_ecp5.py``.
"""

from __future__ import annotations

from .board import Board, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARD"]

BOARD = Board(
    name="versa-ecp5",
    title="Lattice ECP5 Versa",
    family="ecp5",
    device="LFE5UM-45F",
    package="CABGA381",
    speed="8",
    oscillator_mhz=100,
    clock_mhz=75,
    baud=1_000_000,
    memory_kib=64,
    toolchain="yosys, nextpnr-ecp5, ecppack",
    loader=("-c", "ft2232"),  # openFPGALoader has no name for it, but its cable
    pins={
        "oscillator": Pin("P3", {"IO_TYPE": "LVDS"}),
        "rx": Pin("C11", {"IO_TYPE": "LVCMOS33", "PULLMODE": "UP"}),
        "tx": Pin("A11", {"IO_TYPE": "LVCMOS33"}),
        "led": Pin("E16", {"IO_TYPE": "LVCMOS25"}, inverted=True),
    },
    settings=FITS["LFE5UM-45F"],
    resources=RESOURCES["LFE5UM-45F"],
)
