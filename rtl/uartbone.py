"""Bytes from a serial line to reads and writes of 32-bit words: frames as :mod:`systolith.arch.serial_link` has them."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..arch.serial_link import AFTER_HEADER, LONG_WORDS

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
    """Serves the frames of :mod:`systolith.arch.serial_link` on ``bus``.

    Bytes that are not a command are skipped between frames. A frame of which no further byte comes for ``timeout_ticks``
    is dropped: after that pause any sender is understood again, whatever was lost on the line. Words of a write that
    arrived before are written. ``i.ready`` is low while a word is on the bus or being answered, so that a line without
    flow control carries one frame at a time: the next one starts after the answer.

    Parameters
    ----------
    timeout_ticks : longest pause between two bytes of a frame, counted by ``tick``
    counted_bits : of the word address, 16 … 27, those that are kept and counted; of the others below bit 27, ``bus.address`` shows in
        all of them whether any is set

    Members
    -------
    i, o : streams of bytes from and to the line
    bus : :class:`HostPort`
    tick : what the pause is counted by
    crc, restart : of everything on the line (:class:`~systolith.rtl.line_crc.LineCRC`)
    trusted, released, digested, waiting : a good checked header, one that disarms, a digest handed to ``o``, and whether no words of a
        frame move: for what depends on them (:class:`~systolith.rtl.line_rate.LineRate`)
    """

    i: stream.Interface
    o: stream.Interface
    bus: HostPort
    tick: Signal
    crc: Signal
    restart: Signal
    trusted: Signal
    released: Signal
    digested: Signal
    waiting: Signal

    def __init__(self, *, timeout_ticks: int, counted_bits: int = 27):
        if not 16 <= counted_bits <= 27:
            raise ValueError(f"counted_bits must be from 16 to 27, not {counted_bits!r}")
        if timeout_ticks < 1:
            raise ValueError(f"timeout_ticks must be at least 1, not {timeout_ticks!r}")
        self.timeout_ticks = timeout_ticks
        self.counted_bits = counted_bits
        super().__init__({
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
            "bus": Out(HostPort()),
            "tick": In(1, init=1), "crc": In(32), "restart": Out(1),
            "trusted": Out(1), "released": Out(1), "digested": Out(1), "waiting": Out(1),
        })

    def _beyond(self, lowest: int, count: int) -> Value:
        """Whether this byte of an address, whose bit 0 is bit ``lowest``, has a bit above the counted ones among its first ``count``."""
        return self.i.payload[min(count, max(0, self.counted_bits - lowest)):count].any()

    def elaborate(self, platform):
        m = Module()
        write = Signal()
        checked = Signal()
        long = Signal()
        digest = Signal()   # the CRC is being sent
        armed = Signal()
        left = Signal(8)    # words or blocks to go
        byte = Signal(3)    # of the address and its check, or of the word
        word = Signal(32, reset_less=True)  # what moves in below while it is sent means nothing
        address = Signal(self.counted_bits, reset_less=True)
        beyond = Signal(reset_less=True)
        region = Signal(3, reset_less=True)
        silence = Signal(range(self.timeout_ticks + 1))

        blocked = Signal()
        m.d.comb += [
            blocked.eq(write & armed & ~checked),
            self.bus.address.eq(Cat(address, beyond.replicate(27 - self.counted_bits), region)),
            self.bus.write.eq(write),
            self.bus.write_data.eq(word),
            self.o.payload.eq(Mux(digest, self.crc[:8], word[24:])),
        ]

        # The pause is only measured where a byte is expected, so that a slow bus or answer does not count.
        idle = Signal()
        timed_out = Signal()
        power = self.timeout_ticks & (self.timeout_ticks - 1) == 0
        m.d.comb += timed_out.eq(silence[-1] if power else silence == self.timeout_ticks)
        with m.If(~self.i.ready | self.i.valid | idle | timed_out):
            m.d.sync += silence.eq(0)
        with m.Elif(self.tick):
            m.d.sync += silence.eq(silence + 1)
        # What nobody has read must not look as if it had been.
        restarted = Signal()
        m.d.comb += self.restart.eq(restarted | timed_out | (self.i.valid & ~self.i.ready))

        code, extended = self.i.payload[:2], self.i.payload[7]
        with m.FSM(name="state"):
            with m.State("COMMAND"):
                m.d.comb += [idle.eq(1), self.i.ready.eq(1), self.waiting.eq(1)]
                m.d.sync += [byte.eq(0), write.eq(code == 1), checked.eq(extended), long.eq(self.i.payload[2])]
                with m.If(self.i.valid & ~self.i.payload[3:7].any() & (extended | ~self.i.payload[2])):
                    with m.If(code == 3):
                        with m.If(extended):
                            m.d.sync += digest.eq(1)
                            m.next = "SEND"
                    with m.Elif(code == 0):
                        m.d.comb += restarted.eq(extended)
                    with m.Else():
                        m.next = "LENGTH"
            with m.State("LENGTH"):
                m.d.comb += [self.i.ready.eq(1), self.waiting.eq(1)]
                with m.If(self.i.valid):
                    m.d.sync += left.eq(self.i.payload)
                    m.next = "ADDRESS"
                with m.Elif(timed_out):
                    m.next = "COMMAND"
            with m.State("ADDRESS"):
                m.d.comb += [self.i.ready.eq(1), self.waiting.eq(1)]
                with m.If(self.i.valid):
                    m.d.sync += byte.eq(byte + 1)
                    with m.If(~byte[2]):
                        m.d.sync += address.eq(Cat(self.i.payload, address))
                        # The first two bytes hold the bits above those that the last two leave in the register.
                        with m.If(byte == 0):
                            m.d.sync += [region.eq(self.i.payload[3:6]), beyond.eq(self._beyond(24, 3))]
                        with m.If(byte == 1):
                            m.d.sync += beyond.eq(beyond | self._beyond(16, 8))
                    with m.If((byte == 3) & ~(write & checked)):
                        m.d.sync += byte.eq(0)
                        m.next = "NEXT"
                    with m.If(byte == 7):
                        with m.If(self.crc == AFTER_HEADER ^ 0xFFFF_FFFF):
                            m.d.comb += [self.trusted.eq(1), self.released.eq(left == 0)]
                            m.d.sync += armed.eq(left != 0)
                            m.next = "NEXT"
                        with m.Else():
                            m.next = "DEAF"
                with m.Elif(timed_out):
                    m.next = "COMMAND"
            with m.State("DEAF"):
                m.d.comb += [self.i.ready.eq(1), self.waiting.eq(1)]
                with m.If(timed_out & ~self.i.valid):
                    m.next = "COMMAND"
            with m.State("NEXT"):
                with m.If(digest):
                    m.d.comb += self.digested.eq(1)
                    m.d.sync += digest.eq(0)
                    m.next = "COMMAND"
                with m.Elif(left == 0):
                    m.next = "COMMAND"
                    with m.If(checked & ~write):
                        m.d.sync += digest.eq(1)
                        m.next = "SEND"
                with m.Elif(write):
                    m.next = "RECEIVE"
                with m.Else():
                    m.next = "ACCESS"
            with m.State("RECEIVE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [word.eq(Cat(self.i.payload, word)), byte[:2].eq(byte[:2] + 1)]
                    with m.If(byte[:2] == 3):
                        m.next = "ACCESS"
                with m.Elif(timed_out):
                    m.next = "COMMAND"
            with m.State("ACCESS"):
                m.d.comb += self.bus.valid.eq(~blocked)
                with m.If(self.bus.ready | blocked):
                    m.d.sync += address[:self.counted_bits].eq(address[:self.counted_bits] + 1)
                    with m.If(~long | address[:exact_log2(LONG_WORDS)].all()):
                        m.d.sync += left.eq(left - 1)
                    with m.If(write):
                        m.next = "NEXT"
                    with m.Else():
                        m.d.sync += word.eq(self.bus.read_data)
                        m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [word.eq(Cat(self.i.payload, word)), byte[:2].eq(byte[:2] + 1)]
                    with m.If(byte[:2] == 3):
                        m.next = "NEXT"
        return m
