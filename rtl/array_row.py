"""One row of a systolic array, and the register between rows that are far apart."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .packed_pe import PackedPE
from .pe import PE, PairPE, pieces
from .shared import shared

__all__ = ["ArrayCrossing", "ArrayRow", "Element"]

Element = type[PE] | type[PairPE] | type[PackedPE]


class ArrayRow(wiring.Component):
    """One row of elements: activations move right, all else passes from ``…_in`` above to ``…_out`` below, element by element.

    Parameters
    ----------
    elements : their kinds, from the left; all of the same number of rows
    weight_bits, activation_bits : widths of a weight and of an activation

    Members
    -------
    a, swap : into the first element
    a_first : the first element's ``a_out``
    w_in, w_out, w_shift, psum_in, psum_out : those of the elements side by side, the first one lowest
    """

    a: Signal
    a_first: Signal
    swap: Signal
    w_in: Signal
    w_out: Signal
    w_shift: Signal
    psum_in: Signal
    psum_out: Signal

    common = ("w_shift",)

    def __init__(self, *, elements: tuple[Element, ...], psum_bits: int, weight_bits: int = 8, activation_bits: int = 8):
        self.elements = elements
        self.psum_bits = psum_bits
        self.weight_bits = weight_bits
        self.activation_bits = activation_bits
        self.w_widths = [kind.w_bits(weight_bits) for kind in elements]
        self.sum_widths = [kind.sum_bits(psum_bits) for kind in elements]
        super().__init__(self.ports(elements=elements, psum_bits=psum_bits, weight_bits=weight_bits, activation_bits=activation_bits))

    @staticmethod
    def ports(*, elements: tuple[Element, ...], psum_bits: int, weight_bits: int = 8, activation_bits: int = 8) -> dict[str, wiring.Member]:
        """The members of a row with these parameters."""
        a_bits = activation_bits * elements[0].rows
        w_bits, sum_bits = sum(kind.w_bits(weight_bits) for kind in elements), sum(kind.sum_bits(psum_bits) for kind in elements)
        return {
            "a": In(a_bits), "a_first": Out(a_bits), "swap": In(1),
            "w_in": In(w_bits), "w_out": Out(w_bits), "w_shift": In(len(elements)),
            "psum_in": In(sum_bits), "psum_out": Out(sum_bits),
        }

    def elaborate(self, platform):
        m = Module()
        a, swap = self.a, self.swap
        w_in, w_out = (pieces(value, self.w_widths) for value in (self.w_in, self.w_out))
        psum_in, psum_out = (pieces(value, self.sum_widths) for value in (self.psum_in, self.psum_out))
        for i, kind in enumerate(self.elements):
            m.submodules[f"pe_{i}"] = pe = shared(kind, platform, psum_bits=self.psum_bits, weight_bits=self.weight_bits,
                                                     activation_bits=self.activation_bits)
            m.d.comb += [
                pe.a_in.eq(a), pe.swap_in.eq(swap), pe.w_in.eq(w_in[i]), pe.w_shift.eq(self.w_shift[i]), pe.psum_in.eq(psum_in[i]),
                w_out[i].eq(pe.w_out), psum_out[i].eq(pe.psum_out),
            ]
            if i == 0:
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

    def __init__(self, *, w_bits: int, w_shift_bits: int, psum_bits: int):
        self.widths = {"w": w_bits, "w_shift": w_shift_bits, "psum": psum_bits}
        super().__init__({f"{name}_{end}": flow(width) for name, width in self.widths.items() for end, flow in (("in", In), ("out", Out))})

    def elaborate(self, platform):
        m = Module()
        for name, width in self.widths.items():
            stage = Signal(width, name=name, reset_less=True)
            m.d.sync += stage.eq(getattr(self, f"{name}_in"))
            m.d.comb += getattr(self, f"{name}_out").eq(stage)
        return m
