"""The datapath around an output-stationary array."""

from amaranth import *
from amaranth.lib import data

from ..arch.config import Config
from .accumulator import Accumulator
from .array_output import OutputArray
from .corner_turn import CornerTurn
from .datapath_base import DatapathBase, scratchpad_cycles
from .skew import LaneSkew, Skew
from .timing import DatapathTiming, PassControl

__all__ = ["OutputDatapath"]


class OutputDatapath(DatapathBase):
    __doc__ = (DatapathBase.__doc__ or "") + """
    This one has sums that stay, and ``row_control`` is a :class:`PassControl`. A row of the scratchpad has activations of one output
    row, so ``rows`` of them are turned before they meet the rows of the weights.
    """

    def __init__(self, config: Config):
        array = OutputArray(
            rows=config.array.rows, cols=config.array.cols, dsp_cols=config.array.dsp_columns, weight_bits=config.array.weight_bits,
            activation_bits=8 * config.array.activation_bytes)
        # The first touch comes in the cycle after `end`; it is in column c ``lead_cycles`` before the psum.
        lead = scratchpad_cycles(config) - 1 - Accumulator.lead_cycles
        accumulator = Accumulator(cols=config.array.cols, half_rows=config.half_rows, psum_bits=array.psum_bits,
                                  delay=[lead + delay for delay in array.sum_delay])
        super().__init__(config, array=array, accumulator=accumulator, read_delay=[0] * config.array.rows, row_control=PassControl())

    @property
    def timing(self) -> DatapathTiming:
        """What the engines have to keep to; of weights that stay there is nothing."""
        return self._timing(swap_cycles=0, swap_to_shift_cycles=0, shift_to_swap_cycles=0)

    def _follow_rows(self, m: Module) -> None:
        array, row, touch = self._array, self.row_control, self._accumulator.touch
        cycles = scratchpad_cycles(self.config)
        m.submodules.turn = turn = CornerTurn(size=array.rows, width=array.activation_bits)
        m.submodules.moves = moves = Skew(data.StructLayout({"move": 1, "down": 1}), delays=[cycles], control=True)
        flags = data.StructLayout({"first": 1, "end": 1})
        m.submodules.flags = skew = Skew(flags, delays=[cycles + delay for delay in array.row_delay])
        m.d.comb += [
            moves.i.move.eq(row.move), moves.i.down.eq(row.down), turn.move.eq(moves.o[0].move), turn.down.eq(moves.o[0].down),
            *(inside.eq(activation) for inside, activation in zip(turn.i, self._padded(m), strict=True)),
            skew.i.first.eq(row.first), skew.i.end.eq(row.end),
            touch.valid.eq(row.touch), touch.row.eq(row.accumulator_row), touch.accumulate.eq(row.accumulate),
        ]
        m.submodules.lanes = lanes = LaneSkew(width=array.activation_bits, lanes=array.rows)
        for r in range(array.rows):
            m.d.comb += [
                lanes.i[r].eq(turn.o[r]), array.a[r].eq(lanes.o[r]), array.first[r].eq(skew.o[r].first), array.end[r].eq(skew.o[r].end),
            ]
        # With each touch a row of sums leaves the foot: the others come down, and there is one row fewer whose sums have yet to.
        m.submodules.drains = drains = Skew(
            data.StructLayout({"touch": 1, "end": 1}), delays=[cycles + array.row_delay[-1]], control=True)
        above = Signal(array.rows, reset_less=True)
        with m.If(drains.o[0].end):
            m.d.sync += above.eq(-1)
        with m.Elif(drains.o[0].touch):
            m.d.sync += above.eq(above << 1)
        m.d.comb += [drains.i.touch.eq(row.touch), drains.i.end.eq(row.end)]
        m.d.comb += [inside.eq(drains.o[0].touch & one) for inside, one in zip(array.shift, above, strict=True)]

    def _give_weight(self, m: Module, column: int, flags: data.View, value: Value) -> None:
        m.d.comb += self._array.w[column].eq(Mux(flags.shift & ~flags.zero, value, 0))
