"""Operand memory of a small accelerator: one byte per write, and block RAM without a register behind it."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .interfaces import ScratchpadWrite
from .skew import Skew

__all__ = ["SerialScratchpad"]


class SerialScratchpad(wiring.Component):
    """What :class:`~systolith.rtl.scratchpad.Scratchpad` is, for writes of one byte.

    Read latency: ``latency_cycles`` + ``delay[l]`` to lane l, one row per cycle. Write latency: ``write_latency_cycles`` from
    the cycle of acceptance to a ``row`` that reads it, one byte per cycle.

    Parameters
    ----------
    lanes : bytes per row
    depth : rows
    delay : per lane, cycles by which its read follows lane 0's

    Members
    -------
    row, o, write : as of :class:`~systolith.rtl.scratchpad.Scratchpad`; ``count`` is 1
    """

    row: Signal
    o: list[Signal]
    write: list[wiring.PureInterface]

    latency_cycles = 1
    write_latency_cycles = 2

    def __init__(self, *, lanes: int, depth: int, delay: list[int]):
        if len(delay) != lanes:
            raise ValueError(f"delay must have one entry per lane, {lanes}, not {delay!r}")
        self.lanes = lanes
        self.depth = depth
        self.delay = list(delay)
        super().__init__({
            "row": In(16),
            "o": Out(signed(8)).array(lanes),
            "write": In(ScratchpadWrite(lanes=lanes, row_bits=16, width=1)).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        address_bits = (self.depth - 1).bit_length()
        m.submodules.rows = rows = Skew(address_bits, delays=self.delay)
        m.d.comb += rows.i.eq(self.row)

        load, store = (port.stream for port in self.write)
        address, byte = Signal(address_bits, reset_less=True), Signal(8, reset_less=True)
        enable = Signal(self.lanes)
        lane = Mux(store.valid, store.payload.lane, load.payload.lane)
        m.d.comb += [store.ready.eq(1), load.ready.eq(~store.valid)]
        m.d.sync += [
            address.eq(Mux(store.valid, store.payload.row, load.payload.row)),
            byte.eq(Mux(store.valid, store.payload.data[0], load.payload.data[0])),
            enable.eq(Mux(load.valid | store.valid, 1 << lane, 0)),
        ]
        for b in range(self.lanes):
            m.submodules[f"bank{b}"] = bank = memory.Memory(shape=signed(8), depth=self.depth, init=[], attrs={"no_rw_check": 1})
            read, write = bank.read_port(), bank.write_port()
            m.d.comb += [
                read.addr.eq(rows.o[b]), self.o[b].eq(read.data),
                write.addr.eq(address), write.data.eq(byte), write.en.eq(enable[b]),
            ]
        return m
