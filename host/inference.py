"""Runs compiled networks on an accelerator, as many inputs in one program as the device memory takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..arch.config import Config
from .accelerator import Accelerator, accumulate
from .compile import Compiled, compile_graph
from .errors import NetworkError
from .network import Network
from .products import infer_by_products

__all__ = ["Inference", "compile_network", "execute", "infer"]

_COMMANDS = 20_000  # about, in one program: with the smallest nests a network needs so many that planning would outlast computing


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Inference:
    """Output, int8; ``counters`` as :class:`~systolith.host.accelerator.Accelerator` has them, with ``programs``, ``macs`` (useful) and
    ``macs_issued``."""

    output: np.ndarray
    counters: dict[str, Any]


def execute(accelerator: Accelerator, compiled: Compiled, x: np.ndarray) -> Inference:
    """One run of a compiled program of one input and output on ``x``; raises :class:`NetworkError` for input of another shape."""
    device = accelerator.device
    compiled.write(device.write_memory, x)
    counters = accelerator.run(compiled.words, bases=compiled.bases, sizes=compiled.sizes)
    output, = compiled.read(device.read_memory)
    return Inference(output=output,
                     counters=counters | {"programs": 1, "macs": compiled.macs, "macs_issued": compiled.macs_issued})


def compile_network(network: Network, config: Config, images: int) -> Compiled:
    """The program for ``images`` inputs at once; raises :class:`PlanError` where a layer does not fit the accelerator."""
    program, = compile_graph(network.graph(images), config).programs
    return program


def infer(accelerator: Accelerator, network: Network, x: np.ndarray) -> Inference:
    """``network`` on int8 inputs ``x`` (B, height, width, channels), in as few programs as fit; a product for each layer where the
    accelerator has no padding.

    Raises
    ------
    NetworkError
        Wrong inputs, or the device memory does not hold the program for one of them.
    PlanError
        A layer does not fit the accelerator.
    """
    network.check_input(x)
    if not accelerator.config.control.padding:
        output, summed = infer_by_products(accelerator, network, x)
        return Inference(output=output, counters=summed)
    outputs: list[np.ndarray] = []
    counters: dict[str, Any] = {}
    compiled = _largest(accelerator, network, len(x))
    images = compiled.inputs[0].shape[0]
    for start in range(0, len(x), images):
        part = x[start:start + images]
        if len(part) < images:
            compiled = compile_network(network, accelerator.config, len(part))
        result = execute(accelerator, compiled, part)
        accumulate(counters, result.counters)
        outputs.append(result.output)
    return Inference(output=np.concatenate(outputs), counters=counters)


def _largest(accelerator: Accelerator, network: Network, images: int) -> Compiled:
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
