"""Nest against NumPy: every iteration of random nests, with and without configuration, at any pace."""

import gc
import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.rtl.nest import Nest


def expected(levels, counts, start, strides):
    """Value of every iteration, outermost level slowest, modulo 2**16."""
    indices = np.indices([counts[level] for level in levels]).reshape(len(levels), -1)
    weights = [strides.get(level, 0) for level in levels]
    return (start + np.tensordot(weights, indices, 1)) % 65536


def walk(dut, cases, *, seed, pace=0.7):
    """Runs ``cases`` of (configure?, counts, starts, strides) and returns the iterations seen in each."""
    seen = []

    async def bench(ctx):
        choice = random.Random(seed)
        for configure, counts, starts, strides in cases:
            if configure:
                ctx.set(dut.counts, counts)
                ctx.set(dut.once, {level: count == 1 for level, count in counts.items()})
                ctx.set(dut.strides, {value: {level: stride % 65536 for level, stride in strided.items()}
                                      for value, strided in strides.items()})
            ctx.set(dut.starts, starts)
            ctx.set(dut.configure, configure)
            ctx.set(dut.start, 1)
            ctx.set(dut.advance, 0)
            for _ in range(choice.randrange(3)):  # configured before it advances
                await ctx.tick()
            ctx.set(dut.advance, 1)
            for _ in range(choice.randrange(1, 4)):  # and may begin more than once
                await ctx.tick()
            for port in (dut.configure, dut.start):
                ctx.set(port, 0)
            ctx.set(dut.counts, {level: 1 for level in dut.levels})
            ctx.set(dut.once, {level: 0 for level in dut.levels})
            iterations, stepped = [], True
            for _ in range(10_000):
                values = {value: ctx.get(dut.o[value]) for value in dut.values}
                ends = [ctx.get(dut.at_end[level]) for level in dut.levels]
                assert ctx.get(dut.last) == all(ends)
                step = choice.random() < pace and not (dut.slow and stepped)
                stepped = step
                ctx.set(dut.advance, step)
                if step:
                    iterations.append((values, ends))
                    if all(ends):
                        break
                await ctx.tick()
            else:
                raise AssertionError("the nest does not end")
            seen.append(iterations)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("levels, values", [
    ({"x": 5}, {"row": ("x",)}),
    ({"x": 5}, {"row": ("x",), "fixed": ()}),
    ({"ky": 4, "kx": 4, "ct": 6}, {"weight": ("ky", "kx", "ct"), "y": ("ky",), "x": ("kx",), "channel": ("ct",)}),
    ({"b": 6, "y": 6, "x": 6}, {"row": ("b", "y", "x"), "y": ("y",), "x": ("x",), "ends": ("b", "x")}),
])
def test_iterations(levels, values, slow):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    cases, configuration = [], None
    for index in range(40):
        configure = index == 0 or choice.random() < 0.6
        if configure:
            counts = {level: choice.choice([1, 1, 2, 3, min(7, (1 << bits) - 1)]) for level, bits in levels.items()}
            strides = {value: {level: choice.randrange(-(1 << 15), 1 << 15) for level in strided}
                       for value, strided in values.items()}
            configuration = counts, strides
        counts, strides = configuration
        cases.append((configure, counts, {value: choice.randrange(1 << 16) for value in values}, strides))
    dut = Nest(levels=levels, values=values, slow=slow)
    for (_, counts, starts, strides), iterations in zip(cases, walk(dut, cases, seed=seed), strict=True):
        for value in values:
            assert [seen[value] for seen, _ in iterations] == list(expected(levels, counts, starts[value], strides[value]))
        indices = np.indices([counts[level] for level in levels]).reshape(len(levels), -1)
        limits = np.array([[counts[level] - 1] for level in levels])
        assert [ends for _, ends in iterations] == (indices == limits).astype(int).T.tolist()


def test_largest_count():
    dut = Nest(levels={"x": 8}, values={"row": ("x",)})
    (iterations,) = walk(dut, [(True, {"x": 255}, {"row": 0}, {"row": {"x": 300}})], seed=0, pace=1)
    assert [seen["row"] for seen, _ in iterations] == list(expected(["x"], {"x": 255}, 0, {"x": 300}))


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_errors():
    with pytest.raises(ValueError, match=r"^levels must not be empty$"):
        Nest(levels={}, values={})
    with pytest.raises(ValueError, match=r"^levels of row must be among y, x, not 'z'$"):
        Nest(levels={"y": 8, "x": 8}, values={"row": ("x", "z")})
    gc.collect()  # here, where the unfinished components may go unused
