"""``run`` and ``compile``: a model file on an accelerator, or as files for the C driver."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..arch.manifest import Manifest
from ..host.errors import NetworkError
from ..host.graph import Graph, TensorInfo
from . import flow
from .flow import FlowError, Settings
from .settings import choose

__all__ = ["compile_model", "random_input", "read_array", "run_model", "write_files"]

Progress = Callable[[str], None]


def read_array(path: Path) -> np.ndarray:
    """A ``.npy`` file; never more memory than the file has bytes.

    Raises
    ------
    FlowError
        It cannot be read, or is no array of numbers.
    """
    try:
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except OSError as error:
        raise FlowError(f"input {str(path)!r} cannot be read: {error.strerror or 'it is no .npy file'}") from None
    except Exception:
        raise FlowError(f"input {str(path)!r} must be a .npy file of numbers, as numpy.save writes it") from None


def write_files(directory: Path, files: dict[str, bytes]) -> None:
    """Put files into a folder, each whole or not at all.

    Raises
    ------
    FlowError
        The folder cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".writing-") as temporary:
            for name, content in files.items():
                (Path(temporary) / name).write_bytes(content)
            for name in files:
                os.replace(Path(temporary) / name, directory / name)
    except OSError as error:
        raise FlowError(f"{str(directory)!r} cannot be written: {error.strerror}") from None


def random_input(info: TensorInfo, seed: int) -> np.ndarray:
    """Something to run on: uniform over the type's range, or over what the quantisation covers."""
    rng = np.random.default_rng(seed)
    if info.dtype == "float32" and info.quantisation is not None:
        return info.quantisation.dequantise(rng.integers(-128, 128, info.outer_shape, np.int8))
    kind = np.dtype(info.dtype)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, info.outer_shape, kind, endpoint=True)


def _check_writable(path: Path, what: str) -> None:
    """Raise :class:`FlowError` before anything runs where ``path`` could not be written behind it."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise FlowError(f"{what} {str(path)!r} must be a file in a folder that exists and can be written")


def run_model(model: Path, input_files: list[Path], output: Path | None, *, device: str = "sim", settings: Settings | None = None,
              timeline: Path | None = None, calibration: Iterable[Path] = (), progress: Progress = lambda line: None,
              **what: Any) -> dict[str, Any]:
    """Run a model: what ``systolith run`` prints. Without input files, on random data from the seed.

    Raises
    ------
    FlowError, NetworkError, PlanError, DeviceError, ProgramFailed
        Each with one line; nothing is written then.
    """
    from ..host.session import Session, load_model
    from ..host.timeline import timeline as draw
    settings = settings or Settings()
    for path, name in ((output, "output"), (timeline, "timeline")):
        if path is not None:
            _check_writable(path, name)
    graph = load_model(model, [read_array(path) for path in calibration] or None)
    arrays = [read_array(path) for path in input_files] or [random_input(graph.tensors[key], settings.seed) for key in graph.inputs]
    if output is not None and len(graph.outputs) != 1:
        raise FlowError(f"--output must not be given for a model with {len(graph.outputs)} outputs; use systolith.Session")
    with flow.connect(device, settings=settings, progress=progress, **what) as accelerator:
        session = Session(graph, accelerator, memory=flow.device_memory(accelerator.manifest, settings)[1])
        progress(f"running {model.name} on {device}")
        result = session.run(*arrays)
        if timeline is not None:
            write_files(timeline.parent, {timeline.name: draw(session.runs).encode()})
        if output is not None:
            write_files(output.parent, {output.name: _npy(result)})
        return {"model": str(model), "device": device, **session.report}


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def compile_model(model: Path, output: Path, *, batch: int = 1, directory: Path | None = None, board: str | None = None,
                  config: Path | None = None, assignments: Iterable[str] = (), settings: Settings | None = None,
                  calibration: Iterable[Path] = (), progress: Progress = lambda line: None) -> dict[str, Any]:
    """Write a model's programs, constants and memory map into a folder: what ``systolith compile`` prints."""
    from ..host.compile import compile_graph
    from ..host.export import export_files, memory_map
    from ..host.session import load_model
    graph: Graph = load_model(model, [read_array(path) for path in calibration] or None)
    digest = None
    if directory is not None:
        if board is not None or config is not None or list(assignments):
            raise FlowError("a generated folder carries its configuration; give either --directory or board, config and settings")
        manifest = Manifest.read(directory)
        digest, name = manifest.hash, str(directory)
    else:
        target = choose(board=board, config=config, assignments=assignments)
        manifest, name = Manifest(config=target.config, board=board), target.name
    progress(f"compiling {model.name} for {name}")
    memory = flow.device_memory(manifest, settings or Settings())[1]
    graph = graph if batch == 1 else graph.batched(batch)
    compiled = compile_graph(graph, manifest.config, memory=memory)
    if not compiled.programs:
        raise NetworkError(f"model {model.name!r} has no operator for the accelerator")
    document = memory_map(compiled, model=model.name, accelerator=name, digest=digest)
    files = export_files(compiled, document)
    write_files(output, files)
    return {"model": str(model), "directory": str(output), "files": sorted(files), "programs": len(compiled.programs),
            "words": sum(int(program.words.size) for program in compiled.programs),
            "constant_bytes": sum(int(program.constants.size) for program in compiled.programs), "memory_bytes": compiled.memory_bytes,
            "macs": compiled.macs, "host_steps": [step["host"] for step in document["steps"] if "host" in step]}
