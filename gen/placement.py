"""The floorplan: places for what nextpnr places badly, the array's multipliers and the memories at its edges."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..arch.config import Config
from ..boards import Board
from ..boards.primitives_ecp5 import Site, memory_sites, multiplier_sites

__all__ = ["pin_array"]

_ELEMENT = re.compile(r"(?:^|\.)array\.row_(\d+)\.pe_(\d+)\.")
_SUMS, _WEIGHTS, _ACTIVATIONS = (re.compile(rf"(?:^|\.){name}\.") for name in (
    r"accumulator\.ram\d+_(\d+)", r"weights\.bank(\d+)", r"activations\.bank(\d+)"))

_BELOW = 6  # tiles, half of what lies between rows of blocks: sums leave the array there


def pin_array(netlist: Path, board: Board, config: Config | None = None) -> int:
    """Give each multiplier of the array its site, and each memory beside it the nearest one that is free, in a netlist of yosys; how many
    cells were pinned.

    Memories of sums go below the feet of their columns first, then weights to the heads, then activations to the left ends of their
    rows. Without ``config`` there is an array only. An array larger than the part's grid is left to nextpnr, and so are the memories of
    columns without DSP blocks.
    """
    document = json.loads(netlist.read_text(encoding="utf-8"))
    cells = {name: cell for module in document["modules"].values() for name, cell in module["cells"].items()}
    elements = {(int(match[1]), int(match[2])): cell for name, cell in cells.items()
                if cell["type"] == "MULT18X18D" and (match := _ELEMENT.search(name))}
    if not elements:
        return 0
    rows, cols = (1 + max(place) for place in zip(*elements, strict=True))
    sites = multiplier_sites(board.device, rows, cols)
    if sites is None:
        return 0
    pins = {sites[row][col].name: cell for (row, col), cell in elements.items()}
    if config is not None:
        pins |= _memories_beside(cells, sites, memory_sites(board.device), config)
    for site, cell in pins.items():
        cell.setdefault("attributes", {})["BEL"] = site
    netlist.write_text(json.dumps(document), encoding="utf-8")
    return len(pins)


def _memories_beside(cells: Mapping[str, Any], elements: Sequence[Sequence[Site]], free: list[Site], config: Config) -> dict[str, Any]:
    """Cells by the site that they get, of those that are ``free``."""
    array = config.array
    rows_of_one = array.rows // array.multiplier_rows
    cols_of_one = 2 if array.multiplier_kind == "packed" else 1
    cols_of_bank = 2 if array.weights == "int4" else 1
    beside: dict[re.Pattern[str], Callable[[int], tuple[int, int]]] = {
        _SUMS: lambda col: (-1, col // cols_of_one),
        _WEIGHTS: lambda bank: (0, bank * cols_of_bank // cols_of_one),
        _ACTIVATIONS: lambda row: (row // rows_of_one, 0),
    }
    pins = {}
    for memory, element in beside.items():
        found = sorted((int(match[1]), name) for name, cell in cells.items() if cell["type"] == "DP16KD" and (match := memory.search(name)))
        for index, name in found:
            row, col = element(index)
            if col < len(elements[row]) and free:
                x, y, _ = elements[row][col]
                y += _BELOW * (memory is _SUMS)
                site = min(free, key=lambda site: abs(site.x - x) + abs(site.y - y))
                free.remove(site)
                pins[site.name] = cells[name]
    return pins
