"""What a datapath has whatever stays in its array: scratchpads, transposer and accumulator around it."""

from typing import Any

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from ..arch.config import Config
from .accumulator import Accumulator
from .accumulator_serial import SerialAccumulator
from .array import SystolicArray
from .array_output import OutputArray
from .scratchpad import Scratchpad
from .scratchpad_serial import SerialScratchpad
from .skew import Skew
from .timing import DatapathTiming, WeightControl
from .transposer import Transposer
from .tree_array import TreeArray
from .unpacker import Unpacker

__all__ = ["DatapathBase", "scratchpad_cycles"]


def scratchpad_cycles(config: Config) -> int:
    """From a control to the byte of lane 0."""
    return (SerialScratchpad if config.control.engines == "serial" else Scratchpad).latency_cycles


class DatapathBase(wiring.Component):
    """Scratchpads, transposer, array and accumulator, with the skew between them.

    Takes one weight control and one row control per cycle, unskewed, and never waits; ``timing`` says how far apart they
    have to be. Addresses and flags are delayed to each lane, so that operands leave the memories already skewed.

    Parameters
    ----------
    config : the accelerator

    Members
    -------
    weight_control : :class:`WeightControl`
    row_control : what else happens in a cycle
    activation_write, weight_write : two :class:`ScratchpadWrite` each: 0 LOAD, 1 STORE, which goes first
    load, drain : of the accumulator
    """

    weight_control: data.View
    row_control: data.View
    activation_write: list[wiring.PureInterface]
    weight_write: list[wiring.PureInterface]
    load: wiring.PureInterface
    drain: wiring.PureInterface

    # From each dataflow: its array and accumulator; per activation, cycles by which it is read later than the first one; the layout of
    # `row_control`.
    def __init__(self, config: Config, *, array: SystolicArray | TreeArray | OutputArray, accumulator: Accumulator | SerialAccumulator,
                 read_delay: list[int], row_control: data.StructLayout):
        self.config = config
        rows, cols = config.array.rows, config.array.cols
        self._array: Any = array  # each dataflow's own, whose ports it knows
        self._accumulator: Any = accumulator
        cycles = scratchpad_cycles(config)
        # From a control to its byte, in each row and in each column.
        self._activation_delay = [cycles + delay for delay in read_delay]
        self._weight_delay = [cycles + delay for delay in array.col_delay]
        self._activations = self._scratchpad(
            config.activation_lanes, config.activation_rows, [delay for delay in read_delay for _ in range(config.array.activation_bytes)])
        self._unpacker = Unpacker(delay=array.col_delay) if config.array.weight_bits == 4 else None
        self._weights = self._scratchpad(
            config.weight_lanes, config.weight_rows, self._unpacker.byte_delay if self._unpacker else array.col_delay)
        self._transposer = Transposer(
            rows=rows, cols=cols, delay=self._weight_delay, width=config.array.weight_bits) if config.array.transposer else None
        super().__init__({
            "weight_control": In(WeightControl(rows=rows, cols=cols)),
            "row_control": In(row_control),
            "activation_write": self._activations.signature.members["write"],
            "weight_write": self._weights.signature.members["write"],
            "load": accumulator.signature.members["load"],
            "drain": accumulator.signature.members["drain"],
        })

    def _scratchpad(self, lanes: int, depth: int, delay: list[int]) -> Scratchpad | SerialScratchpad:
        if self.config.control.engines == "serial":
            return SerialScratchpad(lanes=lanes, depth=depth, delay=delay)
        return Scratchpad(lanes=lanes, depth=depth, width=self.config.write_bytes(lanes), delay=delay)

    def _timing(self, *, swap_cycles: int, swap_to_shift_cycles: int, shift_to_swap_cycles: int) -> DatapathTiming:
        return DatapathTiming(
            swap_cycles=swap_cycles,
            swap_to_shift_cycles=swap_to_shift_cycles,
            shift_to_swap_cycles=shift_to_swap_cycles,
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
        m.submodules.array = self._array
        m.submodules.activations = activations = self._activations
        m.submodules.weights = weights = self._weights
        m.submodules.accumulator = accumulator = self._accumulator
        for own, inner in ((self.activation_write, activations.write), (self.weight_write, weights.write)):
            for outside, inside in zip(own, inner, strict=True):
                wiring.connect(m, wiring.flipped(outside), inside)
        wiring.connect(m, wiring.flipped(self.load), accumulator.load)
        wiring.connect(m, wiring.flipped(self.drain), accumulator.drain)
        self._follow_rows(m)
        self._follow_weights(m)
        self._sum(m)
        return m

    def _padded(self, m: Module) -> list[Value]:
        """One activation per row, or what pads: flags meet their bytes behind the memory."""
        row, each = self.row_control, self.config.array.activation_bytes
        m.submodules.pad = pad = Skew(data.StructLayout({"pad": 1, "value": signed(8)}), delays=self._activation_delay)
        m.d.comb += [self._activations.row.eq(row.row), pad.i.pad.eq(row.pad), pad.i.value.eq(row.pad_value)]
        octets = self._activations.o
        read = [octets[r] if each == 1 else Cat(octets[each * r:each * (r + 1)]).as_signed() for r in range(self.config.array.rows)]
        return [Mux(flags.pad, flags.value, activation) for flags, activation in zip(pad.o, read, strict=True)]

    def _follow_rows(self, m: Module) -> None:
        """Activations into the array, and all else that ``row_control`` says."""
        raise NotImplementedError

    def _follow_weights(self, m: Module) -> None:
        """Weights into the array: from their memory, unpacked, straight or through the transposer."""
        weight, weights = self.weight_control, self._weights
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
        for c, (flags, value) in enumerate(zip(shift.o, source, strict=True)):
            self._give_weight(m, c, flags, value)

    def _give_weight(self, m: Module, column: int, flags: data.View, value: Value) -> None:
        """``value`` is for a column, if ``flags`` say so."""
        raise NotImplementedError

    def _sum(self, m: Module) -> None:
        """Psums into the accumulator."""
        m.d.comb += [total.eq(psum) for total, psum in zip(self._accumulator.psum, self._array.psum, strict=True)]
