"""The operands of a matrix product on chip: how a panel lies in its slot, the pieces in which it is loaded, and what a step reads of it.

Regions for the token bookkeeping are named in coordinates of the panel, not of the memory, so that pieces that lie interleaved are
still known to be disjoint.
"""

from __future__ import annotations

import abc
from typing import NamedTuple

from .commands import PARAMETER_WORDS, Bank, Load, signed16
from .gemm_tiling import HURRIED_BLOCKS, Gemm, Step, Tiling, doubling, k_parts, panels
from .program import Region

__all__ = ["Activations", "Operand", "Parameters", "Piece", "TransposedWeights", "Weights"]

BASES = {"program": 0, "a": 1, "w": 2, "c": 3, "parameters": 4}
_PARAMETER_BYTES = 4 * PARAMETER_WORDS
_LONGEST_RUN = (1 << 24) - 1


class Piece(NamedTuple):
    """What one LOAD brings: for activations rows of A, for weights and parameters column tiles; over ``k``."""

    panel: tuple[int, ...]
    lines: range
    k: range


class Operand(abc.ABC):
    """One operand.

    ``slots`` : panels that fit on chip; none if a single panel does not fit
    """

    bank: Bank
    slots: int

    def __init__(self, gemm: Gemm, tiling: Tiling):
        self.gemm = gemm
        self.config = gemm.config
        self.ks = panels(gemm.k, tiling.depth)
        self.tiles = panels(gemm.n_tiles, tiling.tiles)
        self.most_tiles = len(self.tiles[0])

    @abc.abstractmethod
    def panel(self, step: Step) -> tuple[int, ...]:
        """Which panel ``step`` uses."""

    @abc.abstractmethod
    def pieces(self, panel: tuple[int, ...], number: int) -> list[Piece]:
        """The pieces of a panel, the ``number``-th that is loaded: the first ones as small as the first steps want them."""

    @abc.abstractmethod
    def serves(self, piece: Piece, step: Step) -> bool:
        """Whether ``step``, which uses the piece's panel, needs the piece."""

    @abc.abstractmethod
    def loads(self, piece: Piece, slot: int) -> list[Load]:
        """The commands that bring a piece, with memory as NumPy has it."""

    @abc.abstractmethod
    def regions(self, piece: Piece, slot: int) -> list[Region]: ...

    def _hurried(self, panel: tuple[int, ...], growth: list[range], k: range) -> list[Piece]:
        """The first two growths, which the hurried blocks are made of, part by part; then whole ones."""
        return [Piece(panel, lines, part) for block, lines in enumerate(growth)
                for part in (k_parts(self.gemm, k, block) if block < 2 else [k])]


