"""The foot of a column of pairs alone: what it keeps, and what it takes off."""

import numpy as np
from amaranth.sim import Simulator
from systolith.rtl.pair_foot import PairFoot

BITS = 18


def test_terms_are_taken_off():
    """Random sums and terms, modulo 2**18, the term of the weights kept now and then, also in cycles that follow each other."""
    seed = 1
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    totals, sides = rng.integers(-1 << BITS - 1, 1 << BITS - 1, (2, 400)).tolist()
    takes = rng.choice([0, 0, 0, 1], 400).tolist()
    takes[0] = 1
    dut = PairFoot(psum_bits=BITS)
    seen = []

    async def bench(ctx):
        for total, side, take in zip(totals, sides, takes, strict=True):
            ctx.set(dut.total, total)
            ctx.set(dut.side_in, side)
            ctx.set(dut.take, take)
            seen.append((ctx.get(dut.psum), ctx.get(dut.side_out)))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

    def wrap(value):
        return (value + (1 << BITS - 1)) % (1 << BITS) - (1 << BITS - 1)

    term, sums = 0, []
    for total, side, take in zip(totals, sides, takes, strict=True):
        sums.append(wrap(total - term - side))
        term = total if take else term
    late = PairFoot.latency_cycles
    assert [psum for psum, _ in seen[late + 1:]] == sums[1:-late]
    assert [side for _, side in seen[1:]] == sides[:-1]
