"""The floorplan: places for what nextpnr places badly, the array's multipliers and the accumulator's memories at its feet."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

from ..boards import Board
from ..boards.primitives_ecp5 import array_sites

__all__ = ["pin_array"]

_ELEMENT = re.compile(r"(?:^|\.)array\.row_(\d+)\.pe_(\d+)\.")
_ACCUMULATOR = re.compile(r"(?:^|\.)accumulator\.ram\d+_(\d+)\.")


def pin_array(netlist: Path, board: Board, *, columns_per_element: int = 1) -> int:
    """Give each multiplier of the array its site, and the accumulator's memories of a column those below it, in a netlist of yosys;
    how many cells were pinned. A multiplier does ``columns_per_element`` columns.

    All or none: an array larger than the part's grid is left to nextpnr, and so are the memories of a column that has more than lie
    below it.
    """
    document = json.loads(netlist.read_text(encoding="utf-8"))
    elements = {}
    memories = defaultdict(list)
    for module in document["modules"].values():
        for name, cell in sorted(module["cells"].items()):
            if cell["type"] == "MULT18X18D" and (element := _ELEMENT.search(name)):
                elements[int(element[1]), int(element[2])] = cell
            elif cell["type"] == "DP16KD" and (accumulator := _ACCUMULATOR.search(name)):
                memories[int(accumulator[1])].append(cell)
    if not elements:
        return 0
    rows, cols = (1 + max(place) for place in zip(*elements, strict=True))
    sites = array_sites(board.device, rows, cols)
    if sites is None:
        return 0
    pins = {sites.multipliers[row][col]: cell for (row, col), cell in elements.items()}
    for element_col, feet in enumerate(sites.feet):
        below = [cell for col in range(columns_per_element) for cell in memories[element_col * columns_per_element + col]]
        if len(below) <= len(feet):
            pins |= zip(feet, below, strict=False)
    for site, cell in pins.items():
        cell.setdefault("attributes", {})["BEL"] = site
    netlist.write_text(json.dumps(document), encoding="utf-8")
    return len(pins)
