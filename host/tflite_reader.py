"""int8 and uint8 TFLite models as graphs of integer operators, parameters prepared as TFLite prepares them.

uint8 tensors become int8 by taking 128 from data and zero points, which changes no result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import scaling
from .errors import NetworkError
from .graph import Graph, Quantisation
from .operators import AveragePool2D, BatchMatMul, Conv2D, DepthwiseConv2D, FullyConnected, HostOp, MaxPool2D, Reshape
from .softmax import Softmax
from .tflite_builder import MOST_WEIGHTS, NO_PADDING, Padding, TfliteBuilder
from .tflite_file import FileOperator, read_file

__all__ = ["SUPPORTED", "read_tflite"]


def read_tflite(data: bytes) -> Graph:
    """The graph of a TFLite file.

    Raises
    ------
    NetworkError
        The file is damaged, not fully quantised to int8 or uint8, or has an operator that is not supported.
    """
    return _Reader(read_file(data)).graph()


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """(before, after) of TFLite's padding SAME: the odd one behind."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


class _Reader(TfliteBuilder):
    """Converts operators."""

    def _convert(self, op: FileOperator) -> None:
        convert, inputs = SUPPORTED.get(op.name, (None, (0, 0)))
        if convert is None:
            raise NetworkError(f"operator {op.index} ({op.name}) is not supported; supported are {', '.join(SUPPORTED)}")
        if not inputs[0] <= len(op.inputs) <= inputs[1] or -1 in op.inputs[:inputs[0]] or len(op.outputs) != 1:
            raise NetworkError(f"must have {inputs[0]} to {inputs[1]} inputs and one output, not {len(op.inputs)} and {len(op.outputs)}")
        convert(self, op)

    def _activation(self, op: FileOperator, output: Quantisation) -> dict[str, int]:
        low, high = scaling.activation_range(_ACTIVATION_NAMES.get(op.options["activation"], f"number {op.options['activation']}"), output)
        return {"low": low, "high": high}

    def _window(self, op: FileOperator, image: tuple[int, ...], kernel: tuple[int, int]) -> dict[str, Any]:
        """stride, dilation and padding of a convolution or pool over ``image``."""
        o = op.options
        stride, dilation = (o["stride_y"], o["stride_x"]), (o.get("dilation_y", 1), o.get("dilation_x", 1))
        if min(*stride, *dilation, *kernel) < 1:
            raise NetworkError(f"kernel {kernel}, stride {stride} and dilation {dilation} must be at least 1")
        if o["padding"] not in (0, 1):
            raise NetworkError(f"padding must be SAME or VALID, not number {o['padding']}")
        padding = NO_PADDING
        if o["padding"] == 0:
            padding = (same_padding(image[1], kernel[0], stride[0], dilation[0]), same_padding(image[2], kernel[1], stride[1], dilation[1]))
        return {"stride": stride, "dilation": dilation, "padding": padding}

    def _convolved(self, op: FileOperator) -> tuple[str, tuple[int, ...], Padding]:
        """Key and shape of a convolution's input, and the padding that a PAD before it gives."""
        index = op.inputs[0]
        if index in self.padded:
            _, source, padding = self.padded[index]
            return self._key(source), self._image(index), padding
        return self._key(index), self._image(index), NO_PADDING

    def _multipliers(self, op: FileOperator, weights: np.ndarray, scales: np.ndarray, channels: int) -> dict[str, Any]:
        """Parameters of an operator with constant weights; ``weights`` have the outputs first."""
        a, out = self._quantisation(op.inputs[0]), self._quantisation(op.outputs[0])
        if len({self.file.tensors[i].dtype for i in (*op.inputs[:2], op.outputs[0])}) != 1:
            raise NetworkError("input, weights and output must be of one type")
        if self.file.tensors[op.inputs[0]].dtype == "uint8" and scales.size > 1:
            raise NetworkError("unsupported quantisation: uint8 weights must have one scale")
        bias = self._bias(op, channels)
        if op.name == "FULLY_CONNECTED":
            multiplier, shift = scaling.fully_connected(a, scales, out, weights, bias)
        elif self.file.tensors[op.inputs[0]].dtype == "uint8":
            one = scaling.product(a.scale, float(scales[0]), out.scale)
            multiplier, shift = np.full(channels, one[0], np.int32), np.full(channels, one[1], np.int8)
        else:
            multiplier, shift = scaling.convolution(a.scale, scales, out.scale, channels)
        return {"multiplier": multiplier, "shift": shift, "bias": bias, "zero_in": a.zero_point, "zero_out": out.zero_point,
                **self._activation(op, out)}

    def _conv(self, op: FileOperator) -> None:
        weights, scales = self._weights(op.inputs[1], 4, 0, zero_allowed=self.file.tensors[op.inputs[0]].dtype == "uint8")
        key, image, padding = self._convolved(op)
        outputs, ky, kx, each = weights.shape
        window = self._window(op, image, (ky, kx))
        groups, rest = divmod(image[3], each) if each else (0, 1)
        if rest or not groups or outputs % groups:
            raise NetworkError(f"channels {image[3]} must be a multiple of the filters' {each}, and {outputs} filters of the groups")
        hwio = weights.transpose(1, 2, 3, 0)
        if groups > 1:  # a block-diagonal matrix is the same convolution
            if weights.size * groups > MOST_WEIGHTS:
                raise NetworkError(f"a convolution of {groups} groups must have at most {MOST_WEIGHTS} weights when written out")
            hwio = _ungrouped(hwio, groups)
        common = self._multipliers(op, weights, scales, outputs)
        self._emit(op, Conv2D(weights=np.ascontiguousarray(hwio), **common, **_padded(window, padding)), (key,), op.outputs[0])

    def _depthwise(self, op: FileOperator) -> None:
        weights, scales = self._weights(op.inputs[1], 4, 3, zero_allowed=self.file.tensors[op.inputs[0]].dtype == "uint8")
        key, image, padding = self._convolved(op)
        one, ky, kx, outputs = weights.shape
        window = self._window(op, image, (ky, kx))
        if one != 1 or not image[3] or outputs % image[3] or not outputs:
            raise NetworkError(f"weights must be (1, ky, kx, multiple of {image[3]}), not {weights.shape}")
        common = self._multipliers(op, weights, scales, outputs)
        self._emit(op, DepthwiseConv2D(weights=weights.reshape(ky, kx, image[3], -1), **common, **_padded(window, padding)), (key,),
                   op.outputs[0])

    def _fully_connected(self, op: FileOperator) -> None:
        if op.options["format"]:
            raise NetworkError("weights must be in the default format")
        weights, scales = self._weights(op.inputs[1], 2, 0, zero_allowed=self.file.tensors[op.inputs[1]].scales.size == 1)
        common = self._multipliers(op, weights, scales, weights.shape[0])
        operator = FullyConnected(weights=np.ascontiguousarray(weights.T), **common)
        key = self._key(op.inputs[0])
        self._emit(op, operator, (key,), op.outputs[0], shape=operator.output_shape(self.tensors[key].shape))

    def _batch_matmul(self, op: FileOperator) -> None:
        if op.options["transpose_a"]:
            raise NetworkError("the first operand must not be transposed (adj_x)")
        a, b, out = (self._quantisation(i) for i in (*op.inputs, op.outputs[0]))
        multiplier, shift = scaling.product(a.scale, b.scale, out.scale)
        key, right = self._key(op.inputs[0]), self.file.tensors[op.inputs[1]]
        transpose = bool(op.options["transpose_b"])
        if right.data is None:
            self._emit(op, BatchMatMul(multiplier=multiplier, shift=shift, zero_a=a.zero_point, zero_b=b.zero_point, transpose_b=transpose,
                                       zero_out=out.zero_point), (key, self._key(op.inputs[1])), op.outputs[0])
            return
        if right.data.ndim < 2 or math.prod(right.shape[:-2]) != 1:
            raise NetworkError(f"a constant second operand must be one matrix, not {right.shape}")
        matrix = right.data.reshape(right.shape[-2:])
        weights = self._narrow((matrix.T if transpose else matrix).astype(np.int16) - right.zero_points.astype(np.int16).sum())
        n = weights.shape[1]
        if self.tensors[key].shape[-1] != weights.shape[0]:
            raise NetworkError(f"operands must be (…, M, K) and (K, N), not {self.tensors[key].shape} and {weights.shape}")
        operator = FullyConnected(weights=np.ascontiguousarray(weights), bias=np.zeros(n, np.int32), zero_in=a.zero_point,
                                  multiplier=np.full(n, multiplier, np.int32), shift=np.full(n, shift, np.int8), zero_out=out.zero_point)
        self._emit(op, operator, (key,), op.outputs[0], shape=operator.output_shape(self.tensors[key].shape))

    def _pool(self, op: FileOperator) -> None:
        self._same_quantisation(op)
        image = self._image(op.inputs[0])
        kernel = op.options["kernel_y"], op.options["kernel_x"]
        window = self._window(op, image, kernel)
        del window["dilation"]
        window |= {"kernel": kernel, **self._activation(op, self._quantisation(op.outputs[0]))}
        if op.name == "AVERAGE_POOL_2D":
            window["offset"] = 128 if self.file.tensors[op.inputs[0]].dtype == "uint8" else 0
        operator = (AveragePool2D if op.name == "AVERAGE_POOL_2D" else MaxPool2D)(**window)
        self._emit(op, operator, (self._key(op.inputs[0]),), op.outputs[0])

    def _same_quantisation(self, op: FileOperator) -> None:
        before, after = (self._quantisation(i) for i in (op.inputs[0], op.outputs[0]))
        if abs(before.scale - after.scale) > 1e-6 or before.zero_point != after.zero_point:
            raise NetworkError("unsupported quantisation: input and output must have the same scale and zero point")

    def _add(self, op: FileOperator) -> None:
        a, b, out = (self._quantisation(i) for i in (*op.inputs, op.outputs[0]))
        activation = _ACTIVATION_NAMES.get(op.options["activation"], f"number {op.options['activation']}")
        self._emit(op, scaling.add(a, b, out, activation), tuple(self._key(i) for i in op.inputs), op.outputs[0])

    def _reshape(self, op: FileOperator) -> None:
        self._same_quantisation(op)
        self._emit(op, Reshape(shape=self.file.tensors[op.outputs[0]].shape), (self._key(op.inputs[0]),), op.outputs[0])

    def _quantize(self, op: FileOperator) -> None:
        source, target = op.inputs[0], op.outputs[0]
        if self.borders.get(source) == target and source in self.file.inputs:
            return
        self._emit(op, scaling.requantise_operator(self._quantisation(source), self._quantisation(target)), (self._key(source),), target)

    def _dequantize(self, op: FileOperator) -> None:
        if self.borders.get(op.outputs[0]) != op.inputs[0]:
            raise NetworkError("is supported before an output of the model only; quantise the whole model to int8")

    def _relu(self, op: FileOperator) -> None:
        self._emit(op, scaling.requantise_operator(self._quantisation(op.inputs[0]), self._quantisation(op.outputs[0]), op.name),
                   (self._key(op.inputs[0]),), op.outputs[0])

    def _softmax(self, op: FileOperator) -> None:
        before, after = (self._quantisation(i) for i in (op.inputs[0], op.outputs[0]))
        if abs(after.scale * 256 - 1) > 1e-3 or after.zero_point != -128:
            raise NetworkError("unsupported quantisation: the output must have scale 1/256 and the least value as zero point")
        shape = self.file.tensors[op.outputs[0]].shape
        if len(shape) < 2:
            raise NetworkError(f"must have a batch axis before the classes, not shape {shape}")
        key = self._key(op.inputs[0])
        if self.tensors[key].shape != shape:
            raise NetworkError(f"input and output must have one shape, not {self.tensors[key].shape} and {shape}")
        softmax = Softmax(before.scale, float(op.options["beta"]))
        self._emit(op, HostOp(name="SOFTMAX", function=softmax, shape=shape), (key,), op.outputs[0])

    def _mean(self, op: FileOperator) -> None:
        _, height, width, channels = self._image(op.inputs[0])
        axes = sorted(axis % 4 for axis in self._integers(op.inputs[1]))
        if axes != [1, 2]:
            raise NetworkError(f"must be over height and width (axes 1 and 2), not axes {axes}")
        if height * width * channels > MOST_WEIGHTS >> 4:
            raise NetworkError(f"must be over at most {MOST_WEIGHTS >> 4} elements, not {height * width * channels}")
        before, after = (self._quantisation(i) for i in (op.inputs[0], op.outputs[0]))
        multiplier, shift = scaling.mean(before, after, height * width)
        operator = DepthwiseConv2D(weights=np.ones((height, width, channels, 1), np.int8), bias=np.zeros(channels, np.int32),
                                   multiplier=np.full(channels, multiplier, np.int32), shift=np.full(channels, shift, np.int8),
                                   zero_in=before.zero_point, zero_out=after.zero_point)
        key = self._key(op.inputs[0])
        self._emit(op, operator, (key,), op.outputs[0], shape=operator.output_shape(self.tensors[key].shape))

    def _pad(self, op: FileOperator) -> None:
        self._same_quantisation(op)
        source, target = op.inputs[0], op.outputs[0]
        image, pads = self._image(source), self._integers(op.inputs[1])
        if len(op.inputs) > 2:
            value = self.file.tensors[op.inputs[2]]
            zero = self._quantisation(source).zero_point + (128 if value.dtype == "uint8" else 0)
            if value.data is None or value.data.size != 1 or int(value.data.ravel()[0]) != zero:
                raise NetworkError(f"must pad with the zero point, {zero}")
        if len(pads) != 8 or any(pads[i] for i in (0, 1, 6, 7)) or min(pads) < 0:
            raise NetworkError(f"must pad height and width only, by no negative number, not {pads}")
        expected = (image[0], image[1] + pads[2] + pads[3], image[2] + pads[4] + pads[5], image[3])
        if self.file.tensors[target].shape != expected or target in self.padded:
            raise NetworkError(f"gives shape {expected}, but its output is declared as {self.file.tensors[target].shape}")
        self._info(target)
        _, before, padding = self.padded.get(source, (op, source, NO_PADDING))
        self.padded[target] = op, before, _summed(padding, ((pads[2], pads[3]), (pads[4], pads[5])))


