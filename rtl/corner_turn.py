"""Turns rows of activations, one after the other, into vectors of one value of each."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .shared import shared
from .transposer import TransposerRow

__all__ = ["CornerTurn"]


class CornerTurn(wiring.Component):
    """A square of ``size`` × ``size`` values that moves right or down, and is filled at one side while it empties at the other.

    ``size`` moves in one direction bring in as many vectors; as many in the other direction bring them out, turned: the values with
    index size − 1 of all vectors first, and the vector that came first in lane size − 1. Meanwhile the next vectors come in, so the
    directions alternate and no cycle is lost.

    Latency: none from the cells to ``o``. Throughput: one vector per cycle.

    Parameters
    ----------
    size : values in a vector, and vectors
    width : bits of a value

    Members
    -------
    move : takes ``i``
    down : the direction, as long as vectors come in or out in it
    i, o : values, signed, one per lane
    """

    move: Signal
    down: Signal
    i: list[Signal]
    o: list[Signal]

    def __init__(self, *, size: int, width: int):
        self.size = size
        self.width = width
        super().__init__({"move": In(1), "down": In(1), "i": In(signed(width)).array(size), "o": Out(signed(width)).array(size)})

    def elaborate(self, platform):
        m = Module()
        last, above = [], Cat(self.i)
        for r in range(self.size):
            m.submodules[f"row_{r}"] = row = shared(TransposerRow, platform, cols=self.size, width=self.width)
            m.d.comb += [
                row.fill.eq(self.move & ~self.down), row.emit.eq((self.move & self.down).replicate(self.size)),
                row.left.eq(self.i[r]), row.above.eq(above),
            ]
            above = row.cells
            last.append(row.cells.word_select(self.size - 1, self.width))
        m.d.comb += [o.eq(Mux(self.down, above.word_select(lane, self.width), last[lane])) for lane, o in enumerate(self.o)]
        return m
