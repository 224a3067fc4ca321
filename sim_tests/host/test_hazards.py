"""Missing order is found in one run, in every interleaving, and order that is there is never doubted."""

import numpy as np
import pytest
from systolith.arch.assembler import assemble
from systolith.arch.commands import Engine
from systolith.arch.hazards import Clocks, HazardError, Space, Tracker
from systolith.arch.model import Model
from systolith.arch.registers import ErrorCode
from systolith.arch.settings import resolve

CONFIG = resolve({"array": {"rows": 4, "cols": 4}, "memory": {"activation_kib": 1, "weight_kib": 1, "accumulator_rows": 32}})
SEEDS = range(12)


def run(text, seed, *, strict=False, data_base=1024):
    words = assemble(text)
    memory = np.zeros(4096, np.uint8)
    memory[:words.nbytes] = words.view(np.uint8)
    return Model(CONFIG, memory).run(bases=[0, data_base], sizes=[1024, 2048], program_words=words.size, seed=seed, strict=strict)


@pytest.mark.parametrize("space,text", [
    (Space.ACTIVATION, "load base=1 run=16\nexecute"),
    (Space.ACTIVATION, "execute activation_row=3\nload base=1 row=3 run=4"),
    (Space.WEIGHT, "load base=1 bank=weight run=16 row=7\nexecute weight_row=10 k_last=1"),
    (Space.WEIGHT, "execute transpose=1 weight_row=4 weight_stride=2\nload base=1 bank=weight row=10 run=1 lane=3"),
    (Space.ACCUMULATOR, "execute x_count=8\nstore base=1 row=7"),
    (Space.ACCUMULATOR, "store base=1 row=7\nexecute x_count=8"),
    (Space.ACCUMULATOR, "load base=1 bank=accumulator row=3 run=16\nexecute x_count=8 accumulate=1"),
    (Space.ACCUMULATOR, "load base=1 bank=accumulator row=3 run=16\nstore base=1 row=3 destination=64"),
    (Space.PARAMETER, "load base=1 bank=parameter row=2 run=48\nstore base=1 destination=64 bias=1 parameter_group=2"),
    (Space.TABLE, "load base=1 bank=table row=200 run=4\nstore base=1 destination=64 operation=add"),
    (Space.ACCUMULATOR, "store base=1 window=3 window_stride=4\nexecute accumulator_row=8"),
    (Space.MEMORY, "store base=1 destination=60\nload base=1 offset=63 run=1"),
    (Space.MEMORY, "load base=1 offset=63 run=1\nstore base=1 destination=60"),
    (Space.ACTIVATION, "store base=1 target=activation destination=5 row=20\nexecute activation_row=5"),
    (Space.WEIGHT, "store base=1 target=weight destination=5 columns=4 operation=requantise\nload base=1 bank=weight row=5"),
])
def test_every_space(space, text):
    """Two engines meet in one place; a token from the first to the second orders them, and only that."""
    first, second = text.split("\n")
    names = [first.split()[0], second.split()[0]]
    for seed in SEEDS:
        result = run(text, seed)
        assert result.error is ErrorCode.NONE
        assert {hazard.space for hazard in result.hazards} == {space}
        assert {result.hazards[0].engine.name.lower(), result.hazards[0].other_engine.name.lower()} == set(names)
        with pytest.raises(HazardError):
            run(text, seed, strict=True)
        run(f"{first} post={names[1]}\n{second} wait={names[0]}", seed, strict=True)


@pytest.mark.parametrize("text", [
    "load base=1 run=16\nexecute activation_row=4",
    "load base=1 bank=weight row=4 run=4\nexecute weight_row=0 weight_stride=2 k_last=2",
    "execute pad=3 width=0 activation_row=9\nload base=1 row=9 run=4",
    "execute x_count=8\nstore base=1 row=8",
    "store base=1 window=3 window_stride=4\nexecute accumulator_row=9",
    "load base=1 bank=table run=64\nstore base=1 destination=64 operation=max_pool window=2",
    "store base=1 destination=60\nload base=1 offset=64 run=1",
    "load base=1 offset=0\nload base=1 offset=0 row=1\nexecute activation_row=7\nstore base=1 row=20 destination=99",
])
def test_neighbours_do_not_meet(text):
    for seed in SEEDS:
        assert run(text, seed, strict=True).error is ErrorCode.NONE


def test_order_through_a_third_engine():
    text = ("load base=1 run=4 post=execute\nexecute activation_row=50 wait=load post=store\n"
            "store base=1 target=activation row=16 wait=execute")
    for seed in SEEDS:
        assert run(text, seed, strict=True).error is ErrorCode.NONE


def test_earlier_commands_of_the_giver_are_ordered_too():
    text = "load base=1 run=4\nload base=1 row=9 run=4 post=execute\nexecute wait=load"
    for seed in SEEDS:
        assert run(text, seed, strict=True).error is ErrorCode.NONE


def test_the_start_of_a_command_does_not_tell_that_the_one_before_is_complete():
    """An engine may begin a command while the one before still works, so only a give after it tells."""
    text = ("load base=1 run=4 row=9 post=execute\nexecute\nexecute activation_row=9 wait=load post=load\n"
            "load base=1 run=4 wait=execute")
    for seed in SEEDS:
        run(text, seed, strict=True)
    late = "execute activation_row=9 post=load\nexecute\nload base=1 run=4 wait=execute"
    for seed in SEEDS:
        assert run(late, seed).hazards


def test_queues_give_no_order():
    """With a queue of 4, the sixth LOAD is dispatched only after the first EXECUTE: by accident, not by token."""
    text = "load\n" * 5 + "execute wait=store\n" + "load base=1 run=4\n" + "store base=1 post=execute"
    for seed in SEEDS:
        assert run(text.replace("load\n", "load base=1 row=60\n"), seed).hazards


def test_writing_the_program():
    result = run("store base=1 destination=8", 0, data_base=0)
    assert {hazard.other_engine for hazard in result.hazards} == {Engine.FETCH}


def test_report():
    hazard = run("load base=1 run=16\nexecute x_count=3 activation_x=1", 0).hazards[0]
    assert str(hazard).endswith("activation row 0 and 2 more, and no token orders them")
    assert {str(hazard).split()[0], str(hazard).split(" and ")[1].split()[0]} == {"LOAD", "EXECUTE"}


def test_clocks_are_transitive():
    clocks = Clocks()
    clocks.give(Engine.LOAD, Engine.EXECUTE, 3)
    clocks.take(Engine.EXECUTE, Engine.LOAD)
    clocks.give(Engine.EXECUTE, Engine.STORE, 2)
    clocks.take(Engine.STORE, Engine.EXECUTE)
    assert [clocks.knows(Engine.STORE, engine) for engine in (Engine.LOAD, Engine.EXECUTE)] == [3, 2]
    assert clocks.knows(Engine.LOAD, Engine.EXECUTE) == 0


def test_repeated_places():
    tracker = Tracker({Space.WEIGHT: 8}, Clocks())
    tracker.touch(Space.WEIGHT, np.array([5, 5, 2]), engine=Engine.LOAD, command=1, write=True)
    tracker.touch(Space.WEIGHT, np.array([[2, 2], [5, 7]]), engine=Engine.EXECUTE, command=4, write=False)
    hazard, = tracker.hazards
    assert (hazard.first, hazard.places, hazard.command, hazard.other_command) == (2, 2, 3, 0)
