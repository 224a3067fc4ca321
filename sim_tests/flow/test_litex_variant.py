"""A board's LiteX variant as files: the same every time, complete, and what is said where it cannot be."""

import importlib.util
import json
import os
import re
import subprocess

import pytest
from nightly import nightly
from systolith.arch.manifest import Manifest
from systolith.arch.registers import SERIAL_SOC
from systolith.boards import BOARDS
from systolith.boards.top import constraints
from systolith.cli import flow
from systolith.cli.settings import choose
from systolith.gen import soc as soc_module
from systolith.gen import tools
from systolith.gen.build import build
from systolith.gen.fit import estimate
from systolith.gen.generate import GenerateError, generate
from systolith.gen.simulate_board import _chip_flags

SMALL = ["array.rows=2", "array.cols=2", "memory.activation_kib=1", "memory.weight_kib=1", "memory.accumulator_rows=16"]
ABLE = ("these have it: ulx3s-12f, ulx3s-25f, ulx3s-45f, ulx3s-85f, ecpix5-45f, ecpix5-85f, orangecrab-25f, orangecrab-85f, "
        "colorlight-5a75b, icesugar-pro, versa-ecp5")
LITEX = [name for name, board in BOARDS.items() if "litex" in board.variants]
DDR3 = [name for name in LITEX if BOARDS[name].external_memory.standard == "DDR3"]
REGISTERS = {*(f"sdram_dfii_{name}" for name in ("control", *(
                 f"pi{phase}_{name}" for phase in range(2)
                 for name in ("command", "command_issue", "address", "baddress", "wrdata", "rddata")))),
             *(f"ddrphy_{name}" for name in ("dly_sel", "rdly_dq_rst", "rdly_dq_inc", "rdly_dq_bitslip_rst", "rdly_dq_bitslip",
                                             "burstdet_clr", "burstdet_seen"))}


def target(board="ulx3s-12f", assignments=SMALL, **what):
    return choose(board=board, variant="litex", assignments=assignments, **what)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("litedram", reason="LiteDRAM is not installed: pip install 'systolith[litex]'")
    folder = tmp_path_factory.mktemp("litex") / "out"
    flow.generate_folder(folder, board="ulx3s-12f", variant="litex", assignments=SMALL)
    return folder


def test_what_is_written(folder):
    manifest = Manifest.read(folder)
    assert (manifest.variant, manifest.config.shell, manifest.board, manifest.memory_bytes) == ("litex", "axi", "ulx3s-12f", 32 << 20)
    assert manifest.tops == {"core": "systolith", "axi": "systolith_axi", "board": "systolith_board"}
    assert {"python", "amaranth", "litex", "litedram"} <= set(manifest.tools)
    assert {"csr.csv", "systolith.v", "systolith_litex.py"} <= set(manifest.files)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert all(SERIAL_SOC <= address < SERIAL_SOC + 0x1000 for address in manifest.soc["registers"].values())
    # JEDEC 21-C: all precharged, two refreshes, a mode with bursts of one word and the latency that 50 MHz needs.
    commands = [step[3:5] for step in manifest.soc["init"]]
    assert commands.count(["command", 13]) == 2 and manifest.soc["init"][-1][1:5] == [2 << 4, 0, "command", 15]
    assert manifest.soc["registers"]["sdram_dfii_control"] == next(
        int(line.split(",")[2], 16) for line in (folder / "csr.csv").read_text().splitlines() if ",sdram_dfii_control," in line)


def ports(text, module):
    """Those of a module in Verilog as LiteX writes it."""
    header = text[text.index(f"module {module} ("):].partition(");")[0]
    return {line.split()[-1].rstrip(",") for line in header.splitlines()[1:] if line.strip()}


def placed(name):
    text = constraints(BOARDS[name].in_variant("litex"))
    return {line.split('"')[1].partition("[")[0] for line in text.splitlines() if "LOCATE" in line}


def test_every_pin_is_a_port(folder):
    assert ports(Manifest.read(folder).check_verilog(folder), "systolith_board") == placed("ulx3s-12f")


@pytest.fixture(scope="module", params=["ecpix5-45f", "orangecrab-85f", "versa-ecp5"])
def ddr3(request, tmp_path_factory):
    """A board's name, and its folder."""
    pytest.importorskip("litedram", reason="LiteDRAM is not installed: pip install 'systolith[litex]'")
    folder = tmp_path_factory.mktemp("ddr3") / "out"
    flow.generate_folder(folder, board=request.param, variant="litex", assignments=[*SMALL, "epilogue.lanes=2"])
    return request.param, folder


def test_ddr3_as_files(ddr3):
    """Its registers, a sequence with reset, and modes as LiteDRAM has them for such a clock: bursts of eight, latencies of six and five."""
    name, folder = ddr3
    manifest = Manifest.read(folder)
    board = BOARDS[name].in_variant("litex")
    assert manifest.memory_bytes == board.external_memory.bytes
    soc = manifest.soc
    assert set(soc["registers"]) == REGISTERS
    listed = dict(line.split(",")[1:3] for line in (folder / "csr.csv").read_text().splitlines() if line.startswith("csr_register,"))
    assert all(int(listed[register], 16) == address for register, address in soc["registers"].items())
    assert (soc["levelling"], soc["phy"]) == ({"lanes": 2, "delays": 8, "bitslips": 4}, {"write": 3, "strobe": 3, "read": 13})
    steps = [step[1:] for step in soc["init"]]
    termination = 0 if name.startswith("orangecrab") else 1 << 2
    assert steps[0] == [0, 0, "control", 0, round(200 * board.clock_mhz)] and [step[3] for step in steps[1:3]] == [12, 14]
    assert steps[1][4] >= 500 * board.clock_mhz, "microseconds without the clock enable"
    assert [step[:4] for step in steps[3:]] == [[0x400, 0, "command", 11], [1 << 9, 2, "command", 15], [0, 3, "command", 15],
                                               [2 | termination, 1, "command", 15], [0x320, 0, "command", 15], [0x400, 0, "command", 3]]


