"""Bounds of what serial engines take for a product; :mod:`.cycles` models pipelined ones.

Each engine does one thing after the other, so its own cycles add up; how far engines overlap is what the bounds leave open.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import footprint
from .commands import Bank, Command, Execute, Load, Store
from .config import Config
from .latency import Memory

__all__ = ["serial_cycles"]

_LOAD, _EXECUTE, _STORE = 21, 35, 20  # around the work of one command, at most
_RUN, _PRELOAD, _ROW = 5, 3, 6        # of a run of LOAD, a tile of EXECUTE (besides the array's rows), a row of STORE
_BYTE = 11                            # that STORE writes, without the memory's response


def serial_cycles(config: Config, program: Sequence[Command], *, memory: Memory, bases: Sequence[int]) -> tuple[int, int]:
    """The fewest and the most cycles of ``program`` where ``control.engines`` is "serial" and every STORE writes sums to memory.

    Fewest: the last command begins behind the program's last word, and STOREs follow each other. Most: nothing overlaps.
    """
    fetch = sum(command.words + 1 for command in program) * (memory.latency + 2)  # a header is read twice
    work = [_work(config, command, memory, bases) for command in program]
    stores = sum(least for command, (least, _) in zip(program, work, strict=True) if isinstance(command, Store))
    return max(fetch + work[-1][0], stores), fetch + sum(most for _, most in work)


def _work(config: Config, c: Command, memory: Memory, bases: Sequence[int]) -> tuple[int, int]:
    """Cycles of a command by itself, at least and at most."""
    if isinstance(c, Execute):
        rows = footprint.tile_count(c) * max(config.array.rows + _PRELOAD, footprint.accumulator_count(c))
        return rows, rows + config.array.rows + _EXECUTE
    assert isinstance(c, Load | Store)
    runs = np.arange(footprint.run_count(c))
    if isinstance(c, Store):
        least = runs.size * (_ROW + 4 * c.columns * (_BYTE + memory.to_response))
        return least, least + _STORE
    first = bases[c.base] + footprint.memory_offsets(c, runs)
    words = int(np.sum((first + c.run - 1) // config.bus_bytes - first // config.bus_bytes + 1))
    puts = runs.size * c.run // (4 if c.bank in (Bank.ACCUMULATOR, Bank.PARAMETER) else 1)
    least = runs.size * _RUN + words * (memory.latency + 1) + puts
    return least, least + _LOAD
