"""Quantised ONNX models made at random, one operator or a small network each, and ONNX Runtime as their oracle."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

TYPES = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}

Quantised = tuple[str, str, np.float32]


class Maker:
    """A model in the making. ``dtype`` is that of its activations; names of tensors are handed from call to call."""

    def __init__(self, rng: np.random.Generator, dtype: str = "int8", opset: int = 17):
        self.rng, self.dtype, self.opset = rng, dtype, opset
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._count = 0

    def name(self, what: str) -> str:
        self._count += 1
        return f"{what}_{self._count}"

    def constant(self, array: Any, dtype: Any = None, what: str = "c") -> str:
        name = self.name(what)
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = self.name(op.lower())
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"n_{name}", domain=domain, **attributes))
        return name

    def input(self, shape: tuple[Any, ...], dtype: str | None = None) -> str:
        name = self.name("input")
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[dtype or self.dtype],
                                                         [n if isinstance(n, str) else int(n) for n in shape]))
        return name

    def output(self, name: str, dtype: str | None = None) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, TYPES[dtype or self.dtype], None))

    def scale(self, low: float = 0.004, high: float = 0.08) -> np.float32:
        return np.float32(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def zero(self) -> np.ndarray:
        return self.rng.integers(-60, 61) + (128 if self.dtype == "uint8" else 0) + np.zeros((), self.dtype)

    def quantisation(self, low: float = 0.004, high: float = 0.08) -> Quantised:
        """Names of a scale and a zero point, and the scale."""
        scale = self.scale(low, high)
        return self.constant(scale), self.constant(self.zero().astype(self.dtype)), scale

    def quantize(self, x: str, like: Quantised) -> str:
        return self.node("QuantizeLinear", x, like[0], like[1])

    def dequantize(self, x: str, like: Quantised) -> str:
        return self.node("DequantizeLinear", x, like[0], like[1])

    def weights(self, shape: tuple[int, ...], *, axis: int | None = None, dtype: str = "int8",
                zero: int | None = None) -> tuple[str, str, str, np.ndarray]:
        """Names of integers, scales and zero points, and the scales: one, or one per output along ``axis``."""
        limit = largest_weight()
        values = self.rng.integers(-limit, limit + 1, shape)
        middle = (128 if dtype == "uint8" else 0) if zero is None else zero
        values = np.clip(values + (128 if dtype == "uint8" else 0), *((0, 255) if dtype == "uint8" else (-128, 127))).astype(dtype)
        count = () if axis is None else (shape[axis],)
        scales = np.exp(self.rng.uniform(np.log(0.002), np.log(0.02), count)).astype(np.float32)
        return self.constant(values), self.constant(scales), self.constant(np.full(count, middle, dtype)), scales

    def calibrated(self, y: str, *arrays: np.ndarray) -> Quantised:
        """A quantisation for the real result ``y``, from its range on these inputs: a little too wide or too narrow."""
        value, = oracle(self.model([helper.make_tensor_value_info(y, TYPES["float32"], None)]), *arrays, optimised=False)
        low, high = min(float(value.min()), 0.0), max(float(value.max()), 1e-3)
        scale = np.float32((high - low) / 255 * self.rng.uniform(0.6, 1.2))
        limits = np.iinfo(self.dtype)
        zero = np.clip(np.rint(-low / scale) + limits.min, limits.min, limits.max).astype(self.dtype)
        return self.constant(scale), self.constant(zero), scale

    def model(self, outputs: list[Any] | None = None) -> bytes:
        graph = helper.make_graph(self.nodes, "random", self.inputs, outputs or self.outputs, self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """Input data: integers of any value."""
        limits = np.iinfo(self.dtype)
        return self.rng.integers(limits.min, limits.max + 1, shape).astype(self.dtype)


def session(model: bytes, *, optimised: bool = True, any_weights: bool = False) -> Any:
    """ONNX Runtime with ``model``. ``any_weights`` : they may exceed :func:`largest_weight`, and are made uint8 where that matters, which
    it can do with what it has quantised itself."""
    options = onnxruntime.SessionOptions()
    if any_weights:
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def oracle(model: bytes, *arrays: np.ndarray, optimised: bool = True) -> list[np.ndarray]:
    """ONNX Runtime's results."""
    run = session(model, optimised=optimised)
    return run.run(None, dict(zip((i.name for i in run.get_inputs()), arrays, strict=True)))


@functools.cache
def largest_weight() -> int:
    """127, or 63 on machines without VNNI, where ONNX Runtime's sums of two products saturate at 16 bits."""
    x, y = (helper.make_tensor_value_info(name, TYPES["uint8"], None) for name in "xy")
    constants = [numpy_helper.from_array(a, n) for a, n in ((np.float32(1), "one"), (np.uint8(0), "zero"), (np.int8(0), "wz"),
                                                              (np.full((64, 16), 127, np.int8), "w"), (np.float32(1e5), "sy"))]
    node = helper.make_node("QLinearMatMul", ["x", "one", "zero", "w", "one", "wz", "sy", "zero"], ["y"])
    graph = helper.make_graph([node], "canary", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    result = oracle(model.SerializeToString(), np.full((4, 64), 255, np.uint8))[0]
    return 127 if np.all(result == np.rint(64 * 255 * 127 / 1e5)) else 63
