"""Digilent Arty A7 with an Artix-7 35T or 100T, serial line through its FTDI bridge: the project is emitted for Vivado.

Pins: amaranth-boards 0.0.21, ``arty_a7.py``.
"""

from __future__ import annotations

from .board import Board, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARDS"]

_LVCMOS33 = {"IOSTANDARD": "LVCMOS33"}

BOARDS = tuple(
    Board(
        name=f"arty-a7-{size}",
        title=f"Digilent Arty A7-{size}T",
        family="xilinx7",
        device=device,
        package="",
        speed="",
        oscillator_mhz=100,
        clock_mhz=50,
        baud=1_000_000,
        memory_kib=memory_kib,
        toolchain="Vivado",
        experimental="Verilog, project and utilisation by yosys; bitstream and timing are the vendor's",
        loader=("-b", f"arty_a7_{size}t"),
        pins={
            "oscillator": Pin("E3", _LVCMOS33),
            "rx": Pin("A9", _LVCMOS33 | {"PULLUP": "true"}),
            "tx": Pin("D10", _LVCMOS33),
            "led": Pin("H5", _LVCMOS33),
        },
        settings=FITS[device],
        resources=RESOURCES[device],
    ) for size, device, memory_kib in (("35", "xc7a35ticsg324-1L", 64), ("100", "xc7a100tcsg324-1", 128)))
