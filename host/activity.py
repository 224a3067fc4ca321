"""When each command of a program ran, measured or predicted, and what that says of each layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arch.commands import Command, Engine, Execute
from ..arch.cycles import Memory, predict_cycles
from ..arch.footprint import accumulator_count, tile_count
from ..arch.registers import STALLS
from .compile import Compiled
from .trace import STARTED, command_ends

__all__ = ["Activity", "LayerTime", "layer_times", "measured", "predicted"]

# What EXECUTE did instead of streaming rows, and the engine that it did it for.
_BOUND = {"busy": "execute", "preload": "execute", "hazard": "execute", "wait_load": "load", "wait_store": "store", "port": "store",
          "idle": "fetch"}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Activity:
    """One run of a program.

    ``cycles`` : from START to DONE; ``begin``, ``end`` : of each command, in program order, int64, from START on;
    ``states`` : of EXECUTE, where they were recorded: (cycles in which one begins, which of ``STALLS``)
    """

    cycles: int
    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    states: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerTime:
    """Of the program's cycles, a layer has those from the last EXECUTE of the layer before to its own last one: together they are all.

    ``bound_by`` : what took most of them: ``execute``, the array itself, or what it waited for: ``load``, ``store``, or ``fetch``,
    the next command.
    """

    cycles: int
    bound_by: str


def predicted(compiled: Compiled, memory: Memory | None = None) -> Activity:
    """By the cycle model."""
    prediction = predict_cycles(compiled.config, compiled.commands, memory=memory, bases=compiled.bases)
    return Activity(cycles=prediction.cycles, begin=np.array(prediction.begin, np.int64), end=np.array(prediction.complete, np.int64))


def measured(events: npt.NDArray[np.void], commands: Sequence[Command], cycles: int) -> Activity | None:
    """From a simulation's events of one program (see :mod:`.trace`); None where they are not those of ``commands``."""
    if not len(events):
        return None
    last = int(events["cycle"].max())
    start = last - cycles  # DONE comes a few cycles behind the last event
    begin, end = np.zeros(len(commands), np.int64), np.zeros(len(commands), np.int64)
    states = None
    for number, engine in enumerate(STALLS):
        own = [index for index, command in enumerate(commands) if command.engine is engine]
        mine = events[events["engine"] == number]
        begun = mine["cycle"][mine["value"] == STARTED].astype(np.int64)
        if len(begun) != len(own):
            return None
        activity = mine[mine["value"] != STARTED]
        starts, values = activity["cycle"].astype(np.int64), activity["value"].astype(np.int64)
        ends = np.append(starts, last)[1:]
        begin[own], end[own] = begun - start, command_ends(begun, ends[values == 0], last) - start
        if engine is Engine.EXECUTE and own:
            states = starts - start, values
            end[own] = _last_rows(states, last - start, [commands[index] for index in own], end[own])
    return Activity(cycles=cycles, begin=begin, end=end, states=states)


def _last_rows(states: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], end: int, commands: Sequence[Command],
               otherwise: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """When each EXECUTE issued its last row: one row in each busy cycle, though the next command starts before the last of them."""
    rows = np.cumsum([tile_count(command) * accumulator_count(command) for command in commands if isinstance(command, Execute)])
    edges = np.append(states[0], end)
    issued = np.append(0, np.cumsum(np.where(states[1] == 0, np.diff(edges), 0)))
    if issued[-1] != rows[-1]:
        return otherwise
    place = np.searchsorted(issued, rows)
    return edges[place] - (issued[place] - rows)


def layer_times(activity: Activity, compiled: Compiled) -> list[LayerTime | None]:
    """For each of ``compiled.layers``; None for one without an EXECUTE."""
    owner = np.full(len(compiled.commands), -1)
    for number, layer in enumerate(compiled.layers):
        owner[list(layer.commands)] = number
    execute = np.array([i for i, command in enumerate(compiled.commands) if command.engine is Engine.EXECUTE and owner[i] >= 0], int)
    if not execute.size:
        return [None] * len(compiled.layers)
    bounds = np.append(0, np.maximum.accumulate(activity.end[execute])).clip(0, activity.cycles)
    bounds[-1] = activity.cycles  # what is stored behind the last EXECUTE is the last one's
    owners, count = owner[execute], len(compiled.layers)

    def shared(spans: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.bincount(owners, weights=spans, minlength=count).astype(np.float64)

    cycles, causes = shared(np.diff(bounds)), _causes(activity, execute, bounds, shared)
    if activity.states is None:
        _name_waits(activity, compiled, causes)
    return [LayerTime(cycles=round(float(cycles[i])), bound_by=max(causes, key=lambda cause: causes[cause][i])) if i in owners else None
            for i in range(count)]


def _causes(activity: Activity, execute: npt.NDArray[Any], bounds: npt.NDArray[Any], shared: Any) -> dict[str, npt.NDArray[np.float64]]:
    """Cycles of each layer by what EXECUTE did; of a prediction, only whether it streamed or waited."""
    causes: dict[str, npt.NDArray[np.float64]] = {}
    if activity.states is None:
        streamed = np.diff(bounds) - np.maximum(activity.begin[execute] - bounds[:-1], 0).clip(0, np.diff(bounds))
        return {"execute": shared(streamed), "wait": shared(np.diff(bounds) - streamed)}
    starts, values = activity.states
    edges = np.append(starts, max(activity.cycles, int(starts[-1]) + 1))
    for value, cause in enumerate(STALLS[Engine.EXECUTE]):
        total = np.append(0, np.cumsum(np.where(values == value, np.diff(edges), 0)))
        spent = shared(np.diff(np.interp(bounds, edges, total)))
        causes[_BOUND[cause]] = causes.get(_BOUND[cause], 0) + spent
    return causes


def _name_waits(activity: Activity, compiled: Compiled, causes: dict[str, npt.NDArray[np.float64]]) -> None:
    """A prediction's waits are for whichever of LOAD and STORE was at work longer for the layer."""
    waits = causes.pop("wait")
    length = activity.end - activity.begin
    busy = np.zeros((2, len(compiled.layers)))
    for number, layer in enumerate(compiled.layers):
        for index in layer.commands:
            engine = compiled.commands[index].engine
            if engine is not Engine.EXECUTE:
                busy[int(engine is Engine.STORE), number] += length[index]
    causes["load"], causes["store"] = (np.where(mine, waits, 0) for mine in (busy[0] >= busy[1], busy[0] < busy[1]))
