"""TUL PYNQ-Z2 with a Zynq-7020: the AXI shell beside its processors, whose DDR memory it uses. The project is emitted for Vivado."""

from __future__ import annotations

from .board import Board
from .parts import FITS, RESOURCES

__all__ = ["BOARD"]

BOARD = Board(
    name="pynq-z2",
    title="TUL PYNQ-Z2",
    family="xilinx7",
    device="xc7z020clg400-1",
    package="",
    speed="",
    oscillator_mhz=50,
    clock_mhz=50,
    link="axi",
    baud=0,
    memory_kib=0,
    toolchain="Vivado",
    experimental="Verilog, project and utilisation by yosys; bitstream and timing are the vendor's",
    pins={},
    settings=FITS["xc7z020clg400-1"],
    resources=RESOURCES["xc7z020clg400-1"],
)
