"""Memories that a simulation can have: ideal, the board's own, and the one on its part."""

import json
import os

import pytest
from systolith.arch.latency import Memory
from systolith.arch.manifest import Manifest
from systolith.cli import flow
from systolith.cli.main import main
from systolith.cli.settings import choose

BOARD = ["--board", "ulx3s-85f", "--set", "array.rows=3", "--set", "array.cols=2", "--set", "memory.activation_kib=2",
         "--set", "memory.weight_kib=2", "--set", "memory.accumulator_rows=128", "--set", "epilogue.lanes=2"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """A cache of the tests' own, but not of the tools'."""
    before = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    monkeypatch.setenv("YOWASP_CACHE_DIR", os.environ.get("YOWASP_CACHE_DIR") or os.path.join(before, "YoWASP"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "memory-cache"))


@pytest.mark.parametrize("board, kind, expected", [
    ("ulx3s-85f", "board", (32 << 20, Memory(latency=7, cycles_per_beat=4, half_duplex=True))),
    ("ulx3s-85f", "chip", (128 << 10, Memory(latency=7))),
    ("icebreaker", "board", (128 << 10, Memory(latency=7, half_duplex=True))),
    ("icebreaker", "chip", (128 << 10, Memory(latency=7, half_duplex=True))),
    ("icebreaker", "ideal", (128 << 10, Memory(latency=7))),  # as far as its addresses reach
    (None, "ideal", (64 << 20, Memory(latency=7))),
])
def test_device_memory(board, kind, expected):
    manifest = Manifest(config=choose(board=board).config, board=board)
    assert flow.device_memory(manifest, flow.Settings(memory=kind, memory_latency=7)) == expected


def matmul(capsys, *arguments):
    main_arguments = ["matmul", *BOARD, *map(str, arguments), "--json"]
    try:
        code = main(main_arguments)
    except SystemExit as error:
        code = error.code
    captured = capsys.readouterr()
    assert not code, captured.err
    return json.loads(captured.out), captured.err


def test_work_larger_than_the_memory_is_split_and_said(capsys):
    """A result of 160,000 bytes does not fit the part's 131,072."""
    result, messages = matmul(capsys, "--m", 200, "--n", 200, "--k", 6, "--memory", "chip", "--memory-latency", 5)
    assert result["correct"] and result["programs"] > 1
    assert f"does not fit 131072 bytes of device memory: done in {result['programs']} programs" in messages
    assert result["predicted_cycles"] == pytest.approx(result["cycles"], rel=0.01)
    assert sum(result["array_cycles"].values()) == result["cycles"]


def test_slow_memory_is_slow_and_predicted(capsys):
    """Two bytes per cycle, reads or writes: within 5 %, as every prediction for such a memory is."""
    result, messages = matmul(capsys, "--m", 64, "--n", 50, "--k", 40, "--memory", "board")
    assert result["correct"] and result["programs"] == 1 and "does not fit" not in messages
    assert result["cycles"] >= 4 * (result["bytes_read"] + result["bytes_written"]) // 8
    assert result["roofline"]["terms"]["memory"] >= 2 * result["roofline"]["terms"]["transfer"]
    assert result["predicted_cycles"] == pytest.approx(result["cycles"], rel=0.05)


def test_a_memory_that_is_not_known(capsys):
    with pytest.raises(flow.FlowError, match="memory must be one of 'ideal', 'board', 'chip', not 'tape'"):
        flow.Settings(memory="tape")
