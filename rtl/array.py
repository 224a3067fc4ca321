"""The weight-stationary systolic array."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .pe import PE
from .shared import shared

__all__ = ["ArrayRow", "SystolicArray"]


class ArrayRow(wiring.Component):
    """One row of :class:`PE`: activations move right, all else passes from ``…_in`` above to ``…_out`` below, column by column.

    Members
    -------
    a, swap : into the first column
    w_in, w_out, w_shift, psum_in, psum_out : one element per column, side by side, the first column lowest
    """

    a: Signal
    swap: Signal
    w_in: Signal
    w_out: Signal
    w_shift: Signal
    psum_in: Signal
    psum_out: Signal

    def __init__(self, *, cols: int, psum_bits: int):
        self.cols = cols
        self.psum_bits = psum_bits
        super().__init__({
            "a": In(signed(8)), "swap": In(1), "w_in": In(8 * cols), "w_out": Out(8 * cols), "w_shift": In(cols),
            "psum_in": In(psum_bits * cols), "psum_out": Out(psum_bits * cols),
        })

    def elaborate(self, platform):
        m = Module()
        a, swap = self.a, self.swap
        for c in range(self.cols):
            m.submodules[f"pe_{c}"] = pe = shared(PE, platform, psum_bits=self.psum_bits)
            m.d.comb += [
                pe.a_in.eq(a), pe.swap_in.eq(swap), pe.w_in.eq(self.w_in.word_select(c, 8)), pe.w_shift.eq(self.w_shift[c]),
                pe.psum_in.eq(self.psum_in.word_select(c, self.psum_bits)), self.w_out.word_select(c, 8).eq(pe.w_out),
                self.psum_out.word_select(c, self.psum_bits).eq(pe.psum_out),
            ]
            a, swap = pe.a_out, pe.swap_out
        return m


class SystolicArray(wiring.Component):
    """A grid of :class:`PE`: activations move right, weights and partial sums down; the foot delivers psum = a · W, exactly.

    Rows index K, columns N. Lane r of an activation vector enters ``row_delay[r]`` cycles after lane 0, and column c of its
    result leaves ``col_delay[c]`` cycles after column 0, which leaves ``latency_cycles`` after lane 0 entered::

                  w[0]     w[1]     w[2]      cycle   a[0]  a[1]   psum[0]   psum[1]   psum[2]
                   │        │        │          t      x0
           a[0] ─►PE ─────►PE ─────►PE         t+1     y0    x1
                   │        │        │         t+2     z0    y1
           a[1] ─►PE ─────►PE ─────►PE         t+3           z1
                   ▼        ▼        ▼         t+4                 x·W[:,0]
                psum[0]  psum[1]  psum[2]      t+5                 y·W[:,0]  x·W[:,1]
                                               t+6                 z·W[:,0]  y·W[:,1]  x·W[:,2]

    Throughput: one vector per cycle. A tile is shifted in from the top, row rows − 1 first, with ``w_shift``; ``swap`` beside
    the first vector makes it active for that vector on, while the next tile may already follow.

    Parameters
    ----------
    rows, cols : size, from 1 × 1

    Members
    -------
    a : activations, int8, one per row
    swap : one per row, with ``a``
    w, w_shift : weights, int8, and their enables, one per column; ``col_delay`` skews these too
    psum : ``psum_bits`` wide, one per column
    """

    a: list[Signal]
    swap: list[Signal]
    w: list[Signal]
    w_shift: list[Signal]
    psum: list[Signal]

    def __init__(self, *, rows: int, cols: int):
        for subject, value in (("rows", rows), ("cols", cols)):
            if value < 1:
                raise ValueError(f"{subject} must be at least 1, not {value!r}")
        self.rows = rows
        self.cols = cols
        super().__init__({
            "a": In(signed(8)).array(rows), "swap": In(1).array(rows),
            "w": In(signed(8)).array(cols), "w_shift": In(1).array(cols),
            "psum": Out(signed(self.psum_bits)).array(cols),
        })

    @property
    def psum_bits(self) -> int:
        """Width of an exact sum of ``rows`` products, the largest of which is (−128)² = 2**14."""
        return 15 + self.rows.bit_length()

    @property
    def row_delay(self) -> list[int]:
        """Cycles by which each row's activation follows that of row 0."""
        return [r * PE.psum_latency_cycles for r in range(self.rows)]

    @property
    def col_delay(self) -> list[int]:
        """Cycles by which each column follows column 0."""
        return [c * PE.a_latency_cycles for c in range(self.cols)]

    @property
    def latency_cycles(self) -> int:
        """Cycles from ``a[0]`` to ``psum[0]``."""
        return self.row_delay[-1] + PE.latency_cycles

    @property
    def swap_to_shift_cycles(self) -> int:
        """Cycles from ``swap[0]`` to the first ``w_shift[0]`` of the next tile: the swap reaches the last row first."""
        return self.row_delay[-1]

    @property
    def shift_to_swap_cycles(self) -> int:
        """Cycles from a tile's last ``w_shift[0]`` to its ``swap[0]``."""
        return PE.w_latency_cycles

    def elaborate(self, platform):
        m = Module()
        w, psum = Cat(self.w), C(0, self.cols * self.psum_bits)
        for r in range(self.rows):
            m.submodules[f"row_{r}"] = row = shared(ArrayRow, platform, cols=self.cols, psum_bits=self.psum_bits)
            m.d.comb += [
                row.a.eq(self.a[r]), row.swap.eq(self.swap[r]), row.w_shift.eq(Cat(self.w_shift)),
                row.w_in.eq(w), row.psum_in.eq(psum),
            ]
            w, psum = row.w_out, row.psum_out
        m.d.comb += Cat(self.psum).eq(psum)
        return m
