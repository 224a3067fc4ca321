"""A board that is quick to simulate: the smallest serial design, at four clock cycles per bit."""

import dataclasses

from systolith.arch.manifest import Manifest
from systolith.boards import get_board
from systolith.gen.generate import generate
from systolith.gen.simulate_board import compile_board

__all__ = ["SMALL", "small_board"]

BAUD = 230_400
SMALL = dataclasses.replace(
    get_board("icebreaker"), clock_mhz=4e-6 * BAUD, oscillator_mhz=4e-6 * BAUD, baud=BAUD, frame_timeout_s=0.03, memory_kib=32, settings={
        "array": {"rows": 2, "cols": 2, "transposer": False}, "epilogue": {"lanes": 1}, "shell": "serial",
        "memory": {"activation_kib": 1, "weight_kib": 1, "accumulator_rows": 32, "parameter_channels": 8, "bus_bits": 32,
                   "outstanding": 2}})


def small_board(folder, board=SMALL):
    """Manifest and program of its simulation, generated in ``folder``."""
    generate(board.config, folder, board=board)
    return Manifest.read(folder), compile_board(folder).path
