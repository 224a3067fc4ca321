"""The bursts of a LOAD as the cycle model sees them: cycles on the bus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .commands import Bank, Load
from .config import Config
from .latency import LOAD_BURST_BEATS

__all__ = ["Bursts", "load_bursts"]


class Bursts(NamedTuple):
    """The bursts of one LOAD, in order.

    ``ends`` : cycles on the bus until each burst has passed, after a leading 0; ``runs`` : how many;
    ``held`` : bursts of the last three, which are what registers between the walk and the bursts hold;
    ``busy`` : cycles in which something is written; ``shortest`` : cycles of the shortest; ``bank`` : where they are written,
    None of the program; ``tail`` : cycles of the last burst behind its last write; ``kept`` : of each burst, cycles of writing that
    are left once the word that follows it may pass; nothing where a word takes one write
    """

    ends: list[int]
    runs: int
    held: int
    busy: int
    shortest: int
    bank: Bank | None
    tail: int
    kept: list[int]


def load_bursts(config: Config, loads: Sequence[Load], bases: Sequence[int], cycles_per_beat: int) -> list[Bursts]:
    """What each of ``loads`` asks for: a word takes a cycle, or as many as it has writes.

    They are gone through together, for NumPy takes as long for one as for many.

    Parameters
    ----------
    bases : addresses in all base registers
    cycles_per_beat : cycles from word to word that the memory takes at least
    """
    if not loads:
        return []
    bus = config.bus_bytes
    block = LOAD_BURST_BEATS * bus
    widths = {Bank.ACTIVATION: min(bus, config.activation_lanes), Bank.WEIGHT: min(bus, config.weight_lanes)}
    # Of an address only its place in a block matters, so 32 bits are enough, whatever runs over.
    fields = np.array([(bases[c.base] + c.offset & block - 1, c.run, c.count1, c.stride1 & block - 1, c.stride2 & block - 1,
                        widths.get(Bank(c.bank), 4)) for c in loads], np.int32)
    runs = np.array([c.count1 * c.count2 for c in loads])
    # One row for each run: its first byte, and behind its last one.
    first_run = np.cumsum(runs) - runs
    offset, length, count1, stride1, stride2, width = np.repeat(fields.T, runs, axis=1)
    outer, inner = np.divmod((np.arange(len(offset)) - np.repeat(first_run, runs)).astype(np.int32), count1)
    start = offset + outer * stride2 + inner * stride1 & block - 1
    stop = start + length
    count = (stop - 1) // block + 1
    # And for each burst: the part of its run that is in one block.
    first_burst = np.cumsum(count) - count
    if len(count) < count.sum():
        run = np.repeat(np.arange(len(start)), count)
        place = (np.arange(len(run)) - first_burst[run]).astype(np.int32) * block
        low, high, width = np.maximum(start[run], place), np.minimum(stop[run], place + block), width[run]
    else:
        low, high = start, stop
    # Whole words, and what the first and the last one hold.
    first, last = low // bus, (high - 1) // bus
    one = first == last
    head, tail = np.where(one, high - low, bus - low % bus), np.where(one, 0, (high - 1) % bus + 1)
    writes = -(-head // width) + -(-tail // width) + np.maximum(last - first - 1, 0) * -(-bus // width)
    cycles = np.maximum(writes, (last - first + 1) * cycles_per_beat)
    # Cycles of the last burst's last word behind its writes, where the memory is what it waits for.
    tails = np.where(cycles > writes, np.maximum(0, cycles_per_beat - -(-np.where(one, head, tail) // width)), 0)
    begin = first_burst[first_run]
    ends = np.cumsum(cycles)
    before = ends[begin] - cycles[begin]
    # LOAD keeps two words, so what follows waits for the write before their last ones only.
    whole = -(-bus // width)
    final = -(-np.where(one, head, tail) // width)
    prior = np.where(last - first > 1, whole, np.where(one, np.append(1, final[:-1]), -(-head // width)))
    prior[begin] = np.where(one[begin], 1, prior[begin])
    kept = np.maximum(0, final + prior - 2 * cycles_per_beat)
    keeps = np.maximum.reduceat(kept, begin).tolist()
    behind = begin + np.add.reduceat(count, first_run)
    rows = zip(begin.tolist(), behind.tolist(), before.tolist(), runs.tolist(),
               (behind - first_burst[first_run + np.maximum(runs - 3, 0)]).tolist(), np.add.reduceat(writes, begin).tolist(),
               np.minimum.reduceat(cycles, begin).tolist(), tails[behind - 1].tolist(), loads, strict=True)
    return [Bursts([0, *(ends[at:end] - gone).tolist()], many, held, busy, shortest, Bank(c.bank), rest,
                   kept[at:end].tolist() if most else [])
            for (at, end, gone, many, held, busy, shortest, rest, c), most in zip(rows, keeps, strict=True)]
