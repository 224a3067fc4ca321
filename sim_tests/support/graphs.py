"""Random graphs of every operator for tests, and running what is compiled from them on the functional model."""

import numpy as np
from networks import run_program
from systolith.arch.numerics import add_parameters, quantize_multiplier
from systolith.host.compile import compile_graph
from systolith.host.graph import Graph, Node, TensorInfo
from systolith.host.operators import (
    Add,
    AveragePool2D,
    BatchMatMul,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    HostOp,
    MaxPool2D,
    Requantise,
    Reshape,
)

__all__ = ["GraphMaker", "check_graph", "random_graph"]


def _scale(rng, inner, outputs=None):
    multiplier, shift = quantize_multiplier(rng.uniform(0.5, 2.0, outputs or 1) / (75 * np.sqrt(inner)))
    return (multiplier, shift) if outputs else (int(multiplier[0]), int(shift[0]))


class GraphMaker:
    """Adds nodes to a graph; every tensor keeps its zero point. Weights are within ``limits``."""

    def __init__(self, rng, *shapes, limits=(-128, 127)):
        self.rng = rng
        self.limits = limits
        self.nodes, self.tensors, self.zero = [], {}, {}
        self.inputs = tuple(f"in{i}" for i in range(len(shapes)))
        for key, shape in zip(self.inputs, shapes, strict=True):
            self.tensors[key] = TensorInfo(name=key, shape=shape)
            self.zero[key] = int(rng.integers(-128, 128))

    def add(self, operator, *inputs, zero=None):
        """Append a node; returns its output's key."""
        key = f"t{len(self.nodes)}"
        shape = operator.output_shape(*(self.tensors[name].shape for name in inputs))
        self.tensors[key] = TensorInfo(name=key, shape=shape)
        self.zero[key] = self.zero[inputs[0]] if zero is None else zero
        self.nodes.append(Node(index=len(self.nodes), name=f"node {key}", operator=operator, inputs=inputs, output=key))
        return key

    def graph(self, *outputs):
        return Graph(nodes=tuple(self.nodes), tensors=self.tensors, inputs=self.inputs, outputs=outputs)

    def _clamp(self, zero):
        low = zero if self.rng.random() < 0.4 else -128
        return {"zero_out": zero, "low": low, "high": int(self.rng.integers(low, 128)) if self.rng.random() < 0.2 else 127}

    def _weighted(self, key, weights, outputs, inner):
        rng, zero = self.rng, int(self.rng.integers(-128, 128))
        if rng.random() < 0.1 and self.limits == (-128, 127):
            weights = (weights.astype(np.int16) + int(rng.integers(-127, 128)))
        multiplier, shift = _scale(rng, inner * ((self.limits[1] + 1) / 128)**2, outputs)
        return zero, {"weights": weights, "bias": rng.integers(-5000, 5000, outputs, np.int32), "multiplier": multiplier, "shift": shift,
                      "zero_in": self.zero[key], **self._clamp(zero)}

    def _draw(self, *shape):
        return self.rng.integers(self.limits[0], self.limits[1] + 1, shape, np.int8)

    def _geometry(self, most=4):
        rng = self.rng
        pair = lambda low, high: (int(rng.integers(low, high)), int(rng.integers(low, high)))  # noqa: E731
        fields = {"stride": pair(1, 4) if rng.random() < 0.5 else (1, 1), "dilation": pair(1, 3) if rng.random() < 0.3 else (1, 1)}
        if rng.random() < 0.6:
            fields["padding"] = (pair(0, 3), pair(0, 3))
        return (pair(1, most + 1) if rng.random() < 0.7 else (1, 1)), fields

    def conv(self, key, filters):
        kernel, fields = self._geometry()
        channels = self.tensors[key].shape[3]
        weights = self._draw(*kernel, channels, filters)
        zero, common = self._weighted(key, weights, filters, weights[..., 0].size)
        return self.add(Conv2D(**common, **fields), key, zero=zero)

    def depthwise(self, key, each=1):
        kernel, fields = self._geometry()
        channels = self.tensors[key].shape[3]
        weights = self._draw(*kernel, channels, each)
        zero, common = self._weighted(key, weights, channels * each, kernel[0] * kernel[1])
        return self.add(DepthwiseConv2D(**common, **fields), key, zero=zero)

    def dense(self, key, outputs, inputs=None):
        shape = self.tensors[key].shape
        inputs = inputs or int(np.prod(shape)) // shape[0]
        zero, common = self._weighted(key, self._draw(inputs, outputs), outputs, inputs)
        return self.add(FullyConnected(**common), key, zero=zero)

    def pool(self, key, kind):
        rng = self.rng
        kernel = tuple(int(rng.integers(1, min(6, size) + 1)) for size in self.tensors[key].shape[1:3])
        if rng.random() < 0.3:
            kernel = self.tensors[key].shape[1:3]
        padding = tuple((int(rng.integers(0, k)), int(rng.integers(0, k))) if rng.random() < 0.5 else (0, 0) for k in kernel)
        low = int(rng.integers(-128, 0)) if rng.random() < 0.3 else -128
        stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        return self.add(kind(kernel=kernel, stride=stride, padding=padding, low=low, high=120), key)

    def sum(self, a, b):
        rng, zero = self.rng, int(self.rng.integers(-128, 128))
        made = add_parameters(rng.uniform(0.01, 1), self.zero[a], rng.uniform(0.01, 1), self.zero[b], rng.uniform(0.05, 2))
        # The table of the operator is by the second operand, and has not the first one's zero point in it.
        table = made.table[-np.arange(-128, 128) % 256]
        return self.add(Add(first=made.first, table=table, bias=0, multiplier=made.multiplier, shift=made.shift, **self._clamp(zero)), a, b,
                        zero=zero)

    def product(self, a, b, transpose_b=False):
        zero, k = int(self.rng.integers(-128, 128)), self.tensors[a].shape[-1]
        multiplier, shift = _scale(self.rng, k)
        return self.add(BatchMatMul(multiplier=multiplier, shift=shift, zero_a=self.zero[a], zero_b=self.zero[b], transpose_b=transpose_b,
                                    **self._clamp(zero)), a, b, zero=zero)

    def requantise(self, key):
        zero = int(self.rng.integers(-128, 128))
        multiplier, shift = quantize_multiplier(self.rng.uniform(0.3, 3))
        operator = Requantise(multiplier=int(multiplier), shift=int(shift), zero_in=self.zero[key], **self._clamp(zero))
        return self.add(operator, key, zero=zero)

    def reshape(self, key, shape):
        return self.add(Reshape(shape=shape), key)

    def on_host(self, key):
        return self.add(HostOp(name="NEGATE", function=lambda x: np.invert(x), shape=self.tensors[key].shape), key)


