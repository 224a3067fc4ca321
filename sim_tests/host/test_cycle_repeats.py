"""The cycle model skips what repeats itself and remembers what it found out, and neither changes anything."""

import numpy as np
import pytest
from systolith.arch import cycles, cycles_machine
from systolith.arch.commands import Bank, Execute, Load, Store, pack
from systolith.arch.cycles import Memory, predict_cycles
from systolith.arch.cycles_bursts import Bursts, load_bursts
from systolith.arch.cycles_kinds import Shapes, shapes_of, stream
from systolith.arch.cycles_machine import Machine
from systolith.arch.cycles_repeat import Repeats
from systolith.arch.cycles_store import StorePath
from systolith.arch.latency import Latency
from systolith.arch.plan_gemm import plan_gemm
from systolith.arch.random_programs import random_program
from systolith.arch.settings import resolve

SMALL = resolve({"array": {"rows": 8, "cols": 8}, "memory": {"activation_kib": 4, "weight_kib": 4, "accumulator_rows": 128}})
MEMORIES = [Memory(), Memory(latency=100), Memory(cycles_per_beat=4, half_duplex=True)]


def predict(program, memory=None, bases=(), config=SMALL):
    """Without anything from before."""
    shapes_of.cache_clear()
    return predict_cycles(config, program, memory=memory, bases=bases)


@pytest.fixture
def skips(monkeypatch):
    """Every stretch that is skipped: the commands behind it."""
    skipped = []
    go_on = Repeats._go_on
    monkeypatch.setattr(Repeats, "_go_on", lambda repeats, *arguments: skipped.append(repeats.skipped) or go_on(repeats, *arguments))
    return skipped


@pytest.mark.parametrize("shape, out", [((64, 512, 256), "int32"), ((1, 512, 1024), "int32"), ((120, 96, 512), "int8")])
@pytest.mark.parametrize("memory", MEMORIES)
def test_skipping_changes_nothing(shape, out, memory, monkeypatch, skips):
    program = plan_gemm(SMALL, *shape, out=out).program
    monkeypatch.setattr(cycles_machine, "_LONG", len(program))
    skipping = predict(program, memory, (64, 0, 320))
    found = len(skips)
    monkeypatch.setattr(cycles_machine, "_LONG", len(program) + 1)
    assert predict(program, memory, (64, 0, 320)) == skipping
    assert len(skips) == found


def test_much_is_skipped(monkeypatch, skips):
    program = plan_gemm(SMALL, 1, 512, 4096).program
    begun = []
    begin = Machine._begin
    monkeypatch.setattr(Machine, "_begin", lambda machine, *arguments: begun.append(1) or begin(machine, *arguments))
    predict(program)
    assert len(begun) + skips[-1] >= len(program) > 2 * len(begun)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("target, stride", [(0, 8), (0, 40), (0, 300), (1, 1)])
def test_skipping_rows_changes_nothing(target, stride, memory, monkeypatch):
    """Rows of a STORE that repeat themselves, alone and behind each other."""
    rows = {"count1": 400, "stride1": stride, "target": target}
    program = [
        Execute(x_count=400, activation_x=1, k_last=8, post=2),
        Store(columns=16, operation=1, wait=2, **rows), Store(columns=7, operation=1, **rows), Store(columns=16, operation=target, **rows),
    ]
    skipped = []
    skip = StorePath._skip
    monkeypatch.setattr(StorePath, "_skip", lambda *arguments: skipped.append(skip(*arguments)) or skipped[-1])
    skipping = predict(program, memory, config=resolve())
    assert any(skipped) or memory.half_duplex or stride == 300  # whose rows have too long a period
    monkeypatch.setattr(StorePath, "_skip", lambda *arguments: 0)
    assert predict(program, memory, config=resolve()) == skipping


def test_what_is_remembered_changes_nothing():
    """Programs that share commands, in any order, and one that comes again; a caller may change what it got."""
    programs = [plan_gemm(SMALL, *shape, out=out).program
                for shape in ((30, 40, 50), (30, 41, 50), (64, 40, 50)) for out in ("int32", "int8")]
    fresh = [predict(program) for program in programs]
    shapes_of.cache_clear()
    for number in (3, 1, 0, 5, 2, 4, 3, 0):
        prediction = predict_cycles(SMALL, programs[number])
        assert prediction == fresh[number]
        prediction.busy.clear()