def _summed(a: Padding, b: Padding) -> Padding:
    return ((a[0][0] + b[0][0], a[0][1] + b[0][1]), (a[1][0] + b[1][0], a[1][1] + b[1][1]))


def _padded(window: dict[str, Any], padding: Padding) -> dict[str, Any]:
    return {**window, "padding": _summed(window["padding"], padding)}


def _ungrouped(hwio: np.ndarray, groups: int) -> np.ndarray:
    """(ky, kx, in ÷ groups, out) as a dense (ky, kx, in, out) with zeros between the groups."""
    ky, kx, each, outputs = hwio.shape
    dense = np.zeros((ky, kx, groups, each, groups, outputs // groups), hwio.dtype)
    for g in range(groups):
        dense[:, :, g, :, g] = hwio.reshape(ky, kx, each, groups, -1)[:, :, :, g]
    return dense.reshape(ky, kx, groups * each, outputs)


_ACTIVATION_NAMES = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH", 5: "SIGN_BIT"}
# What converts each operator, and how many inputs it has at least and at most.
SUPPORTED: dict[str, tuple[Callable[[Any, FileOperator], None], tuple[int, int]]] = {
    "CONV_2D": (_Reader._conv, (2, 3)),
    "DEPTHWISE_CONV_2D": (_Reader._depthwise, (2, 3)),
    "FULLY_CONNECTED": (_Reader._fully_connected, (2, 3)),
    "BATCH_MATMUL": (_Reader._batch_matmul, (2, 2)),
    "AVERAGE_POOL_2D": (_Reader._pool, (1, 1)),
    "MAX_POOL_2D": (_Reader._pool, (1, 1)),
    "ADD": (_Reader._add, (2, 2)),
    "RESHAPE": (_Reader._reshape, (1, 2)),
    "SQUEEZE": (_Reader._reshape, (1, 1)),
    "EXPAND_DIMS": (_Reader._reshape, (2, 2)),
    "QUANTIZE": (_Reader._quantize, (1, 1)),
    "DEQUANTIZE": (_Reader._dequantize, (1, 1)),
    "RELU": (_Reader._relu, (1, 1)),
    "RELU_N1_TO_1": (_Reader._relu, (1, 1)),
    "RELU6": (_Reader._relu, (1, 1)),
    "SOFTMAX": (_Reader._softmax, (1, 1)),
    "MEAN": (_Reader._mean, (2, 2)),
    "PAD": (_Reader._pad, (2, 2)),
    "PADV2": (_Reader._pad, (3, 3)),
}
