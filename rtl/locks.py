"""Who may use an accumulator half: one engine at a time."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import Engine

__all__ = ["HALVES", "HalfLocks", "LockPort"]

HALVES = 2
PRIORITY = (Engine.EXECUTE, Engine.STORE, Engine.LOAD)


class LockPort(wiring.Signature):
    """An engine's side: it holds ``claim`` for each half that it needs, and uses the half while ``granted``."""

    def __init__(self):
        super().__init__({"claim": Out(HALVES), "granted": In(HALVES)})


class HalfLocks(wiring.Component):
    """Grants each accumulator half to one engine: EXECUTE before STORE before LOAD, held until its claim drops.

    Latency: a free half is granted one cycle after the claim; a half changes hands one cycle after its owner's claim dropped.

    Members
    -------
    load, execute, store : the engines' sides
    """

    load: wiring.PureInterface
    execute: wiring.PureInterface
    store: wiring.PureInterface

    def __init__(self):
        super().__init__({engine.name.lower(): In(LockPort()) for engine in PRIORITY})

    def elaborate(self, platform):
        m = Module()
        ports = [getattr(self, engine.name.lower()) for engine in PRIORITY]
        for half in range(HALVES):
            claims = Cat(port.claim[half] for port in ports)
            owner = Signal(len(ports), name=f"owner{half}")  # one bit per engine, in order of priority
            # Claims come late in the cycle: each engine's passes one or two look-up tables to its own bit, and enables nothing.
            for index, claim in enumerate(claims):
                taken = claims[:index].any() | (owner & claims)[index + 1:].any()
                m.d.sync += owner[index].eq(claim & (owner[index] | ~taken))
            m.d.comb += [port.granted[half].eq(bit) for port, bit in zip(ports, owner, strict=True)]
        return m
