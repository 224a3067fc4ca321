"""OutputExecuteEngine against the definition of EXECUTE: what is read, multiplied and drained, when, and what ends it."""

import dataclasses
import itertools
import random

import numpy as np
import pytest
from execute_bench import ExecuteBench, config_of, definition, fits, gemm, random_command, timing_of, transposed_program
from systolith.arch.commands import Execute
from systolith.arch.registers import ErrorCode
from systolith.rtl.execute_output import OutputExecuteEngine
from systolith.rtl.passes import CONTROL_LATENCY_CYCLES


def passes_of(command, config):
    """Per block of output rows: its passes, each the rows that are read and the weight accesses; and the touches of its drain."""
    tiles, issued = definition(command, config)
    count, rows = len(issued) // len(tiles), config.array.rows
    return [([([row[:2] for row in issued[tile * count:][first:min(first + rows, count)]], tiles[tile]) for tile in range(len(tiles))],
             [(row, bool(command.accumulate)) for *_, row, _ in issued[first:min(first + rows, count)]])
            for first in range(0, count, rows)]


class OutputBench(ExecuteBench):
    """What the row control shows besides rows is kept here: cycles and values of moves, flags and touches."""

    engine = OutputExecuteEngine

    def run(self, program, **arguments):
        self.moves, self.firsts, self.ends, self.touches = [], [], [], []
        return super().run(program, **arguments)

    def note_row(self, row, cycle, trace):
        if row.valid:
            trace.rows.append((cycle, (None if row.pad else row.row, row.pad_value if row.pad else None)))
        for flag, seen in ((row.move, self.moves), (row.first, self.firsts), (row.end, self.ends)):
            if flag:
                seen.append((cycle, row.down))
        if row.touch:
            self.touches.append((cycle, (row.accumulator_row, bool(row.accumulate))))

    def check(self, program, **arguments):
        trace, timing, config = self.run(program, **arguments), self.timing, self.config
        blocks = [block for command in program for block in passes_of(command, config)]
        passes = [one for block, _ in blocks for one in block]
        owners = [number for number, command in enumerate(program) for block, _ in passes_of(command, config) for _ in block]
        rows = config.array.rows
        assert trace.errors == []
        assert [row for _, row in trace.rows] == [row for read, _ in passes for row in read]
        assert [access for _, access in trace.weights] == [access for _, accesses in passes for access in accesses]
        touches = [touch for _, drain in blocks for touch in drain]
        assert [touch for _, touch in self.touches] == touches

        # A pass is read in `rows` cycles with moves in one direction, and multiplied in the next ones, in the other direction.
        slots = [self.moves[n:n + rows] for n in range(0, len(self.moves), rows)]
        assert len(self.moves) % rows == 0
        directions = {}
        for slot in slots:
            assert len({down for _, down in slot}) == 1 and slot[-1][0] - slot[0][0] == rows - 1
            directions.update(slot)
        starts = [slot[0][0] for slot in slots]
        position, vectors = 0, [cycle for cycle, (kind, *_) in trace.weights if kind != "fill"]
        read_in = []
        for read, _ in passes:
            cycles = trace.row_cycles[position:position + len(read)]
            assert list(cycles) == list(range(cycles[0], cycles[0] + len(read))) and cycles[0] in starts
            read_in.append(starts.index(cycles[0]))
            position += len(read)
        for number, slot in enumerate(read_in):
            assert vectors[number * rows:(number + 1) * rows] == [cycle for cycle, _ in slots[slot + 1]]
            assert slots[slot][0][1] != slots[slot + 1][0][1]
        # Within a command slots follow each other as fast as what is multiplied in them allows.
        for number, (one, following) in enumerate(itertools.pairwise(read_in)):
            command = program[owners[number]]
            if owners[number] == owners[number + 1] and not command.transpose:
                adds = command.accumulate and command.ct_count * command.ky_count * command.kx_count == 1 and (
                    not number or owners[number - 1] != owners[number])
                waits = max(rows, CONTROL_LATENCY_CYCLES, rows + timing.distance_cycles - 1 if adds else 0)
                assert following == one + 1
                if max(rows, CONTROL_LATENCY_CYCLES) >= timing.distance_cycles - 1:
                    assert starts[following] - starts[one] == waits
        lasts = np.cumsum([len(block) for block, _ in blocks]) - 1
        assert [cycle for cycle, _ in self.firsts] == [starts[read_in[last - len(block) + 1] + 1]
                                                       for last, (block, _) in zip(lasts, blocks, strict=True)]
        assert [cycle for cycle, _ in self.ends] == [slots[read_in[last] + 1][-1][0] for last in lasts]
        drains = [end + 1 + i for (end, _), (_, drain) in zip(self.ends, blocks, strict=True) for i in range(len(drain))]
        assert [cycle for cycle, _ in self.touches] == drains

        # Distances.
        fills = [cycle for cycle, (kind, *_) in trace.weights if kind == "fill"]
        emits = [cycle for cycle, (kind, *_) in trace.weights if kind.startswith("emit")]
        for fill in fills:
            assert all(emit - fill >= timing.fill_to_emit_cycles for emit in emits if emit > fill)
            assert all(fill - emit >= timing.emit_to_fill_cycles for emit in emits if emit < fill)
        touched = {}
        for cycle, (row, accumulate) in self.touches:
            assert not accumulate or cycle - touched.get(row, -100) >= timing.distance_cycles
            touched[row] = cycle

        # Tokens, claims, activity, status.
        assert len(trace.started) == len(program)
        drained = np.cumsum([len(rows) // len(tiles) for tiles, rows in (definition(command, config) for command in program)])
        settled = [self.touches[last - 1][0] + timing.settle_cycles for last in drained]
        assert trace.gives == [(cycle, command.post) for cycle, command in zip(settled, program, strict=True)]
        for start, end, command in zip(trace.started, settled, program, strict=True):
            half = command.accumulator_row // config.half_rows
            assert all(claim >> half & 1 for claim in trace.claims[start:end + 1])
        assert trace.claims[-1] == 0
        assert [cycle for cycle, activity in enumerate(trace.activities) if activity == "busy"] == trace.row_cycles
        assert not any(trace.idle[trace.started[0]:settled[-1] + 1])
        return trace


@pytest.mark.parametrize("rows, cols", [(1, 1), (4, 4), (3, 5), (8, 2)])
def test_matrix_product(rows, cols):
    bench = OutputBench(config_of(rows, cols))
    bench.check([gemm(20, 3, array_rows=rows, k_last=max(1, rows - 2), post=1)])
    bench.check([gemm(7, 1, array_rows=rows, accumulate=1, accumulator_row=32, wait=3, post=2)])


@pytest.mark.parametrize("rows, cols", [(4, 4), (5, 2), (2, 5), (1, 1), (1, 3), (3, 1)])
def test_transposed(rows, cols):
    OutputBench(config_of(rows, cols)).check(transposed_program(rows, cols))


@pytest.mark.parametrize("rows, cols", [(4, 4), (16, 2), (9, 3)])
def test_no_gaps(rows, cols):
    """Whole blocks, of any number of tiles, follow each other without a cycle lost, within a command and from one to the next."""
    config = config_of(rows, cols)
    for tiles in (1, 3):
        count = config.half_rows // rows * rows
        trace = OutputBench(config).check([
            gemm(count, tiles, array_rows=rows, accumulator_row=half * config.half_rows, activation_ct=1, weight_ct=0, wait=3, post=3)
            for half in (0, 1, 1, 0)])
        assert set(trace.between_rows()) == {"busy"}


def test_cycles():
    """From a command to its last touch: passes in slots of ``rows`` cycles, one more slot, and the drain behind the controls."""
    rows, count, tiles = 8, 21, 3
    bench = OutputBench(config_of(rows, 4))
    trace = bench.check([gemm(count, tiles, array_rows=rows, activation_ct=count)])
    assert trace.row_cycles[0] == trace.started[0] + 2 + CONTROL_LATENCY_CYCLES
    slots = -(-count // rows) * tiles + 1
    assert bench.touches[-1][0] == trace.row_cycles[0] + slots * rows + (count - 1) % rows


@pytest.mark.parametrize("rows, cols, control, array", [
    (4, 4, {}, {}), (5, 3, {}, {}), (2, 7, {}, {}), (1, 1, {}, {}),
    (4, 4, {"outer_loops": 1, "inner_loops": 1}, {"transposer": False}), (4, 4, {"outer_loops": 2, "inner_loops": 2}, {}),
    (3, 3, {"outer_loops": 3, "inner_loops": 1}, {}), (3, 3, {"outer_loops": 1, "inner_loops": 3}, {"transposer": False}),
])
def test_random_commands(rows, cols, control, array):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    config = config_of(rows, cols, **control)
    config = dataclasses.replace(config, array=dataclasses.replace(config.array, **array))
    timing = timing_of(rows, cols, distance_cycles=choice.randrange(1, 9), fill_to_emit_cycles=choice.randrange(1, 9),
                       emit_to_fill_cycles=choice.randrange(1, 9), settle_cycles=choice.randrange(1, 30))
    program = [random_command(choice, config) for _ in range(20)]
    OutputBench(config, timing).check(program, gap=choice.choice([0, 0.3]), seed=seed, limit=20_000)


def test_a_touch_as_soon_as_it_may_be():
    """The last row of one command is the first of the next, which adds."""
    bench = OutputBench(config_of(4, 4))
    bench.check([gemm(28, 1, array_rows=4), gemm(4, 1, array_rows=4, accumulate=1, accumulator_row=27)])
    assert bench.touches[28][0] - bench.touches[27][0] == bench.timing.distance_cycles
    # Not where it has more tiles, or overwrites.
    for changes in ({"ct_count": 2, "accumulate": 1}, {}):
        bench.check([gemm(28, 1, array_rows=4), gemm(4, 1, array_rows=4, accumulator_row=27, **changes)])
        assert bench.touches[28][0] - bench.touches[27][0] == 4 * changes.get("ct_count", 1) - 3


def test_waits_for_its_own_half():
    """While the other one is granted and in use."""
    def drive(cycle, bench, ctx):
        claim = ctx.get(bench.dut.claim)
        ctx.set(bench.dut.granted, claim & 2 if cycle < 400 else claim)

    bench = OutputBench(config_of(2, 2))
    half = bench.config.half_rows
    trace = bench.check([gemm(32, 4, array_rows=2, accumulator_row=half, activation_ct=1), gemm(5, 2, array_rows=2)], drive=drive)
    assert trace.row_cycles[32 * 4] > 400


def test_waits_for_tokens_and_for_the_half():
    def drive(cycle, bench, ctx):
        ctx.set(bench.dut.tokens.available, 3 if cycle >= 150 else 1 if cycle >= 120 else 0)
        claim = ctx.get(bench.dut.claim)
        ctx.set(bench.dut.granted, claim & 2 if cycle < 200 else claim)  # the lower half is somebody else's

    bench = OutputBench(config_of(2, 2))
    half = bench.config.half_rows
    trace = bench.check([gemm(5, 2, array_rows=2, post=3, accumulator_row=half), gemm(5, 2, array_rows=2, wait=3)], drive=drive)
    assert trace.started[1] == 151
    assert set(trace.activities[80:121]) == {"wait_load"} and set(trace.activities[121:151]) == {"wait_store"}
    assert set(trace.activities[153:200]) == {"port"} and trace.row_cycles[10] > 200
    assert trace.blocked[119] and not trace.blocked[160]


def test_halt():
    bench = OutputBench(config_of(4, 2))
    program = [gemm(9, 3, array_rows=4, post=3, transpose=index % 2) for index in range(4)]
    bench.run(program)
    last = bench.touches[8][0]
    for cycle in (20, 40, last - 1, last, last + 1, 90):
        def drive(now, bench, ctx, cycle=cycle):
            ctx.set(bench.dut.control.halt, now >= cycle)

        trace = bench.run(program, drive=drive, limit=250)
        everything = [*trace.rows, *trace.weights, *bench.touches]
        assert all(event <= cycle for event, *_ in everything) and all(event <= cycle for event in trace.started)
        assert trace.claims[-1] == 0 and trace.idle[-1]
        assert len(trace.gives) == (last < cycle)


def check_error(bench, program, **arguments):
    """Runs ``program``, whose first command with a wrong row is known by the definition; all before it is drained, and nothing behind."""
    trace, config = bench.run(program, **arguments), bench.config

    def inside(command):
        tiles, rows = definition(command, config)
        return all(row is None or row < config.weight_rows for tile in tiles for _, row, _ in tile) and all(
            row[0] is None or row[0] < config.activation_rows for row in rows)

    index = [inside(command) for command in program].index(False)
    touches = [touch for command in program[:index] for _, drain in passes_of(command, config) for touch in drain]
    assert trace.errors == [(ErrorCode.RANGE, index)]
    assert [touch for _, touch in bench.touches][:len(touches)] == touches
    own = [touch for _, drain in passes_of(program[index], config) for touch in drain]
    assert [touch for _, touch in bench.touches][len(touches):] == own[:len(bench.touches) - len(touches)]
    assert len(bench.touches) - len(touches) < len(own)
    assert len(trace.gives) == index
    assert all(row is None or row < config.activation_rows for _, (row, _) in trace.rows)
    assert all(row is None or row < config.weight_rows for _, (_, row, _) in trace.weights)
    return trace


GOOD = {"x_count": 5, "ct_count": 2, "weight_ct": 2, "activation_x": 1, "activation_ct": 5, "k_last": 2}


@pytest.mark.parametrize("fields", [
    {"weight_row": 511}, {"weight_ct": 511}, {"weight_stride": 512}, {"activation_row": 508}, {"activation_ct": 508}, {"activation_x": -1},
    {"transpose": 1, "weight_row": 511}, {"transpose": 1, "weight_ct": 511}, {"x_count": 1, "ct_count": 1, "activation_row": 512},
    {"x_count": 1, "ct_count": 1, "k_last": 1, "weight_row": 512}])
@pytest.mark.parametrize(("rows", "cols"), [(2, 2), (4, 2), (5, 3)])
def test_errors(rows, cols, fields):
    """Behind and before commands of one pass, and of many; with slots longer than the array's rows, and of just as many cycles."""
    bench = OutputBench(config_of(rows, cols))
    least = {"activation_row": bench.config.activation_rows, "weight_row": bench.config.weight_rows}
    fields = {name: value - 512 + least[name] if name in least else value for name, value in fields.items()}
    good, short = Execute(**GOOD, post=1), Execute(**{**GOOD, "x_count": 1, "ct_count": 1})
    wrong = dataclasses.replace(good, **fields)
    for before in ([], [good], [short], [short, short], [good, good]):
        check_error(bench, [*before, wrong, short, short, good])


@pytest.mark.parametrize("fields", [{"activation_row": 0}, {"activation_row": -3}, {"weight_row": -3}])
def test_what_is_found_in_a_slots_last_cycle(fields):
    """The last row of a block and its last vector, behind a command whose last touch comes with the report."""
    bench = OutputBench(config_of(4, 4))
    config = bench.config
    first = {"activation_row": config.activation_rows, "weight_row": config.weight_rows}
    (name, back), = fields.items()
    wrong = gemm(8 if back and name == "activation_row" else 1, 1, array_rows=4, **{name: first[name] + back})
    long = gemm(32, 1, array_rows=4, post=1)
    trace = check_error(bench, [long, wrong, long])
    assert len(trace.gives) == 1


def test_an_error_is_its_commands_whenever_the_next_one_gets_its_token():
    """The report and the next command's start in any order, the same cycle included."""
    bench = OutputBench(config_of(4, 4))
    wrong = gemm(4, 2, array_rows=4, activation_ct=bench.config.activation_rows)
    for cycle in range(50, 90):
        def drive(now, bench, ctx, cycle=cycle):
            ctx.set(bench.dut.tokens.available, 3 if now >= cycle else 0)

        trace = bench.run([gemm(4, 1, array_rows=4), wrong, gemm(4, 1, array_rows=4, wait=1)], drive=drive)
        assert trace.errors == [(ErrorCode.RANGE, 1)], f"token in cycle {cycle}"


def test_refused_commands_wait_for_what_is_before():
    bench = OutputBench(config_of(2, 2))
    long = Execute(**{**GOOD, "x_count": 30}, post=1)
    trace = bench.run([long, dataclasses.replace(long, k_last=0), long])
    assert trace.errors == [(ErrorCode.VALUE, 1)] and len(bench.touches) == 30 and len(trace.gives) == 1


@pytest.mark.parametrize(("rows", "cols"), [(3, 2), (4, 2), (5, 3)])
def test_random_errors(rows, cols):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    config = config_of(rows, cols)
    bench = OutputBench(config)
    found = 0
    while found < 12:
        program = [random_command(choice, config, rows_limit=9) for _ in range(3)]
        fields = choice.sample(["weight_row", "weight_stride", "weight_ct", "activation_row", "activation_y", "activation_x",
                                "activation_kx"], 2)
        wild = dataclasses.replace(choice.choice(program), **{name: choice.randrange(-1000, 1000) % 32768 for name in fields})
        if not fits(wild, config):
            check_error(bench, [*program, wild, *program], limit=3000)
            found += 1
