"""Random products on a device: checked against NumPy, and beside other backends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .flow import FlowError, Progress, _quiet

if TYPE_CHECKING:
    from ..arch.latency import Memory
    from ..host.accelerator import Accelerator

__all__ = ["check_product", "compare", "exact_product", "matmul", "operands"]


def check_product(m: int, n: int, k: int, out: str = "int32", *, activations: str = "int8") -> None:
    """Raise :class:`FlowError` for a product that is none, before anything is built for it: results are int32 or as ``activations``."""
    for name, value in (("m", m), ("n", n), ("k", k)):
        if value < 1:
            raise FlowError(f"{name} must be at least 1, not {value!r}")
    if out not in ("int32", activations):
        raise FlowError(f"out must be one of 'int32', {activations!r}, not {out!r}")


def operands(m: int, n: int, k: int, seed: int, *, weights: tuple[int, int] = (-128, 127),
             activations: str = "int8") -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Random A (M, K) of type ``activations``, int8 W (K, N) between the limits ``weights``, and the generator for what else is random."""
    rng, kind = np.random.default_rng(seed), np.iinfo(activations)
    return rng.integers(kind.min, kind.max + 1, (m, k), kind.dtype), rng.integers(weights[0], weights[1] + 1, (k, n), np.int8), rng


