"""Reports from recorded outputs of the tools, cut down to what is read."""

import dataclasses
import json
import re
from collections import Counter

import pytest
from systolith.arch.manifest import Manifest
from systolith.boards import get_board
from systolith.gen.area import block_area, instances
from systolith.gen.fmax import credible_fmax
from systolith.gen.report import Netlist, ReportError, Timing, _block, _blocks, make_report, read_netlist, read_report, read_timing

VERILOG = """\
module top(clk, pin);
  input clk;
  wire clk;
  output pin;
  wire pin;
  wire link;
  child a (
    .clk(clk),
    .i(pin),
    .o(link)
  );
  \\odd$name  b (
    .clk(clk),
    .s(link),
    .o(pin)
  );
endmodule

module child(clk, i, o);
  input clk;
  input [3:0] i;
  output o;
endmodule

module \\odd$name (clk, s, o);
  input clk;
  input [1:0] s;
  wire [1:0] s;
  output o;
endmodule
"""

SOURCE = "shell.core.systolith.core.load.front.at_TRELLIS_FF_Q"

# nextpnr-ecp5 --report of a small design: the accelerator's clock comes out of the PLL.
NEXTPNR = {
    "critical_paths": [
        {"from": "<async>", "to": "posedge $glbnet$clk", "path": []},
        {"from": "posedge $glbnet$clk", "to": "posedge $glbnet$clk", "path": [
            {"delay": 0.5, "type": "clk-to-q", "from": {"cell": SOURCE, "port": "CLK"},
             "to": {"cell": SOURCE, "port": "Q"}},
            {"delay": 1.5, "type": "routing", "net": "n", "from": {"cell": SOURCE, "port": "Q"},
             "to": {"cell": "shell.memory.ram.0.0", "port": "ADA0"}},
            {"delay": 0.0, "type": "setup", "from": {"cell": "shell.memory.ram.0.0", "port": "ADA0"},
             "to": {"cell": "shell.memory.ram.0.0", "port": "CLKA"}}]},
    ],
    "fmax": {"$glbnet$clk": {"achieved": 91.5, "constraint": 80.0}, "$glbnet$slow": {"achieved": 300.0, "constraint": 25.0}},
    "utilization": {"TRELLIS_COMB": {"available": 83640, "used": 8364}, "TRELLIS_FF": {"available": 83640, "used": 4182},
                    "MULT18X18D": {"available": 156, "used": 39}, "DP16KD": {"available": 208, "used": 104}},
}


def cell(kind, output, **parameters):
    return {"type": kind, "parameters": parameters, "port_directions": {"A": "input", "Z": "output"},
            "connections": {"A": [9], "Z": output}}


def netlist(**cells):
    names = {"link": [2], "a.o": [2], "b.s": [2, 3], "pin": [4], "a.i": [4, 4, 4, 4], "b.o": [4], "b.o_LUT4_Z_D": [5], "a.hidden.deep": [6]}
    return {"cells": cells, "netnames": {name: {"bits": bits} for name, bits in names.items()}}


def test_instances():
    assert instances(VERILOG, "top") == {"": frozenset({"clk"}), "a": frozenset({"clk", "i"}), "b": frozenset({"clk", "s"})}


def test_instances_in_litex_verilog():
    """Ports in the header, no blanks before an instance or its bracket."""
    soc = ("module soc (\n    input  wire          rx,\n    inout  wire    [1:0] dq,\n    output wire          tx\n);\n"
           "always @(posedge clk) begin\nend\ntop top(\n\t.clk (clk)\n);\nBB BB_1(\n);\nendmodule\n")
    assert instances(soc + VERILOG, "soc") == {
        "": frozenset({"rx"}), "top": frozenset({"clk"}), "top.a": frozenset({"clk", "i"}), "top.b": frozenset({"clk", "s"})}


def test_blocks_of_a_soc():
    area = {"": Counter(lut=7), "systolith_axi.reader": Counter(lut=5), "systolith_axi.core.systolith.core.load.front": Counter(lut=3),
            "systolith_axi.core.systolith.core": Counter(ff=1), "systolith_line.frames": Counter(lut=2)}
    blocks = _blocks(Netlist({}, area, False))
    assert [(block["name"], block["lut"]) for block in blocks] == [("soc", 7), ("axi", 5), ("load", 3), ("line", 2), ("core", 0)]


