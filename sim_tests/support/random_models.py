"""Random quantised TFLite models: single operators, chains and residual networks, with scales that let results fill their range."""

import numpy as np
from tflite_writer import NONE, RELU, RELU6, RELU_N1_TO_1, SAME, VALID, Writer

SPREAD = 74  # standard deviation of uniform int8


class Maker:
    """Builds a model operator by operator; activations are indices of the writer's tensors. Weights are all that the type has, or
    from ``weights[0]`` to ``weights[1]``."""

    def __init__(self, rng, dtype="int8", weights=None):
        self.rng = rng
        self.dtype = dtype
        self.writer = Writer()
        self.inputs = []
        self.low = -128 if dtype == "int8" else 0
        self.weights = weights or (self.low, self.low + 255)

    def zero(self):
        return int(self.rng.choice([self.low, self.low + 128, self.low + 255, self.rng.integers(self.low, self.low + 256)]))

    def shape(self, x):
        return self.writer.tensors[x].shape

    def activation(self, shape, scale=None, zero=None):
        scale = self.rng.uniform(0.001, 0.2) if scale is None else scale
        return self.writer.tensor(shape, self.dtype, scale, self.zero() if zero is None else zero)

    def input(self, shape, **quantisation):
        self.inputs.append(self.activation(shape, **quantisation))
        return self.inputs[-1]

    def model(self, *outputs):
        return self.writer.finish(self.inputs, outputs)

    def random_inputs(self):
        kind = np.dtype(self.dtype)
        return [self.rng.integers(self.low, self.low + 256, self.shape(x), kind) for x in self.inputs]

    def fused(self):
        return int(self.rng.choice([NONE, NONE, RELU, RELU6, RELU_N1_TO_1]))

    def _weights(self, shape, axis, inner, x, per_channel):
        """(weights, bias, scale of the output) for sums of ``inner`` products."""
        rng, outputs = self.rng, shape[axis]
        count = outputs if per_channel else 1
        scales = (rng.uniform(0.5, 2, count) * 10 ** rng.uniform(-3, -1)).astype(np.float32)
        zero = 0 if self.dtype == "int8" else int(rng.choice([128, rng.integers(0, 256)]))
        data = rng.integers(self.weights[0], self.weights[1] + 1, shape, np.dtype(self.dtype))
        if self.dtype == "int8" and rng.random() < 0.5:
            data = np.maximum(data, -127).astype(np.int8)
        weights = self.writer.constant(data, scales, zero, axis=axis)
        scale_in = self.writer.tensors[x].scale
        spread = SPREAD * (self.weights[1] - self.weights[0]) / 255 * SPREAD * np.sqrt(inner)
        bias = self.writer.constant(rng.integers(-spread, spread + 1, outputs).astype(np.int32), scale_in * scales, 0)
        # Real kernels take any output scale; these let most of the results be inside the range.
        scale_out = float(scale_in) * float(scales.mean()) * spread / rng.uniform(20, 120)
        return weights, bias, scale_out

    def conv(self, x, filters, kernel, *, stride=(1, 1), dilation=(1, 1), padding=SAME, fused=None, per_channel=None, groups=1):
        per_channel = self.dtype == "int8" and self.rng.random() < 0.7 if per_channel is None else per_channel
        batch, height, width, channels = self.shape(x)
        each = channels // groups
        weights, bias, scale = self._weights((filters, *kernel, each), 0, kernel[0] * kernel[1] * each, x, per_channel)
        out = self.activation((batch, *_windows((height, width), kernel, stride, dilation, padding), filters), scale)
        self.writer.add("CONV_2D", [x, weights, bias], [out], "Conv2DOptions", **_window(stride, dilation, padding),
                        FusedActivationFunction=self.fused() if fused is None else fused)
        return out

    def depthwise(self, x, kernel, *, multiplier=1, stride=(1, 1), dilation=(1, 1), padding=SAME, fused=None, per_channel=None):
        per_channel = self.dtype == "int8" and self.rng.random() < 0.7 if per_channel is None else per_channel
        batch, height, width, channels = self.shape(x)
        weights, bias, scale = self._weights((1, *kernel, channels * multiplier), 3, kernel[0] * kernel[1], x, per_channel)
        out = self.activation((batch, *_windows((height, width), kernel, stride, dilation, padding), channels * multiplier), scale)
        self.writer.add("DEPTHWISE_CONV_2D", [x, weights, bias], [out], "DepthwiseConv2DOptions", **_window(stride, dilation, padding),
                        DepthMultiplier=multiplier, FusedActivationFunction=self.fused() if fused is None else fused)
        return out

    def dense(self, x, outputs, *, inputs=None, keep_axes=False, fused=None, per_channel=None):
        per_channel = self.dtype == "int8" and self.rng.random() < 0.4 if per_channel is None else per_channel
        inputs = self.shape(x)[-1] if inputs is None else inputs
        weights, bias, scale = self._weights((outputs, inputs), 0, inputs, x, per_channel)
        rows = int(np.prod(self.shape(x))) // inputs
        out = self.activation((*self.shape(x)[:-1], outputs) if keep_axes else (rows, outputs), scale)
        bias = -1 if self.rng.random() < 0.2 else bias
        self.writer.add("FULLY_CONNECTED", [x, weights, bias], [out], "FullyConnectedOptions", KeepNumDims=keep_axes,
                        FusedActivationFunction=self.fused() if fused is None else fused)
        return out

    def add(self, a, b, *, fused=None):
        scales = [float(self.writer.tensors[i].scale) for i in (a, b)]
        out = self.activation(self.shape(a), max(scales) * self.rng.uniform(0.5, 3))
        self.writer.add("ADD", [a, b], [out], "AddOptions", FusedActivationFunction=self.fused() if fused is None else fused)
        return out

    def pool(self, kind, x, kernel, *, stride=(1, 1), padding=SAME, fused=None):
        batch, height, width, channels = self.shape(x)
        source = self.writer.tensors[x]
        out = self.activation((batch, *_windows((height, width), kernel, stride, (1, 1), padding), channels), source.scale, source.zero)
        self.writer.add(f"{kind}_POOL_2D", [x], [out], "Pool2DOptions", Padding=padding, StrideH=stride[0], StrideW=stride[1],
                        FilterHeight=kernel[0], FilterWidth=kernel[1], FusedActivationFunction=self.fused() if fused is None else fused)
        return out

    def batch_matmul(self, a, b, *, transpose_b=False):
        (*outer_a, m, k), shape_b = self.shape(a), self.shape(b)
        n = shape_b[-2] if transpose_b else shape_b[-1]
        scales = [float(self.writer.tensors[i].scale) for i in (a, b)]
        outer = np.broadcast_shapes(tuple(outer_a), shape_b[:-2])
        # With zero points at the end of the range, operands have a mean that adds up.
        out = self.activation((*outer, m, n), scales[0] * scales[1] * SPREAD * SPREAD * np.sqrt(k) / self.rng.uniform(20, 120))
        self.writer.add("BATCH_MATMUL", [a, b], [out], "BatchMatMulOptions", AdjX=False, AdjY=transpose_b)
        return out

    def attention(self, x, features):
        """One head over the pixels of an image, which become its tokens."""
        batch, height, width, channels = self.shape(x)
        tokens = self.reshape(x, (batch, height * width, channels))
        query, key, value = (self.dense(tokens, features, keep_axes=True, fused=NONE) for _ in range(3))
        mixed = self.batch_matmul(self.softmax(self.batch_matmul(query, key, transpose_b=True)), value)
        return self.reshape(mixed, (batch, height, width, features))

    def reshape(self, x, shape):
        source = self.writer.tensors[x]
        out = self.activation(shape, source.scale, source.zero)
        self.writer.add("RESHAPE", [x, self.writer.constant(np.int32(shape))], [out], "ReshapeOptions")
        return out

    def quantize(self, x, dtype=None):
        source = self.writer.tensors[x]
        if dtype is None:
            out = self.activation(self.shape(x), float(source.scale) * self.rng.uniform(0.3, 3))
        else:
            low = -128 if dtype == "int8" else 0
            scale, zero = float(source.scale) * self.rng.uniform(0.3, 3), int(self.rng.integers(low, low + 256))
            out = self.writer.tensor(self.shape(x), dtype, scale, zero)
        self.writer.add("QUANTIZE", [x], [out], "QuantizeOptions")
        return out

    def relu(self, x, name="RELU"):
        out = self.activation(self.shape(x), float(self.writer.tensors[x].scale) * self.rng.uniform(0.3, 2))
        self.writer.add(name, [x], [out])
        return out

    def softmax(self, x, beta=1.0):
        out = self.writer.tensor(self.shape(x), self.dtype, 1 / 256, self.low)
        self.writer.add("SOFTMAX", [x], [out], "SoftmaxOptions", Beta=beta)
        return out

    def mean(self, x, *, keep_axes=False):
        batch, _, _, channels = self.shape(x)
        scale = float(self.writer.tensors[x].scale) * self.rng.uniform(0.1, 1)
        out = self.activation((batch, 1, 1, channels) if keep_axes else (batch, channels), scale)
        self.writer.add("MEAN", [x, self.writer.constant(np.int32([1, 2]))], [out], "ReducerOptions", KeepDims=keep_axes)
        return out

    def pad(self, x, padding):
        batch, height, width, channels = self.shape(x)
        source, ((top, bottom), (left, right)) = self.writer.tensors[x], padding
        out = self.activation((batch, height + top + bottom, width + left + right, channels), source.scale, source.zero)
        self.writer.add("PAD", [x, self.writer.constant(np.int32([[0, 0], [top, bottom], [left, right], [0, 0]]))], [out], "PadOptions")
        return out


