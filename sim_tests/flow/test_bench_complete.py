"""The table of complete accelerators with several seeds, with and without the floorplan."""

import pytest
from systolith.cli import bench_complete
from systolith.cli.bench_complete import CLOCK, COLUMNS, DESIGNS

REPORT = {
    "macs_per_cycle": 288, "fmax_limited_by": "x → y", "peak_gops": 54.86,
    "resources": {name: {"used": 1000, "available": 2000} for name in ("lut", "ff", "dsp", "bram")}}


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """Runs the command with other tools; gives the rows of its page by their titles, and the page."""
    reports, digest = {}, ["0123456789"]

    class Manifest:
        @property
        def hash(self):
            return digest[0]

    def build(folder, *, seeds, floorplan, progress):
        bench.built.append((folder.name, seeds, floorplan))
        clocks = [(90.0 if floorplan else 60.0) + seed for seed in range(1, seeds + 1)]
        reports[folder] = {**REPORT, "hash": digest[0], "fmax_mhz": sorted(clocks)[len(clocks) // 2],
                           "seeds": [{"seed": seed, "fmax_mhz": clock} for seed, clock in enumerate(clocks, 1)]}
        return type("Result", (), {"report": reports[folder]})

    def read(folder):
        if reports.get(folder, {}).get("hash") != digest[0]:
            raise bench_complete.ReportError("none")
        return reports[folder]

    monkeypatch.setattr(bench_complete, "generate", lambda *_, **__: type("Generated", (), {"manifest": Manifest()}))
    monkeypatch.setattr(bench_complete, "build", build)
    monkeypatch.setattr(bench_complete, "read_report", read)

    def bench(*options, verilog="0123456789"):
        digest[0] = verilog
        monkeypatch.setattr("sys.argv", ["bench_complete", *options, f"--output={tmp_path}", f"--builds={tmp_path}"])
        bench_complete.main()
        page = (tmp_path / "complete.md").read_text(encoding="utf-8")
        return bench_complete._committed(tmp_path / "complete.md"), page

    bench.built = []
    return bench


def test_what_is_built_and_written(bench):
    """As many seeds as are asked for, where no build has them; a finished one is taken as it is."""
    for seeds in (2, 2, 3, 1):
        rows, page = bench(f"--seeds={seeds}")
    assert bench.built == [(design.folder, seeds, design.floorplan) for seeds in (2, 3) for design in DESIGNS]
    cells = [dict(zip(COLUMNS, rows[design.title], strict=True)) for design in DESIGNS]
    assert [each["nextpnr's Fmax by seed"] for each in cells] == ["91.0, 92.0, 93.0", "61.0, 62.0, 63.0", "91.0, 92.0, 93.0"]
    assert [each["credible Fmax, median"] for each in cells] == ["92.0 MHz", "62.0 MHz", "92.0 MHz"]
    assert "The floorplan gives 1.48 times the clock" in page


def test_one_design_anew_and_the_other_stays(bench):
    """A row stays as it is, says so when the Verilog has changed, and is not compared then; one never built is not there."""
    rows, page = bench("--seeds=1", "--only=unplanned")
    assert list(rows) == [DESIGNS[1].title] and "The floorplan gives" not in page
    bench("--seeds=1")
    rows, page = bench("--seeds=1", "--only=shipped", verilog="9876543210")
    assert bench.built[-1] == ("shipped", 1, True) and len(bench.built) == 4
    assert [rows[design.title][CLOCK] for design in DESIGNS] == ["91.0 MHz", "61.0 MHz (earlier)", "91.0 MHz (earlier)"]
    assert "The floorplan gives" not in page
    rows, _ = bench("--seeds=1", "--only=shipped")  # the Verilog before: it is of that again
    assert rows[DESIGNS[1].title][CLOCK] == "61.0 MHz"
