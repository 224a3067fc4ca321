"""Sums to int8 or int16 by a multiplier and a shift: one lane of the epilogue, exact to :func:`systolith.arch.numerics.requantise`."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.numerics import WIDE_SHIFT_MAX

__all__ = ["ParallelRequantise", "SerialRequantise", "WideRequantise", "int16_limits", "requantiser"]

MULTIPLIER_BITS = 31  # and one more, which says that rounding is done once
SHIFT_BITS = 6
_WORD_BITS = 32
_WIDE_BITS = 48  # of a wider word at most


def _register(m: Module, value, name: str) -> Signal:
    """``value`` one cycle later."""
    register = Signal.like(value, name=name, reset_less=True) if isinstance(value, Signal) else Signal(
        value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


class _Finish(wiring.Component):
    """Second half: rounding shift right, zero point, clamp.

    With v = product ÷ 2**30 (rounded down), every case ends in z = ⌊s ÷ 2⌋ + (s mod 2), which is a shift by one that rounds up:

    - shift ≥ 0: z = ⌊(product + 2**30) ÷ 2**31⌋, so s = v;
    - shift = −e < 0: y = ⌊v ÷ 2⌋ + (v mod 2) is to be divided by 2**e with ties away from zero, and
      ⌊(y − [y < 0] + 2**(e−1)) ÷ 2**e⌋ has s = ⌊(y − [y < 0]) ÷ 2**(e−1)⌋. The sign of v serves for that of y: they differ only
      where y = 0, and there y − 1 gives the same z. e − 1 is the complement of the shift;
    - the same with ``once``: y = ⌊v ÷ 2⌋, without the first rounding and what it needs.

    Of s, two bits more than the result has are enough, saturated: no zero point brings what lies beyond back into int8, and int16 has
    none: its limits are those of :attr:`~systolith.arch.commands.Store.int16_limits`.
    Latency: ``latency_cycles``; ``shift``, ``once`` and the settings come in the same cycle as ``v`` does.
    """

    latency_cycles = 5
    v_bits = _WORD_BITS + 1

    def __init__(self, result_bits: int):
        self.result_bits = result_bits
        super().__init__({
            "v": In(signed(self.v_bits)), "shift": In(signed(SHIFT_BITS)), "once": In(1),
            "zero_point": In(signed(8)), "low": In(signed(8)), "high": In(signed(8)),
            "o": Out(signed(result_bits)),
        })

    def _divided(self, m: Module) -> tuple[Signal, Signal]:
        """What is to be shifted right, and by how much, a cycle later: y − [y < 0] or v."""
        divide = self.shift < 0
        nearest = Signal()
        base = Signal(signed(33))
        m.d.comb += [base.eq(Mux(divide, self.v >> 1, self.v)), nearest.eq(divide & ~self.once)]
        whole = Signal(signed(33), reset_less=True)
        m.d.sync += whole.eq(base + (nearest & (self.v < 0)).replicate(33).as_signed() + (nearest & self.v[0]))
        return whole, _register(m, Mux(divide, ~self.shift[:5], 0), "amount")

    def _far(self, blocks: Value, differs: list[Value]) -> Value:
        """Whether one of the blocks of 8 bits ``differs`` that are above what is left after a shift by so many blocks."""
        none = blocks == 0
        return Mux(none, differs[0] | differs[1], (blocks == 1) & differs[1]) if self.result_bits == 8 else none & differs[0]

    def elaborate(self, platform):
        m = Module()
        whole, amount = self._divided(m)
        # Coarse shift by multiples of 8, then by 0 … 7. Meanwhile, which of the lowest bits are beyond s, and whether any above differs.
        bits = self.result_bits
        coarse = _register(m, (whole >> (amount[3:] << 3))[:bits + 9].as_signed(), "coarse")
        fine_amount = _register(m, amount[:3], "fine_amount")
        beyond = _register(m, Cat(i >= amount[:3] for i in range(7)), "beyond")
        differs = [(whole[first:first + 8] != whole[-1].replicate(8)).any() for first in range(bits + 8, self.v_bits - 1, 8)]
        far = _register(m, self._far(amount[3:], differs), "far")
        sign = _register(m, whole[-1], "sign")
        outside = Cat((coarse[bits + 1 + i] != sign) & beyond[i] for i in range(7)).any() | far
        s = Signal(signed(bits + 2), reset_less=True)
        m.d.sync += s.eq(Mux(outside, Cat((~sign).replicate(bits + 1), sign), (coarse >> fine_amount)[:bits + 2]))
        # zero point and clamp
        total = Signal(signed(bits + 2), reset_less=True)
        if bits == 8:
            low, high = self.low, self.high
            m.d.sync += total.eq((s >> 1) + self.zero_point + s[0])
        else:
            low, high = int16_limits(self)
            m.d.sync += total.eq((s >> 1) + s[0])
        m.d.sync += self.o.eq(Mux((total - low)[-1], low, Mux((high - total)[-1], high, total)))
        return m


class _WideFinish(_Finish):
    """Of a wide word's product ÷ 2**23, to int16, rounded once: s = ⌊v ÷ 2**(7 − shift)⌋. All else as :class:`_Finish`."""

    v_bits = _WIDE_BITS + MULTIPLIER_BITS - 23

    def _divided(self, m: Module) -> tuple[Signal, Signal]:
        return _register(m, self.v, "whole"), _register(m, (WIDE_SHIFT_MAX - self.shift)[:SHIFT_BITS], "amount")

    def _far(self, blocks: Value, differs: list[Value]) -> Value:
        return Cat((blocks <= block) & differ for block, differ in enumerate(differs)).any()


