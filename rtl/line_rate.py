"""The rate of a serial line, which a host can raise, and which comes back by itself."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..arch.serial_link import RATE_TIMEOUTS, RATE_TRIAL

__all__ = ["LineRate"]


class LineRate(wiring.Component):
    """Cycles of a bit: those it was built for, or fewer where a host asked for them (:mod:`systolith.arch.serial_link`).

    What was asked for begins when the next digest has left the line. It ends, and the line is as it was built, when the host ends its
    session, or when no good checked header has come for ``RATE_TIMEOUTS`` pauses that cut a frame; at a rate that has begun, the first
    one must come within ``RATE_TRIAL`` of them. Time in which a frame's words move does not count.

    Parameters
    ----------
    bit_cycles : clock cycles per bit that it was built for
    timeout_ticks : longest pause within a frame, a power of two, counted by ``tick``

    Members
    -------
    ask, asked : a rate is asked for, in cycles per bit less one
    forget : what was asked for and has not begun is not wanted any more
    digest : a digest has been handed to the transmitter; ``sent`` is low until the transmitter has sent it
    trusted : a good checked header
    released : the host ends its session
    waiting : no words of a frame are moving
    cycles : cycles per bit less one
    tick : once in the bit time that it was built for
    """

    ask: Signal
    asked: Signal
    forget: Signal
    digest: Signal
    sent: Signal
    trusted: Signal
    released: Signal
    waiting: Signal
    cycles: Signal
    tick: Signal

    def __init__(self, *, bit_cycles: int, timeout_ticks: int):
        self.bit_cycles = bit_cycles
        self.timeout_bits = exact_log2(timeout_ticks)
        super().__init__({
            "ask": In(1), "asked": In(range(bit_cycles)), "forget": In(1), "digest": In(1), "sent": In(1), "trusted": In(1),
            "released": In(1), "waiting": In(1), "cycles": Out(range(bit_cycles), init=bit_cycles - 1), "tick": Out(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()
        timer = Signal(range(self.bit_cycles))
        # From a register: who waits for it looks at a whole frame besides.
        m.d.sync += [timer.eq(Mux(self.tick, self.bit_cycles - 1, timer - 1)), self.tick.eq(timer == (1 if self.bit_cycles > 1 else 0))]

        wanted = Signal(range(self.bit_cycles), reset_less=True)
        pending = Signal()
        leaving = Signal()
        quiet = Signal(range((RATE_TIMEOUTS << self.timeout_bits) + 1))
        expired = Signal()
        m.d.comb += expired.eq(quiet[-1])
        # A cycle late: what frames say is told behind all of a frame.
        ask, forget, digest, trusted, waiting, ends = (
            Signal(name=name) for name in ("ask_seen", "forget_seen", "digest_seen", "trusted_seen", "waiting_seen", "ends"))
        m.d.sync += [
            ask.eq(self.ask), forget.eq(self.forget), digest.eq(self.digest), trusted.eq(self.trusted), waiting.eq(self.waiting),
            ends.eq(self.released | expired),
        ]
        with m.If(self.ask):
            m.d.sync += wanted.eq(self.asked)
        with m.If(trusted):
            m.d.sync += quiet.eq(0)
        with m.Elif(self.tick & waiting):
            m.d.sync += quiet.eq(quiet + 1)
        with m.If(ask):
            m.d.sync += pending.eq(1)
        with m.Elif(digest | forget):
            m.d.sync += [leaving.eq(pending & ~forget), pending.eq(0)]
        with m.If(leaving & self.sent):
            m.d.sync += [leaving.eq(0), self.cycles.eq(wanted), quiet.eq(RATE_TIMEOUTS - RATE_TRIAL << self.timeout_bits)]
        with m.If(ends):
            m.d.sync += [self.cycles.eq(self.bit_cycles - 1), quiet.eq(0)]
        return m
