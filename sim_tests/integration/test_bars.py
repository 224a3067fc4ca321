"""How busy the array must be kept: bars on cycles, those of long products by the cycle model, and of short ones by the RTL."""

import numpy as np
import pytest
from devices import generated, simulated
from systolith.arch.commands import Load
from systolith.arch.cycles import Memory, predict_cycles
from systolith.arch.manifest import Manifest
from systolith.arch.plan_gemm import plan_gemm
from systolith.arch.roofline import roofline
from systolith.arch.settings import resolve
from systolith.cli import bench
from systolith.host.accelerator import Accelerator
from systolith.host.matmul import Requantise

BARS = [(group, case) for group in bench.GROUPS for case in group.cases if case.least]


def config_of(group):
    settings = {}
    for assignment in group.assignments:
        key, value = assignment.split("=")
        section, name = key.split(".")
        settings.setdefault(section, {})[name] = int(value)
    return resolve(settings)


def placed(plan):
    """Addresses as the driver gives them, C last."""
    bases, at = [0] * 8, 0
    for name in sorted(plan.regions, key=["program", "a", "w", "parameters", "c"].index):
        bases[plan.regions[name].base] = at
        at += -(-plan.regions[name].bytes // 64) * 64
    return bases


@pytest.mark.parametrize("group, case", BARS, ids=[f"{g.latency}-{'-'.join(map(str, c[:4]))}" for g, c in BARS])
def test_predicted(group, case):
    config, memory = config_of(group), Memory(latency=group.latency)
    plan = plan_gemm(config, case.m, case.n, case.k, out=case.out)
    cycles = predict_cycles(config, plan.program, words=plan.words, memory=memory, bases=placed(plan)).cycles
    macs = case.m * case.n * case.k
    reached = macs / (config.macs_per_cycle * cycles)
    if case.of_roof:
        read = 4 * plan.words.size + sum(c.run * c.count1 * c.count2 for c in plan.program if isinstance(c, Load))
        roof = roofline(config, plan.program, macs=macs, bytes_read=read, bytes_written=4 * case.m * case.n, memory=memory)
        reached = roof.cycles / cycles
    assert case.least <= reached <= 1, f"{reached:.4f}"


@pytest.fixture(scope="module")
def acc():
    """The built-in default, memory latency 30."""
    with Accelerator(simulated(resolve(), memory_bytes=1 << 20), Manifest.read(generated(resolve()))) as accelerator:
        yield accelerator


@pytest.mark.parametrize("side, out, least", [(128, "int32", 0.80), (128, "int8", 0.85), (256, "int32", 0.95), (256, "int8", 0.95)])
def test_measured(acc, side, out, least):
    """And the prediction is right to the cycle, or nearly where the epilogue requantises."""
    rng = np.random.default_rng(side)
    a, w = (rng.integers(-128, 128, (side, side), np.int8) for _ in range(2))
    rounding = Requantise(multiplier=1 << 30, shift=-8) if out == "int8" else None
    c = acc.matmul(a, w, bias=np.zeros(side, np.int32) if rounding else None, requantise=rounding)
    assert rounding or (c == a.astype(np.int32) @ w.astype(np.int32)).all()
    cycles = acc.counters["cycles"]
    assert side ** 3 / (256 * cycles) >= least
    predicted = predict_cycles(acc.config, acc.plans[0].program, memory=Memory(), bases=acc.bases[0]).cycles
    assert abs(predicted - cycles) <= (2 if rounding else 0), f"{predicted}, not {cycles}"


def test_load_is_hidden(acc):
    """By the counters alone, most of LOAD's cycles are EXECUTE's as well, those before the array begins included."""
    a, w = (np.full((256, 256), value, np.int8) for value in (1, 2))
    assert (acc.matmul(a, w) == 512).all()
    least, load = bench.together(acc.counters)
    assert load >= 2 * 256 * 256 // 8
    assert least >= 0.8 * load, f"{least} of {load}"