def int16_limits(settings) -> tuple[Value, Value]:
    """As :attr:`~systolith.arch.commands.Store.int16_limits`, of anything with the three fields."""
    return Cat(C(0, 8), settings.low).as_signed(), Cat(~settings.zero_point, settings.high).as_signed()


class _Requantise(wiring.Component):
    """One lane: scale, round, add the zero point, clamp.

    Takes values in a cycle with ``start``, and the multiplier ``multiplier_cycles`` later; the result is out ``latency_cycles`` after
    ``start``, for one cycle. Throughput: one start per ``interval_cycles``. ``zero_point``, ``low`` and ``high`` are settings: they must
    hold until the last result is out.

    Members
    -------
    start : values are taken
    acc : bias included
    multiplier, shift : of :func:`systolith.arch.numerics.scale`
    zero_point, low, high : settings
    o : result, of ``result_bits``
    """

    start: Signal
    acc: Signal
    multiplier: Signal
    shift: Signal
    zero_point: Signal
    low: Signal
    high: Signal
    o: Signal

    latency_cycles: int
    interval_cycles: int
    multiplier_cycles = 0

    def __init__(self, result_bits: int = 8, bits: int = _WORD_BITS):
        self.result_bits = result_bits
        super().__init__({
            "start": In(1), "acc": In(signed(bits)), "multiplier": In(MULTIPLIER_BITS + 1), "shift": In(signed(SHIFT_BITS)),
            "zero_point": In(signed(8)), "low": In(signed(8)), "high": In(signed(8)),
            "o": Out(signed(result_bits)),
        })

    def _left(self):
        """How far a positive shift moves to the left."""
        return Mux(self.shift < 0, 0, self.shift[:5])

    def _finish(self, m, v, shift, once, kind=_Finish):
        m.submodules.finish = finish = kind(self.result_bits)
        m.d.comb += [
            finish.v.eq(v), finish.shift.eq(shift), finish.once.eq(once),
            finish.zero_point.eq(self.zero_point), finish.low.eq(self.low), finish.high.eq(self.high),
            self.o.eq(finish.o),
        ]


class ParallelRequantise(_Requantise):
    __doc__ = _Requantise.__doc__ + """
    The 32 × 31 bit product is four products of 16 bits with registers around each, so that every one fits a DSP block.
    """

    latency_cycles = 6 + _Finish.latency_cycles
    interval_cycles = 1
    multiplier_cycles = 1

    def elaborate(self, platform):
        m = Module()
        left = self._left()  # by multiples of 8, then by 0 … 7, wrapping
        moved = _register(m, (self.acc.as_unsigned() << (left[3:] << 3))[:32], "moved")
        shifted = _register(m, (moved << _register(m, left[:3], "left"))[:32].as_signed(), "shifted")
        # Synthesis clears what was shifted in, and sets a factor of one, by the flip-flops' resets; the registers behind them have none,
        # so that they can be the DSP blocks' own.
        x = _register(m, shifted, "x")
        multiplier = _register(m, _register(m, self.multiplier[:MULTIPLIER_BITS], "given"), "factor")
        x_low, x_high = x[:16], x[16:].as_signed()
        m_low, m_high = multiplier[:16], multiplier[16:]
        low = _register(m, (x_low * m_low)[16:32], "low_product")  # nothing looks at the bits below, and no carry leaves them
        middle0 = _register(m, x_low * m_high, "middle_product0")
        middle1 = _register(m, x_high * m_low, "middle_product1")
        high = _register(m, x_high * m_high, "high_product")
        middle = _register(m, middle0 + middle1, "middle")
        outer = _register(m, Cat(low, high[:31]).as_signed(), "outer")
        v = _register(m, (middle + outer)[14:47].as_signed(), "v")
        shift, once = self.shift, self.multiplier[-1]
        for cycle in range(5 + self.multiplier_cycles):
            shift = _register(m, shift, f"shift{cycle}")
        for cycle in range(5):
            once = _register(m, once, f"once{cycle}")
        self._finish(m, v, shift, once)
        return m


