"""``make bench-complete``: complete accelerators of the ULX3S-85F, placed and routed with several seeds, and the table of their
clocks."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..gen.build import build
from ..gen.generate import generate
from ..gen.report import ReportError, read_report
from . import console
from .bench import _markdown, machine, write
from .settings import choose

__all__ = ["DESIGNS", "Design", "complete_page", "main"]

BOARD = "ulx3s-85f"
COLUMNS = ["design", "MACs per cycle", "multipliers", "LUT", "FF", "block RAM", "nextpnr's Fmax by seed", "credible Fmax, median",
           "bound by", "peak", "Verilog"]
CLOCK, DIGEST = COLUMNS.index("credible Fmax, median"), COLUMNS.index("Verilog")
EARLIER = " (earlier)"


class Design(NamedTuple):
    """What is built: its name in the table and among the folders, whether it has the floorplan, and its settings besides the board's."""

    title: str
    folder: str
    floorplan: bool
    assignments: tuple[str, ...] = ()


DESIGNS = (
    Design("as the board ships", "shipped", True),
    Design("the same, as nextpnr places it", "unplanned", False),
    Design("24 × 24 `auto`: LUT multipliers too", "auto", True, ("array.multiplier=auto", "array.rows=24", "array.cols=24")),
)


def _row(design: Design, report: Mapping[str, Any]) -> list[str]:
    used = {name: f"{use['used']:,} of {use['available']:,}" for name, use in report["resources"].items()}
    return [design.title, str(report["macs_per_cycle"]), used["dsp"], used["lut"], used["ff"], used["bram"],
            ", ".join(f"{run['fmax_mhz']:.1f}" for run in report["seeds"]), f"{report['fmax_mhz']:.1f} MHz", report["fmax_limited_by"],
            f"{report['peak_gops']:.1f} GOPS", report["hash"][:8]]


def _measured(design: Design, builds: Path, seeds: int, before: Sequence[str] | None, *, anew: bool) -> list[str] | None:
    """The row of a build with ``seeds`` seeds of this version, made where there is none and ``anew`` says so; or else the one from
    ``before``."""
    target, folder = choose(board=BOARD, assignments=design.assignments), builds / design.folder
    digest = generate(target.config, folder, board=target.board).manifest.hash[:8]
    try:
        report = read_report(folder)
        if len(report["seeds"]) >= seeds:
            return _row(design, report)
    except ReportError:
        pass
    if anew:
        return _row(design, build(folder, seeds=seeds, floorplan=design.floorplan, progress=console.progress).report)
    if before is None:
        return None
    clock = before[CLOCK].removesuffix(EARLIER) + EARLIER * (before[DIGEST] != digest)
    return [*before[:CLOCK], clock, *before[CLOCK + 1:]]


def complete_page(rows: Sequence[Sequence[str]], made_by: str) -> list[str]:
    """Markdown lines: the designs' rows, and what the floorplan gives where both of its rows are of one Verilog."""
    lines = ["# The complete accelerator", "", made_by,
             f"{BOARD}: array, scratchpads, accumulator, epilogue, engines, device memory, serial shell. yosys and nextpnr, seeds from 1. "
             "The credible Fmax is the least of nextpnr's, of the median seed, and of what it does not time; its rule is in "
             "`systolith report`. `Verilog` begins the hash of what was built; a row with (earlier) is not of the Verilog that is "
             "generated now.", "",
             *_markdown(COLUMNS, rows)]
    by_title = {row[0]: row for row in rows}
    with_, without = (by_title.get(design.title) for design in DESIGNS[:2])
    if with_ and without and with_[DIGEST] == without[DIGEST]:
        medians = [statistics.median(map(float, row[COLUMNS.index("nextpnr's Fmax by seed")].split(", "))) for row in (with_, without)]
        lines += [f"The floorplan gives {medians[0] / medians[1]:.2f} times the clock, by the medians of these seeds.", ""]
    return lines


def _committed(page: Path) -> dict[str, list[str]]:
    """Title → row of a page that was written before."""
    lines = page.read_text(encoding="utf-8").splitlines() if page.is_file() else []
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: row for row in rows if len(row) == len(COLUMNS) and row != COLUMNS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="place and route with seeds 1 to this")
    parser.add_argument("--only", choices=[design.folder for design in DESIGNS], action="append",
                        help="build only this design, the others' rows stay; repeatable")
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder of the table")
    parser.add_argument("--builds", type=Path, default=Path("build/complete"), help="folder of the builds; finished ones are kept")
    arguments = parser.parse_args()
    before = _committed(arguments.output / "complete.md")
    rows = [_measured(design, arguments.builds, arguments.seeds, before.get(design.title),
                      anew=not arguments.only or design.folder in arguments.only) for design in DESIGNS]
    arguments.output.mkdir(parents=True, exist_ok=True)
    made_by = machine(1).replace("make bench", "make bench-complete").replace(", seed 1", "")
    write(arguments.output / "complete.md", complete_page([row for row in rows if row], made_by))


if __name__ == "__main__":
    main()
