"""ONNX files: parsed, checked and reduced to what the reader needs. Nothing of a file is believed before it is checked.

Parsing is the ``onnx`` package's (protobuf); the rules are those of the ONNX specification
(https://github.com/onnx/onnx/blob/main/docs/IR.md and ExternalData.md). Tensors' sizes are compared with the data that is there
before any array is made, so that a file of a few bytes cannot ask for much memory.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import NetworkError
from .graph import LARGEST_TENSOR

__all__ = ["File", "FileInput", "FileNode", "load_file", "onnx_package"]

OPSETS = (10, 28)  # of the standard operators: QLinearConv came with 10
LARGEST_RANK = 8
DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64"}
OTHER_TYPES = {4: "uint16", 5: "int16", 8: "string", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16",
               17: "float8", 18: "float8", 19: "float8", 20: "float8", 21: "uint4", 22: "int4", 23: "float4"}
_INTEGERS = ("allowzero", "axis", "block_size", "ceil_mode", "channels_last", "count_include_pad", "end", "group", "keepdims", "opset",
             "output_dtype", "start", "to", "training_mode", "transA", "transB", "value_int")
_LISTS = ("axes", "dilations", "kernel_shape", "pads", "perm", "strides", "value_ints")
# AttributeProto's types by the attributes that the reader asks for.
_KINDS = {**dict.fromkeys(_INTEGERS, (2, "an integer")), **dict.fromkeys(_LISTS, (7, "a list of integers")),
          **dict.fromkeys(("alpha", "beta", "epsilon", "max", "min", "value_float"), (1, "a number")),
          "value_floats": (6, "a list of numbers"), **dict.fromkeys(("approximate", "auto_pad"), (3, "a string")), "value": (4, "a tensor")}
_FIELDS = {"float32": "float_data", "uint8": "int32_data", "int8": "int32_data", "int32": "int32_data", "int64": "int64_data"}


@dataclasses.dataclass(frozen=True, eq=False)
class FileNode:
    """An operator as the file has it; absent inputs and outputs are ``""``. ``attributes`` are Python numbers, strings, lists, arrays."""

    index: int
    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def where(self) -> str:
        """For messages."""
        return f"operator {self.index} ({self.op}, {self.name!r})"


@dataclasses.dataclass(frozen=True)
class FileInput:
    """An input or output of the network: ``shape`` has None where the file has no number."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclasses.dataclass(frozen=True, eq=False)
class File:
    """A model: ``nodes`` that the outputs depend on, in the file's order; ``constants`` by name; ``opset`` of the standard operators."""

    nodes: tuple[FileNode, ...]
    constants: Mapping[str, np.ndarray]
    inputs: tuple[FileInput, ...]
    outputs: tuple[FileInput, ...]
    opset: int


def onnx_package() -> Any:
    """The ``onnx`` package; :class:`NetworkError` where it is not installed."""
    try:
        import onnx
    except ImportError:
        raise NetworkError("reading ONNX files needs the onnx package: pip install 'systolith[onnx]'") from None
    return onnx


