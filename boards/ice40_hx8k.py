"""Lattice iCE40-HX8K breakout board: no multipliers on the part, so LUTs multiply. The 2 KiB of device memory are all the
block RAM that is left.

Pins: amaranth-boards 0.0.21, ``ice40_hx8k_b_evn.py``.
"""

from __future__ import annotations

from .board import Board, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARD"]

BOARD = Board(
    name="ice40-hx8k",
    title="Lattice iCE40-HX8K breakout board",
    family="ice40",
    device="hx8k",
    package="ct256",
    speed="",
    oscillator_mhz=12,
    clock_mhz=12,
    baud=1_000_000,
    memory_kib=2,
    toolchain="yosys, nextpnr-ice40, icepack",
    loader=("-b", "ice40_generic"),
    loader_flash_only=True,
    pins={"oscillator": Pin("J3"), "rx": Pin("B10"), "tx": Pin("B12"), "led": Pin("C3")},
    settings=FITS["hx8k"],
    resources=RESOURCES["hx8k"],
)
