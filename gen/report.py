"""What a build is: resources and area by block from the netlist of yosys, and the clock from the report of nextpnr where that was run."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..arch.manifest import Manifest
from ..boards import Board
from .area import CELL_AREA, block_area, cell_counts, instances
from .fmax import credible_fmax
from .toolchain import TOOLCHAINS

__all__ = ["REPORT_NAME", "Netlist", "ReportError", "Timing", "make_report", "read_netlist", "read_report", "read_timing"]

REPORT_NAME = "build/report.json"
# Where the core is on a board: in a serial shell, in the AXI shell of a SoC, or in one that is all that was generated (Zynq).
_CORES = ("shell.core.systolith.core", "systolith_axi.core.systolith.core", "core.systolith.core")


class ReportError(RuntimeError):
    """There is no report, or a tool's output is not what it should be; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Netlist:
    """A synthesised design: cells by type, resources by instance path, and whether DSP blocks use their own registers."""
    cells: Mapping[str, int]
    area: Mapping[str, Counter[str]]
    registered_dsp: bool


@dataclasses.dataclass(frozen=True)
class Timing:
    """One place-and-route run: Fmax of the accelerator's clock, the critical path in words, used and available cells, and of the other
    clocks Fmax and what was asked for."""
    fmax_mhz: float
    path: str
    utilisation: Mapping[str, tuple[int, int]]
    others: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    @property
    def others_met(self) -> bool:
        return all(fmax >= asked for fmax, asked in self.others.values())


def read_netlist(netlist: Path, verilog: Path, top: str, family: str) -> Netlist:
    """The netlist that yosys wrote as JSON, of the design in ``verilog``."""
    module = json.loads(netlist.read_text(encoding="utf-8"))["modules"][top]
    registered = any(
        cell["type"] == "MULT18X18D" and cell["parameters"].get("REG_OUTPUT_CLK", "NONE") != "NONE"
        and cell["parameters"].get("REG_INPUTA_CLK", "NONE") != "NONE" for cell in module["cells"].values())
    return Netlist(cell_counts(module), block_area(module, instances(verilog.read_text(encoding="utf-8"), top), family), registered)


def _block(cell: str) -> str:
    """A readable place: the instance path of a cell without the wrappers, and the net it stands on."""
    name = re.sub(r"_(?:LUT\d|PFUMX|L6MUX21|CCU2C|TRELLIS|SB|ALU|DFF[A-Z]*|MUX2|CC)_\w+.*$", "", cell)
    for core in _CORES:
        name = name.removeprefix(f"{core}.")
    return name.removeprefix("shell.").replace("$nextpnr_", "")


def read_timing(report: Path, clock_mhz: float) -> Timing:
    """nextpnr's ``--report``; of several clocks the accelerator's is the one whose constraint is nearest to ``clock_mhz``."""
    try:
        document = json.loads(report.read_text(encoding="utf-8"))
        clocks = document["fmax"]
        name = min(clocks, key=lambda clock: abs(clocks[clock]["constraint"] - clock_mhz))
        utilisation = {kind: (entry["used"], entry["available"]) for kind, entry in document["utilization"].items()}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ReportError(f"{report} is not a report of nextpnr: {type(error).__name__} {error}") from None
    path = "no path between registers"
    for critical in document.get("critical_paths", ()):
        if name in critical["from"] and name in critical["to"] and critical["path"]:
            steps = critical["path"]
            logic = sum(step["delay"] for step in steps if step["type"] != "routing")
            total = sum(step["delay"] for step in steps)
            path = (f"{_block(steps[0]['from']['cell'])} → {_block(steps[-1]['to']['cell'])}, "
                    f"{total:.1f} ns, {logic / total:.0%} logic")
    others = {_clock(clock): (found["achieved"], found["constraint"]) for clock, found in clocks.items() if clock != name}
    return Timing(clocks[name]["achieved"], path, utilisation, others)


def _clock(net: str) -> str:
    """A clock's net as the Verilog has it: nextpnr says which of them are on global wires, and that one comes from a pin."""
    return net.removeprefix("$glbnet$").removesuffix("$TRELLIS_IO_IN")


def _resources(board: Board, netlist: Netlist, routed: Mapping[str, tuple[int, int]]) -> dict[str, dict[str, Any]]:
    """Used, available and fraction per resource: nextpnr's figures where ``routed`` has them, the netlist's elsewhere."""
    resources = {}
    for name in board.resources:
        kinds = {kind: each for kind, each in TOOLCHAINS[board.family].utilisation.get(name, {}).items() if kind in routed}
        if kinds:
            used = sum(routed[kind][0] * each for kind, each in kinds.items())
            available = routed[next(iter(kinds))][1]
        else:
            used = sum(count * CELL_AREA[board.family][cell][1] for cell, count in netlist.cells.items()
                       if CELL_AREA[board.family].get(cell, ("",))[0] == name)
            available = board.resources[name]
        resources[name] = {"used": used, "available": available, "fraction": used / available if available else 0.0}
    return resources


