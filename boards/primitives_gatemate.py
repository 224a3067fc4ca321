"""Cologne Chip's GateMate: constraints, and a script that does what ``systolith build`` does.

The clock is the oscillator's: no PLL is used.
"""

from .board import Board

__all__ = ["constraints", "project"]


def constraints(board: Board) -> str:
    """The board's pins as Cologne Chip's tools and nextpnr-himbaechel read them (CCF)."""
    lines = [" | ".join([f'NET "{port}" Loc = "{pin.site}"', *(f"{name}={value}" for name, value in pin.attributes.items())]) + ";"
             for port, pin in board.pins.items()]
    return "\n".join(lines) + "\n"


def project(board: Board, top: str, verilog: str) -> dict[str, str]:
    """What stands beside the Verilog: constraints and a script for yosys, nextpnr-himbaechel and gmpack."""
    synthesis = f"read_verilog {verilog}; setattr -unset ram_style m:*; synth_gatemate -luttree -nomx8 -top {top} -json netlist.json"
    script = "\n".join([
        "#!/bin/sh -e", f"# {board.title}; not tried on a board", f'yosys -p "{synthesis}"',
        f"nextpnr-himbaechel --device {board.device} --json netlist.json --vopt ccf=board.ccf --vopt out=board.txt "
        f"--freq {board.clock_mhz:g} --router router2", "gmpack board.txt board.bit", ""])
    return {"board.ccf": constraints(board), "build.sh": script}
