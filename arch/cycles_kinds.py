"""What the cycle model has to know of each command, once for all that are alike in what matters to time."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from . import footprint
from .commands import PEERS, Command, Engine, Execute, Load, Store
from .config import Config
from .cycles_bursts import Bursts, load_bursts
from .cycles_rows import Rows, store_rows
from .cycles_store import Known
from .cycles_words import WordMarks
from .latency import LOAD_BURST_BEATS, Latency, Memory

__all__ = ["ENGINES", "Kind", "Passes", "Shapes", "Stream", "pair", "shapes_of"]

ENGINES = (Engine.LOAD, Engine.EXECUTE, Engine.STORE)
_MOST = 20_000   # commands to remember

# Fields that matter to time, in the order in which :meth:`Shapes.kinds` takes them apart.
_LOAD_FIELDS = ("wait", "post", "bank", "run", "count1", "count2", "stride1", "stride2", "base", "offset")
_EXECUTE_FIELDS = ("wait", "post", "accumulator_row", "x_count", "y_count", "b_count", "ky_count", "kx_count", "ct_count", "transpose",
                   "accumulate")
_STORE_FIELDS = ("wait", "post", "row", "operation", "target", "lane", "window", "columns", "count1", "count2", "stride1", "stride2",
                 "bias", "zero_point", "low", "high", "base", "destination")
_LOAD, _EXECUTE, _STORE = (attrgetter(*names) for names in (_LOAD_FIELDS, _EXECUTE_FIELDS, _STORE_FIELDS))


class Stream(NamedTuple):
    """Rows of one EXECUTE.

    ``rows``, ``tiles`` : rows per tile, and tiles; ``counting`` : cycles by which the command begins later; ``lead`` : from its tokens to
    the first vector's step; ``gap`` : from a tile's first row to the next one's first vector; ``vectors`` : from there to its swap;
    ``each`` : from tile to tile
    """

    rows: int
    tiles: int
    counting: int
    lead: int
    gap: int
    vectors: int
    each: int


class Passes(NamedTuple):
    """Passes of one EXECUTE on sums that stay.

    ``rows``, ``tiles``, ``counting`` : as of :class:`Stream`; ``slots`` : cycles of all passes but the last one; ``last`` : of that one;
    ``drained`` : rows of the last block
    """

    rows: int
    tiles: int
    counting: int
    slots: int
    last: int
    drained: int


class Kind:
    """Commands alike.

    number : of all kinds of a program
    engine : 0 LOAD, 1 EXECUTE, 2 STORE
    words : of the command
    waits, posts : pairs of engines, as :func:`pair` numbers them, of which a token is taken, or to which one is given
    half : of the accumulator
    detail : what it moves
    """

    __slots__ = ("detail", "engine", "half", "number", "posts", "waits", "words")

    def __init__(self, number: int, command: Command, half: int, detail: Bursts | Stream | Passes | Rows):
        engine = command.engine
        self.number, self.engine, self.words = number, int(engine) - 1, command.words
        peers = [int(peer) - 1 for peer in PEERS[engine]]
        self.waits = tuple([pair(peer, self.engine) for bit, peer in enumerate(peers) if command.wait >> bit & 1])
        self.posts = tuple([pair(self.engine, peer) for bit, peer in enumerate(peers) if command.post >> bit & 1])
        self.half = half
        self.detail: Any = detail


def pair(giver: int, taker: int) -> int:
    """The number of the tokens that ``giver`` gives to ``taker``, 0 … 8."""
    return 3 * giver + taker


def stream(config: Config, c: Execute, latency: Latency) -> Stream | Passes:
    array = config.array
    rows, tiles = footprint.accumulator_count(c), footprint.tile_count(c)
    if array.dataflow == "os":
        passes = -(-rows // array.rows) * tiles
        slot = latency.transposed_slot if c.transpose else latency.slot
        first = latency.adding_slot if c.accumulate and tiles == 1 and not c.transpose else slot
        return Passes(rows, tiles, latency.counting(c), first + (passes - 2) * slot if passes > 1 else 0, slot if passes > 1 else first,
                      (rows - 1) % array.rows + 1)
    vectors = max(array.rows + 1 + latency.shift_to_swap, latency.tile)
    lead, gap, swap = latency.execute_preload, latency.swap_to_shift - 2, latency.swap_cycles
    if c.transpose:
        fill = array.cols * -(-array.rows // array.cols) - 1 + latency.fill_to_emit
        lead += fill
        gap = max(gap, latency.emit_to_fill + fill - latency.shift_to_swap - 2)
    return Stream(rows, tiles, latency.counting(c), lead, gap - swap, vectors, max(rows + swap, gap + vectors))


class Shapes:
    """What has been found out about commands of one accelerator with one memory; it stays from program to program, up to a size.

    Attributes
    ----------
    known, found : for :class:`~.cycles_store.StorePath`
    predictions : of whole programs, by where they begin in a burst and the numbers of their commands' kinds
    """

    def __init__(self, config: Config, memory: Memory):
        self.config, self.memory = config, memory
        self.latency = Latency(config)
        self.block = LOAD_BURST_BEATS * config.bus_bytes - 1   # of an address, what matters to bursts
        self.known: dict[Hashable, Known] = {}
        self.found: dict[Hashable, Known] = {}
        self.predictions: dict[Hashable, Any] = {}
        self._by_fields: dict[tuple[Any, ...], Kind] = {}
        self._by_words: dict[bytes, Kind] = {}
        self._words = WordMarks(config, self.block, {Load: _LOAD_FIELDS, Execute: _EXECUTE_FIELDS, Store: _STORE_FIELDS})
        self._details: dict[Hashable, Any] = {}   # by an engine's fields
        self._alike: dict[Hashable, Any] = {}     # by what is in them
        self._kinds: dict[Hashable, Kind] = {}

    def kinds(self, program: Sequence[Command], bases: Sequence[int], words: np.ndarray | None = None) -> list[Kind]:
        """The kind of each command; ``bases`` has all base registers; ``words`` is the program packed, if it is at hand."""
        if len(self._by_fields) + len(self.known) > _MOST:
            for known in (self.known, self.found, self._by_fields, self._by_words, self._details, self._alike, self._kinds,
                          self.predictions):
                known.clear()
        if words is None:
            by_fields = self._by_fields
            keys = self._keys(program, bases)
            self._learn({key: command for key, command in zip(keys, program, strict=True) if key not in by_fields}, bases)
            return [by_fields[key] for key in keys]
        by_words = self._by_words
        marks = self._words.marks(program, words, bases)
        new = {mark: command for mark, command in zip(marks, program, strict=True) if mark not in by_words}
        if new:
            by_words.update(zip(new, self.kinds(list(new.values()), bases), strict=True))
        return [by_words[mark] for mark in marks]

    def _keys(self, program: Sequence[Command], bases: Sequence[int]) -> list[tuple[Any, ...]]:
        """Of each command its fields that matter to time."""
        half_rows, block, result = self.config.half_rows, self.block, []
        for command in program:
            if isinstance(command, Execute):
                values = _EXECUTE(command)
                result.append((1, *values[:2], values[2] >= half_rows, *values[3:]))
            elif isinstance(command, Load):
                values = _LOAD(command)
                result.append((0, *values[:-2], bases[values[-2]] + values[-1] & block))
            else:
                values = _STORE(command)
                result.append((2, *values[:2], values[2] >= half_rows, *values[3:-2], bases[values[-2]] + values[-1] & block))
        return result

    def _learn(self, new: Mapping[tuple[Any, ...], Command], bases: Sequence[int]) -> None:
        """Find out about commands that were not seen before, by their fields."""
        config, latency, details = self.config, self.latency, self._details
        loads = {(Engine.LOAD, *key[3:]): command for key, command in new.items() if isinstance(command, Load)}
        loads = {key: command for key, command in loads.items() if key not in details}
        every = load_bursts(config, list(loads.values()), bases, self.memory.cycles_per_beat)
        details.update(zip(loads, map(self._same, every), strict=True))
        for key, command in new.items():
            half = 0
            place: Hashable = (command.engine, *key[4:])
            match command:
                case Load():
                    place = Engine.LOAD, *key[3:]
                case Execute():
                    half = command.accumulator_row // config.half_rows
                    if place not in details:
                        details[place] = self._same(stream(config, command, latency))
                case Store():
                    half = command.row // config.half_rows
                    if place not in details:
                        details[place] = self._same(store_rows(config, command, bases[command.base], latency))
            what = details[place]
            same = command.engine, command.wait, command.post, half, id(what)
            if same not in self._kinds:
                self._kinds[same] = Kind(len(self._kinds), command, half, what)
            self._by_fields[key] = self._kinds[same]

    def _same(self, made: Bursts | Stream | Passes | Rows) -> Any:
        """One object for all that move the same."""
        match made:
            case Bursts():
                same: Hashable = (Engine.LOAD, made.runs, made.held, made.busy, made.bank, made.tail, *made.kept, *made.ends)
            case Rows():
                same = (Engine.STORE, made.chunks, made.window, made.target, made.walk, made.pieces, made.final, made.share,
                        *made.alike, *made.settings)
            case _:
                same = (Engine.EXECUTE, *made)
        return self._alike.setdefault(same, made)


@functools.lru_cache(maxsize=8)
def shapes_of(config: Config, memory: Memory) -> Shapes:
    """The same for the same accelerator and memory."""
    return Shapes(config, memory)
