"""``make bench``: measured tables for people, each with the command, the versions and the seed that made it."""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path
from typing import Any

from .. import __version__
from . import console, flow

__all__ = ["main"]

# Square products, ones that people know (BERT's projections and feed-forward, one token), primes, K shorter than the array.
SHAPES = [(64, 64, 64), (128, 128, 128), (256, 256, 256), (512, 512, 512), (128, 2304, 768), (512, 3072, 768), (128, 64, 128),
          (1, 1024, 1024), (4, 1024, 1024), (16, 1024, 1024), (97, 101, 103), (100, 75, 200), (300, 300, 5)]


def _write(path: Path, title: str, how: str, columns: list[str], rows: list[list[str]]) -> None:
    lines = [f"# {title}", "", how, "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def matmul_table(output: Path, seed: int, latency: int) -> None:
    """Products on the built-in default: cycles, utilisation and what EXECUTE waited for, measured against predicted."""
    rows: list[list[str]] = []
    simulated_cycles, started = 0, 0.0
    with flow.connect("sim", settings=flow.Settings(memory_latency=latency, seed=seed), progress=console.progress) as accelerator:
        for m, n, k in SHAPES:
            for out in ("int32", "int8"):
                console.progress(f"{m} × {n} × {k} {out}")
                start = time.monotonic()
                result: dict[str, Any] = flow.matmul(accelerator, m, n, k, out=out, seed=seed, memory_latency=latency)
                started += time.monotonic() - start
                simulated_cycles += result["cycles"]
                if not result["correct"]:
                    raise flow.FlowError(f"{m} × {n} × {k} {out}: {result['mismatches']} results differ from NumPy")
                waits = {cause: cycles for cause, cycles in result["stalls"]["execute"].items() if cause != "busy"}
                worst = max(waits, key=lambda cause: waits[cause])
                rows.append([f"{m} × {n} × {k}", out, f"{result['cycles']:,}", f"{result['predicted_cycles']:,}",
                             console.percent(result["utilisation"]), f"{worst} {waits[worst]:,}", f"{result['bytes_read']:,}"])
    how = (f"`make bench`: systolith {__version__}, built-in default (16 × 16, 64-bit bus), memory latency {latency} cycles, seed {seed}, "
           f"operands cold in memory; every result equal to NumPy. {simulated_cycles:,} cycles simulated in {started:.0f} s "
           f"({simulated_cycles / started / 1e6:.2f} M cycles/s, planning and checking included) on {os.cpu_count()} cores, "
           f"{platform.system()} {platform.machine()}.")
    _write(output / "matmul.md", "Matrix products", how,
           ["M × N × K", "result", "cycles", "predicted", "utilisation", "EXECUTE's largest wait", "bytes read"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder of the tables")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory-latency", type=int, default=30, metavar="CYCLES")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    matmul_table(arguments.output, arguments.seed, arguments.memory_latency)


if __name__ == "__main__":
    main()
