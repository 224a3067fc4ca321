"""Results as tables for people; the same documents go out as JSON."""

from __future__ import annotations

from typing import Any

from .console import percent, table

__all__ = ["show_build", "show_demo", "show_matmul"]


def _pairs(document: dict[str, Any], title: str | None = None) -> None:
    rows = [{"": key.replace("_", " "), "value": percent(value) if key == "utilisation" or key.endswith("accuracy") else value}
            for key, value in document.items() if not isinstance(value, dict | list)]
    table(rows, ["", "value"], title=title)


def _stalls(stalls: dict[str, dict[str, int]]) -> None:
    causes = list(dict.fromkeys(cause for engine in stalls.values() for cause in engine))
    table([{"engine": engine, **cycles} for engine, cycles in stalls.items()], ["engine", *causes], title="cycles")


def show_matmul(result: dict[str, Any]) -> None:
    """A product, and where the engines' cycles went."""
    _pairs(result)
    if "stalls" in result:
        _stalls(result["stalls"])


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
    _stalls(result["network"]["stalls"])
    if "report" in result:
        show_build(result["report"])
