"""ExecuteEngine where something is missing or wrong: tokens, halves, halt, and every error in program order."""

import dataclasses
import functools
import random

import pytest
from execute_bench import ExecuteBench, config_of, definition, fits, gemm, random_command
from systolith.arch.commands import Execute
from systolith.arch.registers import ErrorCode

LOAD_TOKEN, STORE_TOKEN = 1, 2


@functools.cache
def small():
    """A bench that many short programs share."""
    return ExecuteBench(config_of(2, 2))


def test_waits_for_tokens():
    def drive(cycle, bench, ctx):
        if cycle == 0:
            ctx.set(bench.dut.tokens.available, 0)
        if cycle == 120:
            ctx.set(bench.dut.tokens.available, LOAD_TOKEN)
        if cycle == 150:
            ctx.set(bench.dut.tokens.available, LOAD_TOKEN | STORE_TOKEN)

    bench = small()
    trace = bench.check([gemm(5, 2, array_rows=2, post=3), gemm(5, 2, array_rows=2, wait=3)], drive=drive)
    assert trace.started[1] == 151
    settled = trace.row_cycles[9] + bench.timing.settle_cycles
    assert trace.blocked.index(True) == settled + 1 and trace.blocked.count(True) == 150 - settled - 1
    assert set(trace.activities[trace.row_cycles[9] + 2:121]) == {"wait_load"}
    assert set(trace.activities[121:151]) == {"wait_store"}


def test_waits_for_the_half():
    def drive(cycle, bench, ctx):
        claim = ctx.get(bench.dut.claim)
        held = cycle < 100  # the lower half, by somebody else
        ctx.set(bench.dut.granted, claim & 2 if held else claim)

    bench = small()
    half = bench.config.half_rows
    program = [gemm(5, 1, array_rows=2, accumulator_row=half), gemm(5, 1, array_rows=2), gemm(5, 1, array_rows=2)]
    trace = bench.check(program, drive=drive)
    assert trace.between_rows()["port"] > 40
    assert trace.row_cycles[4] < 50 and 100 < trace.row_cycles[5] <= 104
    assert all(trace.claims[cycle] & 1 for cycle in range(trace.started[1] + 1, trace.row_cycles[-1]))


def test_halt():
    bench = ExecuteBench(config_of(4, 2))
    program = [gemm(9, 3, array_rows=4, post=3, transpose=index % 2) for index in range(4)]
    last = bench.run(program).row_cycles[26]
    for cycle in (20, 40, last - 1, last, 63):
        def drive(now, bench, ctx, cycle=cycle):
            ctx.set(bench.dut.control.halt, now >= cycle)

        trace = bench.run(program, drive=drive, limit=150)
        assert all(row <= cycle for row in trace.row_cycles) and all(event <= cycle for event, _ in trace.weights)
        assert all(event <= cycle for event in trace.started)  # with tokens that were taken before
        assert trace.claims[-1] == 0 and trace.idle[-1]
        assert len(trace.gives) == len(trace.rows) // 27


def refusal(command, config):
    """The error with which ``command`` is refused before it begins, or None."""
    levels = {"ky": 3, "kx": 2, "ct": 1}, {"b": 3, "y": 2, "x": 1}
    counts = {level: getattr(command, f"{level}_count") for group in levels for level in group}
    loops = config.control.outer_loops, config.control.inner_loops
    absent = [level for group, built in zip(levels, loops, strict=True) for level, order in group.items() if order > built]
    if any(counts[level] > 1 for level in absent) or (command.transpose and not config.array.transposer):
        return ErrorCode.UNSUPPORTED
    if 0 in counts.values() or not 1 <= command.k_last <= config.array.rows:
        return ErrorCode.VALUE
    rows = counts["b"] * counts["y"] * counts["x"]
    if command.accumulator_row >= 2 * config.half_rows or command.accumulator_row % config.half_rows + rows > config.half_rows:
        return ErrorCode.RANGE
    return None


def check_error(bench, program, **arguments):
    """Runs ``program``, which has an error, and checks that everything before it happened in full and nothing after it."""
    trace, config = bench.run(program, **arguments), bench.config
    weights, rows, error = [], [], None
    for index, command in enumerate(program):
        code = refusal(command, config)
        if code:
            error = code, index
            break
        tiles, issued = definition(command, config)
        length = len(issued) // len(tiles)
        for tile, accesses in enumerate(tiles):
            inside = [row is None or row < config.weight_rows for _, row, _ in accesses]
            weights += accesses if all(inside) else accesses[:inside.index(False)]
            if not all(inside):
                error = ErrorCode.RANGE, index
                break
            needed = len(weights)
            of_tile = issued[tile * length:(tile + 1) * length]
            inside = [row[0] is None or row[0] < config.activation_rows for row in of_tile]
            rows += of_tile if all(inside) else of_tile[:inside.index(False)]
            if not all(inside):
                # The next tile may be on its way.
                error, weights = (ErrorCode.RANGE, index), None
                break
        if error:
            break
    assert error and trace.errors == [error]
    assert [row for _, row in trace.rows] == rows
    if weights is not None:
        assert [access for _, access in trace.weights] == weights
    else:
        assert len(trace.weights) >= needed
    return trace