def test_a_cell_belongs_to_the_block_that_drives_it():
    """Not to one that the net is an input of; cells on nets without a name go by their own, and count what they take."""
    cells = {"b.s_LUT4_Z": cell("LUT4", [2]), "a.i_TRELLIS_FF_Q": cell("TRELLIS_FF", [4]), "b.o_LUT4_Z_D_CCU2C_S0": cell("CCU2C", [5, 7]),
             "a.hidden.deep_LUT4_Z": cell("LUT4", [6]), "free": cell("LUT4", [8]), "p": cell("PFUMX", [8])}
    area = block_area(netlist(**cells), instances(VERILOG, "top"), "ecp5")
    assert area == {"a": {"lut": 2}, "b": {"ff": 1, "lut": 2}, "": {"lut": 1}}


@pytest.mark.parametrize(("registers", "registered"), [
    ({}, False), ({"REG_OUTPUT_CLK": "CLK0", "REG_INPUTA_CLK": "NONE"}, False),
    ({"REG_OUTPUT_CLK": "CLK0", "REG_INPUTA_CLK": "CLK0"}, True)])
def test_registered_dsp(tmp_path, registers, registered):
    (tmp_path / "top.v").write_text(VERILOG)
    (tmp_path / "top.json").write_text(json.dumps({"modules": {"top": netlist(a=cell("MULT18X18D", [2], **registers))}}))
    read = read_netlist(tmp_path / "top.json", tmp_path / "top.v", "top", "ecp5")
    assert read.registered_dsp is registered
    assert read.cells == {"MULT18X18D": 1}


def test_timing(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(NEXTPNR))
    timing = read_timing(tmp_path / "r.json", 80)
    assert timing.fmax_mhz == 91.5
    assert timing.path == "load.front.at → memory.ram.0.0, 2.0 ns, 25% logic"
    assert timing.utilisation["MULT18X18D"] == (39, 156)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"fmax": {}, "utilization": {}}'])
def test_timing_refuses_what_is_no_report(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ReportError, match="is not a report of nextpnr"):
        read_timing(tmp_path / "r.json", 80)


@pytest.mark.parametrize(("nextpnr", "family", "speed", "dsp", "registered", "bram", "mhz", "limit"), [
    (110.0, "ecp5", "6", True, True, True, 110.0, "path"),
    (500.0, "ecp5", "6", True, True, False, 258.0, "DSP block between its registers"),
    (500.0, "ecp5", "6", True, True, True, 212.0, "shortest clock pulse of block RAM"),
    (500.0, "ecp5", "8", True, False, True, 271.0, "shortest clock pulse of block RAM"),
    (500.0, "ecp5", "6", True, False, False, 500.0, "path"),
    (50.0, "ice40", "", False, False, True, 50.0, "path"),
    (50.0, "ice40", "", True, True, True, 1e3 / 22, "path"),
    (50.0, "gatemate", "", False, False, True, 50.0, "path"),
    (50.0, "gowin", "", False, False, False, 50.0, "path"),
    (19.0, "gowin", "", True, False, True, 19.0, "path"),
    (50.0, "gowin", "", True, False, False, 27.0, "the clock asked for, because nextpnr has no times for multipliers"),
    (50.0, "gowin", "", True, False, True, 27.0,
     "the clock asked for, because nextpnr has no times for multipliers and what leaves block RAM")])
def test_credible_fmax(nextpnr, family, speed, dsp, registered, bram, mhz, limit):
    fmax = credible_fmax(nextpnr, family=family, speed=speed, path="path", registered_dsp=registered, dsp=dsp, bram=bram,
                         asked_mhz=27)
    assert (fmax.mhz, fmax.nextpnr_mhz, fmax.limited_by) == (pytest.approx(mhz), nextpnr, limit)


def manifest_for(name, **changes):
    board = get_board(name)
    return board, Manifest(config=board.config, hash="ab" * 32, board=name, **changes)


