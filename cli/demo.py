"""The whole path on one real example: a classifier of handwritten digits, from training to a bitstream for a board."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..host.network import Network
from . import flow
from .flow import FlowError, Settings

__all__ = ["run_demo"]

SIMULATED_IMAGES = 64
Progress = Callable[[str], None]


def run_demo(*, board: str, output: Path, seed: int, bitstream: bool, progress: Progress) -> dict[str, Any]:
    """Train, quantise, run on model and simulation, verify, and with ``bitstream`` build and report: results of each step.

    Raises
    ------
    FlowError
        A result is not what it must be; nothing after it is done.
    """
    start = time.monotonic()
    # The network first: a result within a minute, before the steps that take minutes.
    network, inputs, labels, summary = _train(seed, progress)
    document: dict[str, Any] = {"board": board, "directory": str(output), "network": summary}
    document["generate"] = flow.generate_folder(output, board=board, progress=progress)
    summary |= _run(network, inputs, labels, output, seed, progress)
    progress("verifying the emitted Verilog against NumPy with cocotb (one to two minutes)")
    document["verify"] = flow.verify_folder(output, seed=seed, progress=progress)
    if document["verify"]["failed"]:
        raise FlowError(f"{document['verify']['failed']} benches failed; see {document['verify']['log']}")
    progress(f"verified: {document['verify']['passed']} benches passed")
    if bitstream:
        from ..gen.report import read_report
        progress("synthesising, placing and routing the bitstream (about a quarter of an hour)")
        document["build"] = flow.build_folder(output, progress=progress)
        document["report"] = read_report(output)
        if "fmax_mhz" in document["build"]:  # which the vendor's tools would have to say
            summary["images_per_second"] = document["build"]["fmax_mhz"] * 1e6 / summary["cycles_per_image"]
    document["seconds"] = time.monotonic() - start
    return document


def _train(seed: int, progress: Progress) -> tuple[Network, np.ndarray, np.ndarray, dict[str, Any]]:
    """The quantised network, the test inputs and labels, and its accuracy as float and as int8."""
    from ..host import digits
    from ..host.quantise import forward, quantise
    progress("training a digit classifier in NumPy (a few seconds)")
    data = digits.load()
    layers = digits.train(data)
    network = quantise(layers, data.train_images)
    inputs = network.input.quantise(data.test_images)
    summary = {
        "test_images": len(inputs), "macs_per_image": network.macs,
        "float_accuracy": digits.accuracy(forward(layers, data.test_images), data.test_labels),
        "int8_accuracy": digits.accuracy(network.reference(inputs), data.test_labels),
    }
    progress(f"float network: {summary['float_accuracy']:.1%} of {len(inputs)} test images right; quantised to int8: "
             f"{summary['int8_accuracy']:.1%}")
    return network, inputs, data.test_labels, summary


def _run(network: Network, inputs: np.ndarray, labels: np.ndarray, directory: Path, seed: int, progress: Progress) -> dict[str, Any]:
    """The network on the functional model (all inputs) and on the compiled Verilog, both byte for byte like NumPy."""
    from ..host.inference import infer
    expected = network.reference(inputs)
    progress(f"running all {len(inputs)} test images on the functional model (seconds)")
    with flow.connect("model", directory=directory, settings=Settings(seed=seed)) as accelerator:
        _check(infer(accelerator, network, inputs).output, expected, "the functional model")
    images = min(SIMULATED_IMAGES, len(inputs))
    progress(f"compiling the Verilog for simulation and running {images} images on it (about a minute the first time)")
    with flow.connect("sim", directory=directory, settings=Settings(seed=seed), progress=progress) as accelerator:
        result = infer(accelerator, network, inputs[:images])
    _check(result.output, expected[:images], "the simulated accelerator")
    counters = result.counters
    right = int(np.sum(result.output.reshape(images, -1).argmax(axis=1) == labels[:images]))
    progress(f"simulated accelerator: {right} of {images} right, every byte as NumPy has it; "
             f"{counters['cycles'] / images:,.0f} cycles per image")
    counted: dict[str, Any] = {name: counters[name] for name in ("macs", "macs_issued", "stalls") if name in counters}
    return {"model_images": len(inputs), "simulated_images": images, "simulated_right": right, "cycles": counters["cycles"],
            "cycles_per_image": counters["cycles"] / images, **counted,
            "utilisation": counters["macs"] / (accelerator.config.macs_per_cycle * counters["cycles"])}


def _check(output: np.ndarray, expected: np.ndarray, where: str) -> None:
    if not np.array_equal(output, expected):
        raise FlowError(f"{np.count_nonzero(output != expected)} of {expected.size} outputs of {where} differ from NumPy")
