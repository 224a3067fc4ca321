"""``make bench-complete``: the ULX3S-85F's complete accelerator, placed and routed with several seeds, and the table of its clocks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..gen.build import build
from ..gen.generate import generate
from ..gen.report import ReportError, read_report
from . import console
from .bench import _markdown, machine, write
from .settings import choose

__all__ = ["complete_page", "main"]

BOARD = "ulx3s-85f"
COLUMNS = ["MACs per cycle", "multipliers", "LUT", "FF", "block RAM", "nextpnr's Fmax by seed", "credible Fmax, median", "bound by", "peak"]


def _report(folder: Path, seeds: int) -> Mapping[str, Any]:
    """The report of a build with ``seeds`` seeds of this version, made where there is none."""
    target = choose(board=BOARD)
    generate(target.config, folder, board=target.board)
    try:
        report = read_report(folder)
        if len(report["seeds"]) >= seeds:
            return report
    except ReportError:
        pass
    return build(folder, seeds=seeds, progress=console.progress).report


def complete_page(report: Mapping[str, Any], made_by: str) -> list[str]:
    """Markdown lines about a build's ``report``."""
    used = {name: f"{use['used']:,} of {use['available']:,}" for name, use in report["resources"].items()}
    row = [str(report["macs_per_cycle"]), used["dsp"], used["lut"], used["ff"], used["bram"],
           ", ".join(f"{run['fmax_mhz']:.1f}" for run in report["seeds"]), f"{report['fmax_mhz']:.1f} MHz", report["fmax_limited_by"],
           f"{report['peak_gops']:.1f} GOPS"]
    return ["# The complete accelerator", "", made_by,
            f"{BOARD}: array, scratchpads, accumulator, epilogue, engines, device memory, serial shell. yosys and nextpnr. The credible "
            "Fmax is the least of nextpnr's, of the median seed, and of what it does not time; its rule is in `systolith report`.", "",
            *_markdown(COLUMNS, [row])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="place and route with seeds 1 to this")
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder of the table")
    parser.add_argument("--builds", type=Path, default=Path("build/complete"), help="folder of the build; a finished one is kept")
    arguments = parser.parse_args()
    report = _report(arguments.builds, arguments.seeds)
    arguments.output.mkdir(parents=True, exist_ok=True)
    made_by = machine(1).replace("make bench", "make bench-complete").replace("seed 1", f"seeds 1 to {len(report['seeds'])}")
    write(arguments.output / "complete.md", complete_page(report, made_by))


if __name__ == "__main__":
    main()
