# amaranth: UnusedElaboratable=no
"""The output-stationary array against NumPy: sums one after the other, at the distances that it claims."""

import re

import numpy as np
import pytest
from array_schedule import play
from systolith.rtl.array_output import OutputArray
from systolith.rtl.pe_output import OutputPE


def stream(dut, operands, *, drained=None):
    """Products of (activations of shape (rows, K), weights of shape (K, cols)), each as soon as the one before lets it: shape
    (products, rows, cols). Between vectors of one product there may be pauses, which are None among its K steps.

    drained : how many rows are taken from the foot, all by default
    """
    events, wanted = {}, {}

    def at(cycle, signal, value):
        events.setdefault(cycle, []).append((signal, int(value)))

    start, last_end = 0, -dut.rows
    for number, (a, w, steps) in enumerate(operands):
        start = max(start, last_end + dut.rows - (len(steps) - 1))
        real = [step for step, k in enumerate(steps) if k is not None]
        for step, k in enumerate(steps):
            for r, delay in enumerate(dut.row_delay):
                at(start + step + delay, dut.a[r], a[r, k] if k is not None else 85)
                at(start + step + delay, dut.first[r], step == real[0])
                at(start + step + delay, dut.end[r], step == real[-1])
            for c, delay in enumerate(dut.col_delay):
                at(start + step + delay, dut.w[c], w[k, c] if k is not None else 0)
        last_end = start + len(steps) - 1
        count = drained or dut.rows
        for r in range(dut.rows):
            for i in range(min(r + 1, count)):
                at(last_end + dut.rows + i, dut.shift[r], 1)
        for c, delay in enumerate(dut.sum_delay):
            for i in range(count):
                wanted[last_end + delay + i, c] = number, dut.rows - 1 - i, c
        start += len(steps)
    signals = [*dut.a, *dut.first, *dut.end, *dut.w, *dut.shift]
    result = play(dut, signals, events, wanted)
    return np.array([[[result.get((n, r, c), 0) for c in range(dut.cols)] for r in range(dut.rows)] for n in range(len(operands))])


def operands_of(rng, dut, depth, *, extreme=False, pauses=0):
    a_low, w_low = -1 << dut.activation_bits - 1, -1 << dut.weight_bits - 1
    if extreme:
        a, w = rng.choice([a_low, -a_low - 1], (dut.rows, depth)), rng.choice([w_low, -w_low - 1], (depth, dut.cols))
    else:
        a, w = rng.integers(a_low, -a_low, (dut.rows, depth)), rng.integers(w_low, -w_low, (depth, dut.cols))
    steps = list(range(depth))
    for _ in range(pauses):
        steps.insert(int(rng.integers(1, len(steps))) if depth > 1 else 0, None)
    return a, w, steps


@pytest.mark.parametrize("activation_bits", [8, 16])
@pytest.mark.parametrize("weight_bits", [8, 4])
@pytest.mark.parametrize(("rows", "cols", "dsp_cols"), [(1, 1, None), (1, 4, 2), (4, 1, None), (3, 5, None), (5, 3, 0), (4, 4, 2),
                                                      (35, 2, 1)])
def test_sums_one_after_the_other(rows, cols, dsp_cols, weight_bits, activation_bits):
    seed = rows + 7 * cols
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    dut = OutputArray(rows=rows, cols=cols, dsp_cols=dsp_cols, weight_bits=weight_bits, activation_bits=activation_bits)
    operands = [operands_of(rng, dut, depth, extreme=extreme, pauses=pauses) for depth, extreme, pauses in (
        (rows, False, 0), (rows, True, 0), (2 * rows + 1, False, 0), (1, False, 0), (rows + 2, False, 3), (rows, True, 0), (9, True, 2))]
    np.testing.assert_array_equal(stream(dut, operands), [a @ w for a, w, _ in operands])


def test_sums_wrap():
    """2**32 is zero: 600 products of −32768 · −128, 2**22 each, are 600 · 2**22 − 2**32."""
    dut = OutputArray(rows=1, cols=1, activation_bits=16)
    many = np.full((1, 600), -32768), np.full((600, 1), -128), list(range(600))
    assert stream(dut, [many]).tolist() == [[[600 * 2**22 - 2**32]]]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_rows_that_nobody_drains_are_gone(count):
    seed = count
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    dut = OutputArray(rows=5, cols=2)
    operands = [operands_of(rng, dut, 5) for _ in range(4)]
    sums = stream(dut, operands, drained=count)
    np.testing.assert_array_equal(sums[:, -count:], np.array([a @ w for a, w, _ in operands])[:, -count:])


def test_delays():
    dut = OutputArray(rows=3, cols=3, dsp_cols=2)
    assert (dut.row_delay, dut.col_delay, dut.sum_delay) == ([0, 1, 2], [0, 1, 2], [5, 6, 8])


@pytest.mark.parametrize(("arguments", "message"), [
    ({"rows": 0}, "rows must be at least 1, not 0"), ({"cols": 0}, "cols must be at least 1, not 0")])
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        OutputArray(**{"rows": 1, "cols": 1, **arguments})


def test_activations_have_8_or_16_bits():
    with pytest.raises(ValueError, match=r"^activation_bits must be 8 or 16, not 12$"):
        OutputPE(activation_bits=12)
