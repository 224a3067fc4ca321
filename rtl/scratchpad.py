"""Operand memory with a byte-wide bank per lane: any lane can be written from any place, and read in its own cycle."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .interfaces import ScratchpadWrite
from .ram import RAM
from .shared import shared
from .skew import Skew

__all__ = ["Scratchpad"]


class Scratchpad(wiring.Component):
    """``depth`` rows of ``lanes`` bytes; a row is read skewed, one address per bank, and written at any byte.

    Read latency: ``latency_cycles`` + ``delay[l]`` to lane l, one row per cycle. Write latency: ``write_latency_cycles`` from
    the cycle of acceptance to a ``row`` that reads it, one transfer per cycle. Reading a byte in the very cycle in which it is
    written gives garbage: tokens keep readers and writers apart. Rows outside the memory are the writer's to avoid.

    Parameters
    ----------
    lanes : bytes per row
    depth : rows
    width : most bytes per write, at most ``lanes``
    delay : per lane, cycles by which its read follows lane 0's

    Members
    -------
    row : row to read
    o : int8, one per lane
    write : two streams of :class:`ScratchpadWrite`; the second one goes first
    """

    row: Signal
    o: list[Signal]
    write: list[wiring.PureInterface]

    latency_cycles = RAM.latency_cycles
    write_latency_cycles = 4

    def __init__(self, *, lanes: int, depth: int, width: int, delay: list[int]):
        if len(delay) != lanes:
            raise ValueError(f"delay must have one entry per lane, {lanes}, not {delay!r}")
        self.lanes = lanes
        self.depth = depth
        self.width = width
        self.delay = list(delay)
        super().__init__({
            "row": In(16),
            "o": Out(signed(8)).array(lanes),
            "write": In(ScratchpadWrite(lanes=lanes, row_bits=16, width=width)).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        address = unsigned((self.depth - 1).bit_length())
        m.submodules.rows = rows = Skew(address, delays=self.delay)
        m.d.comb += rows.i.eq(self.row)

        # Cycle 1: what comes, from afar, of which only one is valid.
        load, store = (port.stream for port in self.write)
        arrived = [Signal.like(stream.payload, name=name, reset_less=True) for name, stream in (("loaded", load), ("stored", store))]
        arrives = Signal()
        stores = Signal(reset_less=True)
        m.d.comb += [store.ready.eq(1), load.ready.eq(~store.valid)]
        m.d.sync += [
            arrives.eq(load.valid | store.valid), stores.eq(store.valid),
            *(kept.eq(stream.payload) for kept, stream in zip(arrived, (load, store), strict=True)),
        ]

        # Cycle 2: one of the two.
        chosen = Signal.like(store.payload, reset_less=True)
        valid = Signal()
        taken = Signal(self.width, reset_less=True)  # which of the bytes there are: as many lowest ones as ``count`` says
        m.d.sync += [
            valid.eq(arrives), chosen.eq(Mux(stores, arrived[1], arrived[0])),
            taken.eq(Cat(Mux(stores, arrived[1].count > i, arrived[0].count > i) for i in range(self.width))),
        ]

        # Cycle 3: each byte to its bank, and whether there is one. Banks that are a multiple of ``span`` apart see the same byte, at
        # most one takes it.
        power_of_two = self.width & self.width - 1 == 0
        span = self.width if power_of_two and self.lanes % self.width == 0 else self.lanes
        rotated = Signal(data.ArrayLayout(unsigned(8), span), reset_less=True)
        here = Signal(address, reset_less=True)
        following = Signal(address, reset_less=True)
        m.d.sync += [
            rotated.eq(Cat(self._rotate([*chosen.data, *[C(0, 8)] * (span - self.width)], chosen.lane))),
            here.eq(chosen.row), following.eq(chosen.row + 1),
        ]
        enables = self._rotate([*taken, *[C(0, 1)] * (self.lanes - self.width)], chosen.lane)

        for b in range(self.lanes):
            m.submodules[f"bank{b}"] = bank = shared(RAM, platform, width=8, depth=self.depth)
            enable = Signal(name=f"enable{b}")
            wrapped = Signal(name=f"wrapped{b}", reset_less=True)
            m.d.sync += [
                enable.eq(valid & enables[b]), wrapped.eq(b < chosen.lane),
            ]
            # Cycle 4 of a write: the memory.
            m.d.comb += [
                bank.read.eq(rows.o[b]), self.o[b].eq(bank.o),
                bank.address.eq(Mux(wrapped, following, here)), bank.i.eq(rotated[b % span]), bank.write.eq(enable),
            ]
        return m

    def _rotate(self, values: list[Value], lane: Value) -> list[Value]:
        """Byte i of ``values`` at place (lane + i) mod their number, by a barrel shifter.

        Their number is a power of two, or that of all lanes: so the low bits of the lane are the distance.
        """
        for bit in range((len(values) - 1).bit_length()):
            values = [Mux(lane[bit], values[i - (1 << bit)], values[i]) for i in range(len(values))]
        return values
