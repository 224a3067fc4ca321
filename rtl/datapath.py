"""From scratchpads through the array into the accumulator: everything that moves one row per cycle."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from ..arch.config import Config
from .accumulator import Accumulator
from .accumulator_serial import SerialAccumulator
from .array import SystolicArray
from .foot import Foot
from .scratchpad import Scratchpad
from .scratchpad_serial import SerialScratchpad
from .skew import Skew
from .timing import DatapathTiming, RowControl, WeightControl
from .transposer import Transposer
from .tree_array import TreeArray
from .unpacker import Unpacker

__all__ = ["Datapath"]


class Datapath(wiring.Component):
    """Scratchpads, transposer, array and accumulator, with the skew between them.

    Takes one weight control and one row control per cycle, unskewed, and never waits; ``timing`` says how far apart they
    have to be. Addresses and flags are delayed to each lane, so that operands leave the memories already skewed.

    Parameters
    ----------
    config : the accelerator

    Members
    -------
    weight_control : :class:`WeightControl`
    row_control : :class:`RowControl`
    activation_write, weight_write : two :class:`ScratchpadWrite` each: 0 LOAD, 1 STORE, which goes first
    load, drain : of the accumulator
    """

    weight_control: data.View
    row_control: data.View
    activation_write: list[wiring.PureInterface]
    weight_write: list[wiring.PureInterface]
    load: wiring.PureInterface
    drain: wiring.PureInterface

    def __init__(self, config: Config):
        self.config = config
        rows, cols = config.array.rows, config.array.cols
        array: SystolicArray | TreeArray = (
            TreeArray(rows=rows, cols=cols) if config.array.multiplier_kind == "dual" else SystolicArray(
                rows=rows, cols=cols, multiplier=config.array.multiplier_kind, dsp_cols=config.array.dsp_columns,
                block_rows=config.array.block_rows, weight_bits=config.array.weight_bits,
                activation_bits=8 * config.array.activation_bytes))
        self._array = array
        self._serial = config.control.engines == "serial"
        scratchpad_cycles = (SerialScratchpad if self._serial else Scratchpad).latency_cycles
        # From a control to its byte, in each row and in each column.
        self._activation_delay = [scratchpad_cycles + delay for delay in array.row_delay]
        self._weight_delay = [scratchpad_cycles + delay for delay in array.col_delay]
        self._activations = self._scratchpad(
            config.activation_lanes, config.activation_rows,
            [delay for delay in array.row_delay for _ in range(config.array.activation_bytes)])
        self._unpacker = Unpacker(delay=array.col_delay) if config.array.weight_bits == 4 else None
        self._weights = self._scratchpad(
            config.weight_lanes, config.weight_rows, self._unpacker.byte_delay if self._unpacker else array.col_delay)
        self._transposer = Transposer(
            rows=rows, cols=cols, delay=self._weight_delay, width=config.array.weight_bits) if config.array.transposer else None
        psum_cycles = scratchpad_cycles + array.latency_cycles
        sizes = {"cols": cols, "half_rows": config.half_rows, "psum_bits": array.psum_bits}
        self._accumulator: Accumulator | SerialAccumulator
        self._foot: Foot | None = None
        if not self._serial:
            # A touch sets off with its row, and is in column c ``lead_cycles`` before the psum.
            lead = psum_cycles - Accumulator.lead_cycles
            self._accumulator = Accumulator(**sizes, delay=[lead + delay for delay in array.col_delay])
        else:
            if isinstance(array, SystolicArray):
                self._foot = Foot(psum_bits=array.psum_bits, col_delay=array.col_delay)
                psum_cycles += self._foot.latency_cycles
            self._accumulator = SerialAccumulator(**sizes, delay=psum_cycles - SerialAccumulator.psum_cycles)
        super().__init__({
            "weight_control": In(WeightControl(rows=rows, cols=cols)),
            "row_control": In(RowControl()),
            "activation_write": self._activations.signature.members["write"],
            "weight_write": self._weights.signature.members["write"],
            "load": self._accumulator.signature.members["load"],
            "drain": self._accumulator.signature.members["drain"],
        })

    def _scratchpad(self, lanes: int, depth: int, delay: list[int]) -> Scratchpad | SerialScratchpad:
        if self._serial:
            return SerialScratchpad(lanes=lanes, depth=depth, delay=delay)
        return Scratchpad(lanes=lanes, depth=depth, width=self.config.write_bytes(lanes), delay=delay)

    @property
    def timing(self) -> DatapathTiming:
        """What the engines have to keep to; all derived from the parts."""
        return DatapathTiming(
            # Both operands come from memories of the same latency, so distances at the array are those between controls.
            swap_to_shift_cycles=self._array.swap_to_shift_cycles,
            shift_to_swap_cycles=self._array.shift_to_swap_cycles,
            fill_to_emit_cycles=self._transposer.fill_to_emit_cycles if self._transposer else 0,
            emit_to_fill_cycles=self._transposer.emit_to_fill_cycles if self._transposer else 0,
            distance_cycles=self._accumulator.distance_cycles,
            settle_cycles=self._accumulator.settle_cycles,
            write_cycles=self._activations.write_latency_cycles,
            load_cycles=self._accumulator.load_cycles,
            drain_cycles=self._accumulator.drain_cycles,
        )

    def elaborate(self, platform):
        m = Module()
        rows, cols = self.config.array.rows, self.config.array.cols
        m.submodules.array = array = self._array
        m.submodules.activations = activations = self._activations
        m.submodules.weights = weights = self._weights
        m.submodules.accumulator = accumulator = self._accumulator
        for own, inner in ((self.activation_write, activations.write), (self.weight_write, weights.write)):
            for outside, inside in zip(own, inner, strict=True):
                wiring.connect(m, wiring.flipped(outside), inside)
        wiring.connect(m, wiring.flipped(self.load), accumulator.load)
        wiring.connect(m, wiring.flipped(self.drain), accumulator.drain)

        # Activations: flags meet their bytes behind the memory.
        row = self.row_control
        m.submodules.swap = swap = Skew(1, delays=self._activation_delay, control=True)
        m.submodules.pad = pad = Skew(data.StructLayout({"pad": 1, "value": signed(8)}), delays=self._activation_delay)
        m.d.comb += [
            activations.row.eq(row.row), swap.i.eq(row.valid & row.swap), pad.i.pad.eq(row.pad), pad.i.value.eq(row.pad_value),
            accumulator.touch.valid.eq(row.valid), accumulator.touch.row.eq(row.accumulator_row),
            accumulator.touch.accumulate.eq(row.accumulate),
        ]
        each = self.config.array.activation_bytes
        for r in range(rows):
            activation = activations.o[r] if each == 1 else Cat(activations.o[each * r:each * (r + 1)]).as_signed()
            m.d.comb += [array.a[r].eq(Mux(pad.o[r].pad, pad.o[r].value, activation)), array.swap[r].eq(swap.o[r])]

        # Weights, from their memory, unpacked, straight or through the transposer.
        weight = self.weight_control
        m.submodules.shift = shift = Skew(data.StructLayout({"shift": 1, "zero": 1}), delays=self._weight_delay)
        m.d.comb += [weights.row.eq(weight.row), shift.i.shift.eq(weight.shift), shift.i.zero.eq(weight.zero)]
        source = weights.o
        if self._unpacker:
            m.submodules.unpacker = unpacker = self._unpacker
            m.d.comb += [inner.eq(byte) for inner, byte in zip(unpacker.i, weights.o, strict=True)]
            source = unpacker.o
        if self._transposer:
            m.submodules.transposer = transposer = self._transposer
            m.d.comb += [
                transposer.fill.eq(weight.fill), transposer.piece.eq(weight.piece), transposer.emit.eq(weight.emit),
                *(lane.eq(weight_in) for lane, weight_in in zip(transposer.i, source, strict=True)),
            ]
            source = transposer.o
        for c in range(cols):
            m.d.comb += [array.w[c].eq(Mux(shift.o[c].zero, 0, source[c])), array.w_shift[c].eq(shift.o[c].shift)]
        psums = array.psum
        if self._foot:
            m.submodules.foot = foot = self._foot
            m.d.comb += [*(i.eq(psum) for i, psum in zip(foot.i, psums, strict=True)), foot.zero.eq(accumulator.zero)]
            psums = foot.o
        elif self._serial:
            m.d.comb += array.zero.eq(accumulator.zero)
        m.d.comb += [total.eq(psum) for total, psum in zip(accumulator.psum, psums, strict=True)]
        return m
