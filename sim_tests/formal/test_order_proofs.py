"""What orders the engines: tokens are neither lost nor invented, and a half has one user."""

import pytest
from amaranth import *
from amaranth.hdl import Assert
from formal import Harness, prove
from systolith.arch.commands import PEERS
from systolith.rtl.locks import HALVES, HalfLocks
from systolith.rtl.tokens import TokenCounters


class Tokens(Harness):
    """The counter from ``giver`` to ``taker`` against a wider count, with everything that the engines can do."""

    def __init__(self, bits, giver, taker, early):
        super().__init__()
        self.bits = bits
        self.giver = giver
        self.taker = taker
        self.early = early

    def properties(self, m):
        m.submodules.tokens = tokens = TokenCounters(bits=self.bits, early=self.early)
        ports = {engine: getattr(tokens, engine.name.lower()) for engine in PEERS}
        for engine, port in ports.items():
            name = engine.name.lower()
            m.d.comb += [
                port.give.eq(self.free(1, f"{name}_give")), port.give_mask.eq(self.free(2, f"{name}_give_mask")),
                port.take.eq(self.free(1, f"{name}_take")), port.take_mask.eq(self.free(2, f"{name}_take_mask"))]
        giver, taker = ports[self.giver], ports[self.taker]
        there, back = PEERS[self.giver].index(self.taker), PEERS[self.taker].index(self.giver)
        if self.early:  # who has taken looks away for a cycle
            rests = Signal(name="rests")
            m.d.sync += rests.eq(taker.taken)
            m.d.comb += taker.take.eq(self.free(1, "taker_take") & ~rests)
        else:
            rests = C(0)
        count = Signal(self.bits + 2)
        give, take = giver.give & giver.give_mask[there], taker.taken & taker.take_mask[back]
        lost = give & ~take & (count == (1 << self.bits) - 1)
        was_lost, told = Signal(), tokens.overflow[list(PEERS).index(self.giver)]
        m.d.sync += [count.eq(count + (give & ~lost) - take), was_lost.eq(lost)]
        m.d.comb += [
            Assert(rests | (taker.available[back] == (count != 0))),
            Assert(~take | (count != 0)),
            Assert(taker.taken == (taker.take & ((taker.available & taker.take_mask) == taker.take_mask))),
            Assert(told | ~was_lost),
        ]


class Locks(Harness):
    def properties(self, m):
        m.submodules.locks = locks = HalfLocks()
        ports = [locks.execute, locks.store, locks.load]
        for index, port in enumerate(ports):
            m.d.comb += port.claim.eq(self.free(HALVES, f"claim{index}"))
        for half in range(HALVES):
            granted = Cat(port.granted[half] for port in ports)
            claims = Cat(port.claim[half] for port in ports)
            before, claimed = Signal(len(ports)), Signal(len(ports))
            m.d.sync += [before.eq(granted), claimed.eq(claims)]
            m.d.comb += [
                Assert(granted & (granted - 1) == 0),
                Assert(granted & ~before & ~claimed == 0),               # only who claims is granted
                Assert((before & claimed & ~granted) == 0),              # and keeps it while it claims
                Assert((claimed == 0) | ((granted & (claimed | before)) != 0)),  # a half is not idle while somebody claims it
            ]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("giver, taker", [(giver, taker) for giver, takers in PEERS.items() for taker in takers])
def test_tokens(tmp_path, giver, taker, early):
    # A counter of two bits goes from empty to full in 3 cycles, and one more loses a token.
    prove(Tokens(2, giver, taker, early), tmp_path, depth=7)


def test_locks(tmp_path):
    prove(Locks(), tmp_path, mode="prove", depth=4)
