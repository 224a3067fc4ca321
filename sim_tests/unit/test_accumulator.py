# amaranth: UnusedElaboratable=no
"""The accumulator against NumPy: touches, loads and drains of random rows at the claimed distances."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.rtl.accumulator import Accumulator


def wrap(values, bits):
    return (np.asarray(values) + 2**(bits - 1)) % 2**bits - 2**(bits - 1)


class Player:
    """Touches, loads and drains by cycle; ``run`` gives the words of each drain in order."""

    def __init__(self, dut):
        self.dut = dut
        self.touches, self.loads, self.drains, self.psums = {}, {}, {}, {}

    def touch(self, cycle, row, psums, *, accumulate):
        self.touches[cycle] = {"valid": 1, "row": int(row), "accumulate": int(accumulate)}
        for c, delay in enumerate(self.dut.delay):
            self.psums[cycle + delay + self.dut.lead_cycles, c] = int(psums[c])

    def run(self, noise=77):
        dut, result = self.dut, {}
        events = [*self.touches, *self.loads, *self.drains]

        async def bench(ctx):
            for cycle in range(max(events) + dut.drain_cycles + 1):
                ctx.set(dut.touch, self.touches.get(cycle, {"row": cycle % 8, "accumulate": 1}))
                for c, psum in enumerate(dut.psum):
                    ctx.set(psum, self.psums.get((cycle, c), noise))
                row, column, word = self.loads.get(cycle, (3, 0, noise))
                ctx.set(dut.load.valid, cycle in self.loads)
                ctx.set(dut.load.row, int(row))
                ctx.set(dut.load.column, int(column))
                ctx.set(dut.load.word, int(word) & 0xFFFFFFFF)
                half, row = divmod(self.drains.get(cycle, 0), dut.half_rows)
                ctx.set(dut.drain.half, int(half))
                ctx.set(dut.drain.row, int(row))
                if cycle - dut.drain_cycles in self.drains:
                    result[cycle - dut.drain_cycles] = [ctx.get(word) for word in dut.drain.words]
                await ctx.tick()

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        return np.array([result[cycle] for cycle in sorted(self.drains)])


def make(cols=3, half_rows=8, psum_bits=20, delay=None, bits=32):
    return Accumulator(cols=cols, half_rows=half_rows, psum_bits=psum_bits, delay=delay or list(range(cols)), bits=bits)


@pytest.mark.parametrize("bits", [32, 34, 48])
def test_load_touch_drain(bits):
    """Everything is loaded, touched 200 times as closely as allowed, and drained; sums wrap, and loaded words have their sign."""
    seed = 1
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    dut = make(cols=4, delay=[2, 3, 3, 5], psum_bits=bits - 12, bits=bits)  # any delays, not only 0, 1, 2 …
    most = 1 << bits - 13
    player = Player(dut)
    model = rng.choice([-2**31, 2**31 - 1, 0, -1, 12345], (16, 4))
    for i, value in enumerate(model.reshape(-1)):
        player.loads[i] = (i // 4, i % 4, value)
    cycle, last = model.size + 2, {}
    for _ in range(200):
        row, accumulate = int(rng.integers(16)), bool(rng.integers(4))
        psums = rng.choice([-most, most - 1, *rng.integers(-most, most, 3)], 4)
        cycle += 1
        if accumulate:
            cycle = max(cycle, last.get(row, 0) + dut.distance_cycles)
        player.touch(cycle, row, psums, accumulate=accumulate)
        model[row] = wrap(psums + (model[row] if accumulate else 0), bits)
        last[row] = cycle
    for row in range(16):
        player.drains[cycle + dut.settle_cycles + row] = row
    np.testing.assert_array_equal(player.run(), model)


@pytest.mark.parametrize("busy", [0, 1])
def test_halves_are_independent(busy):
    """A touch in every cycle of one half disturbs neither loads nor drains of the other."""
    rng = np.random.default_rng(2)
    dut = make()
    player = Player(dut)
    words = rng.integers(-2**31, 2**31, (8, 3))
    base = 8 * (1 - busy)
    for i, value in enumerate(words.reshape(-1)):
        player.loads[i] = (base + i // 3, i % 3, value)
        if i % 3 == 2:
            player.drains[i + dut.load_cycles] = base + i // 3
    for cycle in range(40):
        player.touch(cycle, 8 * busy + cycle % 8, rng.integers(-1000, 1000, 3), accumulate=cycle >= 8)
    np.testing.assert_array_equal(player.run(), words)


@pytest.mark.parametrize("cut", [0, 1])
def test_distance_is_minimal(cut):
    dut = make(cols=2, delay=[0, 4])
    player = Player(dut)
    for i in range(4):
        player.touch(i * (dut.distance_cycles - cut), 9, [10**i, -10**i], accumulate=i > 0)
    player.drains[60] = 9
    assert (player.run()[0] == [1111, -1111]).all() == (cut == 0)


@pytest.mark.parametrize("cut", [0, 1])
def test_settling_is_minimal(cut):
    dut = make(cols=3, delay=[1, 2, 6])
    player = Player(dut)
    player.touch(0, 5, [4, 5, 6], accumulate=False)
    player.drains[dut.settle_cycles - cut] = 5
    np.testing.assert_array_equal(player.run()[0], [4, 5, 0 if cut else 6])


@pytest.mark.parametrize("cut", [0, 1])
def test_load_latency_is_minimal(cut):
    dut = make()
    player = Player(dut)
    player.loads[3] = (12, 1, -5)
    player.drains[3 + dut.load_cycles - cut] = 12
    np.testing.assert_array_equal(player.run()[0], [0, 0 if cut else -5, 0])


@pytest.mark.parametrize(("arguments", "message"), [
    ({"half_rows": 12}, "half_rows must be a power of two from 2 on, not 12"),
    ({"half_rows": 1}, "half_rows must be a power of two from 2 on, not 1"),
    ({"delay": [0]}, "delay must have one entry per column, 3, not [0]"),
])
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError) as caught:
        make(**arguments)
    assert str(caught.value) == message
