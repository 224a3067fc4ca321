"""The rows of a STORE as the cycle model sees them: chunks out of the epilogue, words and bursts on the bus."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import footprint
from .commands import Operation, Store, Target
from .config import Config
from .latency import STORE_BURST_BEATS, Latency

__all__ = ["Rows", "store_rows"]


class _Part(NamedTuple):
    """Words of a row that belong to one burst: how many, chunks of the row behind the last one that they need, whether the burst ends."""

    words: int
    behind: int
    ends: bool


class Rows(NamedTuple):
    """The rows of one STORE.

    ``chunks``, ``window``, ``interval`` : of a row, cycles in which one is read, and cycles from the last of them to the next one's first;
    ``parts`` : of each row; ``over`` : whether a row's end takes the packer a cycle more; ``words`` : on the bus; ``settings`` : the
    epilogue must be empty for them to change; ``latency`` : from a read to its chunk; ``target`` : where they go;
    ``walk`` : cycles from the command's tokens to its first row; ``pieces``, ``final`` : writes of a row into a scratchpad, and
    of its last chunk; ``share`` : chunks that share one;
    ``period``, ``regular`` : of the first ``regular`` rows, each is like that so many before; ``bursts``, ``sizes`` : of
    each row, bursts that end with it, and words; ``alike`` : the same for the same ``parts`` and ``over``
    """

    chunks: int
    window: int
    interval: int
    parts: list[tuple[_Part, ...]]
    over: list[bool]
    words: int
    busy: int
    settings: tuple[int, ...]
    latency: int
    target: Target
    walk: int
    pieces: int
    final: int
    share: int
    period: int
    regular: int
    bursts: list[int]
    sizes: list[int]
    alike: tuple[Any, ...]


def store_rows(config: Config, c: Store, base: int, latency: Latency) -> Rows:
    """What a STORE reads and writes; ``base`` is the address behind its base register."""
    raw, lanes, bus = c.operation == Operation.RAW, config.epilogue.lanes, config.bus_bytes
    chunk_bytes = 4 * config.raw_lanes if raw else lanes * config.array.activation_bytes
    if raw:
        whole, rest = divmod(c.columns, lanes)
        chunks = whole * -(-lanes // config.raw_lanes) + -(-rest // config.raw_lanes)
    else:
        chunks = -(-c.columns // lanes)
    count, size = footprint.run_count(c), footprint.store_bytes(config, c)
    settings = (c.operation, int(raw and c.bias), c.zero_point, c.low, c.high)
    start = base + footprint.memory_offsets(c, np.arange(count))
    joined = np.append(start[1:] == start[:-1] + size, False)   # to the next one
    # Rows that begin at the same place of a block are alike; those that are alike are numbered as they come.
    _, index, place = np.unique(start % (STORE_BURST_BEATS * bus) * 2 + joined, return_index=True, return_inverse=True)
    table: dict[tuple[tuple[_Part, ...], bool, int, int], int] = {}
    numbers = np.empty(len(index), np.int64)
    for one in np.argsort(index).tolist():
        row = int(index[one])
        found = _parts(int(start[row]) % (STORE_BURST_BEATS * bus), bool(joined[row]), size, chunks, chunk_bytes, bus)
        numbers[one] = table.setdefault(found, len(table))
    numbers = numbers[place.reshape(-1)]
    kinds = list(table)
    period, regular = _period(numbers)
    parts, over, bursts, sizes = (list(each) for each in zip(*[kinds[number] for number in numbers.tolist()], strict=True))
    alike: tuple[Any, ...] = (tuple(kinds), numbers.tobytes())
    words = sum(sizes)
    interval, delay = (1, latency.raw) if raw else (latency.interval, latency.requantise)
    walk, pieces, final, share, target = latency.store_walk, chunks, 1, 1, Target(c.target)
    if target is not Target.MEMORY:
        lanes_there = config.activation_lanes if target is Target.ACTIVATION else config.weight_lanes
        walk, width = latency.store_walk - latency.lookup + -(-(c.lane + size) // lanes_there), config.write_bytes(lanes_there)
        share = 1 if raw else max(1, width // chunk_bytes)
        sent = [chunk_bytes] * (chunks - 1) + [(size - 1) % chunk_bytes + 1]
        if raw:   # no chunk has words of two groups
            most = 4 * lanes
            groups = [most] * (size // most) + [size % most] * (size % most > 0)
            sent = [min(chunk_bytes, group - at) for group in groups for at in range(0, group, chunk_bytes)]
        pieces, final = sum([-(-one // width) for one in sent]), -(-sent[-1] // width)
        parts, over, bursts, period, regular = [parts[0]] * count, [False] * count, [0] * count, 1, count   # there is no bus
        alike = parts[0], count
    return Rows(chunks, c.window, interval, parts, over, words, max(words, count * chunks * c.window), settings, delay, target, walk,
                pieces, final, share, period, regular, bursts, sizes, alike)


def _period(kinds: np.ndarray) -> tuple[int, int]:
    """The shortest period of most of ``kinds``, and how many have it; (1, 0) if that is none."""
    for period in (1, 2, 4, 8, 16, 32):
        other = np.flatnonzero(kinds[period:] != kinds[:-period])
        regular = int(other[0]) + period if len(other) else len(kinds)
        if 4 * regular > 3 * len(kinds):
            return period, regular
    return 1, 0


def _parts(start: int, joined: bool, size: int, chunks: int, chunk_bytes: int, bus: int) -> tuple[tuple[_Part, ...], bool, int, int]:
    """A row from byte ``start`` of a block on, by bursts. A word counts where it is completed, or where the run ends with it.

    Its parts, whether its end takes the packer a cycle more, bursts that end with it, words.
    """
    block, stop = STORE_BURST_BEATS * bus, start + size
    parts = []
    at = start // bus
    for boundary in range(block, stop + 1, block):
        parts.append(_Part(boundary // bus - at, chunks - -(-(boundary - start) // chunk_bytes), True))
        at = boundary // bus
    last = stop // bus if joined else -(-stop // bus)
    if last > at or not parts:
        parts.append(_Part(last - at, 0, not joined))
    # A run's last chunk that reaches into another word takes the packer two cycles.
    tail = (size - 1) % chunk_bytes + 1
    over = not joined and (stop - 1) // bus != (stop - tail) // bus
    return tuple(parts), over, sum([part.ends for part in parts]), sum([part.words for part in parts])
