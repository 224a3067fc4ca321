"""LambdaConcept ECPIX-5 with an LFE5UM5G-45F or -85F, serial line through its FTDI bridge.

Pins: amaranth-boards 0.0.21, ``ecpix5.py``; those of Ethernet also litex-boards, ``platforms/lambdaconcept_ecpix5.py``. The memory's chip
and clock and Ethernet's delays: ``targets/lambdaconcept_ecpix5.py`` there.
"""

from __future__ import annotations

from .board import Board, Ethernet, ExternalMemory, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARDS"]

_LVCMOS33 = {"IO_TYPE": "LVCMOS33"}
_SSTL15D = {"IO_TYPE": "SSTL15D_I"}
# 4 Gbit × 16, a word at each edge of a clock of 150 MHz. Its chip select and reset are fixed on the board.
_MEMORY = ExternalMemory(
    title="DDR3, 16 bits", bytes=512 << 20, bytes_per_cycle=8, half_duplex=True, chip="MT41K256M16", standard="DDR3", clock_mhz=75,
    pins={
        "clk_p": "H3", "cke": "P1", "ras_n": "T3", "cas_n": "P2", "we_n": "R3", "odt": "P3", "dm": "U4 U1", "ba": "U6 N3 N4",
        "a": "T5 M3 L3 V6 K2 W6 K3 L1 H2 L2 N1 J1 M1 K1 H1", "dqs_p": "V4 V1", "dq": "T4 W4 R4 W5 R6 P6 P5 P4 R1 W3 T2 V3 U3 W1 T1 W2",
    },
    attributes={"IO_TYPE": "SSTL15_I", "SLEWRATE": "FAST"},
    pin_attributes={"clk_p": _SSTL15D, "dqs_p": _SSTL15D | {"TERMINATION": "OFF", "DIFFRESISTOR": "100"}, "dq": {"TERMINATION": "75"}})
# While the chip is reset it reads its data pins: pulled up they mean RGMII, and that it offers all rates.
_ETHERNET = Ethernet(
    tx_delay_ns=2, attributes=_LVCMOS33, pin_attributes={"rx_data": {"PULLMODE": "UP"}},
    pins={"tx_clk": "A12", "tx_ctl": "C9", "tx_data": "D8 C8 B8 A8", "rx_clk": "E11", "rx_ctl": "A11", "rx_data": "B11 A10 B10 A9",
          "rst_n": "C13"})

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
        external_memory=_MEMORY,
        ethernet=_ETHERNET,
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
