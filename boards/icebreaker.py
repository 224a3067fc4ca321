"""1BitSquared iCEBreaker: an iCE40UP5K with 8 multipliers, and its four single-port RAMs as device memory.

Pins: amaranth-boards 0.0.21, ``icebreaker.py``.
"""

from __future__ import annotations

from .board import Board, Pin
from .parts import RESOURCES, SMALLEST_CONTROL

__all__ = ["BOARD"]

BOARD = Board(
    name="icebreaker",
    title="1BitSquared iCEBreaker",
    family="ice40",
    device="up5k",
    package="sg48",
    speed="",
    oscillator_mhz=12,
    clock_mhz=24,
    baud=1_000_000,
    memory_kib=128,
    memory_ports=1,
    toolchain="yosys, nextpnr-ice40, icepack",
    loader=("-b", "ice40_generic"),
    loader_flash_only=True,
    pins={"oscillator": Pin("35"), "rx": Pin("6"), "tx": Pin("9"), "led": Pin("37")},
    # What fits into 5,280 logic cells: two multipliers in each of the eight blocks, serial requantisation, the smallest nests.
    settings={
        "array": {"rows": 8, "cols": 2, "multiplier": "dual", "transposer": False},
        "memory": {"activation_kib": 4, "weight_kib": 1, "accumulator_rows": 512, "parameter_channels": 64, "bus_bits": 32,
                   "address_bits": 17, "outstanding": 1},
        "epilogue": {"lanes": 1},
        "control": SMALLEST_CONTROL,
        "shell": "serial",
    },
    resources=RESOURCES["up5k"],
)
