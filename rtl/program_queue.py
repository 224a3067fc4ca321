"""The program that runs and those that wait behind it."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ProgramQueue", "program_layout"]


def program_layout(address_bits: int) -> data.StructLayout:
    """A program: its first byte from base 0, its length in 32-bit words, and its set of base registers."""
    bits = min(32, address_bits)
    return data.StructLayout({"offset": bits, "words": bits, "bases": 1})


class ProgramQueue(wiring.Component):
    """``depth`` programs wait behind ``current``, in order. A small memory that is read where it lies, as look-up tables do it.

    The four actions take effect at the clock edge; ``advance`` may come with the ``append`` of what it advances to.

    Parameters
    ----------
    depth : programs that may wait; without any, ``current`` is ``i`` itself
    address_bits : of memory: no more bits of a program's place and length are kept

    Members
    -------
    i : the program to take
    replace : ``i`` becomes the current program, and nothing waits
    append : ``i`` waits behind the others; not while ``full``
    drop : nothing waits any more
    advance : the program that has waited longest becomes the current one
    current : holds until ``replace`` or ``advance``
    waiting : programs that wait
    full : no more can wait
    """

    i: data.View
    replace: Signal
    append: Signal
    drop: Signal
    advance: Signal
    current: data.View
    waiting: Signal
    full: Signal

    def __init__(self, *, depth: int, address_bits: int = 32):
        self.depth = depth
        self.layout = program_layout(address_bits)
        super().__init__({
            "i": In(self.layout), "replace": In(1), "append": In(1), "drop": In(1), "advance": In(1),
            "current": Out(self.layout), "waiting": Out(range(depth + 1)), "full": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        if not self.depth:
            m.d.comb += [self.current.eq(self.i), self.full.eq(1)]
            return m
        places = 1 << self.depth.bit_length()  # more than depth, so that addresses wrap by themselves
        m.submodules.programs = programs = memory.Memory(shape=self.layout, depth=places, init=[])
        write, read = programs.write_port(), programs.read_port(domain="comb")
        head = Signal(range(places))
        m.d.comb += [
            write.addr.eq(Mux(self.replace, head, head + 1 + self.waiting)), write.data.eq(self.i), write.en.eq(self.replace | self.append),
            read.addr.eq(head), self.current.eq(read.data), self.full.eq(self.waiting == self.depth),
        ]
        with m.If(self.replace | self.drop):
            m.d.sync += self.waiting.eq(0)
        with m.Else():
            m.d.sync += [self.waiting.eq(self.waiting + self.append - self.advance), head.eq(head + self.advance)]
        return m
