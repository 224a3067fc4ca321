"""Turns vectors that are columns of a weight tile into its rows."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .shared import shared
from .skew import Skew

__all__ = ["Transposer", "TransposerRow"]


class TransposerRow(wiring.Component):
    """One row of the matrix: ``fill`` shifts it right, ``left`` first; otherwise ``emit`` lets a column take what is above it."""

    fill: Signal
    emit: Signal
    left: Signal
    above: Signal
    cells: Signal

    def __init__(self, *, cols: int, width: int):
        self.cols = cols
        self.width = width
        super().__init__({
            "fill": In(1), "emit": In(cols), "left": In(width), "above": In(width * cols), "cells": Out(width * cols)})

    def elaborate(self, platform):
        m = Module()
        left = self.left
        for c in range(self.cols):
            cell = Signal(self.width, name=f"cell{c}", reset_less=True)
            with m.If(self.fill | self.emit[c]):
                m.d.sync += cell.eq(Mux(self.fill, left, self.above.word_select(c, self.width)))
            m.d.comb += self.cells.word_select(c, self.width).eq(cell)
            left = cell
        return m


class Transposer(wiring.Component):
    """Passes weights through, or gives the rows of a tile whose columns were filled in before.

    A rows × cols matrix of weights, filled from the left, row by row, and emptied at the foot, column by column. A vector of
    ``rows`` weights arrives in pieces of ``cols``: its weight r is lane r mod cols of piece r ÷ cols. The vector for the last column
    comes first. After cols vectors the foot holds row rows − 1 of the tile, and each ``emit`` brings down the one above.

    Latency: none from ``i`` to ``o``, which are skewed by ``delay``; the strobes are not. Throughput: one piece or one row per
    cycle. A tile may be emitted ``fill_to_emit_cycles`` after the last fill, and the next one filled ``emit_to_fill_cycles``
    after the last emit.

    Parameters
    ----------
    rows, cols : size of a tile
    delay : per lane, cycles from a strobe to its weight
    width : bits of a weight

    Members
    -------
    fill, piece : the weights are this piece of a vector
    emit : ``o`` is the foot; otherwise ``i``
    i, o : weights, signed, one per lane
    """

    fill: Signal
    piece: Signal
    emit: Signal
    i: list[Signal]
    o: list[Signal]

    def __init__(self, *, rows: int, cols: int, delay: list[int], width: int = 8):
        if len(delay) != cols:
            raise ValueError(f"delay must have one entry per column, {cols}, not {delay!r}")
        self.rows = rows
        self.cols = cols
        self.delay = list(delay)
        self.width = width
        super().__init__({
            "fill": In(1), "piece": In(range(self.pieces)), "emit": In(1),
            "i": In(signed(width)).array(cols), "o": Out(signed(width)).array(cols),
        })

    @property
    def pieces(self) -> int:
        """Scratchpad rows per vector."""
        return -(-self.rows // self.cols)

    @property
    def fill_delay(self) -> list[int]:
        """Per row, cycles from a fill until its weight is there."""
        return [self.delay[r % self.cols] for r in range(self.rows)]

    @property
    def fill_to_emit_cycles(self) -> int:
        """The first emit moves all of a column, so the last piece of every row has to be there."""
        arrived = [fill - (self.pieces - 1 - r // self.cols) for r, fill in enumerate(self.fill_delay)]
        return max(arrived) - min(self.delay) + 1

    @property
    def emit_to_fill_cycles(self) -> int:
        """A row may be filled when its last old weight has gone down, and no emit may follow a new one's arrival."""
        # The last weight leaves row r with emit r of rows, in the last column last. Where a fill and an emit meet, the fill wins.
        gone = [max(self.delay) - (self.rows - 1 - r) - fill - r // self.cols for r, fill in enumerate(self.fill_delay)]
        arrived = [delay - c * self.pieces - self.delay[0] for c, delay in enumerate(self.delay)]
        return max(1, *gone, *arrived)

    def elaborate(self, platform):
        m = Module()
        m.submodules.fills = fills = Skew(
            data.StructLayout({"fill": 1, "piece": range(self.pieces)}), delays=self.fill_delay)
        m.submodules.emits = emits = Skew(1, delays=self.delay)
        m.d.comb += [fills.i.fill.eq(self.fill), fills.i.piece.eq(self.piece), emits.i.eq(self.emit)]
        above = C(0, self.width * self.cols)
        for r in range(self.rows):
            m.submodules[f"row_{r}"] = row = shared(TransposerRow, platform, cols=self.cols, width=self.width)
            m.d.comb += [
                row.fill.eq(fills.o[r].fill & (fills.o[r].piece == r // self.cols)), row.emit.eq(Cat(emits.o)),
                row.left.eq(self.i[r % self.cols]), row.above.eq(above),
            ]
            above = row.cells
        for c, (o, emit, i) in enumerate(zip(self.o, emits.o, self.i, strict=True)):
            m.d.comb += o.eq(Mux(emit, above.word_select(c, self.width), i))
        return m
