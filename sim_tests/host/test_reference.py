"""Other backends' products: exact where they are there, and a reason where they are not."""

import sys
import types

import numpy as np
import pytest
from systolith.host import reference


def operands(m=5, n=7, k=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)


@pytest.mark.parametrize("k", [1, 1024, 5000])
def test_numpy_is_exact(k):
    a, w = operands(k=k)
    a[0], w[:, 0] = -128, -128  # the largest sums
    c = reference.matmul(a, w)
    assert c.dtype == np.int32
    np.testing.assert_array_equal(c, a.astype(np.int64) @ w.astype(np.int64))


@pytest.mark.parametrize("backend", ["torch", "torch-cuda", "jax"])
def test_present_backends_are_exact_and_absent_ones_say_why(backend):
    a, w = operands(m=3, n=9, k=33)
    line = reference.measure(a, w, backend=backend)
    if "reason" in line:
        assert set(line) == {"backend", "reason"} and line["reason"]
        with pytest.raises(reference.BackendError):
            reference.matmul(a, w, backend=backend)
    else:
        np.testing.assert_array_equal(reference.matmul(a, w, backend=backend), a.astype(np.int64) @ w.astype(np.int64))


def test_measure():
    line = reference.measure(*operands(), backend="numpy")
    assert set(line) == {"backend", "seconds", "gops", "how", "correct"}
    assert line["how"] == "measured" and line["correct"] and line["seconds"] > 0
    assert line["gops"] == pytest.approx(2 * 5 * 7 * 40 / line["seconds"] / 1e9)


def test_absent_packages_are_named(monkeypatch):
    for package, extra in (("torch", "reference"), ("jax", "jax")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(reference.BackendError, match=rf"is not installed; run: pip install 'systolith\[{extra}\]'$"):
            reference.matmul(*operands(), backend=package)


def test_cuda_that_is_not_there(monkeypatch):
    cuda = types.SimpleNamespace(is_available=lambda: False)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    assert reference.measure(*operands(), backend="torch-cuda") == {"backend": "torch-cuda", "reason": "PyTorch finds no CUDA device"}


def test_a_backend_that_refuses_gives_its_reason(monkeypatch):
    def refuse(a, w):
        raise RuntimeError("no kernel for this\nstack …")
    monkeypatch.setitem(reference.BACKENDS, "numpy", refuse)
    assert reference.measure(*operands(), backend="numpy") == {"backend": "numpy", "reason": "no kernel for this"}


def test_errors():
    a, w = operands()
    with pytest.raises(ValueError, match=r"^backend must be one of numpy, torch, torch-cuda, jax, not 'abacus'$"):
        reference.matmul(a, w, backend="abacus")
    with pytest.raises(TypeError, match=r"^operands must be int8, not int16 and int8$"):
        reference.matmul(a.astype(np.int16), w)
    with pytest.raises(ValueError, match=r"^operands must have shapes \(M, K\) and \(K, N\), not \(5, 40\) and \(39, 7\)$"):
        reference.matmul(a, w[1:])
