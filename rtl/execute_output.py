"""EXECUTE on an output-stationary array."""

from amaranth import *
from amaranth.lib import wiring

from ..arch.registers import ErrorCode
from .execute import ExecuteEngine
from .execute_front import ExecuteFront
from .passes import PassSequencer
from .stream_rows import ExecuteActivity
from .timing import PassControl

__all__ = ["OutputExecuteEngine"]


class OutputExecuteEngine(ExecuteEngine):
    """Runs EXECUTE commands as :class:`~.execute.ExecuteEngine` does, on sums that stay: see :class:`~.passes.PassSequencer`.

    A command takes its tokens as soon as the one before is being read, and is read behind it without a gap if its accumulator half is
    granted by then. Errors are reported in program order: UNSUPPORTED, VALUE and RANGE of accumulator rows before a command takes its
    tokens, RANGE of a weight or activation row once all before its pass has been drained.

    Throughput: one row per cycle where a block has ``rows`` rows.

    Members
    -------
    row : :class:`PassControl`; ``control.activity`` is BUSY in exactly the cycles with ``row.valid``
    all others : as of :class:`~.execute.ExecuteEngine`
    """

    control_layout = PassControl

    def elaborate(self, platform):
        m = Module()
        m.submodules.front = front = ExecuteFront(self.config)
        m.submodules.passes = passes = PassSequencer(self.config, y_moves=front.y_moves, timing=self.timing)
        wiring.connect(m, wiring.flipped(self.commands), front.i)
        command = front.o.payload
        half = command.accumulator_row[(self.config.half_rows - 1).bit_length()]

        failed = Signal()
        stop = self.control.halt | failed
        m.d.comb += [passes.stop.eq(stop), self.weight.eq(passes.weight_control), self.row.eq(passes.row_control)]

        # A command that has its tokens stays in front until its first pass is read. What is granted is looked at a cycle late, when it has
        # been claimed.
        taken, claimed, granted, begins = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [begins.eq(self.tokens.taken), claimed.eq(taken), granted.eq(self.granted.bit_select(half, 1))]
        with m.If(self.tokens.taken):
            m.d.sync += taken.eq(1)
        with m.Elif(passes.i.ready):
            m.d.sync += taken.eq(0)
        m.d.comb += [
            self.tokens.take.eq(front.o.valid & ~taken & ~stop), self.tokens.take_mask.eq(command.wait), self.control.started.eq(begins),
            passes.i.valid.eq(taken & claimed & granted), passes.i.payload.eq(command), front.o.ready.eq(passes.i.ready),
        ]

        busy = passes.busy | taken
        settling = self._settle(
            m, touch=self.row.touch, touched=self.row.accumulator_row, last=passes.last, post=passes.post,
            using=Mux(stop, 0, passes.using | Mux(taken, 1 << half, 0)))
        waits = front.o.valid & ~self.tokens.taken & ~taken
        m.d.comb += [
            self.control.idle.eq(~settling & (stop | ~busy & ~front.holding & ~self.commands.valid)),
            self.control.blocked.eq(~settling & ~busy & waits & ~stop),
        ]

        # Refused commands are reported once those before are done: whatever goes wrong there comes first.
        error = self.control.error
        with m.If(~stop):
            m.d.comb += error.valid.eq(passes.failed | front.error & ~busy)
        m.d.comb += [
            error.code.eq(Mux(passes.failed, ErrorCode.RANGE, front.code)),
            # `started` is counted a cycle later.
            self.control.begun.eq(Mux(passes.failed, passes.begun + (taken & ~begins), 0)),
        ]
        with m.If(error.valid):
            m.d.sync += failed.eq(1)

        activity = Signal(ExecuteActivity, init=ExecuteActivity.IDLE)
        with m.If(stop):
            m.d.sync += activity.eq(ExecuteActivity.IDLE)
        with m.Elif(passes.reading):
            m.d.sync += activity.eq(ExecuteActivity.BUSY)
        with m.Elif(passes.reads):
            m.d.sync += activity.eq(ExecuteActivity.PRELOAD)
        with m.Elif(taken):
            m.d.sync += activity.eq(ExecuteActivity.PORT)
        with m.Elif(waits):
            missing = command.wait & ~self.tokens.available
            m.d.sync += activity.eq(Mux(missing[0], ExecuteActivity.WAIT_LOAD, ExecuteActivity.WAIT_STORE))
        with m.Else():
            m.d.sync += activity.eq(ExecuteActivity.IDLE)
        m.d.comb += self.control.activity.eq(activity)
        return m
