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
    command : of the first row, for at least two cycles before it is taken
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
        self.half_rows = half_rows
        self.others_bits = WINDOW_BITS if epilogue.max_pool else 0
        super().__init__({
            "row": In(stream.Signature(data.StructLayout({"source": range(2 * half_rows), "first": 1}))),
            "command": In(ReadLayout(cols=epilogue.cols, parameter_groups=epilogue.parameter_groups, others_bits=self.others_bits,
                                     half_rows=half_rows)),
            "granted": In(2),
            "drain": Out(AccumulatorDrain(cols=epilogue.cols, half_rows=half_rows)),
            "settings": Out(Settings()), "group": Out(epilogue.group.shape()), "ready": In(1), "empty": In(1),
            "reads": Out(1), "finish": Out(1), "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        left = Signal(range(self.cols + 1), reset_less=True)  # columns of the row
        columns = Signal.like(left)
        parameter_group = Signal.like(self.group.parameter_group, reset_less=True)  # of the command

        # Windows: what follows the accumulator row in turn, and what does at a window's beginning.
        more = Signal(self.others_bits, reset_less=True)
        others = Signal.like(more)
        stride, first_row = (Signal(range(self.half_rows), name=name, reset_less=True) for name in ("stride", "first_row"))
        fresh, complete = (Signal(name=name, reset_less=True, init=1) for name in ("fresh", "complete"))

        parts = -(-self.lanes // self.raw_lanes)
        last_part = self.settings.requantise | (self.group.part == parts - 1)
        width = self._width(self.settings.requantise, self.group.part)
        last = Signal(reset_less=True)  # ``left`` is at most ``width``
        count = Signal(range(self.lanes + 1))
        m.d.comb += [
            self.reads.eq(self.busy & self.ready & self.granted.bit_select(self.drain.half, 1)),
            self.group.read.eq(self.reads), self.group.fresh.eq(fresh), self.group.valid.eq(self.reads & complete),
            self.group.last.eq(last),
            count.eq(Mux(self.group.last, left, width)),
            self.group.bytes.eq(Mux(self.settings.requantise, count, count << 2)),
            self.finish.eq(self.group.valid & self.group.last),
        ]
        with m.If(self.reads & ~complete):
            m.d.sync += [self.drain.row.eq(self.drain.row + stride), more.eq(more - 1), fresh.eq(0), complete.eq(more == 1)]
        with m.If(self.group.valid):
            m.d.sync += [self.drain.row.eq(first_row), more.eq(others), fresh.eq(1), complete.eq(others == 0)]
            m.d.sync += [
                self.busy.eq(~self.group.last), left.eq(left - width),
                last.eq((left - width)[:len(left)] <= self._width(self.settings.requantise, Mux(last_part, 0, self.group.part + 1))),
                self.group.part.eq(Mux(last_part, 0, self.group.part + 1)),
                self.group.index.eq(self.group.index + last_part),
                self.group.parameter_group.eq(self.group.parameter_group + last_part),
            ]

        row = self.row.payload
        same = Signal()
        m.d.sync += same.eq(self.settings == self.command.settings)
        m.d.comb += self.row.ready.eq(Mux(self.busy, self.finish, 1) & (~row.first | same | (~self.busy & self.empty)))
        with m.If(self.row.valid & self.row.ready):
            first_group = Mux(row.first, self.command.parameter_group, parameter_group)
            all_columns = Mux(row.first, self.command.columns, columns)
            requantise = Mux(row.first, self.command.settings.requantise, self.settings.requantise)
            all_others = Mux(row.first, self.command.others, others)
            m.d.sync += [
                self.busy.eq(1), self.drain.row.eq(row.source), self.drain.half.eq(row.source[-1]),
                left.eq(all_columns), last.eq(all_columns <= self._width(requantise, C(0))),
                self.group.index.eq(0), self.group.part.eq(0), self.group.parameter_group.eq(first_group),
                columns.eq(all_columns), parameter_group.eq(first_group),
                first_row.eq(row.source), others.eq(all_others), more.eq(all_others), fresh.eq(1), complete.eq(all_others == 0),
            ]
            with m.If(row.first):
                m.d.sync += [self.settings.eq(self.command.settings), stride.eq(self.command.stride)]
        return m

    def _width(self, requantise: Value, part: Value) -> Value:
        """Columns of a group, or of a part of one."""
        parts = -(-self.lanes // self.raw_lanes)
        return Mux(requantise, self.lanes, Mux(part == parts - 1, self.lanes - (parts - 1) * self.raw_lanes, self.raw_lanes))
