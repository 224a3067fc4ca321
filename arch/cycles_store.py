"""The write side of the cycle model: rows of STORE through the epilogue into bursts."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import NamedTuple

import numpy as np

from . import footprint
from .commands import Operation, Store, Target
from .config import Config
from .latency import STORE_BURST_BEATS, Latency, Memory

__all__ = ["Rows", "StorePath", "store_rows"]

_WAITING = 16   # bursts without a response, and rows of the queue that the walk fills
_ROOM = 10      # rows that may wait behind the walk when it steps
_PLACES = 26    # rows of which the place may wait then
_NEVER = 1 << 62
_PACKED = 4     # words between the packer and the bus


class Rows(NamedTuple):
    """The rows of one STORE: of each row, words on the bus and bursts that end with it.

    ``chunks``, ``interval`` : of a row, and cycles from one to the next; ``joined`` : rows follow each other in memory; ``settings`` : what the epilogue must be
    empty for to change
    """

    chunks: int
    interval: int
    words: list[int]
    over: list[int]
    bursts: list[int]
    busy: int
    settings: tuple[int, ...]
    latency: int


def store_rows(config: Config, c: Store, base: int, latency: Latency) -> Rows:
    """What a STORE reads and writes; ``base`` is the address behind its base register."""
    raw, lanes = c.operation == Operation.RAW, config.epilogue.lanes
    if raw:
        whole, rest = divmod(c.columns, lanes)
        chunks = whole * -(-lanes // config.raw_lanes) + -(-rest // config.raw_lanes)
    else:
        chunks = -(-c.columns // lanes)
    count, size, bus = footprint.run_count(c), footprint.store_bytes(c), config.bus_bytes
    block = STORE_BURST_BEATS * bus
    start = base + footprint.memory_offsets(c, np.arange(count)) if c.target == Target.MEMORY else np.zeros(count, np.int64)
    stop = start + size
    joined = np.append(start[1:] == stop[:-1], False)   # to the next one
    joins = np.append(False, joined[:-1])
    # A word counts for the row that completes it, or ends in it.
    first = np.where(joins, start // bus, start // bus)
    last = np.where(joined, stop // bus, -(-stop // bus))
    words = last - first
    blocks = np.where(joined, stop // block, -(-stop // block)) - start // block
    # A run's last chunk that reaches into another word takes the packer two cycles.
    tail = (size - 1) % (4 * config.raw_lanes if raw else lanes) + 1
    over = ~joined & ((stop - 1) // bus != (stop - tail) // bus)
    settings = (int(raw), c.bias, c.zero_point, c.low, c.high)
    return Rows(chunks, 1 if raw else latency.interval, words.tolist(), over.astype(int).tolist(), blocks.tolist(), int(words.sum()), settings,
                latency.raw if raw else latency.requantise)


class StorePath:
    """What one STORE leaves behind for the next.

    Attributes
    ----------
    read : cycle after the last one in which a group was read
    """

    def __init__(self, latency: Latency, memory: Memory):
        self.latency = latency
        self.memory = memory
        self.read = 0
        self.settings: tuple[int, ...] = ()
        self.drained = 0        # when the epilogue's pipeline is empty
        self.packed = 0         # when the packer takes the next chunk
        self.word = 0           # when the next word may leave
        self.burst = 0          # the last burst was asked for
        self.asked = 0          # when the next row may be taken to be asked for
        self.responses: deque[int] = deque([0] * _WAITING, _WAITING)
        self.reads: list[int] = []   # of the rows of a command: when each was read to its end,
        self.left: list[int] = []    # and has left the epilogue, as far as that is known

    def run(self, rows: Rows, time: int, granted: int, local: bool) -> tuple[int, int, int]:
        """Rows of a command whose tokens are taken at ``time``, from a half that may be read from ``granted`` on.

        Returns when its fields are free, when its last row has been read, and when its last byte is written.
        """
        latency = self.latency
        change = rows.settings != self.settings
        self.settings = rows.settings
        chunks, interval = rows.chunks, rows.interval
        spare = latency.chunks - 1
        step = time + latency.store_walk - 4
        steps: list[int] = []     # when each row is walked,
        takes: list[int] = []     # taken to be read,
        asks: list[int] = []      # taken to be asked for,
        self.reads, self.left = [], []  # was read to the end, has left the epilogue
        for index in range(len(rows.words)):
            step = self._room(rows, steps, (takes, asks), step + 1)
            steps.append(step)
            valid = step + 3
            take = max(valid + 2, self.read - 1)
            if not index and change:
                take = max(take, self.drained)
            takes.append(take)
            begin = max(take + 1, granted)
            end = begin + chunks * interval
            if (index + 1) * chunks > spare:
                begin = max(begin, self._leaves(rows, index * chunks - spare) + 2)
                end = max(begin + chunks * interval, self._leaves(rows, (index + 1) * chunks - 1 - spare) + 2 + interval)
            self.read = end
            self.reads.append(end - interval)
            if local:
                self._leave(rows, len(self.left))
                continue
            ask = self.asked = max(valid + 2, self.asked)
            asks.append(ask)
            self.asked += 1
            if rows.bursts[index]:
                self._write(rows, rows.bursts[index])
        self.drained = self.read - interval + rows.latency - 1
        free = max(step + 4, takes[0])
        done = self.packed + 1 + latency.visible if local else self.responses[-1]
        return free, self.read, done

    def _room(self, rows: Rows, steps: list[int], taken: tuple[list[int], ...], time: int) -> int:
        """When there is room for a row, from ``time`` on: a step is seen 5 cycles later, and a take 2 cycles."""
        while len(steps) > _ROOM:
            arrived = bisect_right(steps, time - 5)
            later = max((take[arrived - _ROOM - 1] + 2 for take in taken if take and arrived > _ROOM), default=0)
            if arrived > _PLACES:
                if arrived - _PLACES > len(self.left):
                    self.asked = max(self.asked, time)
                    self._write(rows, 1)
                later = max(later, self.left[arrived - _PLACES - 1] + 2)
            if later <= time:
                break
            time = later
        return time

    def _leaves(self, rows: Rows, chunk: int) -> int:
        """When a chunk of this command leaves the epilogue."""
        if chunk < 0:
            return 0
        row, place = divmod(chunk, rows.chunks)
        if row >= len(self.left):
            self._write(rows, 1)
        return self.left[row] - (rows.chunks - 1 - place)

    def _leave(self, rows: Rows, row: int) -> int:
        """When the last chunk of a row leaves the epilogue, as far as the packer takes it."""
        end = max(self.reads[row] + rows.latency, self.packed + rows.chunks - 1)
        self.left.append(end)
        self.packed = end + 1 + rows.over[row]
        return end

    def _write(self, rows: Rows, bursts: int) -> None:
        """Ask for as many bursts; then the words of all rows that were read leave."""
        for _ in range(bursts):
            self.burst = max(self.asked, self.burst + 2, self.responses[0] + 1)
            self.responses.append(_NEVER)
        self.asked = self.burst
        self.word = max(self.word, self.burst - 2 * (bursts - 1) + self.latency.store_burst - 1)
        for row in range(len(self.left), len(self.reads)):
            end = self._leave(rows, row)
            self.word = max(end + self.latency.store_words + rows.over[row], self.word + self.memory.cycles_per_beat * rows.words[row])
            # What the bus does not take fills the words before it.
            end = max(end, self.word - _PACKED - self.latency.store_words + 1)
            self.left[-1] = end
            self.packed = end + 1 + rows.over[row]
        for burst in range(bursts):
            self.responses[-1 - burst] = self.word + self.memory.latency
