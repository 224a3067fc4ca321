"""The deciding side of STORE: commands to rows, each checked before anything is done for it."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..arch.commands import Operation, Store, Target
from ..arch.config import Config
from ..arch.registers import ErrorCode
from .decode import command_layout
from .interfaces import BaseLookup, ErrorShape
from .store_fields import WINDOW_BITS, store_doubts, store_objection

__all__ = ["BURST_BEATS", "Span", "StoreRow", "StoreWalk"]

BURST_BEATS = 16
_STATES = ("WAIT", "CHECK", "TAKE", "PREPARE", "LOOKUP", "SPREAD", "BEGIN", "WALK", "FAIL", "FAILED")


class Span(data.StructLayout):
    """Where one row goes. ``last`` ends a command.

    Memory: its bytes begin at byte ``address``, where a run starts unless it is ``joined`` to the row before; ``end`` says that the
    next row is not joined to it. It reaches the ends of ``blocks`` blocks of 16 bus words; then ``whole`` words of the block
    that it ends in are complete, and one more is begun if ``partial``. Scratchpad: ``address`` is the row.
    """

    def __init__(self, *, address_bits: int, bus_bytes: int, row_bytes: int):
        self.address_bits = address_bits
        self.bus_bytes = bus_bytes
        super().__init__({
            "address": address_bits, "joined": 1, "end": 1, "last": 1,
            "blocks": range(row_bytes // (BURST_BEATS * bus_bytes) + 2), "whole": range(BURST_BEATS), "partial": 1,
        })


class StoreRow(data.StructLayout):
    """One checked row: accumulator row ``source``, the ``first`` of its command or not, to ``span``."""

    def __init__(self, *, source_bits: int, span: Span):
        super().__init__({"source": source_bits, "first": 1, "span": span})


class StoreWalk(wiring.Component):
    """Takes a command, checks it, waits for its tokens, and walks its rows.

    A row leaves only when the one behind it is known, because that tells whether the two are one run. VALUE and UNSUPPORTED are
    found before a command begins, RANGE and ADDRESS before a row leaves; any of them is reported when all rows before
    have been written (``settled``), and then nothing more is done. Throughput: one row per cycle; a command costs 10 cycles
    besides its decoding, with a window of w rows w − 1 more, during which rows that wait behind are still read. The command holds until
    its first row is read.

    Parameters
    ----------
    config : the accelerator

    Members
    -------
    halt : level; no row leaves any more
    command : stream of decoded :class:`Store`; its fields hold while ``first_read`` is awaited
    take, taken : tokens of the command's ``wait``
    lookup : to the base registers
    settled : no row is behind this side
    first_read : the reader takes the first row of a command
    room : there is room behind for ``in_flight`` rows and those on their way
    valid, row : a :class:`StoreRow` leaves
    target : where the rows behind go; it changes only while ``settled``
    claim : the halves that the command reads
    waits : a command waits for its tokens; ``idle``: there is none, or none will begin
    error : a report
    """

    halt: Signal
    command: stream.Interface
    take: Signal
    taken: Signal
    lookup: wiring.PureInterface
    settled: Signal
    first_read: Signal
    room: Signal
    valid: Signal
    row: data.View
    target: Signal
    claim: Signal
    waits: Signal
    idle: Signal
    error: ErrorShape

    in_flight = 4

    def __init__(self, config: Config):
        self.config = config
        address_bits = config.memory.address_bits
        self.source_bits = exact_log2(config.memory.accumulator_rows)
        self.span = Span(address_bits=address_bits, bus_bytes=config.bus_bytes, row_bytes=4 * config.array.cols)
        super().__init__({
            "halt": In(1),
            "command": In(stream.Signature(command_layout(Store))),
            "take": Out(1), "taken": In(1),
            "lookup": Out(BaseLookup(address_bits)),
            "settled": In(1), "first_read": In(1),
            "room": In(1), "valid": Out(1),
            "row": Out(StoreRow(source_bits=self.source_bits, span=self.span)),
            "target": Out(Target), "claim": Out(2), "waits": Out(1), "idle": Out(1),
            "error": Out(ErrorShape(address_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        config, command = self.config, self.command.payload
        to_memory = command.target == Target.MEMORY
        row_bytes = Signal(range(4 * config.array.cols + 1))
        results = command.columns if config.array.activation_bytes == 1 else command.columns << 1
        m.d.comb += row_bytes.eq(Mux(command.operation == Operation.RAW, command.columns << 2, results))

        doubts = store_doubts(config, command)
        doubted = Signal.like(doubts)  # one cycle after the fields are there
        m.d.sync += doubted.eq(doubts)
        refused = store_objection(doubted)
        lanes = Mux(command.target == Target.ACTIVATION, config.activation_lanes, config.weight_lanes)
        depth = Mux(command.target == Target.ACTIVATION, config.activation_rows, config.weight_rows)
        base = Signal(config.memory.address_bits, reset_less=True)
        size = Signal(config.memory.address_bits, reset_less=True)
        highest = Signal(signed(18), reset_less=True)  # scratchpad row from which a row still fits
        rest = Signal(11, reset_less=True)
        # One register each, of which one is set: what to do is known without a look at all of them.
        states = {name: Signal(name=name.lower(), init=name == "WAIT") for name in _STATES}
        begin = states["BEGIN"]
        walking = Signal()  # from PREPARE to WALK
        span, spanned = self._window_span(m, command)
        code, address, finished, failed = self._pipeline(m, command, to_memory, row_bytes, base, size, highest, span, begin)

        failure = Signal(ErrorCode)
        first_was_read = Signal()
        m.d.comb += [
            self.take.eq(0), self.lookup.index.eq(command.base),
            self.claim.eq((walking & ~self.halt) << command.row[self.source_bits - 1]),
            self.error.code.eq(failure), self.error.address.eq(Mux(failure == ErrorCode.ADDRESS, address, 0)),
        ]
        m.d.sync += first_was_read.eq(first_was_read | self.first_read)
        def go(here: str, there: str):
            m.d.sync += [states[here].eq(0), states[there].eq(1)]

        with m.If(states["WAIT"]):
            m.d.comb += self.idle.eq(~self.command.valid | self.halt)
            with m.If(self.command.valid & ~self.halt):
                go("WAIT", "CHECK")  # ``doubted`` is registered
        with m.If(states["CHECK"]):
            m.d.sync += [failure.eq(refused), rest.eq(command.lane + row_bytes), highest.eq(depth), first_was_read.eq(0)]
            with m.If(refused != ErrorCode.NONE):
                go("CHECK", "FAIL")
            with m.Else():
                go("CHECK", "TAKE")
        with m.If(states["TAKE"]):
            m.d.comb += [self.take.eq(~self.halt), self.waits.eq(~self.taken)]
            with m.If(self.taken & ~self.halt):
                go("TAKE", "PREPARE")
                m.d.sync += walking.eq(1)
        with m.If(states["PREPARE"]):
            m.d.sync += base.eq(0)
            with m.If(((self.target == command.target) | self.settled) & spanned):
                m.d.sync += self.target.eq(command.target)
                with m.If(to_memory):
                    go("PREPARE", "LOOKUP")
                with m.Else():
                    go("PREPARE", "SPREAD")
        with m.If(states["LOOKUP"]):
            m.d.comb += self.lookup.valid.eq(1)
            m.d.sync += [base.eq(self.lookup.base), size.eq(self.lookup.size)]  # the last ones are right
            with m.If(self.lookup.ready):
                go("LOOKUP", "BEGIN")
        with m.If(states["SPREAD"]):
            m.d.sync += [highest.eq(highest - 1), rest.eq(rest - lanes)]
            with m.If(rest <= lanes):
                go("SPREAD", "BEGIN")
        with m.If(begin):
            go("BEGIN", "WALK")
        with m.If(states["WALK"] & (failed | (finished & first_was_read))):
            m.d.sync += walking.eq(0)
        with m.If(states["WALK"]):
            with m.If(failed):
                m.d.sync += failure.eq(code)
                go("WALK", "FAIL")
            with m.Elif(finished & first_was_read):
                m.d.comb += self.command.ready.eq(1)
                go("WALK", "WAIT")
        with m.If(states["FAIL"] & self.settled & ~self.halt):
            m.d.comb += self.error.valid.eq(1)
            go("FAIL", "FAILED")
        with m.If(~states["WAIT"]):
            m.d.comb += self.idle.eq(self.halt | states["FAILED"])
        return m

    def _window_span(self, m, command):
        """From a window's first accumulator row to its last, and whether it is known: a sum, begun when the command is.

        What is too large for a half stays so.
        """
        if not self.config.epilogue.max_pool:
            return C(0), C(1)
        half_rows = self.config.half_rows
        span = Signal(range(half_rows + 1), reset_less=True)
        left = Signal(WINDOW_BITS)
        total = span + command.window_stride
        with m.If(self.take):  # the last time is the right one
            m.d.sync += [left.eq(command.window - 1), span.eq(0)]
        with m.Elif(left != 0):
            m.d.sync += [left.eq(left - 1), span.eq(Mux(total >= half_rows, half_rows, total))]
        return span, left == 0

    def _pipeline(self, m, command, to_memory, row_bytes, base, size, highest, span, begin):
        """Rows in four stages: offset; address and end; checks; held until the next row is known.

        Returns code and address of the row that fails, whether all rows have left, and whether all before the failing one have.
        """
        config = self.config
        address_bits = config.memory.address_bits
        byte_bits = exact_log2(config.bus_bytes)
        half_bit = self.source_bits - 1

        # Parameters of all groups must be there, for the whole command alike: a sum of shifts instead of a multiplier.
        needs_parameters = (command.operation == Operation.REQUANTISE) | (command.operation == Operation.ADD) | (
            (command.operation == Operation.RAW) & command.bias)
        factors = [command.parameter_group << i for i in range(config.epilogue.lanes.bit_length()) if config.epilogue.lanes >> i & 1]
        channels = Signal(range(len(factors) << max(len(factor) for factor in factors)), reset_less=True)
        no_parameters = Signal()
        m.d.sync += [
            channels.eq(sum(factors)),
            no_parameters.eq(needs_parameters & (config.parameter_groups * config.epilogue.lanes - channels - command.columns)[-1]),
        ]

        walk = Signal()
        step = Signal()
        offset_bits, row_bits = max(config.offset_bits, config.control.row_bits), config.control.row_bits
        offset = Signal(offset_bits, reset_less=True)
        repeat = Signal(offset_bits, reset_less=True)  # offset of the repetition's first row
        reach = Signal(self.source_bits + 2, reset_less=True)  # the last accumulator row of the window, which nothing wraps
        left1 = Signal(row_bits, reset_less=True)
        left2 = Signal(row_bits, reset_less=True)
        first = Signal(reset_less=True)
        # Registered, because they choose what is added to what.
        # The repetition's last row, three times, to share the load: for low bits, the opposite for the other low ones, and for high bits.
        wraps, goes_on, high_wraps = Signal(reset_less=True), Signal(reset_less=True), Signal(reset_less=True)
        final = Signal(reset_less=True)  # the last repetition
        next_wraps = Signal()
        one, repeated_once = Signal(), Signal()  # row per repetition; repetition
        m.d.sync += [one.eq(command.count1 == 1), repeated_once.eq(command.count2 == 1)]
        last = wraps & final
        next_offset = Signal(offset_bits)
        low = min(offset_bits // 2, 12)
        m.d.comb += [
            step.eq(walk & self.room),
            next_offset.eq(
                Cat(Mux(wraps, repeat[:low], offset[:low]), Mux(high_wraps, repeat[low:], offset[low:]))
                + Cat(Mux(goes_on, command.stride1[:low], command.stride2[:low]),
                      Mux(high_wraps, command.stride2[low:], command.stride1[low:]))),
            next_wraps.eq(Mux(wraps | begin, one, left1 == 2)),
        ]
        with m.If(begin | step):
            m.d.sync += [wraps.eq(next_wraps), goes_on.eq(~next_wraps)]
        # Not an enable, or synthesis would make one of the two.
        m.d.sync += high_wraps.eq(((begin | step) & next_wraps) | (~(begin | step) & high_wraps))
        with m.If(begin):
            m.d.sync += [
                walk.eq(1), first.eq(1), offset.eq(command.destination), repeat.eq(command.destination),
                reach.eq(command.row[:self.source_bits + 1] + span),
                left1.eq(command.count1), left2.eq(command.count2), final.eq(repeated_once),
            ]
        with m.Elif(step):
            m.d.sync += [
                walk.eq(~last), first.eq(0), offset.eq(next_offset), reach.eq(reach + 1),
                left1.eq(Mux(high_wraps, command.count1, left1 - 1)),
            ]
            with m.If(wraps):
                m.d.sync += [repeat.eq(next_offset), left2.eq(left2 - 1), final.eq(left2 == 2)]

        mark = data.StructLayout({"source": self.source_bits, "first": 1, "last": 1})
        addressed = Signal()
        addressed_mark = Signal(mark, reset_less=True)
        address = Signal(address_bits, reset_less=True)
        end = Signal(offset_bits + 1, reset_less=True)
        equal = Signal(-(-offset_bits // 8), reset_less=True)  # byte by byte, to the last row's end
        outside = Signal(reset_less=True)  # the accumulator row
        m.d.sync += [
            addressed.eq(step), addressed_mark.eq(Cat((reach - span)[:self.source_bits], first, last)), address.eq(base + offset),
            equal.eq(Cat(offset[i:i + 8] == end[i:min(i + 8, offset_bits)] for i in range(0, offset_bits, 8))),
            outside.eq(reach[half_bit:] != command.row[half_bit]),
        ]
        with m.If(step):
            m.d.sync += end.eq(offset + row_bytes)

        block_bytes = BURST_BEATS * config.bus_bytes
        reach = Signal(range(4 * config.array.cols + block_bytes))
        checked = Signal()
        code = Signal(ErrorCode, reset_less=True)
        row = Signal(self.row.shape(), reset_less=True)
        span = row.span
        m.d.comb += reach.eq(address[:exact_log2(block_bytes)] + row_bytes)
        m.d.sync += [
            checked.eq(addressed),
            Cat(row.source, row.first, span.last).eq(addressed_mark), span.address.eq(address),
            span.joined.eq(equal.all() & ~addressed_mark.first),
            span.partial.eq(reach[:byte_bits].any()), Cat(span.whole, span.blocks).eq(reach[byte_bits:]),
            code.eq(Mux(
                outside | no_parameters | (~to_memory & (highest - address[:row_bits])[-1]), ErrorCode.RANGE,
                Mux(to_memory & (size - end)[-1], ErrorCode.ADDRESS, ErrorCode.NONE))),
        ]

        held = Signal()
        held_row = Signal(self.row.shape(), reset_less=True)
        failed = Signal()
        failed_code = Signal(ErrorCode, reset_less=True)
        failed_address = Signal(address_bits, reset_less=True)
        good = checked & (code == ErrorCode.NONE) & ~failed
        m.d.comb += [
            self.row.eq(held_row), self.row.span.end.eq(~good | ~span.joined),
            self.valid.eq(held & (held_row.span.last | checked) & ~self.halt),
        ]
        with m.If(self.valid | ~held):
            m.d.sync += [held.eq(good), held_row.eq(row)]
        with m.If(checked & ~good & ~failed):
            m.d.sync += [failed.eq(1), failed_code.eq(code), failed_address.eq(span.address)]
        return failed_code, failed_address, ~(walk | addressed | checked | held), failed & ~held
