"""ExecuteEngine against the definition of EXECUTE: exact sequences on both controls, distances, tokens, cycles."""

import dataclasses
import random

import numpy as np
import pytest
from execute_bench import ExecuteBench, config_of, gemm, random_command, timing_of, transposed_program
from systolith.arch.commands import Execute


@pytest.mark.parametrize("swap_cycles", [0, 1])
@pytest.mark.parametrize("rows, cols", [(1, 1), (4, 4), (3, 5), (8, 2)])
def test_matrix_product(rows, cols, swap_cycles):
    bench = ExecuteBench(config_of(rows, cols), timing_of(rows, cols, swap_cycles=swap_cycles))
    bench.check([gemm(20, 3, array_rows=rows, k_last=max(1, rows - 2), post=1)])
    bench.check([gemm(7, 1, array_rows=rows, accumulate=1, accumulator_row=32, wait=3, post=2)])


@pytest.mark.parametrize("fields", [
    {"y_step": 1, "x_step": 1, "y_dilation": 1, "x_dilation": 1, "y_origin": -1, "x_origin": -1},
    {"y_step": 2, "x_step": 2, "y_dilation": 1, "x_dilation": 1, "y_origin": -1, "x_origin": 0},
    {"y_step": 1, "x_step": 1, "y_dilation": 2, "x_dilation": 2, "y_origin": -2, "x_origin": -2},
], ids=["same", "strided", "dilated"])
@pytest.mark.parametrize("swap_cycles", [0, 1])
def test_convolution(fields, swap_cycles):
    height, width, config = 5, 4, config_of(4, 3)
    out = {"y": -(-height // fields["y_step"]), "x": -(-width // fields["x_step"])}
    command = Execute(
        ky_count=3, kx_count=3, ct_count=2, weight_ky=24, weight_kx=8, weight_ct=4, weight_row=16, k_last=3, pad=-7,
        height=height, width=width, **fields, y_count=out["y"], x_count=out["x"], b_count=1,
        activation_row=fields["y_origin"] * width + fields["x_origin"] & 0xFFFF, activation_ct=height * width,
        activation_ky=fields["y_dilation"] * width, activation_kx=fields["x_dilation"],
        activation_y=fields["y_step"] * width, activation_x=fields["x_step"])
    bench = ExecuteBench(config, timing_of(4, 3, swap_cycles=swap_cycles))
    trace = bench.check([command])
    padded = [row for _, row in trace.rows if row[0] is None]
    assert padded and all(pad == -7 for _, pad, *_ in padded)
    # Two images of half the height.
    bench.check([dataclasses.replace(command, b_count=2, height=2, y_count=1, activation_b=8)])


@pytest.mark.parametrize("rows, cols", [(4, 4), (5, 2), (2, 5), (1, 1), (1, 3), (3, 1)])
def test_transposed(rows, cols):
    ExecuteBench(config_of(rows, cols)).check(transposed_program(rows, cols))


@pytest.mark.parametrize("swap_cycles", [0, 1])
@pytest.mark.parametrize("distance", [1, 2, 3, 5, 8])
def test_hazard(distance, swap_cycles):
    timing = timing_of(1, 1, distance_cycles=distance, swap_cycles=swap_cycles)
    bench = ExecuteBench(config_of(1, 1), timing)
    for rows in (1, 2, 3, 4, 9):
        trace = bench.check([gemm(rows, 6, array_rows=1)])
        # Tiles follow each other at the distance of the weights, or of the accumulator where that is longer.
        firsts = [cycle for cycle, row in trace.rows if row[2]]
        assert set(np.diff(firsts)) == {max(rows + swap_cycles, distance, 5)}
        assert (trace.between_rows()["hazard"] > 0) == (distance > max(rows + swap_cycles, 5))
    # Rows of different commands that overlap in part.
    bench.check([Execute(x_count=rows, accumulator_row=choice, accumulate=1) for rows in (1, 2, 1, 3) for choice in (0, 1, 0)])
    # A row that overwrites never waits.
    trace = bench.check([Execute(x_count=8, b_count=1), Execute(x_count=8)])
    assert trace.between_rows()["hazard"] == 0


@pytest.mark.parametrize("rows, cols", [(4, 4), (16, 2), (9, 3)])
def test_no_gaps(rows, cols):
    config = config_of(rows, cols)
    bench = ExecuteBench(config)
    most = config.half_rows
    for count in {2 * rows, most}:
        # Tiles inside a command need twice the array's rows less one; commands also the time to decode one.
        program = [gemm(count, 3, array_rows=rows, accumulator_row=half * most, activation_ct=1, weight_ct=0, wait=3, post=3)
                   for half in (0, 1, 1, 0)]
        trace = bench.check(program)
        assert set(trace.between_rows()) == {"busy"}
        if count >= 15:
            single = [dataclasses.replace(command, ct_count=1, accumulate=1) for command in program]
            assert set(bench.check(single).between_rows()) == {"busy"}
    trace = bench.check([gemm(2 * rows - 1, 3, array_rows=rows, activation_ct=1, weight_ct=0)])
    assert set(trace.between_rows()) == {"busy"}
    trace = bench.check([gemm(2 * rows - 3, 3, array_rows=rows, activation_ct=1, weight_ct=0)])
    assert trace.between_rows() == {"busy": 3 * (2 * rows - 3), "preload": 4}


def test_a_cycle_per_swap():
    """Where a swap takes a cycle for itself, that is all it takes, and what is lost waits for weights."""
    rows = 4
    bench = ExecuteBench(config_of(rows, 3), timing_of(rows, 3, swap_cycles=1))
    trace = bench.check([gemm(2 * rows, 5, array_rows=rows, activation_ct=1, weight_ct=0)])
    assert trace.between_rows() == {"busy": 10 * rows, "preload": 4}
    # What the array's weights ask for anyway hides it.
    trace = bench.check([gemm(2 * rows - 3, 3, array_rows=rows, activation_ct=1, weight_ct=0)])
    assert trace.between_rows() == {"busy": 3 * (2 * rows - 3), "preload": 4}


@pytest.mark.parametrize("swap_cycles", [0, 1])
@pytest.mark.parametrize("rows, cols", [(2, 2), (3, 1), (4, 4), (9, 2)])
def test_cycles(rows, cols, swap_cycles):
    """The cycle model: how long the first row takes, and tiles with one row each."""
    bench, tiles = ExecuteBench(config_of(rows, cols), timing_of(rows, cols, swap_cycles=swap_cycles)), 5
    timing = bench.timing
    for transpose in (0, 1):
        command = gemm(1, tiles, array_rows=rows, transpose=transpose, weight_ct=1)
        trace = bench.check([command])
        shift_cycles = rows - 1 + timing.shift_to_swap_cycles
        fill_cycles = cols * -(-rows // cols) - 1 + timing.fill_to_emit_cycles if transpose else 0
        assert trace.row_cycles[0] - trace.started[0] == 4 + fill_cycles + shift_cycles + swap_cycles
        free = max(timing.swap_to_shift_cycles, 3)  # from a swap to the next shift
        if transpose:  # filled while the rows of the tile before begin
            free = max(free, max(timing.emit_to_fill_cycles, 3) + fill_cycles - timing.shift_to_swap_cycles)
        assert set(np.diff(trace.row_cycles)) == {free + shift_cycles}


@pytest.mark.parametrize("y, b, extra", [(1, 1, 0), (5, 1, 3 + 3 + 1), (1, 2, 3 + 1 + 2), (7, 4, 3 + 3 + 3)])
def test_check_cycles(y, b, extra):
    trace = ExecuteBench(config_of(2, 2)).check([Execute(y_count=y, b_count=b)])
    assert trace.started == [Execute.words + 2 + extra]


def test_small_commands():
    bench = ExecuteBench(config_of(3, 2))
    program = [Execute(x_count=1 + index % 3, accumulator_row=index, weight_row=index, post=1 + index % 3) for index in range(12)]
    trace = bench.check(program)
    assert max(np.diff(trace.started)) == Execute.words + 3


@pytest.mark.parametrize("rows, cols, control, array", [
    (4, 4, {}, {}), (5, 3, {}, {}), (2, 7, {}, {}), (1, 1, {}, {}),
    (4, 4, {"outer_loops": 1, "inner_loops": 1}, {"transposer": False}),
    (4, 4, {"outer_loops": 2, "inner_loops": 2}, {}),
    (3, 3, {"outer_loops": 3, "inner_loops": 1}, {}),
    (3, 3, {"outer_loops": 1, "inner_loops": 3}, {}),
])
def test_random_commands(rows, cols, control, array):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    config = config_of(rows, cols, **control)
    config = dataclasses.replace(config, array=dataclasses.replace(config.array, **array))
    timing = timing_of(
        rows, cols, swap_cycles=choice.randrange(2), swap_to_shift_cycles=choice.randrange(rows, rows + 4) - 1,
        distance_cycles=choice.randrange(1, 9), shift_to_swap_cycles=choice.randrange(1, 5), fill_to_emit_cycles=choice.randrange(1, 9),
        emit_to_fill_cycles=choice.randrange(1, 9), settle_cycles=choice.randrange(1, 30))
    program = [random_command(choice, config) for _ in range(20)]
    bench = ExecuteBench(config, timing)
    bench.check(program, gap=choice.choice([0, 0.3]), seed=seed, limit=20_000)
