"""Processing elements, cycle by cycle, against models of a few lines."""

import itertools

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.rtl.packed_pe import PackedPE
from systolith.rtl.pe import PE, FabricPairPE, FabricPE, PairPE, RowTermPE

CORNERS = [-128, -127, -1, 0, 1, 127]
CORNERS16 = [-32768, -32767, -129, -1, 0, 1, 255, 32767]
# Kinds of elements with the widths of their weights and activations.
ELEMENTS = [(kind, weight_bits, 8) for kind in (PE, FabricPE, PairPE, FabricPairPE) for weight_bits in (8, 4)]
ELEMENTS += [(kind, weight_bits, 16) for kind in (PE, FabricPE) for weight_bits in (8, 4)]


def run(dut, inputs, outputs):
    """Outputs in each cycle, as dicts, for inputs in each cycle."""
    seen = []

    async def bench(ctx):
        for values in inputs:
            for name, value in values.items():
                ctx.set(getattr(dut, name), int(value))
            seen.append({name: ctx.get(getattr(dut, name)) for name in outputs})
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def wrap(value, bits):
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def pack(values, bits=8):
    """Values of ``bits`` side by side, the first one lowest."""
    return sum((int(value) & (1 << bits) - 1) << bits * i for i, value in enumerate(values))


def product(a, w):
    """What an element adds for its rows' activations and active weights."""
    return int(a[0]) * int(w[0]) if len(a) == 1 else (int(a[0]) + int(w[1])) * (int(a[1]) + int(w[0]))


@pytest.mark.parametrize(("kind", "weight_bits", "activation_bits"), ELEMENTS)
def test_random_cycles(kind, weight_bits, activation_bits):
    seed, psum_bits = 1, 12 + activation_bits
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    n, rows = 300, kind.rows
    low, mask, least, half = -1 << weight_bits - 1, (1 << weight_bits) - 1, -1 << activation_bits - 1, 1 << psum_bits - 1
    a, w, psum = rng.integers(least, -least, (n, rows)), rng.integers(low, -low, n), rng.integers(-half, half, n)
    swap, shift = rng.integers(0, 2, n), rng.integers(0, 2, n)
    outputs = run(kind(psum_bits=psum_bits, weight_bits=weight_bits, activation_bits=activation_bits), [
        {"a_in": pack(a[t], activation_bits), "w_in": int(w[t]) & mask, "psum_in": psum[t], "swap_in": swap[t], "w_shift": shift[t]}
        for t in range(n)], ("a_out", "swap_out", "w_out", "psum_out"))
    shadow, active = [0] * rows, [0] * rows
    used = []
    for t in range(n):
        assert outputs[t]["w_out"] == shadow[-1] & mask
        if t:
            assert (outputs[t]["a_out"], outputs[t]["swap_out"]) == (pack(a[t - 1], activation_bits), swap[t - 1])
        if t >= kind.latency_cycles:
            assert outputs[t]["psum_out"] == wrap(int(psum[t - kind.psum_latency_cycles]) + used[t - kind.latency_cycles], psum_bits)
        # A swap is for the activation beside it, with the shadow weight of this cycle, also while it shifts.
        active = shadow if swap[t] else active
        used.append(product(a[t], active))
        shadow = [int(w[t]), *shadow[:-1]] if shift[t] else shadow


@pytest.mark.parametrize(("kind", "weight_bits", "activation_bits"), ELEMENTS)
def test_corner_products(kind, weight_bits, activation_bits):
    """All combinations of the extremes, each tile one row."""
    activations = CORNERS if activation_bits == 8 else CORNERS16
    weights = CORNERS if weight_bits == 8 else [-8, -7, -1, 0, 1, 7]
    cases = list(itertools.product(itertools.product(activations, repeat=kind.rows), itertools.product(weights, repeat=kind.rows)))
    cycles = []
    for a, w in cases:
        cycles += [{"a_in": 0, "w_in": weight & (1 << weight_bits) - 1, "w_shift": 1, "swap_in": 0, "psum_in": 0} for weight in reversed(w)]
        cycles += [{"a_in": pack(a, activation_bits), "w_shift": 0, "swap_in": 1}]
    cycles += [{"a_in": 0, "swap_in": 0}] * kind.latency_cycles
    element = kind(psum_bits=12 + activation_bits, weight_bits=weight_bits, activation_bits=activation_bits)
    outputs = run(element, cycles, ["psum_out"])
    step = kind.rows + 1
    got = [outputs[step * i + kind.rows + kind.latency_cycles]["psum_out"] for i in range(len(cases))]
    assert got == [product(a, w) for a, w in cases]


@pytest.mark.parametrize("dsp", [False, True])
def test_row_term_comes_with_the_first_column(dsp):
    seed = 2
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    a, psum = rng.choice([*CORNERS, 77, -45], (300, 2)), rng.integers(-1 << 19, 1 << 19, 300)
    outputs = run(RowTermPE(psum_bits=20, dsp=dsp), [{"a": pack(a[t]), "psum_in": psum[t]} for t in range(len(a))], ["psum_out"])
    latency = RowTermPE.latency_cycles
    for t in range(latency, len(a)):
        assert outputs[t]["psum_out"] == wrap(int(psum[t - 1]) + int(a[t - latency, 0]) * int(a[t - latency, 1]), 20)
    assert PairPE.a_latency_cycles + latency == PairPE.latency_cycles


@pytest.mark.parametrize(("kind", "weight_bits", "activation_bits"), ELEMENTS)
def test_psum_bits_are_checked(kind, weight_bits, activation_bits):
    least = activation_bits + weight_bits
    with pytest.raises(ValueError) as caught:
        kind(psum_bits=least - 1, weight_bits=weight_bits, activation_bits=activation_bits)
    assert str(caught.value) == f"psum_bits must be at least {least}, not {least - 1}"


@pytest.mark.parametrize(("kind", "bits", "rule"), [
    (PairPE, 16, "8"), (FabricPairPE, 16, "8"), (PackedPE, 16, "8"), (PE, 12, "8 or 16"), (FabricPE, 7, "8 or 16")])
def test_activation_bits_are_checked(kind, bits, rule):
    with pytest.raises(ValueError) as caught:
        kind(psum_bits=32, activation_bits=bits)
    assert str(caught.value) == f"activation_bits must be {rule}, not {bits}"


def test_limits_of_a_packed_element_are_checked():
    with pytest.raises(ValueError) as caught:
        PackedPE(psum_bits=14)
    assert str(caught.value) == "psum_bits must be at least 15, not 14"
    with pytest.raises(ValueError) as caught:
        PackedPE(psum_bits=20, weight_bits=4)
    assert str(caught.value) == "weight_bits must be 8, not 4"
