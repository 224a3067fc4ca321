"""EXECUTE: preloader and streamer over the same commands, with tokens, locks and errors around them."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import Engine
from ..arch.config import Config
from ..arch.registers import ErrorCode
from .execute_front import ExecuteFront
from .interfaces import EngineControl, TokenPort
from .preload import Preloader
from .stream_rows import ExecuteActivity, RowStreamer
from .timing import DatapathTiming, RowControl, WeightControl

__all__ = ["ExecuteEngine"]


class ExecuteEngine(wiring.Component):
    """Runs EXECUTE commands: weight tiles and output rows as :class:`~systolith.arch.commands.Execute` defines them.

    The preloader takes a command and its tokens while the streamer works on the one before. Errors are reported in program
    order, after everything before the offending command or access was issued: UNSUPPORTED, VALUE and RANGE of accumulator
    rows before a command takes its tokens, RANGE at the weight or activation row outside its scratchpad, which is not read.

    Latency: a command's first row comes ``rows + shift_to_swap_cycles + swap_cycles + 3`` cycles after ``started``, transposed later by
    the fills and ``fill_to_emit_cycles``. Throughput: one row per cycle, and ``swap_cycles`` per tile, without a gap where a tile has at
    least ``swap_to_shift_cycles + shift_to_swap_cycles + rows − 1 − swap_cycles`` rows, about twice the array's, and a command at least 17.

    Parameters
    ----------
    config : sizes of array, memories and loop nests
    timing : distances that the datapath asks for

    Members
    -------
    commands : stream of 32-bit words, whole commands
    tokens : taken when a command begins, given ``settle_cycles`` after its last row
    control : status, halt and errors
    claim, granted : accumulator halves, claimed from the tokens until the command's rows have settled
    weight, row : to the datapath; ``control.activity`` is BUSY in exactly the cycles with ``row.valid``
    """

    commands: stream.Interface
    tokens: wiring.PureInterface
    control: wiring.PureInterface
    claim: Signal
    granted: Signal
    weight: Signal
    row: data.View

    control_layout: type[data.StructLayout] = RowControl

    def __init__(self, *, config: Config, timing: DatapathTiming):
        self.config = config
        self.timing = timing
        super().__init__({
            "commands": In(stream.Signature(32)),
            "tokens": Out(TokenPort()),
            "control": Out(EngineControl(Engine.EXECUTE, config.memory.address_bits)),
            "claim": Out(2), "granted": In(2),
            "weight": Out(WeightControl(rows=config.array.rows, cols=config.array.cols)),
            "row": Out(self.control_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.front = front = ExecuteFront(self.config)
        m.submodules.preloader = preloader = Preloader(self.config, timing=self.timing)
        m.submodules.streamer = streamer = RowStreamer(
            self.config, y_moves=front.y_moves, distance_cycles=self.timing.distance_cycles, swap_cycles=self.timing.swap_cycles)
        wiring.connect(m, wiring.flipped(self.commands), front.i)
        wiring.connect(m, preloader.o, streamer.tile)
        command = front.o.payload

        failed = Signal()
        stop = self.control.halt | failed
        m.d.comb += [
            preloader.stop.eq(stop), preloader.swapped.eq(streamer.swapping),
            streamer.stop.eq(stop), streamer.tile_failed.eq(preloader.failed), streamer.granted.eq(self.granted),
            self.weight.eq(preloader.weight_control), self.row.eq(streamer.row_control),
        ]

        # A command begins when both sequencers have room for it and its tokens are there: in the cycle after that, because everything in
        # here begins with it. They copy what they need of it, so that the next one is decoded meanwhile; or, without look-ahead, it
        # begins in the same cycle and stays where it is until its last row was issued.
        begins = Signal()
        later = m.d.sync if self.config.control.looks_ahead else m.d.comb
        later += begins.eq(self.tokens.taken)
        free = ~begins if self.config.control.looks_ahead else Const(1)
        begun, leaves = Signal(), begins
        if not self.config.control.looks_ahead:
            leaves = begun & ~streamer.busy
            with m.If(begins | leaves):
                m.d.sync += begun.eq(begins)
        m.d.comb += [
            self.tokens.take.eq(front.o.valid & preloader.i.ready & streamer.i.ready & free & ~begun & ~stop),
            self.tokens.take_mask.eq(command.wait),
            front.o.ready.eq(leaves), preloader.i.valid.eq(begins), streamer.i.valid.eq(begins),
            preloader.i.payload.eq(command), streamer.i.payload.eq(command), self.control.started.eq(begins),
        ]

        settling = self._settle(
            m, touch=self.row.valid, touched=self.row.accumulator_row, last=streamer.last, post=streamer.post,
            using=Mux(stop, 0, streamer.using))
        quiet = ~settling & ~streamer.busy
        waits = front.o.valid & ~self.tokens.taken & ~begins & ~begun
        m.d.comb += [
            self.control.idle.eq(~settling & (stop | ~streamer.busy & ~front.holding & ~self.commands.valid)),
            self.control.blocked.eq(quiet & waits & ~stop),
        ]

        # Refused commands are reported once those before have issued all rows: whatever goes wrong there comes first.
        error = self.control.error
        with m.If(~stop):
            m.d.comb += error.valid.eq(streamer.failed | front.error & ~streamer.busy)
        m.d.comb += [
            error.code.eq(Mux(streamer.failed, ErrorCode.RANGE, front.code)),
            self.control.begun.eq(Mux(streamer.failed, 1 + streamer.superseded, 0)),
        ]
        with m.If(error.valid):
            m.d.sync += failed.eq(1)

        activity = Signal(ExecuteActivity, init=ExecuteActivity.IDLE)
        m.d.sync += activity.eq(streamer.activity)
        with m.If(stop):
            m.d.sync += activity.eq(ExecuteActivity.IDLE)
        with m.Elif(waits & ~streamer.busy):
            missing = command.wait & ~self.tokens.available
            m.d.sync += activity.eq(Mux(missing[0], ExecuteActivity.WAIT_LOAD, ExecuteActivity.WAIT_STORE))
        m.d.comb += self.control.activity.eq(activity)
        return m

    def _settle(self, m: Module, *, touch: Value, touched: Value, last: Value, post: Value, using: Value) -> Value:
        """Claims halves and gives tokens until touches have settled; whether any has not."""
        cycles = self.timing.settle_cycles
        half_bit = (self.config.half_rows - 1).bit_length()
        unsettled = Signal(2)
        for half in range(2):
            left = Signal(range(cycles + 1), name=f"unsettled_cycles{half}")
            some = Signal(name=f"unsettled{half}")  # are left
            issued = touch & (touched[half_bit] == half)
            with m.If(issued):
                m.d.sync += [left.eq(cycles), some.eq(1)]
            with m.Elif(some):
                m.d.sync += [left.eq(left - 1), some.eq(left != 1)]
            m.d.comb += unsettled[half].eq(issued | some)
        m.d.comb += self.claim.eq(unsettled | using)

        ends = Mux(last, Cat(C(1, 1), post), 0)
        for age in range(1, cycles + 1):
            delayed = Signal(3, name=f"end{age}")
            m.d.sync += delayed.eq(ends)
            ends = delayed
        m.d.comb += Cat(self.tokens.give, self.tokens.give_mask).eq(ends)
        return unsettled.any()
