"""Asynchronous serial line: 8 data bits, no parity, one stop bit."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ..arch.serial_link import LEAST_BIT_CYCLES

__all__ = ["UARTReceiver", "UARTTransmitter", "bit_cycles"]


def bit_cycles(clock_hz: float, baud: int) -> int:
    """Clock cycles per bit.

    A receiver samples the stop bit 9.5 bits after the start edge, so both ends together may be off by about 5 %; half of
    that is left to the other end.

    Raises
    ------
    ValueError
        No whole number of cycles comes within 2.5 % of the bit.
    """
    cycles = round(clock_hz / baud)
    if cycles < LEAST_BIT_CYCLES or abs(cycles * baud / clock_hz - 1) > 0.025:
        raise ValueError(f"baud must divide the clock of {clock_hz:.0f} Hz within 2.5 % and be at most a quarter of it, not {baud!r}")
    return cycles


class UARTReceiver(wiring.Component):
    """Line to bytes.

    Bits are sampled in their middle. A byte without a stop bit is dropped. There is no buffer: ``o`` is valid for one
    cycle only, and a consumer that is not ready then loses the byte (``o.ready`` is not looked at).

    Parameters
    ----------
    bit_cycles : clock cycles per bit, at least 4
    adjustable : ``cycles`` counts instead

    Members
    -------
    rx : the line, asynchronous
    o : stream of bytes
    sampled, bit : each data bit, as it comes
    cycles : where it is adjustable, clock cycles per bit less one, at most ``bit_cycles`` less one; changed while the line is silent
    """

    rx: Signal
    o: stream.Interface
    sampled: Signal
    bit: Signal

    def __init__(self, *, bit_cycles: int, adjustable: bool = False):
        if bit_cycles < LEAST_BIT_CYCLES:
            raise ValueError(f"bit_cycles must be at least {LEAST_BIT_CYCLES}, not {bit_cycles!r}")
        self.bit_cycles = bit_cycles
        self.adjustable = adjustable
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8)), "sampled": Out(1), "bit": Out(1)}
                         | ({"cycles": In(range(bit_cycles), init=bit_cycles - 1)} if adjustable else {}))

    def elaborate(self, platform):
        m = Module()
        rx = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, rx, init=1)
        half, whole = self.bit_cycles // 2 - 1, self.bit_cycles - 1
        if self.adjustable:
            half, whole = (self.cycles + 1 >> 1) - 1, self.cycles

        previous = Signal(init=1)
        timer = Signal(range(self.bit_cycles))
        bit = Signal(range(10))
        shift = Signal(8, reset_less=True)
        busy = Signal()

        m.d.comb += [self.o.payload.eq(shift), self.bit.eq(rx)]
        m.d.sync += [self.o.valid.eq(0), previous.eq(rx)]
        with m.If(~busy):
            # A start is an edge, so that a line held low is one bad byte; its first sample is the middle of the start bit.
            m.d.sync += [timer.eq(half), bit.eq(0), busy.eq(previous & ~rx)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(whole), bit.eq(bit + 1)]
            with m.If(bit == 0):
                m.d.sync += busy.eq(~rx)  # a glitch, not a start bit, ends it
            with m.Elif(bit == 9):
                m.d.sync += [busy.eq(0), self.o.valid.eq(rx)]
            with m.Else():
                m.d.comb += self.sampled.eq(1)
                m.d.sync += shift.eq(Cat(shift[1:], rx))
        return m


class UARTTransmitter(wiring.Component):
    """Bytes to line. A byte takes ten bit times; bytes that wait follow without a gap.

    Parameters
    ----------
    bit_cycles : clock cycles per bit
    adjustable : ``cycles`` counts instead

    Members
    -------
    i : stream of bytes
    tx : the line, registered
    sent, bit : each data bit, in the cycle before it is on the line
    tick : once in a bit time, also while nothing is sent
    cycles : where it is adjustable, clock cycles per bit less one, at most ``bit_cycles`` less one; changed while nothing is sent
    """

    i: stream.Interface
    tx: Signal
    sent: Signal
    bit: Signal
    tick: Signal

    def __init__(self, *, bit_cycles: int, adjustable: bool = False):
        if bit_cycles < 1:
            raise ValueError(f"bit_cycles must be at least 1, not {bit_cycles!r}")
        self.bit_cycles = bit_cycles
        self.adjustable = adjustable
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1), "sent": Out(1), "bit": Out(1), "tick": Out(1)}
                         | ({"cycles": In(range(bit_cycles), init=bit_cycles - 1)} if adjustable else {}))

    def elaborate(self, platform):
        m = Module()
        timer = Signal(range(self.bit_cycles))
        bits = Signal(range(11))  # bits left, the one on the line included
        shift = Signal(9, reset_less=True)

        whole = self.cycles if self.adjustable else self.bit_cycles - 1
        last = Signal()
        m.d.comb += [last.eq(timer == 0), self.i.ready.eq((bits == 0) | ((bits == 1) & last)),
                     self.bit.eq(shift[0]), self.sent.eq(last & (bits > 2)), self.tick.eq(last)]
        m.d.sync += timer.eq(Mux(last, whole, timer - 1))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [self.tx.eq(0), shift.eq(Cat(self.i.payload, 1)), bits.eq(10), timer.eq(whole)]
        with m.Elif(last & (bits != 0)):
            m.d.sync += [self.tx.eq(shift[0]), shift.eq(Cat(shift[1:], 1)), bits.eq(bits - 1)]
        return m
