"""Multipliers with their registers: the one that a DSP block replaces, and one of adders for where there is none."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .shared import shared

__all__ = ["FabricMultiplier", "Multiplier", "PartialProducts", "SignProduct", "partial_products"]


def _check_bits(bits: dict[str, int], low: int) -> None:
    for subject, value in bits.items():
        if value < low:
            raise ValueError(f"{subject} must be at least {low}, not {value!r}")


class Multiplier(wiring.Component):
    """p = x · y, both signed.

    Latency: 2 cycles (operand registers, product register). Throughput: one product per cycle. The registers stand where DSP
    blocks have theirs, and have no reset.

    Parameters
    ----------
    x_bits, y_bits : widths of the operands
    """

    x: Signal
    y: Signal
    p: Signal

    latency_cycles = 2

    def __init__(self, *, x_bits: int, y_bits: int):
        _check_bits({"x_bits": x_bits, "y_bits": y_bits}, 2)
        self.x_bits = x_bits
        self.y_bits = y_bits
        super().__init__({"x": In(signed(x_bits)), "y": In(signed(y_bits)), "p": Out(signed(x_bits + y_bits))})

    def elaborate(self, platform):
        m = Module()
        x, y = (Signal(operand.shape(), name=f"{operand.name}_register", reset_less=True) for operand in (self.x, self.y))
        product = Signal(self.p.shape(), reset_less=True)
        m.d.sync += [x.eq(self.x), y.eq(self.y), product.eq(x * y)]
        m.d.comb += self.p.eq(product)
        return m


class PartialProducts(wiring.Component):
    """q = x · (y₀ + 2·y₁), or x · (y₀ − 2·y₁) where y₁ is a sign: two rows of a multiplication and the adder that joins them.

    Latency: none.

    Parameters
    ----------
    bits : of x
    negative : y₁ counts −2

    Members
    -------
    x : signed
    y : the two bits
    q : signed

    Platform overrides
    ------------------
    An instance is called ``partial_products_N_…`` or ``signed_partial_products_N_…``, N the bits of x: ``boards/primitives_<family>.py``
    replaces it on parts with look-up tables in front of their carry chains, where all of it is one chain.
    """

    x: Signal
    y: Signal
    q: Signal

    latency_cycles = 0

    def __init__(self, *, bits: int, negative: bool = False):
        _check_bits({"bits": bits}, 2)
        self.bits = bits
        self.negative = negative
        super().__init__({"x": In(signed(bits)), "y": In(2), "q": Out(signed(bits + 2))})

    def elaborate(self, platform):
        m = Module()
        one, two = (self.x & bit.replicate(self.bits).as_signed() for bit in self.y)
        m.d.comb += self.q.eq(one - (two << 1) if self.negative else one + (two << 1))
        return m


class SignProduct(wiring.Component):
    """q = c − x·y, y one bit: the row of a multiplication that is left for the sign.

    Latency: none.

    Parameters
    ----------
    bits : of x and of c, signed

    Platform overrides
    ------------------
    An instance is called ``sign_product_N_…``; as :class:`PartialProducts`.
    """

    c: Signal
    x: Signal
    y: Signal
    q: Signal

    latency_cycles = 0

    def __init__(self, *, bits: int):
        _check_bits({"bits": bits}, 2)
        self.bits = bits
        super().__init__({"c": In(signed(bits)), "x": In(signed(bits)), "y": In(1), "q": Out(signed(bits + 1))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.q.eq(self.c - (self.x & self.y.replicate(self.bits).as_signed()))
        return m


def partial_products(m: Module, platform: object, label: str, x: Value, y: Value, *, negative: bool = False) -> Value:
    """x · y of two bits, by :class:`PartialProducts` as a submodule of ``m`` whose name ends with ``label``."""
    bits = len(x)
    name = f"{'signed_' if negative else ''}partial_products_{bits}_{label}"
    m.submodules[name] = row = shared(PartialProducts, platform, bits=bits, negative=negative)
    m.d.comb += [row.x.eq(x), row.y.eq(y)]
    return row.q


class FabricMultiplier(wiring.Component):
    """p = x · y, both signed, from look-up tables and carry chains only: pairs of partial products, then their sums, in pairs.

    Latency: 2 cycles (two halves, or both pairs of four bits, then their sum), as :class:`Multiplier`. Throughput: one product per cycle.

    Parameters
    ----------
    x_bits : width of x, at least 2
    y_bits : 4, 8 or 9
    """

    x: Signal
    y: Signal
    p: Signal

    latency_cycles = 2

    def __init__(self, *, x_bits: int = 8, y_bits: int = 8):
        _check_bits({"x_bits": x_bits}, 2)
        if y_bits not in (4, 8, 9):
            raise ValueError(f"y_bits must be 4, 8 or 9, not {y_bits!r}")
        self.x_bits = x_bits
        self.y_bits = y_bits
        super().__init__({"x": In(signed(x_bits)), "y": In(signed(y_bits)), "p": Out(signed(x_bits + y_bits))})

    def elaborate(self, platform):
        m = Module()
        bits = self.x_bits
        pairs = self.y_bits // 2
        rows = [partial_products(m, platform, str(i), self.x, self.y[2 * i:2 * i + 2], negative=self.y_bits != 9 and i == pairs - 1)
                for i in range(pairs)]
        halves = rows if pairs == 2 else [_shifted_sum(rows[i], rows[i + 1], 2, bits + 4) for i in (0, 2)]
        if self.y_bits == 9:  # its sign counts −16 in the upper half
            m.submodules[f"sign_product_{bits}_4"] = sign = shared(SignProduct, platform, bits=bits)
            m.d.comb += [sign.c.eq(halves[1][4:]), sign.x.eq(self.x), sign.y.eq(self.y[8])]
            halves[1] = Cat(halves[1][:4], sign.q).as_signed()
        registers = [Signal(half.shape(), name=f"half{i}", reset_less=True) for i, half in enumerate(halves)]
        product = Signal(self.p.shape(), reset_less=True)
        m.d.sync += [*(register.eq(half) for register, half in zip(registers, halves, strict=True)),
                     product.eq(_shifted_sum(*registers, pairs, self.x_bits + self.y_bits))]
        m.d.comb += self.p.eq(product)
        return m


def _shifted_sum(low: Value, high: Value, shift: int, bits: int) -> Value:
    """low + high · 2**shift, signed, of ``bits`` bits; the adder begins where the two meet."""
    return Cat(low[:shift], (low[shift:].as_signed() + high)[:bits - shift]).as_signed()
