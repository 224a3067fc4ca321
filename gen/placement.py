"""The floorplan: places for what nextpnr places badly, the array's multipliers and the memories at its edges."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..arch.config import Config
from ..boards import Board
from ..boards.primitives_ecp5 import Site, memory_sites, multiplier_blocks, multiplier_sites

__all__ = ["pin_array"]

_ELEMENT = re.compile(r"(?:^|\.)array\.(?:rows_(\d+)\.)?row_(\d+)\.pe_(\d+)\.")  # of a tall array, in a block of rows
_LANE = re.compile(r"(?:^|\.)requantise(\d+)\.")
_SUMS, _WEIGHTS, _ACTIVATIONS = (re.compile(rf"(?:^|\.){name}\.") for name in (
    r"accumulator\.ram(\d+)_\d+", r"weights\.bank(\d+)", r"activations\.bank(\d+)"))
_PARAMETERS = re.compile(r"(?:^|\.)epilogue\.(?:bias|multiplier|shift|table)[^.]*\.\d+\.(\d+)$")
_DEVICE = re.compile(r"(?:^|\.)shell\.memory\.ram\.\d+\.(\d+)$")

_BELOW = 6  # tiles, half of what lies between rows of blocks: sums leave the array there

Cells = Mapping[str, Any]


def pin_array(netlist: Path, board: Board, config: Config | None = None) -> int:
    """Give each multiplier of the array its site, those of a lane of the epilogue a block, and memories a site near to what they feed, in a
    netlist of yosys; how many cells were pinned.

    Memories of sums go below the feet of their columns first, then weights to the heads, then activations to the left ends of their
    rows; parameters below the middle, and the device's memory, one piece beside the next, below all. Without ``config`` there is an array
    only. An array larger than the part's grid is left to nextpnr, and so are the memories of columns without DSP blocks.
    """
    document = json.loads(netlist.read_text(encoding="utf-8"))
    cells = {name: cell for module in document["modules"].values() for name, cell in module["cells"].items()}
    elements = {(int(match[1] or 0) + int(match[2]), int(match[3])): cell for name, cell in cells.items()
                if cell["type"] == "MULT18X18D" and (match := _ELEMENT.search(name))}
    if not elements:
        return 0
    rows, cols = (1 + max(place) for place in zip(*elements, strict=True))
    sites = multiplier_sites(board.device, rows, cols)
    if sites is None:
        return 0
    pins = {sites[row][col].name: cell for (row, col), cell in elements.items()}
    if config is not None:
        free = memory_sites(board.device)
        pins |= _lanes(cells, [block for block in multiplier_blocks(board.device) if not pins.keys() & {site.name for site in block}])
        pins |= _memories_beside(cells, sites, free, config)
        pins |= _memories_in_the_middle(cells, free, multiplier_blocks(board.device)[0][0])
    for site, cell in pins.items():
        cell.setdefault("attributes", {})["BEL"] = site
    netlist.write_text(json.dumps(document), encoding="utf-8")
    return len(pins)


def _named(cells: Cells, kind: str, pattern: re.Pattern[str]) -> list[tuple[int, str]]:
    """The cells of a kind whose name matches, in the order of the number in it."""
    return sorted((int(match[1]), name) for name, cell in cells.items() if cell["type"] == kind and (match := pattern.search(name)))


def _lanes(cells: Cells, free: Sequence[Sequence[Site]]) -> dict[str, Any]:
    """The multipliers of each lane, in one of the ``free`` blocks as long as there are enough."""
    by_lane = defaultdict(list)
    for lane, name in _named(cells, "MULT18X18D", _LANE):
        by_lane[lane].append(name)
    return {site.name: cells[name] for names, block in zip(by_lane.values(), free, strict=False) if len(names) <= len(block)
            for name, site in zip(names, block, strict=False)}


def _memories_in_the_middle(cells: Cells, free: list[Site], middle: Site) -> dict[str, Any]:
    """Parameters nearest to the epilogue's lowest multipliers, and the device's memory in the lowest rows."""
    pins = {}
    for pattern, y, rise in (_PARAMETERS, middle.y, 1), (_DEVICE, max(site.y for site in free), 9):
        found = [name for _, name in _named(cells, "DP16KD", pattern)]
        near = sorted(free, key=lambda site: abs(site.x - middle.x) + rise * abs(site.y - y))[:len(found)]
        for name, site in zip(found, sorted(near), strict=False):
            free.remove(site)
            pins[site.name] = cells[name]
    return pins


def _memories_beside(cells: Cells, elements: Sequence[Sequence[Site]], free: list[Site], config: Config) -> dict[str, Any]:
    """Cells by the site that they get, of those that are ``free``."""
    array = config.array
    rows_of_one = array.rows // array.multiplier_rows
    cols_of_one = 2 if array.multiplier_kind == "packed" else 1
    cols_of_bank = 2 if array.weights == "int4" else 1
    beside: dict[re.Pattern[str], Callable[[int], tuple[int, int]]] = {
        _SUMS: lambda col: (-1, col // cols_of_one),
        _WEIGHTS: lambda bank: (0, bank * cols_of_bank // cols_of_one),
        _ACTIVATIONS: lambda bank: (bank // array.activation_bytes // rows_of_one, 0),
    }
    pins = {}
    for memory, element in beside.items():
        for index, name in _named(cells, "DP16KD", memory):
            row, col = element(index)
            if col < len(elements[row]) and free:
                x, y, _ = elements[row][col]
                y += _BELOW * (memory is _SUMS)
                site = min(free, key=lambda site: abs(site.x - x) + abs(site.y - y))
                free.remove(site)
                pins[site.name] = cells[name]
    return pins