def exact_product(a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """A·W by NumPy in float64, which holds every sum of up to 2**39 products of int8, 2**31 of int16, exactly: int64. Shares no code with
    the planner."""
    return (a.astype(np.float64) @ w.astype(np.float64)).astype(np.int64)


def matmul(accelerator: Accelerator, m: int, n: int, k: int, *, out: str = "int32", seed: int = 1,
           memory: Memory | None = None) -> dict[str, Any]:
    """A random product on the device, checked against NumPy: what ``systolith matmul`` prints.

    Where ``memory`` is known and the engines are pipelined, the cycle model's prediction and the roofs stand beside the measured cycles.
    """
    from ..arch.numerics import ROUND_ONCE, quantize_multiplier, reduce_multiplier, requantise, wrap, wrap32
    from ..host.matmul import Requantise, RequantiseInt16
    limits, activations = accelerator.config.array.weight_limits, accelerator.config.array.activations
    check_product(m, n, k, out, activations=activations)
    a, w, rng = operands(m, n, k, seed, weights=limits, activations=activations)
    start = time.monotonic()
    sums = exact_product(a, w)
    expected, bits = wrap32(sums), accelerator.config.array.accumulator_bits
    if out != "int32":
        bias = rng.integers(-1000, 1000, n, np.int32)
        # Scales that spread the sums of random operands over the whole of the results' type, and some of them beyond it.
        multiplier, shift = quantize_multiplier(rng.uniform(0.5, 2.0, n) / (75.0 * (limits[1] + 1) / 128 * np.sqrt(k)))
        sums = wrap(sums.astype(np.int64) + bias, bits)
    if out == "int16":
        multiplier = reduce_multiplier(multiplier)
        c = accelerator.matmul(a, w, bias=bias, requantise=RequantiseInt16(multiplier=multiplier, shift=shift))
        expected = requantise(sums, multiplier + ROUND_ONCE, shift, 0, -32768, 32767, dtype=np.int16, bits=bits)
    elif out == "int8":
        rounding = Requantise(multiplier=multiplier, shift=shift, zero_point=int(rng.integers(-20, 21)), low=-128, high=127)
        c = accelerator.matmul(a, w, bias=bias, requantise=rounding)
        expected = requantise(sums, multiplier, shift, rounding.zero_point)
    else:
        c = accelerator.matmul(a, w)
    mismatches = int(np.count_nonzero(c != expected))
    counters = accelerator.counters
    result: dict[str, Any] = {"correct": mismatches == 0 and c.dtype == expected.dtype, "mismatches": mismatches, "macs": m * n * k}
    for key in ("cycles", "macs_issued", "stalls", "bytes_read", "bytes_written", "host_bytes_rearranged", "programs"):
        if key in counters:
            result[key] = counters[key]
    if "cycles" in counters:
        result["utilisation"] = m * n * k / (accelerator.config.macs_per_cycle * counters["cycles"])
        if memory is not None and accelerator.config.control.engines == "pipelined":
            result |= _analysis(accelerator, m * n * k, memory)
    result["seconds"] = time.monotonic() - start
    return result


def _analysis(accelerator: Accelerator, macs: int, memory: Memory) -> dict[str, Any]:
    """Predicted cycles, and how many seconds of a processor that took; what bounds the last product; and where the array's cycles went."""
    from ..arch.cycles import predict_cycles
    from ..arch.roofline import explain, roofline
    counters, config = accelerator.counters, accelerator.config
    start = time.process_time()
    predicted = sum(predict_cycles(config, plan.program, words=plan.words, memory=memory, bases=bases, fresh=True).cycles
                    for plan, bases in zip(accelerator.plans, accelerator.bases, strict=True))
    seconds = time.process_time() - start
    result: dict[str, Any] = {"predicted_cycles": predicted, "prediction_seconds": seconds}
    if not config.control.counter_bits:
        return result  # nothing has counted the bytes
    roof = roofline(config, (command for plan in accelerator.plans for command in plan.program), macs=macs,
                    bytes_read=counters["bytes_read"], bytes_written=counters["bytes_written"], memory=memory)
    result["roofline"] = roof.to_dict() | {"fraction": roof.cycles / counters["cycles"]}
    if "stalls" in counters:
        result["array_cycles"] = explain(macs, config.macs_per_cycle, counters["stalls"]["execute"])
    return result


def compare(m: int, n: int, k: int, *, seed: int = 1, accelerator: Accelerator | None = None, build: str | Path | None = None,
            progress: Progress = _quiet) -> list[dict[str, Any]]:
    """The same product by the accelerator (cycles ÷ Fmax of ``build``) and by every backend: what ``systolith compare`` prints."""
    from ..host import reference
    if accelerator is not None and accelerator.config.array.activations != "int8":
        raise FlowError("array.activations must be 'int8' for a comparison, which is what the other backends multiply, "
                        f"not {accelerator.config.array.activations!r}")
    weights = (-128, 127) if accelerator is None else accelerator.config.array.weight_limits
    a, w, _ = operands(m, n, k, seed, weights=weights)
    lines = []
    if accelerator is not None:
        lines.append(_accelerator_line(accelerator, m, n, k, seed, build, progress))
    for backend in reference.BACKENDS:
        progress(f"timing {backend}")
        lines.append(reference.measure(a, w, backend=backend))
    return lines


def _accelerator_line(accelerator: Accelerator, m: int, n: int, k: int, seed: int, build: str | Path | None,
                      progress: Progress) -> dict[str, Any]:
    progress(f"running {m} × {n} × {k} on the simulated accelerator")
    result = matmul(accelerator, m, n, k, seed=seed)
    line: dict[str, Any] = {"backend": "fpga", "correct": result["correct"]}
    if "cycles" not in result:
        return {**line, "reason": "the functional model has no clock; use --device sim"}
    line["cycles"] = result["cycles"]
    if build is None:
        return {**line, "reason": "no clock is known; give --build DIR, the folder of a finished build"}
    from ..gen.report import read_report
    fmax_mhz = read_report(build).get("fmax_mhz")
    if fmax_mhz is None:
        return {**line, "reason": f"no clock is known: the timing of {build} is the vendor's tools'"}
    seconds = result["cycles"] / (fmax_mhz * 1e6)
    return {**line, "seconds": seconds, "gops": 2 * m * n * k / seconds / 1e9, "how": f"cycles / Fmax of {build}", "fmax_mhz": fmax_mhz}
