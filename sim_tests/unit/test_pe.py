# amaranth: UnusedElaboratable=no
"""One processing element, cycle by cycle, against a model of three lines."""

import itertools

import numpy as np
import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator
from systolith.rtl.pe import MAC, PE

CORNERS = [-128, -127, -1, 0, 1, 127]


def run(dut, inputs):
    """Outputs in each cycle, as dicts, for inputs in each cycle."""
    outputs = []

    async def bench(ctx):
        for values in inputs:
            for name, value in values.items():
                ctx.set(getattr(dut, name), int(value))
            outputs.append({name: ctx.get(getattr(dut, name)) for name in ("a_out", "swap_out", "w_out", "psum_out")})
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return outputs


def test_random_cycles():
    seed, psum_bits = 1, 20
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    n = 300
    a, w, psum = (rng.integers(-(1 << bits - 1), 1 << bits - 1, n) for bits in (8, 8, psum_bits))
    swap, shift = rng.integers(0, 2, n), rng.integers(0, 2, n)
    outputs = run(PE(psum_bits=psum_bits), [
        {"a_in": a[t], "w_in": w[t], "psum_in": psum[t], "swap_in": swap[t], "w_shift": shift[t]} for t in range(n)])
    shadow = active = 0
    used = []
    for t in range(n):
        assert outputs[t]["w_out"] == shadow
        if t:
            assert (outputs[t]["a_out"], outputs[t]["swap_out"]) == (a[t - 1], swap[t - 1])
        if t >= PE.latency_cycles:
            total = int(psum[t - PE.psum_latency_cycles]) + used[t - PE.latency_cycles]
            assert outputs[t]["psum_out"] == (total + (1 << psum_bits - 1)) % (1 << psum_bits) - (1 << psum_bits - 1)
        # A swap is for the activation beside it, with the shadow weight of this cycle, also while it shifts.
        active = shadow if swap[t] else active
        used.append(int(a[t]) * active)
        shadow = int(w[t]) if shift[t] else shadow


def test_corner_products():
    pairs = list(itertools.product(CORNERS, CORNERS))
    dut = PE(psum_bits=16)
    cycles = []
    for a, w in pairs:
        cycles += [{"a_in": 0, "w_in": w, "w_shift": 1, "swap_in": 0, "psum_in": 0}, {"a_in": a, "w_shift": 0, "swap_in": 1}]
    cycles += [{"a_in": 0, "swap_in": 0}] * PE.latency_cycles
    outputs = run(dut, cycles)
    assert [outputs[2 * i + 1 + PE.latency_cycles]["psum_out"] for i in range(len(pairs))] == [a * w for a, w in pairs]


def test_platform_may_bring_its_own_mac():
    class Platform:
        def get_mac(self, mac):
            self.asked = mac
            return Fragment()

    platform = Platform()
    mac = MAC(psum_bits=19)
    assert isinstance(mac.elaborate(platform), Fragment)
    assert platform.asked is mac


def test_psum_bits_are_checked():
    with pytest.raises(ValueError) as caught:
        MAC(psum_bits=15)
    assert str(caught.value) == "psum_bits must be at least 16, not 15"
