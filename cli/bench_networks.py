"""The MLPerf Tiny reference models on the simulated accelerator: cycles and utilisation, each layer, and bars that have to be cleared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..host.timeline import timeline
from . import console, flow

__all__ = ["networks_page"]

COLUMNS = ("model", "MACs", "cycles", "predicted", "utilisation", "bar", "bytes read", "bytes written", "on the host", "simulated in")
LAYER_COLUMNS = ("", "operator", "output", "MACs", "cycles", "predicted", "utilisation", "ceiling", "bytes read", "bytes written",
                 "bound by")


class Model(NamedTuple):
    """A file, its samples' name, and the bar: least utilisation, or most cycles in bus words of all its bytes."""

    file: str
    samples: str
    title: str
    least: float = 0.0
    of_roof: float = 0.0


MODELS = (
    Model("pretrainedResnet_quant", "ic", "ResNet-8", least=0.70), Model("kws_ref_model", "kws", "DS-CNN", least=0.30),
    Model("vww_96_int8", "vww", "MobileNetV1 0.25", least=0.25), Model("ad01_int8", "ad01", "autoencoder", of_roof=1.10))


def networks_page(output: Path, models: Path, seed: int, head: str, markdown: Any) -> list[str] | None:
    """Lines of the page, and a picture of each model's run beside it; None where the models are not there.

    ``head`` says what made the page, ``markdown`` writes a table.
    """
    from ..host.session import Session
    if not models.is_dir():
        console.progress(f"no page about networks: the models' folder {models} is not there")
        return None
    samples = np.load(models / "samples.npz")
    rows, details = [], []
    settings = flow.Settings(seed=seed)
    with flow.connect("sim", settings=settings, progress=console.progress) as accelerator:
        memory = flow.device_memory(accelerator.manifest, settings)[1]
        for model in MODELS:
            session = Session(models / f"{model.file}.tflite", accelerator, memory=memory)
            watch = _Watch(accelerator)
            result = session.run(samples[f"{model.samples}_in"][:1])
            if not np.array_equal(result, samples[f"{model.samples}_out"][:1]):
                raise flow.FlowError(f"{model.title} differs from LiteRT's reference kernels")
            rows.append(_row(model, session.report, accelerator.config.bus_bytes, watch.seconds))
            picture = f"{model.samples}.svg"
            (output / picture).write_text(timeline(session.runs), encoding="utf-8")
            details += [f"## {model.title}", "", f"![what the engines did]({picture})", "",
                        *markdown(LAYER_COLUMNS, [_layer(layer) for layer in session.report["layers"]])]
    return ["# Networks", "", head,
            "The MLPerf Tiny int8 models (github.com/mlcommons/tiny) on the built-in default, 16 × 16, 64-bit bus, memory latency 30, one "
            "input, weights and input cold in memory; outputs equal to LiteRT's reference kernels byte for byte. Utilisation is MACs ÷ "
            "(256 × cycles). The autoencoder reads each weight once: its bar is cycles ÷ (bytes ÷ 8).", "",
            *markdown(COLUMNS, rows), *details]


class _Watch:
    """Seconds that the device ran since it was made."""

    def __init__(self, accelerator: Any) -> None:
        from .bench_simulators import Stopwatch
        self._stopwatch = Stopwatch(accelerator)

    @property
    def seconds(self) -> float:
        return self._stopwatch.read()


def _row(model: Model, report: dict[str, Any], bus_bytes: int, seconds: float) -> list[str]:
    words = (report["bytes_read"] + report["bytes_written"]) / bus_bytes
    if model.of_roof:
        bar, cleared = f"{report['cycles'] / words:.2f}, at most {model.of_roof}", report["cycles"] <= model.of_roof * words
    else:
        bar, cleared = f"at least {console.percent(model.least)}", report["utilisation"] >= model.least
    return [model.title, f"{report['macs']:,}", f"{report['cycles']:,}", f"{report['predicted_cycles'] - report['cycles']:+,}",
            console.percent(report["utilisation"]), bar if cleared else f"**{bar}**", f"{report['bytes_read']:,}",
            f"{report['bytes_written']:,}", ", ".join(op["op"] for op in report["fallback_ops"]), f"{seconds:.2f} s"]


def _layer(layer: dict[str, Any]) -> Sequence[str]:
    def number(key: str) -> str:
        return f"{layer[key]:,}" if key in layer else ""

    def share(key: str) -> str:
        return console.percent(layer[key]) if key in layer else ""

    return [str(layer["index"]), layer["op"], " × ".join(map(str, layer["shape"][1:])), number("macs"), number("cycles"),
            number("predicted_cycles"), share("utilisation"), share("ceiling"), number("bytes_read"), number("bytes_written"),
            layer["bound_by"]]
