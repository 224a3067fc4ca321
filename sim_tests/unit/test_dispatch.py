"""Dispatch: whole commands into the right queues, in order, no more than the queues take."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.arch.commands import COMMANDS, Engine, Execute, Load, Store, pack
from systolith.arch.registers import ErrorCode
from systolith.rtl.dispatch import Dispatch

NAMES = [opcode.name.lower() for opcode in COMMANDS]


def run(words, *, queue_commands=2, declared=None, seed=0, pace=0.7, started=lambda got, counts: [True] * 3):
    """Dispatches ``words``; returns per engine the words that came out, the error, the dispatched commands and ``stuck``."""
    dut = Dispatch(queue_commands=queue_commands, address_bits=32)
    choice = random.Random(seed)
    got = [[] for _ in NAMES]
    begun, moved, error, stuck = [0, 0, 0], 0, None, False
    words = [int(word) for word in words]

    async def bench(ctx):
        nonlocal moved, error, stuck
        ctx.set(dut.words, len(words) if declared is None else declared)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        position = quiet = 0
        offered = False
        for _ in range(4000):
            offered = position < len(words) and (offered or choice.random() < pace)
            ctx.set(dut.i.valid, offered)
            if offered:
                ctx.set(dut.i.payload, words[position])
            ready = [choice.random() < pace for _ in NAMES]
            complete = [len(got[i]) // command.words for i, command in enumerate(COMMANDS.values())]
            starts = [complete[i] > begun[i] and allowed and choice.random() < pace
                      for i, allowed in enumerate(started(got, begun))]
            for i, name in enumerate(NAMES):
                ctx.set(getattr(dut, f"o_{name}").ready, ready[i])
                begun[i] += starts[i]
            ctx.set(dut.started, sum(start << i for i, start in enumerate(starts)))
            ports = [getattr(dut, f"o_{name}") for name in NAMES]
            _, _, taken, report, move, stuck, finished, pending, *outputs = await ctx.tick().sample(
                dut.i.valid & dut.i.ready, dut.error, dut.moved, dut.stuck, dut.finished, dut.pending,
                *(port.valid for port in ports), *(port.payload for port in ports))
            if report.valid:
                error = ErrorCode(report.code)
                return
            moved += move
            if taken:
                position, offered = position + 1, False
            for i in range(3):
                if outputs[i] and ready[i]:
                    got[i].append(outputs[3 + i])
            quiet = quiet + 1 if stuck else 0
            if (finished and not pending) or quiet == 60:
                return
        raise AssertionError("dispatch does not end")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return got, error, moved, stuck


def random_commands(choice, count):
    for _ in range(count):
        kind = choice.choice(list(COMMANDS.values()))
        yield kind(**{"row": choice.randrange(1 << 16)} if kind is not Execute else {"weight_row": choice.randrange(1 << 16)})


@pytest.mark.parametrize("queue_commands", [2, 4])
def test_commands_reach_their_queues(queue_commands):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    commands = list(random_commands(random.Random(seed), 40))
    got, error, moved, _ = run(pack(commands), seed=seed, queue_commands=queue_commands)
    assert error is None and moved == len(commands)
    for i, opcode in enumerate(COMMANDS):
        np.testing.assert_array_equal(got[i], pack([c for c in commands if c.opcode == opcode]))


@pytest.mark.parametrize("queue_commands", [2, 4])
def test_a_full_queue_holds_up_what_follows(queue_commands):
    commands = [Load()] * (queue_commands + 1) + [Store()]
    got, error, moved, stuck = run(pack(commands), queue_commands=queue_commands, started=lambda got, counts: [False] * 3)
    assert stuck and error is None and moved == queue_commands and not got[Engine.STORE - 1]


def test_look_ahead_behind_a_running_command():
    """One LOAD starts; then ``queue_commands`` more fit."""
    _, _, moved, stuck = run(pack([Load()] * 5), started=lambda got, counts: [counts[0] < 1] * 3)
    assert stuck and moved == 3


@pytest.mark.parametrize("header, error", [
    (0x0000_0800, ErrorCode.OPCODE), (0x0000_0804, ErrorCode.OPCODE), (0x0000_080F, ErrorCode.OPCODE),
    (0x0000_0701, ErrorCode.LENGTH), (0x0000_0901, ErrorCode.LENGTH), (0x0000_0802, ErrorCode.LENGTH)])
def test_bad_headers(header, error):
    words = [*pack([Load(), Store()]), header, *[0] * 16]
    _, reported, moved, _ = run(words)
    assert reported == error and moved == 2


def test_program_that_ends_inside_a_command():
    words = pack([Load(), Execute()])
    assert run(words[:-1])[1:3] == (ErrorCode.LENGTH, 1)
    assert run(words, declared=len(words) - 1)[1:3] == (ErrorCode.LENGTH, 1)


def test_words_behind_the_program_stay():
    got, error, moved, _ = run([*pack([Load()]), 0xFFFF_FFFF], declared=8)
    assert error is None and moved == 1 and len(got[0]) == 8


def test_halt_moves_nothing():
    dut = Dispatch(queue_commands=2, address_bits=32)

    async def bench(ctx):
        ctx.set(dut.words, 8)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        ctx.set(dut.halt, 1)
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, int(pack([Load()])[0]))
        for _ in range(5):
            await ctx.tick()
            assert not ctx.get(dut.i.ready) and not ctx.get(dut.moved) and not ctx.get(dut.error.valid)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
