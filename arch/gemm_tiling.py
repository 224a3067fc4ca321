"""How a matrix product is cut: panels that scratchpads hold, blocks that accumulator halves hold, and the steps that the array takes.

C is covered by panel pairs: ``rows`` rows of A times ``tiles`` column tiles of W, over all of K or, where that does not fit the
scratchpads, over chunks of ``depth``. A pair is cut further into blocks, each stored when complete. The first blocks are small, so
that the array starts after a small part of the operands has arrived, and grow as what has arrived grows: a rows of A and t
tiles of W are work for a·t, but only a + t to load. The last blocks shrink, for the last STORE overlaps nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from .config import Config
from .numerics import pack_int4

__all__ = ["Block", "Gemm", "Step", "Tiling", "doubling", "k_parts", "panels", "steps"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gemm:
    """C[M, N] = A[M, K] · W[K, N] on one accelerator; ``bias`` and requantised results need parameters, one triple per column.

    With ``transpose``, memory holds W as (N, K), and the transposer turns the tiles. :meth:`pack` gives W as memory holds it.
    """

    config: Config
    m: int
    n: int
    k: int
    out: Literal["int32", "int8", "int16"] = "int32"
    bias: bool = False
    transpose: bool = False

    @property
    def macs(self) -> int:
        return self.m * self.n * self.k

    @property
    def parameters(self) -> bool:
        return self.bias or self.out != "int32"

    @property
    def result_bytes(self) -> int:
        return 4 if self.out == "int32" else self.config.array.activation_bytes

    @property
    def width(self) -> int:
        """Columns in a tile: all of the array's, but no more than the parameter memory has channels."""
        config = self.config
        return min(config.array.cols, config.parameter_groups * config.epilogue.lanes) if self.parameters else config.array.cols

    @property
    def n_tiles(self) -> int:
        return -(-self.n // self.width)

    @property
    def groups(self) -> int:
        """Parameter groups of one column tile."""
        return -(-self.width // self.config.epilogue.lanes)

    @property
    def vector_rows(self) -> int:
        """Weight rows of one column of a transposed tile."""
        return -(-self.config.array.rows // self.config.array.cols)

    def tile_rows(self, depth: int) -> int:
        """Weight rows of one column tile over ``depth`` rows of W."""
        array = self.config.array
        return array.cols * self.vector_rows * -(-depth // array.rows) if self.transpose else depth

    @property
    def least_rows(self) -> int:
        """Rows that a weight tile should meet: fewer do not cover the loading of the next tile."""
        array = self.config.array
        return array.rows + (array.cols * self.vector_rows if self.transpose else array.rows)

    def weight_bytes(self, count: int) -> int:
        """Bytes in memory of the first ``count`` weights of a row of W, with ``transpose`` of a column.

        As many as int8 weights are. int4 weights are packed, and what goes to another scratchpad row begins with another byte.
        """
        def packed(count: int, each: int) -> int:
            whole, rest = divmod(count, each)
            return whole * self.config.weight_bytes(each) + self.config.weight_bytes(rest)

        array = self.config.array
        if not self.transpose:
            return packed(count, self.width)
        whole, rest = divmod(count, array.rows)
        return whole * packed(array.rows, array.cols) + packed(rest, array.cols)

    @property
    def matrix_bytes(self) -> int:
        """Bytes of W in memory."""
        lines, count = (self.n, self.k) if self.transpose else (self.k, self.n)
        return lines * self.weight_bytes(count)

    def pack(self, w: np.ndarray) -> np.ndarray:
        """W, int8 of shape (K, N), as memory has it: int8, or bytes of int4 weights, laid out as :meth:`weight_bytes` says."""
        w = w.T if self.transpose else w
        array, count = self.config.array, w.shape[1]
        if array.weight_bits == 8:
            return w
        if self.transpose:
            cuts = {start + within for start in range(0, count, array.rows) for within in range(0, array.rows, array.cols)}
        else:
            cuts = set(range(0, count, self.width))
        starts = sorted(cut for cut in cuts if cut < count)
        return np.concatenate([pack_int4(w[:, start:stop]) for start, stop in zip(starts, [*starts[1:], count], strict=True)], axis=1)

    def columns(self, tile: int) -> range:
        return range(tile * self.width, min((tile + 1) * self.width, self.n))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiling:
    """Sizes of panels, and which operand stays while the other passes: ``outer`` "m" keeps rows of A, "n" tiles of W."""

    rows: int
    tiles: int
    depth: int
    outer: Literal["m", "n"]


HURRIED_BLOCKS = 4  # one tile by few rows, a second tile, as many rows again, a third tile: until then the bus is what limits


class Block(NamedTuple):
    """A rectangle of C that is stored as one: rows of C, column tiles, and its first accumulator row, tile after tile."""

    m: range
    tiles: range
    row: int


class Step(NamedTuple):
    """One EXECUTE: ``m`` rows times one tile over ``k``; with the numbers of the panels, and the block that it completes, if any."""

    m: range
    tile: int
    k: range
    block: Block
    panel: tuple[int, int, int]  # of M, N, K
    complete: bool

    @property
    def row(self) -> int:
        return self.block.row + (self.tile - self.block.tiles.start) * len(self.block.m)


def panels(total: int, size: int) -> list[range]:
    """As few ranges of at most ``size`` as cover ``total``."""
    return [range(start, min(start + size, total)) for start in range(0, total, size)]


def steps(gemm: Gemm, tiling: Tiling) -> list[Step]:
    """All steps, in order."""
    ms, ns, ks = panels(gemm.m, tiling.rows), panels(gemm.n_tiles, tiling.tiles), panels(gemm.k, tiling.depth)
    pairs = [(i, j) for i in range(len(ms)) for j in range(len(ns))]
    if tiling.outer == "n":
        pairs.sort(key=lambda pair: pair[::-1])
    accumulator = _Accumulator(gemm.config.half_rows)
    result: list[Step] = []
    blocks = 0
    for number, (i, j) in enumerate(pairs):
        rectangles = [(ms[i], ns[j])]
        if len(ks) == 1:
            rectangles = _grow(*rectangles[0], gemm.least_rows) if number == 0 else rectangles
            rectangles = [piece for rectangle in rectangles for piece in _cut(*rectangle, gemm.config.half_rows)]
            if number == len(pairs) - 1:
                rectangles[-1:] = _shrink(*rectangles[-1], gemm.least_rows)
        for m, tiles in rectangles:
            hurried = blocks < (HURRIED_BLOCKS if len(ks) == 1 else 1)
            blocks += 1
            block = Block(m, tiles, accumulator.place(len(m) * len(tiles)))
            for c, k in enumerate(ks):
                for part in k_parts(gemm, k, blocks - 1) if hurried and c == 0 else [k]:
                    result += [Step(m, tile, part, block, (i, j, c), part.stop == gemm.k and tile == tiles[-1]) for tile in tiles]
    return result


def doubling(whole: range, least: int, *, most: int | None = None) -> list[range]:
    """``whole`` in parts that double what there is, from ``least`` to ``most``; a rest shorter than that joins the part before it."""
    parts, start = [], whole.start
    while start < whole.stop:
        stop = start + min(max(least, start - whole.start), most or len(whole))
        stop = whole.stop if whole.stop - stop < least else stop
        parts.append(range(start, stop))
        start = stop
    return parts


def k_parts(gemm: Gemm, k: range, block: int) -> list[range]:
    """How a hurried block takes its first chunk of K: each part is used while the next one comes.

    The first block waits for the bus, so its last part, which overlaps nothing, is small. Blocks 1 and 2 take as long as what they add
    takes to load: equal parts. From then on the bus is ahead, and a first part is enough. A chunk that is not all of K is
    used by whole panels, as fast as it comes: the first part is small.
    """
    rows = gemm.config.array.rows
    tiles = -(-len(k) // rows)
    if len(k) < gemm.k:
        sizes = [len(part) for part in doubling(range(tiles), max(1, tiles // 8))]
    elif block == 0:
        sizes = [len(part) for part in doubling(range(tiles), max(1, tiles // 8))][::-1]
    elif block < HURRIED_BLOCKS - 1:
        sizes = [len(part) for part in panels(tiles, -(-tiles // 3))]
    else:
        sizes = [max(1, 3 * tiles // 8), tiles]
    parts, start = [], k.start
    for size in sizes:
        stop = min(start + size * rows, k.stop)
        if start < stop:
            parts.append(range(start, stop))
        start = stop
    return parts


def _grow(m: range, tiles: range, least: int) -> list[tuple[range, range]]:
    """A rectangle as one that doubles, now in tiles, now in rows: what each growth adds."""
    more_rows, more_tiles = doubling(m, least)[::-1], doubling(tiles, 1)[::-1]
    rows, width = more_rows.pop(), more_tiles.pop()
    grown = [(rows, width)]
    while more_rows or more_tiles:
        if more_tiles and (not more_rows or len(rows) >= least * len(width)):
            new = more_tiles.pop()
            grown.append((rows, new))
            width = range(tiles.start, new.stop)
        else:
            new = more_rows.pop()
            grown.append((new, width))
            rows = range(m.start, new.stop)
    return grown


def _cut(m: range, tiles: range, most: int) -> Iterator[tuple[range, range]]:
    """A rectangle in pieces of nearly equal numbers of tiles, of at most ``most`` accumulator rows."""
    count = -(-len(tiles) // max(1, most // len(m)))
    for i in range(count):
        yield m, tiles[len(tiles) * i // count:len(tiles) * (i + 1) // count]


def _shrink(m: range, tiles: range, least: int) -> list[tuple[range, range]]:
    """A rectangle in pieces that halve, the last a single tile of few rows."""
    pieces = []
    while len(tiles) > 1:
        middle = (len(tiles) + 1) // 2
        pieces.append((m, tiles[:middle]))
        tiles = tiles[middle:]
    while len(m) >= 2 * least:
        middle = len(m) // 2
        pieces.append((m[:middle], tiles))
        m = m[middle:]
    return [*pieces, (m, tiles)]


class _Accumulator:
    """Places blocks in alternate halves, and round and round within each, so that a row is used again as late as possible."""

    def __init__(self, half_rows: int):
        self.half_rows = half_rows
        self.half = 1
        self.used = [0, 0]

    def place(self, rows: int) -> int:
        self.half ^= 1
        if self.used[self.half] + rows > self.half_rows:
            self.used[self.half] = 0
        self.used[self.half] += rows
        return self.half * self.half_rows + self.used[self.half] - rows
