"""EXECUTE commands from words to checked fields."""

from collections.abc import Iterator

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import Execute
from ..arch.config import Config
from ..arch.footprint import field_bits
from ..arch.registers import ErrorCode
from .decode import Decoder, command_layout

__all__ = ["INNER_LEVELS", "OUTER_LEVELS", "ExecuteFront", "execute_fields"]

OUTER_LEVELS = ("ky", "kx", "ct")  # outermost first; an accelerator has the last `outer_loops` of them
INNER_LEVELS = ("b", "y", "x")


def execute_fields() -> data.StructLayout:
    """A struct with one member per field of EXECUTE, ``vector_row``: the weight row of the first vector that is read, and for each level
    ``_once``: its count is 1."""
    return data.StructLayout({
        **command_layout(Execute).members, "vector_row": 16, **{f"{level}_once": 1 for level in (*OUTER_LEVELS, *INNER_LEVELS)}})


def signed_digits(number: int) -> Iterator[tuple[int, int]]:
    """The fewest (shift, ±1) with Σ ±2**shift = ``number``."""
    shift = 0
    while number:
        if number & 1:
            sign = 2 - (number & 3)
            yield shift, sign
            number -= sign
        number >>= 1
        shift += 1


class ExecuteFront(wiring.Component):
    """Decodes EXECUTE commands and checks all that can be known before they begin.

    Of several errors the one with the lowest code is reported: UNSUPPORTED for loops and transposition that this accelerator
    is built without, VALUE for counts of zero and ``k_last`` outside 1 … ``rows``, RANGE for accumulator rows outside one half.
    Neither is the command presented then nor any that follows.

    Latency: a command is presented two cycles after its last word; where ``y_count`` or ``b_count`` are not 1, as many cycles
    later as they have bits together, and 3.

    Parameters
    ----------
    config : the accelerator

    Attributes
    ----------
    y_moves : whether any loop changes y; otherwise a command with y outside the tensor is presented with ``width`` 0, if there is
        padding at all

    Members
    -------
    i : stream of 32-bit words, whole commands
    o : stream of :func:`execute_fields`
    error, code : a command was refused; both stay
    holding : a command is being collected, waits at ``o`` or was refused
    """

    i: stream.Interface
    o: stream.Interface
    error: Signal
    code: Signal
    holding: Signal

    def __init__(self, config: Config):
        self.config = config
        self.rows, self.cols, self.transposer = config.array.rows, config.array.cols, config.array.transposer
        self.half_rows = config.half_rows
        self.outer_loops, self.inner_loops = config.control.outer_loops, config.control.inner_loops
        self.y_moves = config.control.padding and (self.outer_loops == 3 or self.inner_loops >= 2)
        super().__init__({
            "i": In(stream.Signature(32)),
            "o": Out(stream.Signature(execute_fields())),
            "error": Out(1), "code": Out(ErrorCode), "holding": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        levels = [*OUTER_LEVELS, *INNER_LEVELS]
        built = [*OUTER_LEVELS[-self.outer_loops:], *INNER_LEVELS[-self.inner_loops:]]
        m.submodules.decoder = decoder = Decoder(
            Execute, field_bits(self.config, Execute), saturate={
                "k_last": (self.rows + 1).bit_length(), "accumulator_row": self.config.memory.accumulator_rows.bit_length(),
                **{f"{level}_count": 2 for level in levels if level not in built}})
        command = decoder.o.payload
        wiring.connect(m, wiring.flipped(self.i), decoder.i)

        # These registers follow the words while they arrive. No check reads the last word, so they are right when the
        # decoder presents the command, and a checked command costs no cycle.
        unsupported, wrong = Signal(reset_less=True), Signal(reset_less=True)
        counts = {level: command[f"{level}_count"] for level in levels}
        m.d.sync += [
            unsupported.eq(Cat(command.excess, *(counts[level] > 1 for level in levels if level not in built),
                               0 if self.transposer else command.transpose).any()),
            wrong.eq(Cat(*(count == 0 for count in counts.values()), command.k_last == 0, command.k_last > self.rows).any()),
        ]
        m.d.comb += self.o.payload.eq(command)  # which is how its fields begin
        for level, count in counts.items():
            once = Signal(name=f"{level}_once", reset_less=True)
            m.d.sync += once.eq(count == 1)
            m.d.comb += self.o.payload[once.name].eq(once)
        if self.config.control.padding and not self.y_moves:
            with m.If(command.y_origin.as_unsigned() >= command.height):
                m.d.comb += self.o.payload.width.eq(0)
        m.d.comb += self.o.payload.vector_row.eq(self._vector_row(m, command))

        outside, counted = self._outside(m, command, decoder.o.valid, self.o.valid & self.o.ready)
        # What was found goes into a register: whether a command begins is decided behind it.
        valid = decoder.o.valid
        accepted = self.o.valid & self.o.ready
        m.d.comb += decoder.o.ready.eq(accepted)
        m.d.sync += [self.o.valid.eq(0), self.error.eq(0)]
        with m.If(unsupported):
            m.d.sync += [self.error.eq(valid), self.code.eq(ErrorCode.UNSUPPORTED)]
        with m.Elif(wrong):
            m.d.sync += [self.error.eq(valid), self.code.eq(ErrorCode.VALUE)]
        with m.Elif(outside):
            m.d.sync += [self.error.eq(valid & counted), self.code.eq(ErrorCode.RANGE)]
        with m.Else():
            m.d.sync += self.o.valid.eq(valid & counted & ~accepted)

        collecting = Signal()
        with m.If(decoder.i.valid & decoder.i.ready):
            m.d.sync += collecting.eq(1)
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += collecting.eq(0)
        m.d.comb += self.holding.eq(collecting)
        return m

    def _vector_row(self, m: Module, command: data.View) -> Value:
        """``weight_row`` plus the offset of a tile's last vector, with which preloading begins; pipelined additions."""
        row_bits = self.config.control.row_bits

        def multiple(factor: int, name: str) -> Value:
            total = Const(0)
            for index, (shift, sign) in enumerate(reversed(list(signed_digits(factor)))):
                term = command.weight_stride << shift
                if index:
                    partial = Signal(row_bits, name=f"{name}{index}", reset_less=True)
                    m.d.sync += partial.eq(total + term if sign > 0 else total - term)
                    total = partial
                else:
                    total = term  # the largest is positive
            return total

        offset = multiple(self.rows - 1, "plain_offset")
        if self.transposer and self.cols != self.rows:
            offset = Mux(command.transpose, multiple(self.cols - 1, "transposed_offset"), offset)
        vector_row = Signal(row_bits, reset_less=True)
        m.d.sync += vector_row.eq(command.weight_row + offset)
        return vector_row

    def _outside(self, m: Module, command: data.View, valid: Value, accepted: Value) -> tuple[Value, Value]:
        """Whether the output rows leave their half, and whether that is known yet."""
        bits = (self.half_rows - 1).bit_length()
        first, beyond = command.accumulator_row[:bits], command.accumulator_row[bits + 1:].any()
        one_run_end, one_run_outside = Signal(17, reset_less=True), Signal(reset_less=True)
        m.d.sync += [one_run_end.eq(first + command.x_count), one_run_outside.eq((one_run_end > self.half_rows) | beyond)]
        if self.inner_loops == 1:
            return one_run_outside, Const(1)

        # x · y · b by shifting and adding, as long as bits are left. The top bit means "too large" and stays set.
        width = bits + 2
        factor, total = Signal(width, reset_less=True), Signal(width, reset_less=True)
        multiplier, spent = Signal(16, reset_less=True), Signal(reset_less=True)  # spent: no bits are left, known with it
        one_run, counted = Signal(reset_less=True), Signal()
        repeats = [command[f"{level}_count"] for level in reversed(INNER_LEVELS[-self.inner_loops:-1])]
        m.d.sync += one_run.eq(Cat(count == 1 for count in repeats).all())
        with m.FSM(name="rows"):
            with m.State("WAIT"):
                with m.If(~counted):
                    m.d.sync += [
                        factor.eq(Cat(command.x_count[:width - 1], command.x_count[width - 1:].any())),
                        multiplier.eq(repeats[0]), spent.eq(0), total.eq(0 if repeats[1:] else first),
                    ]
                    with m.If(valid & ~one_run):
                        m.next = "MULTIPLY0"
            for index in range(len(repeats)):
                with m.State(f"MULTIPLY{index}"):
                    with m.If(multiplier[0]):
                        m.d.sync += total.eq((total + factor) | ((total[-1] | factor[-1]) << width - 1))
                    m.d.sync += [
                        factor.eq(Cat(0, factor[:-2], factor[-2:].any())),
                        multiplier.eq(multiplier[1:]), spent.eq(multiplier[1:] == 0),
                    ]
                    with m.If(spent):
                        if index + 1 < len(repeats):
                            m.d.sync += [factor.eq(total), multiplier.eq(repeats[index + 1]), spent.eq(0), total.eq(first)]
                            m.next = f"MULTIPLY{index + 1}"
                        else:
                            m.d.sync += counted.eq(1)
                            m.next = "WAIT"
        with m.If(accepted):
            m.d.sync += counted.eq(0)
        return Mux(one_run, one_run_outside, (total > self.half_rows) | beyond), one_run | counted
