"""Every payload once and in order under random valid and ready, none later than it came if nobody waits, and ready from a register."""

import numpy as np
from amaranth.sim import Simulator
from systolith.rtl.skid import Skid


def test_random_stalls():
    seed = 1
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    dut = Skid(8)
    sent, received = [], []

    async def bench(ctx):
        held = None
        for cycle in range(600):
            odds = (0.9, 0.5, 1.0)[cycle // 200]
            if held is None and rng.random() < odds:
                held = int(rng.integers(256))
            ctx.set(dut.i.valid, held is not None)
            ctx.set(dut.i.payload, held or 0)
            before = ctx.get(dut.i.ready)
            ready = int(rng.random() < odds)
            ctx.set(dut.o.ready, ready)
            assert ctx.get(dut.i.ready) == before, "the consumer's ready must not pass through"
            if held is not None and before:
                sent.append(held)
                held = None
            if ctx.get(dut.o.valid) and ready:
                received.append(ctx.get(dut.o.payload))
                if odds == 1.0 and cycle > 402:
                    assert len(received) == len(sent)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(received) > 300 and received == sent[:len(received)] and len(sent) - len(received) <= 1
