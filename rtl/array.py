"""The weight-stationary systolic array."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .array_row import ArrayCrossing, ArrayRow, Element
from .packed_pe import PackedFoot, PackedPE, PackedWeights
from .pair_foot import PairFoot
from .pe import PE, FabricPairPE, FabricPE, PairPE, RowTermPE, pieces
from .row_block import blocks, rows_of
from .shared import shared
from .skew import Skew

__all__ = ["MULTIPLIERS", "SystolicArray"]

# Elements with a DSP block each, and what takes their place in columns without.
MULTIPLIERS = {"single": (PE, FabricPE), "fast-inner-product": (PairPE, FabricPairPE), "packed": (PackedPE, FabricPE)}


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

    With ``fast-inner-product`` two rows share a multiplier and enter together (:class:`~systolith.rtl.pe.PairPE`). A swap takes
    ``swap_cycles`` for itself: it comes beside a vector of zeros, whose sums are the term of the weights, before the first vector of the
    tile. That term, and the one of the activations, which comes down beside column 0, are taken off at the foot
    (:class:`~systolith.rtl.pair_foot.PairFoot`). In between sums may wrap; what leaves is exact, because the last steps bring them back.

    With ``packed`` two columns share a multiplier (:class:`~systolith.rtl.packed_pe.PackedPE`), and −128 is no weight; the last of an
    odd number is as with ``single``. Columns from ``dsp_cols`` on multiply in look-up tables, one weight or, with
    ``fast-inner-product``, two rows at a time. Where elements take different times, the faster columns' sums wait at the foot.

    Parameters
    ----------
    rows, cols : size, from 1 × 1; rows even for ``fast-inner-product``
    multiplier : a key of :data:`MULTIPLIERS`
    dsp_cols : columns with DSP blocks, those on the left; None: all
    side_dsp : with ``fast-inner-product``: the term of the activations is made in DSP blocks as well, one per two rows
    block_rows : after so many rows of multipliers there is a register in all that goes down (:class:`ArrayCrossing`); 0: nowhere
    weight_bits : width of a weight: 8, or 4 except with ``packed``
    activation_bits : width of an activation: 8, or 16 with ``single``

    Members
    -------
    a : activations, signed, one per row
    swap : one per row, with ``a``, ``swap_cycles`` before the first vector of a tile; beside zeros if that is 1
    w, w_shift : weights, signed, and their enables, one per column; ``col_delay`` skews these too
    psum : ``psum_bits`` wide, one per column
    """

    a: list[Signal]
    swap: list[Signal]
    w: list[Signal]
    w_shift: list[Signal]
    psum: list[Signal]

    def __init__(self, *, rows: int, cols: int, multiplier: str = "single", dsp_cols: int | None = None,
                 side_dsp: bool = False, block_rows: int = 0, weight_bits: int = 8, activation_bits: int = 8):
        for subject, value in (("rows", rows), ("cols", cols)):
            if value < 1:
                raise ValueError(f"{subject} must be at least 1, not {value!r}")
        if multiplier not in MULTIPLIERS:
            raise ValueError(f"multiplier must be one of {', '.join(map(repr, MULTIPLIERS))}, not {multiplier!r}")
        for subject, value in (("dsp_cols", dsp_cols or 0), ("block_rows", block_rows)):
            if value < 0:
                raise ValueError(f"{subject} must be at least 0, not {value!r}")
        self.rows = rows
        self.cols = cols
        self.multiplier = multiplier
        self.dsp_cols = cols if dsp_cols is None else min(cols, dsp_cols)
        self.side_dsp = side_dsp
        self.block_rows = block_rows
        self.weight_bits = weight_bits
        kind, fabric = MULTIPLIERS[multiplier]
        if activation_bits not in PE.activation_widths:
            raise ValueError(f"activation_bits must be {' or '.join(map(str, PE.activation_widths))}, not {activation_bits!r}")
        if activation_bits not in kind.activation_widths:
            raise ValueError(f"activation_bits must be 8 where multiplier is {multiplier!r}; 'single' takes 16")
        self.activation_bits = activation_bits
        self._elements = ((kind,) * (self.dsp_cols // kind.cols) + (PE,) * (self.dsp_cols % kind.cols)
                          + (fabric,) * (cols - self.dsp_cols))
        self._columns = [(i, kind) for i, kind in enumerate(self._elements) for _ in range(kind.cols)]
        self._element_rows = kind.rows
        if rows % kind.rows:
            raise ValueError(f"rows must be even for fast-inner-product, not {rows!r}")
        self._rows_of_elements = rows // kind.rows
        super().__init__({
            "a": In(signed(activation_bits)).array(rows), "swap": In(1).array(rows),
            "w": In(signed(weight_bits)).array(cols), "w_shift": In(1).array(cols),
            "psum": Out(signed(self.psum_bits)).array(cols),
        })

    @property
    def pairs(self) -> bool:
        """Two rows share a multiplier."""
        return self._element_rows == 2

    @property
    def psum_bits(self) -> int:
        """Width of an exact sum of ``rows`` products, the largest of which is that of the least operands,
        2**(activation_bits + weight_bits − 2); less of them is packed."""
        product_bits = self.activation_bits + self.weight_bits
        return max(product_bits, product_bits - 1 + (self.rows - (PackedPE in self._elements)).bit_length())

    def _crossings(self, element: int) -> int:
        """Crossings above row ``element`` of elements."""
        return element // self.block_rows if self.block_rows else 0

    @property
    def row_delay(self) -> list[int]:
        """Cycles by which each row's activation follows that of row 0."""
        elements = [r // self._element_rows for r in range(self.rows)]
        return [e * PE.psum_latency_cycles + self._crossings(e) * ArrayCrossing.latency_cycles for e in elements]

    @property
    def col_delay(self) -> list[int]:
        """Cycles by which each column follows column 0."""
        return [i * kind.a_latency_cycles for i, kind in self._columns]

    @property
    def latency_cycles(self) -> int:
        """Cycles from ``a[0]`` to ``psum[0]``."""
        return self.row_delay[-1] + max(self._element_cycles(kind) for kind in self._elements)

    def _element_cycles(self, kind: Element) -> int:
        """From an activation to the psum, with what is done at the foot."""
        foot = PackedFoot.latency_cycles if kind is PackedPE else PairFoot.latency_cycles if kind.rows == 2 else 0
        return kind.latency_cycles + foot

    @property
    def swap_cycles(self) -> int:
        """Cycles by which a swap comes before its tile's first vector."""
        return int(self.pairs)

    @property
    def swap_to_shift_cycles(self) -> int:
        """Cycles from ``swap[0]`` to the first ``w_shift[0]`` of the next tile: the swap reaches every row first."""
        return max(delay - self._crossings(r // self._element_rows) for r, delay in enumerate(self.row_delay))

    @property
    def shift_to_swap_cycles(self) -> int:
        """Cycles from a tile's last ``w_shift[0]`` to its ``swap[0]``."""
        return 1

    def elaborate(self, platform):
        m = Module()
        firsts = [c for c, (i, _) in enumerate(self._columns) if not c or i != self._columns[c - 1][0]]
        tops = [C(0, kind.sum_bits(self.psum_bits)) for kind in self._elements]
        w, w_shift, psum = self._weights(m, firsts), Cat(self.w_shift[c] for c in firsts), Cat(tops)
        side = C(0, signed(self.psum_bits))
        for block in blocks(self._rows_of_elements, crossed=bool(self.block_rows)):
            e = block[0]
            if e and self._crossings(e) != self._crossings(e - 1):
                down = Cat(psum, side) if self.pairs else psum
                m.submodules[f"crossing_{e}"] = crossing = shared(
                    ArrayCrossing, platform, w_bits=len(w), w_shift_bits=len(w_shift), psum_bits=len(down))
                m.d.comb += [crossing.w_in.eq(w), crossing.w_shift_in.eq(w_shift), crossing.psum_in.eq(down)]
                w, w_shift, psum = crossing.w_out, crossing.w_shift_out, crossing.psum_out
                if self.pairs:
                    psum, side = psum[:-self.psum_bits], psum[-self.psum_bits:].as_signed()
            rows = rows_of(m, platform, ArrayRow, block, elements=self._elements, psum_bits=self.psum_bits, weight_bits=self.weight_bits,
                           activation_bits=self.activation_bits)
            own = slice(e * self._element_rows, (block[-1] + 1) * self._element_rows)
            m.d.comb += [
                rows.a.eq(Cat(self.a[own])), rows.swap.eq(Cat(self.swap[own][::self._element_rows])),
                rows.w_shift.eq(w_shift), rows.w_in.eq(w), rows.psum_in.eq(psum),
            ]
            w, psum = rows.w_out, rows.psum_out
            if self.pairs:
                for element, a in zip(block, pieces(rows.a_first, [len(rows.a_first) // len(block)] * len(block)), strict=True):
                    m.submodules[f"row_term_{element}"] = term = shared(RowTermPE, platform, psum_bits=self.psum_bits, dsp=self.side_dsp)
                    m.d.comb += [term.a.eq(a), term.psum_in.eq(side)]
                    side = term.psum_out
        sums = pieces(psum, [kind.sum_bits(self.psum_bits) for kind in self._elements])
        if self.pairs:
            self._pair_feet(m, platform, sums, side)
            return m
        for first, total, kind in zip(firsts, sums, self._elements, strict=True):
            if kind is PackedPE:
                m.submodules[f"foot_{first}"] = foot = shared(PackedFoot, platform, psum_bits=self.psum_bits)
                m.d.comb += [foot.sums.eq(total), self.psum[first].eq(foot.psum0), self.psum[first + 1].eq(foot.psum1)]
            else:
                m.d.comb += self.psum[first].eq(self._waited(m, f"foot_{first}", total, self._element_cycles(kind)))
        return m

    def _weights(self, m: Module, firsts: list[int]) -> Value:
        """What the first row of elements takes."""
        words = []
        for first, kind in zip(firsts, self._elements, strict=True):
            if kind is PackedPE:
                m.submodules[f"weights_{first}"] = pair = PackedWeights()
                m.d.comb += [pair.w0.eq(self.w[first]), pair.w1.eq(self.w[first + 1])]
                words.append(pair.o)
            else:
                words.append(self.w[first])
        return Cat(words)

    def _waited(self, m: Module, name: str, value: Value, cycles: int) -> Value:
        """``value``, which is there ``cycles`` after its last row, when the slowest element's is."""
        wait = self.latency_cycles - self.row_delay[-1] - cycles
        if not wait:
            return value
        m.submodules[name] = skew = Skew(signed(self.psum_bits), delays=[wait])
        m.d.comb += skew.i.eq(value)
        return skew.o[0]

    def _pair_feet(self, m: Module, platform: object, sums: list[Value], side: Value) -> None:
        """The psums of pairs: their sums less both terms. ``side`` is there with the sums of a column 0 that has DSP blocks."""
        before = self.latency_cycles - PairFoot.latency_cycles
        m.submodules.swaps = swaps = Skew(1, delays=[before + delay for delay in self.col_delay], control=True)
        m.d.comb += swaps.i.eq(self.swap[0])
        side = self._waited(m, "row_term", side, self._element_cycles(PairPE))
        for c, (total, kind) in enumerate(zip(sums, self._elements, strict=True)):
            m.submodules[f"foot_{c}"] = foot = shared(PairFoot, platform, psum_bits=self.psum_bits)
            m.d.comb += [
                foot.total.eq(self._waited(m, f"wait_{c}", total, self._element_cycles(kind))), foot.take.eq(swaps.o[c]),
                foot.side_in.eq(side), self.psum[c].eq(foot.psum),
            ]
            side = foot.side_out
