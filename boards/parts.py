"""What the parts have, and a configuration that fits each: a board file takes both by the part's name.

Sources: Lattice FPGA-DS-02012 (ECP5, table 1.1), FPGA-DS-02008 (iCE40 UltraPlus, table 2.1), FPGA-DS-02029 (iCE40 LP/HX, table 1.1),
Gowin DS117 (GW1NR) and DS102 (GW2A), Cologne Chip DS1001 (CCGM1A1), AMD DS180 (7 series) and DS190 (Zynq-7000).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["FITS", "RESOURCES", "SMALLEST_CONTROL"]

# Two flip-flops per slice and as many LUTs. An LFE5U-12F is a 25F by another name, and the open tools use all of it.
_25F = {"lut": 24288, "ff": 24288, "dsp": 28, "bram": 56}
_45F = {"lut": 43848, "ff": 43848, "dsp": 72, "bram": 108}
_85F = {"lut": 83640, "ff": 83640, "dsp": 156, "bram": 208}

RESOURCES: dict[str, Mapping[str, int]] = {
    "LFE5U-12F": _25F, "LFE5U-25F": _25F, "LFE5U-45F": _45F, "LFE5U-85F": _85F,
    "LFE5UM-45F": _45F, "LFE5UM5G-45F": _45F, "LFE5UM5G-85F": _85F,
    "up5k": {"lut": 5280, "ff": 5280, "dsp": 8, "bram": 30, "spram": 4},
    "hx8k": {"lut": 7680, "ff": 7680, "dsp": 0, "bram": 32},
    # Multipliers of 9 × 9 bits, each half of what Gowin calls one.
    "GW1NR-LV9QN88PC6/I5": {"lut": 8640, "ff": 6480, "dsp": 40, "bram": 26},
    "GW2A-LV18PG256C8/I7": {"lut": 20736, "ff": 15552, "dsp": 96, "bram": 46},
    # Halves of 20,480 CPEs, each a tree of look-up tables for four inputs and a flip-flop; 32 block RAMs, each of which can be two.
    "CCGM1A1": {"lut": 40960, "ff": 40960, "dsp": 0, "bram": 64},
    # Block RAMs of 36 Kib, each of which can be two.
    "xc7a35ticsg324-1L": {"lut": 20800, "ff": 41600, "dsp": 90, "bram": 100},
    "xc7a100tcsg324-1": {"lut": 63400, "ff": 126800, "dsp": 240, "bram": 270},
    "xc7z020clg400-1": {"lut": 53200, "ff": 106400, "dsp": 220, "bram": 280},
}


def _fit(rows: int, cols: int, kib: int, lanes: int, **array: Any) -> dict[str, Any]:
    return {"array": {"rows": rows, "cols": cols, **array}, "memory": {"activation_kib": kib, "weight_kib": kib, "accumulator_rows": 1024,
                                                                      "bus_bits": 64}, "epilogue": {"lanes": lanes}, "shell": "serial"}


# The smallest machine: its engines move byte by byte and do one command at a time.
SMALLEST_CONTROL: Mapping[str, Any] = {
    "queue_commands": 2, "token_bits": 2, "outer_loops": 1, "inner_loops": 1, "counter_bits": 0, "queue_programs": 0, "watchdog_bits": 0,
    "engines": "serial", "row_bits": 10, "padding": False, "run_loops": 1,
    "line_rates": False}
_SMALLEST: dict[str, Any] = {
    "array": {"rows": 2, "cols": 2, "transposer": False},
    "memory": {"activation_kib": 1, "weight_kib": 1, "accumulator_rows": 128, "parameter_channels": 64, "bus_bits": 32,
               "address_bits": 17, "outstanding": 1},
    "epilogue": {"lanes": 1},
    "control": SMALLEST_CONTROL,
    "shell": "serial",
}


def _tree(rows: int, cols: int, activation_kib: int, weight_kib: int) -> dict[str, Any]:
    """The smallest machine with padding and a line whose rate changes, around an array of adder trees: sums that fall from register to
    register would take half as many flip-flops again."""
    return {**_SMALLEST, "array": {"rows": rows, "cols": cols, "multiplier": "dual", "transposer": False},
            "memory": {**_SMALLEST["memory"], "activation_kib": activation_kib, "weight_kib": weight_kib, "accumulator_rows": 512},
            "control": {**SMALLEST_CONTROL, "row_bits": 12, "padding": True, "line_rates": True}}


# More than there are multipliers, so each does two MACs, but four in each lane of the epilogue. They stand in blocks of four, one block
# below the other, between which sums pass a register.
_FIT_25F = _fit(8, 4, 16, 2, block_rows=4)
_FIT_45F = _fit(16, 8, 32, 2, block_rows=4)
_FIT_85F = _fit(24, 12, 48, 3, block_rows=4)

FITS: dict[str, Mapping[str, Any]] = {
    "LFE5U-12F": _FIT_25F, "LFE5U-25F": _FIT_25F, "LFE5U-45F": _FIT_45F, "LFE5U-85F": _FIT_85F,
    "LFE5UM-45F": _FIT_45F, "LFE5UM5G-45F": _FIT_45F, "LFE5UM5G-85F": _FIT_85F,
    # A column takes five of the 32 block RAMs.
    "hx8k": {**_SMALLEST, "array": {"rows": 3, "cols": 1, "transposer": False}, "control": {**SMALLEST_CONTROL, "row_bits": 11}},
    # Block RAMs bound these two, and flip-flops: three quarters of them were not placed in nine minutes.
    "GW1NR-LV9QN88PC6/I5": _tree(8, 2, 8, 4), "GW2A-LV18PG256C8/I7": _tree(8, 8, 16, 16),
    "CCGM1A1": _SMALLEST,
    "xc7a35ticsg324-1L": _fit(8, 8, 32, 2), "xc7a100tcsg324-1": _fit(12, 12, 48, 3),
    "xc7z020clg400-1": {"array": {"rows": 12, "cols": 12}, "shell": "axi"},
}
