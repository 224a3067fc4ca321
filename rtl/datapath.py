"""From scratchpads through the array into the accumulator: everything that moves one row per cycle."""

from amaranth import *
from amaranth.lib import data

from ..arch.config import Config
from .accumulator import Accumulator
from .accumulator_serial import SerialAccumulator
from .array import SystolicArray
from .datapath_base import DatapathBase, scratchpad_cycles
from .foot import Foot
from .skew import Skew
from .timing import DatapathTiming, RowControl
from .tree_array import TreeArray

__all__ = ["Datapath"]


class Datapath(DatapathBase):
    __doc__ = (DatapathBase.__doc__ or "") + """
    This one has weights that stay, and ``row_control`` is a :class:`RowControl`.
    """

    def __init__(self, config: Config):
        rows, cols = config.array.rows, config.array.cols
        self._serial = config.control.engines == "serial"
        array: SystolicArray | TreeArray = (
            TreeArray(rows=rows, cols=cols) if config.array.multiplier_kind == "dual" else SystolicArray(
                rows=rows, cols=cols, multiplier=config.array.multiplier_kind, dsp_cols=config.array.dsp_columns,
                side_dsp=config.array.side_dsp, block_rows=config.array.block_rows, weight_bits=config.array.weight_bits,
                activation_bits=8 * config.array.activation_bytes))
        psum_cycles = scratchpad_cycles(config) + array.latency_cycles
        sizes = {"cols": cols, "half_rows": config.half_rows, "psum_bits": array.psum_bits}
        accumulator: Accumulator | SerialAccumulator
        self._foot: Foot | None = None
        if not self._serial:
            # A touch sets off with its row, and is in column c ``lead_cycles`` before the psum.
            lead = psum_cycles - Accumulator.lead_cycles
            accumulator = Accumulator(**sizes, delay=[lead + delay for delay in array.col_delay], bits=config.array.accumulator_bits)
        else:
            if isinstance(array, SystolicArray):
                self._foot = Foot(psum_bits=array.psum_bits, col_delay=array.col_delay)
                psum_cycles += self._foot.latency_cycles
            accumulator = SerialAccumulator(**sizes, delay=psum_cycles - SerialAccumulator.psum_cycles)
        super().__init__(config, array=array, accumulator=accumulator, read_delay=array.row_delay, row_control=RowControl())

    @property
    def timing(self) -> DatapathTiming:
        """What the engines have to keep to; all derived from the parts."""
        # Both operands come from memories of the same latency, so distances at the array are those between controls.
        return self._timing(
            swap_cycles=self._array.swap_cycles, swap_to_shift_cycles=self._array.swap_to_shift_cycles,
            shift_to_swap_cycles=self._array.shift_to_swap_cycles)

    def _follow_rows(self, m: Module) -> None:
        row, touch = self.row_control, self._accumulator.touch
        m.submodules.swap = swap = Skew(1, delays=self._activation_delay, control=True)
        m.d.comb += swap.i.eq(row.swap if self._array.swap_cycles else row.valid & row.swap)
        padded = self._padded(m)
        m.d.comb += [touch.valid.eq(row.valid), touch.row.eq(row.accumulator_row), touch.accumulate.eq(row.accumulate)]
        for a, inside, activation, flag in zip(self._array.a, self._array.swap, padded, swap.o, strict=True):
            m.d.comb += [a.eq(activation), inside.eq(flag)]

    def _give_weight(self, m: Module, column: int, flags: data.View, value: Value) -> None:
        m.d.comb += [self._array.w[column].eq(Mux(flags.zero, 0, value)), self._array.w_shift[column].eq(flags.shift)]

    def _sum(self, m: Module) -> None:
        if not self._serial:
            super()._sum(m)
            return
        psums, zero = self._array.psum, self._accumulator.zero
        if self._foot:
            m.submodules.foot = foot = self._foot
            m.d.comb += [*(i.eq(psum) for i, psum in zip(foot.i, psums, strict=True)), foot.zero.eq(zero)]
            psums = foot.o
        else:
            m.d.comb += self._array.zero.eq(zero)
        m.d.comb += [total.eq(psum) for total, psum in zip(self._accumulator.psum, psums, strict=True)]
