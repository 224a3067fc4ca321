"""Carry chains that begin and end in cells of their own: what they compute stays, with fewer cells than nextpnr would need."""

import json
import random

import pytest
from ecp5_netlist import Netlist
from systolith.gen import tools
from systolith.gen.carry import shorten_chains
from systolith.gen.toolchain import TOOLCHAINS

SEED = 20261128


def synthesised(directory, verilog):
    (directory / "design.v").write_text(verilog)
    netlist = directory / "netlist.json"
    TOOLCHAINS["ecp5"].synthesise(directory / "design.v", "top", netlist, log=directory / "yosys.log")
    return netlist


def module(netlist):
    return json.loads(netlist.read_text())["modules"]["top"]


def placed_cells(netlist):
    """TRELLIS_COMB of nextpnr, packed only."""
    log = netlist.with_suffix(".log")
    tools.run_tool([tools.find(TOOLCHAINS["ecp5"].place_and_route), "--12k", "--package", "CABGA381", "--lpf-allow-unconstrained",
                    "--pack-only", "--json", netlist.name], log=log, cwd=netlist.parent)
    lines = [line for line in log.read_text().splitlines() if "TRELLIS_COMB" in line]
    return int(lines[-1].split(":")[-1].split("/")[0])


def plays(before, after, inputs, rng, *, least, undriven):
    """Both netlists, with random and extreme operands; what drives the first carry, which nobody does, changes nothing."""
    players = [Netlist(before), Netlist(after)]
    players[1].value["x"] = undriven
    seen = set()
    for _ in range(200):
        words = {name: rng.choice([0, (1 << bits) - 1, 1, 1 << bits - 1, rng.randrange(1 << bits), rng.randrange(1 << bits)])
                 for name, bits in inputs.items()}
        results = [player.step(**words) for player in players]
        assert results[0] == results[1], words
        seen.add(tuple(results[0].values()))
    assert len(seen) >= least


SUMS = ["a + b", "a - b", "a + 1", "a + b + c", "a < b", "$signed(a) >= $signed(b)", "a + b + c[0]", "(a + b) ^ {a < b, (a - b) >> 1}"]
APART = ["a + b", "b - c", "a < c", "a + c[0]"]


@pytest.mark.parametrize("bits", [8, 9, 20])
@pytest.mark.parametrize("sums", [SUMS, APART], ids=["many", "apart"])
def test_sums_and_comparisons(tmp_path, bits, sums):
    """Odd and even numbers of bits, every kind of chain that yosys makes of them."""
    print(f"seed {SEED}")
    ports = ", ".join([*(f"input [{bits - 1}:0] {name}" for name in "abc"), *(f"output [{bits}:0] o{n}" for n in range(len(sums)))])
    lines = (f"assign o{n} = {text};" for n, text in enumerate(sums))
    netlist = synthesised(tmp_path, f"module top({ports});\n" + "\n".join(lines) + "\nendmodule\n")
    before, cells = module(netlist), placed_cells(netlist)
    assert shorten_chains(netlist, "top") >= 4
    after = module(netlist)
    for undriven in (0, 1):
        plays(before, after, dict.fromkeys("abc", bits), random.Random(SEED), least=100, undriven=undriven)
    fewer = placed_cells(netlist)
    print(f"{cells} cells, now {fewer}")
    assert fewer < cells
    if sums is APART:
        # nextpnr adds nothing: two look-up tables for each carry cell, the others, and one for each constant.
        kinds = [cell["type"] for cell in after["cells"].values()]
        assert 0 <= fewer - 2 * kinds.count("CCU2C") - kinds.count("LUT4") <= 2


def chain(tables, inputs, carry, sums):
    """Cells of one chain with these tables and inputs; ``sums``: which are read."""
    cells = {}
    for i in range(0, len(tables), 2):
        pins = {"CIN": [carry if i == 0 else 1000 + i], "COUT": [1000 + i + 2]}
        for n in (0, 1):
            pins |= {f"{pin}{n}": [bit] for pin, bit in zip("ABCD", inputs[i + n], strict=True)} | {f"S{n}": [2000 + i + n]}
        cells[f"c{i:02}"] = {
            "hide_name": 0, "type": "CCU2C", "attributes": {}, "connections": pins,
            "parameters": {f"INIT{n}": f"{tables[i + n]:016b}" for n in (0, 1)} | {f"INJECT1_{n}": "NO" for n in (0, 1)},
            "port_directions": {pin: "output" if pin[0] == "S" or pin == "COUT" else "input" for pin in pins}}
    return cells, [bit for bit in sums if bit < 2000 + len(tables)]


@pytest.mark.parametrize("number", range(100))
def test_any_chain(tmp_path, number):
    """Random tables, with nets, zeros and ones at random pins, any first carry, and the last one read or not."""
    print(f"seed {SEED + number}")
    rng = random.Random(SEED + number)
    halves = 2 * rng.randint(1, 5)
    # As yosys has them, A and B are nets and C and D constants, or all are constants behind the last bit.
    constant = [rng.choice([(0.3,) * 4, (0.1, 0.1, 1, 1), (0.1, 0.1, 1, 1), (1,) * 4]) for _ in range(halves)]
    inputs = [[rng.choice("01") if rng.random() < often else rng.randrange(2, 10) for often in half] for half in constant]
    cells, sums = chain([rng.choice([rng.randrange(1 << 16), 0xffff]) for _ in range(halves)], inputs, rng.choice(["0", "1", "1", 2]),
                        [2000 + i for i in range(halves) if rng.random() < (0.8 if i < halves - 1 else 0.3)])
    carry_out = [1000 + halves] if rng.random() < 0.5 else []
    ports = {"i": {"direction": "input", "bits": list(range(2, 10))},
             "o": {"direction": "output", "bits": [*(bit for bit in sums), *carry_out]}}
    before = {"ports": ports, "cells": cells, "netnames": {}}
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps({"modules": {"top": before}}))
    assert shorten_chains(path, "top") == 1
    after = module(path)
    for undriven in (0, 1):
        plays(before, after, {"i": 8}, rng, least=1, undriven=undriven)


def test_a_carry_that_is_read_within_a_chain(tmp_path):
    """Such a chain is nextpnr's to cut, and stays as it is."""
    cells, _ = chain([0x96AA] * 4, [[2, 3, "0", "1"]] * 4, "0", [])
    ports = {"i": {"direction": "input", "bits": [2, 3]}, "o": {"direction": "output", "bits": [1002]}}
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps({"modules": {"top": {"ports": ports, "cells": cells, "netnames": {}}}}))
    before = path.read_bytes()
    assert shorten_chains(path, "top") == 0 and path.read_bytes() == before
