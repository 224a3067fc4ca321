"""Two columns with one multiplier: the element, what its weights look like, and what turns its sums into two again.

Two int8 products in one wide multiplication: Xilinx WP486, "Deep Learning with INT8 Optimization on Xilinx Devices", 2017. There the
operand has room for both products side by side; in 18 bits they overlap, and the upper one's lowest bits, which are cheap, tell them
apart.
"""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .multiplier import partial_products
from .pe import pe_ports, pieces

__all__ = ["PackedFoot", "PackedPE", "PackedWeights"]

_SPLIT = 10     # weight 1 stands so many bits above weight 0: an operand has 18
_OVERLAP = 5    # bits that products of 15 bits have in common then

_WEIGHTS = {"low": 8, "high": 8, "residue": _OVERLAP}


class PackedWeights(wiring.Component):
    """What a :class:`PackedPE` takes for two weights. Latency: none.

    Members
    -------
    w0, w1 : int8, of the left column and of the right one
    o : w₀, the upper 8 bits of w₁·2**10 + w₀, and w₁ modulo 32; the lowest first
    """

    w0: Signal
    w1: Signal
    o: Signal

    latency_cycles = 0

    def __init__(self):
        super().__init__({"w0": In(signed(8)), "w1": In(signed(8)), "o": Out(sum(_WEIGHTS.values()))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(Cat(self.w0, (self.w1 - self.w0[-1])[:8], self.w1[:_OVERLAP]))
        return m


class PackedPE(wiring.Component):
    """One row of two columns with one multiplier: p = a · (w₁·2**10 + w₀), which is a·w₁·2**10 + a·w₀.

    The lower product has 15 bits. Its upper five, c, are (p >> 10) − a·w₁ modulo 32, and a·w₁ modulo 32 is a small product of the
    lowest five bits of both, made beside. Three sums go down: of p modulo 2**10, of p >> 10 and of c, the last one a cycle behind
    the others. :class:`PackedFoot` makes Σ a·w₀ = Σ (p mod 2**10) + 2**10·Σ c and Σ a·w₁ = Σ (p >> 10) − Σ c of them: nothing
    in an element waits for a carry through all bits.

    Exact for weights from −127 to 127 and all activations. −128 as w₁ leaves the left column right, as w₀ neither.

    Latency: 3 cycles from ``a_in`` to the first two sums; all else as :class:`PE`.

    Parameters
    ----------
    psum_bits : width of a partial sum of one column, at least 15: 15 and the bits of rows − 1

    Members
    -------
    w_in, w_out : as :class:`PackedWeights` makes them
    psum_in, psum_out : the three sums, the lowest first, of ``psum_bits`` − 5, ``psum_bits`` and ``psum_bits`` − 10 bits
    a_in, a_out, swap_in, swap_out, w_shift : as of :class:`PE`
    """

    a_in: Signal
    a_out: Signal
    swap_in: Signal
    swap_out: Signal
    w_in: Signal
    w_out: Signal
    w_shift: Signal
    psum_in: Signal
    psum_out: Signal

    rows = 1
    cols = 2
    a_latency_cycles = 1
    psum_latency_cycles = 1
    latency_cycles = 3
    activation_widths = (8,)

    def __init__(self, *, psum_bits: int, weight_bits: int = 8, activation_bits: int = 8):
        if activation_bits != 8:
            raise ValueError(f"activation_bits must be 8, not {activation_bits!r}")
        if psum_bits < 15:
            raise ValueError(f"psum_bits must be at least 15, not {psum_bits!r}")
        self.psum_bits = psum_bits
        super().__init__(pe_ports(activation_bits, self.w_bits(weight_bits), self.sum_bits(psum_bits)))

    @staticmethod
    def w_bits(weight_bits: int) -> int:
        """Of what stands for two weights, which have 8 bits each."""
        if weight_bits != 8:
            raise ValueError(f"weight_bits must be 8, not {weight_bits!r}")
        return sum(_WEIGHTS.values())

    @staticmethod
    def sum_bits(psum_bits: int) -> int:
        """Of all that goes down."""
        return sum(_widths(psum_bits))

    def elaborate(self, platform):
        m = Module()
        a = Signal(signed(8), reset_less=True)
        swap = Signal(reset_less=True)
        shadow, active = (Signal(len(self.w_in), name=name, reset_less=True) for name in ("shadow", "active"))
        w0, high, residue = pieces(active, _WEIGHTS.values())
        with m.If(self.w_shift):
            m.d.sync += shadow.eq(self.w_in)
        with m.If(self.swap_in):
            m.d.sync += active.eq(shadow)

        operand = Cat(w0, w0[-1].replicate(_SPLIT - 8), high).as_signed()
        product = Signal(signed(26), reset_less=True)
        # a·w₁ modulo 32, from the bits that reach so far.
        below = partial_products(m, platform, "0", a[:5], residue[:2])
        above = partial_products(m, platform, "2", a[:3], residue[2:4])[:3] ^ Cat(C(0, 2), a[0] & residue[4])
        remainder, overlap = Signal(_OVERLAP, reset_less=True), Signal(signed(_OVERLAP), reset_less=True)
        m.d.sync += [
            a.eq(self.a_in), swap.eq(self.swap_in), product.eq(a * operand),
            remainder.eq(Cat(below[:2], below[2:] + above)), overlap.eq(product[_SPLIT:] - remainder),
        ]
        parts = product[:_SPLIT], product[_SPLIT:].as_signed(), overlap
        sums = [Signal(width, name=name, reset_less=True)
                for name, width in zip(("low_sum", "high_sum", "overlap_sum"), _widths(self.psum_bits), strict=True)]
        m.d.sync += [total.eq(before + part) for total, before, part in zip(
            sums, pieces(self.psum_in, _widths(self.psum_bits)), parts, strict=True)]
        m.d.comb += [self.a_out.eq(a), self.swap_out.eq(swap), self.w_out.eq(shadow), self.psum_out.eq(Cat(sums))]
        return m


class PackedFoot(wiring.Component):
    """The two columns' sums, from the three of :class:`PackedPE`. Latency: 2 cycles from the first two.

    Members
    -------
    sums : what leaves the last element
    psum0, psum1 : of the left column and of the right one
    """

    sums: Signal
    psum0: Signal
    psum1: Signal

    latency_cycles = 2

    def __init__(self, *, psum_bits: int):
        self.psum_bits = psum_bits
        super().__init__({"sums": In(PackedPE.sum_bits(psum_bits)),
                          "psum0": Out(signed(psum_bits)), "psum1": Out(signed(psum_bits))})

    def elaborate(self, platform):
        m = Module()
        low, high, overlap = pieces(self.sums, _widths(self.psum_bits))
        low_late, high_late = Signal(len(low), reset_less=True), Signal(len(high), reset_less=True)
        psums = [Signal(signed(self.psum_bits), name=f"psum{c}_register", reset_less=True) for c in range(2)]
        overlap = overlap.as_signed()
        m.d.sync += [low_late.eq(low), high_late.eq(high), psums[1].eq(high_late - overlap),
                     psums[0].eq(Cat(low_late[:_SPLIT], low_late[_SPLIT:] + overlap))]
        m.d.comb += [self.psum0.eq(psums[0]), self.psum1.eq(psums[1])]
        return m


def _widths(psum_bits: int) -> tuple[int, int, int]:
    """Of the three sums: p modulo 2**10 and c have 10 and 5 bits, and as many more as there are in the number of rows."""
    return psum_bits - 15 + _SPLIT, psum_bits, psum_bits - 15 + _OVERLAP
