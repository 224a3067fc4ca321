"""Six token counters, one per ordered pair of engines: what orders the engines, and nothing else does."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import PEERS
from .interfaces import TokenPort

__all__ = ["TokenCounters"]


class TokenCounters(wiring.Component):
    """Counters of tokens that were given and not yet taken.

    A taker sees a token in the cycle after it was given. Giving and taking in one cycle leaves a counter as it is.

    Parameters
    ----------
    bits : width of each counter; it holds up to 2**bits − 1 tokens

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

    def __init__(self, *, bits: int):
        if not 1 <= bits <= 16:
            raise ValueError(f"bits must be from 1 to 16, not {bits!r}")
        self.bits = bits
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
                m.d.comb += ports[taker].available[take_bit].eq(count != 0)
                full = count.all()
                with m.If(give & ~take & ~full):
                    m.d.sync += count.eq(count + 1)
                with m.If(take & ~give):
                    m.d.sync += count.eq(count - 1)
                overflows.append(give & ~take & full)
            m.d.comb += self.overflow[index].eq(Cat(overflows).any())
        for port in ports.values():
            m.d.comb += port.taken.eq(port.take & (port.available | ~port.take_mask).all())
        return m
