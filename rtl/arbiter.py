"""One memory read port for two readers."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .interfaces import ReadPort
from .queue import Queue
from .step import LateCount

__all__ = ["ReadArbiter"]


class ReadArbiter(wiring.Component):
    """Merges two :class:`ReadPort` s into one; words come back to the reader that asked, in its order.

    Requests pass in the same cycle, those of ``urgent`` first; a request that has been offered stays until it is accepted.
    A reader that does not accept its words holds up the words of the other behind them.

    Parameters
    ----------
    address_bits, bus_bits : of all three ports
    outstanding : bursts that may be in flight; of more, up to two are accepted
    addresses : keep the bursts' addresses, for ``address``

    Members
    -------
    urgent, bulk : from the readers
    o : to the memory
    address : of the word in ``o.response``; 0 without ``addresses``
    """

    urgent: wiring.PureInterface
    bulk: wiring.PureInterface
    o: wiring.PureInterface
    address: Signal

    def __init__(self, *, address_bits: int, bus_bits: int, outstanding: int, addresses: bool = True):
        self.address_bits = address_bits
        self.bus_bits = bus_bits
        self.outstanding = outstanding
        self.addresses = addresses
        port = ReadPort(address_bits, bus_bits)
        super().__init__({"urgent": In(port), "bulk": In(port), "o": Out(port), "address": Out(address_bits)})

    def elaborate(self, platform):
        m = Module()
        # Each burst in flight: how many words it has besides the first, and whether none, which reader it belongs to, and where it begins.
        word_bits = exact_log2(self.bus_bits // 8)
        entry = data.StructLayout({"beats": 8, "single": 1, "bulk": 1, "word": self.address_bits - word_bits if self.addresses else 0})
        depth = self.outstanding + 2  # whether there is room is known of the cycle before, from registers: it reaches both readers
        m.submodules.order = order = Queue(width=entry.size, depth=depth, early=True)
        flying, room = LateCount(m, depth, up=order.w_en, down=order.r_en, name="flying"), Signal(init=1)
        m.d.sync += room.eq(~(flying.equals(depth - 1) | flying.equals(depth)))
        asked, burst = Signal(entry), data.View(entry, order.r_data)

        held = Signal()
        held_bulk = Signal()
        choose_bulk = Signal()
        m.d.comb += choose_bulk.eq(Mux(held, held_bulk, ~self.urgent.request.valid))
        m.d.sync += [held.eq(self.o.request.valid & ~self.o.request.ready), held_bulk.eq(choose_bulk)]
        for reader, chosen in ((self.urgent, ~choose_bulk), (self.bulk, choose_bulk)):
            with m.If(chosen):
                m.d.comb += [
                    self.o.request.valid.eq(reader.request.valid & (room | held)),
                    self.o.request.payload.eq(reader.request.payload),
                    reader.request.ready.eq(self.o.request.ready & (room | held)),
                ]
        m.d.comb += [
            order.w_en.eq(self.o.request.valid & self.o.request.ready),
            asked.beats.eq(self.o.request.payload.beats), asked.bulk.eq(choose_bulk),
            asked.single.eq(Mux(choose_bulk, self.bulk.request.payload.beats == 0, self.urgent.request.payload.beats == 0)),
            asked.word.eq(self.o.request.payload.address[word_bits:]), order.w_data.eq(asked),
        ]

        beat = Signal(8)
        begins, ends = Signal(init=1), Signal()  # the word is its burst's first; one behind the first and the last
        last = Mux(begins, burst.single, ends)
        if self.addresses:
            # No burst crosses a block of 256 words.
            m.d.comb += self.address.eq(Cat(C(0, word_bits), (burst.word[:8] + beat)[:8], burst.word[8:]))
        for reader, addressed in ((self.urgent, ~burst.bulk), (self.bulk, burst.bulk)):
            m.d.comb += [
                reader.response.payload.eq(self.o.response.payload),
                reader.response.valid.eq(self.o.response.valid & order.r_rdy & addressed),
            ]
        m.d.comb += self.o.response.ready.eq(order.r_rdy & Mux(burst.bulk, self.bulk.response.ready, self.urgent.response.ready))
        with m.If(self.o.response.valid & self.o.response.ready):
            m.d.comb += order.r_en.eq(last)
            m.d.sync += [begins.eq(last), ends.eq((beat + 1)[:8] == burst.beats), beat.eq(Mux(last, 0, beat + 1))]
        return m
