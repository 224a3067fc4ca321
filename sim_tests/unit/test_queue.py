"""Queues: words in order, and cycle by cycle the same as Amaranth's buffered FIFO."""

import re

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import fifo
from amaranth.sim import Simulator
from systolith.rtl.queue import Queue

SEED = 20261122


def test_depth_is_checked():
    with pytest.raises(ValueError, match=re.escape("depth must be at least 1, not 0")):
        Queue(width=8, depth=0)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 16])
def test_equals_amaranths_fifo(depth, early):
    rng = np.random.default_rng(SEED + depth)
    m = Module()
    m.submodules.dut = dut = Queue(width=8, depth=depth, early=early)
    m.submodules.reference = reference = fifo.SyncFIFOBuffered(width=8, depth=depth)
    written, read = [], []

    async def bench(ctx):
        for cycle in range(600):
            # Now the writer is faster, now the reader, so that the queue is often full and often empty.
            write, take = rng.random() < (0.9, 0.3)[cycle // 50 % 2], rng.random() < (0.3, 0.9)[cycle // 50 % 2]
            word = int(rng.integers(256))
            for queue in (dut, reference):
                ctx.set(queue.w_data, word)
                ctx.set(queue.w_en, int(write))
                ctx.set(queue.r_en, int(take))
            states = [[ctx.get(signal) for signal in (queue.w_rdy, queue.r_rdy, queue.level)] for queue in (dut, reference)]
            assert states[0] == states[1], f"seed {SEED + depth}, cycle {cycle}"
            if write and states[0][0]:
                written.append(word)
            if take and states[0][1]:
                read.append(ctx.get(dut.r_data))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(read) > 100 and read == written[:len(read)]
