"""Registers of DSP blocks and block RAMs: what is packed, what is not, and that the netlist, with its carry chains and constants too as
they are placed, computes what NumPy says."""

import json

import numpy as np
import pytest
from array_schedule import array_schedule, sums
from ecp5_netlist import Netlist
from systolith.arch.config import ArrayConfig
from systolith.gen.carry import shorten_chains
from systolith.gen.constants import place_constants
from systolith.gen.packing import pack_registers
from systolith.gen.toolchain import TOOLCHAINS
from systolith.gen.verilog import emit
from systolith.rtl.array import SystolicArray
from systolith.rtl.ram import RAM


def synthesise(directory, component, name):
    """Packed netlist of a component: how many registers were switched on, and the module."""
    (directory / "design.v").write_text(emit(component, name))
    netlist = directory / "netlist.json"
    TOOLCHAINS["ecp5"].synthesise(directory / "design.v", name, netlist, log=directory / "yosys.log")
    packed = pack_registers(netlist, name)
    place_constants(netlist, name)
    shorten_chains(netlist, name)
    return packed, json.loads(netlist.read_text())["modules"][name]


def cells(module, kind):
    return [cell for cell in module["cells"].values() if cell["type"] == kind]


@pytest.mark.parametrize(("rows", "cols", "multiplier", "dsp_cols", "block_rows", "weights", "activation_bits"), [
    *((*options, weights, 8) for *options, weights in (
        (4, 2, "single", 2, 2, "int8"), (4, 2, "fast-inner-product", 2, 1, "int8"), (3, 4, "packed", 4, 2, "int8"),
        (3, 5, "packed", 3, 0, "int8"), (3, 2, "single", 0, 0, "int8"), (4, 2, "fast-inner-product", 1, 0, "int8"),
        (4, 2, "single", 2, 2, "int4"), (4, 2, "fast-inner-product", 2, 1, "int4"), (3, 2, "single", 0, 0, "int4"))),
    (3, 2, "single", 1, 2, "int8", 16), (2, 2, "single", 0, 0, "int4", 16),
    (4, 3, "fast-inner-product, side_dsp", 2, 0, "int8", 8)])
def test_array_after_synthesis(tmp_path, rows, cols, multiplier, dsp_cols, block_rows, weights, activation_bits):
    """Two tiles and their vectors through the netlist; each multiplier has its own registers."""
    seed = 1
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    multiplier, _, side = multiplier.partition(", ")
    options = {"rows": rows, "cols": cols, "multiplier": multiplier, "dsp_cols": dsp_cols, "side_dsp": bool(side),
               "block_rows": block_rows}
    config = ArrayConfig(**options, weights=weights)
    dut = SystolicArray(**options, weight_bits=config.weight_bits, activation_bits=activation_bits)
    packed, module = synthesise(tmp_path, dut, "array")
    multipliers = cells(module, "MULT18X18D")
    assert len(multipliers) == config.dsp_blocks
    # A weight that is an operand has an enable, and its register stays in the fabric.
    pairs = multiplier == "fast-inner-product"
    registers = ["INPUTA", "INPUTB", "OUTPUT"] if pairs else ["OUTPUT"]
    assert packed == len(multipliers) * (3 if pairs else 2)
    for register in registers:
        assert {cell["parameters"].get(f"REG_{register}_CLK") for cell in multipliers} <= {"CLK0"}

    low, high = config.weight_limits
    tiles = [rng.choice([low, high, *rng.integers(low, high + 1, 6)], (rows, cols)) for _ in range(2)]
    least = -1 << activation_bits - 1
    blocks = [rng.choice([least, ~least, *rng.integers(least, -least, 6)], (12, rows)) for _ in range(2)]
    inputs, starts = array_schedule(dut, tiles, blocks, config.weight_bits)
    end = starts[-1] + dut.latency_cycles + dut.col_delay[-1] + 1
    player = Netlist(module)
    names = [name for name, port in module["ports"].items() if port["direction"] == "input" and name not in ("clk", "rst")]
    outputs = [player.step(rst=0, **{name: inputs.get((cycle, name), 0) for name in names}) for cycle in range(end)]
    np.testing.assert_array_equal(sums(dut, outputs, starts), np.concatenate([b @ t for b, t in zip(blocks, tiles, strict=True)]))


@pytest.mark.parametrize(("width", "depth", "blocks"), [(8, 2048, 1), (8, 4096, 2), (32, 512, 1)])
def test_memory_after_synthesis(tmp_path, width, depth, blocks):
    """Random words written and read at the claimed latency, from the block's own output register."""
    seed = width + depth
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    packed, module = synthesise(tmp_path, RAM(width=width, depth=depth), "memory")
    assert packed == len(cells(module, "DP16KD")) == blocks and not cells(module, "TRELLIS_FF")
    player = Netlist(module)
    addresses = rng.choice(depth, 40, replace=False)
    words = dict(zip(addresses.tolist(), rng.integers(0, 1 << width, 40).tolist(), strict=True))
    for address, word in words.items():
        player.step(rst=0, write=1, address=address, i=word, read=(address + 1) % depth)
    wanted = rng.permutation(addresses).tolist()
    seen = [player.step(rst=0, write=0, address=0, i=0, read=address)["o"] for address in [*wanted, 0, 0]]
    assert seen[RAM.latency_cycles:] == [words[address] for address in wanted]


def flip_flop(data, output, **changes):
    cell = {"type": "TRELLIS_FF", "parameters": {"CEMUX": "1 ", "CLKMUX": "CLK", "REGSET": "RESET"},
            "connections": {"CLK": [9], "DI": [data], "Q": [output], "LSR": ["0"]},
            "port_directions": {"CLK": "input", "DI": "input", "Q": "output", "LSR": "input"}}
    cell["parameters"].update(changes.get("parameters", {}))
    cell["connections"].update(changes.get("connections", {}))
    return cell


@pytest.mark.parametrize(("changes", "reader", "packed"), [
    ({}, None, 1),
    ({"parameters": {"CEMUX": "CE"}, "connections": {"CE": [8]}}, None, 0),   # an enable
    ({"connections": {"LSR": [8]}}, None, 0),                                 # a reset
    ({"parameters": {"REGSET": "SET"}}, None, 0),                             # one at power-up
    ({"connections": {"CLK": [7]}}, None, 0),                                 # another clock than the other bit's
    ({}, [100], 0),                                                           # somebody else reads the product
])
def test_only_plain_registers_are_packed(tmp_path, changes, reader, packed):
    connections = {"P0": [100], "P1": [101], "A0": [1], "B0": [2]}
    module = {"ports": {"o": {"direction": "output", "bits": [200, 201, *(reader or [])]}}, "netnames": {}, "cells": {
        "block": {"type": "MULT18X18D", "parameters": {}, "connections": connections,
                  "port_directions": {pin: "output" if pin.startswith("P") else "input" for pin in connections}},
        "one": flip_flop(100, 200, **changes), "other": flip_flop(101, 201)}}
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps({"modules": {"top": module}}))
    before = path.read_bytes()
    assert pack_registers(path, "top") == packed
    after = json.loads(path.read_text())["modules"]["top"]["cells"]
    if packed:
        assert set(after) == {"block"} and after["block"]["connections"]["P1"] == [201]
        assert after["block"]["parameters"] == {"REG_OUTPUT_CLK": "CLK0"} and after["block"]["connections"]["CLK0"] == [9]
    else:
        assert path.read_bytes() == before
