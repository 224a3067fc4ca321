"""Six token counters, one per ordered pair of engines: what orders the engines, and nothing else does."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import PEERS
from .interfaces import TokenPort
from .step import stepped

__all__ = ["TokenCounters"]


class TokenCounters(wiring.Component):
    """Counters of tokens that were given and not yet taken.

    A taker sees a token in the cycle after it was given. Giving and taking in one cycle leaves a counter as it is.

    Parameters
    ----------
    bits : width of each counter; it holds up to 2**bits − 1 tokens
    early : what is told comes from registers, four more for each counter

    Members
    -------
    load, execute, store : the engines' sides; bit i of a mask is peer i of :data:`PEERS`
    overflow : bit i is set in the cycle in which engine i (LOAD, EXECUTE, STORE) gives a token to a counter that is full;
        that counter then keeps its value
    """

    load: wiring.PureInterface
    execute: wiring.PureInterface
    store: wiring.PureInterface
    overflow: Signal

    def __init__(self, *, bits: int, early: bool = False):
        if not 1 <= bits <= 16:
            raise ValueError(f"bits must be from 1 to 16, not {bits!r}")
        self.bits = bits
        self.early = early
        super().__init__({
            **{engine.name.lower(): In(TokenPort()) for engine in PEERS},
            "overflow": Out(3),
        })

    def elaborate(self, platform):
        m = Module()
        ports = {engine: getattr(self, engine.name.lower()) for engine in PEERS}
        for index, (giver, takers) in enumerate(PEERS.items()):
            overflows = []
            for give_bit, taker in enumerate(takers):
                take_bit = PEERS[taker].index(giver)
                count = Signal(self.bits, name=f"{giver.name.lower()}_to_{taker.name.lower()}")
                give = ports[giver].give & ports[giver].give_mask[give_bit]
                take = ports[taker].taken & ports[taker].take_mask[take_bit]
                some, full = self._follow(m, count, give, take)
                m.d.comb += ports[taker].available[take_bit].eq(some)
                overflows.append(give & ~take & full)
            m.d.comb += self.overflow[index].eq(Cat(overflows).any())
        for port in ports.values():
            m.d.comb += port.taken.eq(port.take & (port.available | ~port.take_mask).all())
        return m

    def _follow(self, m: Module, count: Signal, give: Value, take: Value) -> tuple[Value, Value]:
        """Counts, and tells whether there are tokens and whether no more fit."""
        most = (1 << self.bits) - 1
        if not self.early:
            full = count == most
            with m.If(give & ~take & ~full):
                m.d.sync += count.eq(count + 1)
            with m.If(take & ~give):
                m.d.sync += count.eq(count - 1)
            return count != 0, full
        # ``count`` follows a cycle late: what happens comes late in its cycle, and passes one look-up table to what has to be known then.
        some, full, gave, took = (Signal(name=f"{count.name}_{name}") for name in ("some", "full", "gave", "took"))

        def counts(number: int) -> Value:
            return Mux(gave, Mux(took, count == number, count == number - 1), Mux(took, count == number + 1, count == number))

        with m.If(gave ^ took):
            m.d.sync += count.eq(stepped(count, gave))
        m.d.sync += [
            gave.eq(give & (take | ~full)), took.eq(take), some.eq(give | (some & ~(take & counts(1)))),
            full.eq(Mux(take, give & full, full | (give & counts(most - 1)))),
        ]
        return some, full