def _block_name(path: str, around: str) -> str:
    """What the area at an instance path counts for: one of the core's own blocks, the datapath's and STORE's one level deeper, or one
    beside the core, of what is called ``around``."""
    for core in _CORES:
        if path == core:
            return "core"
        if path.startswith(f"{core}."):
            first, *rest = path.removeprefix(f"{core}.").split(".")
            return f"{first}.{rest[0]}" if rest and first in ("datapath", "store") else first
    first, *rest = path.split(".")
    if first.startswith("systolith_"):
        return first.removeprefix("systolith_")
    return f"shell.{rest[0]}" if first == "shell" and rest and rest[0] != "core" else around


def _blocks(netlist: Netlist) -> list[dict[str, Any]]:
    """Area by block."""
    totals: dict[str, Counter[str]] = {}
    around = "soc" if any(path.startswith("systolith_axi.") for path in netlist.area) else "shell"
    for path, area in netlist.area.items():
        totals.setdefault(_block_name(path, around), Counter()).update(area)
    kinds = ("lut", "ff", "dsp", "bram")
    blocks = [{"name": name.partition("$")[0], **{kind: area[kind] for kind in kinds}} for name, area in totals.items()]
    return sorted(blocks, key=lambda block: (-block["lut"], block["name"]))


def make_report(manifest: Manifest, board: Board, netlist: Netlist, timings: Mapping[int, Timing]) -> dict[str, Any]:
    """The figures of the median run of ``timings`` (seed → run): the keys of ``systolith report``. Where there was no run, no clocks."""
    macs = manifest.config.macs_per_cycle
    order = sorted(timings, key=lambda seed: (timings[seed].others_met, timings[seed].fmax_mhz, seed))
    median = order[(len(order) - 1) // 2] if order else None
    resources = _resources(board, netlist, timings[median].utilisation if median else {})
    return {
        "board": board.name,
        "hash": manifest.hash,
        "clock_mhz": board.clock_mhz,
        **(_clocks(board, netlist, resources, timings[median], macs) if median else {}),
        "macs_per_cycle": macs,
        "resources": resources,
        **({"seeds": [{"seed": seed, "fmax_mhz": round(timings[seed].fmax_mhz, 2)} for seed in sorted(timings)],
            "median_seed": median} if median else {}),
        "lut_eq_per_mac": round(resources["lut"]["used"] / macs, 1),
        "ff_per_mac": round(resources["ff"]["used"] / macs, 1),
        "blocks": _blocks(netlist),
    }


def _clocks(board: Board, netlist: Netlist, resources: Mapping[str, Mapping[str, Any]], timing: Timing, macs: int) -> dict[str, Any]:
    fmax = credible_fmax(timing.fmax_mhz, family=board.family, speed=board.speed, path=timing.path,
                         registered_dsp=netlist.registered_dsp, dsp=bool(resources["dsp"]["used"]), bram=bool(resources["bram"]["used"]),
                         asked_mhz=board.clock_mhz)
    return {
        "timing_met": fmax.mhz >= board.clock_mhz and timing.others_met,
        "fmax_mhz": round(fmax.mhz, 2),
        "fmax_nextpnr_mhz": round(fmax.nextpnr_mhz, 2),
        "fmax_limited_by": fmax.limited_by,
        "fmax_rule": fmax.rule,
        **({"other_clocks": [{"clock": name, "asked_mhz": round(asked, 2), "fmax_mhz": round(found, 2)}
                             for name, (found, asked) in timing.others.items()]} if timing.others else {}),
        "peak_gops": round(macs * 2 * fmax.mhz / 1e3, 3),
    }


def read_report(directory: str | Path) -> dict[str, Any]:
    """The report of the last build in ``directory``; refused where the Verilog has been generated anew since."""
    manifest = Manifest.read(directory)
    path = Path(directory) / REPORT_NAME
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ReportError(f"folder {str(directory)!r} has no build; run: systolith build {directory}") from None
    except ValueError:
        raise ReportError(f"{path} is not JSON; run: systolith build {directory}") from None
    if report.get("hash") != manifest.hash:
        raise ReportError(f"folder {str(directory)!r} was generated anew after its build; run: systolith build {directory}")
    return report
