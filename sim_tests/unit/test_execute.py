"""ExecuteEngine against the definition of EXECUTE: exact sequences on both controls, distances, tokens, locks, errors, cycles."""

import dataclasses
import random
from collections import Counter

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.arch.commands import Engine, Execute, pack
from systolith.arch.config import resolve
from systolith.arch.registers import STALLS, ErrorCode
from systolith.rtl.execute import ExecuteEngine
from systolith.rtl.timing import DatapathTiming

ACTIVITIES = STALLS[Engine.EXECUTE]
LOAD_TOKEN, STORE_TOKEN = 1, 2


def timing_of(rows, cols, **changes):
    """Distances like those of the datapath."""
    return dataclasses.replace(DatapathTiming(
        swap_to_shift_cycles=rows - 1, shift_to_swap_cycles=1, fill_to_emit_cycles=4, emit_to_fill_cycles=2, distance_cycles=4,
        settle_cycles=rows + cols + 9, write_cycles=3, load_cycles=2, drain_cycles=3), **changes)


def config_of(rows, cols, **control):
    return resolve({"array": {"rows": rows, "cols": cols}, "memory": {"activation_kib": 1, "weight_kib": 1, "accumulator_rows": 64},
                    "epilogue": {"lanes": 1}, "control": control})


def definition(command, config):
    """What EXECUTE has to do: per tile its weight accesses, and per row of the command what the row control shows.

    Weight accesses are (kind, row, piece) with kind "fill", "shift", "zero", "emit" or "emit zero"; rows are
    (row or None, pad, swap, accumulator row, accumulate).
    """
    c, (rows, cols) = command, (config.array.rows, config.array.cols)
    tiles, issued = [], []
    for tile, (ky, kx, ct) in enumerate(np.ndindex(c.ky_count, c.kx_count, c.ct_count)):
        w = c.weight_row + ky * c.weight_ky + kx * c.weight_kx + ct * c.weight_ct
        valid = c.k_last if ct == c.ct_count - 1 else rows
        if c.transpose:
            accesses = [("fill", (w + n * c.weight_stride + piece) % 65536, piece)
                        for n in reversed(range(cols)) for piece in range(-(-rows // cols))]
            accesses += [("emit" if k < valid else "emit zero", None, 0) for k in reversed(range(rows))]
        else:
            accesses = [("shift", (w + i * c.weight_stride) % 65536, 0) if i < valid else ("zero", None, 0)
                        for i in reversed(range(rows))]
        tiles.append(accesses)
        for index, (b, y, x) in enumerate(np.ndindex(c.b_count, c.y_count, c.x_count)):
            a = (c.activation_row + ct * c.activation_ct + ky * c.activation_ky + kx * c.activation_kx
                 + b * c.activation_b + y * c.activation_y + x * c.activation_x)
            inside = ((c.y_origin + y * c.y_step + ky * c.y_dilation) % 65536 < c.height
                      and (c.x_origin + x * c.x_step + kx * c.x_dilation) % 65536 < c.width)
            issued.append((a % 65536 if inside else None, None if inside else c.pad, index == 0,
                           c.accumulator_row + index, bool(tile or c.accumulate)))
    return tiles, issued


@dataclasses.dataclass
class Trace:
    """What happened, with the cycle of each event."""
    weights: list
    rows: list
    activities: list
    gives: list
    started: list
    errors: list
    claims: list
    idle: list
    blocked: list

    @property
    def row_cycles(self):
        return [cycle for cycle, _ in self.rows]

    def between_rows(self):
        """Activities from the first row to the last."""
        return Counter(self.activities[self.row_cycles[0]:self.row_cycles[-1] + 1])


class Bench:
    """An engine with all tokens and halves at hand, unless a test's ``drive`` takes them away.

    ``drive(cycle, bench, ctx)`` is called every cycle; it may set ``available``, ``granted`` and ``halt`` of the engine.
    """

    def __init__(self, config, timing=None):
        self.config = config
        self.timing = timing or timing_of(config.array.rows, config.array.cols)
        self.dut = ExecuteEngine(config=config, timing=self.timing)

    def run(self, program, *, drive=None, gap=0.0, seed=0, limit=5000, until_idle=True):
        dut, trace = self.dut, Trace(*([] for _ in dataclasses.fields(Trace)))
        words = [int(word) for word in pack(program)]
        choice = random.Random(seed)
        m_weight, m_row = dut.weight.shape(), dut.row.shape()

        async def bench(ctx):
            position, settled = 0, 0
            ctx.set(dut.tokens.available, 3)
            ctx.set(dut.granted, 3)
            for cycle in range(limit):
                if drive:
                    drive(cycle, self, ctx)
                offered = position < len(words) and choice.random() >= gap
                ctx.set(dut.commands.valid, offered)
                if offered:
                    ctx.set(dut.commands.payload, words[position])
                take, mask = ctx.get(dut.tokens.take), ctx.get(dut.tokens.take_mask)
                ctx.set(dut.tokens.taken, take and not mask & ~ctx.get(dut.tokens.available))
                weight = m_weight.from_bits(ctx.get(dut.weight.as_value()))
                row = m_row.from_bits(ctx.get(dut.row.as_value()))
                if weight.fill or weight.shift:
                    kind = "fill" if weight.fill else f"{'emit' if weight.emit else ''} {'zero' if weight.zero else ''}".strip()
                    kind = kind or "shift"
                    trace.weights.append((cycle, (kind, weight.row if kind in ("fill", "shift") else None,
                                                  weight.piece if kind == "fill" else 0)))
                    assert not (weight.fill and weight.shift)
                if row.valid:
                    trace.rows.append((cycle, (None if row.pad else row.row, row.pad_value if row.pad else None, bool(row.swap),
                                               row.accumulator_row, bool(row.accumulate))))
                trace.activities.append(ACTIVITIES[ctx.get(dut.control.activity)])
                if ctx.get(dut.tokens.give):
                    trace.gives.append((cycle, ctx.get(dut.tokens.give_mask)))
                if ctx.get(dut.control.started):
                    trace.started.append(cycle)
                error = dut.control.error
                if ctx.get(error.valid):
                    trace.errors.append((ErrorCode(ctx.get(error.code)), len(trace.started) - ctx.get(error.begun)))
                trace.claims.append(ctx.get(dut.claim))
                trace.idle.append(ctx.get(dut.control.idle))
                trace.blocked.append(ctx.get(dut.control.blocked))
                if offered and ctx.get(dut.commands.ready):
                    position += 1
                stopped = trace.errors or ctx.get(dut.control.halt)
                settled = settled + 1 if (position == len(words) or stopped) and trace.idle[-1] else 0
                if settled == 5:
                    return
                await ctx.tick()
            assert not until_idle, "the engine does not become idle"

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        return trace

    def check(self, program, **arguments):
        """Runs ``program`` and checks all that must hold for each."""
        trace, timing = self.run(program, **arguments), self.timing
        expected = [definition(command, self.config) for command in program]
        assert trace.errors == []
        tiles = [tile for tiles, _ in expected for tile in tiles]
        assert [access for _, access in trace.weights] == [access for tile in tiles for access in tile]
        assert [row for _, row in trace.rows] == [row for _, rows in expected for row in rows]

        # Distances.
        position, last_emit = 0, None
        swaps = [cycle for cycle, row in trace.rows if row[2]]
        for tile, swap, previous_swap in zip(tiles, swaps, [None, *swaps], strict=False):
            accesses = trace.weights[position:position + len(tile)]
            position += len(tile)
            fills = [cycle for cycle, access in accesses if access[0] == "fill"]
            shifts = [cycle for cycle, access in accesses if access[0] != "fill"]
            assert swap - shifts[-1] >= timing.shift_to_swap_cycles
            if previous_swap is not None:
                assert shifts[0] - previous_swap >= timing.swap_to_shift_cycles
            if fills:
                assert shifts[0] - fills[-1] >= timing.fill_to_emit_cycles
                assert last_emit is None or fills[0] - last_emit >= timing.emit_to_fill_cycles
                last_emit = shifts[-1]
        touched = {}
        for cycle, (_, _, _, row, accumulate) in trace.rows:
            assert not accumulate or cycle - touched.get(row, -100) >= timing.distance_cycles
            touched[row] = cycle

        # Tokens, claims, activity, status.
        ends = np.cumsum([len(rows) for _, rows in expected])
        assert len(trace.started) == len(program)
        assert trace.gives == [(trace.row_cycles[end - 1] + timing.settle_cycles, command.post)
                               for end, command in zip(ends, program, strict=True) if command.post]
        for start, end, command in zip(trace.started, ends, program, strict=True):
            half = command.accumulator_row // self.config.half_rows
            claims = trace.claims[start + 1:trace.row_cycles[end - 1] + timing.settle_cycles + 1]
            assert all(claim >> half & 1 for claim in claims)
        assert trace.claims[-1] == 0
        assert [cycle for cycle, activity in enumerate(trace.activities) if activity == "busy"] == trace.row_cycles
        busy = range(trace.started[0], trace.row_cycles[-1] + timing.settle_cycles + 1)
        assert not any(trace.idle[cycle] for cycle in busy)
        return trace


def fits(command, config):
    """Whether ``command`` stays inside all memories."""
    tiles, rows = definition(command, config)
    half = config.half_rows
    return (len(rows) == 0 or rows[0][3] // half == rows[-1][3] // half) and rows[-1][3] < 2 * half and all(
        row < config.weight_rows for tile in tiles for kind, row, _ in tile if row is not None) and all(
        row[0] is None or row[0] < config.activation_rows for row in rows)


def random_command(choice, config, *, rows_limit=24):
    """A valid command that uses what ``config`` has."""
    loops = config.control
    while True:
        def stride():
            return choice.choice([0, 1, 1, 2, 3, -1, choice.randrange(-20, 20)])

        outer = {f"{level}_count": choice.choice([1, 2, 3]) for level in ("ky", "kx", "ct")[3 - loops.outer_loops:]}
        inner = {f"{level}_count": choice.choice([1, 1, 2, 3, 5]) for level in ("b", "y", "x")[3 - loops.inner_loops:]}
        if np.prod(list(inner.values())) > rows_limit:
            continue
        strides = {name: stride() for name in (
            "weight_stride", "weight_ky", "weight_kx", "weight_ct", "activation_ct", "activation_ky", "activation_kx",
            "activation_b", "activation_y", "activation_x")}
        size = {"height": choice.randrange(0, 8), "width": choice.randrange(0, 8)} if choice.random() < 0.7 else {}
        command = Execute(
            **outer, **inner, **strides, **size,
            wait=choice.randrange(4), post=choice.randrange(4), accumulate=choice.randrange(2),
            transpose=choice.randrange(2) if config.array.transposer else 0,
            weight_row=choice.randrange(config.weight_rows), activation_row=choice.randrange(config.activation_rows),
            accumulator_row=choice.randrange(2 * config.half_rows), pad=choice.randrange(-128, 128),
            k_last=choice.randrange(1, config.array.rows + 1),
            y_origin=choice.randrange(-3, 4), x_origin=choice.randrange(-3, 4), y_step=choice.randrange(3),
            x_step=choice.randrange(3), y_dilation=choice.randrange(3), x_dilation=choice.randrange(3))
        if fits(command, config):
            return command


def gemm(rows, tiles, *, array_rows, **fields):
    return Execute(**{"x_count": rows, "ct_count": tiles, "weight_ct": array_rows, "activation_ct": rows, "activation_x": 1,
                      "k_last": array_rows, **fields})


@pytest.mark.parametrize("rows, cols", [(1, 1), (4, 4), (3, 5), (8, 2)])
def test_matrix_product(rows, cols):
    bench = Bench(config_of(rows, cols))
    bench.check([gemm(20, 3, array_rows=rows, k_last=max(1, rows - 2), post=1)])
    bench.check([gemm(7, 1, array_rows=rows, accumulate=1, accumulator_row=32, wait=3, post=2)])


@pytest.mark.parametrize("fields", [
    {"y_step": 1, "x_step": 1, "y_dilation": 1, "x_dilation": 1, "y_origin": -1, "x_origin": -1},
    {"y_step": 2, "x_step": 2, "y_dilation": 1, "x_dilation": 1, "y_origin": -1, "x_origin": 0},
    {"y_step": 1, "x_step": 1, "y_dilation": 2, "x_dilation": 2, "y_origin": -2, "x_origin": -2},
], ids=["same", "strided", "dilated"])
def test_convolution(fields):
    height, width, config = 5, 4, config_of(4, 3)
    out = {"y": -(-height // fields["y_step"]), "x": -(-width // fields["x_step"])}
    command = Execute(
        ky_count=3, kx_count=3, ct_count=2, weight_ky=24, weight_kx=8, weight_ct=4, weight_row=16, k_last=3, pad=-7,
        height=height, width=width, **fields, y_count=out["y"], x_count=out["x"], b_count=1,
        activation_row=fields["y_origin"] * width + fields["x_origin"] & 0xFFFF, activation_ct=height * width,
        activation_ky=fields["y_dilation"] * width, activation_kx=fields["x_dilation"],
        activation_y=fields["y_step"] * width, activation_x=fields["x_step"])
    bench = Bench(config)
    trace = bench.check([command])
    padded = [row for _, row in trace.rows if row[0] is None]
    assert padded and all(pad == -7 for _, pad, *_ in padded)
    # Two images of half the height.
    bench.check([dataclasses.replace(command, b_count=2, height=2, y_count=1, activation_b=8)])


@pytest.mark.parametrize("rows, cols", [(4, 4), (5, 2), (2, 5), (1, 1), (1, 3), (3, 1)])
def test_transposed(rows, cols):
    pieces = -(-rows // cols)
    command = gemm(6, 3, array_rows=rows, transpose=1, weight_stride=pieces, weight_ct=cols * pieces, weight_row=3)
    plain = gemm(3, 2, array_rows=rows, weight_row=1, accumulate=1)
    Bench(config_of(rows, cols)).check([command, dataclasses.replace(command, k_last=1, x_count=25), plain, command, plain])


@pytest.mark.parametrize("distance", [1, 2, 3, 5, 8])
def test_hazard(distance):
    timing = timing_of(1, 1, distance_cycles=distance)
    bench = Bench(config_of(1, 1), timing)
    for rows in (1, 2, 3, 4, 9):
        trace = bench.check([gemm(rows, 6, array_rows=1)])
        # Tiles follow each other at the distance of the weights, or of the accumulator where that is longer.
        swaps = [cycle for cycle, row in trace.rows if row[2]]
        assert set(np.diff(swaps)) == {max(rows, distance, 5)}
        assert (trace.between_rows()["hazard"] > 0) == (distance > max(rows, 5))
    # Rows of different commands that overlap in part.
    bench.check([Execute(x_count=rows, accumulator_row=choice, accumulate=1) for rows in (1, 2, 1, 3) for choice in (0, 1, 0)])
    # A row that overwrites never waits.
    trace = bench.check([Execute(x_count=8, b_count=1), Execute(x_count=8)])
    assert trace.between_rows()["hazard"] == 0


@pytest.mark.parametrize("rows, cols", [(4, 4), (16, 2), (9, 3)])
def test_no_gaps(rows, cols):
    config = config_of(rows, cols)
    bench = Bench(config)
    most = config.half_rows
    for count in {2 * rows, min(2 * rows + 1, most), most}:
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


def test_small_commands():
    bench = Bench(config_of(3, 2))
    program = [Execute(x_count=1 + index % 3, accumulator_row=index, weight_row=index, post=1 + index % 3) for index in range(12)]
    trace = bench.check(program)
    assert max(np.diff(trace.started)) == Execute.words + 1


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
    timing = timing_of(rows, cols, swap_to_shift_cycles=choice.randrange(rows, rows + 4) - 1, distance_cycles=choice.randrange(1, 9),
                       shift_to_swap_cycles=choice.randrange(1, 5), fill_to_emit_cycles=choice.randrange(1, 9),
                       emit_to_fill_cycles=choice.randrange(1, 9), settle_cycles=choice.randrange(1, 30))
    program = [random_command(choice, config) for _ in range(30)]
    bench = Bench(config, timing)
    bench.check(program, gap=choice.choice([0, 0.3]), seed=seed, limit=20_000)
