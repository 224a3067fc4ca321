"""``make bench``: measured tables for people, each with the command, the versions and the seed that made it.

Where a product misses its bar, or a prediction is far from what was measured, it ends with an error once the tables are written.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .. import __version__
from . import console, flow, products
from .bench_dataflow import dataflow_page
from .bench_fabric import fabric_page, floorplan_page
from .bench_networks import networks_page
from .bench_simulators import Stopwatch, simulator_page

__all__ = ["main"]


PAGES = ("matmul", "networks", "dataflow", "simulation", "fabric", "floorplan")


class Case(NamedTuple):
    """A product, and where there is one, the bar that it has to clear: least utilisation, or least fraction of its roof."""

    m: int
    n: int
    k: int
    out: str = "int32"
    least: float = 0.0
    of_roof: bool = False


class Group(NamedTuple):
    """Products on one accelerator with one memory."""

    title: str
    cases: Sequence[Case]
    assignments: tuple[str, ...] = ()
    board: str | None = None
    memory: str = "ideal"
    latency: int = 30


# Square products, BERT's projections and feed-forward, few rows, primes, K shorter than the array.
DEFAULT = [
    Case(64, 64, 64), Case(64, 64, 64, "int8"), Case(128, 128, 128, "int32", 0.80), Case(128, 128, 128, "int8", 0.85),
    Case(256, 256, 256, "int32", 0.95), Case(256, 256, 256, "int8", 0.95), Case(512, 512, 512, "int32", 0.98),
    Case(512, 512, 512, "int8", 0.98), Case(128, 2304, 768), Case(512, 3072, 768, "int32", 0.98), Case(128, 64, 128),
    Case(97, 101, 103), Case(97, 101, 103, "int8"), Case(100, 75, 200), Case(100, 75, 200, "int8"), Case(300, 300, 5),
    Case(300, 300, 5, "int8"), Case(200, 16, 16), Case(16, 16, 16), Case(1, 1, 1),
]
FEW_ROWS = [Case(m, side, side, "int32", 0.95, True) for m, side in ((1, 4096), (4, 1024), (4, 4096), (16, 1024), (16, 4096))]
GROUPS = [
    Group("Built-in default: 16 × 16, 64-bit bus, memory latency 30", DEFAULT),
    Group("The same: few rows, where the bus is the roof", FEW_ROWS),
    Group("The same, memory latency 100",
          [Case(512, 512, 512, "int32", 0.983), Case(128, 128, 128), Case(300, 300, 5, "int8")], latency=100),
    Group("The same, memory latency 1", [Case(128, 128, 128), Case(40, 30, 20, "int8")], latency=1),
    Group("32 × 32, 128-bit bus", [Case(1024, 1024, 1024, "int32", 0.97), Case(128, 128, 128, "int8")],
          ("array.rows=32", "array.cols=32", "memory.bus_bits=128")),
    # ResNet-18's second stage as a product: 28 × 28 pixels, 3 × 3 × 128 inputs, 128 outputs.
    Group("ULX3S-85F, 24 × 12, with its SDRAM: 16 bits, half-duplex",
          [Case(512, 512, 512), Case(784, 128, 1152, "int8")], board="ulx3s-85f", memory="board"),
]
COLUMNS = ["M × N × K", "result", "cycles", "predicted", "difference", "prediction ÷ simulation", "utilisation", "of its roof", "bound by",
           "the array waits most for", "bar"]


def random_cases(seed: int, count: int = 50, top: int = 300) -> list[Case]:
    """Shapes whose sides are spread evenly over orders of magnitude, from 1 to ``top``."""
    rng = random.Random(seed)
    cases = []
    for _ in range(count):
        m, n, k = (max(1, round(top ** rng.random())) for _ in range(3))
        cases.append(Case(m, n, k, rng.choice(["int32", "int8"])))
    return cases


class _Speed:
    """Cycles, and seconds of a processor, of everything that was simulated; and of each product how many times faster its prediction
    was."""

    def __init__(self) -> None:
        self.cycles, self.seconds = 0, 0.0
        self.faster: list[tuple[int, float]] = []

    def describe(self) -> str:
        """Where predictions take less than a thousandth of their simulation's time."""
        slow = max((cycles for cycles, faster in self.faster if faster < 1000), default=0)
        return (f"{sum(faster >= 1000 for _, faster in self.faster)} of {len(self.faster)} predictions take less than a thousandth of the "
                f"simulation; the longest of the others is of {slow:,} cycles.")


def _row(case: Case, result: dict[str, Any], seconds: float) -> list[str]:
    cycles, predicted = result["cycles"], result["predicted_cycles"]
    difference = predicted - cycles
    waits = {cause: lost for cause, lost in result["array_cycles"].items() if cause != "useful"}
    worst = max(waits, key=lambda cause: waits[cause])
    roof = result["roofline"]
    bar = ""
    if case.least:
        reached = roof["fraction"] if case.of_roof else result["utilisation"]
        bar = f"{'≥' if reached >= case.least else '**missed**'} {console.percent(case.least)}{' of its roof' if case.of_roof else ''}"
    close = abs(difference) <= max(8, 0.01 * cycles)
    return [f"{case.m} × {case.n} × {case.k}", case.out, f"{cycles:,}", f"{predicted:,}",
            f"{difference:+,}{f' ({100 * difference / cycles:+.2f} %)' if difference else ''}{'' if close else ' **far**'}",
            f"1 ÷ {seconds / result['prediction_seconds']:,.0f}", console.percent(result["utilisation"]),
            console.percent(roof["fraction"]), roof["bound_by"], f"{worst} {waits[worst]:,}", bar]


