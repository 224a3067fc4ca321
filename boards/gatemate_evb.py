"""Olimex GateMateA1-EVB with a CCGM1A1: an adapter at its PMOD, pin 1 (tx) and pin 7 (rx).

Pins: the board's schematic (github.com/OLIMEX/GateMateA1-EVB, revision A).
"""

from __future__ import annotations

from .board import Board, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARD"]

BOARD = Board(
    name="gatemate-evb",
    title="Olimex GateMateA1-EVB",
    family="gatemate",
    device="CCGM1A1",
    package="",
    speed="",
    oscillator_mhz=10,
    clock_mhz=10,
    baud=1_000_000,
    memory_kib=32,
    toolchain="yosys, nextpnr-himbaechel, gmpack",
    experimental="experimental: placed and routed, never on a board",
    loader=("-b", "olimex_gatemateevb"),
    pins={
        "oscillator": Pin("IO_SB_A8", {"SCHMITT_TRIGGER": "true"}),
        "rx": Pin("IO_EA_B4", {"SCHMITT_TRIGGER": "true", "PULLUP": "true"}),
        "tx": Pin("IO_EA_A4"),
        "led": Pin("IO_SB_B6", inverted=True),
    },
    settings=FITS["CCGM1A1"],
    resources=RESOURCES["CCGM1A1"],
)
