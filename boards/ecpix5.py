"""LambdaConcept ECPIX-5 with an LFE5UM5G-45F or -85F, serial line through its FTDI bridge.

Pins: amaranth-boards 0.0.21, ``ecpix5.py``.
"""

from __future__ import annotations

from .board import Board, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARDS"]

_LVCMOS33 = {"IO_TYPE": "LVCMOS33"}

BOARDS = tuple(
    Board(
        name=f"ecpix5-{size}",
        title=f"LambdaConcept ECPIX-5 {size.upper()}",
        family="ecp5",
        device=f"LFE5UM5G-{size.upper()}",
        package="CABGA554",
        speed="8",
        oscillator_mhz=100,
        clock_mhz=75,
        baud=1_000_000,
        memory_kib=memory_kib,
        toolchain="yosys, nextpnr-ecp5, ecppack",
        loader=("-b", "ecpix5"),
        pins={
            "oscillator": Pin("K23", _LVCMOS33),
            "rx": Pin("R26", _LVCMOS33 | {"PULLMODE": "UP"}),
            "tx": Pin("R24", _LVCMOS33),
            "led": Pin("R21", _LVCMOS33, inverted=True),
        },
        settings=FITS[f"LFE5UM5G-{size.upper()}"],
        resources=RESOURCES[f"LFE5UM5G-{size.upper()}"],
    ) for size, memory_kib in (("45f", 64), ("85f", 128)))
