"""What the cycle model has to know of each command, once for all that are alike in what matters to time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from . import footprint
from .commands import PEERS, Command, Engine, Execute, Load, Store
from .config import Config
from .cycles_read import Bursts, load_bursts
from .cycles_store import Rows, store_rows
from .latency import LOAD_BURST_BEATS, Latency, Memory

__all__ = ["ENGINES", "Kind", "Stream", "kinds_of", "pair"]

ENGINES = (Engine.LOAD, Engine.EXECUTE, Engine.STORE)

_LOAD = attrgetter("wait", "post", "bank", "run", "count1", "count2", "stride1", "stride2", "base", "offset")
_EXECUTE = attrgetter("wait", "post", "accumulator_row", "x_count", "y_count", "b_count", "ky_count", "kx_count", "ct_count", "transpose")
_STORE = attrgetter("wait", "post", "row", "operation", "target", "lane", "window", "columns", "count1", "count2", "stride1", "stride2",
                    "bias", "zero_point", "low", "high", "base", "destination")


class Stream(NamedTuple):
    """Rows of one EXECUTE.

    ``rows``, ``tiles`` : rows per tile, and tiles; ``counting`` : cycles by which the command begins later; ``lead`` : from its tokens to
    the first vector's step; ``gap`` : from a tile's first row to the next one's first vector; ``vectors`` : from there to its first row;
    ``each`` : from tile to tile
    """

    rows: int
    tiles: int
    counting: int
    lead: int
    gap: int
    vectors: int
    each: int


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

    def __init__(self, number: int, command: Command, half: int, detail: Bursts | Stream | Rows):
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


def stream(config: Config, c: Execute, latency: Latency) -> Stream:
    array = config.array
    rows, tiles = footprint.accumulator_count(c), footprint.tile_count(c)
    vectors = max(array.rows + 1 + latency.shift_to_swap, latency.tile)
    lead, gap = latency.execute_preload, latency.swap_to_shift - 2
    if c.transpose:
        fill = array.cols * -(-array.rows // array.cols) - 1 + latency.fill_to_emit
        lead += fill
        gap = max(gap, latency.emit_to_fill + fill - latency.shift_to_swap - 2)
    return Stream(rows, tiles, latency.counting(c), lead, gap, vectors, max(rows, gap + vectors))


def _same_bursts(one: Bursts) -> Hashable:
    return (Engine.LOAD, one.before_last, one.busy, one.bank, one.tail, *one.ends)


def _same_rows(one: Rows) -> Hashable:
    return (Engine.STORE, one.chunks, one.window, one.target, one.walk, *one.parts, *one.over, *one.settings)


def kinds_of(config: Config, program: Sequence[Command], bases: Sequence[int], memory: Memory) -> list[Kind]:
    """The kind of each command; ``bases`` has all base registers."""
    latency, half_rows = Latency(config), config.half_rows
    block = LOAD_BURST_BEATS * config.bus_bytes - 1   # of an address, what matters to bursts
    kinds: dict[Hashable, Kind] = {}
    details: dict[Hashable, Any] = {}

    def detail(key: Hashable, make: Callable[[], Any], same: Callable[[Any], Hashable]) -> Any:
        """One object for all that move the same."""
        if key not in details:
            made = make()
            details[key] = details.setdefault(same(made), made)
        return details[key]

    def new(key: tuple[Any, ...], command: Command) -> Kind:
        half, what = 0, None
        match command:
            case Load():
                what = detail(key[3:], lambda: load_bursts(config, command, bases[command.base], memory.cycles_per_beat), _same_bursts)
            case Execute():
                half = command.accumulator_row // half_rows
                what = detail(key[4:], lambda: stream(config, command, latency), lambda one: one)
            case Store():
                half = command.row // half_rows
                what = detail(key[4:], lambda: store_rows(config, command, bases[command.base], latency), _same_rows)
        same = command.engine, command.wait, command.post, half, id(what)
        if same not in kinds:
            kinds[same] = Kind(len(kinds), command, half, what)
        return kinds[same]

    known: dict[tuple[Any, ...], Kind] = {}
    result = []
    for command in program:
        if isinstance(command, Execute):
            values = _EXECUTE(command)
            key = (1, *values[:2], values[2] >= half_rows, *values[3:])
        elif isinstance(command, Load):
            values = _LOAD(command)
            key = (0, *values[:-2], bases[values[-2]] + values[-1] & block)
        else:
            values = _STORE(command)
            key = (2, *values[:2], values[2] >= half_rows, *values[3:-2], bases[values[-2]] + values[-1] & block)
        kind = known.get(key)
        if kind is None:
            kind = known[key] = new(key, command)
        result.append(kind)
    return result
