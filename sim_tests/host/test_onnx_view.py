"""Views of ONNX tensors against NumPy's own reshapes and transpositions; scaling against ONNX Runtime's formula."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from systolith.arch.numerics import requantise
from systolith.host.errors import NetworkError
from systolith.host.onnx_scale import add_parameters, quantised_bound, scaling
from systolith.host.onnx_values import straightener
from systolith.host.onnx_view import View


@st.composite
def steps(draw):
    """A shape, the order of its axes in memory, and reshapes and transpositions."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)))
    order = tuple(draw(st.permutations(range(len(shape)))))
    current, moves = shape, []
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            permutation = tuple(draw(st.permutations(range(len(current)))))
            current = tuple(current[axis] for axis in permutation)
            moves.append(("transpose", permutation))
        else:
            rest, new = math.prod(current), []
            while rest > 1 and len(new) < 4:
                new.append(draw(st.sampled_from([n for n in range(1, rest + 1) if rest % n == 0])))
                rest //= new[-1]
            current = (*new, rest)
            moves.append(("reshape", current))
    return shape, order, moves


@settings(max_examples=400, deadline=None)
@given(steps())
def test_views_are_numpys(case):
    shape, order, moves = case
    array = np.arange(math.prod(shape), dtype=np.int16).reshape(shape)
    memory = array.transpose(order).ravel()
    view = View.of(shape, order)
    for move, argument in moves:
        array = getattr(array, move)(argument)
        changed = getattr(view, move)(argument)
        if changed is None:  # then no strides can say it: the elements of some axis are at no regular distances
            assert move == "reshape" and view.permutation() != tuple(range(len(view.shape)))
            return
        view = changed
    assert view.shape == array.shape
    np.testing.assert_array_equal(memory[view.offsets()], array.ravel())
    np.testing.assert_array_equal(straightener(view)(np.tile(memory, 3)), np.concatenate([array] * 3))
    inside = memory[:0] if view.rows(1) is None else view.rows(1)[0]
    assert view.is_dense(*range(array.ndim)) == bool(np.array_equal(memory, array.ravel()))
    permutation = view.permutation()
    if permutation is not None:
        np.testing.assert_array_equal(memory, array.transpose(permutation).ravel())
    if len(inside):  # blocks of the last axis: memory is rows of them
        assert sorted(inside) == list(range(array.shape[-1]))
        rows = memory.reshape(-1, array.shape[-1])[:, inside]
        np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(array.reshape(-1, array.shape[-1]), axis=0))


def test_scaling_is_one_rounding_of_the_float32_factor():
    rng = np.random.default_rng(6)
    for exponent in range(-20, 4):
        real = np.float32(rng.uniform(0.5, 1, 64) * 2.0 ** exponent)
        largest = int(min(300 / real.min(), 1 << 26))
        multiplier, shift = scaling(real, largest)
        acc = rng.integers(-largest, largest + 1, (500, 64))
        want = np.clip(np.floor(acc * real.astype(np.float64) + 0.5), -128, 127)
        np.testing.assert_array_equal(requantise(acc.astype(np.int32), multiplier, shift, 0), want)


@pytest.mark.parametrize(("real", "largest", "message"), [
    (0.0, 1, r"input scale · weight scale ÷ output scale must be positive and finite, not 0\.0"),
    (np.inf, 1, r"input scale · weight scale ÷ output scale must be positive and finite, not inf"),
    (2.0 ** 31, 1, r"input scale · weight scale ÷ output scale is out of range: scale factor must be below 2\*\*30, not 2147483648\.0"),
    (8.0, 1 << 28, r"output scale is too small for its accumulator: a factor of 8 on values up to 2\.68e\+08; quantise with a larger "
                   r"output scale"),
])
def test_scaling_errors(real, largest, message):
    with pytest.raises(NetworkError, match=f"^{message}$"):
        scaling(real, largest)


def test_sums_are_exact_to_half_a_step():
    """Over all pairs of operands, against the real numbers."""
    rng = np.random.default_rng(7)
    a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij")
    for _ in range(20):
        scales = np.sort(rng.uniform(0.01, 0.1, 2).astype(np.float32))[::-1]
        zeros, out = rng.integers(-100, 100, 2), float(np.float32(rng.uniform(0.02, 0.2)))
        table, bias, multiplier, shift = add_parameters((float(scales[0]), int(zeros[0])), (float(scales[1]), int(zeros[1])), out)
        acc = (a.astype(np.int64) << 19) + table[b + 128] + bias
        real = ((a - zeros[0]) * float(scales[0]) + (b - zeros[1]) * float(scales[1])) / out
        got = requantise(acc.astype(np.int32), multiplier, shift, 0, -128, 127)
        assert np.abs(got - np.clip(real, -128, 127)).max() <= 0.5 + 1e-5


def test_bounds():
    assert quantised_bound(-np.inf, 0.1, 3) == -128
    assert quantised_bound(np.inf, 0.1, 3) == 127
    assert quantised_bound(0.0, 0.1, 3) == 3
    assert quantised_bound(6.0, 0.1, 3) == 63
