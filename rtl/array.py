"""The weight-stationary systolic array."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .pe import PE, PairPE, RowTermPE
from .shared import shared
from .skew import Skew
from .weight_term import WeightTerm

__all__ = ["MULTIPLIERS", "ArrayCrossing", "ArrayRow", "SystolicArray"]

MULTIPLIERS = {"single": PE, "fast-inner-product": PairPE}


class ArrayRow(wiring.Component):
    """One row of elements: activations move right, all else passes from ``…_in`` above to ``…_out`` below, column by column.

    Parameters
    ----------
    multiplier : a key of :data:`MULTIPLIERS`
    weight_bits : width of a weight

    Members
    -------
    a, swap : into the first column
    a_first : the first column's ``a_out``
    w_in, w_out, w_shift, psum_in, psum_out : one element per column, side by side, the first column lowest
    """

    a: Signal
    a_first: Signal
    swap: Signal
    w_in: Signal
    w_out: Signal
    w_shift: Signal
    psum_in: Signal
    psum_out: Signal

    def __init__(self, *, cols: int, psum_bits: int, multiplier: str, weight_bits: int = 8):
        self.cols = cols
        self.weight_bits = weight_bits
        self.psum_bits = psum_bits
        self.kind = MULTIPLIERS[multiplier]
        super().__init__({
            "a": In(8 * self.kind.rows), "a_first": Out(8 * self.kind.rows), "swap": In(1),
            "w_in": In(weight_bits * cols), "w_out": Out(weight_bits * cols), "w_shift": In(cols),
            "psum_in": In(psum_bits * cols), "psum_out": Out(psum_bits * cols),
        })

    def elaborate(self, platform):
        m = Module()
        a, swap = self.a, self.swap
        for c in range(self.cols):
            m.submodules[f"pe_{c}"] = pe = shared(self.kind, platform, psum_bits=self.psum_bits, weight_bits=self.weight_bits)
            m.d.comb += [
                pe.a_in.eq(a), pe.swap_in.eq(swap), pe.w_in.eq(self.w_in.word_select(c, self.weight_bits)),
                pe.w_shift.eq(self.w_shift[c]), pe.psum_in.eq(self.psum_in.word_select(c, self.psum_bits)),
                self.w_out.word_select(c, self.weight_bits).eq(pe.w_out),
                self.psum_out.word_select(c, self.psum_bits).eq(pe.psum_out),
            ]
            if c == 0:
                m.d.comb += self.a_first.eq(pe.a_out)
            a, swap = pe.a_out, pe.swap_out
        return m


class ArrayCrossing(wiring.Component):
    """A register for all that goes down, where multipliers of one row and of the next are far apart on the part.

    The rows below do everything a cycle later. Latency: 1 cycle.
    """

    w_in: Signal
    w_out: Signal
    w_shift_in: Signal
    w_shift_out: Signal
    psum_in: Signal
    psum_out: Signal

    latency_cycles = 1

    def __init__(self, *, cols: int, psum_bits: int, weight_bits: int = 8):
        self.widths = {"w": weight_bits * cols, "w_shift": cols, "psum": cols * psum_bits}
        super().__init__({f"{name}_{end}": flow(width) for name, width in self.widths.items() for end, flow in (("in", In), ("out", Out))})

    def elaborate(self, platform):
        m = Module()
        for name, width in self.widths.items():
            stage = Signal(width, name=name, reset_less=True)
            m.d.sync += stage.eq(getattr(self, f"{name}_in"))
            m.d.comb += getattr(self, f"{name}_out").eq(stage)
        return m


class SystolicArray(wiring.Component):
    """A grid of elements: activations move right, weights and partial sums down; the foot delivers psum = a · W, exactly.

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

    With ``fast-inner-product`` two rows share a multiplier and enter together (:class:`~systolith.rtl.pe.PairPE`). The term of the
    weights is made while a tile is shifted in (:class:`~systolith.rtl.weight_term.WeightTerm`), and its negative enters at the top instead
    of zero. The term of the activations comes down beside column 0 and is taken off at the foot, passing on from column to column:
    one more cycle. In between sums may wrap; what leaves is exact, because the last steps bring them back.

    Parameters
    ----------
    rows, cols : size, from 1 × 1; rows even for ``fast-inner-product``
    multiplier : a key of :data:`MULTIPLIERS`
    block_rows : after so many rows of multipliers there is a register in all that goes down (:class:`ArrayCrossing`); 0: nowhere
    weight_bits : width of a weight, 8 or 4

    Members
    -------
    a : activations, int8, one per row
    swap : one per row, with ``a``
    w, w_shift : weights, signed, and their enables, one per column; ``col_delay`` skews these too
    psum : ``psum_bits`` wide, one per column
    """

    a: list[Signal]
    swap: list[Signal]
    w: list[Signal]
    w_shift: list[Signal]
    psum: list[Signal]

    def __init__(self, *, rows: int, cols: int, multiplier: str = "single", block_rows: int = 0, weight_bits: int = 8):
        for subject, value in (("rows", rows), ("cols", cols)):
            if value < 1:
                raise ValueError(f"{subject} must be at least 1, not {value!r}")
        if multiplier not in MULTIPLIERS:
            raise ValueError(f"multiplier must be one of {', '.join(map(repr, MULTIPLIERS))}, not {multiplier!r}")
        if block_rows < 0:
            raise ValueError(f"block_rows must be at least 0, not {block_rows!r}")
        self.rows = rows
        self.cols = cols
        self.multiplier = multiplier
        self.block_rows = block_rows
        self.weight_bits = weight_bits
        self._kind = MULTIPLIERS[multiplier]
        if rows % self._kind.rows:
            raise ValueError(f"rows must be even for fast-inner-product, not {rows!r}")
        self._rows_of_elements = rows // self._kind.rows
        super().__init__({
            "a": In(signed(8)).array(rows), "swap": In(1).array(rows),
            "w": In(signed(weight_bits)).array(cols), "w_shift": In(1).array(cols),
            "psum": Out(signed(self.psum_bits)).array(cols),
        })

    @property
    def psum_bits(self) -> int:
        """Width of an exact sum of ``rows`` products, the largest of which is that of the least operands, 2**(6 + weight_bits)."""
        return 7 + self.weight_bits + self.rows.bit_length()

    def _crossings(self, element: int) -> int:
        """Crossings above row ``element`` of elements."""
        return element // self.block_rows if self.block_rows else 0

    @property
    def row_delay(self) -> list[int]:
        """Cycles by which each row's activation follows that of row 0."""
        elements = [r // self._kind.rows for r in range(self.rows)]
        return [e * self._kind.psum_latency_cycles + self._crossings(e) * ArrayCrossing.latency_cycles for e in elements]

    @property
    def col_delay(self) -> list[int]:
        """Cycles by which each column follows column 0."""
        return [c * self._kind.a_latency_cycles for c in range(self.cols)]

    @property
    def latency_cycles(self) -> int:
        """Cycles from ``a[0]`` to ``psum[0]``."""
        return self.row_delay[-1] + self._kind.latency_cycles + (self._kind is PairPE)

    @property
    def swap_to_shift_cycles(self) -> int:
        """Cycles from ``swap[0]`` to the first ``w_shift[0]`` of the next tile: the swap reaches every row first."""
        return max(delay - self._crossings(r // self._kind.rows) for r, delay in enumerate(self.row_delay))

    @property
    def shift_to_swap_cycles(self) -> int:
        """Cycles from a tile's last ``w_shift[0]`` to its ``swap[0]``."""
        return 1

    def elaborate(self, platform):
        m = Module()
        pairs = self._kind is PairPE
        tops = self._weight_terms(m) if pairs else [C(0, self.psum_bits)] * self.cols
        w, w_shift, psum = Cat(self.w), Cat(self.w_shift), Cat(tops)
        side = C(0, signed(self.psum_bits))
        for e in range(self._rows_of_elements):
            if e and self._crossings(e) != self._crossings(e - 1):
                m.submodules[f"crossing_{e}"] = crossing = shared(
                    ArrayCrossing, platform, cols=self.cols + pairs, psum_bits=self.psum_bits, weight_bits=self.weight_bits)
                m.d.comb += [crossing.w_in.eq(w), crossing.w_shift_in.eq(w_shift), crossing.psum_in.eq(Cat(psum, side))]
                w, w_shift, psum = crossing.w_out, crossing.w_shift_out, crossing.psum_out
                if pairs:
                    side = psum.word_select(self.cols, self.psum_bits).as_signed()
            m.submodules[f"row_{e}"] = row = shared(
                ArrayRow, platform, cols=self.cols, psum_bits=self.psum_bits, multiplier=self.multiplier, weight_bits=self.weight_bits)
            first = e * self._kind.rows
            m.d.comb += [
                row.a.eq(Cat(self.a[first:first + self._kind.rows])), row.swap.eq(self.swap[first]),
                row.w_shift.eq(w_shift), row.w_in.eq(w), row.psum_in.eq(psum),
            ]
            w, psum = row.w_out, row.psum_out
            if pairs:
                m.submodules[f"row_term_{e}"] = term = shared(RowTermPE, platform, psum_bits=self.psum_bits)
                m.d.comb += [term.a.eq(row.a_first), term.psum_in.eq(side)]
                side = term.psum_out
        if not pairs:
            m.d.comb += Cat(self.psum).eq(psum)
            return m
        for c in range(self.cols):
            foot = Signal(signed(self.psum_bits), name=f"foot{c}", reset_less=True)
            m.d.sync += foot.eq(psum.word_select(c, self.psum_bits) - side)
            m.d.comb += self.psum[c].eq(foot)
            passed = Signal(signed(self.psum_bits), name=f"row_term{c + 1}", reset_less=True)
            m.d.sync += passed.eq(side)
            side = passed
        return m

    def _weight_terms(self, m: Module) -> list[Signal]:
        """What each column begins with: the negative of its weights' term."""
        tops = []
        # The element's sum of the row with `swap` is taken so many cycles later.
        use = self._kind.latency_cycles - 1
        m.submodules.swaps = swaps = Skew(1, delays=[delay + use - 1 for delay in self.col_delay], control=True)
        m.d.comb += swaps.i.eq(self.swap[0])
        for c in range(self.cols):
            m.submodules[f"weight_term_{c}"] = term = WeightTerm(psum_bits=self.psum_bits)
            m.d.comb += [term.w.eq(self.w[c]), term.w_shift.eq(self.w_shift[c]), term.take.eq(swaps.o[c])]
            tops.append(term.o)
        return tops
