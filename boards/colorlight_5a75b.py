"""Colorlight 5A-75B (revision 7.0), a driver of LED panels with an LFE5U-25F: serial line at J19, at the pads of its button and lamp.

Pins: amaranth-boards 0.0.21, ``colorlight_5a75b_r7_0.py``; those of Ethernet also litex-boards, ``platforms/colorlight_5a_75b.py``, and
their delays ``targets/colorlight_5a_75x.py`` there.
"""

from __future__ import annotations

from .board import Board, Ethernet, ExternalMemory, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARD"]

_LVCMOS33 = {"IO_TYPE": "LVCMOS33"}

BOARD = Board(
    name="colorlight-5a75b",
    title="Colorlight 5A-75B",
    family="ecp5",
    device="LFE5U-25F",
    package="CABGA256",
    speed="6",
    oscillator_mhz=25,
    clock_mhz=60,
    baud=1_000_000,
    memory_kib=32,
    # Two chips of 1 M × 16 bits; their byte masks, clock enable and chip select are fixed on the board. The clock is what routing leaves
    # with Ethernet beside it, 46 MHz, less a little.
    external_memory=ExternalMemory(
        title="SDRAM, 32 bits", bytes=4 << 20, bytes_per_cycle=4, half_duplex=True, chip="M12L16161A", clock_mhz=45,
        clock_degrees=180,
        pins={
            "clk": "C6", "ras_n": "D7", "cas_n": "E7", "we_n": "C7", "ba": "A7", "a": "A9 E10 B12 D13 C12 D11 D10 E9 D9 B7 C8",
            "dq": "B13 C11 C10 A11 C9 E8 B6 B9 A6 B5 A5 B4 B3 C3 A2 B2 E2 D3 A4 E4 D4 C4 E5 D5 E6 D6 D8 A8 B8 B10 B11 E11",
        },
        attributes=_LVCMOS33 | {"PULLMODE": "NONE", "DRIVE": "4", "SLEWRATE": "FAST"}),
    # The first of two B50612D, which have one reset.
    ethernet=Ethernet(
        rx_delay_ns=2, attributes=_LVCMOS33,
        pins={"tx_clk": "M2", "tx_ctl": "M3", "tx_data": "L1 L3 P2 L4", "rx_clk": "M1", "rx_ctl": "N6", "rx_data": "N1 M5 N5 M6",
              "rst_n": "P5"}),
    toolchain="yosys, nextpnr-ecp5, ecppack",
    loader=("-b", "colorlight"),
    pins={"oscillator": Pin("P6", _LVCMOS33), "rx": Pin("M13", _LVCMOS33 | {"PULLMODE": "UP"}), "tx": Pin("P11", _LVCMOS33)},
    settings=FITS["LFE5U-25F"],
    # The SDRAM has 32 bits; with a wider bus Ethernet would leave the part no room.
    soc_settings={"memory": {"bus_bits": 32, "outstanding": 16}},
    resources=RESOURCES["LFE5U-25F"],
)