GOOD = {"x_count": 5, "ct_count": 2, "weight_ct": 2, "activation_x": 1, "activation_ct": 5, "k_last": 2}


@pytest.mark.parametrize("fields, code", [
    *(({f"{level}_count": 0}, ErrorCode.VALUE) for level in ("ky", "kx", "ct", "b", "y", "x")),
    ({"k_last": 0}, ErrorCode.VALUE), ({"k_last": 3}, ErrorCode.VALUE), ({"k_last": 65535}, ErrorCode.VALUE),
    ({"x_count": 33}, ErrorCode.RANGE), ({"x_count": 65535}, ErrorCode.RANGE), ({"accumulator_row": 28}, ErrorCode.RANGE),
    ({"accumulator_row": 60}, ErrorCode.RANGE), ({"accumulator_row": 64}, ErrorCode.RANGE), ({"accumulator_row": 65535}, ErrorCode.RANGE),
    ({"y_count": 7}, ErrorCode.RANGE), ({"b_count": 7}, ErrorCode.RANGE), ({"y_count": 3, "b_count": 3}, ErrorCode.RANGE),
    ({"y_count": 65535, "b_count": 65535, "x_count": 65535}, ErrorCode.RANGE),
    ({"y_count": 32768, "b_count": 2}, ErrorCode.RANGE), ({"x_count": 1, "y_count": 32, "accumulator_row": 1}, ErrorCode.RANGE),
    ({"weight_row": 511}, ErrorCode.RANGE), ({"weight_ct": 511}, ErrorCode.RANGE), ({"weight_stride": 512}, ErrorCode.RANGE),
    ({"activation_row": 508}, ErrorCode.RANGE), ({"activation_ct": 508}, ErrorCode.RANGE), ({"activation_x": -1}, ErrorCode.RANGE),
    ({"transpose": 1, "weight_row": 511}, ErrorCode.RANGE), ({"transpose": 1, "weight_ct": 511}, ErrorCode.RANGE),
    ({"k_last": 3, "x_count": 99}, ErrorCode.VALUE),
])
def test_errors(fields, code):
    bench = small()
    good = Execute(**GOOD, post=1)
    trace = check_error(bench, [good, dataclasses.replace(good, **fields), good])
    assert trace.errors == [(code, 1)]
    assert [mask for _, mask in trace.gives] == [1]


@pytest.mark.parametrize("fields", [
    {"ct_count": 1, "weight_row": 511}, {"ct_count": 1, "weight_row": 511, "transpose": 1},
    {"ct_count": 3, "weight_row": 1, "weight_ct": 255, "x_count": 30}, {"ct_count": 1, "k_last": 0},
    {"ct_count": 3, "weight_row": 1, "weight_ct": 255, "x_count": 30, "transpose": 1},
])
def test_errors_wait_for_earlier_rows(fields):
    """What fails early, while a long tile goes on, is reported after it, and nothing begins meanwhile."""
    long = Execute(**{**GOOD, "x_count": 30})
    trace = check_error(small(), [long, dataclasses.replace(long, **fields), long])
    assert trace.errors[0][1] == 1 and len(trace.started) <= 2


def test_error_in_the_last_row_blames_its_command():
    bench = small()
    trace = check_error(bench, [Execute(**{**GOOD, "ct_count": 1, "x_count": 30, "activation_row": bench.config.activation_rows - 29}),
                                Execute(**GOOD)])
    assert len(trace.started) == 2 and trace.errors == [(ErrorCode.RANGE, 0)]


@pytest.mark.parametrize("fields", [
    {"x_count": 32}, {"accumulator_row": 27}, {"x_count": 2, "y_count": 4, "b_count": 4}, {"x_count": 1, "y_count": 32},
    {"x_count": 1, "b_count": 31, "accumulator_row": 33}, {"k_last": 1, "weight_ct": 509}, {"activation_row": 502},
])
def test_limits_are_legal(fields):
    small().check([Execute(**{**GOOD, **fields})])


@pytest.mark.parametrize("control, transposer, fields", [
    ({}, False, {"transpose": 1}), ({"outer_loops": 2}, True, {"ky_count": 2}), ({"outer_loops": 1}, True, {"kx_count": 2}),
    ({"inner_loops": 2}, True, {"b_count": 2}), ({"inner_loops": 1}, True, {"y_count": 2, "k_last": 0}),
])
def test_unsupported(control, transposer, fields):
    config = config_of(2, 2, **control)
    config = dataclasses.replace(config, array=dataclasses.replace(config.array, transposer=transposer))
    trace = check_error(ExecuteBench(config), [Execute(**GOOD), Execute(**{**GOOD, **fields})])
    assert trace.errors == [(ErrorCode.UNSUPPORTED, 1)]


def test_random_errors():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    config = config_of(3, 2)
    bench = ExecuteBench(config)
    for _ in range(25):
        program = [random_command(choice, config, rows_limit=9) for _ in range(3)]
        fields = choice.sample(["weight_row", "weight_stride", "weight_ct", "activation_row", "activation_y", "activation_x",
                                "accumulator_row", "activation_kx"], 2)
        wild = dataclasses.replace(choice.choice(program), **{name: choice.randrange(-1000, 1000) % 32768 for name in fields})
        if refusal(wild, config) or not fits(wild, config):
            check_error(bench, [*program, wild, *program], limit=2000)
