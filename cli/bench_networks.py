"""``make bench``, networks: the MLPerf Tiny models where they are there, and the digits of the demo, on several arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..arch.roofline import roofline
from ..host.graph import Graph
from ..host.session import Session, load_model
from ..host.timeline import timeline
from . import console, flow

__all__ = ["networks", "networks_page"]

COLUMNS = ["network", "array", "MACs", "cycles", "predicted", "difference", "utilisation", "tiles allow", "bytes read, written",
           "roof", "of its roof", "bound by", "the array waits most for", "bar"]
LAYER_COLUMNS = ["", "operator", "output", "MACs", "cycles", "predicted", "utilisation", "ceiling", "bytes read",
                 "bytes written", "bound by"]
ARRAYS = [(16, 16), (8, 8), (24, 12)]


class Bar(NamedTuple):
    """What a network has to reach on the built-in default: least utilisation, or least fraction of its roof."""

    least: float
    of_roof: bool = False


class Network(NamedTuple):
    """A model's file, and the name of its samples."""

    title: str
    file: str
    samples: str
    bar: Bar | None


NETWORKS = [
    Network("ResNet-8", "pretrainedResnet_quant.tflite", "ic", Bar(0.70)), Network("DS-CNN", "kws_ref_model.tflite", "kws", Bar(0.30)),
    Network("MobileNetV1-0.25", "vww_96_int8.tflite", "vww", Bar(0.25)),
    Network("autoencoder", "ad01_int8.tflite", "ad01", Bar(0.90, of_roof=True)),
]


def _digits() -> tuple[Graph, np.ndarray, np.ndarray]:
    """The demo's network, one input, and what it gives."""
    from ..host import digits
    from ..host.quantise import quantise
    data = digits.load()
    network = quantise(digits.train(data), data.train_images)
    x = network.input.quantise(data.test_images[:1])
    return network.graph(1), x, network.reference(x)


def networks(models: Path) -> Iterator[tuple[str, Graph, np.ndarray, np.ndarray, Bar | None]]:
    """(title, graph, input, what it must give, bar) of each."""
    yield ("digits", *_digits(), None)
    if not (models / "samples.npz").exists():
        return
    with np.load(models / "samples.npz") as samples:
        for network in NETWORKS:
            graph = load_model(models / network.file)
            yield (network.title, graph, samples[network.samples + "_in"][:1], samples[network.samples + "_out"][:1], network.bar)


def _row(title: str, rows: int, cols: int, session: Session, bar: Bar | None, memory: Any) -> list[str]:
    report, config = session.report, session.accelerator.config
    cycles, predicted = report["cycles"], report["predicted_cycles"]
    commands = [command for run in session.runs for command in run.compiled.commands]
    roof = roofline(config, commands, macs=report["macs"], bytes_read=report["bytes_read"], bytes_written=report["bytes_written"],
                    memory=memory)
    waits: dict[str, int] = {}
    for run in session.runs:
        for cause, lost in run.counters["stalls"]["execute"].items():
            if cause != "busy":
                waits[cause] = waits.get(cause, 0) + lost
    worst = max(waits, key=lambda cause: waits[cause])
    reached = ""
    if bar is not None and (rows, cols) == ARRAYS[0]:
        value = roof.cycles / cycles if bar.of_roof else report["utilisation"]
        reached = f"{'≥' if value >= bar.least else '**missed**'} {console.percent(bar.least)}{' of its roof' if bar.of_roof else ''}"
    return [title, f"{rows} × {cols}", f"{report['macs']:,}", f"{cycles:,}", f"{predicted:,}",
            f"{predicted - cycles:+,} ({100 * (predicted - cycles) / cycles:+.2f} %)", console.percent(report["utilisation"]),
            console.percent(report["macs"] / report["macs_issued"]), f"{report['bytes_read']:,}, {report['bytes_written']:,}",
            f"{roof.cycles:,}", console.percent(roof.cycles / cycles), roof.bound_by, f"{worst} {waits[worst]:,}", reached]


def _layer(layer: dict[str, Any]) -> Sequence[str]:
    def number(key: str) -> str:
        return f"{layer[key]:,}" if key in layer else ""

    def share(key: str) -> str:
        return console.percent(layer[key]) if key in layer else ""

    return [str(layer["index"]), layer["op"], " × ".join(map(str, layer["shape"][1:])), number("macs"), number("cycles"),
            number("predicted_cycles"), share("utilisation"), share("ceiling"), number("bytes_read"), number("bytes_written"),
            layer["bound_by"]]


def networks_page(output: Path, models: Path, seed: int, made: str,
                  markdown: Callable[[Sequence[str], Sequence[Sequence[str]]], list[str]]) -> list[str]:
    """Lines of the page; pictures of the runs on the first of :data:`ARRAYS` are written beside it.

    ``models`` is the folder of the MLPerf Tiny models and their ``samples.npz``; ``made`` says what made the page; ``markdown`` writes
    a table.
    """
    known, table, details = list(networks(models)), [], []
    settings = flow.Settings(seed=seed)
    for rows, cols in ARRAYS:
        with flow.connect("sim", assignments=(f"array.rows={rows}", f"array.cols={cols}"), settings=settings,
                          progress=console.progress) as accelerator:
            memory = flow.device_memory(accelerator.manifest, settings)[1]
            for title, graph, x, expected, bar in known:
                console.progress(f"{title} on {rows} × {cols}")
                session = Session(graph, accelerator, memory=memory)
                y = session.run(x.reshape(graph.tensors[graph.inputs[0]].shape))
                if different := int(np.count_nonzero(np.ravel(y) != np.ravel(expected))):
                    raise flow.FlowError(f"{title} on {rows} × {cols}: {different} outputs differ")
                table.append(_row(title, rows, cols, session, bar, memory))
                if (rows, cols) == ARRAYS[0]:
                    picture = f"{title.lower()}.svg"
                    (output / picture).write_text(timeline(session.runs), encoding="utf-8")
                    details += [f"## {title} on {rows} × {cols}", "", f"![what the engines did]({picture})", "",
                                *markdown(LAYER_COLUMNS, [_layer(layer) for layer in session.report["layers"]])]
    head = ["# Networks", "", made,
            "Memory latency 30 cycles, 64-bit bus, one input, everything cold: program, weights and input come once. "
            "Outputs are equal byte for byte to those of LiteRT's reference kernels (digits: to NumPy). *Tiles allow*: utilisation if the "
            "array streamed a row in every cycle. The roof is what the array's tiles or the bus take at least. The models are the int8 "
            "ones of MLPerf Tiny (github.com/mlcommons/tiny).", ""]
    if len(known) == 1:
        head += ["Their folder was not there (`--models`), so only the demo's network was measured.", ""]
    return [*head, *markdown(COLUMNS, table), *details]
