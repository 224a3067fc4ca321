"""Constants near the pins that need them. Most pins of an ECP5 hold a constant themselves; for the others nextpnr makes one look-up table
for each of 0 and 1, whose wires then cross the part to every multiplier. They take the place of wires that compute, and at its end router1
spends minutes on those to the multipliers' resets, which displace each other.
"""

from __future__ import annotations

import json
from pathlib import Path

from .fanout import deal

__all__ = ["place_constants"]

_MOST_LOADS = 12  # of a look-up table: those of four multipliers
# The pins in question, by how their names begin, of cells that there are many of (nextpnr 0.11, ecp5/pack.cc).
_PINS = {"MULT18X18D": ("CE", "RST", "SIGNED", "SOURCE"), "TRELLIS_DPR16X4": ("RAD", "WAD", "DI")}


def place_constants(netlist: Path, top: str) -> int:
    """Give the constant inputs of an ECP5 netlist's multipliers and look-up-table RAMs, in place, look-up tables of their own, each for
    a few pins that are neighbours by name. Returns how many there are."""
    document = json.loads(netlist.read_text(encoding="utf-8"))
    module = document["modules"][top]
    cells = module["cells"]
    pins = [(name, pin, i, bit) for name, cell in cells.items() for pin, bits in cell["connections"].items()
            if pin.startswith(_PINS.get(cell["type"], ())) for i, bit in enumerate(bits) if bit in ("0", "1")]
    nets = [net["bits"] for net in module["netnames"].values()]
    nets += [bits for cell in cells.values() for bits in cell["connections"].values()]
    highest = max((bit for bits in nets for bit in bits if isinstance(bit, int)), default=1)
    count = 0
    for value in "01":
        for group in deal([(name, pin, i) for name, pin, i, bit in pins if bit == value], _MOST_LOADS):
            count += 1
            net = highest + count
            driver = f"{group[0][0]}_constant{value}"
            cells[driver] = {
                "hide_name": 1, "type": "LUT4", "parameters": {"INIT": value * 16}, "attributes": {},
                "port_directions": {**dict.fromkeys("ABCD", "input"), "Z": "output"},
                "connections": {**{pin: ["0"] for pin in "ABCD"}, "Z": [net]},
            }
            module["netnames"][f"{driver}_net"] = {"hide_name": 1, "bits": [net], "attributes": {}}
            for name, pin, i in group:
                cells[name]["connections"][pin][i] = net
    if count:
        netlist.write_text(json.dumps(document), encoding="utf-8")
    return count
