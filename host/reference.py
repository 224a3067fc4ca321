"""The same product by what else is in the machine: NumPy, PyTorch on CPU and CUDA, JAX. Exact int8 × int8 → int32, timed alike.

Timing: operands lie where the backend computes (copies to a GPU or TPU are not counted, as the accelerator's are not), one warm-up, then
runs for a fifth of a second, at least five; every run is waited for; the median counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arch import numerics

__all__ = ["BACKENDS", "BackendError", "matmul", "measure"]

_LEAST_RUNS, _LEAST_S = 5, 0.2

# A prepared product: a call computes it and returns when it is done; the second function gives the result as an array.
Prepared = tuple[Callable[[], Any], Callable[[Any], np.ndarray]]


class BackendError(RuntimeError):
    """A backend that this machine does not have; the message says why."""


def _numpy(a: np.ndarray, w: np.ndarray) -> Prepared:
    return lambda: numerics.matmul(a, w), np.asarray


def _torch_on(device: str, a: np.ndarray, w: np.ndarray) -> Prepared:
    try:
        import torch
    except ImportError:
        raise BackendError("PyTorch is not installed; run: pip install 'systolith[reference]'") from None
    cuda = device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise BackendError("PyTorch finds no CUDA device")
    m, n = a.shape[0], w.shape[1]
    if cuda:  # its int8 product takes more than 16 rows, and multiples of 8 otherwise
        a = np.pad(a, ((0, max(0, 17 - m)), (0, -a.shape[1] % 8)))
        w = np.pad(w, ((0, -w.shape[0] % 8), (0, -n % 8)))
    ta, tw = torch.from_numpy(a).to(device), torch.from_numpy(w).to(device)

    def compute() -> Any:
        result = torch._int_mm(ta, tw)
        if cuda:
            torch.cuda.synchronize()
        return result

    return compute, lambda result: result[:m, :n].cpu().numpy()


def _torch(a: np.ndarray, w: np.ndarray) -> Prepared:
    return _torch_on("cpu", a, w)


def _torch_cuda(a: np.ndarray, w: np.ndarray) -> Prepared:
    return _torch_on("cuda", a, w)


def _jax(a: np.ndarray, w: np.ndarray) -> Prepared:
    try:
        import jax
    except ImportError:
        raise BackendError("JAX is not installed; run: pip install 'systolith[jax]'") from None
    product = jax.jit(lambda x, y: jax.lax.dot_general(x, y, (((1,), (0,)), ((), ())), preferred_element_type=jax.numpy.int32))
    ja, jw = jax.device_put(a), jax.device_put(w)
    return lambda: product(ja, jw).block_until_ready(), np.asarray


BACKENDS: dict[str, Callable[[np.ndarray, np.ndarray], Prepared]] = {
    "numpy": _numpy, "torch": _torch, "torch-cuda": _torch_cuda, "jax": _jax}


def _prepare(a: np.ndarray, w: np.ndarray, backend: str) -> Prepared:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    if a.dtype != np.int8 or w.dtype != np.int8:
        raise TypeError(f"operands must be int8, not {a.dtype} and {w.dtype}")
    if a.ndim != 2 or w.ndim != 2 or a.shape[1] != w.shape[0]:
        raise ValueError(f"operands must have shapes (M, K) and (K, N), not {a.shape} and {w.shape}")
    return BACKENDS[backend](np.ascontiguousarray(a), np.ascontiguousarray(w))


def matmul(a: np.ndarray, w: np.ndarray, *, backend: str = "numpy") -> np.ndarray:
    """A·W by ``backend``: int8 (M, K) and (K, N) to int32 (M, N).

    Raises
    ------
    BackendError
        This machine does not have the backend.
    """
    compute, fetch = _prepare(a, w, backend)
    return fetch(compute())


def measure(a: np.ndarray, w: np.ndarray, *, backend: str) -> dict[str, Any]:
    """One line of ``compare``: ``backend, seconds, gops, how, correct``, or ``backend, reason`` where it is absent."""
    try:
        compute, fetch = _prepare(a, w, backend)
        result = fetch(compute())
    except BackendError as error:
        return {"backend": backend, "reason": str(error)}
    except RuntimeError as error:  # a backend that is there and refuses: its first line says why
        return {"backend": backend, "reason": str(error).strip().partition("\n")[0]}
    times: list[float] = []
    while len(times) < _LEAST_RUNS or sum(times) < _LEAST_S:
        start = time.perf_counter()
        compute()
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    # float64 holds every partial sum of up to 2**39 products: an exact product by another route.
    expected = (a.astype(np.float64) @ w.astype(np.float64)).astype(np.int64).astype(np.int32)
    return {"backend": backend, "seconds": seconds, "gops": 2 * a.shape[0] * a.shape[1] * w.shape[1] / seconds / 1e9,
            "how": "measured", "correct": bool(np.array_equal(result, expected))}
