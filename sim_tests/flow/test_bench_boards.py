"""The table of boards: the same in the README and among the results, and made by its command only."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from systolith.boards import BOARDS
from systolith.cli import bench_boards
from systolith.cli.bench_boards import BEGIN, COLUMNS, END, SHORT, into_readme
from systolith.gen.build import BuildError, BuildResult
from systolith.gen.report import ReportError

ROOT = Path(__file__).parents[2]


def rows(text):
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]


def test_readme_and_results_agree():
    results = rows((ROOT / "docs" / "results" / "boards.md").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = rows(readme.partition(BEGIN)[2].partition(END)[0])
    assert results[0] == COLUMNS and [row[0] for row in results[1:]] == list(BOARDS)
    assert shown == [[row[COLUMNS.index(name)] for name in SHORT] for row in results]
    assert into_readme(readme, results[1:]) == readme


def test_what_is_around_the_table_stays():
    row = [f"{name}!" for name in COLUMNS]
    made = into_readme(f"before\n{BEGIN}\nold\n{END}\nafter\n", [row])
    assert made.startswith(f"before\n{BEGIN}\n") and made.endswith(f"{END}\nafter\n") and "old" not in made
    assert rows(made) == [SHORT, [f"{name}!" for name in SHORT]]


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n"])
def test_a_readme_without_marks(text):
    with pytest.raises(ValueError, match="must have the lines"):
        into_readme(text, [])


COUNTED = {"hash": "12" * 32, "resources": {name: {"used": 1000, "available": 2000} for name in ("lut", "ff", "dsp", "bram")}}
MET = {**COUNTED, "fmax_mhz": 30.0, "timing_met": True, "peak_gops": 1.0}


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """The command on three boards, whose builds, finished ones too, are stand-ins: a report, or an error."""
    monkeypatch.setattr(bench_boards, "BOARDS", {name: BOARDS[name] for name in ("ulx3s-12f", "icebreaker", "arty-a7-35")})
    (tmp_path / "README.md").write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    built = []

    def run(builds, *arguments, finished=(), generated="12" * 32):
        """The table by board; ``generated`` is the hash of the present Verilog."""
        def build(folder, *, progress):
            built.append(folder.name)
            if isinstance(builds[folder.name], Exception):
                raise builds[folder.name]
            return BuildResult(folder, None, builds[folder.name], {})

        def read_report(folder):
            if folder.name not in finished:
                raise ReportError("none")
            return builds[folder.name]

        result = SimpleNamespace(manifest=SimpleNamespace(hash=generated))
        monkeypatch.setattr(bench_boards, "generate", lambda *_, **__: result)
        monkeypatch.setattr(bench_boards, "build", build)
        monkeypatch.setattr(bench_boards, "read_report", read_report)
        monkeypatch.setattr("sys.argv", ["bench_boards", *arguments, f"--output={tmp_path}", f"--readme={tmp_path}/README.md",
                                         f"--builds={tmp_path}"])
        built.clear()
        bench_boards.main()
        return table()

    def table():
        found = rows((tmp_path / "boards.md").read_text(encoding="utf-8"))
        return {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in found[1:]}

    run.built, run.table = built, table
    return run


def test_what_fails_is_in_the_table_and_in_the_exit_status(bench, capsys):
    builds = {"ulx3s-12f": {**MET, "timing_met": False}, "icebreaker": BuildError("too large"), "arty-a7-35": COUNTED}
    with pytest.raises(SystemExit) as end:
        bench(builds)
    assert end.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert "systolith: icebreaker: too large" in lines
    assert lines[-1].startswith("systolith: ulx3s-12f, icebreaker: not built, or below the clock asked for; see ")
    assert {name: row["credible Fmax"] for name, row in bench.table().items()} == {
        "ulx3s-12f": "30.0 MHz **missed**", "icebreaker": "does not build", "arty-a7-35": "the vendor's tools"}
    assert {name: row["LUT"] for name, row in bench.table().items()} == {
        "ulx3s-12f": "1,000 of 2,000", "icebreaker": "–", "arty-a7-35": "1,000 of 2,000"}


def test_finished_builds_and_boards_that_are_not_named_are_not_built(bench):
    builds = {"ulx3s-12f": MET, "icebreaker": MET, "arty-a7-35": COUNTED}
    found = bench(builds, finished={"ulx3s-12f"})
    assert bench.built == ["icebreaker", "arty-a7-35"] and found["ulx3s-12f"]["credible Fmax"] == "30.0 MHz"
    assert {row["Verilog"] for row in found.values()} == {"12121212"}
    bench({"arty-a7-35": COUNTED}, "arty-a7-35")
    assert bench.built == ["arty-a7-35"]


def test_a_row_stays_and_says_so_when_the_verilog_is_another(bench, capsys):
    builds = {"ulx3s-12f": MET, "icebreaker": BuildError("no"), "arty-a7-35": COUNTED}
    with pytest.raises(SystemExit):
        bench(builds)
    before = bench.table()
    assert bench({"arty-a7-35": COUNTED}, "arty-a7-35")["ulx3s-12f"] == before["ulx3s-12f"]
    assert bench.table()["icebreaker"]["credible Fmax"] == "not built"
    capsys.readouterr()
    anew = {**COUNTED, "hash": "34" * 32}
    for _ in range(2):  # once more changes nothing
        found = bench({"arty-a7-35": anew}, "arty-a7-35", generated="34" * 32)
        assert found["ulx3s-12f"] == before["ulx3s-12f"] | {"credible Fmax": "30.0 MHz (earlier)"}
        assert found["arty-a7-35"] == before["arty-a7-35"] | {"Verilog": "34343434"}
    assert "run: make bench-boards BOARDS='ulx3s-12f'" in " ".join(capsys.readouterr().err.split())
    assert bench({"arty-a7-35": COUNTED}, "arty-a7-35")["ulx3s-12f"] == before["ulx3s-12f"], "the Verilog is as it was"


def test_a_board_that_is_not_there(bench, capsys):
    with pytest.raises(SystemExit) as end:
        bench({}, "ulx3s-12")
    assert end.value.code == 2 and not bench.built
    assert "boards must be among ulx3s-12f, icebreaker, arty-a7-35, not 'ulx3s-12'" in capsys.readouterr().err
