"""How fast this simulator is: one product, timed. Not part of ``verify``; ``make bench`` asks for it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cocotb
import numpy as np

from .product import check_product
from .setting import SEED, start

SIDE = 32  # of the product's three dimensions
RESULT = "speed.json"


@cocotb.test()
async def speed(dut: Any) -> None:
    """Leaves cycles, and seconds of a processor, in the folder of the simulation."""
    bench = await start(dut, latency=30)
    begin, first = time.process_time(), bench.cycle
    await check_product(bench, np.random.default_rng(SEED), SIDE, SIDE, SIDE, "int32")
    Path(RESULT).write_text(json.dumps({"cycles": bench.cycle - first, "seconds": time.process_time() - begin}), encoding="utf-8")
