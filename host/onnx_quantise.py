"""Float ONNX models, quantised by ONNX Runtime's static quantiser from typical inputs.

int8 with QDQ operators, weights per channel and symmetric, activations by the range that was seen
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import NetworkError
from .graph import Graph
from .onnx_file import File, load_file, onnx_package
from .onnx_reader import is_float, read_onnx

__all__ = ["Calibration", "quantise_onnx", "read_calibrated"]

Calibration = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]


def read_calibrated(source: Path | str | bytes, calibration: Calibration | None = None) -> Graph:
    """:func:`~systolith.host.onnx_reader.read_onnx` of a model that is quantised, or of a float one with ``calibration``.

    Calibration of a model that is quantised already is an error: it would change nothing.
    """
    if calibration is None:
        return read_onnx(source)
    return read_onnx(quantise_onnx(source, calibration))


def quantise_onnx(source: Path | str | bytes, calibration: Calibration) -> bytes:
    """The quantised model, an ONNX file's bytes.

    Parameters
    ----------
    source : a float model, its path or its bytes
    calibration : float32 arrays, by name of input or in the inputs' order, or one for the only input: as the model takes them, any
        number along the first axis

    Raises
    ------
    NetworkError
        The model is not float, the arrays are not what it takes, or ONNX Runtime cannot quantise it.
    """
    file = load_file(source)
    if not is_float(file):
        raise NetworkError("model is quantised already: leave calibration away")
    feeds = list(_feeds(file, calibration))
    onnx = onnx_package()
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError:
        raise NetworkError("quantising ONNX models needs onnxruntime: pip install 'systolith[onnx]'") from None

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        left = iter(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "quantised.onnx"
        try:
            model: Any = onnx.ModelProto.FromString(source) if isinstance(source, bytes) else str(source)
            quant_pre_process(model, str(prepared), skip_symbolic_shape=True)
            quantize_static(str(prepared), str(quantised), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8)
        except Exception as error:  # whatever a converter finds wrong with somebody's model
            message = " ".join(str(error).split())
            raise NetworkError(f"ONNX Runtime cannot quantise the model: {type(error).__name__}: {message[:300]}") from None
        return quantised.read_bytes()


def _feeds(file: File, calibration: Calibration) -> Iterator[dict[str, np.ndarray]]:
    """One dictionary of inputs for each run of the float model."""
    names = [info.name for info in file.inputs]
    if isinstance(calibration, Mapping):
        arrays = {str(name): np.asarray(array) for name, array in calibration.items()}
        if set(arrays) != set(names):
            raise NetworkError(f"calibration must have arrays for the inputs {', '.join(names)}, not for {', '.join(sorted(arrays))}")
    else:
        given = [calibration] if isinstance(calibration, np.ndarray) else list(calibration)
        if len(given) != len(names):
            raise NetworkError(f"calibration must have an array for each of the inputs {', '.join(names)}, not {len(given)}")
        arrays = dict(zip(names, map(np.asarray, given), strict=True))
    batches = set()
    for info in file.inputs:
        array = arrays[info.name]
        shape = info.shape
        if shape is None or not shape or any(size is None or size < 1 for size in shape[1:]) or (shape[0] or 1) < 1:
            raise NetworkError(f"input {info.name!r} must have a fixed shape, its first axis excepted")
        if array.dtype != np.float32 or array.shape[1:] != shape[1:] or not len(array) or len(array) % (shape[0] or 1):
            raise NetworkError(f"calibration of input {info.name!r} must be float32 of shape (n, {', '.join(map(str, shape[1:]))}), n a "
                               f"multiple of {shape[0] or 1}, not {array.dtype} {array.shape}")
        if not np.isfinite(array).all():
            raise NetworkError(f"calibration of input {info.name!r} must be finite")
        batches.add(len(array) // (shape[0] or 1))
    if len(batches) != 1:
        raise NetworkError(f"calibration must have equally many of each input, not {sorted(batches)}")
    sizes = {info.name: (info.shape or (1,))[0] or 1 for info in file.inputs}
    return ({name: array[i * sizes[name]:(i + 1) * sizes[name]] for name, array in arrays.items()} for i in range(batches.pop()))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that the quantiser logs."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
