"""MuseLab iCESugar-Pro with an LFE5U-25F, serial line through its iCELink bridge.

Pins: amaranth-boards 0.0.21, ``icesugar_pro.py``.
"""

from __future__ import annotations

from .board import Board, ExternalMemory, Pin
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
    # Its board file says no more than 13 rows' pins, 4 banks and 16 bits: 32 MB, as the ULX3S has.
    external_memory=ExternalMemory(
        title="SDRAM, 16 bits", bytes=32 << 20, bytes_per_cycle=2, half_duplex=True, chip="IS42S16160", clock_degrees=180,
        pins={
            "clk": "R15", "cke": "L16", "cs_n": "A14", "ras_n": "B16", "cas_n": "G16", "we_n": "A15", "dm": "C16 T15", "ba": "G15 B14",
            "a": "H15 B13 B12 J16 J15 R12 K16 R13 T13 K15 A13 R14 T14",
            "dq": "F16 E15 F15 D14 E16 C15 D16 B15 R16 P16 P15 N16 N14 M16 M15 L15",
        },
        attributes=_LVCMOS33 | {"SLEWRATE": "FAST"}),
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
