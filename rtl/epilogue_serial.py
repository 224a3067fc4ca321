"""The epilogue in a tenth of its area: one word after the other, one bit per cycle."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import PARAMETER_WORDS
from .epilogue import Settings
from .interfaces import ParameterLoad
from .requantise import MULTIPLIER_BITS, SHIFT_BITS, int16_limits

__all__ = ["SerialEpilogue"]

_BIAS, _MULTIPLIER, _SHIFT = range(PARAMETER_WORDS)
_WORD_BITS = 32


class SerialEpilogue(wiring.Component):
    """Makes four bytes of an accumulator word (raw, with the bias or not), or one or two (requantised).

    Exact to :func:`systolith.arch.numerics.requantise`; :mod:`~systolith.rtl.requantise` says why its steps are. There are two
    shift registers. ``x``, the word, leaves at its low end, and what enters at the other replaces it: the sum with the bias, and
    its double for each place of a left shift. ``product`` moves right behind an adder: it gives the bias bit by bit, takes the
    multiplier for each bit of ``x``, and is divided and rounded by moving on.

    Latency from ``start``: raw 1 cycle, with the bias 34, and 9 from byte to byte; requantised 68, one more for each place of a right
    shift, 33 of a left shift.

    Parameters
    ----------
    cols : words of a row
    channels : channels in the parameter memory
    result_bytes : of a requantised value, 1 or 2

    Members
    -------
    start : takes word ``column`` of ``words``; ``channel`` has held since the cycle before at least, and holds until the last byte
    settings : of the command; they hold, too
    parameter : writes of the parameter memory
    o : stream of bytes, the lowest first; ``last`` is the word's last one
    """

    start: Signal
    column: Signal
    channel: Signal
    words: list[Signal]
    settings: data.View
    parameter: wiring.PureInterface
    o: stream.Interface

    def __init__(self, *, cols: int, channels: int, result_bytes: int = 1):
        self.cols = cols
        self.channels = channels
        self.result_bytes = result_bytes
        super().__init__({
            "start": In(1), "column": In(range(cols)), "channel": In(range(channels)), "words": In(signed(_WORD_BITS)).array(cols),
            "settings": In(Settings()), "parameter": In(ParameterLoad(lanes=1)),
            "o": Out(stream.Signature(data.StructLayout({"data": 8, "last": 1}))),
        })

    def elaborate(self, platform):
        m = Module()
        settings = self.settings
        field = Signal(range(PARAMETER_WORDS))
        parameter = self._parameters(m, field)

        x = Signal(_WORD_BITS, reset_less=True)
        product = Signal(signed(34), reset_less=True)
        step = Signal(range(_WORD_BITS), reset_less=True)  # of 32, which bring x round
        shift = Signal(signed(SHIFT_BITS), reset_less=True)  # what is left of it: left above 0, right below
        turns, enters = Signal(), Signal()
        moves = Signal()
        # What is added, and 1 with ``carry``: twice the parameter or nothing, and ones or the zero point over it. All of this is
        # spelled so that one look-up table before and one behind the carry is enough for a bit.
        taken, top_taken, over, carry = Signal(), Signal(), Signal(34), Signal()
        addend = Cat(0, parameter[:MULTIPLIER_BITS] & taken.replicate(MULTIPLIER_BITS), parameter[MULTIPLIER_BITS] & top_taken, 0) ^ over
        with m.If(self.start):
            m.d.sync += x.eq(Array(self.words)[self.column])
        with m.Elif(turns):
            m.d.sync += [x.eq(Cat(x[1:], enters)), step.eq(step + 1)]
        with m.If(moves):
            m.d.sync += product.eq((Cat(carry, product[1:], product[-1]) + Cat(carry, addend))[1:])
        around = step == _WORD_BITS - 1

        # What enters x: x + y.
        y, sum_carry = Signal(), Signal(reset_less=True)
        total = x[0] + y + sum_carry
        m.d.comb += enters.eq(total[0])
        with m.If(turns):
            m.d.sync += sum_carry.eq(total[1] & ~around)

        with m.FSM(name="state"):
            with m.State("WAIT"):
                m.d.comb += field.eq(_BIAS)
                m.d.sync += [step.eq(0), sum_carry.eq(0), product.eq(0)]
                with m.If(self.start):
                    m.next = "BYTES"
                    with m.If(settings.bias):
                        m.next = "TAKE_BIAS"
            with m.State("TAKE_BIAS"):
                m.d.comb += [field.eq(_SHIFT), moves.eq(1), taken.eq(1), top_taken.eq(1)]
                m.next = "ADD_BIAS"
            with m.State("ADD_BIAS"):
                m.d.comb += [field.eq(_SHIFT), turns.eq(1), moves.eq(1), y.eq(product[1])]
                m.d.sync += shift.eq(parameter)
                with m.If(around):
                    m.next = "BYTES"
                    with m.If(settings.requantise):
                        m.next = "LEFT"
            with m.State("LEFT"):
                m.d.comb += field.eq(_MULTIPLIER)
                m.d.sync += product.eq(0)
                m.next = "MULTIPLY"
                with m.If(shift > 0):
                    m.d.sync += shift.eq(shift - 1)
                    m.next = "DOUBLE"
            with m.State("DOUBLE"):
                m.d.comb += [turns.eq(1), y.eq(x[0])]
                with m.If(around):
                    m.next = "LEFT"
            with m.State("MULTIPLY"):
                # Twice the multiplier: 32 moves leave the product without its lowest 30 bits. The sign bit counts negative.
                m.d.comb += [field.eq(_MULTIPLIER), turns.eq(1), moves.eq(1)]
                m.d.comb += [taken.eq(x[0]), carry.eq(x[0] & around), over.eq(carry.replicate(34))]
                with m.If(around):
                    m.next = "RIGHT"
                    with m.If(shift < 0):
                        m.next = "NEAREST"
            with m.State("NEAREST"):
                # Half of the product, rounded, and one less where it is negative: what is divided rounds its ties away from zero.
                # Just half of it where the multiplier, which is still there, says that rounding is done once.
                twice = ~parameter[MULTIPLIER_BITS]
                m.d.comb += [moves.eq(1), over.eq((product[-1] & twice).replicate(34)), carry.eq(product[0] & twice)]
                m.d.sync += shift.eq(shift + 1)
                m.next = "RIGHT"
            with m.State("RIGHT"):
                m.d.comb += moves.eq(1)
                m.d.sync += shift.eq(shift + 1)
                with m.If(shift == 0):
                    m.d.comb += [over.eq(settings.zero_point if self.result_bytes == 1 else 0), carry.eq(product[0])]
                    m.next = "BYTES"
            with m.State("BYTES"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "NEXT_BYTE"
                    with m.If(self.o.payload.last):
                        m.next = "WAIT"
            with m.State("NEXT_BYTE"):
                m.d.comb += turns.eq(1)
                with m.If(step[:3] == 7):
                    m.next = "BYTES"

        bits = 8 * self.result_bytes
        low, high = (settings.low, settings.high) if bits == 8 else int16_limits(settings)
        narrow = product[:bits].as_signed()
        sign = product[-1]
        wide = (product[bits - 1:] != sign.replicate(35 - bits)).any()  # beyond the result's range
        clamped = Signal(signed(bits))
        with m.If(Mux(wide, sign, narrow < low)):
            m.d.comb += clamped.eq(low)
        with m.Elif(Mux(wide, ~sign, narrow > high)):
            m.d.comb += clamped.eq(high)
        with m.Else():
            m.d.comb += clamped.eq(narrow)
        result, complete = (clamped, settings.requantise) if bits == 8 else (
            clamped.word_select(step[3], 8), settings.requantise & step[3])
        m.d.comb += [
            self.o.payload.data.eq(Mux(settings.requantise, result, x[:8])),
            self.o.payload.last.eq(complete | (step[3:] == 3)),
        ]
        return m

    def _parameters(self, m: Module, field: Value) -> Value:
        """The channel's word ``field``, one cycle later: all three in one memory."""
        m.submodules.parameters = parameters = memory.Memory(
            shape=32, depth=4 * self.channels, init=[], attrs={"no_rw_check": 1})
        write, read = parameters.write_port(), parameters.read_port()
        m.d.comb += [
            write.addr.eq(Cat(self.parameter.field, self.parameter.group)), write.data.eq(self.parameter.word),
            write.en.eq(self.parameter.valid), read.addr.eq(Cat(field, self.channel)),
        ]
        return read.data
