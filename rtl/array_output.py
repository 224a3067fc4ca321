"""The output-stationary systolic array."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .pe import pieces
from .pe_output import FabricOutputPE, OutputPE
from .row_block import blocks, rows_of
from .shared import shared

__all__ = ["OutputArray", "OutputRow"]

_Element = type[OutputPE]


class OutputRow(wiring.Component):
    """One row of elements: activations move right, all else passes from ``…_in`` above to ``…_out`` below, element by element.

    Parameters
    ----------
    elements : their kinds, from the left
    weight_bits, activation_bits : widths of a weight and of an activation

    Members
    -------
    a, first, end, shift : into the first element
    w_in, w_out, sum_in, sum_out : those of the elements side by side, the first one lowest
    """

    a: Signal
    first: Signal
    end: Signal
    w_in: Signal
    w_out: Signal
    shift: Signal
    sum_in: Signal
    sum_out: Signal

    common = ()

    def __init__(self, *, elements: tuple[_Element, ...], weight_bits: int = 8, activation_bits: int = 8):
        self.elements = elements
        self.weight_bits = weight_bits
        self.activation_bits = activation_bits
        super().__init__(self.ports(elements=elements, weight_bits=weight_bits, activation_bits=activation_bits))

    @staticmethod
    def ports(*, elements: tuple[_Element, ...], weight_bits: int = 8, activation_bits: int = 8) -> dict[str, wiring.Member]:
        """The members of a row with these parameters."""
        w_bits, sum_bits = len(elements) * weight_bits, len(elements) * OutputPE.sum_bits
        return {
            "a": In(activation_bits), "first": In(1), "end": In(1), "w_in": In(w_bits), "w_out": Out(w_bits), "shift": In(1),
            "sum_in": In(sum_bits), "sum_out": Out(sum_bits),
        }

    def elaborate(self, platform):
        m = Module()
        a, first, end, shift = self.a, self.first, self.end, self.shift
        for i, kind in enumerate(self.elements):
            m.submodules[f"pe_{i}"] = pe = shared(kind, platform, weight_bits=self.weight_bits, activation_bits=self.activation_bits)
            m.d.comb += [
                pe.a_in.eq(a), pe.first_in.eq(first), pe.end_in.eq(end), pe.w_in.eq(self.w_in.word_select(i, self.weight_bits)),
                pe.shift_in.eq(shift), pe.sum_in.eq(self.sum_in.word_select(i, OutputPE.sum_bits)),
                self.w_out.word_select(i, self.weight_bits).eq(pe.w_out), self.sum_out.word_select(i, OutputPE.sum_bits).eq(pe.sum_out),
            ]
            a, first, end, shift = pe.a_out, pe.first_out, pe.end_out, pe.shift_out
        return m


class OutputArray(wiring.Component):
    """A grid of elements, each of which keeps a sum: activations move right, weights down, and complete sums leave at the foot.

    Rows index M, columns N, and K is time. Lane r of a vector of activations enters ``row_delay[r]`` cycles after lane 0, with the flags
    of its vector; column c of a vector of weights enters ``col_delay[c]`` cycles after column 0, which enters with lane 0. The sums
    of row rows − 1 are at the foot of column c ``sum_delay[c]`` cycles after lane 0 of the vector with ``end``. Row 0 is given ``shift``
    rows cycles after that ``end`` in lane 0, row 1 then and in the next cycle, row r in r + 1 cycles, together with all others: so the sums
    of all rows come to the foot in the cycles that follow, and the next ``end`` may come ``rows`` cycles after this one::

                  w[0]     w[1]      cycle   a[0]    a[1]     w[0]   psum[0]    psum[1]
                   │        │          t     x0 end           w0
           a[0] ─►PE ─────►PE         t+1            y0 end
                   │        │         t+4                            Σ y·w[0]
           a[1] ─►PE ─────►PE         t+5                            Σ x·w[0]   Σ y·w[1]
                   ▼        ▼         t+6                                       Σ x·w[1]
                psum[0]  psum[1]

    Throughput: one vector per cycle.

    Parameters
    ----------
    rows, cols : size, from 1 × 1
    dsp_cols : columns with DSP blocks, those on the left; None: all. The others multiply in look-up tables.
    weight_bits : width of a weight, 8 or 4
    activation_bits : width of an activation, 8 or 16

    Members
    -------
    a : activations, signed, one per row
    first, end : one per row, with ``a``: the vector is the first or the last one of its sums
    w : weights, signed, one per column
    shift : one per row; in row r sums come down
    psum : 32 bits, one per column
    """

    a: list[Signal]
    first: list[Signal]
    end: list[Signal]
    w: list[Signal]
    shift: list[Signal]
    psum: list[Signal]

    psum_bits = OutputPE.sum_bits

    def __init__(self, *, rows: int, cols: int, dsp_cols: int | None = None, weight_bits: int = 8, activation_bits: int = 8):
        for subject, value in (("rows", rows), ("cols", cols)):
            if value < 1:
                raise ValueError(f"{subject} must be at least 1, not {value!r}")
        self.rows = rows
        self.cols = cols
        self.dsp_cols = cols if dsp_cols is None else min(cols, dsp_cols)
        self.weight_bits = weight_bits
        self.activation_bits = activation_bits
        self._elements: tuple[_Element, ...] = (OutputPE,) * self.dsp_cols + (FabricOutputPE,) * (cols - self.dsp_cols)
        super().__init__({
            "a": In(signed(activation_bits)).array(rows), "first": In(1).array(rows), "end": In(1).array(rows),
            "w": In(signed(weight_bits)).array(cols), "shift": In(1).array(rows), "psum": Out(signed(self.psum_bits)).array(cols),
        })

    @property
    def row_delay(self) -> list[int]:
        """Cycles by which each row follows row 0."""
        return list(range(self.rows))

    @property
    def col_delay(self) -> list[int]:
        """Cycles by which each column follows column 0."""
        return list(range(self.cols))

    @property
    def sum_delay(self) -> list[int]:
        """Per column, cycles from ``a[0]`` of the last vector to the first sums at the foot."""
        return [self.row_delay[-1] + delay + kind.latency_cycles for delay, kind in zip(self.col_delay, self._elements, strict=True)]

    def elaborate(self, platform):
        m = Module()
        w, sums = Cat(self.w), C(0, self.cols * self.psum_bits)
        for block in blocks(self.rows):
            rows = rows_of(m, platform, OutputRow, block, elements=self._elements, weight_bits=self.weight_bits,
                           activation_bits=self.activation_bits)
            own = slice(block[0], block[-1] + 1)
            m.d.comb += [getattr(rows, name).eq(Cat(getattr(self, name)[own])) for name in ("a", "first", "end", "shift")]
            m.d.comb += [rows.w_in.eq(w), rows.sum_in.eq(sums)]
            w, sums = rows.w_out, rows.sum_out
        m.d.comb += [psum.eq(total) for psum, total in zip(self.psum, pieces(sums, [self.psum_bits] * self.cols), strict=True)]
        return m
