"""The bursts of a LOAD as the cycle model sees them: cycles on the bus."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import footprint
from .commands import Bank, Load
from .config import Config
from .latency import LOAD_BURST_BEATS

__all__ = ["Bursts", "load_bursts"]


class Bursts(NamedTuple):
    """The bursts of one LOAD, in order.

    ``ends`` : cycles on the bus until each burst has passed, after a leading 0; ``before_last`` : bursts of all runs but the last;
    ``busy`` : cycles in which something is written; ``shortest`` : cycles of the shortest; ``bank`` : where they are written,
    None of the program; ``tail`` : cycles of the last burst behind its last write
    """

    ends: list[int]
    before_last: int
    busy: int
    shortest: int
    bank: Bank | None
    tail: int


def load_bursts(config: Config, c: Load, base: int, cycles_per_beat: int) -> Bursts:
    """What a LOAD asks for: a word takes a cycle, or as many as it has writes.

    Parameters
    ----------
    base : address behind the base register
    cycles_per_beat : cycles from word to word that the memory takes at least
    """
    bus = config.bus_bytes
    width = {Bank.ACTIVATION: min(bus, config.array.rows), Bank.WEIGHT: min(bus, config.weight_lanes)}.get(Bank(c.bank), 4)
    block = LOAD_BURST_BEATS * bus
    start = base + footprint.memory_offsets(c, np.arange(footprint.run_count(c)))
    stop = start + c.run
    count = (stop - 1) // block - start // block + 1
    run = np.repeat(np.arange(len(start)), count)
    place = np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count)  # within the run
    low = np.maximum(start[run], (start[run] // block + place) * block)
    high = np.minimum(stop[run], (start[run] // block + place + 1) * block)
    # Whole words, and what the first and the last one hold.
    first, last = low // bus, (high - 1) // bus
    one = first == last
    head, tail = np.where(one, high - low, bus - low % bus), np.where(one, 0, (high - 1) % bus + 1)
    writes = -(-head // width) + -(-tail // width) + np.maximum(last - first - 1, 0) * -(-bus // width)
    cycles = np.maximum(writes, (last - first + 1) * cycles_per_beat)
    last_writes = -(-int(tail[-1] or head[-1]) // width)
    behind = max(0, cycles_per_beat - last_writes) if cycles[-1] > writes[-1] else 0
    return Bursts([0, *np.cumsum(cycles).tolist()], len(run) - int(count[-1]), int(writes.sum()), int(cycles.min()), Bank(c.bank), behind)
