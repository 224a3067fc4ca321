"""Roofs and the account of lost cycles."""

import numpy as np
import pytest
from systolith.arch.latency import Memory
from systolith.arch.plan_gemm import plan_gemm
from systolith.arch.roofline import explain, roofline
from systolith.arch.settings import resolve
from systolith.host.simulated import EVENT
from systolith.host.trace import STARTED, busy_together

CONFIG = resolve()


def roof(m, n, k, *, memory=None, read=None, written=None):
    plan = plan_gemm(CONFIG, m, n, k)
    return roofline(CONFIG, plan.program, macs=m * n * k, bytes_read=read or m * k + k * n, bytes_written=written or 4 * m * n,
                    memory=memory or Memory())


def test_square_products_are_bound_by_the_array():
    one = roof(256, 256, 256)
    assert one.bound_by == "array" and one.compute == 256 * 256 * 256 // 256 == one.cycles
    assert one.transfer == one.memory == 4 * 256 * 256 // 8  # writes; reads are on their own wires
    assert one.arithmetic_intensity == pytest.approx(256**3 / (6 * 256 * 256))


def test_one_row_is_bound_by_the_bus():
    """64 bits are 8 weights, each used once: 8 MACs per cycle and no more, and changing weight tiles takes almost as long."""
    one = roof(1, 4096, 4096)
    assert one.bound_by == "bus" and one.transfer == (4096 + 4096 * 4096) // 8
    assert one.to_dict()["macs_per_cycle"] == pytest.approx(8, rel=0.001)
    assert one.compute == 256 * 256 * 31
    assert one.to_dict()["ridge"] == 256 / 8


def test_slow_memory_with_one_port():
    one = roof(64, 64, 64, memory=Memory(cycles_per_beat=4, half_duplex=True))
    assert one.bound_by == "memory"
    assert one.memory == 4 * (2 * 64 * 64 + 4 * 64 * 64) // 8 and one.transfer == 4 * 64 * 64 // 8


def test_every_cycle_is_explained():
    execute = {"busy": 100, "idle": 7, "wait_load": 20, "wait_store": 0, "preload": 9}
    causes = explain(80 * 256 + 17, 256, execute)
    assert sum(causes.values()) == sum(execute.values())
    assert causes == {"useful": 80, "padding": 20, "wait_load": 20, "preload": 9, "idle": 7}


def test_busy_together():
    """LOAD is busy in cycles 10 … 29 and 50 … 59, EXECUTE in 20 … 54, of which the first tenth ends with cycle 23."""
    rows = [(0, 0, 1), (0, 1, 1), (10, 0, STARTED), (10, 0, 0), (20, 1, 0), (30, 0, 4), (50, 0, 0), (55, 1, 1), (60, 0, 1)]
    events = np.array(rows, dtype=EVENT)
    load = [*range(23, 30), *range(50, 60)]
    assert busy_together(events) == (sum(cycle < 55 for cycle in load), len(load), 60 - 23)
