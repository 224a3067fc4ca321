# amaranth: UnusedElaboratable=no
"""The unpacker alone: skewed bytes in, skewed int4 weights out."""

import numpy as np
import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator
from systolith.arch.numerics import pack_int4
from systolith.rtl.unpacker import Unpacker

SEED = 5


@pytest.mark.parametrize("delay", [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3, 4, 5, 6], [0, 0, 1, 1], [0, 3, 3, 3, 9]])
def test_rows_one_after_the_other(delay):
    dut = Unpacker(delay=delay)
    rows = np.random.default_rng(SEED).integers(-8, 8, (40, len(delay)), np.int8)
    octets = pack_int4(rows)
    result = np.zeros_like(rows)

    async def bench(ctx):
        for cycle in range(len(rows) + max(delay)):
            for lane, late in enumerate(dut.byte_delay):
                row = cycle - late
                ctx.set(dut.i[lane], int(octets[row, lane]) if 0 <= row < len(rows) else 0x99)
            for lane, late in enumerate(delay):
                if 0 <= cycle - late < len(rows):
                    result[cycle - late, lane] = ctx.get(dut.o[lane])
            await ctx.tick()

    top = Module()
    top.domains.sync = ClockDomain()  # which the unpacker itself has only where delays differ
    top.submodules.dut = dut
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    np.testing.assert_array_equal(result, rows)


def test_delays_are_checked():
    with pytest.raises(ValueError) as caught:
        Unpacker(delay=[0, 2, 3, 1])
    assert str(caught.value) == "delay must not fall within a pair of lanes, as in [0, 2, 3, 1]"