class WideRequantise(_Requantise):
    __doc__ = _Requantise.__doc__ + """
    For words of 33 to 48 bits, with results of 16 (:func:`systolith.arch.numerics.scale_wide`): six products of 16 bits.
    """

    latency_cycles = ParallelRequantise.latency_cycles
    interval_cycles = 1
    multiplier_cycles = ParallelRequantise.multiplier_cycles

    def elaborate(self, platform):
        m = Module()
        x = _register(m, _register(m, self.acc, "given"), "x")
        multiplier = _register(m, self.multiplier[:MULTIPLIER_BITS], "factor")
        parts = x[:16], x[16:32], x[32:].as_signed()
        factors = multiplier[:16], multiplier[16:]
        (p00, p01), (p10, p11), (p20, p21) = (
            [_register(m, part * factor, f"product{i}{j}") for j, factor in enumerate(factors)] for i, part in enumerate(parts))
        # In units of 2**16: the lowest bits meet nothing.
        ends = _register(m, Cat(p00[16:], C(0, 16), p21).as_signed(), "ends")
        middle = _register(m, p01 + p10, "middle")
        upper = _register(m, p11 + p20, "upper")
        outer = _register(m, ends + middle, "outer")
        upper = _register(m, upper, "upper_later")
        v = _register(m, (outer + (upper << 16))[23 - 16:][:_WideFinish.v_bits].as_signed(), "v")
        shift = self.shift
        for cycle in range(5 + self.multiplier_cycles):
            shift = _register(m, shift, f"shift{cycle}")
        self._finish(m, v, shift, C(0), _WideFinish)
        return m


class SerialRequantise(_Requantise):
    __doc__ = _Requantise.__doc__ + """
    Four bits of the multiplier per cycle, from the lowest on: adders instead of DSP blocks.
    """

    digit_bits = 4
    interval_cycles = -(-MULTIPLIER_BITS // digit_bits)
    latency_cycles = 1 + interval_cycles + _Finish.latency_cycles

    def elaborate(self, platform):
        m = Module()
        x = Signal(signed(32), reset_less=True)
        digits = Signal(self.interval_cycles * self.digit_bits, reset_less=True)
        shift = Signal(signed(SHIFT_BITS), reset_less=True)
        once = Signal(reset_less=True)
        fresh = Signal(reset_less=True)
        # Product so far, without the digits that are done: after the last one, product ÷ 2**28.
        product = Signal(signed(32 + self.digit_bits + 1), reset_less=True)
        m.d.sync += [
            fresh.eq(self.start),
            digits.eq(digits >> self.digit_bits),
            product.eq(Mux(fresh, 0, product >> self.digit_bits) + sum(Mux(digits[i], x << i, 0) for i in range(self.digit_bits))),
        ]
        with m.If(self.start):
            m.d.sync += [x.eq(self.acc << self._left()), digits.eq(self.multiplier[:MULTIPLIER_BITS]), shift.eq(self.shift),
                         once.eq(self.multiplier[-1])]
        # The next values may come while the last digit is added: the shift that is needed then is one cycle older.
        self._finish(m, product[2:35].as_signed(), _register(m, shift, "last_shift"), _register(m, once, "last_once"))
        return m


def requantiser(multiplier: str, result_bits: int = 8, bits: int = _WORD_BITS) -> _Requantise:
    """A lane of the kind ``multiplier``, ``parallel`` or ``serial``, with results of 8 or 16 bits; of ``bits`` more than 32 ``parallel``
    with 16."""
    kinds = {"parallel": ParallelRequantise, "serial": SerialRequantise}
    if multiplier not in kinds:
        raise ValueError(f"multiplier must be one of {', '.join(map(repr, kinds))}, not {multiplier!r}")
    if bits == _WORD_BITS:
        return kinds[multiplier](result_bits)
    if (multiplier, result_bits) != ("parallel", 16) or bits > _WIDE_BITS:
        raise ValueError(f"bits must be {_WORD_BITS} or, for a parallel multiplier and results of 16 bits, up to {_WIDE_BITS}, "
                         f"not {bits!r}")
    return WideRequantise(result_bits, bits)