def _window(stride, dilation, padding):
    return {"Padding": padding, "StrideH": stride[0], "StrideW": stride[1], "DilationHFactor": dilation[0], "DilationWFactor": dilation[1]}


def _windows(size, kernel, stride, dilation, padding):
    if padding == SAME:
        return tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
    return tuple((n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(size, kernel, stride, dilation, strict=True))


def random_geometry(rng, size, *, dilate=True):
    """kernel, stride, dilation and padding that fit an image of ``size``."""
    kernel = tuple(int(rng.integers(1, min(5, n) + 1)) for n in size)
    padding = int(rng.integers(0, 2))
    stride = tuple(int(rng.integers(1, 4)) for _ in range(2))
    dilation = (1, 1)
    if dilate and rng.random() < 0.3:
        dilation, stride = tuple(int(rng.integers(1, 3)) for _ in range(2)), (1, 1)
        if padding == VALID and any((k - 1) * d + 1 > n for k, d, n in zip(kernel, dilation, size, strict=True)):
            padding = SAME
    return {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}


def random_network(rng, *, dtype="int8", blocks=None, most=14, channels=24, head=True):
    """A maker and its output: convolutions, depthwise and residual blocks, attention and pools in any order, then a classifier or not.

    ``most`` is the largest height and width, ``channels`` the largest number of channels.
    """
    made = Maker(rng, dtype)
    x = made.input((1, int(rng.integers(4, most + 1)), int(rng.integers(4, most + 1)), int(rng.choice([1, 2, 3, 4, channels]))))
    for _ in range(int(rng.integers(1, 7)) if blocks is None else blocks):
        _, height, width, now = made.shape(x)
        kind = rng.choice(["conv", "separable", "residual", "pool", "pad", "relu", "quantize", "attention"],
                          p=[0.3, 0.2, 0.2, 0.1, 0.05, 0.05, 0.05, 0.05])
        if kind == "conv":
            geometry = random_geometry(rng, (height, width))
            x = made.conv(x, int(rng.integers(1, channels + 1)), geometry.pop("kernel"), **geometry)
        elif kind == "separable":
            geometry = random_geometry(rng, (height, width))
            x = made.depthwise(x, geometry.pop("kernel"), multiplier=int(rng.choice([1, 1, 2])) if now <= channels // 2 else 1, **geometry)
            x = made.conv(x, int(rng.integers(1, channels + 1)), (1, 1))
        elif kind == "residual":
            filters = int(rng.integers(1, channels + 1))
            stride = (int(rng.integers(1, 3)),) * 2
            y = made.conv(made.conv(x, filters, (3, 3), stride=stride), filters, (3, 3), fused=NONE)
            short = x if stride == (1, 1) and filters == now else made.conv(x, filters, (1, 1), stride=stride, fused=NONE)
            x = made.add(short, y) if rng.random() < 0.5 else made.add(y, short)
        elif kind == "pool":
            geometry = random_geometry(rng, (height, width), dilate=False)
            del geometry["dilation"]
            x = made.pool(rng.choice(["AVERAGE", "MAX"]), x, geometry.pop("kernel"), **geometry)
        elif kind == "pad":
            x = made.pad(x, tuple(tuple(int(v) for v in rng.integers(0, 3, 2)) for _ in range(2)))
        elif kind == "attention" and dtype == "int8":
            x = made.attention(x, int(rng.integers(1, channels + 1)))
        elif kind == "relu":
            x = made.relu(x, rng.choice(["RELU", "RELU6"]))
        else:
            x = made.quantize(x)
    if head:
        _, height, width, now = made.shape(x)
        if rng.random() < 0.5:
            x = made.pool("AVERAGE", x, (height, width), padding=VALID, fused=NONE)
            x = made.reshape(x, (1, now))
        elif rng.random() < 0.5:
            x = made.mean(x)
        else:
            x = made.reshape(x, (1, height * width * now))
        x = made.dense(x, int(rng.integers(2, 20)), fused=NONE)
        if rng.random() < 0.5:
            x = made.softmax(x)
    return made, x
