"""``make bench``, dataflows: the same products and networks with weights that stay in the array and with sums that stay, and the area."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..boards import get_board
from ..gen.fabric import measure_array
from ..host.session import Session
from . import console, flow, products
from .bench_networks import networks

__all__ = ["dataflow_page"]

DATAFLOWS = ("ws", "os")


class Machine(NamedTuple):
    """An accelerator, but for its dataflow."""

    title: str
    rows: int
    cols: int
    bus_bits: int

    def assignments(self, dataflow: str) -> tuple[str, ...]:
        return (f"array.rows={self.rows}", f"array.cols={self.cols}", f"memory.bus_bits={self.bus_bits}", f"array.dataflow={dataflow}")


MACHINES = [Machine("16 × 16, 64-bit bus", 16, 16, 64), Machine("16 × 16, 256-bit bus", 16, 16, 256),
            Machine("8 × 8, 64-bit bus", 8, 8, 64)]
# Rows of A from one to many, and K that is short or fills no tile.
SHAPES = [(1, 256, 256), (4, 256, 256), (8, 256, 256), (16, 256, 256), (24, 256, 256), (32, 256, 256), (64, 256, 256), (128, 128, 128),
          (256, 256, 256), (512, 512, 512), (256, 64, 9), (196, 64, 27), (97, 101, 103)]


def _ratio(cycles: Sequence[int]) -> str:
    ratio = cycles[0] / cycles[1]
    return f"**{ratio:.2f}**" if ratio >= 1.01 else f"{ratio:.2f}"


def _row(what: str, cycles: list[int], predicted: list[int]) -> list[str]:
    return [what, *(f"{one:,}" for one in cycles), _ratio(cycles),
            ", ".join(f"{guess - one:+,}" for guess, one in zip(predicted, cycles, strict=True))]


def dataflow_page(models: Path, seed: int, made: str,
                  markdown: Callable[[Sequence[str], Sequence[Sequence[str]]], list[str]]) -> list[str]:
    """Lines of the page; ``models`` as of :func:`~.bench_networks.networks_page`."""
    lines = ["# Dataflows", "", made,
             "Cycles on `sim` of the same work with weights that stay in the array (`ws`) and with sums that stay (`os`), memory latency "
             "30, operands cold in memory, int8 results; every result is checked. A ratio above one says that `os` is faster. The last "
             "column is predicted less measured, of both.", ""]
    known = list(networks(models))
    settings = flow.Settings(seed=seed)
    for machine in MACHINES:
        results: dict[str, list[tuple[int, int]]] = {}
        for dataflow in DATAFLOWS:
            with flow.connect("sim", assignments=machine.assignments(dataflow), settings=settings,
                              progress=console.progress) as accelerator:
                memory = flow.device_memory(accelerator.manifest, settings)[1]
                for m, n, k in SHAPES:
                    console.progress(f"{machine.title}, {dataflow}: {m} × {n} × {k}")
                    result = products.matmul(accelerator, m, n, k, out="int8", seed=seed, memory=memory)
                    if not result["correct"]:
                        raise flow.FlowError(f"{m} × {n} × {k}, {dataflow}: {result['mismatches']} results differ from NumPy")
                    results.setdefault(f"{m} × {n} × {k}", []).append((result["cycles"], result["predicted_cycles"]))
                for title, graph, x, expected, _ in known:
                    console.progress(f"{machine.title}, {dataflow}: {title}")
                    session = Session(graph, accelerator, memory=memory)
                    y = session.run(x.reshape(graph.tensors[graph.inputs[0]].shape))
                    if (y.reshape(expected.shape) != expected).any():
                        raise flow.FlowError(f"{title}, {dataflow}: the output differs from the reference's")
                    results.setdefault(title, []).append((session.report["cycles"], session.report["predicted_cycles"]))
        lines += [f"## {machine.title}", "", *markdown(
            ["M × N × K, or network", "ws", "os", "ws ÷ os", "predictions"],
            [_row(what, *map(list, zip(*pairs, strict=True))) for what, pairs in results.items()])]
    board = get_board("ulx3s-85f")
    rows = []
    for multiplier, dsp_cols in (("single", None), ("lut", 0)):
        for dataflow in DATAFLOWS:
            console.progress(f"{board.device}: {multiplier}, {dataflow}")
            with tempfile.TemporaryDirectory(prefix="systolith-") as directory:
                fabric = measure_array(board, Path(directory), rows=8, cols=8, multiplier="single", dsp_cols=dsp_cols, dataflow=dataflow,
                                       place=False)
            rows.append([f"`{multiplier}`, {dataflow}", str(fabric.dsp), f"{fabric.lut / 64:.1f}", f"{fabric.ff / 64:.1f}"])
    return [*lines, f"## What an element costs: 8 × 8 on an {board.device}, synthesis, as in `fabric.md`", "",
            "An element of `os` has a sum of 32 bits and a register for the one that leaves; of `ws`, a sum as wide as a column needs, and "
            "a weight besides. Around its array, `os` has the corner turn as well, rows × rows activations.", "",
            *markdown(["multiplier, dataflow", "DSP blocks", "LUT-eq per MAC", "FF per MAC"], rows)]
