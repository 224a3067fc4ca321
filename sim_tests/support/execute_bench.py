"""An ExecuteEngine on the simulator, and the definition of EXECUTE to compare it with."""

import dataclasses
import random
from collections import Counter

import numpy as np
from amaranth.sim import Simulator
from systolith.arch.commands import Engine, Execute, pack
from systolith.arch.registers import STALLS, ErrorCode
from systolith.arch.settings import resolve
from systolith.rtl.execute import ExecuteEngine
from systolith.rtl.timing import DatapathTiming

ACTIVITIES = STALLS[Engine.EXECUTE]


def timing_of(rows, cols, **changes):
    """Distances like those of the datapath."""
    return dataclasses.replace(DatapathTiming(
        swap_cycles=0, swap_to_shift_cycles=rows - 1, shift_to_swap_cycles=1, fill_to_emit_cycles=4, emit_to_fill_cycles=2,
        distance_cycles=4, settle_cycles=rows + cols + 9, write_cycles=3, load_cycles=2, drain_cycles=3), **changes)


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
    swaps: list
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


class ExecuteBench:
    """An engine with all tokens and halves at hand, unless a test's ``drive`` takes them away.

    ``drive(cycle, bench, ctx)`` is called every cycle; it may set ``available``, ``granted`` and ``halt`` of the engine.
    """

    engine = ExecuteEngine

    def __init__(self, config, timing=None):
        self.config = config
        self.timing = timing or timing_of(config.array.rows, config.array.cols)
        self.dut = self.engine(config=config, timing=self.timing)
        # Made once, as that takes longer than a short program.
        self.simulator = Simulator(self.dut)
        self.simulator.add_clock(1e-6)
        self.simulator.add_testbench(self.bench)
        self.work = None

    async def bench(self, ctx):
        await self.follow(ctx, *self.work)

    def run(self, program, *, drive=None, gap=0.0, seed=0, limit=5000):
        trace = Trace(*([] for _ in dataclasses.fields(Trace)))
        if self.work:
            self.simulator.reset()
        self.work = [int(word) for word in pack(program)], trace, drive, gap, seed, limit
        self.simulator.run()
        return trace

    async def follow(self, ctx, words, trace, drive, gap, seed, limit):
        dut, choice = self.dut, random.Random(seed)
        weight_layout, row_layout = dut.weight.shape(), dut.row.shape()
        position, settled, took = 0, 0, False
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
            assert not (took and take)  # the counters tell only after next what is left
            took = take and not mask & ~ctx.get(dut.tokens.available)
            ctx.set(dut.tokens.taken, took)
            self.watch(weight_layout.from_bits(ctx.get(dut.weight.as_value())), row_layout.from_bits(ctx.get(dut.row.as_value())),
                       cycle, trace)
            trace.activities.append(ACTIVITIES[ctx.get(dut.control.activity)])
            if ctx.get(dut.tokens.give):
                trace.gives.append((cycle, ctx.get(dut.tokens.give_mask)))
            error = dut.control.error
            if ctx.get(error.valid):
                trace.errors.append((ErrorCode(ctx.get(error.code)), len(trace.started) - ctx.get(dut.control.begun)))
            if ctx.get(dut.control.started):
                trace.started.append(cycle)
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
        raise AssertionError("the engine does not become idle")

    def watch(self, weight, row, cycle, trace):
        """Records what both controls show in this cycle."""
        if weight.fill or weight.shift:
            kind = "fill" if weight.fill else "emit zero" if weight.emit and weight.zero else (
                "emit" if weight.emit else "zero" if weight.zero else "shift")
            trace.weights.append((cycle, (kind, weight.row if kind in ("fill", "shift") else None,
                                          weight.piece if kind == "fill" else 0)))
        assert not (weight.fill and weight.shift) and (weight.shift or not weight.emit)
        self.note_row(row, cycle, trace)

    def note_row(self, row, cycle, trace):
        """What the row control shows, as the definition has it."""
        alone = self.timing.swap_cycles == 1
        if row.swap and (alone or row.valid):
            trace.swaps.append(cycle)
            assert not alone or (row.valid, row.pad, row.pad_value) == (0, 1, 0)
        if row.valid:
            swap = bool(trace.swaps) and trace.swaps[-1] > (trace.rows[-1][0] if trace.rows else -1)
            trace.rows.append((cycle, (None if row.pad else row.row, row.pad_value if row.pad else None, swap,
                                       row.accumulator_row, bool(row.accumulate))))

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
        firsts = [cycle for cycle, row in trace.rows if row[2]]
        assert len(trace.swaps) == len(firsts) == len(tiles)
        assert all(first - swap >= timing.swap_cycles for swap, first in zip(trace.swaps, firsts, strict=True))
        for tile, swap, previous_swap in zip(tiles, trace.swaps, [None, *trace.swaps], strict=False):
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
                               for end, command in zip(ends, program, strict=True)]
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


def transposed_program(rows, cols):
    """Tiles of transposed weights before and behind plain ones, the last with one valid K row."""
    pieces = -(-rows // cols)
    command = gemm(6, 3, array_rows=rows, transpose=1, weight_stride=pieces, weight_ct=cols * pieces, weight_row=3)
    plain = gemm(3, 2, array_rows=rows, weight_row=1, accumulate=1)
    return [command, dataclasses.replace(command, k_last=1, x_count=25), plain, command, plain]