def test_little_is_remembered(monkeypatch):
    monkeypatch.setattr(cycles, "_PROGRAMS", 2)
    shapes_of.cache_clear()
    loads = [[Load(run=8 * length, count1=2, stride1=8 * length)] for length in range(1, 6)]
    first = [predict_cycles(SMALL, program) for program in loads]
    assert len(shapes_of(SMALL, Memory()).predictions) == 2
    assert [predict_cycles(SMALL, program) for program in loads] == first


def test_commands_whose_numbers_are_those_of_another_engine():
    """A LOAD with the fields that a remembered EXECUTE is known by is a LOAD all the same."""
    execute = Execute(x_count=1, y_count=2, ct_count=12, k_last=8)
    rows, tiles, counting, lead, gap, vectors, _ = stream(SMALL, execute, Latency(SMALL))
    load = Load(bank=rows, run=tiles, count1=counting, count2=lead, stride1=gap, stride2=vectors, offset=max(2, gap + vectors))
    shapes_of.cache_clear()
    predict_cycles(SMALL, [execute])
    assert predict_cycles(SMALL, [load]) == predict_cycles(SMALL, [load], fresh=True)


def test_words_are_the_same_program():
    """Commands that are found to be alike in the words are those that their fields say are."""
    rng = np.random.default_rng(7)
    for _ in range(30):
        program = random_program(rng, SMALL, commands=60, region_bytes=4096)
        bases = (64, *rng.integers(0, 1 << 20, 7).tolist())
        alone = predict_cycles(SMALL, program, bases=bases, fresh=True)
        assert predict_cycles(SMALL, program, words=pack(program), bases=bases, fresh=True) == alone


def test_what_differs_in_words_and_not_in_time_is_alike():
    """Rows, the base register where the address is as far into a block, and the accumulator's rows within a half do not matter."""
    block = 64 * SMALL.bus_bytes
    alike = [[Load(base=1, offset=8, run=40), Load(base=2, offset=8 + block, run=40, row=5)],
             [Execute(x_count=9, activation_row=3), Execute(x_count=9, accumulator_row=7, weight_row=2)],
             [Store(base=2, destination=24, columns=5, row=1), Store(base=1, destination=24 + block, columns=5, row=9)]]
    other = [Load(base=1, offset=12, run=40), Execute(x_count=9, accumulator_row=SMALL.half_rows), Store(base=1, columns=5, destination=29)]
    for (one, two), three in zip(alike, other, strict=True):
        kinds = Shapes(SMALL, Memory()).kinds([one, two, three], (0, block, 3 * block, *[0] * 5), pack([one, two, three]))
        assert kinds[0] is kinds[1] is not kinds[2]


def test_bursts_of_many_loads_are_those_of_each():
    rng = np.random.default_rng(8)
    programs = [random_program(rng, SMALL, commands=40, region_bytes=4096) for _ in range(40)]
    loads = [command for program in programs for command in program if isinstance(command, Load)]
    bases = rng.integers(0, 1 << 40, 8).tolist()
    assert len(loads) > 100
    together = load_bursts(SMALL, loads, bases, 4)
    assert together == [load_bursts(SMALL, [one], bases, 4)[0] for one in loads]
    for one, bursts in zip(loads, together, strict=True):
        assert len(bursts.ends) - 1 >= one.count1 * one.count2 and bursts.shortest >= 4


def test_bursts_by_hand():
    """On a 64-bit bus: a run of 13 bytes from byte 508 on lies in two blocks of 512, in one word and in two."""
    once, twice = load_bursts(SMALL, [Load(base=1, offset=508, run=13), Load(base=1, offset=508, run=13, count1=2, stride1=-512 + 3)],
                              [0, 1024, *[0] * 6], 1)
    assert once == Bursts([0, 1, 3], 1, 2, 3, 1, Bank.ACTIVATION, 0, [])
    assert twice.ends == [0, 1, 3, 4, 6] and (twice.runs, twice.held) == (2, 4)
    many, = load_bursts(SMALL, [Load(base=1, offset=508, run=13, count1=5, stride1=1)], [0, 1024, *[0] * 6], 1)
    assert (many.runs, many.held, len(many.ends)) == (5, 5, 1 + 4 * 2 + 1)
    slow, = load_bursts(SMALL, [Load(base=1, offset=508, run=13)], [0, 1024, *[0] * 6], 4)
    assert slow.ends == [0, 4, 12] and slow.busy == 3 and slow.tail == 3
    # Words of 8, 8 and 2 bytes into rows of 6: two writes, two, and one; what follows passes beside the last but one's second.
    narrow, = load_bursts(resolve({"array": {"rows": 6, "cols": 4}}), [Load(base=1, run=18)], [0] * 8, 1)
    assert narrow.ends == [0, 5] and narrow.kept == [1]
