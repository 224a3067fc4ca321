"""Placement of tokens: enough of them, none that another one implies, and never more than a counter holds."""

import numpy as np
import pytest
from systolith.arch.commands import PEERS, Engine, Execute, Load, Store
from systolith.arch.config import ConfigError, ControlConfig
from systolith.arch.program import Program, Region

ENGINES = (Engine.LOAD, Engine.EXECUTE, Engine.STORE)
KIND = {Engine.LOAD: Load, Engine.EXECUTE: Execute, Engine.STORE: Store}


def masks(commands):
    return [(c.engine.name[0], c.wait, c.post) for c in commands]


def test_a_product_needs_two_tokens():
    program = Program(ControlConfig())
    program.add(Load(), writes=[Region("a", 0, 4)])
    program.add(Load(), writes=[Region("w", 0, 4)])
    program.add(Execute(), reads=[Region("a", 0, 4), Region("w", 0, 4)], writes=[Region("acc", 0, 4)])
    program.add(Store(), reads=[Region("acc", 0, 4)])
    assert masks(program.commands) == [("L", 0, 0), ("L", 0, 1), ("E", 1, 2), ("S", 2, 0)]


def test_what_is_known_through_a_third_engine_needs_no_token():
    program = Program(ControlConfig())
    program.add(Load(), writes=[Region("a", 0, 4)])
    program.add(Execute(), reads=[Region("a", 0, 4)], writes=[Region("acc", 0, 4)])
    program.add(Store(), reads=[Region("acc", 0, 4)], writes=[Region("a", 0, 4)])  # after LOAD too, which EXECUTE waited for
    assert masks(program.commands) == [("L", 0, 1), ("E", 1, 2), ("S", 2, 0)]


def test_repetitions_without_a_loop_are_commands():
    """Where only the inner loop of LOAD and STORE is built; the first piece waits, the last one posts."""
    program = Program(ControlConfig(run_loops=1))
    program.add(Load(offset=5, run=3, count1=2, stride1=7, count2=3, stride2=-2, row=1, row_stride2=-1), writes=[Region("a", 0, 9)])
    program.add(Execute(), reads=[Region("a", 0, 9)], writes=[Region("acc", 0, 4)])
    program.add(Store(row=3, count1=2, count2=2, destination=9, stride2=100), reads=[Region("acc", 0, 4)])
    load = {"run": 3, "count1": 2, "stride1": 7}
    assert program.commands == [
        Load(**load, offset=5, row=1), Load(**load, offset=3, row=0), Load(**load, offset=1, row=65535, post=1),
        Execute(wait=1, post=2),
        Store(row=3, count1=2, destination=9, wait=2), Store(row=5, count1=2, destination=109)]


def test_reads_do_not_wait_for_reads():
    program = Program(ControlConfig())
    program.add(Execute(), reads=[Region("a", 0, 4)])
    program.add(Store(), reads=[Region("a", 0, 4)])
    program.add(Load(), writes=[Region("a", 4, 8)])
    assert not any(c.wait or c.post for c in program.commands)


def _conflicts(one, two):
    return any(a.space == b.space and a.start < b.stop and b.start < a.stop and (write_a or write_b)
               for a, write_a in one for b, write_b in two)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("control", [ControlConfig(), ControlConfig(token_bits=2, queue_commands=2)], ids=["wide", "narrow"])
def test_random_programs_are_ordered_and_within_the_counters(seed, control):
    """Against a plain definition: happens-before as reachability, counters by the worst run that dispatch allows."""
    rng = np.random.default_rng(seed)
    program, touched, engines = Program(control), [], []
    for _ in range(60):
        engine = ENGINES[rng.integers(3)]
        regions = [(Region(int(rng.integers(2)), start, start + int(rng.integers(1, 4))), bool(rng.random() < 0.5))
                   for start in rng.integers(0, 6, int(rng.integers(1, 3))).tolist()]
        program.add(KIND[engine](), reads=[r for r, w in regions if not w], writes=[r for r, w in regions if w])
        touched.append(regions)
        engines.append(engine)
    commands = program.commands
    before = np.zeros((60, 60), bool)  # before[i, j]: i is complete when j begins
    gives = {(p, q): [i for i in range(60) if engines[i] == p and q in PEERS[p] and commands[i].post >> PEERS[p].index(q) & 1]
             for p in ENGINES for q in ENGINES if p != q}
    for j in range(60):
        earlier = [i for i in range(j) if engines[i] == engines[j]]
        if earlier:  # begins after what its predecessor knew; the predecessor itself is complete for in-order purposes only
            before[:, j] |= before[:, earlier[-1]]
        for bit, peer in enumerate(PEERS[engines[j]]):
            if commands[j].wait >> bit & 1:
                giver = gives[peer, engines[j]][sum(commands[i].wait >> bit & 1 for i in earlier)]
                assert giver < j, "a token from a later command"
                before[:, j] |= before[:, giver]
                before[[i for i in range(giver + 1) if engines[i] == peer], j] = True
        for i in range(j):
            if engines[i] != engines[j] and _conflicts(touched[i], touched[j]):
                assert before[i, j], f"seed {seed}: commands {i} and {j} are not ordered"
    for (giver, taker), given in gives.items():
        bit = PEERS[taker].index(giver)
        takes = [j for j in range(60) if engines[j] == taker and commands[j].wait >> bit & 1]
        assert len(takes) == len(given)
        of_taker = [j for j in range(60) if engines[j] == taker]
        for held, first in enumerate(of_taker):  # the taker stops before this one; dispatch stops at the first that finds its queue full
            blocked = of_taker[held + control.queue_commands] if held + control.queue_commands < len(of_taker) else 60
            taken = sum(j < first for j in takes)
            assert sum(i < blocked for i in given) - taken < 1 << control.token_bits


def test_counters_narrower_than_the_queue_are_refused():
    with pytest.raises(ConfigError, match=r"^control.token_bits must count 5 tokens, one more than control.queue_commands, not 3$"):
        Program(ControlConfig(token_bits=2, queue_commands=4))
