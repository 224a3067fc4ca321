"""Results as tables for people; the same documents go out as JSON."""

from __future__ import annotations

from typing import Any

from ..arch.registers import STALL_DOC
from .console import percent, table

__all__ = ["show_build", "show_compiled", "show_demo", "show_generated", "show_matmul", "show_probe", "show_run", "show_selftest"]


def _pairs(document: dict[str, Any], title: str | None = None) -> None:
    rows = [{"": key.replace("_", " "), "value": percent(value) if key == "utilisation" or key.endswith("accuracy") else value}
            for key, value in document.items() if not isinstance(value, dict | list)]
    table(rows, ["", "value"], title=title)


def _stalls(stalls: dict[str, dict[str, int]]) -> None:
    causes = list(dict.fromkeys(cause for engine in stalls.values() for cause in engine))
    table([{"engine": engine, **cycles} for engine, cycles in stalls.items()], ["engine", *causes], title="cycles")


_ROOFS = {"transfer": "bus", "compute": "array", "memory": "memory"}


def _roofline(roof: dict[str, Any], cycles: int, predicted: int) -> None:
    """The three roofs, the prediction and the measurement, each against what was measured; and what the numbers mean."""
    rows = [{"": f"{_ROOFS[term]} ({term})", "cycles": value, "of measured": percent(value / cycles)}
            for term, value in roof["terms"].items()]
    rows += [{"": "predicted", "cycles": predicted, "of measured": percent(predicted / cycles)}, {"": "measured", "cycles": cycles}]
    print(f"Bound by the {roof['bound_by']}: at most {roof['macs_per_cycle']:.1f} MACs per cycle. {roof['arithmetic_intensity']:.1f} "
          f"MACs per byte; array and memory are balanced at {roof['ridge']:.1f}.")
    table(rows, ["", "cycles", "of measured"], title="time = the largest of transfer, compute, memory, and what does not overlap")


def _array_cycles(causes: dict[str, int], total: int) -> None:
    """Every cycle of the array, by cause."""
    why = {"useful": "multiplications that were asked for", "padding": "rows and columns of weight tiles that lie beyond K and N"}
    table([{"": cause, "cycles": cycles, "share": percent(cycles / total), "why": why.get(cause) or STALL_DOC[cause]}
           for cause, cycles in causes.items()], ["", "cycles", "share", "why"], title="the array's cycles")


def show_matmul(result: dict[str, Any]) -> None:
    """A product, what bounds it, and where the engines' cycles went."""
    _pairs(result)
    if "roofline" in result:
        _roofline(result["roofline"], result["cycles"], result["predicted_cycles"])
    if "array_cycles" in result:
        _array_cycles(result["array_cycles"], result["cycles"])
    if "stalls" in result:
        _stalls(result["stalls"])


_LAYER_COLUMNS = ["index", "op", "shape", "macs", "cycles", "predicted_cycles", "utilisation", "ceiling", "bytes_read", "bytes_written",
                  "bound_by"]


def show_run(result: dict[str, Any]) -> None:
    """A network's figures, each layer's, and where the engines' cycles went."""
    _pairs(result, title=result["model"])
    rows = [{**layer, "shape": " × ".join(map(str, layer["shape"])),
             **{key: percent(layer[key]) for key in ("utilisation", "ceiling") if key in layer}} for layer in result["layers"]]
    columns = [column for column in _LAYER_COLUMNS if any(column in row for row in rows)]
    table(rows, columns, title="layers; ceiling: utilisation that the padding of tiles allows")
    if result["fallback_ops"]:
        print("on the host: " + ", ".join(f"operator {op['index']} ({op['op']})" for op in result["fallback_ops"]))
    if "stalls" in result:
        _stalls(result["stalls"])


def show_compiled(result: dict[str, Any]) -> None:
    """What was written."""
    _pairs(result)
    print(f"{', '.join(result['files'])} in {result['directory']}")
    if result["host_steps"]:
        print(f"between the programs, the host computes: {', '.join(result['host_steps'])}")


def show_generated(result: dict[str, Any]) -> None:
    """The files, and what of a board's part they are likely to take."""
    print(f"{', '.join(result['files'])} in {result['directory']}, {result['seconds']:.1f} s")
    if result.get("estimate"):
        print("expected of the part: " + ", ".join(
            f"{name} {use['needed']:,} of {use['available']:,}" for name, use in result["estimate"].items()))


def show_build(result: dict[str, Any]) -> None:
    """Resources, clock and, where known, area by block."""
    table([{"resource": name, **use, "fraction": percent(use["fraction"])} for name, use in result["resources"].items()],
          ["resource", "used", "available", "fraction"], title="resources")
    _pairs(result, title="build")
    if len(result.get("seeds", ())) > 1:
        table(result["seeds"], ["seed", "fmax_mhz"], title="seeds")
    if "blocks" in result:
        table(result["blocks"], ["name", "lut", "ff", "dsp", "bram"], title="area by block")


def show_demo(result: dict[str, Any]) -> None:
    """The network's figures and, where it was built, the board's."""
    _pairs(result["network"], title=f"digit classifier on {result['board']}")
    if "stalls" in result["network"]:
        _stalls(result["network"]["stalls"])
    if "report" in result:
        show_build(result["report"])


def show_probe(rows: list[dict[str, Any]]) -> None:
    """What is at each port."""
    table(rows, ["port", "description", "baud", "hash", "array", "memory_kib", "built_from", "what"], title="serial ports")


def show_selftest(result: dict[str, Any]) -> None:
    """What was tested, and on what: everything that a bug report needs."""
    _pairs({name: value for name, value in result.items() if name != "tests"}, title="self-test")
    said = {True: "yes", False: "NO", None: "not run"}
    table([{**test, "passed": said[test["passed"]]} for test in result["tests"]], ["name", "passed", "seconds", "detail"])
