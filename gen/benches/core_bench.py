"""Identity, and matrix products against NumPy over stalls and latencies."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from .product import check_product
from .setting import COLS, CONFIG, MANIFEST, ROWS, SEED, start

# Smaller than the array, one more than it, primes, several tiles in every direction, and a single row.
SHAPES = [(1, 1, 1), (ROWS + 1, COLS + 1, ROWS + 1), (7, 5, 3), (13, 2 * COLS + 3, 3 * ROWS + 1), (1, COLS, 2 * ROWS),
          (61, COLS, 2 * ROWS + 5)]


@cocotb.test()
async def identity(dut: Any) -> None:
    """The device shows what the manifest says."""
    bench = await start(dut)
    for name, value in MANIFEST.identity.items():
        assert await bench.read_register(name) == value, f"{name} must be {value:#x}"


@cocotb.test()
@cocotb.parametrize(out=["int32", "int8"], stall=[0.0, 0.4], latency=[1, 20, 100])
async def product(dut: Any, out: str, stall: float, latency: int) -> None:
    """Matrix products of all shapes, one after the other without a reset between."""
    bench = await start(dut, stall=stall, latency=latency)
    rng = np.random.default_rng(SEED)
    for m, n, k in SHAPES:
        await check_product(bench, rng, m, n, k, out)


@cocotb.test(skip=CONFIG.array.accumulator_bits == 32)
async def wide_sums(dut: Any) -> None:
    """Sums that 32 bits and one more do not hold, requantised."""
    bench = await start(dut)
    k = (1 << 33) // (-CONFIG.array.weight_limits[0] << 15) + 1
    await check_product(bench, np.random.default_rng(SEED), 1, COLS, k, "int8", extreme=True)
