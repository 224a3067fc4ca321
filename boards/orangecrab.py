"""Good Stuff Department OrangeCrab r0.2 with an LFE5U-25F or -85F. It has no serial bridge: an adapter at pins 0 (rx) and 1 (tx) of its
header.

Pins: amaranth-boards 0.0.21, ``orangecrab_r0_2.py``; of the memory litex-boards, ``platforms/gsd_orangecrab.py`` and
``targets/gsd_orangecrab.py``, which is used with it: the former has another board's bank address pins, and the strobes the other way round.
"""

from __future__ import annotations

from .board import Board, ExternalMemory, Pin
from .parts import FITS, RESOURCES

__all__ = ["BOARDS"]

_LVCMOS33 = {"IO_TYPE": "LVCMOS33"}
_SSTL135D = {"IO_TYPE": "SSTL135D_I"}
_SSTL135_II = {"IO_TYPE": "SSTL135_II"}
# 1 Gbit × 16, a word at each edge of a clock of 134.4 MHz: LiteDRAM's crossbar ends the part's at 70 (seed 1).
# Each byte's mask is at a pin among those of the other byte.
_MEMORY = ExternalMemory(
    title="DDR3, 16 bits", bytes=128 << 20, bytes_per_cycle=8, half_duplex=True, chip="MT41K64M16", standard="DDR3", clock_mhz=67.2,
    pins={
        "reset_n": "L18", "clk_p": "J18", "cke": "D18", "cs_n": "A12", "ras_n": "C12", "cas_n": "D13", "we_n": "B12", "odt": "C13",
        "dm": "D16 G16", "ba": "D6 B7 A6", "a": "C4 D2 D3 A3 A4 D4 C3 B2 B1 D1 A7 C2 B6 C1 A2 C7", "dqs_p": "B15 G18",
        "dq": "C17 D15 B17 C16 A15 B13 A17 A13 F17 F16 G15 F15 J16 C18 H16 F18",
        "vccio": "K16 D17 K15 K17 B18 C6", "gnd": "L15 L16",
    },
    attributes={"IO_TYPE": "SSTL135_I", "SLEWRATE": "FAST"},
    pin_attributes={"clk_p": _SSTL135D, "dqs_p": _SSTL135D | {"TERMINATION": "OFF", "DIFFRESISTOR": "100"}, "dq": {"TERMINATION": "OFF"},
                    "vccio": _SSTL135_II, "gnd": _SSTL135_II},
    sides=2, mask_lanes=(1, 0), electrical={"rtt_nom": "disabled"})

BOARDS = tuple(
    Board(
        name=f"orangecrab-{size}",
        title=f"OrangeCrab r0.2 {size.upper()}",
        family="ecp5",
        device=f"LFE5U-{size.upper()}",
        package="CSFBGA285",
        speed="8",
        oscillator_mhz=48,
        clock_mhz=72,
        baud=1_000_000,
        memory_kib=memory_kib,
        external_memory=_MEMORY,
        toolchain="yosys, nextpnr-ecp5, ecppack",
        loader=("-b", "orangeCrab"),
        pins={
            "oscillator": Pin("A9", _LVCMOS33),
            "rx": Pin("N17", _LVCMOS33 | {"PULLMODE": "UP"}),
            "tx": Pin("M18", _LVCMOS33),
            "led": Pin("M3", _LVCMOS33, inverted=True),
        },
        settings=FITS[f"LFE5U-{size.upper()}"],
        resources=RESOURCES[f"LFE5U-{size.upper()}"],
    ) for size, memory_kib in (("25f", 32), ("85f", 128)))
