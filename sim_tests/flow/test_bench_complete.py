"""The table of complete accelerators with several seeds."""

from systolith.cli import bench_complete
from systolith.cli.bench_complete import COLUMNS, DESIGNS

REPORT = {
    "macs_per_cycle": 288, "fmax_mhz": 95.25, "fmax_limited_by": "x → y", "peak_gops": 54.86,
    "seeds": [{"seed": 1, "fmax_mhz": 96.0}, {"seed": 2, "fmax_mhz": 90.0}],
    "resources": {name: {"used": 1000, "available": 2000} for name in ("lut", "ff", "dsp", "bram")}}


def test_what_is_built_and_written(monkeypatch, tmp_path):
    """As many seeds as are asked for, where no build has them; a finished one is taken as it is."""
    built, reports = [], {}

    def build(folder, *, seeds, progress):
        built.append((folder.name, seeds))
        reports[folder.name] = {**REPORT, "seeds": [{"seed": seed, "fmax_mhz": 90.0 + seed} for seed in range(1, seeds + 1)]}
        return type("Result", (), {"report": reports[folder.name]})

    def read(folder):
        if folder.name not in reports:
            raise bench_complete.ReportError("none")
        return reports[folder.name]

    monkeypatch.setattr(bench_complete, "generate", lambda *_, **__: None)
    monkeypatch.setattr(bench_complete, "build", build)
    monkeypatch.setattr(bench_complete, "read_report", read)
    for seeds in (2, 2, 3):
        monkeypatch.setattr("sys.argv", ["bench_complete", f"--seeds={seeds}", f"--output={tmp_path}"])
        bench_complete.main()
    assert built == [(design.name, seeds) for seeds in (2, 3) for design in DESIGNS]
    lines = (tmp_path / "complete.md").read_text(encoding="utf-8").splitlines()
    assert "seeds 1 to 3" in lines[2]
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert dict(zip(COLUMNS, cells, strict=True))["nextpnr's Fmax by seed"] == "91.0, 92.0, 93.0"