def load_file(source: Path | str | bytes) -> File:
    """The model in a file, or in its bytes (which then cannot refer to data outside).

    Raises
    ------
    NetworkError
        It is no ONNX model, or breaks a rule of the format; one line.
    """
    onnx = onnx_package()
    from google.protobuf.message import DecodeError
    if isinstance(source, bytes):
        data, folder, what = source, None, "model"
    else:
        path = Path(source)
        folder, what = path.parent, str(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise NetworkError(f"{what} cannot be read: {error.strerror}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise NetworkError(f"{what} is not an ONNX file, or it is truncated or damaged") from None
    if not model.HasField("graph") or not model.graph.node:
        raise NetworkError(f"{what} must hold a graph with at least one operator: it is not an ONNX model, or it is empty")
    return _checked(model, folder)


def _checked(model: Any, folder: Path | None) -> File:
    graph = model.graph
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    opset = max(opsets, default=1)
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise NetworkError(f"operator set must be from {OPSETS[0]} to {OPSETS[1]}, not {opset}: convert the model with "
                           "onnx.version_converter")
    if model.functions:
        raise NetworkError(f"model must have no functions of its own, not {model.functions[0].name!r}: inline them with onnx.inliner")
    if graph.sparse_initializer:
        raise NetworkError("model must have no sparse initialisers: make them dense")
    constants: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        name = _text(tensor.name)
        if not name or name in constants:
            raise NetworkError(f"initialisers must have names of their own, not {name!r}")
        constants[name] = _array(tensor, folder)
    inputs = tuple(_border(info) for info in graph.input if _text(info.name) not in constants)
    outputs = tuple(_border(info) for info in graph.output)
    if not inputs or not outputs:
        raise NetworkError("model must have at least one input and one output")
    nodes = tuple(_needed([_node(i, node) for i, node in enumerate(graph.node)], [info.name for info in outputs]))
    _check_order(nodes, set(constants), inputs, outputs)
    return File(nodes=nodes, constants=constants, inputs=inputs, outputs=outputs, opset=opset)


def _node(index: int, node: Any) -> FileNode:
    if node.domain not in ("", "ai.onnx", "com.microsoft"):
        raise NetworkError(f"operator {index} ({node.op_type}, {node.name!r}) is of domain {node.domain!r}; supported are the standard "
                           "operators and those of com.microsoft")
    return FileNode(index=index, name=_text(node.name), op=_text(node.op_type), inputs=tuple(map(_text, node.input)),
                    outputs=tuple(map(_text, node.output)), attributes={_text(a.name): a for a in node.attribute})


def _text(value: str | bytes) -> str:
    """A name: what is not UTF-8 comes as bytes."""
    return value if isinstance(value, str) else value.decode(errors="replace")


def attribute(node: FileNode, name: str, default: Any = None) -> Any:
    """The value of an attribute, int, float, str, list or array; :class:`NetworkError` where it is of another kind than its name has."""
    found = node.attributes.get(name)
    if found is None:
        return default
    kind, words = _KINDS[name]
    if found.type != kind:
        raise NetworkError(f"{node.where}: attribute {name!r} must be {words}, not of type {found.type}")
    match kind:
        case 1:
            return float(found.f)
        case 2:
            return int(found.i)
        case 3:
            return _text(found.s)
        case 4:
            return _array(found.t, None)
        case 6:
            return [float(value) for value in found.floats]
        case _:
            return [int(value) for value in found.ints]


def _needed(nodes: list[FileNode], outputs: list[str]) -> Iterator[FileNode]:
    """The nodes that the outputs depend on."""
    makers: dict[str, FileNode] = {}
    for node in nodes:
        for name in filter(None, node.outputs):
            if name in makers:
                raise NetworkError(f"{node.where} writes tensor {name!r}, which {makers[name].where} writes too")
            makers[name] = node
    needed: set[int] = set()
    pending = list(outputs)
    while pending:
        node_or_none = makers.get(pending.pop())
        if node_or_none is not None and node_or_none.index not in needed:
            needed.add(node_or_none.index)
            pending.extend(node_or_none.inputs)
    return (node for node in nodes if node.index in needed)


def _check_order(nodes: tuple[FileNode, ...], made: set[str], inputs: tuple[FileInput, ...], outputs: tuple[FileInput, ...]) -> None:
    names = [info.name for info in inputs]
    if len(set(names)) != len(names) or "" in names:
        raise NetworkError(f"inputs must have names of their own, not {names}")
    made |= set(names)
    for node in nodes:
        for name in filter(None, node.inputs):
            if name not in made:
                raise NetworkError(f"{node.where} reads tensor {name!r}, which is no input, no initialiser and no result of an operator "
                                   "before it")
        for name in filter(None, node.outputs):
            if name in made:
                raise NetworkError(f"{node.where} writes tensor {name!r}, which is there already")
            made.add(name)
    for info in outputs:
        if info.name not in made:
            raise NetworkError(f"output {info.name!r} must be the result of an operator")


def _border(info: Any) -> FileInput:
    if not info.type.HasField("tensor_type"):
        raise NetworkError(f"{info.name!r} must be a tensor, not a sequence, map or optional")
    tensor = info.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in tensor.shape.dim)
        if len(shape) > LARGEST_RANK:
            raise NetworkError(f"{info.name!r} must have at most {LARGEST_RANK} axes, not {len(shape)}")
    return FileInput(name=_text(info.name), dtype=_dtype(tensor.elem_type, info.name), shape=shape)


def _dtype(number: int, name: str) -> str:
    if number not in DTYPES:
        raise NetworkError(f"tensor {name!r} must be one of {', '.join(DTYPES.values())}, not {OTHER_TYPES.get(number, f'type {number}')}")
    return DTYPES[number]


def _array(tensor: Any, folder: Path | None) -> np.ndarray:
    """The tensor's values, read-only, its size having been compared with the data that is there."""
    if tensor.data_type in OTHER_TYPES:
        # Whoever uses it says so: other tensors of the file may be all that matters.
        return np.array([OTHER_TYPES[tensor.data_type]], np.dtype("O"))
    dtype = np.dtype(_dtype(tensor.data_type, tensor.name)).newbyteorder("<")
    shape = tuple(tensor.dims)
    if len(shape) > LARGEST_RANK:
        raise NetworkError(f"initialiser {tensor.name!r} must have at most {LARGEST_RANK} axes, not {len(shape)}")
    if any(size < 0 for size in shape) or math.prod(shape) > LARGEST_TENSOR:
        raise NetworkError(f"initialiser {tensor.name!r} must have at most {LARGEST_TENSOR} elements, not shape {shape}")
    if tensor.HasField("segment"):
        raise NetworkError(f"initialiser {tensor.name!r} must be in one piece, not in segments")
    count = math.prod(shape)
    if tensor.data_location == 1:
        raw = _external(tensor, folder, count * dtype.itemsize)
        values = np.frombuffer(raw, dtype)
    elif tensor.HasField("raw_data"):
        raw = tensor.raw_data
        values = np.frombuffer(raw, dtype) if len(raw) % dtype.itemsize == 0 else np.zeros(0, dtype)
    else:
        field = getattr(tensor, _FIELDS[DTYPES[tensor.data_type]])
        values = np.array(field, {"float32": np.float32, "int64": np.int64}.get(DTYPES[tensor.data_type], np.int32)).astype(dtype)
    if values.size != count:
        raise NetworkError(f"initialiser {tensor.name!r} must have data for {count} elements, as its shape {shape} says, not {values.size}")
    return values.astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def _external(tensor: Any, folder: Path | None, size: int) -> bytes:
    """Data beside the model: only from files in the model's own folder or below."""
    where = {entry.key: entry.value for entry in tensor.external_data}
    location = where.get("location", "")
    if folder is None:
        raise NetworkError(f"initialiser {tensor.name!r} is in the file {location!r}: give the model as a path, or with its data inside")
    try:
        offset, length = int(where.get("offset") or 0), int(where.get("length") or size)
    except ValueError:
        offset = length = -1
    if offset < 0 or length != size:
        raise NetworkError(f"initialiser {tensor.name!r} must have {size} bytes of external data, not offset {where.get('offset')!r} and "
                           f"length {where.get('length')!r}")
    try:
        root = folder.resolve()
        path = (root / location).resolve()
        if not location or "\0" in location or not path.is_relative_to(root) or not path.is_file():
            raise NetworkError(f"initialiser {tensor.name!r} must have its data in a file within the model's folder, not in {location!r}")
        with path.open("rb") as file:
            file.seek(offset)
            raw = file.read(size)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, NetworkError):
            raise
        raise NetworkError(f"data of initialiser {tensor.name!r}, {location!r}, cannot be read") from None
    if len(raw) != size:
        raise NetworkError(f"initialiser {tensor.name!r} must have {size} bytes at {offset} in {location!r}, not {len(raw)}")
    return raw
