"""Copies of drivers with many loads: no driver keeps too many, and the netlist computes what it did before."""

import json
from collections import Counter

import numpy as np
import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from ecp5_netlist import Netlist
from systolith.gen.fanout import copy_drivers
from systolith.gen.toolchain import TOOLCHAINS
from systolith.gen.verilog import emit

WIDTH = 64


class Spread(wiring.Component):
    """A register and a look-up table with a load per bit, and a register that enables as many."""

    def __init__(self):
        super().__init__({"d": In(WIDTH), "kind": In(3), "o": Out(WIDTH)})

    def elaborate(self, platform):
        m = Module()
        chosen, kind = Signal(), Signal(3)
        first, second = Signal(WIDTH), Signal(WIDTH)
        m.d.sync += [kind.eq(self.kind), chosen.eq(kind[0]), first.eq(Mux(chosen, self.d, ~self.d))]
        with m.If(kind[1]):
            m.d.sync += second.eq(Mux(kind.xor(), first, second + 1))
        m.d.comb += self.o.eq(second)
        return m


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    directory = tmp_path_factory.mktemp("spread")
    (directory / "design.v").write_text(emit(Spread(), "spread"))
    TOOLCHAINS["ecp5"].synthesise(directory / "design.v", "spread", directory / "netlist.json", log=directory / "yosys.log")
    return (directory / "netlist.json").read_text()


def most_loads(module):
    """The most loads of a flip-flop or look-up table: (those of their own, enables and resets)."""
    data, shared, drivers = Counter(), Counter(), set()
    for cell in module["cells"].values():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"].get(pin) == "output":
                drivers.update(bits if cell["type"] in ("TRELLIS_FF", "LUT4") else ())
            else:
                (shared if pin in ("CE", "LSR") else data).update(bits)
    return max(data[bit] + shared[bit] / 4 for bit in drivers)


@pytest.mark.parametrize("most", [8, 20])
def test_copies(tmp_path, original, most):
    seed = most
    print(f"seed {seed}")
    before = json.loads(original)["modules"]["spread"]
    assert most_loads(before) > 40
    path = tmp_path / "netlist.json"
    path.write_text(original)
    copies = copy_drivers(path, "spread", most=most)
    after = json.loads(path.read_text())["modules"]["spread"]
    assert copies == len(after["cells"]) - len(before["cells"]) > WIDTH // most
    assert most_loads(after) <= most
    players = Netlist(before), Netlist(after)
    rng = np.random.default_rng(seed)
    outputs = []
    for _ in range(100):
        inputs = {"rst": int(rng.random() < 0.05), "d": int(rng.integers(1 << 62)), "kind": int(rng.integers(8))}
        seen = [player.step(**inputs)["o"] for player in players]
        assert seen[0] == seen[1]
        outputs.append(seen[0])
    assert len(set(outputs)) > 20


def test_nothing_to_copy(tmp_path, original):
    path = tmp_path / "netlist.json"
    path.write_text(original)
    assert copy_drivers(path, "spread", most=1000) == 0 and path.read_text() == original


@pytest.mark.parametrize(("kind", "copied"), [
    ("ODDRX2F", False), ("IDDRX2DQA", False), ("TSHX2DQA", False), ("DQSBUFM", False), ("MULT18X18D", True)])
def test_what_resets_registers_of_pins_stays_one(tmp_path, kind, copied):
    """nextpnr refuses a pin whose registers have two resets, and those of a group start together by one."""
    loads = {f"load{i}": {"type": kind, "port_directions": {"RST": "input"}, "connections": {"RST": [2]}} for i in range(60)}
    driver = {"type": "TRELLIS_FF", "port_directions": {"Q": "output"}, "connections": {"Q": [2]}}
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps({"modules": {"pins": {"cells": {"reset": driver, **loads}, "netnames": {}}}}))
    assert (copy_drivers(path, "pins", most=10) > 0) is copied
