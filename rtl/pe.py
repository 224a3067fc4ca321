"""The processing elements: a multiplier, an adder and the registers that make them systolic."""

import itertools
from collections.abc import Iterable

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .multiplier import FabricMultiplier, Multiplier
from .shared import shared

__all__ = ["PE", "FabricPE", "FabricPairPE", "PairPE", "RowTermPE", "fabric_product", "pe_ports", "pieces",
           "registered_product"]


def _check_psum_bits(psum_bits: int, least: int) -> None:
    if psum_bits < least:
        raise ValueError(f"psum_bits must be at least {least}, not {psum_bits!r}")


def pe_ports(a_bits: int, w_bits: int, sum_bits: int) -> dict[str, wiring.Member]:
    """Of an element that takes activations of ``a_bits`` together; ``w_bits`` and ``sum_bits`` are the widths of what goes down."""
    return {
        "a_in": In(a_bits), "a_out": Out(a_bits), "swap_in": In(1), "swap_out": Out(1),
        "w_in": In(w_bits), "w_out": Out(w_bits), "w_shift": In(1),
        "psum_in": In(signed(sum_bits)), "psum_out": Out(signed(sum_bits)),
    }


def pieces(value: Value, widths: Iterable[int]) -> list[Value]:
    """``value`` cut into pieces of these widths, the lowest first."""
    ends = list(itertools.accumulate(widths, initial=0))
    return [value[start:end] for start, end in itertools.pairwise(ends)]


def registered_product(m: Module, platform: object, a: Signal, w: Signal) -> Value:
    """a · w, a cycle later."""
    product = Signal(signed(len(a) + len(w)), reset_less=True)
    m.d.sync += product.eq(a * w)
    return product


def fabric_product(m: Module, platform: object, a: Signal, w: Signal) -> Value:
    """The same from look-up tables, as a submodule of ``m``: as late as a :class:`FabricMultiplier` is."""
    m.submodules.multiplier = multiplier = shared(FabricMultiplier, platform, x_bits=len(a), y_bits=len(w))
    m.d.comb += [multiplier.x.eq(a), multiplier.y.eq(w)]
    return multiplier.p


class _Element(wiring.Component):
    """What elements of one column have in common: :class:`PE` and :class:`PairPE`."""

    a_in: Signal
    a_out: Signal
    swap_in: Signal
    swap_out: Signal
    w_in: Signal
    w_out: Signal
    w_shift: Signal
    psum_in: Signal
    psum_out: Signal

    rows: int
    cols = 1
    a_latency_cycles = 1
    psum_latency_cycles = 1
    activation_widths: tuple[int, ...] = (8,)

    def __init__(self, *, psum_bits: int, weight_bits: int = 8, activation_bits: int = 8):
        if activation_bits not in self.activation_widths:
            raise ValueError(f"activation_bits must be {' or '.join(map(str, self.activation_widths))}, not {activation_bits!r}")
        _check_psum_bits(psum_bits, activation_bits + weight_bits)
        self.psum_bits = psum_bits
        self.weight_bits = weight_bits
        self.activation_bits = activation_bits
        super().__init__(pe_ports(activation_bits * self.rows, self.w_bits(weight_bits), self.sum_bits(psum_bits)))

    @staticmethod
    def w_bits(weight_bits: int) -> int:
        """Of the weights that go down side by side."""
        return weight_bits

    @staticmethod
    def sum_bits(psum_bits: int) -> int:
        """Of all that goes down."""
        return psum_bits


class PE(_Element):
    """psum_out = psum_in + a · w, with a shadow weight: the next tile moves down the column while the active one works.

    Latency: 3 cycles from ``a_in`` (activation, product, sum), 1 cycle from ``psum_in``; ``swap`` travels with ``a``, ``w`` takes one
    cycle with ``w_shift``. Throughput: one product per cycle. The operands are the activation and the active weight themselves, so a
    block with an enable at an operand's register can hold both.

    Parameters
    ----------
    psum_bits : width of a partial sum, at least ``activation_bits`` + ``weight_bits``; sums are modulo 2**psum_bits
    weight_bits : width of a weight, 8 or 4
    activation_bits : width of an activation, 8 or 16

    Members
    -------
    a_in, a_out : activation, to the right
    swap_in, swap_out : with the first activation of a tile: the shadow weight becomes active
    w_in, w_out : weight, downwards, one row per cycle with ``w_shift``; ``w_out`` is the shadow weight
    psum_in, psum_out : partial sums, downwards
    """

    rows = 1
    latency_cycles = 3
    activation_widths = (8, 16)
    product = staticmethod(registered_product)

    def elaborate(self, platform):
        m = Module()
        a = Signal(signed(self.activation_bits), reset_less=True)
        shadow, active = (Signal(signed(self.weight_bits), name=name, reset_less=True) for name in ("shadow", "active"))
        swap = Signal(reset_less=True)  # at power-up it may load a weight that no row uses
        psum = Signal(signed(self.psum_bits), reset_less=True)
        with m.If(self.w_shift):
            m.d.sync += shadow.eq(self.w_in)
        with m.If(self.swap_in):
            m.d.sync += active.eq(shadow)
        m.d.sync += [a.eq(self.a_in), swap.eq(self.swap_in), psum.eq(self.psum_in + self.product(m, platform, a, active))]
        m.d.comb += [
            self.a_out.eq(a), self.swap_out.eq(swap), self.w_out.eq(shadow), self.psum_out.eq(psum),
        ]
        return m



