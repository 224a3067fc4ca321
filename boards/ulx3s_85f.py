"""Radiona ULX3S with an LFE5U-85F: 156 multipliers, serial line through its FTDI bridge.

Pins: amaranth-boards 0.0.21, ``ulx3s.py``, and the board's own constraint file (github.com/emard/ulx3s, ``ulx3s_v20.lpf``).
"""

from __future__ import annotations

from .board import Board, ExternalMemory, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARD"]

_LVCMOS33 = {"IO_TYPE": "LVCMOS33"}

BOARD = Board(
    name="ulx3s-85f",
    title="Radiona ULX3S 85F",
    family="ecp5",
    device="LFE5U-85F",
    package="CABGA381",
    speed="6",
    oscillator_mhz=25,
    clock_mhz=75,
    baud=1_000_000,
    memory_kib=128,
    # 256 Mbit × 16 SDR SDRAM, a word per cycle either way; the board's manual (github.com/emard/ulx3s, doc/MANUAL.md) says 32 MB, and
    # ISSI's data sheet of such a part (IS42S16160G: 4 banks × 4 M × 16 bits) that its 16 data pins are shared by reads and writes.
    # Refresh and row changes, a few percent, are left out.
    external_memory=ExternalMemory(
        title="SDRAM, 16 bits", bytes=32 << 20, bytes_per_cycle=2, half_duplex=True, chip="IS42S16160", clock_degrees=90,
        pins={
            "clk": "F19", "cke": "F20", "cs_n": "P20", "ras_n": "R20", "cas_n": "T19", "we_n": "T20", "dm": "U19 E20", "ba": "P19 N20",
            "a": "M20 M19 L20 L19 K20 K19 K18 J20 J19 H20 N19 G20 G19",
            "dq": "J16 L18 M18 N18 P18 T18 T17 U20 E19 D20 D19 C20 E18 F18 J18 J17",
        },
        attributes=_LVCMOS33 | {"PULLMODE": "NONE", "DRIVE": "4", "SLEWRATE": "FAST"}),
    toolchain="yosys, nextpnr-ecp5, ecppack",
    loader=("-b", "ulx3s"),
    pins={
        "oscillator": Pin("G2", _LVCMOS33),
        "rx": Pin("M1", _LVCMOS33 | {"PULLMODE": "UP"}),
        "tx": Pin("L4", _LVCMOS33),
        "led": Pin("B2", _LVCMOS33 | {"DRIVE": "4"}),
    },
    settings=FITS["LFE5U-85F"],
    resources=RESOURCES["LFE5U-85F"],
)
