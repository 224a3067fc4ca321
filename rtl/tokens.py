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

    A taker sees a token in the cycle after it was given. Giving and taking in one cycle leaves a counter as it is. With ``early`` a taker
    that has taken sees only in the cycle after next what is left, and does not take before that.

    Parameters
    ----------
    bits : width of each counter; it holds up to 2**bits − 1 tokens
    early : what engines do is counted a cycle later, since it comes late in its cycle, and what they are told comes from registers; three
        more for each counter

    Members
    -------
    load, execute, store : the engines' sides; bit i of a mask is peer i of :data:`PEERS`
    overflow : bit i is set in the cycle after that in which engine i (LOAD, EXECUTE, STORE) gave a token to a counter that is full;
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
            losses = []
            for give_bit, taker in enumerate(takers):
                take_bit = PEERS[taker].index(giver)
                give = ports[giver].give & ports[giver].give_mask[give_bit]
                take = ports[taker].taken & ports[taker].take_mask[take_bit]
                follow = self._follow if self.early else self._count
                some, lost = follow(m, f"{giver.name.lower()}_to_{taker.name.lower()}", give, take)
                m.d.comb += ports[taker].available[take_bit].eq(some)
                losses.append(lost)
            m.d.comb += self.overflow[index].eq(Cat(losses).any())
        for port in ports.values():
            m.d.comb += port.taken.eq(port.take & (port.available | ~port.take_mask).all())
        return m

    def _count(self, m: Module, name: str, give: Value, take: Value) -> tuple[Value, Value]:
        """Counts, and tells whether there are tokens and whether one was lost in the cycle before."""
        count, lost = Signal(self.bits, name=name), Signal(name=f"{name}_lost")
        full = count.all()
        with m.If(give & ~take & ~full):
            m.d.sync += count.eq(count + 1)
        with m.If(take & ~give):
            m.d.sync += count.eq(count - 1)
        m.d.sync += lost.eq(give & ~take & full)
        return count != 0, lost

    def _follow(self, m: Module, name: str, give: Value, take: Value) -> tuple[Value, Value]:
        """The same, counted a cycle later: what engines do reaches a few flip-flops."""
        count = Signal(self.bits, name=name)
        gave, took, some, lost = (Signal(name=f"{name}_{what}") for what in ("gave", "took", "some", "lost"))
        m.d.comb += lost.eq(gave & ~took & count.all())
        with m.If((gave ^ took) & ~lost):
            m.d.sync += count.eq(stepped(count, gave))
        m.d.sync += [gave.eq(give), took.eq(take), some.eq(give | gave | ((count != 0) & ~(took & (count == 1))))]
        return some, lost