def random_graph(rng, *, operators=6, side=10, channels=20, batch=3, host=False, limits=(-128, 127)):
    """A graph whose nodes read any tensors before them, residual sums and, where weights are int8, products of two results included."""
    maker = GraphMaker(rng, (int(rng.integers(1, batch + 1)), *(int(n) for n in rng.integers(1, side, 2)), int(rng.integers(1, channels))),
                       limits=limits)
    keys = ["in0"]
    while len(maker.nodes) < operators:
        key = keys[-1] if rng.random() < 0.7 else keys[rng.integers(len(keys))]
        shape = maker.tensors[key].shape
        before = len(maker.nodes)
        try:
            match rng.integers(12 if host else 11) if len(shape) == 4 else rng.choice([3, 8, 9, 10]):
                case 0 | 1:
                    made = maker.conv(key, int(rng.integers(1, channels)))
                case 2:
                    made = maker.depthwise(key, int(rng.choice([1, 1, 2, 3])))
                case 3:
                    made = maker.dense(key, int(rng.integers(1, channels)))
                case 4:
                    made = maker.pool(key, AveragePool2D)
                case 5:
                    made = maker.pool(key, MaxPool2D)
                case 6 | 7:
                    alike = [other for other in keys if maker.tensors[other].shape == shape]
                    made = maker.sum(key, alike[rng.integers(len(alike))])
                case 8:
                    made = maker.requantise(key)
                case 9:
                    batch_now, rest = shape[0], int(np.prod(shape[1:]))
                    made = maker.reshape(key, (batch_now, *[(1, 1, rest), (rest, 1, 1), (1, rest, 1)][rng.integers(3)]))
                case 10:
                    transpose = bool(rng.integers(2))
                    fits = [other for other in keys if len(maker.tensors[other].shape) == len(shape)
                            and maker.tensors[other].shape[:-2] == shape[:-2]
                            and maker.tensors[other].shape[-1 if transpose else -2] == shape[-1]]
                    if not fits or limits != (-128, 127):
                        continue
                    made = maker.product(key, fits[rng.integers(len(fits))], transpose)
                case _:
                    made = maker.on_host(key)
        except ValueError:  # the kernel is larger than the image: draw again
            assert len(maker.nodes) == before
            continue
        keys.append(made)
    used = {key for node in maker.nodes for key in node.inputs}
    return maker.graph(*(key for key in keys[1:] if key not in used or rng.random() < 0.1))


def check_graph(graph, config, seed=0):
    """Compile, run on the functional model with its hazard check, compare with the reference; returns what was compiled."""
    rng = np.random.default_rng(seed)
    arrays = [rng.integers(-128, 128, graph.tensors[key].shape, np.int8) for key in graph.inputs]
    compiled = compile_graph(graph, config)

    def execute(program, inputs):
        result, outputs = run_program(program, inputs, seed=seed)
        assert not result.error and not result.hazards, (result.error, [str(hazard) for hazard in result.hazards[:3]])
        assert result.macs_issued == program.macs_issued
        return outputs

    outputs = compiled.run(execute, arrays)
    for key, output, expected in zip(graph.outputs, outputs, graph.reference(*arrays), strict=True):
        np.testing.assert_array_equal(output, expected, err_msg=f"output {key}")
    return compiled


