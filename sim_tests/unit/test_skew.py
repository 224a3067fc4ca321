# amaranth: UnusedElaboratable=no
"""One chain, a delay per lane."""

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, ResetInserter, Signal, signed
from amaranth.lib import data
from amaranth.sim import Simulator
from systolith.rtl.skew import Skew


def simulate(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("delays", [[3], [0, 1, 2], [5, 0, 5, 2]])
def test_each_lane_after_its_delay(delays):
    dut = Skew(signed(8), delays=delays)
    values = np.random.default_rng(1).integers(-128, 128, 20)

    async def bench(ctx):
        for cycle, value in enumerate(values):
            ctx.set(dut.i, int(value))
            for lane, delay in zip(dut.o, delays, strict=True):
                if cycle >= delay:
                    assert ctx.get(lane) == values[cycle - delay]
            await ctx.tick()

    simulate(dut, bench)


def test_takes_any_shape():
    layout = data.StructLayout({"row": 5, "last": 1})
    dut = Skew(layout, delays=[0, 2])

    async def bench(ctx):
        ctx.set(dut.i, {"row": 17, "last": 1})
        await ctx.tick().repeat(2)
        assert (ctx.get(dut.o[1].row), ctx.get(dut.o[1].last)) == (17, 1)

    simulate(dut, bench)


@pytest.mark.parametrize("control", [False, True])
def test_only_control_is_reset(control):
    dut = Skew(1, delays=[1, 2], control=control)
    reset = Signal()

    async def bench(ctx):
        ctx.set(dut.i, 1)
        await ctx.tick().repeat(3)
        ctx.set(reset, 1)
        await ctx.tick()
        assert ctx.get(Cat(dut.o)) == (0 if control else 3)

    top = Module()
    top.submodules.dut = ResetInserter(reset)(dut)
    simulate(top, bench)


@pytest.mark.parametrize("delays", [[], [0, -1]])
def test_delays_are_checked(delays):
    with pytest.raises(ValueError) as caught:
        Skew(1, delays=delays)
    assert str(caught.value) == f"delays must be one or more numbers of cycles from 0 on, not {delays!r}"
