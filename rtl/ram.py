"""One RAM with one write port, one read port and a register behind it."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RAM"]


class RAM(wiring.Component):
    """``depth`` signed words of ``width`` bits, without contents at power-up.

    Read latency: ``latency_cycles``, one word per cycle. A word may be read from the cycle after its write on; reading it in
    the very cycle of its write gives garbage, so that no logic is spent on that case.

    Parameters
    ----------
    width : bits of a word
    depth : words

    Members
    -------
    read, o : address, and ``latency_cycles`` later the word
    write, address, i : at the end of a cycle with ``write``, ``i`` becomes the word at ``address``
    """

    read: Signal
    o: Signal
    write: Signal
    address: Signal
    i: Signal

    # The memory, and a register: block RAMs are slow to answer, and deep memories are several with a multiplexer.
    latency_cycles = 2

    def __init__(self, *, width: int, depth: int):
        self.width = width
        self.depth = depth
        address = range(depth)
        super().__init__({
            "read": In(address), "o": Out(signed(width)), "write": In(1), "address": In(address), "i": In(signed(width))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = storage = memory.Memory(shape=signed(self.width), depth=self.depth, init=[], attrs={"no_rw_check": 1})
        read, write = storage.read_port(), storage.write_port()
        o = Signal(signed(self.width), reset_less=True)
        m.d.sync += o.eq(read.data)
        m.d.comb += [
            read.addr.eq(self.read), self.o.eq(o),
            write.en.eq(self.write), write.addr.eq(self.address), write.data.eq(self.i),
        ]
        return m
