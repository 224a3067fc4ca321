"""Token counters against integers in Python."""

import gc
import random

import pytest
from amaranth.sim import Simulator
from systolith.arch.commands import PEERS
from systolith.rtl.tokens import TokenCounters


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_construction():
    with pytest.raises(ValueError, match=r"^bits must be from 1 to 16, not 17$"):
        TokenCounters(bits=17)
    gc.collect()  # here, where the unfinished component may go unused


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 6])
def test_random_traffic(bits, early):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    dut = TokenCounters(bits=bits, early=early)
    ports = {engine: getattr(dut, engine.name.lower()) for engine in PEERS}
    counts = {(giver, taker): 0 for giver in PEERS for taker in PEERS[giver]}
    overflows = 0
    expected = 0  # what is told of an overflow in this cycle, which was in the one before
    took = set()  # engines that took in the cycle before, which with ``early`` rest now

    async def bench(ctx):
        nonlocal overflows, expected, took
        for cycle in range(3000):
            give_odds = 0.8 if cycle // 500 % 2 else 0.3
            gives, takes = {}, {}
            for engine, port in ports.items():
                gives[engine] = choice.randrange(4) if choice.random() < give_odds else 0
                takes[engine] = choice.randrange(4) if choice.random() < 0.5 and engine not in took else None
                ctx.set(port.give, gives[engine] != 0)
                ctx.set(port.give_mask, gives[engine])
                ctx.set(port.take, takes[engine] is not None)
                ctx.set(port.take_mask, takes[engine] or 0)
            assert ctx.get(dut.overflow) == expected
            overflows += expected != 0
            taken, rest, took = set(), took, set()
            for engine, port in ports.items():
                sources = [(peer, engine) for peer in PEERS[engine]]
                if engine not in rest:
                    assert ctx.get(port.available) == sum((counts[pair] > 0) << bit for bit, pair in enumerate(sources))
                wanted = [pair for bit, pair in enumerate(sources) if (takes[engine] or 0) >> bit & 1]
                success = takes[engine] is not None and all(counts[pair] for pair in wanted)
                assert ctx.get(port.taken) == success
                taken |= set(wanted if success else [])
                if early and success:
                    took.add(engine)
            given = {(engine, peer) for engine in PEERS for bit, peer in enumerate(PEERS[engine]) if gives[engine] >> bit & 1}
            expected = 0
            for giver, taker in counts:
                change = ((giver, taker) in given) - ((giver, taker) in taken)
                if counts[giver, taker] + change >> bits:
                    expected |= 1 << list(PEERS).index(giver)
                else:
                    counts[giver, taker] += change
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert bits > 2 or overflows
