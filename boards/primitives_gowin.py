"""Gowin's GW1N and GW2A: names of their parts, constraints and a project for their tools. The clock is the oscillator's: no PLL is used."""

from typing import NamedTuple

from .board import Board

__all__ = ["PartNames", "constraints", "part_names", "project"]


class PartNames(NamedTuple):
    """What tools call a part: Gowin's, nextpnr and its packer, yosys."""
    vendor: str
    chip: str
    synthesis: str


_PARTS = {"GW1NR-LV9": PartNames("GW1NR-9C", "GW1N-9C", "gw1n"), "GW2A-LV18": PartNames("GW2A-18C", "GW2A-18C", "gw2a")}


def part_names(board: Board) -> PartNames:
    """Of the part of ``board``.

    Raises
    ------
    ValueError
        The part has not been tried.
    """
    for prefix, names in _PARTS.items():
        if board.device.startswith(prefix):
            return names
    raise ValueError(f"device of {board.name} must begin with one of {', '.join(_PARTS)}, not {board.device!r}")


def constraints(board: Board) -> str:
    """The board's pins as Gowin's tools and nextpnr-himbaechel read them (CST)."""
    lines = []
    for port, pin in board.pins.items():
        lines.append(f'IO_LOC "{port}" {pin.site};')
        lines += [f'IO_PORT "{port}" {name}={value};' for name, value in pin.attributes.items()]
    return "\n".join(lines) + "\n"


def project(board: Board, top: str, verilog: str) -> dict[str, str]:
    """What stands beside the Verilog: constraints and a script for ``gw_sh``."""
    script = "\n".join([
        f"# {board.title}: run  gw_sh gowin.tcl", f"set_device -name {part_names(board).vendor} {board.device}", f"add_file {verilog}",
        "add_file board.cst", "add_file board.sdc", f"set_option -top_module {top}", "set_option -verilog_std v2001",
        "set_option -use_mspi_as_gpio 1", "run all", ""])
    clock = f"create_clock -name clk -period {1e3 / board.oscillator_mhz:.3f} [get_ports {{oscillator}}]\n"
    return {"board.cst": constraints(board), "board.sdc": clock, "gowin.tcl": script}
