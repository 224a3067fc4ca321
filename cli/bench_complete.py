"""``make bench-complete``: the ULX3S-85F's complete accelerators, placed and routed with several seeds, and the table of their clocks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..gen.build import build
from ..gen.generate import generate
from ..gen.report import ReportError, read_report
from . import console
from .bench import _markdown, machine, write
from .settings import choose

__all__ = ["Design", "complete_page", "main"]

BOARD = "ulx3s-85f"
COLUMNS = ["design", "MACs per cycle", "multipliers", "LUT", "FF", "block RAM", "nextpnr's Fmax by seed", "credible Fmax, median",
           "bound by", "peak"]


class Design(NamedTuple):
    """A configuration of the board: what is set besides its own."""

    title: str
    name: str
    assignments: tuple[str, ...] = ()


DESIGNS = [Design("as the board has it", "default")]


def _report(design: Design, builds: Path, seeds: int) -> Mapping[str, Any]:
    """The report of a build with ``seeds`` seeds of this version, made where there is none."""
    target = choose(board=BOARD, assignments=design.assignments)
    folder = builds / design.name
    generate(target.config, folder, board=target.board)
    try:
        report = read_report(folder)
        if len(report["seeds"]) >= seeds:
            return report
    except ReportError:
        pass
    console.progress(f"building {BOARD}, {design.name}")
    return build(folder, seeds=seeds, progress=console.progress).report


def _row(design: Design, report: Mapping[str, Any]) -> list[str]:
    used = {name: f"{use['used']:,} of {use['available']:,}" for name, use in report["resources"].items()}
    return [design.title, str(report["macs_per_cycle"]), used["dsp"], used["lut"], used["ff"], used["bram"],
            ", ".join(f"{run['fmax_mhz']:.1f}" for run in report["seeds"]), f"{report['fmax_mhz']:.1f} MHz", report["fmax_limited_by"],
            f"{report['peak_gops']:.1f} GOPS"]


def complete_page(rows: Sequence[Sequence[str]], made_by: str) -> list[str]:
    """Markdown lines."""
    return ["# Complete accelerators", "", made_by,
            f"{BOARD}: array, scratchpads, accumulator, epilogue, engines, device memory, serial shell. yosys and nextpnr. The credible "
            "Fmax is the least of nextpnr's, of the median seed, and of what it does not time; its rule is in `systolith report`.", "",
            *_markdown(COLUMNS, rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="place and route with seeds 1 to this")
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder of the table")
    parser.add_argument("--builds", type=Path, default=Path("build/complete"), help="folder of the builds; finished ones are kept")
    arguments = parser.parse_args()
    rows = [_row(design, _report(design, arguments.builds, arguments.seeds)) for design in DESIGNS]
    arguments.output.mkdir(parents=True, exist_ok=True)
    made_by = machine(1).replace("make bench", "make bench-complete").replace("seed 1", f"seeds 1 to {arguments.seeds}")
    write(arguments.output / "complete.md", complete_page(rows, made_by))


if __name__ == "__main__":
    main()
