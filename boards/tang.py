"""Sipeed Tang Nano 9K and Tang Primer 20K, with Gowin's parts: built by the open tools, with a project for Gowin's own beside the Verilog.

Pins: amaranth-boards 0.0.21, ``tang_nano_9k.py`` and ``tang_primer_20k.py``; lamp of the Primer: none on the core board.
"""

from __future__ import annotations

from .board import Board, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARDS"]

_LVCMOS33 = {"IO_TYPE": "LVCMOS33"}
_LVCMOS18 = {"IO_TYPE": "LVCMOS18"}
_UP = _LVCMOS33 | {"PULL_MODE": "UP"}


def _board(name: str, title: str, device: str, memory_kib: int, loader: str, **pins: Pin) -> Board:
    return Board(
        name=name, title=title, family="gowin", device=device, package="", speed="", oscillator_mhz=27, clock_mhz=27, baud=1_000_000,
        memory_kib=memory_kib, toolchain="yosys, nextpnr-himbaechel, gowin_pack",
        experimental="experimental: placed and routed, never on a board; nextpnr has no times for multipliers and block RAM's outputs",
        loader=("-b", loader), pins=pins, settings=FITS[device], resources=RESOURCES[device])


BOARDS = (
    _board("tang-nano-9k", "Sipeed Tang Nano 9K", "GW1NR-LV9QN88PC6/I5", 16, "tangnano9k", oscillator=Pin("52", _LVCMOS33),
           rx=Pin("18", _UP), tx=Pin("17", _LVCMOS33), led=Pin("10", _LVCMOS18, inverted=True)),  # its bank has 1.8 V
    _board("tang-primer-20k", "Sipeed Tang Primer 20K", "GW2A-LV18PG256C8/I7", 32, "tangprimer20k", oscillator=Pin("H11", _LVCMOS33),
           rx=Pin("T13", _UP), tx=Pin("M11", _LVCMOS33)),
)
