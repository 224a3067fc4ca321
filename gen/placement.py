"""Places for what nextpnr places badly: the multipliers of the array, in the order of the array."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..boards import Board, primitives_ecp5

__all__ = ["pin_array"]

_ELEMENT = re.compile(r"(?:^|\.)array\.row_(\d+)\.pe_(\d+)\.")
_SITES = {"MULT18X18D": primitives_ecp5.multiplier_site}


def pin_array(netlist: Path, board: Board) -> int:
    """Give each multiplier of the array its site, in a netlist of yosys; how many were pinned.

    All or none: an array larger than the part's grid is left to nextpnr.
    """
    document = json.loads(netlist.read_text(encoding="utf-8"))
    pins = {}
    for module in document["modules"].values():
        for name, cell in module["cells"].items():
            element = _ELEMENT.search(name)
            if element and cell["type"] in _SITES:
                site = _SITES[cell["type"]](board.device, int(element[1]), int(element[2]))
                if site is None:
                    return 0
                pins[site] = cell
    for site, cell in pins.items():
        cell.setdefault("attributes", {})["BEL"] = site
    if pins:
        netlist.write_text(json.dumps(document), encoding="utf-8")
    return len(pins)
