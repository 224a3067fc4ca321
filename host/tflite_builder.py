"""Tensors, constants and borders of a TFLite file on their way to a graph."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..arch.tiling import PlanError
from . import scaling
from .errors import NetworkError
from .graph import Graph, Node, Quantisation, TensorInfo
from .operators import DepthwiseConv2D, Operator, Reshape
from .tflite_file import FileOperator, TfliteFile

__all__ = ["MOST_WEIGHTS", "NO_PADDING", "Padding", "TfliteBuilder"]

MOST_WEIGHTS = 1 << 27  # elements of one operator, expanded
Padding = tuple[tuple[int, int], tuple[int, int]]
NO_PADDING: Padding = ((0, 0), (0, 0))


class TfliteBuilder:
    """One file on its way to a graph; :mod:`.tflite_reader` adds what converts each operator."""

    def __init__(self, file: TfliteFile) -> None:
        self.file = file
        self.nodes: list[Node] = []
        self.tensors: dict[str, TensorInfo] = {}
        self.keys = _unique_names(file)
        self.padded: dict[int, tuple[FileOperator, int, Padding]] = {}  # results of PAD, not yet computed: of which tensor, by how much
        self.borders: dict[int, int] = {}  # float tensor at the border → its int8 tensor
        self.weights_left = 16 * sum(t.data.nbytes for t in file.tensors if t.data is not None) + 4096

    def graph(self) -> Graph:
        if not self.file.operators:
            raise NetworkError("model must have at least one operator")
        self._refuse_float()
        self._find_borders()
        inputs = tuple(self._border(i) for i in self.file.inputs)
        for operator in self.file.operators:
            try:
                self._convert(operator)
            except (NetworkError, PlanError) as error:
                if str(error).startswith("operator "):
                    raise
                raise NetworkError(f"operator {operator.index} ({operator.name}): {error}") from None
        outputs = tuple(self._border(i, made=True) for i in self.file.outputs)
        return Graph(nodes=tuple(self.nodes), tensors=self.tensors, inputs=inputs, outputs=outputs)

    # Tensors

    def _refuse_float(self) -> None:
        made = [self.file.tensors[o].dtype for op in self.file.operators for o in op.outputs]
        if made and all(dtype in ("float32", "float16") for dtype in made):
            raise NetworkError("model is not quantised (all its tensors are float): quantise it to int8 first, for TFLite with a "
                               "representative data set, or give the ONNX model with calibration inputs")

    def _find_borders(self) -> None:
        """QUANTIZE behind a float input and DEQUANTIZE before a float output belong to the border."""
        for op in self.file.operators:
            if op.name == "QUANTIZE" and len(op.inputs) == len(op.outputs) == 1 and op.inputs[0] in self.file.inputs:
                source, target = op.inputs[0], op.outputs[0]
                if self.file.tensors[source].dtype == "float32":
                    if source in self.borders:
                        raise NetworkError(f"operator {op.index} (QUANTIZE): input {self.file.tensors[source].name!r} is quantised twice")
                    self.borders[source] = target
            if op.name == "DEQUANTIZE" and len(op.inputs) == len(op.outputs) == 1 and op.outputs[0] in self.file.outputs:
                self.borders[op.outputs[0]] = op.inputs[0]

    def _border(self, index: int, *, made: bool = False) -> str:
        """Key of a tensor that the user sees; ``made`` for outputs."""
        tensor, inside = self.file.tensors[index], self.borders.get(index, index)
        if tensor.dtype == "float32" and inside == index:
            raise NetworkError(f"{'output' if made else 'input'} {tensor.name!r} is float32 without an operator that "
                               f"{'dequantises' if made else 'quantises'} it: quantise the whole model to int8")
        if not made:
            info = self._info(inside)
            if self.file.tensors[inside].shape != tensor.shape:
                raise NetworkError(f"input {tensor.name!r} must keep its shape {tensor.shape} where it is quantised")
            self.tensors[self.keys[inside]] = dataclasses.replace(info, name=tensor.name, dtype=tensor.dtype)
            return self.keys[inside]
        key = self._key(inside)
        dtype = self.tensors[key].dtype
        if dtype != tensor.dtype and key not in {self.keys[self.borders.get(i, i)] for i in self.file.inputs}:
            self.tensors[key] = dataclasses.replace(self.tensors[key], name=tensor.name, dtype=tensor.dtype)
        return key

    def _quantisation(self, index: int) -> Quantisation:
        """Of an activation: one scale, one zero point, in terms of int8."""
        tensor = self.file.tensors[index]
        scales, zeros = tensor.scales, tensor.zero_points
        if tensor.dtype not in ("int8", "uint8"):
            raise NetworkError(f"tensor {tensor.name!r} must be int8 or uint8, not {tensor.dtype}; quantise the whole model to int8")
        if not tensor.plain:
            raise NetworkError(f"tensor {tensor.name!r} must be neither sparse nor a variable")
        if scales.size != 1 or zeros.size > 1:
            raise NetworkError(f"unsupported quantisation: tensor {tensor.name!r} must have one scale and zero point, not {scales.size}")
        scale, zero = float(scales[0]), int(zeros[0]) if zeros.size else 0
        if not (math.isfinite(scale) and scale > 0):
            raise NetworkError(f"unsupported quantisation: scale of tensor {tensor.name!r} must be finite and positive, not {scale}")
        if tensor.dtype == "uint8":
            zero -= 128
        if not -128 <= zero <= 127:
            raise NetworkError(f"unsupported quantisation: zero point of tensor {tensor.name!r} must be in the range of {tensor.dtype}")
        return Quantisation(scale=scale, zero_point=zero)

    def _info(self, index: int) -> TensorInfo:
        tensor = self.file.tensors[index]
        if -1 in tensor.shape:
            raise NetworkError(f"tensor {tensor.name!r} has a dynamic shape {tensor.shape}; convert the model with fixed sizes "
                               "(only the batch may be open)")
        return TensorInfo(name=tensor.name, shape=tensor.shape, quantisation=self._quantisation(index), dtype=tensor.dtype)

    def _key(self, index: int) -> str:
        """Key of an activation that an operator reads; computes a PAD that could not be folded."""
        tensor = self.file.tensors[index]
        if index in self.padded:
            self._materialise(index)
        if tensor.data is not None:
            raise NetworkError(f"input {tensor.name!r} must be computed by the network, not a constant")
        if self.keys[index] not in self.tensors:
            raise NetworkError(f"input {tensor.name!r} must be computed by an operator before")
        return self.keys[index]

    def _image(self, index: int) -> tuple[int, ...]:
        shape = self.file.tensors[index].shape
        if len(shape) != 4:
            raise NetworkError(f"input must have 4 axes (batch, height, width, channels), not shape {shape}")
        return shape

    def _emit(self, op: FileOperator, operator: Operator, inputs: tuple[str, ...], output: int, *,
              shape: tuple[int, ...] | None = None) -> None:
        """Append the node; ``shape`` is what the operator gives where the file's tensor is that, reshaped."""
        info, key = self._info(output), self.keys[output]
        if key in self.tensors:
            raise NetworkError(f"output {info.name!r} is written twice")
        if shape is not None and shape != info.shape:
            made = f"{key}/rows"
            self.tensors[made] = dataclasses.replace(info, shape=shape)
            self.nodes.append(Node(index=op.index, name=info.name, operator=operator, inputs=inputs, output=made))
            operator, inputs = Reshape(shape=info.shape), (made,)
        self.tensors[key] = info
        self.nodes.append(Node(index=op.index, name=info.name, operator=operator, inputs=inputs, output=key))

    def _materialise(self, index: int) -> None:
        """Compute a PAD whose result something else than a convolution reads: a depthwise convolution by 1."""
        op, source, padding = self.padded.pop(index)
        zero, channels = self._quantisation(source).zero_point, self._image(source)[3]
        if channels > MOST_WEIGHTS >> 4:
            raise NetworkError(f"must have at most {MOST_WEIGHTS >> 4} channels, not {channels}")
        multiplier, shift = scaling.exact_identity()
        operator = DepthwiseConv2D(weights=np.ones((1, 1, channels, 1), np.int8), bias=np.zeros(channels, np.int32),
                                   multiplier=np.full(channels, multiplier, np.int32), shift=np.full(channels, shift, np.int8),
                                   zero_in=zero, zero_out=zero, padding=padding)
        self._emit(op, operator, (self._key(source),), index)

    # Constants

    def _weights(self, index: int, axes: int, channel_axis: int, *, zero_allowed: bool) -> tuple[np.ndarray, np.ndarray]:
        """(weights minus their zero point: int8 or int16, float32 scales: one, or one per channel)."""
        tensor = self.file.tensors[index]
        if tensor.data is None:
            raise NetworkError(f"weights {tensor.name!r} must be constant")
        if tensor.dtype not in ("int8", "uint8") or tensor.data.ndim != axes or not tensor.plain:
            raise NetworkError(f"weights {tensor.name!r} must be int8 or uint8 with {axes} axes, not {tensor.dtype} {tensor.shape}")
        channels, count = tensor.shape[channel_axis], tensor.scales.size
        if count not in (1, channels) or (count > 1 and tensor.axis != channel_axis):
            raise NetworkError(f"unsupported quantisation: weights {tensor.name!r} must have one scale, or one per channel along axis "
                               f"{channel_axis}, not {count} along axis {tensor.axis}")
        if not (np.isfinite(tensor.scales).all() and (tensor.scales > 0).all()):
            raise NetworkError(f"unsupported quantisation: scales of weights {tensor.name!r} must be finite and positive")
        zeros = tensor.zero_points if tensor.zero_points.size else np.zeros(1, np.int64)
        if zeros.size not in (1, count) or (not zero_allowed and zeros.any()) or (zeros.size > 1 and (zeros != zeros[0]).any()):
            raise NetworkError(f"unsupported quantisation: int8 weights {tensor.name!r} must have zero point 0")
        low = 0 if tensor.dtype == "uint8" else -128
        if not low <= zeros[0] <= low + 255:
            raise NetworkError(f"unsupported quantisation: zero point of weights {tensor.name!r} must be in the range of {tensor.dtype}")
        return self._narrow(tensor.data.astype(np.int16) - np.int16(zeros[0])), tensor.scales

    def _narrow(self, weights: np.ndarray) -> np.ndarray:
        self.weights_left -= weights.size
        if self.weights_left < 0:
            raise NetworkError("constants must not be used many times over")
        return weights.astype(np.int8) if weights.min(initial=0) >= -128 and weights.max(initial=0) <= 127 else weights

    def _bias(self, op: FileOperator, outputs: int) -> np.ndarray:
        index = op.inputs[2] if len(op.inputs) > 2 else -1
        if index < 0:
            return np.zeros(outputs, np.int32)
        tensor = self.file.tensors[index]
        if tensor.data is None or tensor.dtype != "int32" or tensor.data.size != outputs:
            raise NetworkError(f"bias {tensor.name!r} must be a constant int32 of {outputs} elements, not {tensor.dtype} {tensor.shape}")
        return tensor.data.reshape(-1).astype(np.int32)

    def _integers(self, index: int) -> list[int]:
        tensor = self.file.tensors[index]
        if tensor.data is None or tensor.dtype not in ("int32", "int64"):
            raise NetworkError(f"input {tensor.name!r} must be a constant int32 or int64, not {tensor.dtype}")
        return [int(x) for x in tensor.data.ravel()]

    def _convert(self, op: FileOperator) -> None:
        raise NotImplementedError


def _unique_names(file: TfliteFile) -> list[str]:
    seen: set[str] = set()
    keys = []
    for index, tensor in enumerate(file.tensors):
        key = tensor.name if tensor.name and tensor.name not in seen else f"{tensor.name}#{index}"
        seen.add(key)
        keys.append(key)
    return keys
