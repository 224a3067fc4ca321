"""A board's LiteX variant as files: the same every time, complete, and what is said where it cannot be."""

import importlib.util
import json
import os

import pytest
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
ABLE = "these have it: ulx3s-12f, ulx3s-25f, ulx3s-45f, ulx3s-85f, colorlight-5a75b, icesugar-pro"


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


def test_every_pin_is_a_port(folder):
    text = Manifest.read(folder).check_verilog(folder)
    header = text[text.index("module systolith_board ("):].partition(");")[0]
    ports = {line.split()[-1].rstrip(",") for line in header.splitlines()[1:] if line.strip()}
    text = constraints(BOARDS["ulx3s-12f"].in_variant("litex"))
    placed = {line.split('"')[1].partition("[")[0] for line in text.splitlines() if "LOCATE" in line}
    assert ports == placed


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


@pytest.mark.parametrize("name", [name for name, board in BOARDS.items() if "litex" in board.variants])
def test_no_device_memory_on_the_part(name):
    """What its block RAMs held is beside it; and the chip's columns are what its size leaves."""
    board = BOARDS[name]
    bare, litex = (estimate(choose(board=name, variant=variant).config, board.in_variant(variant)) for variant in ("bare", "litex"))
    assert bare["bram"] - litex["bram"] == board.memory_kib // 2
    assert "-DSDRAM_COLUMN_BITS=" + ("8" if name == "colorlight-5a75b" else "9") in _chip_flags(board)


@pytest.mark.skipif(not os.environ.get("SYSTOLITH_NIGHTLY"), reason="place and route takes minutes: SYSTOLITH_NIGHTLY=1")
@pytest.mark.parametrize("name", ["icesugar-pro", "colorlight-5a75b"])
def test_place_and_route(name, tmp_path):
    flow.generate_folder(tmp_path, board=name, variant="litex")
    report = build(tmp_path).report
    assert report["timing_met"] and report["resources"]["bram"]["fraction"] < 1, json.dumps(report)
    assert {"soc", "axi", "line"} <= {block["name"] for block in report["blocks"]}
