"""Constants of multipliers and look-up-table RAMs: each pin has its value from a look-up table beside it, and nothing else changes."""

import json
from collections import Counter

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from systolith.gen.constants import place_constants
from systolith.gen.packing import pack_registers
from systolith.gen.toolchain import TOOLCHAINS
from systolith.gen.verilog import emit
from systolith.rtl.queue import Queue

WIRED = ("CE0", "RST0", "SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB")


class Products(wiring.Component):
    """Ten multipliers and a queue of eight words, whose RAM has an address bit too many."""

    def __init__(self):
        super().__init__({"a": In(8), "b": In(8), "o": Out(160), "go": In(1), "word": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(width=8, depth=8)
        m.d.comb += [queue.w_data.eq(self.a), queue.w_en.eq(self.go), queue.r_en.eq(self.go), self.word.eq(queue.r_data)]
        b = Signal(8, reset_less=True)
        m.d.sync += b.eq(self.b)
        for n in range(10):
            a, product = Signal(8, name=f"a{n}", reset_less=True), Signal(16, name=f"product{n}", reset_less=True)
            m.d.sync += [a.eq(self.a ^ n), product.eq(a * b)]
            m.d.comb += self.o[16 * n:16 * n + 16].eq(product)
        return m


def pins(module):
    """(cell, pin, index) → its net, or its constant."""
    return {(name, pin, i): bit for name, cell in module["cells"].items()
            for pin, bits in cell["connections"].items() if cell["port_directions"].get(pin) == "input" for i, bit in enumerate(bits)}


def test_each_pin_keeps_its_constant(tmp_path):
    netlist = tmp_path / "netlist.json"
    (tmp_path / "design.v").write_text(emit(Products(), "products"))
    TOOLCHAINS["ecp5"].synthesise(tmp_path / "design.v", "products", netlist, log=tmp_path / "yosys.log")
    pack_registers(netlist, "products")
    before = json.loads(netlist.read_text())["modules"]["products"]
    count = place_constants(netlist, "products")
    after = json.loads(netlist.read_text())["modules"]["products"]

    kinds = Counter(cell["type"] for cell in before["cells"].values())
    assert kinds["MULT18X18D"] == 10 and kinds["TRELLIS_DPR16X4"] >= 2
    added = {name: cell for name, cell in after["cells"].items() if name not in before["cells"]}
    assert len(added) == count > 0 and {cell["type"] for cell in added.values()} == {"LUT4"}
    value = {}
    for cell in added.values():
        assert set(cell["parameters"]["INIT"]) in ({"0"}, {"1"}) and len(cell["parameters"]["INIT"]) == 16
        value[cell["connections"]["Z"][0]] = cell["parameters"]["INIT"][0]
    assert len(value) == count and not set(value) & set(pins(before).values())

    new = pins(after)
    loads = Counter()
    for pin, bit in pins(before).items():
        kind = before["cells"][pin[0]]["type"]
        if bit in ("0", "1") and ((kind == "MULT18X18D" and pin[1] in WIRED) or kind == "TRELLIS_DPR16X4"):
            assert value[new[pin]] == bit, pin
            loads[new[pin]] += 1
        else:
            assert new[pin] == bit, pin
    assert sum(loads.values()) >= 6 * 10 + 4 and max(loads.values()) <= 12 and len(loads) == count


def test_nothing_constant(tmp_path):
    path = tmp_path / "netlist.json"
    cell = {"type": "MULT18X18D", "port_directions": {"CE0": "input", "A0": "input"}, "connections": {"CE0": [2], "A0": ["0"]}}
    text = json.dumps({"modules": {"top": {"cells": {"product": cell}, "netnames": {}}}})
    path.write_text(text)
    assert place_constants(path, "top") == 0 and path.read_text() == text
