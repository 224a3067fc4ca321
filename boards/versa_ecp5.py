"""Lattice ECP5 Versa with an LFE5UM-45F, serial line through its FTDI bridge; its oscillator is differential.

Pins: amaranth-boards 0.0.21, ``versa_ecp5.py``; those of Ethernet also litex-boards, ``platforms/versa_ecp5.py``. The memory's chip and
clock and Ethernet's delays: ``targets/lattice_versa_ecp5.py`` there.
"""

from __future__ import annotations

from .board import Board, Ethernet, ExternalMemory, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARD"]

_SSTL135D = {"IO_TYPE": "SSTL135D_I"}

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
    # 1 Gbit × 16, a word at each edge of a clock of 135 MHz: LiteEth's core ends the part's at 69 (seed 1).
    external_memory=ExternalMemory(
        title="DDR3, 16 bits", bytes=128 << 20, bytes_per_cycle=8, half_duplex=True, chip="MT41K64M16", standard="DDR3", clock_mhz=67.5,
        pins={
            "reset_n": "N4", "clk_p": "M4", "cke": "N2", "cs_n": "K1", "ras_n": "P1", "cas_n": "L1", "we_n": "M1", "odt": "L2",
            "dm": "J4 H5", "ba": "P5 N3 M3", "a": "P2 C4 E5 F5 B3 F4 B5 E4 C5 E3 D5 B4 C3", "dqs_p": "K2 H4",
            "dq": "L5 F1 K4 G1 L4 H1 G2 J3 D1 C1 E2 C2 F3 A2 E1 B1",
        },
        attributes={"IO_TYPE": "SSTL135_I", "SLEWRATE": "FAST"},
        pin_attributes={"clk_p": _SSTL135D, "dqs_p": _SSTL135D | {"TERMINATION": "OFF", "DIFFRESISTOR": "100"},
                        "dq": {"TERMINATION": "75"}}),
    # The first of two.
    ethernet=Ethernet(
        attributes={"IO_TYPE": "LVCMOS25"},
        pins={"tx_clk": "P19", "tx_ctl": "R20", "tx_data": "N19 N20 P18 P20",
              "rx_clk": "L20", "rx_ctl": "U19", "rx_data": "T20 U20 T19 R18", "rst_n": "U17"}),
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
