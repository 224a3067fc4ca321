"""The reading side of STORE: rows to groups of columns for the epilogue."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .epilogue import Epilogue, Settings
from .interfaces import AccumulatorDrain
from .store_fields import WINDOW_BITS

__all__ = ["ReadLayout", "RowReader"]


class ReadLayout(data.StructLayout):
    """What the reader needs of a command: it takes it over with the command's first row.

    Each row is the maximum over a window: ``others`` accumulator rows behind the first one, each ``stride`` behind the one before.
    """

    def __init__(self, *, cols: int, parameter_groups: int, others_bits: int, half_rows: int):
        super().__init__({"settings": Settings(), "columns": range(cols + 1), "parameter_group": range(parameter_groups),
                          "others": others_bits, "stride": range(half_rows)})


class RowReader(wiring.Component):
    """Drains one row after the other, group by group, as long as the half is granted and the epilogue is ready.

    Throughput: one group of one accumulator row per cycle, without a gap between rows; a command with other settings waits until the
    epilogue's pipeline is empty. A group is read from all rows of its window before the next group is.

    Parameters
    ----------
    epilogue : gives the shape of groups
    half_rows : rows of an accumulator half

    Members
    -------
    row : stream of rows: number in both halves (of a window, its first), and whether it is a command's ``first``
    command : of the first row, for at least three cycles before it is taken
    granted : the halves that may be read
    drain : to the accumulator
    settings, group, ready, empty : to the epilogue
    reads : a group is read; ``finish``: the last one of a row, or of a window of rows, of half ``drain.half``
    busy : there is a row
    """

    row: stream.Interface
    command: data.View
    granted: Signal
    drain: wiring.PureInterface
    settings: data.View
    group: data.View
    ready: Signal
    empty: Signal
    reads: Signal
    finish: Signal
    busy: Signal

    def __init__(self, *, epilogue: Epilogue, half_rows: int):
        self.cols = epilogue.cols
        self.lanes = epilogue.lanes
        self.raw_lanes = epilogue.raw_lanes
        self.result_bytes = epilogue.result_bytes
        self.half_rows = half_rows
        self.others_bits = WINDOW_BITS if epilogue.max_pool else 0
        super().__init__({
            "row": In(stream.Signature(data.StructLayout({"source": range(2 * half_rows), "first": 1}))),
            "command": In(ReadLayout(cols=epilogue.cols, parameter_groups=epilogue.parameter_groups, others_bits=self.others_bits,
                                     half_rows=half_rows)),
            "granted": In(2),
            "drain": Out(AccumulatorDrain(cols=epilogue.cols, half_rows=half_rows, bits=epilogue.bits)),
            "settings": Out(Settings()), "group": Out(epilogue.group.shape()), "ready": In(1), "empty": In(1),
            "reads": Out(1), "finish": Out(1), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        granted = Signal()  # the half of the row
        left = Signal(range(self.cols + 1), reset_less=True)  # columns of the row
        columns = Signal.like(left)
        parameter_group = Signal.like(self.group.parameter_group, reset_less=True)  # of the command

        # Windows: what follows the accumulator row in turn, and what does at a window's beginning.
        more = Signal(self.others_bits, reset_less=True)
        others = Signal.like(more)
        stride, first_row = (Signal(range(self.half_rows), name=name, reset_less=True) for name in ("stride", "first_row"))
        fresh = Signal(reset_less=True, init=1)

        # What this cycle would do, in registers: the group is read for the last time; it is the row's last; both. With one cycle for
        # each group of each row, nothing of it can wait for sums and comparisons.
        complete, last, final = Signal(reset_less=True, init=1), Signal(reset_less=True), Signal(reset_less=True)
        alone, single = Signal(reset_less=True), Signal(reset_less=True)  # of every window: one row; of every row: one group
        command = self.command
        command_alone, command_single, same = Signal(), Signal(), Signal()
        m.d.sync += [
            command_alone.eq(command.others == 0), command_single.eq(command.columns <= self._width(command.settings.requantise, C(0))),
        ]

        parts = -(-self.lanes // self.raw_lanes)
        requantise, part = Signal(reset_less=True), self.group.part  # of the row
        last_part = requantise | (part == parts - 1)
        next_part = Mux(last_part, 0, part + 1)
        width = self._width(requantise, part)
        count = Signal(range(self.lanes + 1))
        m.d.comb += [
            self.reads.eq(self.busy & self.ready & granted),
            self.group.read.eq(self.reads), self.group.fresh.eq(fresh), self.group.valid.eq(self.reads & complete),
            self.group.last.eq(last),
            count.eq(Mux(last, left, width)),
            self.group.bytes.eq(Mux(requantise, count << self.result_bytes - 1 if self.result_bytes > 1 else count, count << 2)),
            self.finish.eq(self.reads & final),
        ]
        next_last = left <= width + self._width(requantise, next_part)

        # A command's values come with its first row, its settings only when none of other rows are needed.
        row = self.row.payload
        rests = Signal(init=1)  # the opposite of ``busy``, for the many that wait for it
        free = ~self.busy | (self.ready & granted & final)
        load, begin = Signal(), Signal()
        begun = Signal()
        m.d.sync += same.eq(self.settings == command.settings)
        m.d.comb += [
            self.row.ready.eq(free & (~row.first | same | (~self.busy & self.empty))),
            load.eq(self.row.valid & self.row.ready), begin.eq(self.row.valid & row.first),
        ]
        m.d.sync += [self.busy.eq(load | ~free), rests.eq(~load & free), begun.eq(load & row.first)]
        with m.If(load & row.first):
            m.d.sync += self.settings.requantise.eq(command.settings.requantise)
        with m.If(begun):  # a cycle late: what is read needs them later than that
            m.d.sync += [
                self.settings[name].eq(command.settings[name]) for name in command.settings.shape().members if name != "requantise"]
        ends = rests | final  # what is read now, or nothing is, needs nothing else of its row and command
        with m.If(free & begin):
            m.d.sync += requantise.eq(command.settings.requantise)
        with m.If(ends & begin):
            m.d.sync += [
                columns.eq(command.columns), parameter_group.eq(command.parameter_group), others.eq(command.others),
                stride.eq(command.stride), alone.eq(command_alone), single.eq(command_single),
            ]
        with m.If(ends):
            m.d.sync += first_row.eq(row.source)
        with m.If(free):
            m.d.sync += self.drain.half.eq(row.source[-1])

        # What is done next. If a row ends, of the row behind it, whether or not there is one, since nobody looks at it without one.
        is_alone, is_single = Mux(row.first, command_alone, alone), Mux(row.first, command_single, single)
        with m.If(rests | (self.ready & granted)):
            with m.If(ends):
                m.d.sync += [
                    self.drain.row.eq(row.source), more.eq(Mux(row.first, command.others, others)), fresh.eq(1),
                    left.eq(Mux(row.first, command.columns, columns)), self.group.index.eq(0), part.eq(0),
                    self.group.parameter_group.eq(Mux(row.first, command.parameter_group, parameter_group)),
                    complete.eq(is_alone), last.eq(is_single), final.eq(is_single & is_alone),
                ]
            with m.Elif(complete):
                m.d.sync += [
                    self.drain.row.eq(first_row), more.eq(others), fresh.eq(1), left.eq(left - width), part.eq(next_part),
                    self.group.index.eq(self.group.index + last_part),
                    self.group.parameter_group.eq(self.group.parameter_group + last_part),
                    complete.eq(alone), last.eq(next_last), final.eq(alone & next_last),
                ]
            with m.Else():
                m.d.sync += [
                    self.drain.row.eq(self.drain.row + stride), more.eq(more - 1), fresh.eq(0),
                    complete.eq(more == 1), final.eq(last & (more == 1)),
                ]
        # A cycle late; what is granted stays so while there is a row for it.
        m.d.sync += granted.eq(self.granted.bit_select(Mux(free, row.source[-1], self.drain.half), 1))
        return m

    def _width(self, requantise: Value, part: Value) -> Value:
        """Columns of a group, or of a part of one."""
        parts = -(-self.lanes // self.raw_lanes)
        return Mux(requantise, self.lanes, Mux(part == parts - 1, self.lanes - (parts - 1) * self.raw_lanes, self.raw_lanes))
