"""The datapath against NumPy, at the smallest distances that it claims, and wrong at any smaller one."""

import dataclasses

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.arch.numerics import pack_int4
from systolith.arch.settings import resolve
from systolith.rtl.datapath import Datapath

SHAPES = [(1, 1), (3, 5), (5, 3), (4, 4), (2, 6), (7, 2), (4, 3)]


def make(rows, cols, **array):
    return resolve({"array": {"rows": rows, "cols": cols, **array},
                    "memory": {"activation_kib": 1, "weight_kib": 1, "accumulator_rows": 32}})


def wrap(values):
    """int64 sums as int32."""
    return (np.asarray(values) + 2**31) % 2**32 - 2**31


class Machine:
    """A schedule of events by cycle, the simulation that plays it, and the words that came out of the drain."""

    def __init__(self, config, seed=0):
        self.config = config
        self.datapath = Datapath(config)
        self.timing = self.datapath.timing
        self.events = {}
        self.drains = []
        rng = np.random.default_rng(seed)
        rows, cols = config.array.rows, config.array.cols
        self.activations = rng.integers(-128, 128, (config.activation_rows, rows))
        low, high = config.array.weight_limits
        self.weights = rng.integers(low, high + 1, (config.weight_rows, cols))

    def at(self, cycle, port, **values):
        assert (cycle, port) not in self.events, f"two events in cycle {cycle}"
        self.events[cycle, port] = values

    def drain(self, cycle, row):
        half, row = divmod(row, self.config.half_rows)
        self.at(cycle, "drain", half=half, row=row)
        self.drains.append(cycle)

    def write(self, port, source, lanes, count_rows):
        """Cycles of writes that put the first rows of ``source`` into a scratchpad."""
        width = min(self.config.bus_bytes, lanes)
        data = source[:count_rows].reshape(-1)
        for cycle, start in enumerate(range(0, data.size, width)):
            piece = [int(v) & 255 for v in data[start:start + width]]
            self.at(cycle, port, row=start // lanes, lane=start % lanes, count=len(piece), data=piece + [0] * (width - len(piece)))
        return cycle + 1

    def fill_scratchpads(self, activation_rows, weight_rows):
        """First cycle in which controls see the contents."""
        config = self.config
        octets = pack_int4(self.weights) if config.array.weight_bits == 4 else self.weights
        return max(self.write("activation0", self.activations, config.array.rows, activation_rows),
                   self.write("weight1", octets, config.weight_lanes, weight_rows)) - 1 + self.timing.write_cycles

    def run(self):
        """Words of each drain request in order, shape (requests, cols)."""
        dut = self.datapath
        ports = {"weights": dut.weight_control, "rows": dut.row_control}
        writes = {f"{name}{i}": port.stream for name, pair in (("activation", dut.activation_write), ("weight", dut.weight_write))
                  for i, port in enumerate(pair)}
        result = {}
        end = max(cycle for cycle, _ in self.events) + self.timing.drain_cycles + 1

        async def bench(ctx):
            for cycle in range(end):
                for name, port in ports.items():
                    # Whatever is not an event is noise that must not matter.
                    ctx.set(port, self.events.get((cycle, name), {"row": cycle % 7}))
                for name, stream in writes.items():
                    values = self.events.get((cycle, name))
                    ctx.set(stream.valid, values is not None)
                    if values:
                        ctx.set(stream.payload, values)
                load = self.events.get((cycle, "load"))
                ctx.set(dut.load.valid, load is not None)
                for name, value in (load or {}).items():
                    ctx.set(getattr(dut.load, name), value)
                for name, value in self.events.get((cycle, "drain"), {"half": 0, "row": 0}).items():
                    ctx.set(getattr(dut.drain, name), value)
                if cycle - self.timing.drain_cycles in self.drains:
                    result[cycle - self.timing.drain_cycles] = [ctx.get(word) for word in dut.drain.words]
                await ctx.tick()

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        return np.array([result[cycle] for cycle in self.drains])


@dataclasses.dataclass
class Tile:
    """A weight tile from scratchpad row ``row`` on with ``k_valid`` K rows, for ``count`` activation rows from ``first`` on."""
    row: int
    first: int
    count: int
    k_valid: int
    transposed: bool = False
    accumulator_row: int = 0
    accumulate: bool = True


def schedule(machine, tiles, timing):
    """Issue tiles as early as ``timing`` allows; the cycle of the last row."""
    rows, cols = machine.config.array.rows, machine.config.array.cols
    pieces = -(-rows // cols)
    weights_free = rows_free = machine.fill_scratchpads(40, 40)
    swap = emit = -1000
    touched = {}
    for tile in tiles:
        cycle = weights_free
        if tile.transposed:
            cycle = max(cycle, emit + timing.emit_to_fill_cycles)
            for n in reversed(range(cols)):
                for piece in range(pieces):
                    machine.at(cycle, "weights", fill=1, piece=piece, row=tile.row + n * pieces + piece)
                    cycle += 1
            cycle += timing.fill_to_emit_cycles - 1
        cycle = max(cycle, swap + timing.swap_to_shift_cycles)
        for k in reversed(range(rows)):
            machine.at(cycle, "weights", shift=1, zero=int(k >= tile.k_valid), emit=int(tile.transposed), row=tile.row + k)
            cycle += 1
        emit = cycle - 1 if tile.transposed else emit
        weights_free = cycle
        cycle = swap = max(rows_free, cycle - 1 + timing.shift_to_swap_cycles)
        if timing.swap_cycles:
            machine.at(cycle, "rows", swap=1, pad=1)
            cycle += timing.swap_cycles
        for i in range(tile.count):
            row = tile.accumulator_row + i
            if tile.accumulate:
                cycle = max(cycle, touched.get(row, -1000) + timing.distance_cycles)
            if i == 0 and not timing.swap_cycles:
                swap = cycle
            machine.at(cycle, "rows", valid=1, row=tile.first + i, swap=int(i == 0 and not timing.swap_cycles), accumulator_row=row,
                       accumulate=int(tile.accumulate))
            touched[row] = cycle
            cycle += 1
        rows_free = cycle
    return cycle - 1


def expected(machine, tiles):
    rows, cols = machine.config.array.rows, machine.config.array.cols
    pieces = -(-rows // cols)
    result = np.zeros((machine.config.memory.accumulator_rows, cols), dtype=np.int64)
    for tile in tiles:
        if tile.transposed:
            vectors = machine.weights[tile.row:tile.row + cols * pieces].reshape(cols, pieces * cols)
            matrix = vectors.T[:rows].copy()
        else:
            matrix = machine.weights[tile.row:tile.row + rows].copy()
        matrix[tile.k_valid:] = 0
        product = machine.activations[tile.first:tile.first + tile.count] @ matrix
        target = result[tile.accumulator_row:tile.accumulator_row + tile.count]
        target[:] = product + (target if tile.accumulate else 0)
    return wrap(result)


def run_tiles(machine, tiles, timing=None, drained=None):
    """(words, expected words) of the accumulator rows that the tiles touch."""
    last = schedule(machine, tiles, timing or machine.timing)
    drained = drained or sorted({tile.accumulator_row + i for tile in tiles for i in range(tile.count)})
    for i, row in enumerate(drained):
        machine.drain(last + machine.timing.settle_cycles + i, row)
    return machine.run(), expected(machine, tiles)[drained]


def random_tiles(rng, rows, cols, count, transposer=True):
    """Tiles that follow each other as closely as can be; the first two overwrite one half each."""
    tiles = [Tile(0, 0, 16, rows, accumulator_row=0, accumulate=False), Tile(1, 2, 16, rows, accumulator_row=16, accumulate=False)]
    for _ in range(count):
        first, size = int(rng.integers(0, 20)), int(rng.integers(1, 2 * rows + 3))
        size = min(size, 16)
        tiles.append(Tile(int(rng.integers(0, 40 - max(rows, cols * -(-rows // cols)) + 1)), first, size,
                          int(rng.integers(1, rows + 1)), bool(transposer and rng.integers(2)),
                          int(rng.integers(0, 32 - size + 1)), bool(rng.integers(4))))
    return tiles


@pytest.mark.parametrize(("rows", "cols"), SHAPES)
@pytest.mark.parametrize("seed", [1, 2])
def test_random_tiles_back_to_back(rows, cols, seed):
    print(f"seed {seed}")
    machine = Machine(make(rows, cols), seed)
    words, reference = run_tiles(machine, random_tiles(np.random.default_rng(seed), rows, cols, 12))
    np.testing.assert_array_equal(words, reference)


@pytest.mark.parametrize(("rows", "cols", "array"), [
    (4, 3, {"multiplier": "fast-inner-product"}), (4, 5, {"multiplier": "fast-inner-product", "side_dsp": True, "dsp_cols": 3}),
    (2, 5, {"multiplier": "fast-inner-product"}),
    (6, 4, {"multiplier": "fast-inner-product", "block_rows": 2}), (8, 2, {"multiplier": "fast-inner-product", "block_rows": 1}),
    (5, 3, {"block_rows": 2}), (3, 6, {"block_rows": 1}), (8, 2, {"multiplier": "dual"}), (3, 5, {"multiplier": "dual"}),
    *((rows, cols, {"weights": "int4"}) for rows, cols in SHAPES),
    (4, 3, {"weights": "int4", "multiplier": "fast-inner-product", "block_rows": 1}), (6, 4, {"weights": "int4", "block_rows": 4})])
def test_random_tiles_with_other_elements(rows, cols, array):
    seed = 12
    print(f"seed {seed}")
    machine = Machine(make(rows, cols, **array), seed)
    words, reference = run_tiles(machine, random_tiles(np.random.default_rng(seed), rows, cols, 12))
    np.testing.assert_array_equal(words, reference)


def test_sixteen_by_sixteen():
    machine = Machine(resolve({"memory": {"activation_kib": 1, "weight_kib": 1, "accumulator_rows": 32}}), 3)
    tiles = [Tile(0, 0, 16, 16, accumulate=False), Tile(16, 3, 12, 16, True), Tile(20, 20, 3, 5)]
    words, reference = run_tiles(machine, tiles)
    np.testing.assert_array_equal(words, reference)


def test_largest_sums():
    machine = Machine(make(4, 3))
    machine.activations[:] = -128
    machine.weights[:] = -128
    machine.weights[4:8] = 127
    words, reference = run_tiles(machine, [Tile(0, 0, 2, 4, accumulate=False), Tile(4, 0, 1, 4), Tile(4, 0, 1, 4, accumulator_row=5)])
    np.testing.assert_array_equal(words[:2, 0], [4 * 2**14 - 4 * 128 * 127, 4 * 2**14])
    np.testing.assert_array_equal(words, reference)


@pytest.mark.parametrize("multiplier", ["single", "fast-inner-product"])
def test_largest_sums_of_int4_weights(multiplier):
    machine = Machine(make(4, 3, weights="int4", multiplier=multiplier))
    machine.activations[:] = -128
    machine.weights[:] = -8
    machine.weights[4:8] = 7
    words, reference = run_tiles(machine, [Tile(0, 0, 2, 4, accumulate=False), Tile(4, 0, 1, 4), Tile(4, 0, 1, 4, accumulator_row=5)])
    np.testing.assert_array_equal(words[:2, 0], [4 * 128 * (8 - 7), 4 * 128 * 8])
    np.testing.assert_array_equal(words, reference)


def test_plain_only_without_transposer():
    machine = Machine(make(3, 4, transposer=False), 4)
    words, reference = run_tiles(machine, random_tiles(np.random.default_rng(4), 3, 4, 6, transposer=False))
    np.testing.assert_array_equal(words, reference)


def test_pad_and_gaps():
    """Padding replaces rows in every lane; cycles without ``valid`` change nothing, whatever the other fields say."""
    machine = Machine(make(3, 2), 5)
    start = machine.fill_scratchpads(8, 8)
    for i in range(3):
        machine.at(start + i, "weights", shift=1, row=2 - i)
    cycle = start + 3
    for i, pad in enumerate([None, -128, 127, None, 3]):
        machine.at(cycle, "rows", valid=1, row=i, pad=int(pad is not None), pad_value=pad or 0, swap=int(i == 0), accumulator_row=i)
        machine.at(cycle + 1, "rows", valid=0, row=7, pad=1, pad_value=99, swap=1, accumulator_row=i, accumulate=i & 1)
        cycle += 2
    # Another tile waits in the shadow: a swap without valid would take it.
    for i in range(3):
        machine.at(start + 3 + machine.timing.swap_to_shift_cycles + i, "weights", shift=1, row=7 - i)
    for i in range(5):
        machine.drain(cycle + machine.timing.settle_cycles + i, i)
    rows = machine.activations[:5].copy()
    rows[1], rows[2], rows[4] = -128, 127, 3
    np.testing.assert_array_equal(machine.run(), rows @ machine.weights[:3])


def test_sums_wrap():
    """An accumulator that was loaded with the largest word wraps, as int32 does."""
    machine = Machine(make(2, 2), 6)
    start = machine.fill_scratchpads(2, 2)
    extremes = np.array([[2**31 - 1, -2**31], [-2**31, 2**31 - 1]])
    for i in range(4):
        machine.at(i, "load", row=17 + i // 2, column=i % 2, word=int(extremes[i // 2, i % 2]) & 0xFFFFFFFF)
    machine.at(start, "weights", shift=1, row=1)
    machine.at(start + 1, "weights", shift=1, row=0)
    for i in range(2):
        machine.at(start + 2 + i, "rows", valid=1, row=i, swap=int(i == 0), accumulator_row=17 + i, accumulate=1)
        machine.drain(start + 3 + machine.timing.settle_cycles + i, 17 + i)
    products = machine.activations[:2] @ machine.weights[:2]
    np.testing.assert_array_equal(machine.run(), wrap(extremes + products))


def test_halves_work_at_the_same_time():
    """While one half takes a touch in every cycle, the other one is loaded and drained."""
    machine = Machine(make(3, 4), 7)
    start = machine.fill_scratchpads(16, 4)
    for i in range(3):
        machine.at(start + i, "weights", shift=1, row=2 - i)
    rng = np.random.default_rng(7)
    loaded = rng.integers(-2**31, 2**31, (4, 4))
    for i in range(16):
        machine.at(start + 3 + i, "rows", valid=1, row=i, swap=int(i == 0), accumulator_row=i)
        machine.at(start + 3 + i, "load", row=16 + i // 4, column=i % 4, word=int(loaded[i // 4, i % 4]) & 0xFFFFFFFF)
    # Row 16 + n was written in cycles 3 + 4n to 6 + 4n; the touches go on in the other half until well after.
    for n in range(4):
        machine.drain(start + 6 + 4 * n + machine.timing.load_cycles, 16 + n)
    for i in range(16):
        machine.drain(start + 18 + machine.timing.settle_cycles + i, i)
    np.testing.assert_array_equal(machine.run(), [*loaded, *(machine.activations[:16] @ machine.weights[:3])])


# Each distance with something that breaks when it is one cycle shorter.

def shorten(timing, name):
    return dataclasses.replace(timing, **{name: getattr(timing, name) - 1})


@pytest.mark.parametrize(("name", "rows", "cols", "transposed", "array"), [(*shape, {}) for shape in [
    ("swap_to_shift_cycles", 4, 3, False), ("swap_to_shift_cycles", 2, 5, False), ("shift_to_swap_cycles", 4, 3, False),
    ("shift_to_swap_cycles", 1, 1, False), ("fill_to_emit_cycles", 4, 4, True), ("fill_to_emit_cycles", 3, 5, True),
    ("fill_to_emit_cycles", 5, 3, True),
    ("emit_to_fill_cycles", 3, 5, True), ("emit_to_fill_cycles", 2, 6, True), ("emit_to_fill_cycles", 1, 4, True),
]] + [(f"{name}_cycles", 4, 3, False, {"multiplier": "fast-inner-product"}) for name in ("swap", "swap_to_shift", "shift_to_swap")])
def test_tile_distances_are_minimal(name, rows, cols, transposed, array):
    tiles = [Tile(i, 0, 3, rows, transposed, accumulator_row=i, accumulate=False) for i in (0, 9)]
    words, reference = run_tiles(Machine(make(rows, cols, **array), 8), tiles)
    np.testing.assert_array_equal(words, reference)
    machine = Machine(make(rows, cols, **array), 8)
    words, reference = run_tiles(machine, tiles, shorten(machine.timing, name))
    assert (words != reference).any()


def one_row(machine, start):
    """Tile 0 into the shadow weights from ``start`` on; the first cycle for a row with swap."""
    rows = machine.config.array.rows
    for i in range(rows):
        machine.at(start + i, "weights", shift=1, row=rows - 1 - i)
    return start + rows - 1 + machine.timing.shift_to_swap_cycles


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (3, 5), (5, 3)])
@pytest.mark.parametrize("cut", [0, 1])
def test_accumulating_distance_is_minimal(rows, cols, cut):
    machine = Machine(make(rows, cols), 9)
    cycle = one_row(machine, machine.fill_scratchpads(4, rows))
    distance = machine.timing.distance_cycles - cut
    for i in range(4):
        machine.at(cycle + i * distance, "rows", valid=1, row=i, swap=int(i == 0), accumulator_row=3, accumulate=int(i > 0))
    machine.drain(cycle + 3 * distance + machine.timing.settle_cycles, 3)
    right = machine.activations[:4].sum(axis=0) @ machine.weights[:rows]
    assert (machine.run()[0] == right).all() == (cut == 0)


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (3, 5), (5, 3)])
@pytest.mark.parametrize("cut", [0, 1])
def test_settling_is_minimal(rows, cols, cut):
    machine = Machine(make(rows, cols), 10)
    cycle = one_row(machine, machine.fill_scratchpads(1, rows))
    machine.at(cycle, "rows", valid=1, row=0, swap=1, accumulator_row=16)
    machine.drain(cycle + machine.timing.settle_cycles - cut, 16)
    right = machine.activations[0] @ machine.weights[:rows]
    assert (machine.run()[0] == right).all() == (cut == 0)


@pytest.mark.parametrize("cut", [0, 1])
@pytest.mark.parametrize("port", ["activation0", "activation1", "weight0", "weight1"])
def test_write_latency_is_minimal(port, cut):
    machine = Machine(make(1, 1), 11)
    written = machine.fill_scratchpads(2, 2)
    machine.at(written, port, row=1, lane=0, count=1, data=[77])
    read = written + machine.timing.write_cycles - cut
    shift = read if port.startswith("weight") else read - machine.timing.shift_to_swap_cycles
    row = shift + machine.timing.shift_to_swap_cycles
    machine.at(shift, "weights", shift=1, row=1)
    machine.at(row, "rows", valid=1, row=1, swap=1, accumulator_row=0)
    machine.drain(row + machine.timing.settle_cycles, 0)
    other = machine.weights if port.startswith("activation") else machine.activations
    assert (machine.run()[0, 0] == 77 * other[1, 0]) == (cut == 0)


@pytest.mark.parametrize("cut", [0, 1])
def test_load_latency_is_minimal(cut):
    machine = Machine(make(2, 3), 12)
    machine.at(0, "load", row=21, column=2, word=5)
    machine.at(5, "load", row=21, column=2, word=6)
    machine.drain(5 + machine.timing.load_cycles - cut, 21)
    assert machine.run()[0, 2] == 6 - cut
