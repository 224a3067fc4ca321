"""Runs a quantised network on an accelerator, as many inputs in one program as the device memory takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .accelerator import Accelerator, accumulate
from .compile import CompiledNetwork, compile_network
from .network import Network, NetworkError

__all__ = ["Inference", "infer"]

_COMMANDS = 20_000  # about, in one program: a smallest nest needs so many that planning would take longer than computing


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Inference:
    """Output int8 (B, rows, columns, channels); ``counters`` as :class:`~systolith.host.accelerator.Accelerator` has them, with
    ``programs``, ``macs`` (useful) and ``macs_issued``."""

    output: np.ndarray
    counters: dict[str, Any]


def infer(accelerator: Accelerator, network: Network, x: np.ndarray) -> Inference:
    """``network`` on int8 inputs ``x`` (B, height, width, channels).

    Raises
    ------
    NetworkError
        Wrong inputs, or the device memory does not hold the program for one of them.
    PlanError
        A layer does not fit the accelerator.
    """
    network.check_input(x)
    outputs, counters = [], {"programs": 0, "macs": 0, "macs_issued": 0}
    compiled = _largest(accelerator, network, len(x))
    for start in range(0, len(x), compiled.images):
        part = np.ascontiguousarray(x[start:start + compiled.images])
        if len(part) < compiled.images:
            compiled = compile_network(network, accelerator.config, len(part))
        accelerator.device.write_memory(compiled.constants_at.address, compiled.constants)
        accelerator.device.write_memory(compiled.input_at.address, part)
        accumulate(counters, accelerator.run(compiled.words, bases=compiled.bases, sizes=compiled.sizes))
        accumulate(counters, {"programs": 1, "macs": compiled.macs, "macs_issued": compiled.macs_issued})
        outputs.append(compiled.output_of(accelerator.device.read_memory(compiled.output_at.address, compiled.output_at.size)))
    return Inference(output=np.concatenate(outputs), counters=counters)


def _largest(accelerator: Accelerator, network: Network, images: int) -> CompiledNetwork:
    """The program for as many inputs as fit, all in equal programs."""
    available, config = accelerator.device.memory_bytes, accelerator.config
    one = compile_network(network, config, 1)
    if one.memory_bytes > available:
        raise NetworkError(f"device memory must hold {one.memory_bytes} bytes for one input, not {available}")
    programs = -(-images * len(one.commands) // _COMMANDS)
    while True:
        count = -(-images // min(programs, images))
        compiled = compile_network(network, config, count) if count > 1 else one
        if compiled.memory_bytes <= available:
            return compiled
        programs += 1 + programs * (compiled.memory_bytes - available) // (2 * available)
