"""Carry chains of an ECP5 that begin and end in cells of their own, where nextpnr would put another cell in front of each and behind many.

A half of a CCU2C passes its carry on where its LUT4 is 1, and otherwise what the LUT2 within it makes of inputs A and B alone. Whatever
the carry before the first half is, that half can make the carry behind it: from a constant, with the chain half a cell longer, or from A
and B of the first bit, whose sum then takes a look-up table. The shorter one is taken: a chain of an odd number of bits has the half to
spare. A carry that is read is the sum of one more half, of nothing.

Inputs that are 0 become 1, and the tables change with them: nextpnr ties a 1 high without a wire (``ecp5/pack.cc``), while some zeros
would come over wires from all across the part.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["shorten_chains"]

Bit = int | str  # a net's number, or a constant
_PINS = "ABCD"
_LUT4 = range(12, 16)  # the part of a table that is seen with C and D at 1: by A and B
_LUT2 = range(4)


class _Half(NamedTuple):
    """Half of a cell: its inputs A … D, its table, and the net of its sum, if that is read."""

    inputs: tuple[Bit, ...]
    table: int
    sum: Bit | None


def _without_zeros(half: _Half) -> _Half:
    """The same, with inputs of 1 in place of the others that are constant."""
    def source(index: int) -> int:
        for pin, bit in enumerate(half.inputs):
            if isinstance(bit, str):
                index = index & ~(1 << pin) | (bit == "1") << pin
        return index

    wanted = {i: source(i) for i in range(16)}
    # The LUT2's entries are the LUT4's with C and D at 0, which the LUT4 does not come to where either is constant.
    if any(isinstance(bit, str) for bit in half.inputs[2:]):
        wanted |= {i: source(i) & 3 for i in _LUT2}
    table = sum((half.table >> index & 1) << i for i, index in wanted.items())
    return half._replace(inputs=tuple("1" if isinstance(bit, str) else bit for bit in half.inputs), table=table)


def _halves(cell: Mapping[str, Any], read: Counter[Bit]) -> list[_Half]:
    pins = cell["connections"]
    found = []
    for n in "01":
        total = pins.get(f"S{n}", [None])[0]
        half = _Half(tuple(pins.get(f"{pin}{n}", ["1"])[0] for pin in _PINS), int(cell["parameters"][f"INIT{n}"], 2),
                     total if read[total] else None)
        found.append(_without_zeros(half))
    return found


def _of_a_and_b(half: _Half) -> bool:
    return half.inputs[2:] == ("1", "1")


def _passes(half: _Half) -> bool:
    """Its carry is the one before it."""
    return half.inputs == ("1",) * 4 and bool(half.table >> 15 & 1)


def _shortened(halves: Sequence[_Half], carry: Bit, out: Bit | None) -> tuple[list[_Half], list[_Half]]:
    """The halves that do not need the carry ``carry`` before them, with that behind them in net ``out``; and look-up tables."""
    halves = list(halves)
    while halves[-1].sum is None and (out is None or _passes(halves[-1])) and len(halves) > 1:
        del halves[-1]
    if out is not None:
        halves.append(_Half(("1",) * 4, 0, out))
    first = halves[0]
    if len(halves) % 2 == 0 and carry in ("0", "1") and _of_a_and_b(first):
        # The carry before it where the LUT4 is 1, and what the LUT2 says where it is 0.
        after = sum((int(carry) if first.table >> four & 1 else first.table >> two & 1) << two
                    for four, two in zip(_LUT4, _LUT2, strict=True))
        lut = [] if first.sum is None else [first._replace(table=first.table ^ (0xFFFF if carry == "1" else 0))]
        return [first._replace(table=after, sum=None), *halves[1:]], lut
    begin = _Half((carry, "1", "1", "1"), 0b1010, None)
    return [_without_zeros(begin), *halves], []


def _cell(original: Mapping[str, Any], halves: Sequence[_Half], carry: Bit, out: Bit) -> dict[str, Any]:
    """A cell of two halves. nextpnr wants all pins, and a net at COUT only where the chain goes on: to others it adds a cell."""
    parameters, pins = dict(original["parameters"]), {"CIN": [carry], "COUT": [out]}
    for n, half in enumerate(halves):
        parameters[f"INIT{n}"] = f"{half.table:016b}"
        pins |= {f"{pin}{n}": [bit] for pin, bit in zip(_PINS, half.inputs, strict=True)}
        pins[f"S{n}"] = ["x" if half.sum is None else half.sum]
    return {**original, "parameters": parameters, "connections": pins,
            "port_directions": {pin: "output" if pin[0] == "S" or pin == "COUT" else "input" for pin in pins}}


def shorten_chains(netlist: Path, top: str) -> int:
    """Rewrite the carry chains of an ECP5 netlist of yosys, in place; returns how many. A chain with a carry within it that something
    else reads stays as it is."""
    document = json.loads(netlist.read_text(encoding="utf-8"))
    module = document["modules"][top]
    cells: dict[str, dict[str, Any]] = module["cells"]
    read: Counter[Bit] = Counter(bit for port in module["ports"].values() for bit in port["bits"])
    next_of: dict[Bit, str] = {}  # by the net of the carry between them
    carries: set[Bit] = set()
    highest = max((bit for net in module["netnames"].values() for bit in net["bits"] if isinstance(bit, int)), default=1)
    for name, cell in cells.items():
        for pin, bits in cell["connections"].items():
            highest = max([highest, *(bit for bit in bits if isinstance(bit, int))])
            if cell["port_directions"].get(pin) != "output":
                read.update(bits)
        if cell["type"] == "CCU2C":
            next_of[cell["connections"]["CIN"][0]] = name
            carries.update(cell["connections"].get("COUT", ()))

    shortened = 0
    for start in [name for name, cell in cells.items() if cell["type"] == "CCU2C" and cell["connections"]["CIN"][0] not in carries]:
        names, out = [start], None
        while True:
            out = cells[names[-1]]["connections"].get("COUT", [None])[0]
            out = out if read[out] else None
            if out not in next_of or read[out] > 1:
                break
            names.append(next_of[out])
        if out in next_of or any(cells[name]["parameters"][f"INJECT1_{n}"].strip() != "NO" for name in names for n in "01"):
            continue
        originals = [cells.pop(name) for name in names]
        halves, luts = _shortened([half for cell in originals for half in _halves(cell, read)], originals[0]["connections"]["CIN"][0], out)
        if len(halves) % 2:
            halves.append(_Half(("1",) * 4, 0, None))
        carry: Bit = "x"
        for i in range(0, len(halves), 2):
            original = originals[min(i // 2, len(originals) - 1)]
            name = names[i // 2] if i // 2 < len(names) else f"{names[-1]}_out"
            behind: Bit = "x"
            if i + 2 < len(halves):
                highest += 1
                behind = highest
                module["netnames"][f"{name}_carry"] = {"hide_name": 1, "bits": [behind], "attributes": {}}
            cells[name] = _cell(original, halves[i:i + 2], carry, behind)
            carry = behind
        for lut in luts:
            cells[f"{start}_sum"] = {
                "hide_name": 1, "type": "LUT4", "parameters": {"INIT": f"{lut.table:016b}"}, "attributes": originals[0]["attributes"],
                "port_directions": {**dict.fromkeys(_PINS, "input"), "Z": "output"},
                "connections": {**{pin: [bit] for pin, bit in zip(_PINS, lut.inputs, strict=True)}, "Z": [lut.sum]}}
        shortened += 1
    if shortened:
        netlist.write_text(json.dumps(document), encoding="utf-8")
    return shortened
