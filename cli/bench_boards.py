"""``make bench-boards``: every board, built or for the vendor's tools counted, and the table of what came out, which stands in the README
too; with ``--variant litex`` those that have memory beside the part, and a table of their own. Fails where one of them does."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..boards import BOARDS
from ..boards.board import VARIANTS
from ..gen.build import BuildError, build
from ..gen.generate import GenerateError, generate
from ..gen.report import ReportError, read_report
from ..gen.tools import ToolError
from . import console
from .bench import _markdown, machine, write
from .settings import Target, choose

__all__ = ["into_readme", "main"]

COLUMNS = ["board", "part", "array", "multipliers", "LUT", "FF", "block RAM", "clock asked for", "credible Fmax", "peak", "device memory",
           "Verilog"]
CLOCK = COLUMNS.index("credible Fmax")
MISSED, FAILED, EARLIER = " **missed**", "does not build", " (earlier)"

# The README's table has these of them, between two lines that say who makes it.
SHORT = ["board", "part", "array", "multipliers", "LUT", "FF", "block RAM", "clock asked for", "credible Fmax", "peak"]
BEGIN, END = "<!-- boards: made by make bench-boards -->", "<!-- boards: end -->"


def into_readme(text: str, rows: Sequence[Sequence[str]]) -> str:
    """``text`` with the table of boards between its two marks.

    Raises
    ------
    ValueError
        A mark is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md must have the lines {BEGIN!r} and {END!r}")
    short = [[row[COLUMNS.index(name)] for name in SHORT] for row in rows]
    return "\n".join([f"{before}{BEGIN}", "", *_markdown(SHORT, short), f"{END}{after}"])


def committed(page: Path) -> dict[str, list[str]]:
    """Board → its row in a page that was written before, if it has figures; "–" in columns that the page has not."""
    lines = page.read_text(encoding="utf-8").splitlines() if page.is_file() else []
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    rows = [dict(zip(table[0], row, strict=True)) for row in table[1:]]
    return {row["board"]: [row.get(column, "–") for column in COLUMNS] for row in rows if row["LUT"] != "–"}


def _kept(row: Sequence[str], digest: str) -> list[str]:
    """A row that was committed before, marked unless it is of the present Verilog."""
    clock = row[CLOCK].removesuffix(EARLIER)
    return [*row[:CLOCK], clock if row[-1] == digest else f"{clock}{EARLIER}", *row[CLOCK + 1:]]


def _row(target: Target, report: Mapping[str, Any] | None, why: str = "") -> list[str]:
    """The figures of a ``report``, or ``why`` there are none."""
    assert target.board is not None
    board, array = target.board.in_variant(target.variant), target.config.array
    beside = board.external_memory
    memory = f"{board.memory_kib} KiB" if board.memory_kib or beside is None else f"{beside.bytes >> 20} MiB {beside.title}"
    head = [board.name, board.summary()["device"], f"{array.rows} × {array.cols}"]
    asked = f"{board.clock_mhz:g} MHz"
    if report is None:
        return [*head, *["–"] * 4, asked, why, "–", memory, "–"]
    used = {name: f"{use['used']:,} of {use['available']:,}" for name, use in report["resources"].items()}
    clock = [f"{report['fmax_mhz']:.1f} MHz{'' if report['timing_met'] else MISSED}", f"{report['peak_gops']:.2f} GOPS"] if (
        "fmax_mhz" in report) else ["the vendor's tools", "–"]
    return [*head, used.get("dsp", "0"), used["lut"], used["ff"], used["bram"], asked, *clock, memory, report["hash"][:8]]


def _measured(target: Target, builds: Path, before: Sequence[str] | None, *, anew: bool) -> list[str]:
    """The row of a build of this version, made where it is missing and ``anew`` says so; or else the one from ``before``."""
    folder = builds / target.name
    try:
        digest = generate(target.config, folder, board=target.board, variant=target.variant).manifest.hash[:8]
        try:
            report = read_report(folder)
        except ReportError:
            if not anew:
                return _kept(before, digest) if before else _row(target, None, "not built")
            console.progress(f"building {target.name}")
            report = dict(build(folder, progress=console.progress).report)
        return _row(target, report)
    except (BuildError, GenerateError, ReportError, ToolError) as error:
        console.complain(f"{target.name}: {error}")
        return _row(target, None, FAILED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("boards", nargs="*", help="build only these; the others' rows stay")
    parser.add_argument("--variant", choices=VARIANTS, default="bare")
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder of the table")
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="file whose table is made anew")
    parser.add_argument("--builds", type=Path, default=Path("build/boards"), help="folder of the builds; finished ones are kept")
    arguments = parser.parse_args()
    variant = arguments.variant
    boards = [name for name, board in BOARDS.items() if variant in board.variants]
    for name in arguments.boards:
        if name not in boards:
            parser.error(f"boards must be among {', '.join(boards)}, not {name!r}")
    page = arguments.output / ("boards.md" if variant == "bare" else f"boards_{variant}.md")
    before = committed(page)
    rows = [_measured(choose(board=name, variant=variant), arguments.builds, before.get(name),
                      anew=not arguments.boards or name in arguments.boards) for name in boards]
    head = ["# Boards" if variant == "bare" else f"# Boards, variant `{variant}`", "",
            machine(1).replace("make bench", "make bench-boards" if variant == "bare" else f"make bench-boards VARIANT={variant}"),
            "yosys and nextpnr, seed 1, each board's own configuration. "
            "The credible Fmax is the least of nextpnr's and of what it does not time; its rule is in `systolith report`. "
            "AMD's parts are synthesised only, by yosys: bitstream and timing are the vendor's tools'.",
            "`Verilog` begins the hash of what was built; a row with (earlier) is not of the Verilog that is generated now.", ""]
    arguments.output.mkdir(parents=True, exist_ok=True)
    write(page, [*head, *_markdown(COLUMNS, rows)])
    if variant == "bare":
        write(arguments.readme, into_readme(arguments.readme.read_text(encoding="utf-8"), rows).splitlines())
    earlier = [row[0] for row in rows if EARLIER in row[CLOCK]]
    if earlier:
        console.progress(f"rows of an earlier Verilog: {', '.join(earlier)}; run: make bench-boards BOARDS='{' '.join(earlier)}'")
    failed = [row[0] for row in rows if row[CLOCK] == FAILED or MISSED in row[CLOCK]]
    if failed:
        console.complain(f"{', '.join(failed)}: not built, or below the clock asked for; see {page}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
