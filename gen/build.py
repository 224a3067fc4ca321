"""From a generated folder to a bitstream, or for the vendor's tools to its utilisation, with every figure measured."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..arch.config import Config
from ..arch.manifest import VERILOG_NAME, Manifest
from ..boards import Board, get_board
from ..boards.top import constraints
from . import tools
from .area_model import KINDS
from .carry import shorten_chains
from .constants import place_constants
from .fanout import copy_drivers
from .fit import excess, nearest
from .packing import pack_registers
from .placement import pin_array
from .report import Netlist, Timing, make_report, read_netlist, read_timing
from .toolchain import TOOLCHAINS, Progress, Toolchain, watch

__all__ = ["BuildError", "BuildResult", "build", "synthesise"]

BUILD_NAME = "build"


class BuildError(RuntimeError):
    """The folder cannot be built; the message is one line."""


@dataclasses.dataclass(frozen=True)
class BuildResult:
    """``bitstream`` (None where the vendor's tools make it) and ``report`` are what the median seed gave; ``seconds`` by step."""
    directory: Path
    bitstream: Path | None
    report: Mapping[str, Any]
    seconds: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The keys of ``systolith build``."""
        return {name: value for name, value in self.report.items() if name not in ("lut_eq_per_mac", "ff_per_mac", "blocks")}


_SMALLER = "make array.rows, array.cols or epilogue.lanes smaller, or leave out what control.* offers"
_REMEDY = {
    **dict.fromkeys(KINDS, _SMALLER),
    "dsp": "make array.rows, array.cols or epilogue.lanes smaller",
    "bram": "make memory.activation_kib, memory.weight_kib, memory.accumulator_rows, array.rows or array.cols smaller",
    "spram": "the board's memory_kib is too large",
}


def _check_fit(config: Config, board: Board) -> None:
    for name, needed in excess(config, board).items():
        fitting = nearest(config, board)
        has, needs = (f"{board.resources[name]} {name}", f"about {needed}") if name in KINDS else (
            f"{board.resources[name]} {name} blocks", f"at least {needed}")
        raise BuildError(f"{board.name} has {has} and this configuration needs {needs}; "
                         f"{f'what fits: {fitting}' if fitting else _REMEDY[name]}")


def _lacking(netlist: Netlist, board: Board) -> str | None:
    """What place and route could only refuse after minutes. A lower bound: some LUTs and flip-flops share no cell."""
    used = sum(netlist.area.values(), Counter())
    for name, available in board.resources.items():
        if used[name] > available:
            return f"{board.name} has {available} {name} and this configuration takes {used[name]}; {_REMEDY[name]}"
    return None


def synthesise(verilog: Path, board: Board, top: str, netlist: Path, *, log: Path) -> Netlist:
    """Write ``netlist``, what place and route takes but for the places. What is returned counts the cells as yosys has made them: carry
    chains change after that.

    Raises
    ------
    ToolError
        yosys is missing or fails.
    """
    TOOLCHAINS[board.family].for_board(board).synthesise(verilog, top, netlist, log=log)
    if board.family == "ecp5":
        pack_registers(netlist, top)
        copy_drivers(netlist, top)
        place_constants(netlist, top)
    found = read_netlist(netlist, verilog, top, board.family)
    if board.family == "ecp5":
        shorten_chains(netlist, top)
    return found


def build(directory: str | Path, *, seeds: int = 1, floorplan: bool = True, progress: Progress | None = None) -> BuildResult:
    """Synthesise, place and route with seeds 1 … ``seeds``, and make the bitstream of the median one. For a part that only the vendor's
    tools place, synthesise and count. Without ``floorplan`` nextpnr places multipliers and memories too.

    Everything is written to ``build/`` in ``directory``, finished files by renaming; logs stay there when a tool fails.

    Raises
    ------
    ManifestError
        The folder was not generated, or its files have changed since.
    BuildError
        It was generated without a board, or the configuration exceeds the part: known before synthesis for multipliers
        and memories, after it for the rest.
    ToolError
        A tool is missing or fails.
    """
    directory = Path(directory)
    manifest = Manifest.read(directory)
    verilog = manifest.check_verilog(directory)
    board = get_board(manifest.board).in_variant(manifest.variant) if manifest.board is not None else None
    top = manifest.tops.get("axi" if board and board.link == "axi" else "board")
    if board is None or top is None:
        raise BuildError(f"folder {str(directory)!r} was generated without a board; run: systolith generate --board NAME -o {directory}")
    if seeds < 1:
        raise BuildError(f"seeds must be at least 1, not {seeds!r}")
    _check_fit(manifest.config, board)
    toolchain = TOOLCHAINS[board.family].for_board(board)
    for program in toolchain.programs:
        tools.find(program)

    final = directory / BUILD_NAME
    final.mkdir(exist_ok=True)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=final, prefix=".running-") as temporary:
        work = Path(temporary)
        (work / VERILOG_NAME).write_text(verilog, encoding="utf-8")
        netlist, log = work / "netlist.json", final / "yosys.log"

        start = time.monotonic()
        with watch(log, "synthesis (yosys)", progress):
            synthesised = synthesise(work / VERILOG_NAME, board, top, netlist, log=log)
        if floorplan:
            pin_array(netlist, board, manifest.config)
        lacking = _lacking(synthesised, board)
        if lacking and not toolchain.vendor:
            raise BuildError(lacking)
        seconds["synthesis"] = time.monotonic() - start

        bitstream: Path | None = None
        if toolchain.vendor:
            report = make_report(manifest, board, synthesised, {})
            folder = shlex.quote(str(directory))
            report["next_step"] = f"bitstream and timing are {board.toolchain}'s; run: cd {folder} && {toolchain.vendor}"
            written = [netlist]
        else:
            start = time.monotonic()
            (work / toolchain.constraints).write_text(constraints(board), encoding="utf-8")
            luts = sum(synthesised.area.values(), Counter())["lut"]
            runs = _place(toolchain, board, netlist, final, luts=luts, seeds=seeds, progress=progress)
            seconds["place_and_route"] = time.monotonic() - start
            report = make_report(manifest, board, synthesised, {seed: timing for seed, (_, timing) in runs.items()})

            start = time.monotonic()
            bitstream = final / f"{board.name}.{toolchain.bitstream}"
            with watch(final / "pack.log", f"bitstream ({toolchain.packer})", progress):
                toolchain.pack(runs[report["median_seed"]][0], work / bitstream.name, log=final / "pack.log")
            seconds["bitstream"] = time.monotonic() - start
            report["bitstream"] = str(bitstream)
            written = [work / toolchain.constraints, netlist, work / bitstream.name]

        report["seconds"] = {step: round(s, 1) for step, s in seconds.items()}
        (work / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        # The report last: where there is one, the bitstream beside it is its own.
        for path in (*written, work / "report.json"):
            os.replace(path, final / path.name)
    if progress:
        for line in _warnings(board, report, lacking):
            progress(f"warning: {line}")
    return BuildResult(directory, bitstream, report, seconds)


def _place(toolchain: Toolchain, board: Board, netlist: Path, logs: Path, *, luts: int, seeds: int,
           progress: Progress | None) -> dict[int, tuple[Path, Timing]]:
    """Seed → the packer's input, and the run's figures."""
    def place(seed: int) -> tuple[Path, Timing]:
        log = logs / f"nextpnr-seed{seed}.log"
        with watch(log, f"place and route (nextpnr, seed {seed})", progress):
            routed, report = toolchain.place(board, netlist, luts=luts, seed=seed, log=log, progress=progress)
        return routed, read_timing(report, board.clock_mhz)

    with ThreadPoolExecutor(max_workers=min(seeds, os.cpu_count() or 1)) as pool:
        return dict(zip(range(1, seeds + 1), pool.map(place, range(1, seeds + 1)), strict=True))


def _warnings(board: Board, report: Mapping[str, Any], lacking: str | None) -> Iterator[str]:
    if lacking:
        yield f"{lacking}; {board.toolchain} may take less"
    if "fmax_mhz" in report:
        for asked, fmax in [(board.clock_mhz, report["fmax_mhz"]), *((clock["asked_mhz"], clock["fmax_mhz"])
                                                                    for clock in report.get("other_clocks", ()))]:
            if fmax < asked:
                yield f"the clock of {asked:g} MHz is not met, Fmax is {fmax:g} MHz"