def test_report_is_that_of_the_median_seed(tmp_path):
    board, manifest = manifest_for("ulx3s-85f")
    (tmp_path / "top.v").write_text(VERILOG)
    (tmp_path / "top.json").write_text(json.dumps({"modules": {"top": netlist(a=cell("LUT4", [2]))}}))
    utilisation = {kind: (entry["used"], entry["available"]) for kind, entry in NEXTPNR["utilization"].items()}
    timings = {seed: Timing(mhz, f"path {seed}", utilisation) for seed, mhz in enumerate([90.0, 70.0, 81.234], start=1)}
    report = make_report(manifest, board, read_netlist(tmp_path / "top.json", tmp_path / "top.v", "top", "ecp5"), timings)
    macs = manifest.config.macs_per_cycle
    assert report["fmax_mhz"] == report["fmax_nextpnr_mhz"] == 81.23
    assert (report["median_seed"], report["fmax_limited_by"]) == (3, "path 3")
    assert report["seeds"] == [{"seed": 1, "fmax_mhz": 90.0}, {"seed": 2, "fmax_mhz": 70.0}, {"seed": 3, "fmax_mhz": 81.23}]
    assert report["resources"]["lut"] == {"used": 8364, "available": 83640, "fraction": 0.1}
    assert set(report["resources"]) == {"lut", "ff", "dsp", "bram"}
    assert report["macs_per_cycle"] == macs
    assert report["peak_gops"] == pytest.approx(macs * 2 * 81.234 / 1e3, abs=1e-3)
    assert report["lut_eq_per_mac"] == round(8364 / macs, 1)
    assert report["timing_met"] is (81.234 >= board.clock_mhz)


def test_every_clock_counts(tmp_path):
    """A run in which one of them is missed is worse than any other, and the report says which."""
    board, manifest = manifest_for("ulx3s-85f")
    (tmp_path / "top.v").write_text(VERILOG)
    (tmp_path / "top.json").write_text(json.dumps({"modules": {"top": netlist(a=cell("LUT4", [2]))}}))
    document = {**NEXTPNR, "fmax": {"$glbnet$clk": {"achieved": 91.5, "constraint": 75.0},
                                    "$glbnet$eth_rx_clk$TRELLIS_IO_IN": {"achieved": 120.0, "constraint": 125.0}}}
    (tmp_path / "report.json").write_text(json.dumps(document))
    missed = read_timing(tmp_path / "report.json", 75)
    assert (missed.fmax_mhz, missed.others) == (91.5, {"eth_rx_clk": (120.0, 125.0)})
    met = dataclasses.replace(missed, fmax_mhz=80.0, others={"eth_rx_clk": (125.0, 125.0)})
    synthesised = read_netlist(tmp_path / "top.json", tmp_path / "top.v", "top", "ecp5")
    report = make_report(manifest, board, synthesised, {1: missed, 2: met, 3: met})
    assert (report["median_seed"], report["timing_met"]) == (2, True)
    assert report["other_clocks"] == [{"clock": "eth_rx_clk", "asked_mhz": 125.0, "fmax_mhz": 125.0}]
    assert make_report(manifest, board, synthesised, {1: missed})["timing_met"] is False


def test_ice40_counts_flip_flops_from_the_netlist(tmp_path):
    board, manifest = manifest_for("icebreaker")
    (tmp_path / "top.v").write_text(VERILOG)
    cells = {"a": cell("SB_DFFESR", [2]), "b": cell("SB_DFF", [4]), "c": cell("SB_LUT4", [5])}
    (tmp_path / "top.json").write_text(json.dumps({"modules": {"top": netlist(**cells)}}))
    timing = Timing(20.0, "path", {"ICESTORM_LC": (2640, 5280), "ICESTORM_DSP": (8, 8), "ICESTORM_RAM": (15, 30), "ICESTORM_SPRAM": (4, 4)})
    report = make_report(manifest, board, read_netlist(tmp_path / "top.json", tmp_path / "top.v", "top", "ice40"), {1: timing})
    assert {name: entry["used"] for name, entry in report["resources"].items()} == {"lut": 2640, "ff": 2, "dsp": 8, "bram": 15, "spram": 4}
    assert report["fmax_mhz"] < report["fmax_nextpnr_mhz"] == 20.0


