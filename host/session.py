"""A model and an accelerator: ``Session("model.tflite", accelerator).run(x)``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arch.latency import Memory
from ..arch.tiling import PlanError
from .accelerator import Accelerator, accumulate
from .activity import Activity, layer_times, measured, predicted
from .compile import Compiled, CompiledGraph, compile_graph
from .errors import NetworkError
from .graph import Graph, Node, TensorInfo
from .simulated import SimulatedDevice

if TYPE_CHECKING:
    from .onnx_quantise import Calibration

__all__ = ["Run", "Session", "load_model"]

_COMMANDS = 20_000  # about, in one program: planning more would outlast computing
_LARGEST_FILE = 1 << 31


def load_model(model: str | Path | bytes | Graph, calibration: Calibration | None = None) -> Graph:
    """The graph of a model file (or its contents), ``.tflite`` or ``.onnx``; a float ONNX model is quantised from ``calibration``.

    Raises
    ------
    NetworkError
        The file cannot be read, or is no model that is supported.
    """
    if isinstance(model, Graph):
        return model
    name, source = "", model
    if not isinstance(model, bytes):
        path = Path(model)
        name = path.name
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise NetworkError(f"model {str(path)!r} must be smaller than 2 GiB")
            model = path.read_bytes()
        except OSError as error:
            raise NetworkError(f"model {str(path)!r} cannot be read: {error.strerror}") from None
    try:
        if model[4:8] == b"TFL3" or name.endswith(".tflite"):
            from .tflite_reader import read_tflite
            if calibration is not None:
                raise NetworkError("calibration is for float ONNX models, so it must not be given")
            return read_tflite(model)
        if name.endswith(".onnx") or not name:
            from .onnx_quantise import read_calibrated
            return read_calibrated(source, calibration)
    except NetworkError as error:
        raise NetworkError(f"model {name!r}: {error}") from None
    raise NetworkError(f"model {name!r} must be a TFLite file (.tflite) or an ONNX file (.onnx)")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One program that ran: what was measured (None without a clock or a trace) and what the cycle model predicted."""

    compiled: Compiled
    counters: dict[str, Any]
    predicted: Activity
    measured: Activity | None


