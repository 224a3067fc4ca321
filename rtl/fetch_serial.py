"""Reads the program from memory, a word when it is wanted."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..arch.registers import ErrorCode
from .interfaces import BaseLookup, ErrorShape, ReadPort

__all__ = ["SerialFetch"]


class SerialFetch(wiring.Component):
    """What :class:`~systolith.rtl.fetch.Fetch` does, with its errors, but without a buffer: a word is asked for when it is wanted, and
    once more where it was not taken in the one cycle in which it is there.

    Throughput: a word in 3 cycles and the memory's latency.

    Parameters
    ----------
    address_bits, bus_bits : of the memory
    addresses : a word that the memory answers with an error is reported with its bus word's address, otherwise with 0

    Members
    -------
    start, halt, idle, offset, words, lookup, read, error : as of :class:`~systolith.rtl.fetch.Fetch`
    wanted : level; ask for the next word
    o : words of the program
    """

    start: Signal
    halt: Signal
    idle: Signal
    offset: Signal
    words: Signal
    lookup: wiring.PureInterface
    read: wiring.PureInterface
    wanted: Signal
    o: stream.Interface
    error: ErrorShape

    def __init__(self, *, address_bits: int, bus_bits: int, addresses: bool):
        self.address_bits = address_bits
        self.bus_bits = bus_bits
        self.addresses = addresses
        super().__init__({
            "start": In(1), "halt": In(1), "idle": Out(1), "offset": In(32), "words": In(32), "wanted": In(1),
            "lookup": Out(BaseLookup(address_bits)), "read": Out(ReadPort(address_bits, bus_bits)),
            "o": Out(stream.Signature(32)), "error": Out(ErrorShape(address_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        address = Signal(self.address_bits, reset_less=True)
        inside = Signal(reset_less=True)
        offered = Signal()
        byte_bits = exact_log2(self.bus_bits // 8)
        request, response = self.read.request, self.read.response
        m.d.comb += [
            request.payload.address.eq(Cat(C(0, byte_bits), address[byte_bits:])),
            self.error.address.eq(Cat(C(0, 2), address[2:])), self.error.code.eq(Mux(inside, ErrorCode.VALUE, ErrorCode.ADDRESS)),
            self.o.payload.eq(response.payload.data.word_select(address[2:byte_bits], 32)),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                with m.If(self.start & (self.words != 0)):
                    m.next = "LOOKUP"
            with m.State("LOOKUP"):
                m.d.comb += self.lookup.valid.eq(1)
                m.d.sync += [
                    address.eq(self.lookup.base + self.offset), inside.eq(self.offset + (self.words << 2) <= self.lookup.size)]
                with m.If(self.lookup.ready):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "REQUEST"
                with m.If(~inside | address[:2].any()):
                    m.d.comb += self.error.valid.eq(1)
                    m.next = "IDLE"
            with m.State("REQUEST"):
                # A request that was offered stays, halt waits for it.
                m.d.comb += [request.valid.eq(self.wanted & ~self.halt | offered), self.idle.eq(~request.valid)]
                m.d.sync += offered.eq(request.valid & ~request.ready)
                with m.If(request.valid & request.ready):
                    m.next = "RESPONSE"
            with m.State("RESPONSE"):
                m.d.comb += [response.ready.eq(1), self.o.valid.eq(response.valid & ~response.payload.error & ~self.halt)]
                with m.If(response.valid):
                    m.next = "PAUSE"
                    with m.If(response.payload.error):
                        m.d.comb += [
                            self.error.valid.eq(1), self.error.code.eq(ErrorCode.BUS),
                            self.error.address.eq(request.payload.address if self.addresses else 0),
                        ]
                        m.next = "IDLE"
                    with m.Elif(self.o.ready):
                        m.d.sync += address[2:].eq(address[2:] + 1)
            with m.State("PAUSE"):
                # Whether one more is wanted is known in the next cycle.
                m.next = "REQUEST"
        return m
