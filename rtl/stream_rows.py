"""Output rows of EXECUTE: one per cycle through the tile that is in the array."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import Engine
from ..arch.config import Config
from .execute_front import INNER_LEVELS, execute_fields
from .interfaces import activity_enum
from .nest import Nest
from .preload import TileStart
from .timing import RowControl

__all__ = ["ExecuteActivity", "RowStreamer", "row_nest"]

ExecuteActivity = activity_enum(Engine.EXECUTE)


def row_nest(m: Module, config: Config, command: data.View) -> Nest:
    """The nest over the rows of a tile, with counts and strides from a command of :func:`execute_fields`."""
    control = config.control
    levels = INNER_LEVELS[-control.inner_loops:]
    nest = Nest(
        levels={level: config.half_rows.bit_length() for level in levels},  # more rows were refused
        values={"row": levels, **({"y": levels[-2:-1], "x": levels[-1:]} if control.padding else {})},
        bits={"row": control.row_bits}, held=not control.looks_ahead)
    for level in levels:
        m.d.comb += [nest.counts[level].eq(command[f"{level}_count"]), nest.once[level].eq(command[f"{level}_once"])]
    m.d.comb += [nest.strides.row[level].eq(command[f"activation_{level}"]) for level in levels]
    m.d.comb += [nest.strides[value][value].eq(command[f"{value}_step"]) for value in ("y", "x") if control.padding and value in levels]
    return nest


class RowStreamer(wiring.Component):
    """Issues the rows of tile after tile, of command after command, one per cycle without a gap where tiles are offered in time.

    It waits with a row that adds to an accumulator row touched less than ``distance_cycles`` before, and with a command whose
    accumulator half is not granted. The inside of the tensor is decided by comparing coordinates, in the stage after the one
    that steps them; so is whether an activation row lies in the scratchpad.

    Latency: :data:`~.preload.TILE_LATENCY_CYCLES` from an accepted tile to its first row. Throughput: one row per cycle.

    Parameters
    ----------
    config : the accelerator
    y_moves : whether any loop changes y; otherwise ``width`` is 0 where y is outside
    distance_cycles : between a touch of an accumulator row and an accumulating touch of the same
    swap_cycles : 1: the first row of a tile waits a cycle, in which there is nothing but the swap; 0: the swap comes with that row

    Members
    -------
    i : stream of :func:`execute_fields`: one command ahead of the tiles. If the engine does not look ahead, the payload holds until all
        rows have been issued, and is not copied.
    tile : stream of :class:`TileStart`
    tile_failed : no row may follow of the tile that is offered or was accepted last
    granted : the accumulator halves that may be used
    stop : the row control stays empty
    row_control : to the datapath
    swapping : the row control of the next cycle has ``swap``, unless ``stop``
    last, post : the row on the row control is the last of its command, which posts to the peers in ``post``
    busy : whether it has a command
    using : the accumulator halves of rows that are not issued yet
    failed : the next row is outside the activation scratchpad, or ``tile_failed`` and there is nothing before that
    superseded : a command began after the one that ``failed``
    activity : what the next cycle is unless ``stop``, IDLE without a command
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

    def __init__(self, config: Config, *, y_moves: bool, distance_cycles: int, swap_cycles: int):
        self.config = config
        self.activation_rows = config.activation_rows
        self.half_rows = config.half_rows
        self.y_moves = y_moves
        self.distance_cycles = distance_cycles
        self.swap_cycles = swap_cycles
        super().__init__({
            "i": In(stream.Signature(execute_fields())),
            "tile": In(stream.Signature(TileStart(config))),
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
        looks_ahead = self.config.control.looks_ahead
        pending, pending_valid = Signal(execute_fields(), reset_less=True), Signal()
        m.d.comb += self.i.ready.eq(~pending_valid)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [pending.eq(self.i.payload), pending_valid.eq(1)]
        if not looks_ahead:
            pending = self.i.payload
        pending_row = pending.accumulator_row[:half_bit + 1]
        # A cycle late, but the first tile is offered later than that, and what is granted stays so.
        granted = Signal()
        m.d.sync += granted.eq(self.granted.bit_select(pending_row[-1], 1))

        # Stage 1: indices and what follows them. After the last row of a tile comes the first of the next, if that is offered.
        move, room = Signal(), Signal()
        m.submodules.nest = nest = row_nest(m, self.config, pending)
        m.d.comb += [nest.starts[value].eq(self.tile.payload[value]) for value in nest.values]
        active, valid = Signal(), Signal()  # a command's tiles are being taken; a row is here
        command = Signal(data.StructLayout({
            "accumulator_row": row_shape, "pad": signed(8), "height": 16, "width": 16, "post": 2}), reset_less=True)
        if not looks_ahead:
            command = pending
        swap, accumulate, last_tile = Signal(reset_less=True), Signal(reset_less=True), Signal(reset_less=True)
        accumulator_row = Signal(row_shape, reset_less=True)

        # What the next tile would begin with is loaded whether it is offered or not, and only `valid` makes it a row. That
        # includes what belongs to the command: `pending` holds the current one until all its tiles have been offered.
        tile, last_row = self.tile.payload, nest.last
        free = ~valid | last_row
        m.d.comb += [
            move.eq(~valid | room), self.tile.ready.eq(free & move & (granted | ~tile.first)),
            nest.advance.eq(move), nest.start.eq(free), nest.configure.eq(free & tile.first),
        ]
        with m.If(move & free):
            m.d.sync += [valid.eq(0), swap.eq(1), last_tile.eq(tile.last), accumulate.eq(1), accumulator_row.eq(command.accumulator_row)]
            with m.If(tile.first):
                m.d.sync += [accumulate.eq(pending.accumulate), accumulator_row.eq(pending_row)]
                if looks_ahead:
                    m.d.sync += [
                        command.accumulator_row.eq(pending_row), command.pad.eq(pending.pad), command.post.eq(pending.post),
                        command.height.eq(pending.height), command.width.eq(pending.width),
                    ]
            with m.If(valid & last_tile):
                m.d.sync += active.eq(0)
        with m.Elif(move):
            m.d.sync += [swap.eq(0), accumulator_row.eq(accumulator_row + 1)]
        with m.If(self.tile.valid & self.tile.ready):
            m.d.sync += [valid.eq(1), active.eq(1)]
            with m.If(tile.first):
                m.d.sync += pending_valid.eq(0)

        # Stage 2: a row waits here until its accumulator row may be touched. One that is outside is the last that comes here.
        waiting, outside, last = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        control, post = Signal(RowControl(), reset_less=True), Signal(2, reset_less=True)
        pad = nest.o.x >= command.width if self.config.control.padding else Const(0)
        if self.y_moves:
            pad |= nest.o.y >= command.height
        with m.If(room):
            m.d.sync += [
                waiting.eq(valid), last.eq(last_row & last_tile), post.eq(command.post),
                control.row.eq(nest.o.row), outside.eq((nest.o.row >= self.activation_rows) & ~pad),
                control.pad.eq(pad), control.pad_value.eq(command.pad if self.config.control.padding else 0), control.swap.eq(swap),
                control.accumulator_row.eq(accumulator_row), control.accumulate.eq(accumulate),
            ]
        hazard = self._hazard(m, accumulator_row, accumulate, control.accumulator_row[:half_bit + 1], waiting, room)
        impossible = outside | control.swap & self.tile_failed
        held, swaps = hazard, Signal()  # `swaps`: in this cycle, and the row that waits here in the next one
        if self.swap_cycles:
            m.d.sync += swaps.eq(room & valid & swap)
            held = hazard | swaps
        issue = waiting & ~held & ~impossible
        # Not for an impossible one, which would be late in the cycle: `stop` comes with what would follow it.
        m.d.comb += room.eq(~waiting | ~held)

        # Stage 3: on the row control.
        issued, control_out = Signal(), Signal(RowControl(), reset_less=True)
        m.d.sync += [control_out.eq(control), issued.eq(issue & ~self.stop), self.last.eq(issue & last & ~self.stop), self.post.eq(post)]
        m.d.comb += [self.row_control.eq(control_out), self.row_control.valid.eq(issued)]
        if self.swap_cycles:
            swapped = Signal()
            m.d.sync += swapped.eq(swaps & ~impossible & ~self.stop)
            with m.If(swaps):
                m.d.sync += [control_out.pad.eq(1), control_out.pad_value.eq(0)]
            m.d.comb += [self.swapping.eq(swaps & ~impossible), self.row_control.swap.eq(swapped)]
        else:
            m.d.comb += self.swapping.eq(issue & control.swap)

        m.d.comb += [
            self.busy.eq(pending_valid | active | waiting),
            self.using.eq(Mux(pending_valid, 1 << pending_row[-1], 0) | Mux(active, 1 << command.accumulator_row[half_bit], 0)
                          | Mux(waiting, 1 << control.accumulator_row[half_bit], 0)),
            self.failed.eq(Mux(waiting, impossible, self.tile_failed & ~valid)),
            self.superseded.eq(waiting & outside & (pending_valid | active & last)),
        ]
        with m.If(issue):
            m.d.comb += self.activity.eq(ExecuteActivity.BUSY)
        if self.swap_cycles:
            with m.Elif(swaps):
                m.d.comb += self.activity.eq(ExecuteActivity.PRELOAD)
        with m.Elif(waiting):
            m.d.comb += self.activity.eq(ExecuteActivity.HAZARD)
        with m.Elif(self.tile.valid & tile.first & ~granted):
            m.d.comb += self.activity.eq(ExecuteActivity.PORT)
        with m.Elif(pending_valid | active):
            m.d.comb += self.activity.eq(ExecuteActivity.PRELOAD)
        with m.Else():
            m.d.comb += self.activity.eq(ExecuteActivity.IDLE)
        return m

    def _hazard(self, m: Module, row: Value, accumulate: Value, next_row: Value, next_valid: Value, enter: Value) -> Value:
        """Whether the row in stage 2 has to wait, known from a flip-flop.

        When ``row`` enters, it is compared with the rows ahead, ``next_row`` first; each says for how many cycles to wait.
        """
        if self.distance_cycles == 1:
            return Const(0)
        ahead = [(next_valid, next_row), (self.row_control.valid, self.row_control.accumulator_row[:len(row)])]
        for age in range(2, self.distance_cycles - 1):
            touching, touched = Signal(name=f"touching{age}"), Signal(len(row), name=f"touched{age}", reset_less=True)
            m.d.sync += [touching.eq(ahead[-1][0]), touched.eq(ahead[-1][1])]
            ahead.append((touching, touched))
        matches = [valid & (touched == row) & accumulate for valid, touched in ahead[:self.distance_cycles - 1]]
        wait = Signal(self.distance_cycles - 1)  # bit n: not in the cycle after n more
        with m.If(enter):
            m.d.sync += wait.eq(Cat(Cat(matches[:len(wait) - cycles]).any() for cycles in range(len(wait))))
        with m.Else():
            m.d.sync += wait.eq(wait >> 1)
        return wait[0]
