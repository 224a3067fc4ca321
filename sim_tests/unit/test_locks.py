"""HalfLocks: priority, hold and exclusion, each cycle against a model."""

import itertools
import random

from amaranth.sim import Simulator
from systolith.rtl.locks import HALVES, HalfLocks

ORDER = ("execute", "store", "load")


def run(claims):
    """Per cycle, the owner of each half, for ``claims`` of (engines per half) per cycle."""
    dut = HalfLocks()
    owners = []

    async def bench(ctx):
        for cycle in claims:
            for name in ORDER:
                ctx.set(getattr(dut, name).claim, sum((name in cycle[half]) << half for half in range(HALVES)))
            await ctx.tick()
            granted = [[name for name in ORDER if ctx.get(getattr(dut, name).granted) >> half & 1] for half in range(HALVES)]
            assert all(len(names) <= 1 for names in granted)
            owners.append(tuple(names[0] if names else None for names in granted))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return owners


def test_priority():
    subsets = [set(names) for count in range(4) for names in itertools.combinations(ORDER, count)]
    for names in subsets:
        first = next((name for name in ORDER if name in names), None)
        assert run([(names, set())])[-1] == (first, None)
        assert run([(set(), names)])[-1] == (None, first)


def test_holds_until_the_claim_drops():
    assert run([({"load"}, set()), ({"load", "execute"}, set()), ({"load", "execute", "store"}, set()), ({"execute", "store"}, set()),
                ({"store"}, set()), (set(), set())]) == [
        ("load", None), ("load", None), ("load", None), ("execute", None), ("store", None), (None, None)]


def test_random_claims():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    claims = [tuple({name for name in ORDER if choice.random() < 0.5} for _ in range(HALVES)) for _ in range(2000)]
    owners = [None] * HALVES
    expected = []
    for cycle in claims:
        owners = [owner if owner in names else next((name for name in ORDER if name in names), None)
                  for owner, names in zip(owners, cycle, strict=True)]
        expected.append(tuple(owners))
    assert run(claims) == expected