class FabricPE(PE):
    """A :class:`PE` that multiplies in look-up tables. Latency: 4 cycles from ``a_in``."""

    latency_cycles = 1 + FabricMultiplier.latency_cycles + 1

    product = staticmethod(fabric_product)


class PairPE(_Element):
    """Two rows with one multiplier: psum_out = psum_in + (a₀ + w₁)(a₁ + w₀), that is a₀w₀ + a₁w₁ and the terms a₀a₁ and w₀w₁.

    Winograd's inner product (S. Winograd, "A new algorithm for inner product", IEEE Transactions on Computers C-17, 1968): the
    first term is the same for all columns, the second for all activations, so both are taken off outside.

    Latency: 4 cycles from ``a_in`` (activations, the two sums, which are the multiplier's operands, product, sum); all else as
    :class:`PE`.

    Parameters
    ----------
    psum_bits : width of a partial sum, at least 8 + ``weight_bits``; sums are modulo 2**psum_bits
    weight_bits : width of a weight, 8 or 4

    Members
    -------
    a_in, a_out : two activations, the upper row's lowest
    w_in, w_out : weight, downwards through both rows
    swap_in, swap_out, w_shift, psum_in, psum_out : as of :class:`PE`
    """

    rows = 2
    latency_cycles = 1 + Multiplier.latency_cycles + 1

    def product(self, m: Module, platform: object, x: Value, y: Value) -> Value:
        """x · y of the two sums, whose registers are those at the operands of a DSP block."""
        m.submodules.multiplier = multiplier = shared(Multiplier, platform, x_bits=9, y_bits=9)
        m.d.comb += [multiplier.x.eq(x), multiplier.y.eq(y)]
        return multiplier.p

    def elaborate(self, platform):
        m = Module()
        a = [Signal(signed(8), name=f"a{row}", reset_less=True) for row in range(2)]
        shadow = [Signal(signed(self.weight_bits), name=f"shadow{row}", reset_less=True) for row in range(2)]
        active = [Signal(signed(self.weight_bits), name=f"active{row}", reset_less=True) for row in range(2)]
        swap = Signal(reset_less=True)
        psum = Signal(signed(self.psum_bits), reset_less=True)
        with m.If(self.w_shift):
            m.d.sync += [shadow[0].eq(self.w_in), shadow[1].eq(shadow[0])]
        with m.If(self.swap_in):
            m.d.sync += [active[0].eq(shadow[0]), active[1].eq(shadow[1])]
        m.d.sync += [
            Cat(a).eq(self.a_in), swap.eq(self.swap_in),
            psum.eq(self.psum_in + self.product(m, platform, a[0] + active[1], a[1] + active[0])),
        ]
        m.d.comb += [
            self.a_out.eq(Cat(a)), self.swap_out.eq(swap), self.w_out.eq(shadow[1]), self.psum_out.eq(psum),
        ]
        return m


class FabricPairPE(PairPE):
    """A :class:`PairPE` that multiplies in look-up tables. Latency: 5 cycles from ``a_in``."""

    latency_cycles = 2 + FabricMultiplier.latency_cycles + 1

    def product(self, m: Module, platform: object, x: Value, y: Value) -> Value:
        sums = [Signal(signed(9), name=f"sum{row}", reset_less=True) for row in range(2)]
        m.d.sync += [sums[0].eq(x), sums[1].eq(y)]
        return fabric_product(m, platform, *sums)


class RowTermPE(wiring.Component):
    """psum_out = psum_in + a₀a₁, modulo 2**psum_bits: the term of :class:`PairPE` that all columns have in common.

    Latency: 3 cycles from ``a``, which is the first column's ``a_out``: with the sums of that column, if it has a DSP block.

    Parameters
    ----------
    psum_bits : width of a partial sum
    dsp : it multiplies in a DSP block; otherwise in look-up tables
    """

    a: Signal
    psum_in: Signal
    psum_out: Signal

    latency_cycles = FabricMultiplier.latency_cycles + 1  # and the same of a Multiplier

    def __init__(self, *, psum_bits: int, dsp: bool = False):
        self.psum_bits = psum_bits
        self.dsp = dsp
        super().__init__({"a": In(16), "psum_in": In(signed(psum_bits)), "psum_out": Out(signed(psum_bits))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiplier = multiplier = shared(Multiplier if self.dsp else FabricMultiplier, platform, x_bits=8, y_bits=8)
        psum = Signal(signed(self.psum_bits), reset_less=True)
        m.d.comb += [multiplier.x.eq(self.a[:8]), multiplier.y.eq(self.a[8:]), self.psum_out.eq(psum)]
        m.d.sync += psum.eq(self.psum_in + multiplier.p)
        return m
