"""Bytes from a serial line to reads and writes of 32-bit words: frames as :mod:`systolith.arch.serial_link` has them."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.serial_link import Frame

__all__ = ["HostPort", "UARTBone"]


class HostPort(wiring.Signature):
    """Single-word accesses: everything holds while ``valid``; ``ready`` ends the access, with ``read_data`` valid in that cycle.

    ``address`` counts 32-bit words.
    """

    def __init__(self, address_bits: int = 30):
        self.address_bits = address_bits
        super().__init__({
            "valid": Out(1), "ready": In(1), "address": Out(address_bits),
            "write": Out(1), "write_data": Out(32), "read_data": In(32),
        })


class UARTBone(wiring.Component):
    """Serves UARTBone frames on ``bus``.

    Bytes that are not a command are skipped between frames. A frame of which no further byte comes for ``timeout_cycles``
    is dropped: after that pause any sender is understood again, whatever was lost on the line. Words of a write that
    arrived before are written. ``i.ready`` is low while a word is on the bus or being answered, so that a line without
    flow control carries one frame at a time: the next one starts after the answer.

    Parameters
    ----------
    timeout_cycles : longest pause between two bytes of a frame

    Members
    -------
    i, o : streams of bytes from and to the line
    bus : :class:`HostPort`
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, timeout_cycles: int):
        if timeout_cycles < 1:
            raise ValueError(f"timeout_cycles must be at least 1, not {timeout_cycles!r}")
        self.timeout_cycles = timeout_cycles
        super().__init__({
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
            "bus": Out(HostPort()),
        })

    def elaborate(self, platform):
        m = Module()
        write = Signal()
        left = Signal(8)    # words to go
        byte = Signal(2)    # of the address or the word
        word = Signal(32, reset_less=True)
        address = Signal(30, reset_less=True)
        silence = Signal(range(self.timeout_cycles + 1))

        m.d.comb += [
            self.bus.address.eq(address),
            self.bus.write.eq(write),
            self.bus.write_data.eq(word),
            self.o.payload.eq(word[24:]),
        ]

        # The pause is only measured where a byte is expected, so that a slow bus or answer does not count.
        idle = Signal()
        timed_out = Signal()
        m.d.comb += timed_out.eq(silence == self.timeout_cycles)
        m.d.sync += silence.eq(Mux(self.i.ready & ~self.i.valid & ~idle & ~timed_out, silence + 1, 0))

        with m.FSM(name="state"):
            with m.State("COMMAND"):
                m.d.comb += [idle.eq(1), self.i.ready.eq(1)]
                m.d.sync += [byte.eq(0), write.eq(self.i.payload == Frame.WRITE)]
                with m.If(self.i.valid & ((self.i.payload == Frame.WRITE) | (self.i.payload == Frame.READ))):
                    m.next = "LENGTH"
            with m.State("LENGTH"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += left.eq(self.i.payload)
                    m.next = "ADDRESS"
                with m.Elif(timed_out):
                    m.next = "COMMAND"
            with m.State("ADDRESS"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [address.eq(Cat(self.i.payload, address)), byte.eq(byte + 1)]
                    with m.If(byte == 3):
                        m.next = "NEXT"
                with m.Elif(timed_out):
                    m.next = "COMMAND"
            with m.State("NEXT"):
                with m.If(left == 0):
                    m.next = "COMMAND"
                with m.Elif(write):
                    m.next = "RECEIVE"
                with m.Else():
                    m.next = "ACCESS"
            with m.State("RECEIVE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [word.eq(Cat(self.i.payload, word)), byte.eq(byte + 1)]
                    with m.If(byte == 3):
                        m.next = "ACCESS"
                with m.Elif(timed_out):
                    m.next = "COMMAND"
            with m.State("ACCESS"):
                m.d.comb += self.bus.valid.eq(1)
                with m.If(self.bus.ready):
                    m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
                    with m.If(write):
                        m.next = "NEXT"
                    with m.Else():
                        m.d.sync += word.eq(self.bus.read_data)
                        m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [word.eq(word << 8), byte.eq(byte + 1)]
                    with m.If(byte == 3):
                        m.next = "NEXT"
        return m