def _measure(group: Group, seed: int, speed: _Speed) -> Iterator[list[str]]:
    settings = flow.Settings(memory_latency=group.latency, memory=group.memory, seed=seed)
    with flow.connect("sim", board=group.board, assignments=group.assignments, settings=settings, progress=console.progress) as accelerator:
        _, memory = flow.device_memory(accelerator.manifest, settings)
        watch = Stopwatch(accelerator, time.process_time)
        for case in group.cases:
            console.progress(f"{case.m} × {case.n} × {case.k} {case.out}")
            result = products.matmul(accelerator, case.m, case.n, case.k, out=case.out, seed=seed, memory=memory)
            if not result["correct"]:
                raise flow.FlowError(f"{case.m} × {case.n} × {case.k} {case.out}: {result['mismatches']} results differ from NumPy")
            seconds = watch.read()
            speed.cycles += result["cycles"]
            speed.seconds += seconds
            speed.faster.append((result["cycles"], seconds / result["prediction_seconds"]))
            yield _row(case, result, seconds)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns), *("| " + " | ".join(row) + " |" for row in rows), ""]


def write(path: Path, lines: Sequence[str]) -> None:
    """Write a page at once, so that an interrupted run leaves the old one."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    os.replace(temporary, path)


def machine(seed: int) -> str:
    """What made a table, for its first line."""
    return f"`make bench`: systolith {__version__}, seed {seed}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}."


def matmul_page(output: Path, seed: int) -> int:
    """Products: cycles, measured beside predicted, what bounds them and what the array waited for; how many are not as they should be."""
    groups = [*GROUPS, Group(f"Fifty random shapes, seed {seed}, on the built-in default", random_cases(seed))]
    speed = _Speed()
    lines: list[str] = []
    exact = total = wrong = 0
    for group in groups:
        rows = list(_measure(group, seed, speed))
        exact += sum(row[4] == "+0" for row in rows)
        total += len(rows)
        wrong += sum("**" in cell for row in rows for cell in row)
        lines += [f"## {group.title}", "", *_markdown(COLUMNS, rows)]
    lines += [f"## LOAD beside EXECUTE at 256³, seed {seed}", "", overlap_line(seed), ""]
    head = ["# Matrix products", "", machine(seed),
            "Operands cold in memory, the program's fetch included; every result equal to NumPy. Predictions are made before the run, from "
            "configuration, program and memory alone; a difference of more than 1 % and 8 cycles would be marked **far**.", "",
            f"{exact} of {total} predictions are equal to the cycle. {speed.cycles:,} cycles simulated in {speed.seconds:.0f} s "
            f"of a processor: {speed.cycles / speed.seconds / 1e6:.2f} M cycles/s. «Prediction ÷ simulation» compares such seconds, of a "
            f"prediction that uses nothing found out before. {speed.describe()} The roof of few rows on a 64-bit bus: 8 weights, so 8 MACs "
            "per row of A and cycle.", ""]
    write(output / "matmul.md", [*head, *lines])
    return wrong


def overlap_line(seed: int) -> str:
    """How much of LOAD's work is hidden, from the trace of the engines' activity, and what the counters say: engines that are busy for
    more cycles in sum than there are were so together."""
    from ..host.trace import busy_together
    with flow.connect("sim", settings=flow.Settings(seed=seed, trace=True), progress=console.progress) as accelerator:
        products.matmul(accelerator, 256, 256, 256, seed=seed)
        events = accelerator.device.take_events()  # type: ignore[attr-defined]
        both, load, steady = busy_together(events)
        least, most = together(accelerator.counters)
    return (f"From EXECUTE's first tenth to LOAD's last word ({steady:,} cycles), LOAD moves words in {load:,} cycles; in {both:,} of "
            f"them, {console.percent(both / load)}, a row of activations is issued as well. From the trace of the engines' activity. The "
            f"counters of the whole run, its beginning included, leave no other choice than {least:,} of {most:,} cycles of LOAD, "
            f"{console.percent(least / most)}: busy cycles of both, less all cycles.")


def together(counters: Mapping[str, Any]) -> tuple[int, int]:
    """Cycles in which LOAD and EXECUTE must have been busy at once, and those of LOAD."""
    load, execute = (int(counters["stalls"][engine]["busy"]) for engine in ("load", "execute"))
    return max(0, load + execute - int(counters["cycles"])), load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder of the tables")
    parser.add_argument("--seed", type=int, default=1, help="of operands and of the random shapes")
    parser.add_argument("--models", type=Path, default=Path("../shared/models"), help="folder of the MLPerf Tiny models and samples.npz")
    parser.add_argument("--only", choices=PAGES, action="append", help="only this page; repeatable")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    wrong = 0
    made, wanted = machine(arguments.seed), arguments.only or PAGES
    if "matmul" in wanted:
        wrong = matmul_page(arguments.output, arguments.seed)
    if "networks" in wanted:
        write(arguments.output / "networks.md", networks_page(arguments.output, arguments.models, arguments.seed, made, _markdown))
    if "dataflow" in wanted:
        write(arguments.output / "dataflow.md", dataflow_page(arguments.models, arguments.seed, made, _markdown))
    if "simulation" in wanted:
        write(arguments.output / "simulation.md", simulator_page(arguments.seed, made))
    if "fabric" in wanted:
        write(arguments.output / "fabric.md", fabric_page(arguments.seed, made))
    if "floorplan" in wanted:
        write(arguments.output / "floorplan.md", floorplan_page(arguments.seed, made))
    console.progress(f"benchmarks took {time.monotonic() - start:.0f} s")
    if wrong:
        raise SystemExit(f"bench: {wrong} entries of {arguments.output / 'matmul.md'} miss their bar or their prediction")


if __name__ == "__main__":
    main()
