"""The queue of programs against a list: order, room, and everything that may happen in one cycle."""

import random

import pytest
from amaranth.sim import Simulator
from systolith.rtl.program_queue import ProgramQueue


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_like_a_list(depth):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    dut = ProgramQueue(depth=depth)

    async def bench(ctx):
        current, waiting = None, []
        for _ in range(600):
            program = {"offset": choice.randrange(1 << 32), "words": choice.randrange(1 << 32), "bases": choice.randrange(2)}
            actions = {"replace": choice.random() < 0.05, "append": False, "drop": False, "advance": False}
            if not actions["replace"]:
                actions["drop"] = choice.random() < 0.03
                actions["append"] = not actions["drop"] and len(waiting) < depth and choice.random() < 0.5
                actions["advance"] = not actions["drop"] and bool(waiting or actions["append"]) and choice.random() < 0.5
            ctx.set(dut.i, program)
            for name, value in actions.items():
                ctx.set(getattr(dut, name), value)
            await ctx.tick()
            if actions["replace"]:
                current, waiting = program, []
            if actions["drop"]:
                waiting = []
            if actions["append"]:
                waiting.append(program)
            if actions["advance"]:
                current = waiting.pop(0)
            if current:
                shown = ctx.get(dut.current)
                assert {name: shown[name] for name in current} == current
            assert ctx.get(dut.waiting) == len(waiting) and ctx.get(dut.full) == (len(waiting) == depth)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_without_places_the_program_is_the_hosts_registers():
    dut = ProgramQueue(depth=0)

    async def bench(ctx):
        ctx.set(dut.i, {"offset": 12, "words": 34})
        await ctx.delay(1e-7)
        assert (ctx.get(dut.current.offset), ctx.get(dut.current.words)) == (12, 34) and ctx.get(dut.full)

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()
