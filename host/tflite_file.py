"""A TFLite flatbuffer as plain records: tensors and operators of its first subgraph, constants as views of the file.

Parsing is that of the ``tflite`` package, classes that FlatBuffers generates from TFLite's schema
(https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs). They trust the file; here every
count and length is compared with the file's size before anything is read or allocated.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .errors import NetworkError

__all__ = ["FileOperator", "FileTensor", "TfliteFile", "read_file"]

IDENTIFIER = b"TFL3"
TYPES: dict[str, str] = {"INT8": "|i1", "UINT8": "|u1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FLOAT32": "<f4"}  # of constants
MOST_AXES = 8

# Options that are read, by the operator's name in the schema: class, and fields with the name that they have here.
_POOL = ("Pool2DOptions", {"padding": "Padding", "stride_x": "StrideW", "stride_y": "StrideH", "kernel_x": "FilterWidth",
                           "kernel_y": "FilterHeight", "activation": "FusedActivationFunction"})
_CONV = {"padding": "Padding", "stride_x": "StrideW", "stride_y": "StrideH", "dilation_x": "DilationWFactor",
         "dilation_y": "DilationHFactor", "activation": "FusedActivationFunction"}
OPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "CONV_2D": ("Conv2DOptions", _CONV),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", _CONV),
    "FULLY_CONNECTED": ("FullyConnectedOptions", {"activation": "FusedActivationFunction", "format": "WeightsFormat",
                                                  "keep_axes": "KeepNumDims"}),
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "ADD": ("AddOptions", {"activation": "FusedActivationFunction"}),
    "BATCH_MATMUL": ("BatchMatMulOptions", {"transpose_a": "AdjX", "transpose_b": "AdjY"}),
    "SOFTMAX": ("SoftmaxOptions", {"beta": "Beta"}),
    "MEAN": ("ReducerOptions", {"keep_axes": "KeepDims"}),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FileTensor:
    """A tensor as the file describes it.

    ``shape`` has −1 for an axis whose size is not known; ``dtype`` is the schema's name in small letters; ``data`` is an array of
    ``shape`` for constants; ``scales``, ``zero_points`` are empty where there is no quantisation; ``axis`` is the quantised one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: np.ndarray | None
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int
    plain: bool  # neither sparse nor a variable


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileOperator:
    """An operator: ``name`` in the schema, ``options`` as in :data:`OPTIONS`; −1 in ``inputs`` stands for one that is left out."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfliteFile:
    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _Budget:
    """Bytes that may still be looked at: a sound file has none twice, a hostile one could refer to the same ones for ever."""

    def __init__(self, file_bytes: int) -> None:
        self.left = 4 * file_bytes + 4096
        self.file_bytes = file_bytes

    def take(self, count: int, each: int = 1) -> int:
        """``count``, if so many elements can be in the file."""
        if not 0 <= count * each <= self.file_bytes or count * each > self.left:
            raise NetworkError("TFLite file is damaged: a vector is longer than the file")
        self.left -= count * each
        return count


def read_file(data: bytes) -> TfliteFile:
    """Parse a flatbuffer.

    Raises
    ------
    NetworkError
        ``data`` is no TFLite model, or damaged.
    """
    if len(data) < 16 or data[4:8] != IDENTIFIER:
        raise NetworkError("file must be a TFLite model (bytes 4 to 7 are 'TFL3'); it is not")
    try:
        import tflite
    except ModuleNotFoundError:
        raise NetworkError("TFLite models need the package 'tflite'; run: pip install 'systolith[networks]'") from None
    try:
        return _parse(tflite, data)
    except NetworkError:
        raise
    except Exception as error:  # the generated classes raise whatever the bytes provoke: struct.error, IndexError, TypeError, …
        raise NetworkError(f"TFLite file is damaged: {type(error).__name__} while reading it") from None


def _parse(tflite: Any, data: bytes) -> TfliteFile:
    budget = _Budget(len(data))
    model = tflite.Model.GetRootAs(data, 0)
    if model.Version() != 3:
        raise NetworkError(f"TFLite file must have schema version 3, not {model.Version()}")
    if not budget.take(model.SubgraphsLength(), 4):
        raise NetworkError("TFLite file must have a subgraph")
    graph = model.Subgraphs(0)
    names = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
    codes = []
    for i in range(budget.take(model.OperatorCodesLength(), 4)):
        code = model.OperatorCodes(i)
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = code.CustomCode() if number == tflite.BuiltinOperator.CUSTOM else None
        codes.append(f"CUSTOM {custom[:64].decode(errors='replace')!r}" if custom is not None else names.get(number, f"number {number}"))
    buffers = budget.take(model.BuffersLength(), 4)
    types = {value: name for name, value in vars(tflite.TensorType).items() if isinstance(value, int)}
    tensors = tuple(_tensor(graph.Tensors(i), model, buffers, types, budget) for i in range(budget.take(graph.TensorsLength(), 4)))
    operators = tuple(_operator(tflite, graph.Operators(i), i, codes, len(tensors), budget)
                      for i in range(budget.take(graph.OperatorsLength(), 4)))
    ends = [_indices(get, count, len(tensors), budget, least=0) for get, count in (
        (graph.Inputs, graph.InputsLength()), (graph.Outputs, graph.OutputsLength()))]
    return TfliteFile(tensors=tensors, operators=operators, inputs=ends[0], outputs=ends[1])


def _indices(get: Any, count: int, tensors: int, budget: _Budget, *, least: int) -> tuple[int, ...]:
    found = tuple(int(get(i)) for i in range(budget.take(count, 4)))
    for index in found:
        if not least <= index < tensors:
            raise NetworkError(f"TFLite file is damaged: it refers to tensor {index} of {tensors}")
    return found


def _operator(tflite: Any, source: Any, index: int, codes: list[str], tensors: int, budget: _Budget) -> FileOperator:
    name = codes[source.OpcodeIndex()]
    options: dict[str, Any] = {}
    if name in OPTIONS:
        kind, fields = OPTIONS[name]
        table = source.BuiltinOptions()
        parsed = getattr(tflite, kind)()
        if table is not None and source.BuiltinOptionsType() == getattr(tflite.BuiltinOptions, kind):
            parsed.Init(table.Bytes, table.Pos)
            options = {field: getattr(parsed, member)() for field, member in fields.items()}
        elif name not in ("ADD", "BATCH_MATMUL", "FULLY_CONNECTED"):
            raise NetworkError(f"operator {index} ({name}) must have options of type {kind}")
        else:
            options = dict.fromkeys(fields, 0)
    return FileOperator(index=index, name=name, options=options,
                        inputs=_indices(source.Inputs, source.InputsLength(), tensors, budget, least=-1),
                        outputs=_indices(source.Outputs, source.OutputsLength(), tensors, budget, least=0))


def _tensor(source: Any, model: Any, buffers: int, types: dict[int, str], budget: _Budget) -> FileTensor:
    budget.take(64)  # so that very many references to one tensor end
    shape = tuple(int(source.Shape(i)) for i in range(budget.take(source.ShapeLength(), 4)))
    signature = tuple(int(source.ShapeSignature(i)) for i in range(budget.take(source.ShapeSignatureLength(), 4)))
    raw_name = source.Name() or b""
    budget.take(len(raw_name))
    name = raw_name[:200].decode(errors="replace")
    dtype = types.get(source.Type(), f"type {source.Type()}")
    quantisation = source.Quantization()
    scales, zero_points, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    if quantisation is not None:
        axis = int(quantisation.QuantizedDimension())
        if budget.take(quantisation.ScaleLength(), 4):
            scales = np.array(quantisation.ScaleAsNumpy(), np.float32)
        if budget.take(quantisation.ZeroPointLength(), 8):
            zero_points = np.array(quantisation.ZeroPointAsNumpy(), np.int64)
    if len(shape) > MOST_AXES:
        raise NetworkError(f"tensor {name!r} must have at most {MOST_AXES} axes, not {len(shape)}")
    # A batch that is left open has size 1 in `shape`, and every size of it is computed alike; other open axes have no size at all.
    if len(signature) == len(shape):
        shape = tuple(size if (i == 0 and size == 1) or known != -1 else -1
                      for i, (size, known) in enumerate(zip(shape, signature, strict=True)))
    return FileTensor(name=name, shape=shape, dtype=dtype.lower(), data=_data(source, model, buffers, shape, dtype, name, budget),
                      scales=scales, zero_points=zero_points, axis=axis, plain=source.Sparsity() is None and not source.IsVariable())


def _data(source: Any, model: Any, buffers: int, shape: tuple[int, ...], dtype: str, name: str, budget: _Budget) -> np.ndarray | None:
    number = source.Buffer()
    if number == 0:  # by convention the empty one
        return None
    if number >= buffers:
        raise NetworkError(f"TFLite file is damaged: tensor {name!r} refers to buffer {number} of {buffers}")
    buffer = model.Buffers(number)
    if buffer.Offset() > 1:
        raise NetworkError(f"constant {name!r} lies behind the flatbuffer, as in models of more than 2 GB, which are not supported")
    if not budget.take(buffer.DataLength()):
        return None
    content = buffer.DataAsNumpy()
    if dtype not in TYPES:
        return np.asarray(content)
    kind = np.dtype(TYPES[dtype])
    count = 1
    for size in shape:
        count *= size
    if any(size < 0 for size in shape) or count * kind.itemsize != content.size:
        raise NetworkError(f"constant {name!r} must have {count * kind.itemsize} bytes for shape {shape}, not {content.size}")
    return np.frombuffer(content.tobytes(), kind).reshape(shape)
