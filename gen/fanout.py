"""Copies of what drives too many loads, which yosys does not make: a net of hundreds of loads spans the part, and its wire is the path.

A flip-flop is copied as a whole; a look-up table too, which its own inputs pay for with a load per copy. Copies start equal, see equal
inputs and therefore stay equal. Loads are dealt out by their names, which begin with the path in the hierarchy: what belongs together
gets the same copy.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

__all__ = ["MOST_LOADS", "copy_drivers", "deal"]

MOST_LOADS = 48
# Pins that the flip-flops of a slice, or of a whole tile, share.
_SHARED = {"CE": 0.25, "LSR": 0.25}
_OUTPUT = {"TRELLIS_FF": "Q", "LUT4": "Z"}
# Registers of the part's pins, of which all of a pin, and in hardware all of a group, must have the same reset.
_PINS = ("ODDRX", "IDDRX", "TSHX", "DQSBUFM")

Load = tuple[str, str, int]  # cell, pin, bit


def _weight(load: Load) -> float:
    return _SHARED.get(load[1], 1.0)


def _place(load: Load) -> tuple[list[str], list[int], Load]:
    """A key of order: by name, and among names that differ in numbers only by these."""
    return re.split(r"\d+", load[0]), [int(number) for number in re.findall(r"\d+", load[0])], load


def deal(loads: list[Load], most: int) -> list[list[Load]]:
    """Loads in groups of ``most`` or less, neighbours by name together."""
    groups: list[list[Load]] = []
    room = 0.0
    for load in sorted(loads, key=_place):
        if room < _weight(load):
            groups.append([])
            room = float(most)
        groups[-1].append(load)
        room -= _weight(load)
    return groups


def copy_drivers(netlist: Path, top: str, *, most: int = MOST_LOADS) -> int:
    """Copy flip-flops and look-up tables of an ECP5 netlist of yosys, in place, until none drives more than ``most`` loads.

    Returns how many copies were made. A load that slices share, an enable or a reset, counts a quarter. Outputs of the module stay with
    the original, and what resets registers of the part's pins stays one.
    """
    document = json.loads(netlist.read_text(encoding="utf-8"))
    module = document["modules"][top]
    cells: dict[str, dict[str, Any]] = module["cells"]
    loads: dict[int, list[Load]] = defaultdict(list)
    drivers: dict[int, str] = {}
    highest = 1
    for name, cell in cells.items():
        for pin, bits in cell["connections"].items():
            for i, bit in enumerate(bits):
                if isinstance(bit, int):
                    highest = max(highest, bit)
                    if cell["port_directions"].get(pin) != "output":
                        loads[bit].append((name, pin, i))
                    elif _OUTPUT.get(cell["type"]) == pin:
                        drivers[bit] = name
    for net in module["netnames"].values():
        highest = max([highest, *(bit for bit in net["bits"] if isinstance(bit, int))])

    copies = 0
    # What is copied gives its own drivers more loads: those come later. Look-up tables are few deep, and this ends at flip-flops.
    waiting = sorted(drivers, key=lambda bit: cells[drivers[bit]]["type"] == "TRELLIS_FF")
    for bit in waiting:
        if sum(map(_weight, loads[bit])) <= most or any(
                pin == "RST" and cells[load]["type"].startswith(_PINS) for load, pin, _ in loads[bit]):
            continue
        original = drivers[bit]
        for n, group in enumerate(deal(loads[bit], most)[1:], 1):
            highest += 1
            name = f"{original}_copy{n}"
            pins = cells[original]["connections"]
            cells[name] = {**cells[original], "connections": {pin: list(bits) for pin, bits in pins.items()},
                           "attributes": dict(cells[original].get("attributes", {}))}
            cells[name]["connections"][_OUTPUT[cells[original]["type"]]] = [highest]
            module["netnames"][f"{name}_net"] = {"hide_name": 1, "bits": [highest], "attributes": {}}
            for pin, bits in pins.items():
                if pin != _OUTPUT[cells[original]["type"]]:
                    for i, source in enumerate(bits):
                        if isinstance(source, int):
                            loads[source].append((name, pin, i))
            for load, pin, i in group:
                cells[load]["connections"][pin][i] = highest
            copies += 1
        loads[bit] = []
    if copies:
        netlist.write_text(json.dumps(document), encoding="utf-8")
    return copies