def _common(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


class Activations(Operand):
    """Rows of A: each takes ``pitch`` consecutive scratchpad rows."""

    bank = Bank.ACTIVATION

    def __init__(self, gemm: Gemm, tiling: Tiling):
        super().__init__(gemm, tiling)
        self.ms = panels(gemm.m, tiling.rows)
        self.pitch = -(-len(self.ks[0]) // self.config.array.rows)
        self.slot_rows = len(self.ms[0]) * self.pitch
        # What pieces of the same rows may be told apart by, in every slot.
        cuts = sorted({part.start for block in range(HURRIED_BLOCKS) for part in k_parts(gemm, self.ks[0], block)})
        self.parts = [range(start, stop) for start, stop in zip(cuts, [*cuts[1:], self.ks[0].stop], strict=True)]
        self.slots = self.config.activation_rows // self.slot_rows

    def panel(self, step: Step) -> tuple[int, ...]:
        return step.panel[0], step.panel[2]

    def pieces(self, panel: tuple[int, ...], number: int) -> list[Piece]:
        m, k = self.ms[panel[0]], self.ks[panel[1]]
        if number:
            count = min(8, -(-len(m) // self.gemm.least_rows)) if len(self.ks) == 1 else 1
            return [Piece(panel, m[len(m) * i // count:len(m) * (i + 1) // count], k) for i in range(count)]
        if len(self.ks) > 1:
            return [Piece(panel, m, part) for part in k_parts(self.gemm, k, 0)]
        return self._hurried(panel, doubling(m, self.gemm.least_rows), k)

    def serves(self, piece: Piece, step: Step) -> bool:
        return _common(piece.lines, step.m) and _common(piece.k, step.k)

    def row(self, slot: int, panel: tuple[int, ...], m: int, k: int) -> int:
        """Scratchpad row of A[m, k]."""
        return slot * self.slot_rows + (m - self.ms[panel[0]].start) * self.pitch + (k - self.ks[panel[1]].start) // self.config.array.rows

    def loads(self, piece: Piece, slot: int) -> list[Load]:
        each = self.config.array.activation_bytes
        total, run, count = self.gemm.k * each, len(piece.k) * each, len(piece.lines)
        row = self.row(slot, piece.panel, piece.lines.start, piece.k.start)
        if run == total and run % self.config.activation_lanes == 0 and run * count <= _LONGEST_RUN:
            run, count = run * count, 1
        return [Load(bank=self.bank, base=BASES["a"], offset=piece.lines.start * total + piece.k.start * each, run=run, count1=count,
                     stride1=total if count > 1 else 0, row=row, row_stride1=signed16(self.pitch) if count > 1 else 0)]

    def regions(self, piece: Piece, slot: int) -> list[Region]:
        return self._regions(slot, piece.panel, piece.lines, piece.k)

    def reads(self, step: Step, slot: int) -> list[Region]:
        return self._regions(slot, self.panel(step), step.m, step.k)

    def _regions(self, slot: int, panel: tuple[int, ...], lines: range, k: range) -> list[Region]:
        m0, k0 = self.ms[panel[0]].start, self.ks[panel[1]].start
        places = range(k.start - k0, k.stop - k0)
        touched = [i for i, part in enumerate(self.parts) if _common(part, places)]
        return [Region((self.bank, slot, i), lines.start - m0, lines.stop - m0) for i in touched]


class Weights(Operand):
    """Column tiles of W: a panel's row of W takes one scratchpad row per tile, tile beside tile, so that runs are long.

    ``vector_stride``, ``k_stride`` : weight rows from vector to vector of a tile, and from a tile to the next one in K
    """

    bank = Bank.WEIGHT

    def __init__(self, gemm: Gemm, tiling: Tiling):
        super().__init__(gemm, tiling)
        self.slot_rows = gemm.tile_rows(len(self.ks[0])) * self.most_tiles
        self.vector_stride = self.most_tiles
        self.k_stride = self.config.array.rows * self.most_tiles
        self.slots = self.config.weight_rows // self.slot_rows

    def panel(self, step: Step) -> tuple[int, ...]:
        return step.panel[2], step.panel[1]

    def pieces(self, panel: tuple[int, ...], number: int) -> list[Piece]:
        k, tiles = self.ks[panel[0]], self.tiles[panel[1]]
        if number == 1 and len(self.ks) == 1:
            return [*(Piece(panel, tiles[:1], part) for part in k_parts(self.gemm, k, HURRIED_BLOCKS - 1)),
                    *(Piece(panel, range(tile, tile + 1), k) for tile in tiles[1:])]
        if number:
            # Where A changes with K as well, the bus is what limits: the first step waits for one tile, if no word is read twice for it.
            cut = int(len(self.ks) > 1 and self.config.weight_bytes(self.gemm.width) % self.config.bus_bytes == 0)
            return [Piece(panel, part, k) for part in (tiles[:cut], tiles[cut:]) if part]
        if len(self.ks) > 1:
            first, *parts = k_parts(self.gemm, k, 0)
            return [*(Piece(panel, range(tile, tile + 1), first) for tile in tiles), *(Piece(panel, tiles, part) for part in parts)]
        return self._hurried(panel, doubling(tiles, 1), k)

    def serves(self, piece: Piece, step: Step) -> bool:
        return step.tile in piece.lines and _common(piece.k, step.k)

    def row(self, slot: int, panel: tuple[int, ...], tile: int, k: int) -> int:
        """Scratchpad row of W[k, columns of tile]."""
        return slot * self.slot_rows + (k - self.ks[panel[0]].start) * self.most_tiles + tile - self.tiles[panel[1]].start

    def loads(self, piece: Piece, slot: int) -> list[Load]:
        place, total = self.gemm.weight_bytes, self.gemm.weight_bytes(self.gemm.n)
        start, stop = place(self.gemm.columns(piece.lines.start).start), place(self.gemm.columns(piece.lines[-1]).stop)
        run, count = stop - start, len(piece.k)
        row = self.row(slot, piece.panel, piece.lines.start, piece.k.start)
        if run == total == self.most_tiles * self.config.weight_lanes and run * count <= _LONGEST_RUN:
            run, count = run * count, 1
        return [Load(bank=self.bank, base=BASES["w"], offset=piece.k.start * total + start, run=run, count1=count,
                     stride1=total if count > 1 else 0, row=row, row_stride1=signed16(self.most_tiles) if count > 1 else 0)]

    def regions(self, piece: Piece, slot: int) -> list[Region]:
        return [region for tile in piece.lines for region in self._regions(slot, piece.panel, tile, piece.k)]

    def reads(self, step: Step, slot: int) -> list[Region]:
        return self._regions(slot, self.panel(step), step.tile, step.k)

    def _regions(self, slot: int, panel: tuple[int, ...], tile: int, k: range) -> list[Region]:
        k0 = self.ks[panel[0]].start
        return [Region((self.bank, slot, tile - self.tiles[panel[1]].start), k.start - k0, k.stop - k0)]


class TransposedWeights(Weights):
    """Column tiles of W where memory holds its columns: a column takes whole scratchpad rows for every tile in K."""

    def __init__(self, gemm: Gemm, tiling: Tiling):
        super().__init__(gemm, tiling)
        self.k_stride = gemm.vector_rows
        self.vector_stride = -(-len(self.ks[0]) // self.config.array.rows) * self.k_stride

    def row(self, slot: int, panel: tuple[int, ...], tile: int, k: int) -> int:
        """First scratchpad row of the tile's first column from ``k`` on."""
        column = (tile - self.tiles[panel[1]].start) * self.config.array.cols
        return slot * self.slot_rows + column * self.vector_stride + (k - self.ks[panel[0]].start) // self.config.array.rows * self.k_stride

    def loads(self, piece: Piece, slot: int) -> list[Load]:
        array, place, k = self.config.array, self.gemm.weight_bytes, piece.k
        total = place(self.gemm.k)
        first, columns = self.gemm.columns(piece.lines.start).start, self.gemm.columns(piece.lines[-1]).stop
        count, row = columns - first, self.row(slot, piece.panel, piece.lines.start, k.start)
        offset = first * total + place(k.start)
        if array.rows % array.cols == 0 and len(k) == self.gemm.k and len(k) % array.rows == 0 and total * count <= _LONGEST_RUN:
            return [Load(bank=self.bank, base=BASES["w"], offset=offset, run=total * count, row=row)]
        # Where columns of a tile do not fill scratchpad rows, each is a run of its own, and the short ones at the end of K come last.
        each = len(k) if array.rows % array.cols == 0 else min(array.rows, len(k))
        whole, rest = divmod(len(k), each)
        run = place(each)
        parts = [(offset, run, whole, row)]
        if rest:
            parts.append((offset + whole * run, place(rest), 1, row + whole * self.k_stride))
        return [Load(bank=self.bank, base=BASES["w"], offset=at, run=length, count1=inner, count2=count, stride1=run, stride2=total, row=to,
                     row_stride1=self.k_stride, row_stride2=signed16(self.vector_stride)) for at, length, inner, to in parts]


class Parameters(Operand):
    """Bias, multiplier and shift of each column; every tile begins with a group of its own."""

    bank = Bank.PARAMETER

    def __init__(self, gemm: Gemm, tiling: Tiling):
        super().__init__(gemm, tiling)
        self.slot_rows = self.most_tiles * gemm.groups
        self.slots = self.config.parameter_groups // self.slot_rows

    def panel(self, step: Step) -> tuple[int, ...]:
        return (step.panel[1],)

    def pieces(self, panel: tuple[int, ...], number: int) -> list[Piece]:
        # What is not a whole tile needs a LOAD of its own, for a LOAD's runs are all equally long.
        whole = [tile for tile in self.tiles[panel[0]] if len(self.gemm.columns(tile)) == self.gemm.width]
        tiles = self.tiles[panel[0]]
        parts = [tiles[:len(whole)], tiles[len(whole):]]
        return [Piece(panel, part, range(0)) for part in parts if part]

    def serves(self, piece: Piece, step: Step) -> bool:
        return step.complete and _common(piece.lines, step.block.tiles)

    def row(self, slot: int, panel: tuple[int, ...], tile: int) -> int:
        """First group of a tile."""
        return slot * self.slot_rows + (tile - self.tiles[panel[0]].start) * self.gemm.groups

    def loads(self, piece: Piece, slot: int) -> list[Load]:
        count, run = len(piece.lines), _PARAMETER_BYTES * len(self.gemm.columns(piece.lines.start))
        if self.gemm.width == self.gemm.groups * self.config.epilogue.lanes and run * count <= _LONGEST_RUN:
            run, count = run * count, 1
        return [Load(bank=self.bank, base=BASES["parameters"], offset=_PARAMETER_BYTES * self.gemm.columns(piece.lines.start).start,
                     run=run, count1=count, stride1=_PARAMETER_BYTES * self.gemm.width if count > 1 else 0,
                     row=self.row(slot, piece.panel, piece.lines.start), row_stride1=self.gemm.groups if count > 1 else 0)]

    def regions(self, piece: Piece, slot: int) -> list[Region]:
        return [Region(self.bank, self.row(slot, piece.panel, piece.lines.start), self.row(slot, piece.panel, piece.lines.stop))]

    def reads(self, tile: int, panel: tuple[int, ...], slot: int) -> list[Region]:
        return [Region(self.bank, self.row(slot, panel, tile), self.row(slot, panel, tile + 1))]
