"""EXECUTE on an output-stationary array: blocks of output rows, and for each the weight tiles one after the other."""

import itertools

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import Config
from .execute_front import execute_fields
from .preload import TILE_STARTS, tile_nest
from .stream_rows import row_nest
from .timing import DatapathTiming, PassControl, WeightControl

__all__ = ["CONTROL_LATENCY_CYCLES", "PassSequencer"]

CONTROL_LATENCY_CYCLES = 4  # from the step of a pass to the controls: place, sum, comparison, control; `_read` has just these stages


class PassSequencer(wiring.Component):
    """Walks the passes of commands, a pass being one block of up to ``rows`` output rows with one weight tile.

    A pass is read in one slot, a row of activations per cycle, and multiplied in the next, a vector of weights per cycle, while the pass
    behind it is read. Once a block has met all tiles, its sums are drained, a row per cycle, during the slot after that. A slot takes
    ``rows`` cycles, at least :data:`CONTROL_LATENCY_CYCLES`; before the vectors of a tile whose weights are transposed they have to be
    filled in, and before those of a command of one tile that adds to what the accumulator holds, ``distance_cycles`` − 1 cycles pass, so
    that it touches no row that was touched just before.

    The first pass of a block walks the nest over output rows and writes down, relative to its tile, where each row is; those with the
    other tiles look there.

    What lies outside a scratchpad is not read and makes the pass bad. It is reported when that pass would have been drained, so that all
    that comes before is drained.

    Latency: a command that is accepted while nothing is read is read from the next cycle on, with fewer than 4 ``rows`` later by what a
    slot has besides; the last touch comes ``CONTROL_LATENCY_CYCLES`` and the rows of the last block after the last slot.
    Throughput: ``rows`` × ``cols`` products per cycle.

    Parameters
    ----------
    config : the accelerator
    y_moves : whether any loop changes y; otherwise ``width`` is 0 where y is outside
    timing : distances to keep

    Members
    -------
    i : stream of :func:`execute_fields`; accepted when its first pass begins to be read
    row_control, weight_control : to the datapath
    stop : both stay empty
    last, post : the touch on the row control is the last of its command, which posts to the peers in ``post``
    using : the accumulator halves of blocks that are not drained yet
    busy : there are passes
    reading : the next cycle has a row with ``valid``, unless ``stop``
    reads : a pass is being read, a row of it or what has to come before
    failed : a pass was bad, whose command is the ``begun``-th accepted, counted from the last one
    """

    i: stream.Interface
    row_control: data.View
    weight_control: data.View
    stop: Signal
    last: Signal
    post: Signal
    using: Signal
    busy: Signal
    reading: Signal
    reads: Signal
    failed: Signal
    begun: Signal

    def __init__(self, config: Config, *, y_moves: bool, timing: DatapathTiming):
        self.config = config
        self.y_moves = y_moves
        self.rows, self.cols, self.transposer = config.array.rows, config.array.cols, config.array.transposer
        self.timing = timing
        self.half_bit = (config.half_rows - 1).bit_length()
        super().__init__({
            "i": In(stream.Signature(execute_fields())),
            "row_control": Out(PassControl()), "weight_control": Out(WeightControl(rows=self.rows, cols=self.cols)),
            "stop": In(1), "last": Out(1), "post": Out(2), "using": Out(2), "busy": Out(1), "reading": Out(1), "reads": Out(1),
            "failed": Out(1), "begun": Out(3),
        })

    @property
    def pieces(self) -> int:
        """Weight rows of a transposed vector."""
        return -(-self.rows // self.cols)

    @property
    def plain_cycles(self) -> int:
        """Of a slot, before its vectors."""
        return max(0, CONTROL_LATENCY_CYCLES - self.rows)

    @property
    def adding_cycles(self) -> int:
        """The same where a command that adds has its first block multiplied, in this slot alone: touches may follow those before."""
        return max(self.plain_cycles, self.timing.distance_cycles - 1)

    @property
    def transposed_cycles(self) -> int:
        """The same where weights are transposed: the transposer is free, then filled, then has settled."""
        return max(self.adding_cycles, self._fills_from + self.cols * self.pieces + self.timing.fill_to_emit_cycles - 1)

    @property
    def _fills_from(self) -> int:
        return max(0, self.timing.emit_to_fill_cycles - 1)

    def elaborate(self, platform):
        m = Module()
        offered = self.i.payload
        row_bits, accumulator_row = self.config.control.row_bits, unsigned(self.half_bit + 1)

        # A slot: cycles before its vectors, then one cycle for each. It follows another one, or a rest in which all is known of those
        # before.
        running, down = Signal(), Signal()
        before = Signal(range(self.transposed_cycles + 1) if self.transposer else range(self.adding_cycles + 1))
        index, k = Signal(range(self.rows), reset_less=True), Signal(range(self.rows), reset_less=True)
        checks = Signal(CONTROL_LATENCY_CYCLES)
        moving, boundary = Signal(), Signal()
        m.d.comb += [moving.eq(running & (before == 0)), boundary.eq(Mux(running, moving & (k == 0), ~checks.any()))]
        with m.If(boundary):
            m.d.sync += [down.eq(~down), index.eq(0), k.eq(self.rows - 1)]
        with m.Elif(moving):
            m.d.sync += [index.eq(index + 1), k.eq(k - 1)]
        with m.Elif(running):
            m.d.sync += before.eq(before - 1)

        # The pass that is read. What the next one begins with is loaded whether there is one or not.
        reads, opens, fresh = Signal(), Signal(reset_less=True), Signal(reset_less=True)  # first of its block, first of its command
        command = Signal(execute_fields(), reset_less=True)
        block_row = Signal(accumulator_row, reset_less=True)
        ends, start = Signal(), Signal()  # no pass of this command follows; one of the next command does
        m.submodules.tiles = tiles = tile_nest(m, self.config, offered)
        m.submodules.places = places = row_nest(m, self.config, offered)
        for value, field in TILE_STARTS.items():
            if value in tiles.values:  # anew for each block
                m.d.comb += tiles.starts[value].eq(Mux(ends, offered[field], command[field]))
        m.d.comb += [tiles.advance.eq(boundary), tiles.start.eq(ends | tiles.last), tiles.configure.eq(boundary & ends)]

        walked, all_walked = Signal(range(self.rows), reset_less=True), Signal(reset_less=True)  # last row of a block; no block follows
        exhausted = Signal()
        valid, walks, last_row, no_block = Signal(), Signal(), Signal(range(self.rows)), Signal()
        m.d.comb += [
            valid.eq(reads & moving & Mux(opens, ~exhausted, index <= walked)), walks.eq(valid & opens),
            # What these are matters behind a row that is walked, and at a boundary.
            last_row.eq(Mux(opens & ~exhausted, index, walked)), no_block.eq(Mux(opens & ~exhausted, places.last, all_walked)),
            ends.eq(~reads | tiles.last & no_block), start.eq(boundary & ends & self.i.valid), self.i.ready.eq(start),
            places.start.eq(boundary & ends), places.configure.eq(places.start), places.advance.eq(places.start | walks),
        ]
        m.d.sync += [walked.eq(last_row), all_walked.eq(no_block)]
        with m.If(boundary):
            m.d.sync += exhausted.eq(0)
        with m.Elif(walks):
            m.d.sync += exhausted.eq(places.last)

        # The pass that is multiplied, and the one whose sums are to be drained, if it was the last one of its block.
        multiplied = data.StructLayout({
            "stride": row_bits, "k_last": range(self.rows + 1), "cut": 1, "transpose": 1, "first": 1, "fresh": 1,
            "end": 1, "row": accumulator_row, "last_row": range(self.rows), "accumulate": 1, "last": 1, "post": 2})
        multiplies, second = Signal(), Signal(multiplied, reset_less=True)
        # A block of more tiles has slots enough between its touches and those before.
        alone = tiles.last | (self.rows + self.plain_cycles < self.timing.distance_cycles - 1)
        adds = reads & fresh & command.accumulate & alone
        third = Signal(multiplied, reset_less=True)
        with m.If(boundary):
            m.d.sync += [
                reads.eq(start | ~ends), opens.eq(ends | tiles.last), fresh.eq(ends), running.eq(start | reads),
                multiplies.eq(reads), second.stride.eq(command.weight_stride),
                second.k_last.eq(command.k_last), second.cut.eq(tiles.at_end.ct), second.transpose.eq(command.transpose & self.transposer),
                second.first.eq(opens), second.fresh.eq(fresh), second.end.eq(tiles.last), second.row.eq(block_row),
                second.last_row.eq(last_row), second.accumulate.eq(command.accumulate), second.last.eq(ends), second.post.eq(command.post),
                third.eq(second),
                before.eq(Mux(reads & command.transpose & self.transposer, self.transposed_cycles if self.transposer else 0,
                              Mux(adds, self.adding_cycles, self.plain_cycles))),
            ]
            with m.If(ends):
                m.d.sync += [command.eq(offered), block_row.eq(offered.accumulator_row)]
            with m.Elif(tiles.last):
                m.d.sync += block_row.eq(block_row + self.rows)
        bad_rows = self._read(m, valid, opens, walks, index, moving, down, places.o, tiles.o, command)
        bad_weights = self._multiply(m, running, moving, boundary, before, k, down, multiplies, second, tiles.o.weight)
        bad = Signal(3)  # of the pass that is read, multiplied, to be drained
        found = bad | Cat(bad_rows[0], bad_rows[1] | bad_weights[0], bad_weights[1])
        m.d.sync += bad.eq(Mux(boundary, found << 1, found))
        # By then it is known whether all of it was there.
        m.d.sync += checks.eq(Cat(boundary & multiplies, checks))
        check = checks[-1]

        # Draining: a row per cycle, straight to the control.
        left, touching = Signal(range(self.rows), reset_less=True), Signal()
        drained = Signal(data.StructLayout({"row": accumulator_row, "accumulate": 1, "last": 1, "post": 2}), reset_less=True)
        with m.If(check & third.end & ~bad[2]):
            m.d.sync += [touching.eq(1), left.eq(third.last_row)]
            m.d.sync += [drained[name].eq(third[name]) for name in ("row", "accumulate", "last", "post")]
        with m.Elif(left == 0):
            m.d.sync += touching.eq(0)
        with m.Else():
            m.d.sync += [left.eq(left - 1), drained.row.eq(drained.row + 1)]
        touch = touching & ~self.stop
        m.d.comb += [
            self.row_control.touch.eq(touch), self.row_control.accumulator_row.eq(drained.row),
            self.row_control.accumulate.eq(drained.accumulate),
            self.last.eq(touch & drained.last & (left == 0)), self.post.eq(drained.post),
            self.failed.eq(check & bad[2]),
            self.begun.eq(1 + (multiplies & second.fresh) + (reads & fresh)),
        ]

        waiting = checks.any()
        m.d.comb += [
            self.reads.eq(reads), self.busy.eq(reads | multiplies | waiting | touching),
            self.using.eq(Mux(reads, 1 << block_row[-1], 0) | Mux(multiplies, 1 << second.row[-1], 0)
                          | Mux(waiting, 1 << third.row[-1], 0)),
        ]
        return m

    def _read(self, m: Module, valid: Value, opens: Value, walks: Value, index: Value, moving: Value, down: Value, place: data.View,
              tile: data.View, command: data.View) -> tuple[Value, Value]:
        """Rows of activations; whether one is found outside, of the pass that is read and of the one before."""
        padding, values = self.config.control.padding, list(place.shape().members)
        m.submodules.written = written = memory.Memory(shape=place.shape(), depth=max(2, self.rows), init=[])
        write, read = written.write_port(), written.read_port(domain="comb")
        m.d.comb += [write.en.eq(walks), write.addr.eq(index), write.data.eq(place), read.addr.eq(index)]
        # Stage 1: where the row is, and its tile.
        stages = [Signal(CONTROL_LATENCY_CYCLES - 1, name=name) for name in ("valids", "moves")]
        downs = Signal(CONTROL_LATENCY_CYCLES - 1, reset_less=True)
        m.d.sync += [stage.eq(Cat(flag, stage)) for stage, flag in zip((*stages, downs), (valid, moving, down), strict=True)]
        relative, base = Signal(place.shape(), reset_less=True), Signal(place.shape(), reset_less=True)
        m.d.sync += [relative.eq(Mux(opens, place.as_value(), read.data.as_value())), *(base[name].eq(tile[name]) for name in values)]
        # Limits and pad are those of the command, which may end meanwhile.
        limits = data.StructLayout({"width": 16, "height": 16, "pad": 8})
        own = [Signal(limits, name=f"limits{stage}", reset_less=True) for stage in range(CONTROL_LATENCY_CYCLES - 1)]
        m.d.sync += [own[0][name].eq(command[name]) for name in limits.members]
        m.d.sync += [after.eq(before) for before, after in itertools.pairwise(own)]
        # Stage 2: the sums.
        total = Signal(place.shape(), reset_less=True)
        m.d.sync += [total[name].eq(base[name] + relative[name]) for name in values]
        # Stage 3: what is outside.
        pad = total.x >= own[1].width if padding else Const(0)
        if self.y_moves:
            pad |= total.y >= own[1].height
        row, padded, outside = Signal(16, reset_less=True), Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [row.eq(total.row), padded.eq(pad), outside.eq((total.row >= self.config.activation_rows) & ~pad)]
        # Stage 4: the control.
        control = Signal.like(self.row_control, reset_less=True)
        issued, moved = Signal(), Signal()
        found = stages[0][-1] & outside
        m.d.sync += [
            control.row.eq(row), control.pad.eq(padded), control.pad_value.eq(own[2].pad if padding else 0), control.down.eq(downs[-1]),
            issued.eq(stages[0][-1] & ~outside & ~self.stop), moved.eq(stages[1][-1] & ~self.stop),
        ]
        m.d.comb += [getattr(self.row_control, name).eq(getattr(control, name)) for name in ("row", "pad", "pad_value", "down")]
        m.d.comb += [self.row_control.valid.eq(issued), self.row_control.move.eq(moved), self.reading.eq(stages[0][-1] & ~outside)]
        same = downs[-1] == down
        return found & same, found & ~same

    def _multiply(self, m: Module, running: Value, moving: Value, boundary: Value, before: Value, k: Value, down: Value,
                  multiplies: Value, second: data.View, next_weight: Value) -> tuple[Value, Value]:
        """Vectors of weights; whether one is found outside, of the pass that is multiplied and of the one before."""
        row_bits = self.config.control.row_bits
        vector, row = (Signal(row_bits, name=name, reset_less=True) for name in ("vector", "weight_row"))
        piece = Signal(range(self.pieces), reset_less=True)
        fill, whole = Signal(), piece == self.pieces - 1
        if self.transposer:
            first = self.transposed_cycles - self._fills_from
            m.d.comb += fill.eq(running & multiplies & second.transpose & (before <= first) & (before > first - self.cols * self.pieces))
        # Of a transposed tile all vectors have been filled in by then.
        steps = fill & whole | moving
        with m.If(boundary):
            m.d.sync += [vector.eq(next_weight), row.eq(next_weight), piece.eq(0)]
        with m.Elif(steps):
            m.d.sync += [vector.eq(vector - second.stride), row.eq(vector - second.stride), piece.eq(0)]
        with m.Elif(fill):
            m.d.sync += [row.eq(row + 1), piece.eq(piece + 1)]

        # As many stages as rows of activations have.
        access = data.StructLayout({
            "row": 16, "piece": piece.shape(), "fill": 1, "shift": 1, "zero": 1, "emit": 1, "first": 1, "end": 1, "down": 1})
        flags = ("fill", "shift", "emit", "first", "end")
        stages = [Signal(access, name=f"access{stage}") for stage in range(CONTROL_LATENCY_CYCLES - 1)]
        shift = moving & multiplies
        m.d.sync += [
            stages[0].row.eq(row), stages[0].piece.eq(piece), stages[0].fill.eq(fill), stages[0].shift.eq(shift),
            stages[0].zero.eq(second.cut & (k >= second.k_last)), stages[0].emit.eq(shift & second.transpose),
            stages[0].first.eq(shift & second.first & (k == self.rows - 1)), stages[0].end.eq(shift & second.end & (k == 0)),
            stages[0].down.eq(down),
            *(after.eq(ahead) for ahead, after in itertools.pairwise(stages)),
        ]
        outside = Signal()
        looked = stages[1]
        m.d.sync += outside.eq((looked.row >= self.config.weight_rows) & (looked.fill | looked.shift & ~looked.zero & ~looked.emit))
        checked = stages[2]
        control = Signal(access, reset_less=True)
        m.d.sync += control.eq(checked)
        issued = Signal(len(flags))
        m.d.sync += issued.eq(Cat(checked[name] for name in flags) & (~self.stop).replicate(len(flags))
                              & Cat(~outside, ~outside, C(7, 3)))
        fills, shifts, emits, firsts, ends = (issued[n] for n in range(len(flags)))
        weight = self.weight_control
        m.d.comb += [
            weight.row.eq(control.row), weight.piece.eq(control.piece), weight.zero.eq(control.zero), weight.fill.eq(fills),
            weight.shift.eq(shifts), weight.emit.eq(emits), self.row_control.first.eq(firsts), self.row_control.end.eq(ends),
        ]
        same = checked.down == down
        return outside & same, outside & ~same
