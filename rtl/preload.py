"""Weight tiles into the array's shadow registers, one tile ahead of the rows that use them."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import Config
from .execute_front import OUTER_LEVELS, execute_fields
from .nest import Nest
from .timing import DatapathTiming, WeightControl

__all__ = ["TILE_LATENCY_CYCLES", "TILE_STARTS", "Preloader", "TileStart", "tile_nest"]

TILE_LATENCY_CYCLES = 3  # from accepting a tile to its first row on the row control: see `stream_rows`
# Where the values of the nest over tiles begin: fields of a command.
TILE_STARTS = {"weight": "vector_row", "row": "activation_row", "y": "y_origin", "x": "x_origin"}
VECTOR_LATENCY_CYCLES = 2  # from stepping to a vector to its appearance on the weight control


class TileStart(data.StructLayout):
    """A tile whose weights are ready: activation row and coordinates of output row 0, and its place in the command."""

    def __init__(self, config: Config):
        super().__init__({"row": config.control.row_bits, "y": 16, "x": 16, "first": 1, "last": 1})


def countdown(m: Module, cycles: int, restart: Value, name: str) -> Value:
    """Low after ``restart``, high again ``cycles`` cycles after it; from a flip-flop."""
    if cycles <= 1:
        return Const(1)
    left = Signal(range(-1, cycles - 1), init=-1, name=name)
    with m.If(restart):
        m.d.sync += left.eq(cycles - 2)
    with m.Elif(left >= 0):
        m.d.sync += left.eq(left - 1)
    return left < 0


def tile_nest(m: Module, config: Config, command: data.View, *, slow: bool = False) -> Nest:
    """The nest over weight tiles, with counts and strides from a command of :func:`execute_fields`; ``slow`` as of :class:`Nest`."""
    control = config.control
    levels = OUTER_LEVELS[-control.outer_loops:]
    coordinates = {"y": levels[-3:-2], "x": levels[-2:-1]} if control.padding else {}
    nest = Nest(
        levels={level: min(control.row_bits, len(command[f"{level}_count"])) for level in levels},
        values={"weight": levels, "row": levels, **coordinates}, bits=dict.fromkeys(("weight", "row"), control.row_bits),
        held=not control.looks_ahead, slow=slow)
    for level in levels:
        m.d.comb += [nest.counts[level].eq(command[f"{level}_count"]), nest.once[level].eq(command[f"{level}_once"])]
    for value, stride in (("weight", "weight_{}"), ("row", "activation_{}"), ("y", "y_dilation"), ("x", "x_dilation")):
        if value in nest.values:
            m.d.comb += [nest.strides[value][level].eq(command[stride.format(level)]) for level in nest.values[value]]
    return nest


class Preloader(wiring.Component):
    """Walks the weight tiles of commands and shifts each into the array as early as ``timing`` allows.

    There is one set of shadow weights: the next tile is shifted in once the rows have begun to use the one before. Only the
    transposer may be filled earlier.

    Latency: three cycles from command to first vector. Throughput: one vector per cycle; a tile's vectors follow each other
    without a gap.

    Parameters
    ----------
    config : the accelerator
    timing : distances to keep

    Members
    -------
    i : stream of :func:`execute_fields`, checked; accepted once the last tile of the command before is in. If the engine does not look
        ahead, the payload holds until all rows have been issued, and is not copied.
    o : stream of :class:`TileStart`: a tile is offered in the first cycle in which its rows may follow
    weight_control : to the datapath
    swapped : a tile's swap will be on the row control in the next cycle
    stop : the weight control stays empty
    failed : a weight row of the tile after those that rows have used is outside the scratchpad; known when that tile's first
        row could be issued, and stays
    """

    i: stream.Interface
    o: stream.Interface
    weight_control: data.View
    swapped: Signal
    stop: Signal
    failed: Signal

    def __init__(self, config: Config, *, timing: DatapathTiming):
        self.config = config
        self.rows, self.cols, self.transposer = config.array.rows, config.array.cols, config.array.transposer
        self.weight_rows = config.weight_rows
        self.timing = timing
        super().__init__({
            "i": In(stream.Signature(execute_fields())),
            "o": Out(stream.Signature(TileStart(self.config))),
            "weight_control": Out(WeightControl(rows=self.rows, cols=self.cols)),
            "swapped": In(1), "stop": In(1), "failed": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        timing, row_bits = self.timing, self.config.control.row_bits
        command = self.i.payload
        waits = Signal(init=1)  # in state COMMAND
        steps = Signal()  # to the next tile, in state NEXT
        m.submodules.nest = nest = tile_nest(m, self.config, command, slow=self.config.control.looks_ahead)
        # It begins anew as long as no command comes: that depends on less.
        m.d.comb += [nest.advance.eq(waits | steps), nest.start.eq(waits), nest.configure.eq(waits)]
        m.d.comb += [nest.starts[value].eq(command[start]) for value, start in TILE_STARTS.items() if value in nest.values]

        transpose, first_tile = Signal(reset_less=True), Signal(reset_less=True)
        stride = Signal(row_bits, reset_less=True)
        k_last = Signal(range(self.rows + 1), reset_less=True)

        if not self.config.control.looks_ahead:
            transpose, stride, k_last = command.transpose & self.transposer, command.weight_stride[:row_bits], command.k_last

        # The vector in turn: its number, counting down, and the weight row of its piece in turn.
        pieces = -(-self.rows // self.cols) if self.transposer else 1
        index = Signal(range(max(self.rows, self.cols) if self.transposer else self.rows), reset_less=True)
        piece = Signal(range(pieces), reset_less=True)
        row = Signal(row_bits, reset_less=True)
        vector = Signal(row_bits, reset_less=True) if pieces > 1 else row
        whole = piece == pieces - 1

        enters, fills = Signal(), Signal()  # in states TILE, FILL
        holds = Signal()  # the vector in turn waits
        fill, begin, shift = Signal(), Signal(), Signal()  # `begin`: the first shift of a tile
        early = self.config.control.looks_ahead
        final = Signal(reset_less=True) if early else index == 0  # the vector in turn is the last one; a register where clocks are high

        filled, shifted = fill & whole & final, shift & final
        fill_failed = Signal()
        occupied = Signal()  # the shadow weights hold a tile that no row uses yet
        may_fill = countdown(m, timing.emit_to_fill_cycles, shifted & transpose, "until_fill")
        may_emit = countdown(m, timing.fill_to_emit_cycles, filled, "until_emit")
        # `swapped` comes one cycle before its row, a step here two cycles before its vector on the weight control, and the
        # decision is registered.
        settled = countdown(m, timing.swap_to_shift_cycles + 1 - VECTOR_LATENCY_CYCLES - 1, self.swapped, "until_shift")
        may_shift = Signal()
        m.d.sync += may_shift.eq(~occupied & settled & ~fill_failed)
        with m.If(self.swapped):
            m.d.sync += occupied.eq(0)

        if early:
            m.d.sync += steps.eq((shifted & ~begin) | (begin & (self.rows == 1)))

        with m.FSM(name="tile"):
            with m.State("COMMAND"):
                m.d.comb += self.i.ready.eq(~self.failed)
                m.d.sync += first_tile.eq(1)
                if self.config.control.looks_ahead:
                    m.d.sync += [
                        transpose.eq(command.transpose if self.transposer else 0), stride.eq(command.weight_stride),
                        k_last.eq(command.k_last),
                    ]
                with m.If(self.i.valid):
                    m.d.sync += waits.eq(0)
                    m.next = "TILE"
            with m.State("TILE"):
                m.d.comb += enters.eq(1)
                m.next = "WAIT"
                with m.If(transpose):
                    m.next = "FILL"
            with m.State("FILL"):
                m.d.comb += [fills.eq(1), fill.eq(may_fill), holds.eq(~may_fill)]
                with m.If(filled):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += [shift.eq(may_shift & (may_emit | ~transpose)), holds.eq(~shift)]
                with m.If(shift):
                    m.d.comb += begin.eq(1)
                    m.d.sync += occupied.eq(1)
                    m.next = "SHIFT" if self.rows > 1 else "NEXT"
            with m.State("SHIFT"):
                m.d.comb += shift.eq(1)
                with m.If(shifted):
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += first_tile.eq(0)
                if not early:
                    m.d.comb += steps.eq(1)
                m.next = "TILE"
                with m.If(nest.last):
                    m.d.sync += waits.eq(1)
                    m.next = "COMMAND"
        # That a vector waits is known late, where it goes is not. Outside of FILL, WAIT and SHIFT, nobody looks at it.
        pieced, begins = fills & ~whole, enters | (fills & final)
        # Down from the first vector: into the transposer, where the tile goes there, and then into the array.
        first_index, alone = Mux(enters & transpose, self.cols, self.rows) - 1, Mux(enters & transpose, self.cols == 1, self.rows == 1)
        with m.If(~holds):
            m.d.sync += [
                row.eq(Mux(enters, nest.o.weight, Mux(pieced, row + 1, vector - stride))), piece.eq(Mux(pieced, piece + 1, 0)),
            ]
        with m.If(~holds & ~pieced):
            m.d.sync += [vector.eq(Mux(enters, nest.o.weight, vector - stride)), index.eq(Mux(begins, first_index, index - 1))]
            if early:
                m.d.sync += final.eq(Mux(begins, alone, index == 1))

        self._offer_tile(m, nest.o, first_tile, nest.last, begin)

        # One stage later the row is known to be outside, one more and it is on the weight control.
        filling, shifting = Signal(), Signal()
        outside = Signal(reset_less=True)
        access = Signal.like(self.weight_control, reset_less=True)
        control = Signal.like(self.weight_control, reset_less=True)
        offending = outside & (filling | shifting & ~access.zero & ~access.emit)
        allowed = ~(offending | fill_failed | self.failed | self.stop)
        m.d.sync += [
            filling.eq(fill), shifting.eq(shift), outside.eq(row >= self.weight_rows),
            access.row.eq(row), access.piece.eq(piece), access.emit.eq(transpose),
            access.zero.eq(nest.at_end.ct & (index >= k_last)),
            control.eq(access), control.fill.eq(filling & allowed), control.shift.eq(shifting & allowed),
            # A strobe like the others: the transposer moves down with it.
            control.emit.eq(access.emit & shifting & allowed),
        ]
        m.d.comb += self.weight_control.eq(control)
        with m.If(offending):
            m.d.sync += fill_failed.eq(filling)
        # A tile that fails on its way into the transposer comes after the one in the shadow weights, which is still used.
        m.d.sync += self.failed.eq(self.failed | offending & shifting | fill_failed & ~occupied)
        return m

    def _offer_tile(self, m: Module, start: data.View, first: Value, last: Value, begun: Value) -> None:
        """Presents the tile whose vectors have ``begun`` to be shifted in as soon as its first row can only come late enough."""
        cycles = self.rows - 1 + VECTOR_LATENCY_CYCLES + self.timing.shift_to_swap_cycles - TILE_LATENCY_CYCLES
        waiting = Signal()
        tile = Signal(TileStart(self.config), reset_less=True)
        with m.If(begun):
            m.d.sync += [
                waiting.eq(1), tile.first.eq(first), tile.last.eq(last),
                *(tile[value].eq(start[value]) for value in ("row", "y", "x") if value in start.shape().members),
            ]
        with m.Elif(self.o.ready & self.o.valid):
            m.d.sync += waiting.eq(0)
        m.d.comb += [
            self.o.payload.eq(tile),
            self.o.valid.eq(waiting & countdown(m, cycles, begun, "until_offer")),
        ]
