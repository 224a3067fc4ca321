"""One matrix product on the accelerator, against NumPy."""

from __future__ import annotations

import numpy as np

from ...arch import numerics
from ...arch.plan_gemm import plan_gemm
from ...arch.registers import ErrorCode
from .setting import CONFIG, SEED, place
from .testbench import Testbench

__all__ = ["check_product", "start_product"]


async def check_product(bench: Testbench, rng: np.random.Generator, m: int, n: int, k: int, out: str, *, extreme: bool = False) -> None:
    """One matrix product, ``out`` int32 or requantised to the activations' type; everything outside the result must keep its bytes.
    ``extreme`` operands give the largest sums of either sign that there are."""
    out = "int32" if out == "int32" else CONFIG.array.activations
    low, high = CONFIG.array.weight_limits
    kind = np.iinfo(CONFIG.array.activations)
    a = rng.integers(kind.min, kind.max + 1, (m, k), dtype=kind.dtype)
    w = rng.integers(low, high + 1, (k, n), dtype=np.int8)
    a.flat[0], w.flat[0] = kind.min, low
    if extreme:
        a[:], w[:, ::2], w[:, 1::2] = kind.min, low, high
    bias = rng.integers(-(1 << 16), 1 << 16, n, dtype=np.int32)
    factor = rng.uniform(0.5, 1, n) * 2**14 / (-kind.min * -low * k) if extreme else rng.uniform(2**-12, 2**-7, n)
    multiplier, shift = numerics.quantize_multiplier(factor)
    plan = plan_gemm(CONFIG, m, n, k, out=out, bias=True, zero_point=-3, low=-120, high=115)  # type: ignore[arg-type]
    at = place({name: region.bytes for name, region in plan.regions.items()})
    operands = {"a": a, "w": plan.gemm.pack(w), "parameters": np.stack([bias, multiplier, shift.astype(np.int32)], axis=1).astype("<i4")}
    for name, values in operands.items():
        octets = np.ascontiguousarray(values).view(np.uint8).ravel()
        bench.memory[at[name]:at[name] + octets.size] = octets
    # The program is the last region to be written, so that the copy below is what must be left untouched.
    await bench.launch(plan.words, address=at["program"],
                       regions={region.base: (at[name], region.bytes) for name, region in plan.regions.items() if region.base})
    before = bench.memory.copy()
    error = await bench.finish(cycles=200_000)
    assert error == ErrorCode.NONE, f"{m}×{n}×{k} {out}: {error.name}"
    bits = CONFIG.array.accumulator_bits
    sums = a.astype(np.int64) @ w.astype(np.int64) + bias
    expected = sums.astype(np.int32)
    if out == "int8":
        expected = numerics.requantise(expected, multiplier, shift, -3, -120, 115)
    elif out == "int16":  # −120·256 and 115·256 + 255 − 253
        expected = numerics.requantise(numerics.wrap(sums, bits), multiplier, shift, 0, -30720, 29442, dtype=np.int16, bits=bits)
    size = expected.nbytes
    result = bench.memory[at["c"]:at["c"] + size].copy()
    wrong = np.flatnonzero(result != np.ascontiguousarray(expected).view(np.uint8).ravel())
    assert not wrong.size, f"{m}×{n}×{k} {out}, seed {SEED}: {wrong.size} of {size} bytes differ, the first is byte {wrong[0]}"
    bench.memory[at["c"]:at["c"] + size] = before[at["c"]:at["c"] + size]
    changed = np.flatnonzero(bench.memory != before)
    assert not changed.size, f"{m}×{n}×{k} {out}: byte {changed[0]:#x} outside the result was written"


async def start_product(bench: Testbench, m: int, n: int, k: int) -> dict[str, int]:
    """Begin a product of whatever is in memory; address of each region."""
    plan = plan_gemm(CONFIG, m, n, k)
    at = place({name: region.bytes for name, region in plan.regions.items()})
    await bench.launch(plan.words, address=at["program"],
                       regions={region.base: (at[name], region.bytes) for name, region in plan.regions.items() if region.base})
    return at
