"""Serial dispatch: whole commands to the right engines, in order, no more than its places take; its errors."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.arch.commands import COMMANDS, Engine, Execute, Load, Store, pack
from systolith.arch.registers import ErrorCode
from systolith.rtl.dispatch_serial import SerialDispatch

KINDS = list(COMMANDS.values())
NAMES = [opcode.name.lower() for opcode in COMMANDS]


def run(words, *, queue_commands=2, declared=None, seed=0, starts=lambda number, begun: True, halt_at=None):
    """Dispatches ``words``; per engine the words that came out, the error, the dispatched commands, ``stuck`` and words asked for."""
    dut = SerialDispatch(queue_commands=queue_commands, address_bits=20)
    choice = random.Random(seed)
    got, begun, open_until = [[] for _ in NAMES], [0] * 3, [0] * 3
    moved, error, stuck, asked = 0, None, False, 0
    words = [int(word) for word in words]

    async def bench(ctx):
        nonlocal moved, error, stuck, asked
        ctx.set(dut.words, len(words) if declared is None else declared)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        position = quiet = 0
        comes = False
        for cycle in range(4000):
            ctx.set(dut.halt, halt_at is not None and cycle >= halt_at)
            # A word is there for one cycle, some time after it was wanted.
            ctx.set(dut.i.valid, comes)
            ctx.set(dut.i.payload, words[position] if comes else choice.getrandbits(32))
            pulses = []
            for i, kind in enumerate(KINDS):
                whole = len(got[i]) % kind.words == 0
                if whole and len(got[i]) == open_until[i] and choice.random() < 0.3:
                    open_until[i] += kind.words
                # An engine takes all words of a command, and the next command when it likes.
                ctx.set(getattr(dut, f"o_{NAMES[i]}").ready, len(got[i]) < open_until[i])
                pulse = len(got[i]) // kind.words > begun[i] and starts(i, begun[i]) and choice.random() < 0.2
                begun[i] += pulse
                pulses.append(pulse)
            ctx.set(dut.started, sum(pulse << i for i, pulse in enumerate(pulses)))
            ports = [getattr(dut, f"o_{name}") for name in NAMES]
            _, _, wanted, ready, report, move, stuck, finished, pending, *outputs = await ctx.tick().sample(
                dut.wanted, dut.i.ready, dut.error, dut.moved, dut.stuck, dut.finished, dut.pending,
                *(port.valid for port in ports), *(port.payload for port in ports))
            if report.valid:
                error = ErrorCode(report.code)
                return
            moved += move
            position += comes and ready
            for i in range(3):
                if outputs[i]:
                    assert len(got[i]) < open_until[i], "a word came that the engine had no place for"
                    got[i].append(outputs[3 + i])
            asked += comes
            # Whether one more is wanted is right in the second cycle after a word.
            comes = not comes and bool(wanted) and position < len(words) and choice.random() < 0.5
            quiet = quiet + 1 if stuck else 0
            if (finished and not pending) or quiet == 200 or (halt_at is not None and cycle > halt_at + 50):
                return
        raise AssertionError("dispatch does not end")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return got, error, moved, stuck, asked


def random_commands(choice, count):
    for _ in range(count):
        kind = choice.choice(KINDS)
        yield kind(**{"row": choice.randrange(1 << 16)} if kind is not Execute else {"weight_row": choice.randrange(1 << 16)})


@pytest.mark.parametrize("queue_commands", [2, 4])
@pytest.mark.parametrize("seed", [1, 2])
def test_commands_reach_their_engines(queue_commands, seed):
    print(f"seed {seed}")
    commands = list(random_commands(random.Random(seed), 40))
    got, error, moved, *_ = run(pack(commands), seed=seed, queue_commands=queue_commands)
    assert error is None and moved == len(commands)
    for i, opcode in enumerate(COMMANDS):
        np.testing.assert_array_equal(got[i], pack([c for c in commands if c.opcode == opcode]))


@pytest.mark.parametrize("queue_commands", [2, 4])
def test_full_places_hold_up_what_follows(queue_commands):
    commands = [Load()] * (queue_commands + 1) + [Store()]
    got, error, moved, stuck, asked = run(pack(commands), queue_commands=queue_commands, starts=lambda number, begun: False)
    assert stuck and error is None and moved == queue_commands and not got[Engine.STORE - 1]
    assert len(got[Engine.LOAD - 1]) == queue_commands * Load.words, "the last one that fits comes whole"
    # Each header twice, and the one that is held up is not asked for again and again.
    assert asked <= queue_commands * (Load.words + 1) + 2


def test_look_ahead_behind_a_running_command():
    """One LOAD starts; then ``queue_commands`` more fit."""
    _, _, moved, stuck, _ = run(pack([Load()] * 5), starts=lambda number, begun: begun < 1)
    assert stuck and moved == 3


@pytest.mark.parametrize(("header", "error"), [
    (0x0000_0800, ErrorCode.OPCODE), (0x0000_0804, ErrorCode.OPCODE), (0x0000_080F, ErrorCode.OPCODE),
    (0x0000_0701, ErrorCode.LENGTH), (0x0000_0901, ErrorCode.LENGTH), (0x0000_0802, ErrorCode.LENGTH)])
def test_bad_headers(header, error):
    _, reported, moved, *_ = run([*pack([Load(), Store()]), header, *[0] * 16])
    assert reported == error and moved == 2


def test_program_that_ends_inside_a_command():
    words = pack([Load(), Execute()])
    assert run(words, declared=len(words) - 1)[1:3] == (ErrorCode.LENGTH, 1)


def test_words_behind_the_program_stay():
    got, error, moved, *_ = run([*pack([Load()]), 0xFFFF_FFFF], declared=Load.words)
    assert error is None and moved == 1 and len(got[0]) == Load.words


@pytest.mark.parametrize("halt_at", [0, 7, 30])
def test_halt_reports_nothing(halt_at):
    assert run([0x0000_080F, *[0] * 16], halt_at=halt_at, seed=halt_at)[1] in (None, ErrorCode.OPCODE if halt_at else None)
