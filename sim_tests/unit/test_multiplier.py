"""Multipliers of any width, for extremes and random operands; test_every_product.py has all operands of those that are used."""

import itertools

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.rtl.multiplier import FabricMultiplier, Multiplier


def run(dut, pairs):
    """Products of ``pairs``, one per cycle, as the latency says they come."""
    products = []

    async def bench(ctx):
        for t in range(len(pairs) + dut.latency_cycles):
            if t < len(pairs):
                ctx.set(dut.x, int(pairs[t][0]))
                ctx.set(dut.y, int(pairs[t][1]))
            if t >= dut.latency_cycles:
                products.append(ctx.get(dut.p))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return products


@pytest.mark.parametrize(("x_bits", "y_bits"), [(8, 8), (9, 9), (17, 17), (3, 12), (5, 8), (12, 9), (8, 4), (5, 4), (16, 8), (16, 4)])
def test_extremes_and_random_operands(x_bits, y_bits):
    seed = 1
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    operands = [[-1 << bits - 1, (1 << bits - 1) - 1, 0, -1, *rng.integers(-1 << bits - 1, 1 << bits - 1, 20)] for bits in (x_bits, y_bits)]
    pairs = list(itertools.product(*operands))
    for kind in (Multiplier, FabricMultiplier) if y_bits in (4, 8, 9) else (Multiplier,):
        assert run(kind(x_bits=x_bits, y_bits=y_bits), pairs) == [int(x) * int(y) for x, y in pairs]


@pytest.mark.parametrize("name", ["x_bits", "y_bits"])
def test_widths_are_checked(name):
    with pytest.raises(ValueError) as caught:
        Multiplier(**{"x_bits": 8, "y_bits": 8, name: 1})
    assert str(caught.value) == f"{name} must be at least 2, not 1"


def test_widths_of_a_fabric_multiplier_are_checked():
    with pytest.raises(ValueError) as caught:
        FabricMultiplier(x_bits=8, y_bits=7)
    assert str(caught.value) == "y_bits must be 4, 8 or 9, not 7"
