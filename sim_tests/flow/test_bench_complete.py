"""The table of the complete accelerator with several seeds."""

from systolith.cli import bench_complete
from systolith.cli.bench_complete import COLUMNS

REPORT = {
    "macs_per_cycle": 288, "fmax_mhz": 95.25, "fmax_limited_by": "x → y", "peak_gops": 54.86,
    "resources": {name: {"used": 1000, "available": 2000} for name in ("lut", "ff", "dsp", "bram")}}


def test_what_is_built_and_written(monkeypatch, tmp_path):
    """As many seeds as are asked for, where no build has them; a finished one is taken as it is, and the page says how many it has."""
    built, reports = [], []

    def build(folder, *, seeds, progress):
        built.append(seeds)
        reports.append({**REPORT, "seeds": [{"seed": seed, "fmax_mhz": 90.0 + seed} for seed in range(1, seeds + 1)]})
        return type("Result", (), {"report": reports[-1]})

    def read(folder):
        if not reports:
            raise bench_complete.ReportError("none")
        return reports[-1]

    monkeypatch.setattr(bench_complete, "generate", lambda *_, **__: None)
    monkeypatch.setattr(bench_complete, "build", build)
    monkeypatch.setattr(bench_complete, "read_report", read)
    for seeds in (2, 2, 3, 1):
        monkeypatch.setattr("sys.argv", ["bench_complete", f"--seeds={seeds}", f"--output={tmp_path}"])
        bench_complete.main()
    assert built == [2, 3]
    lines = (tmp_path / "complete.md").read_text(encoding="utf-8").splitlines()
    assert "seeds 1 to 3" in lines[2]
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert dict(zip(COLUMNS, cells, strict=True))["nextpnr's Fmax by seed"] == "91.0, 92.0, 93.0"