class Session:
    """Runs a model on an accelerator, as many inputs in one program as fit.

    Parameters
    ----------
    model : path or contents of a ``.tflite`` or ``.onnx`` file, or a :class:`~.graph.Graph`
    accelerator : stays open; its counters are those of the last program
    calibration : typical inputs for a float ONNX model, which is then quantised: one float32 array, or one for each input
    memory : what the cycle model assumes of the device memory

    Attributes
    ----------
    graph : the model
    runs : what ran in the last call
    report : figures of the last call, as ``systolith run --json`` prints them

    Raises
    ------
    NetworkError
        The model is not supported.
    """

    def __init__(self, model: str | Path | bytes | Graph, accelerator: Accelerator, *, calibration: Calibration | None = None,
                 memory: Memory | None = None) -> None:
        self.graph = load_model(model, calibration)
        self.accelerator = accelerator
        self.memory = memory or Memory()
        self.runs: list[Run] = []
        self.report: dict[str, Any] = {}
        self._compiled: dict[int, CompiledGraph] = {}
        self._predicted: dict[Compiled, Activity] = {}

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """What the model takes."""
        return tuple(self.graph.tensors[key] for key in self.graph.inputs)

    def run(self, *inputs: np.ndarray) -> Any:
        """The model's output for ``inputs``, one array each; a tuple where it has several outputs.

        Arrays have the file's type and shape; the first axis may be any multiple of the file's batch.

        Raises
        ------
        NetworkError
            An input has another type or shape, or the device memory is too small.
        PlanError
            An operator does not fit the accelerator.
        ProgramFailed, DeviceError
            The device failed.
        """
        count = self._check(inputs)
        self.runs, outputs, start = [], [], 0
        rearranged = 0
        while start < count:
            graph, compiled = self._program(count - start)
            batch = min(count - start, self._largest)
            part = []
            for key, x in zip(self.graph.inputs, inputs, strict=True):
                each = self.graph.tensors[key].outer_shape[0]
                encoded = graph.tensors[key].encode(x[start * each:(start + batch) * each])
                if not encoded.flags.c_contiguous:
                    encoded = np.ascontiguousarray(encoded)
                    rearranged += encoded.nbytes
                part.append(encoded)
            results = compiled.run(self._execute, part)
            decoded = [graph.tensors[key].decode(y) for key, y in zip(graph.outputs, results, strict=True)]
            rearranged += sum(y.nbytes for key, y in zip(graph.outputs, results, strict=True) if graph.tensors[key].to_nhwc and y.size)
            outputs.append(decoded)
            start += batch
        self._summarise(count, rearranged)
        joined = tuple(np.ascontiguousarray(np.concatenate(each)) for each in zip(*outputs, strict=True))
        return joined[0] if len(joined) == 1 else joined

    def _check(self, inputs: Sequence[np.ndarray]) -> int:
        """How many times the file's batch ``inputs`` are."""
        if len(inputs) != len(self.graph.inputs):
            names = ", ".join(repr(info.name) for info in self.inputs)
            raise NetworkError(f"there must be one array for each input ({names}), not {len(inputs)}")
        counts = set()
        for info, x in zip(self.inputs, inputs, strict=True):
            batch, *rest = info.outer_shape
            if not isinstance(x, np.ndarray) or x.dtype != info.dtype or x.ndim != 1 + len(rest) or x.shape[1:] != tuple(rest) \
                    or not len(x) or len(x) % batch:
                many = "B" if batch == 1 else f"B · {batch}"
                what = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
                raise NetworkError(f"input {info.name!r} must be {info.dtype} of shape ({', '.join([many, *map(str, rest)])}), not {what}")
            counts.add(len(x) // batch)
        if len(counts) != 1:
            raise NetworkError(f"all inputs must have the same batch, not {', '.join(map(str, sorted(counts)))}")
        return counts.pop()

    def _program(self, count: int) -> tuple[Graph, CompiledGraph]:
        """The programs for at most ``count`` inputs at once: as many as the device memory takes; ``_largest`` says how many."""
        available = self.accelerator.device.memory_bytes
        batch = count
        one = self._compile(1)
        if one.memory_bytes > available:
            raise NetworkError(f"device memory must hold {one.memory_bytes} bytes for one input, not {available}")
        commands = sum(len(program.commands) for program in one.programs)
        batch = min(batch, max(1, _COMMANDS // max(1, commands)))
        while batch > 1:
            try:
                compiled = self._compile(batch)
            except (NetworkError, PlanError):  # an operator that mixes inputs, or a tensor that is too large together
                batch = 1
                break
            if compiled.memory_bytes <= available:
                break
            batch = max(1, min(batch - 1, batch * available // compiled.memory_bytes))
        self._largest = batch
        return self._compile(batch).graph, self._compile(batch)

    def _compile(self, batch: int) -> CompiledGraph:
        if batch not in self._compiled:
            graph = self.graph if batch == 1 else self.graph.batched(batch)
            self._compiled[batch] = compile_graph(graph, self.accelerator.config, memory=self.memory)
        return self._compiled[batch]

    def _execute(self, compiled: Compiled, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        device = self.accelerator.device
        recorder = device if isinstance(device, SimulatedDevice) else None
        compiled.write(device.write_memory, *arrays)
        with contextlib.nullcontext() if recorder is None else recorder.recording():
            counters = dict(self.accelerator.run(compiled.words, bases=compiled.bases, sizes=compiled.sizes))
            seen = None if recorder is None else measured(recorder.take_events(), compiled.commands, counters["cycles"])
        if compiled not in self._predicted:
            self._predicted[compiled] = predicted(compiled, self.memory)
        self.runs.append(Run(compiled=compiled, counters=counters, predicted=self._predicted[compiled], measured=seen))
        return compiled.read(device.read_memory)

    def _summarise(self, count: int, rearranged: int) -> None:
        total: dict[str, Any] = {}
        for run in self.runs:
            accumulate(total, run.counters)
        macs = count * self.graph.macs
        fallback = [node for node in self.graph.nodes if node.on_host]
        on_host = count * sum(self.graph.node_macs(node) for node in fallback)
        report: dict[str, Any] = {key: total[key] for key in ("cycles",) if key in total}
        report |= {"predicted_cycles": sum(run.predicted.cycles for run in self.runs), "macs": macs,
                   "macs_issued": sum(run.compiled.macs_issued for run in self.runs)}
        clock = report.get("cycles", report["predicted_cycles"])
        if clock:
            report["utilisation"] = (macs - on_host) / (self.accelerator.config.macs_per_cycle * clock)
        report |= {key: total.get(key, 0) for key in ("bytes_read", "bytes_written")}
        report |= {"host_bytes_rearranged": rearranged, "batch": count, "programs": len(self.runs),
                   "fallback_ops": [{"index": node.index, "op": node.op, "macs": count * self.graph.node_macs(node)} for node in fallback],
                   "layers": self._layers()}
        if "stalls" in total:
            report["stalls"] = total["stalls"]
        self.report = report

    def _layers(self) -> list[dict[str, Any]]:
        """One entry for each node that has work, in the graph's order; those of several programs added up."""
        found: dict[tuple[int, str, str], dict[str, Any]] = {}
        shapes = {(node.index, node.name, node.op): self.graph.tensors[node.output].shape for node in self.graph.nodes}
        bounds: dict[tuple[int, str, str], dict[str, int]] = {}
        for run in self.runs:
            times = layer_times(run.predicted, run.compiled)
            seen = times if run.measured is None else layer_times(run.measured, run.compiled)
            for info, guess, time in zip(run.compiled.layers, times, seen, strict=True):
                key = (info.index, info.name, info.op)
                entry = found.setdefault(key, {"index": info.index, "name": info.name, "op": info.op, "shape": list(shapes.get(key, ()))})
                for name, value in (("macs", info.macs), ("macs_issued", info.macs_issued), ("bytes_read", info.bytes_read),
                                    ("bytes_written", info.bytes_written), ("predicted_cycles", guess and guess.cycles),
                                    ("cycles", time and time.cycles if run.measured is not None else None)):
                    if value is not None:
                        entry[name] = entry.get(name, 0) + value
                if time is not None:
                    votes = bounds.setdefault(key, {})
                    votes[time.bound_by] = votes.get(time.bound_by, 0) + time.cycles
        rate = self.accelerator.config.macs_per_cycle
        for key, entry in found.items():
            cycles = entry.get("cycles", entry.get("predicted_cycles"))
            if entry["macs"] and cycles:
                entry["utilisation"] = entry["macs"] / (rate * cycles)
            if entry["macs"] and entry["macs_issued"]:
                entry["ceiling"] = entry["macs"] / entry["macs_issued"]
            if key in bounds:
                entry["bound_by"] = max(bounds[key], key=bounds[key].__getitem__)
        return [self._host_layer(node) if node.on_host else found[key] for node in self.graph.nodes
                if node.on_host or (key := (node.index, node.name, node.op)) in found]

    def _host_layer(self, node: Node) -> dict[str, Any]:
        return {"index": node.index, "name": node.name, "op": node.op, "shape": list(self.graph.tensors[node.output].shape),
                "macs": self.graph.node_macs(node), "bound_by": "host"}