def test_ddr3_every_pin_is_a_port(ddr3):
    name, folder = ddr3
    text = Manifest.read(folder).check_verilog(folder)
    assert ports(text, "systolith_board") == placed(name)
    memory = BOARDS[name].external_memory
    assert set(memory.pins) - {"vccio", "gnd"} <= ports(text, "systolith_phy")
    # A group's mask is in its own registers, whichever byte it masks.
    assert text.count("\nDQSBUFM ") == 2 and text.count("\nBB ") == 18 and text.count("\nIDDRX2DQA ") == 16


def test_ethernet_as_files(ddr3):
    """An address, and the pins' delays in 25 ps, where the board has it: its clock's on ECPIX-5, none on Versa."""
    name, folder = ddr3
    manifest, ethernet = Manifest.read(folder), BOARDS[name].ethernet
    assert ("liteeth" in manifest.tools) is (ethernet is not None)
    if ethernet is None:
        assert "etherbone" not in manifest.soc and "eth_" not in manifest.check_verilog(folder)
        return
    assert manifest.soc["etherbone"] == {"mac": "10:e2:d5:00:00:00", "ip": "192.168.1.50", "port": 1234, "words": 125}
    text = manifest.check_verilog(folder)
    delays = [int(value) for value in re.findall(r"\.DEL_VALUE \(\d+'d(\d+)\)", text.partition("module systolith_phy")[0])]
    assert sorted(delays) == [0] * 10 + [80 if name.startswith("ecpix5") else 0]


def test_the_same_again(folder, tmp_path):
    chosen = target()
    again = tmp_path / "again"
    assert generate(chosen.config, again, board=chosen.board, variant="litex").manifest.soc == Manifest.read(folder).soc
    for name in ("csr.csv", "systolith.v"):
        assert (again / name).read_text() == (folder / name).read_text()


@pytest.mark.parametrize(("board", "what", "message"), [
    ("icebreaker", {}, f"variant 'litex' needs a board with SDRAM, and icebreaker has none; {ABLE}"),
    (None, {}, f"variant 'litex' needs a board with SDRAM, with --board; {ABLE}"),
    ("ulx3s-12f", {"shell": "serial"}, "variant 'litex' must have shell = 'axi', not 'serial'")])
def test_what_has_no_such_variant(tmp_path, board, what, message):
    chosen = target(board, **what)
    with pytest.raises(GenerateError) as caught:
        generate(chosen.config, tmp_path, board=chosen.board, variant=chosen.variant)
    assert str(caught.value) == message


def test_no_other_variants(tmp_path):
    chosen = target()
    with pytest.raises(GenerateError, match=r"^variant must be one of 'bare', 'litex', not 'vexriscv'$"):
        generate(chosen.config, tmp_path, board=chosen.board, variant="vexriscv")


def test_litex_is_optional(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    chosen = target()
    with pytest.raises(tools.ToolError, match=r"^litex is not installed; run: pip install 'systolith\[litex\]'$"):
        soc_module.build_soc(chosen.config, chosen.board)


def test_the_same_whatever_python_hashes(tmp_path):
    """Sets of names have another order in each process, unless it is told."""
    texts = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        command = [tools.find("systolith"), "generate", "--board", "ecpix5-45f", "--variant", "litex", "-o", folder,
                   *(f"--set={assignment}" for assignment in SMALL)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
        texts.append((folder / "systolith.v").read_text())
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", LITEX)
def test_no_device_memory_on_the_part(name):
    """What its block RAMs held is beside it; and the chip's columns are what its size leaves."""
    board = BOARDS[name]
    bare, litex = (estimate(choose(board=name, variant=variant).config, board.in_variant(variant)) for variant in ("bare", "litex"))
    assert bare["bram"] - litex["bram"] == board.memory_kib // 2
    flags = _chip_flags(board, {"phy": {"write": 3, "strobe": 3, "read": 13}} if name in DDR3 else {})
    if name in DDR3:
        assert "-DDDR3_ROW_BITS=" + ("15" if name.startswith("ecpix5") else "13") in flags
        assert ("-DDDR3_RESET" in flags) is not name.startswith("ecpix5")
    else:
        assert "-DSDRAM_COLUMN_BITS=" + ("8" if name == "colorlight-5a75b" else "9") in flags


@nightly("place and route takes minutes")
@pytest.mark.parametrize("name", ["icesugar-pro", "colorlight-5a75b", "ecpix5-45f"])
def test_place_and_route(name, tmp_path):
    flow.generate_folder(tmp_path, board=name, variant="litex")
    report = build(tmp_path).report
    assert report["timing_met"] and report["resources"]["bram"]["fraction"] < 1, json.dumps(report)
    assert {"soc", "axi", "line"} <= {block["name"] for block in report["blocks"]}
