"""A weight-stationary array for small parts: its columns are sums by an adder tree, and two of them share a DSP block."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .multiplier_pair import MultiplierPair
from .shared import shared

__all__ = ["TreeArray"]


class TreeArray(wiring.Component):
    """What :class:`~systolith.rtl.array.SystolicArray` computes, without skew: a row of activations meets all weights in one cycle.

    The shadow weights move down, row by row, as there. With few rows a tree takes fewer adders' bits than a chain does, and neither
    addresses nor activations wait in registers for their row and column::

        a[r] ──► [a · w[r][0] | a · w[r][1]]    a pair of columns per block
                        │            │
                        ▼            ▼
                   sum over r   sum over r      ceil(log2(rows)) levels of adders, each with a register

    Latency: ``latency_cycles`` from ``a`` to ``psum``. Throughput: one row per cycle.

    Parameters
    ----------
    rows, cols : activations per cycle, psums per cycle

    Members
    -------
    a : int8, one per row
    swap : with the first activations of a tile; the first one counts
    w, w_shift : per column; with ``w_shift`` the shadow weights move down by a row
    psum : sums of the column's products, exact
    zero : the psums of the next cycle are 0
    """

    a: list[Signal]
    swap: list[Signal]
    w: list[Signal]
    w_shift: list[Signal]
    psum: list[Signal]
    zero: Signal

    swap_cycles = 0
    swap_to_shift_cycles = 0
    shift_to_swap_cycles = 1

    def __init__(self, *, rows: int, cols: int):
        for subject, count in (("rows", rows), ("cols", cols)):
            if count < 1:
                raise ValueError(f"{subject} must be at least 1, not {count!r}")
        self.rows = rows
        self.cols = cols
        super().__init__({
            "a": In(signed(8)).array(rows), "swap": In(1).array(rows), "w": In(signed(8)).array(cols), "w_shift": In(1).array(cols),
            "psum": Out(signed(self.psum_bits)).array(cols), "zero": In(1),
        })

    @property
    def psum_bits(self) -> int:
        """Width of an exact sum of ``rows`` products, the largest of which is (−128)² = 2**14."""
        return 15 + self.rows.bit_length()

    @property
    def row_delay(self) -> list[int]:
        return [0] * self.rows

    @property
    def col_delay(self) -> list[int]:
        return [0] * self.cols

    @property
    def latency_cycles(self) -> int:
        return MultiplierPair.latency_cycles + max(1, ceil_log2(self.rows))

    def elaborate(self, platform):
        m = Module()
        products: list[list[Value]] = [[] for _ in range(self.cols)]
        above = list(self.w)
        for r in range(self.rows):
            shadows = []
            for c in range(self.cols):
                shadow = Signal(signed(8), name=f"shadow{r}_{c}", reset_less=True)
                with m.If(self.w_shift[c]):
                    m.d.sync += shadow.eq(above[c])
                shadows.append(shadow)
            above = shadows
            for c in range(0, self.cols, 2):
                m.submodules[f"pair{r}_{c // 2}"] = pair = shared(MultiplierPair, platform)
                m.d.comb += [pair.a.eq(self.a[r]), pair.w.eq(Cat(shadows[c:c + 2])), pair.take.eq(self.swap[0])]
                for half in range(min(2, self.cols - c)):
                    products[c + half].append(pair.p.word_select(half, 16).as_signed())
        for c, terms in enumerate(products):
            level = 0
            while len(terms) > 1 or not level:
                level += 1
                sums = []
                for index in range(0, len(terms), 2):
                    addends = terms[index:index + 2]
                    total = (addends[0] + addends[1] if len(addends) == 2 else addends[0])[:self.psum_bits].as_signed()
                    partial = Signal(total.shape(), name=f"sum{c}_{level}_{index // 2}", reset_less=True)
                    m.d.sync += partial.eq(Mux(self.zero, 0, total) if len(terms) <= 2 else total)
                    sums.append(partial)
                terms = sums
            m.d.comb += self.psum[c].eq(terms[0])
        return m
