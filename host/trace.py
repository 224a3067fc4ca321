"""Command traces for a viewer: what LOAD, EXECUTE and STORE did, cycle by cycle, as Chrome's trace format.

Open the file in https://ui.perfetto.dev or chrome://tracing. One cycle is shown as one microsecond.
Format: "Trace Event Format", the Chromium project's description of ``trace.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arch.assembler import format_command
from ..arch.commands import Command, Engine
from ..arch.registers import STALLS

__all__ = ["STARTED", "busy_together", "command_ends", "trace_events", "write_trace"]

STARTED = 8  # value of an event that is a command's start; 0 … 7 are activities
_ENGINES = tuple(STALLS)


def _span(name: str, engine: int, lane: int, start: int, end: int, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "ph": "X", "pid": 0, "tid": 2 * engine + lane, "ts": start, "dur": end - start, "args": arguments}


def _lanes() -> Iterator[dict[str, Any]]:
    yield {"name": "process_name", "ph": "M", "pid": 0, "args": {"name": "systolith, 1 µs = 1 cycle"}}
    for number, engine in enumerate(_ENGINES):
        for lane, what in enumerate(("commands", "activity")):
            name = f"{engine.name} {what}"
            yield {"name": "thread_name", "ph": "M", "pid": 0, "tid": 2 * number + lane, "args": {"name": name}}
            yield {"name": "thread_sort_index", "ph": "M", "pid": 0, "tid": 2 * number + lane, "args": {"sort_index": 2 * number + lane}}


def trace_events(events: npt.NDArray[np.void], *, end: int, program: Sequence[Command] = ()) -> list[dict[str, Any]]:
    """Chrome trace events of one program.

    A command lasts from its start to the last cycle in which its engine was busy before the next one starts. An engine's
    activity is ``busy``, ``idle`` (not shown) or the cause of a stall.

    Parameters
    ----------
    events : what ``SimulatedDevice.take_events`` gives: fields cycle, engine (0 LOAD, 1 EXECUTE, 2 STORE), value
    end : cycle in which the program had ended
    program : its commands, for names and fields
    """
    result = list(_lanes())
    first = int(events["cycle"][0]) if len(events) else 0
    for number, engine in enumerate(_ENGINES):
        mine = events[events["engine"] == number]
        commands = [command for command in program if command.engine is engine]
        activity = mine[mine["value"] != STARTED]
        starts, values = activity["cycle"].astype(np.int64), activity["value"]
        ends = np.append(starts, end)[1:]
        result += [_span(STALLS[engine][value], number, 1, int(start) - first, int(stop) - first)
                   for start, stop, value in zip(starts, ends, values, strict=True) if STALLS[engine][value] != "idle"]
        begun = mine["cycle"][mine["value"] == STARTED].astype(np.int64)
        result += [_command_span(engine, number, index, int(start) - first, int(stop) - first, commands)
                   for index, (start, stop) in enumerate(zip(begun, command_ends(begun, ends[values == 0], end), strict=True))]
    return result


def command_ends(begun: npt.NDArray[np.int64], busy_ends: npt.NDArray[np.int64], end: int) -> npt.NDArray[np.int64]:
    """For each command the end of its engine's last busy stretch before the next command, or where that one starts."""
    limits = np.append(begun[1:], end)
    last = np.append(busy_ends, 0)[np.searchsorted(busy_ends, limits, side="right") - 1]
    return np.where(last > begun, last, limits)


def _command_span(engine: Engine, number: int, index: int, start: int, stop: int, commands: Sequence[Command]) -> dict[str, Any]:
    text = format_command(commands[index]) if index < len(commands) else ""
    return _span(f"{engine.name} {index}", number, 0, start, stop, command=text)


def busy_together(events: npt.NDArray[np.void]) -> tuple[int, int, int]:
    """How much of LOAD's work EXECUTE hides once it is under way.

    Returns cycles in which both are busy, in which LOAD is, and all, from the end of EXECUTE's first tenth to LOAD's last busy cycle.
    """
    end = int(events["cycle"].max())
    busy = np.zeros((2, end + 1), bool)
    for engine in range(2):
        mine = events[(events["engine"] == engine) & (events["value"] != STARTED)]
        starts = mine["cycle"].astype(np.int64)
        for start, stop, value in zip(starts, np.append(starts, end)[1:], mine["value"], strict=True):
            busy[engine, start:stop] = value == 0
    load, execute = busy
    first = int(np.searchsorted(np.cumsum(execute), execute.sum() / 10))
    steady = slice(first, int(np.flatnonzero(load)[-1]) + 1)
    return int((load & execute)[steady].sum()), int(load[steady].sum()), len(load[steady])


def write_trace(path: str | Path, events: npt.NDArray[np.void], *, end: int, program: Sequence[Command] = ()) -> None:
    """Write :func:`trace_events` as a JSON file."""
    document = {"traceEvents": trace_events(events, end=end, program=program), "displayTimeUnit": "ns"}
    Path(path).write_text(json.dumps(document), encoding="utf-8")
