"""Output rows of EXECUTE: one per cycle through the tile that is in the array."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import Engine
from .execute_front import INNER_LEVELS, execute_fields
from .interfaces import activity_enum
from .nest import Nest
from .preload import TileStart
from .timing import RowControl

__all__ = ["ExecuteActivity", "RowStreamer"]

ExecuteActivity = activity_enum(Engine.EXECUTE)


class RowStreamer(wiring.Component):
    """Issues the rows of tile after tile, of command after command, one per cycle without a gap where tiles are offered in time.

    It waits with a row that adds to an accumulator row touched less than ``distance_cycles`` before, and with a command whose
    accumulator half is not granted. The inside of the tensor is decided by comparing coordinates, in the stage after the one
    that steps them; so is whether an activation row lies in the scratchpad.

    Latency: :data:`~.preload.TILE_LATENCY_CYCLES` from an accepted tile to its first row. Throughput: one row per cycle.

    Parameters
    ----------
    activation_rows : depth of the activation scratchpad
    half_rows : rows of one accumulator half, a power of two
    inner_loops : loops over rows, 1 to 3
    distance_cycles : between a touch of an accumulator row and an accumulating touch of the same

    Members
    -------
    i : stream of :func:`execute_fields`: one command ahead of the tiles
    tile : stream of :class:`TileStart`
    tile_failed : no row may follow of the tile that is offered or was accepted last
    granted : the accumulator halves that may be used
    stop : issue nothing
    row_control : to the datapath
    swapping : the row of the next cycle has ``swap``
    last, post : the row on the row control is the last of its command, which posts to the peers in ``post``
    busy : whether it has a command
    using : the accumulator halves of rows that are not issued yet
    failed : the next row is outside the activation scratchpad, or ``tile_failed`` and there is nothing before that
    superseded : a command began after the one that ``failed``
    activity : what the next cycle is, IDLE without a command
    """

    i: stream.Interface
    tile: stream.Interface
    tile_failed: Signal
    granted: Signal
    stop: Signal
    row_control: data.View
    swapping: Signal
    last: Signal
    post: Signal
    busy: Signal
    using: Signal
    failed: Signal
    superseded: Signal
    activity: Signal

    def __init__(self, *, activation_rows: int, half_rows: int, inner_loops: int, distance_cycles: int):
        self.activation_rows = activation_rows
        self.half_rows = half_rows
        self.inner_loops = inner_loops
        self.distance_cycles = distance_cycles
        super().__init__({
            "i": In(stream.Signature(execute_fields())),
            "tile": In(stream.Signature(TileStart())),
            "tile_failed": In(1), "granted": In(2), "stop": In(1),
            "row_control": Out(RowControl()),
            "swapping": Out(1), "last": Out(1), "post": Out(2),
            "busy": Out(1), "using": Out(2), "failed": Out(1), "superseded": Out(1),
            "activity": Out(ExecuteActivity),
        })

    def elaborate(self, platform):
        m = Module()
        half_bit = (self.half_rows - 1).bit_length()
        row_shape = unsigned(half_bit + 1)  # an accumulator row; its top bit is the half

        # The next command waits here, so that its words' places and the preloader are free for the one after.
        pending, pending_valid = Signal(execute_fields(), reset_less=True), Signal()
        pending_row = pending.accumulator_row[:half_bit + 1]
        m.d.comb += self.i.ready.eq(~pending_valid)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [pending.eq(self.i.payload), pending_valid.eq(1)]

        # Stage 1: indices and what follows them.
        m.submodules.nest = nest = self._nest(m, pending)
        last_row = nest.at_end.as_value().all()
        active, valid = Signal(), Signal()  # a command's tiles are taken; a row is here
        command = Signal(data.StructLayout({
            "accumulator_row": row_shape, "pad": signed(8), "height": 16, "width": 16, "post": 2}), reset_less=True)
        swap, accumulate, last_tile = Signal(reset_less=True), Signal(reset_less=True), Signal(reset_less=True)
        accumulator_row = Signal(row_shape, reset_less=True)

        leave = Signal()
        begin = self.tile.valid & self.tile.ready
        granted = self.granted.bit_select(pending_row[-1], 1)
        m.d.comb += [
            self.tile.ready.eq((~valid | leave & last_row) & (granted | ~self.tile.payload.first) & ~self.stop),
            nest.step.eq(leave), nest.start.eq(begin), nest.configure.eq(begin & self.tile.payload.first),
        ]
        with m.If(leave):
            m.d.sync += [valid.eq(~last_row), active.eq(~(last_row & last_tile)), swap.eq(0), accumulator_row.eq(accumulator_row + 1)]
        with m.If(begin):
            m.d.sync += [
                valid.eq(1), active.eq(1), swap.eq(1), last_tile.eq(self.tile.payload.last),
                accumulate.eq(1), accumulator_row.eq(command.accumulator_row),
            ]
            with m.If(self.tile.payload.first):
                m.d.sync += [accumulate.eq(pending.accumulate), accumulator_row.eq(pending_row), pending_valid.eq(0)]
                m.d.sync += [
                    command.accumulator_row.eq(pending_row), command.pad.eq(pending.pad), command.post.eq(pending.post),
                    command.height.eq(pending.height), command.width.eq(pending.width),
                ]

        # Stage 2: the row waits here until its accumulator row may be touched.
        control = Signal(RowControl(), reset_less=True)
        ready, issue = Signal(), Signal()
        waiting, outside, last, post = Signal(), Signal(reset_less=True), Signal(reset_less=True), Signal(2, reset_less=True)
        m.d.comb += [ready.eq(~waiting | issue), leave.eq(valid & ready & ~(swap & self.tile_failed))]
        with m.If(ready):
            m.d.sync += [
                waiting.eq(leave),
                control.row.eq(nest.o.row), outside.eq(nest.o.row >= self.activation_rows),
                control.pad.eq((nest.o.y >= command.height) | (nest.o.x >= command.width)), control.pad_value.eq(command.pad),
                control.swap.eq(swap), control.accumulate.eq(accumulate), control.accumulator_row.eq(accumulator_row),
                last.eq(last_row & last_tile), post.eq(command.post),
            ]
        offending = waiting & outside & ~control.pad
        hazard = self._hazard(m, control, row_shape)
        m.d.comb += issue.eq(waiting & ~hazard & ~offending & ~self.stop)

        # Stage 3: on the row control.
        valid_out, control_out = Signal(), Signal(RowControl(), reset_less=True)
        m.d.sync += [control_out.eq(control), valid_out.eq(issue), self.last.eq(issue & last), self.post.eq(post)]
        m.d.comb += [self.row_control.eq(control_out), self.row_control.valid.eq(valid_out), self.swapping.eq(issue & control.swap)]

        m.d.comb += [
            self.busy.eq(pending_valid | active | waiting),
            self.using.eq(Mux(pending_valid, 1 << pending_row[-1], 0) | Mux(active, 1 << command.accumulator_row[-1], 0)
                          | Mux(waiting, 1 << control.accumulator_row[half_bit], 0)),
            self.failed.eq(offending | self.tile_failed & ~waiting & (~valid | swap)),
            self.superseded.eq(offending & (pending_valid | active & last)),
        ]
        with m.If(issue):
            m.d.comb += self.activity.eq(ExecuteActivity.BUSY)
        with m.Elif(waiting):
            m.d.comb += self.activity.eq(ExecuteActivity.HAZARD)
        with m.Elif(self.tile.valid & self.tile.payload.first & ~granted):
            m.d.comb += self.activity.eq(ExecuteActivity.PORT)
        with m.Elif(pending_valid | active):
            m.d.comb += self.activity.eq(ExecuteActivity.PRELOAD)
        with m.Else():
            m.d.comb += self.activity.eq(ExecuteActivity.IDLE)
        return m

    def _nest(self, m: Module, command: data.View) -> Nest:
        """The nest over the rows of a tile."""
        levels = INNER_LEVELS[-self.inner_loops:]
        nest = Nest(
            levels={level: self.half_rows.bit_length() for level in levels},  # more rows were refused
            values={"row": levels, "y": levels[-2:-1], "x": levels[-1:]})
        m.d.comb += [nest.counts[level].eq(command[f"{level}_count"]) for level in levels]
        m.d.comb += [nest.strides.row[level].eq(command[f"activation_{level}"]) for level in levels]
        m.d.comb += [nest.strides[value][value].eq(command[f"{value}_step"]) for value in ("y", "x") if value in levels]
        m.d.comb += [nest.starts[value].eq(self.tile.payload[value]) for value in nest.values]
        return nest

    def _hazard(self, m: Module, control: data.View, row_shape: Shape) -> Value:
        """Whether ``control`` adds to a row that was issued in the last ``distance_cycles`` − 1 cycles."""
        row, touched = control.accumulator_row[:row_shape.width], self.row_control.accumulator_row[:row_shape.width]
        touching = self.row_control.valid
        matches = []
        for age in range(1, self.distance_cycles):
            matches.append(touching & (touched == row))
            if age + 1 < self.distance_cycles:
                older_row, older = Signal(row_shape, name=f"touched{age + 1}", reset_less=True), Signal(name=f"touching{age + 1}")
                m.d.sync += [older_row.eq(touched), older.eq(touching)]
                touched, touching = older_row, older
        return control.accumulate & Cat(matches).any()