def test_cells_that_take_the_place_of_others_count(tmp_path):
    """Gowin's carry cells and RAMs of look-up tables, and its multipliers of twice the width."""
    board, manifest = manifest_for("tang-nano-9k")
    (tmp_path / "top.v").write_text(VERILOG)
    (tmp_path / "top.json").write_text(json.dumps({"modules": {"top": netlist(a=cell("LUT2", [2]))}}))
    timing = Timing(60.0, "path", {"LUT4": (3000, 8640), "ALU": (1000, 6480), "RAM16SDP4": (10, 270), "DFF": (3240, 6480),
                                   "MULT9X9": (4, 40), "MULT18X18": (3, 20), "MULT36X36": (0, 5), "BSRAM": (13, 26)})
    report = make_report(manifest, board, read_netlist(tmp_path / "top.json", tmp_path / "top.v", "top", "gowin"), {1: timing})
    assert report["resources"] == {
        "lut": {"used": 4060, "available": 8640, "fraction": 4060 / 8640}, "ff": {"used": 3240, "available": 6480, "fraction": 0.5},
        "dsp": {"used": 10, "available": 40, "fraction": 0.25}, "bram": {"used": 13, "available": 26, "fraction": 0.5}}
    assert (report["fmax_mhz"], report["fmax_nextpnr_mhz"], report["timing_met"]) == (27, 60, True)
    assert report["fmax_rule"] == ("nextpnr's Fmax, but no more than the 27 MHz asked for: nextpnr has no times for multipliers and what "
                                   "leaves block RAM")


def test_gatemate_counts_memories_from_the_netlist(tmp_path):
    """nextpnr's report does not; a memory counts where it is in the Verilog, and what yosys has named after it beside what drives it."""
    board, manifest = manifest_for("gatemate-evb")
    (tmp_path / "top.v").write_text(VERILOG)
    cells = {"a.words.0.0": cell("CC_BRAM_20K", [2]), "b.words.0.0": cell("CC_BRAM_40K", [4]), "a.i_CC_L2T5_O": cell("CC_L2T5", [4]),
             "link_CC_DFF_Q": cell("CC_DFF", [2])}
    (tmp_path / "top.json").write_text(json.dumps({"modules": {"top": netlist(**cells)}}))
    read = read_netlist(tmp_path / "top.json", tmp_path / "top.v", "top", "gatemate")
    assert read.area == {"a": {"bram": 1, "ff": 1}, "b": {"bram": 2, "lut": 2}}
    timing = Timing(30.0, "path", {"CPE_LT": (1024, 40960), "CPE_FF": (2048, 40960)})
    report = make_report(manifest, board, read, {1: timing})
    assert {name: entry["used"] for name, entry in report["resources"].items()} == {"lut": 1024, "ff": 2048, "dsp": 0, "bram": 3}
    assert report["fmax_mhz"] == report["fmax_nextpnr_mhz"] == 30


@pytest.mark.parametrize(("name", "place"), [
    ("shell.core.systolith.core.execute.front.at_DFFRE_Q", "execute.front.at"), ("shell.frames.bit_LUT3_I2_F_LUT4_F", "frames.bit"),
    ("shell.core.systolith.core.load.at_CC_DFF_Q_D_CC_L2T4_O", "load.at"), ("shell.sum_ALU_SUM", "sum"),
    ("shell.core.systolith.core.load.front.at_TRELLIS_FF_Q", "load.front.at"), ("shell.x_SB_DFFE_Q", "x")])
def test_places_without_what_tools_add(name, place):
    assert _block(name) == place


def test_read_report(tmp_path):
    _, manifest = manifest_for("ulx3s-85f")
    (tmp_path / "manifest.json").write_text(manifest.to_json())
    with pytest.raises(ReportError, match=re.escape(f"folder '{tmp_path}' has no build; run: systolith build {tmp_path}")):
        read_report(tmp_path)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "report.json").write_text(json.dumps({"hash": "cd" * 32}))
    with pytest.raises(ReportError, match="was generated anew after its build"):
        read_report(tmp_path)
    (tmp_path / "build" / "report.json").write_text(json.dumps({"hash": manifest.hash, "fmax_mhz": 1}))
    assert read_report(tmp_path)["fmax_mhz"] == 1
    (tmp_path / "build" / "report.json").write_text("{")
    with pytest.raises(ReportError, match="is not JSON"):
        read_report(tmp_path)
