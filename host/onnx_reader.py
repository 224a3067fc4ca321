"""ONNX models with QDQ or QLinear operators as a :class:`~systolith.host.graph.Graph`.

A name of the file stands for a constant, for a tensor of the graph (its integers or the real numbers that they mean), or for a real
result that waits for its QuantizeLinear (:mod:`.onnx_values`); operators are read in the file's order, once. ReLU and Clip become
clamps of the result before them; reshapes and transpositions become views (:mod:`.onnx_view`). Semantics are those of
https://onnx.ai/onnx/operators/ and, for com.microsoft, of ONNX Runtime's ContribOperators.md; arithmetic: :mod:`.onnx_scale`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ..arch.tiling import PlanError
from . import onnx_layout, onnx_operators, onnx_qlinear
from .errors import NetworkError
from .graph import Graph, Quantisation, TensorInfo
from .onnx_constants import checked_scale, dequantised_constant, described, real_array
from .onnx_elementwise import materialise, rescaled
from .onnx_file import DTYPES, File, FileInput, FileNode, load_file
from .onnx_values import UNKNOWN, Activation, Builder, Constant, Pending, Value
from .onnx_view import View
from .operators import Reshape

__all__ = ["SUPPORTED", "Reader", "is_float", "read_onnx"]

HANDLERS = {**onnx_operators.HANDLERS, **onnx_qlinear.HANDLERS, **onnx_layout.HANDLERS}
SUPPORTED = tuple(sorted(HANDLERS))
LONGEST_MESSAGE = 800
_QUANTISED = {"QuantizeLinear", "DequantizeLinear"}


def read_onnx(source: Path | str | bytes) -> Graph:
    """The network in an ONNX file, or in its bytes.

    Inputs and outputs keep the file's names, types and axes (:class:`~systolith.host.graph.TensorInfo`); an input that meets a
    convolution is NHWC inside. The first axis of an input may be a symbol: it is 1 then, and more are a batch.

    Raises
    ------
    NetworkError
        The file is damaged, not quantised, or has something that is not supported; one line, with the operator.
    """
    try:
        file = load_file(source)
        with np.errstate(all="ignore"):  # what is not finite is refused where it is used
            return Reader(file).graph()
    except NetworkError as error:  # names in a file may be anything
        message = " ".join(str(error).split())
        raise NetworkError(message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…") from None


def is_float(file: File) -> bool:
    """Whether the model takes real numbers and nothing in it is quantised."""
    quantised = any(node.op in _QUANTISED or node.op.startswith(("QLinear", "QGemm")) for node in file.nodes)
    return not quantised and any(info.dtype not in ("int8", "uint8") for info in file.inputs)


class Reader:
    """The state of reading one file: ``values`` by name, and the graph's ``builder``."""

    def __init__(self, file: File) -> None:
        if is_float(file):
            dynamic = next((node for node in file.nodes if node.op in ("MatMulInteger", "ConvInteger", "DynamicQuantizeLinear")), None)
            if dynamic is not None:
                raise NetworkError(f"{dynamic.where} quantises while it runs, which is not supported: quantise the float model statically, "
                                   "with calibration inputs")
            raise NetworkError("model is float, so it needs calibration: give typical inputs, calibration=arrays or "
                               "--calibration FILE.npy, or quantise it with ONNX Runtime (static, QDQ)")
        self.file = file
        self.builder = Builder()
        self.values: dict[str, Value] = {name: Constant(array) for name, array in file.constants.items()}
        self._results: dict[tuple[int, Quantisation], Activation] = {}
        self._taken: set[str] = set()
        self._inputs = tuple(self._input(info) for info in file.inputs)
        self._taken.update(self._inputs)
        for node in file.nodes:
            self._read(node)

    def graph(self) -> Graph:
        """The graph of the whole file."""
        outputs = tuple(self._output(info) for info in self.file.outputs)
        for key, info in zip(self._inputs, self.file.inputs, strict=True):
            if self.builder.tensors[key].dtype == "float32" and self.builder.tensors[key].quantisation == UNKNOWN:
                raise NetworkError(f"input {info.name!r} must go through a QuantizeLinear")
        return self.builder.graph(self._inputs, outputs)

    def _read(self, node: FileNode) -> None:
        handler = HANDLERS.get(node.op)
        if handler is None:
            raise NetworkError(f"{node.where} is not supported; supported are {', '.join(SUPPORTED)}")
        if not node.outputs or not node.outputs[0]:
            raise NetworkError(f"{node.where} must have a result")
        try:
            self.values[node.outputs[0]] = handler(self, node)
        except NetworkError as error:
            raise NetworkError(str(error) if str(error).startswith("operator ") else f"{node.where}: {error}") from None
        except PlanError as error:
            raise NetworkError(f"{node.where}: {' '.join(str(error).split())}") from None

    # What handlers ask for.

    def value(self, node: FileNode, position: int) -> Value | None:
        """What an input stands for; None where the node does not have it."""
        if position >= len(node.inputs) or not node.inputs[position]:
            return None
        name = node.inputs[position]
        if name not in self.values:
            raise NetworkError(f"input {name!r} is a second result of an operator, which is not supported")
        value = self.values[name]
        if isinstance(value, Constant) and value.array.dtype == np.dtype("O"):
            raise NetworkError(f"constant {name!r} must be {', '.join(DTYPES.values())}, not {value.array[0]}")
        return value

    def array(self, node: FileNode, position: int, what: str) -> np.ndarray | None:
        """A constant's array, dequantised if need be; None where the node does not have it."""
        value = self.value(node, position)
        if value is None:
            return None
        if not isinstance(value, Constant):
            raise NetworkError(f"{what} must be a constant")
        return real_array(value)

    def real(self, node: FileNode, position: int, *, raw: bool = False) -> Activation:
        """An operand that must be quantised and dequantised; or, if ``raw``, a float input too."""
        value = self.value(node, position)
        if isinstance(value, Activation) and value.real and (raw or value.quantisation is not None):
            return value
        name = node.inputs[position] if position < len(node.inputs) else ""
        raise NetworkError(f"input {name!r} must be the result of DequantizeLinear, not {described(value)}")

    def parameters(self, node: FileNode, scale: int, zero: int, dtype: str | None = None) -> tuple[Quantisation, str]:
        """Scale and zero point of a whole tensor at these inputs, and the integers' type (``dtype``, where the file has no zero point)."""
        scales, zeros = self.value(node, scale), self.value(node, zero)
        if not isinstance(scales, Constant) or scales.array.size != 1 or scales.array.dtype != np.float32:
            raise NetworkError(f"scale must be one constant float32, not {described(scales)}")
        if zeros is None:
            kind, offset = dtype or "uint8", 0
        elif isinstance(zeros, Constant) and zeros.array.size == 1 and zeros.array.dtype in (np.int8, np.uint8):
            kind, offset = str(zeros.array.dtype), int(zeros.array.reshape(-1)[0])
        else:
            raise NetworkError(f"zero point must be one constant int8 or uint8, not {described(zeros)}")
        return Quantisation(scale=checked_scale(scales.array), zero_point=offset - 128 if kind == "uint8" else offset), kind

    def dequantised(self, node: FileNode, position: int, scale: int, zero: int, axis: int) -> Activation | Constant:
        """The real numbers that the integers at an input mean; ``axis`` is that of a constant's scales per channel."""
        value = self.value(node, position)
        if isinstance(value, Constant):
            return dequantised_constant(value, self.value(node, scale), self.value(node, zero), axis)
        if not isinstance(value, Activation) or value.real:
            name = node.inputs[position] if position < len(node.inputs) else ""
            raise NetworkError(f"input {name!r} must be quantised, not {described(value)}")
        quantisation, kind = self.parameters(node, scale, zero, value.dtype)
        if kind != value.dtype:
            raise NetworkError(f"zero point must be {value.dtype}, as the tensor is, not {kind}")
        info = self.builder.tensors[value.key]
        if info.quantisation is None:
            self.builder.tensors[value.key] = dataclasses.replace(info, quantisation=quantisation)
        return dataclasses.replace(value, quantisation=quantisation, real=True)

    def activation(self, node: FileNode, position: int, scale: int, zero: int) -> Activation:
        """:meth:`dequantised` of what the network computes."""
        value = self.dequantised(node, position, scale, zero, 0)
        if isinstance(value, Constant):
            raise NetworkError(f"input {node.inputs[position]!r} must not be constant")
        return value

    def integers(self, node: FileNode, position: int, scale: int, zero: int, axis: int) -> Constant:
        """:meth:`dequantised` of constant weights."""
        value = self.dequantised(node, position, scale, zero, axis)
        if not isinstance(value, Constant):
            raise NetworkError(f"weights {node.inputs[position]!r} must be constant")
        return value

    def finish(self, node: FileNode, value: Activation | Pending, quantisation: Quantisation, dtype: str) -> Activation:
        """The integers of a real result."""
        if isinstance(value, Activation):
            if value.quantisation is None:
                return dataclasses.replace(self.builder.quantise(value, quantisation), dtype=dtype, real=False)
            value = rescaled(self.builder, node, value)
        key = (id(value), quantisation)
        if key not in self._results:
            self._results[key] = materialise(value, quantisation)
        return dataclasses.replace(self._results[key], dtype=dtype)

    # The border.

    def _input(self, info: FileInput) -> str:
        if info.shape is None or any(size is None for size in info.shape[1:]) or not info.shape:
            raise NetworkError(f"input {info.name!r} must have a fixed shape, its first axis excepted, not {_written(info.shape)}")
        shape = tuple(1 if size is None else size for size in info.shape)
        if info.dtype not in ("int8", "uint8", "float32"):
            raise NetworkError(f"input {info.name!r} must be int8, uint8 or float32, not {info.dtype}")
        order = onnx_layout.preferred_order(self.file, info.name, shape)
        permuted = tuple(shape[axis] for axis in order)
        is_real = info.dtype == "float32"
        key = self.builder.tensor(TensorInfo(name=info.name, shape=permuted, quantisation=UNKNOWN if is_real else None, dtype=info.dtype,
                                             to_nhwc=order if order != tuple(range(len(order))) else (), halves_to_even=True))
        self.values[info.name] = Activation(key, View.of(shape, order), info.dtype, None, is_real)
        return key

    def _output(self, info: FileInput) -> str:
        value = self.values[info.name]
        if isinstance(value, Pending):
            raise NetworkError(f"output {info.name!r}: the result of {value.node.where} must go through QuantizeLinear (quantise that "
                               "operator too, or cut it off)")
        if isinstance(value, Constant) or (value.real and value.quantisation is None):
            raise NetworkError(f"output {info.name!r} must be computed, not be a constant or an input")
        node = next((node for node in self.file.nodes if info.name in node.outputs), self.file.nodes[-1])
        order = value.view.permutation()
        if order is None:
            order = tuple(range(len(value.shape)))
        key = self.builder.ordered(node, value, order)
        dtype = "float32" if value.real else value.dtype
        key = self._alias(node, key, info.name)
        found = self.builder.tensors[key]
        self.builder.tensors[key] = dataclasses.replace(found, name=info.name, dtype=dtype, quantisation=value.quantisation,
                                                        to_nhwc=order if order != tuple(range(len(order))) else ())
        return key

    def _alias(self, node: FileNode, key: str, name: str) -> str:
        """A key for an output alone: another output may show the same bytes under another type."""
        if key not in self._taken:
            self._taken.add(key)
            return key
        return self.builder.add(node, Reshape(shape=self.builder.tensors[key].shape), (key,), name=name)


def _written(shape: tuple[int | None, ...] | None) -> str:
    return "unknown" if shape is None else f"({', '.join('?' if size is None else str(size) for size in shape)})"
