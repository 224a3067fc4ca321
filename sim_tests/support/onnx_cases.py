"""One operator each, at random: a model and its inputs. Every function takes (rng, dtype of activations)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx_models import Maker, Quantised

Case = tuple[bytes, list[np.ndarray]]


def _finish(m: Maker, real: str, *arrays: np.ndarray, quantised: Callable[[Quantised], str] | None = None) -> Case:
    """The result of ``real`` quantised to its range; ``quantised`` gives the operator that does both, for QLinear."""
    like = m.calibrated(real, *arrays)
    if quantised is None:
        m.output(m.quantize(real, like))
    else:
        m.output(quantised(like))
    return m.model(), list(arrays)


def _image(m: Maker, channels: int | None = None, *, rank: int = 2) -> tuple[str, np.ndarray, Quantised, tuple[int, ...]]:
    c = int(m.rng.integers(1, 10)) if channels is None else channels
    shape = (int(m.rng.integers(1, 3)), c, *(int(n) for n in m.rng.integers(5, 13, rank)))
    return m.input(shape), m.array(shape), m.quantisation(), shape


def _bias(m: Maker, factor: np.ndarray, outputs: int) -> str:
    bias = m.constant(m.rng.integers(-3000, 3000, outputs), np.int32)
    scale = m.constant(np.broadcast_to(factor, (outputs,)).astype(np.float32))
    return m.node("DequantizeLinear", bias, scale, m.constant(np.zeros(outputs, np.int32)), axis=0)


def _place(m: Maker, rank: int, kernel: list[int]) -> dict[str, Any]:
    place: dict[str, Any] = {"strides": [int(n) for n in m.rng.integers(1, 3, rank)]}
    way = m.rng.integers(4)
    if way == 0:
        return place | {"auto_pad": str(m.rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))}
    if way == 1:
        return place | {"dilations": [2] * rank, "pads": [k - 1 for k in kernel] * 2}
    return place | {"pads": [int(m.rng.integers(0, k)) for k in kernel * 2]}


def conv(rng: np.random.Generator, dtype: str, *, rank: int = 2, groups: str = "none", activation: bool = True, weights: str = "int8",
         zero: int | None = None) -> Case:
    m = Maker(rng, dtype)
    group, each, per = 1, int(rng.integers(1, 10)), 1
    if groups == "depthwise":
        group, each, per = int(rng.integers(2, 8)), 1, int(rng.integers(1, 3))
    elif groups == "some":
        group, each, per = 2, int(rng.integers(2, 4)), int(rng.integers(1, 5))
    outputs = group * per if group > 1 else int(rng.integers(1, 12))
    x, data, qx, _ = _image(m, group * each, rank=rank)
    kernel = [int(k) for k in rng.integers(1, 4, rank)]
    w, ws, wz, scales = m.weights((outputs, each, *kernel), axis=0 if rng.random() < 0.7 else None, dtype=weights, zero=zero)
    operands = [m.dequantize(x, qx), m.node("DequantizeLinear", w, ws, wz, axis=0)]
    if rng.random() < 0.7:
        operands.append(_bias(m, qx[2] * scales, outputs))
    y = m.node("Conv", *operands, group=group, **_place(m, rank, kernel))
    way = rng.integers(3) if activation else 0
    if way == 1:
        y = m.node("Relu", y)
    elif way == 2:
        y = m.node("Clip", y, m.constant(np.float32(0)), m.constant(np.float32(6)))
    return _finish(m, y, data)


def conv_1d(rng: np.random.Generator, dtype: str) -> Case:
    return conv(rng, dtype, rank=1)


def depthwise(rng: np.random.Generator, dtype: str) -> Case:
    return conv(rng, dtype, groups="depthwise")


def grouped(rng: np.random.Generator, dtype: str) -> Case:
    return conv(rng, dtype, groups="some")


def uint8_weights(rng: np.random.Generator, dtype: str) -> Case:
    """ONNX Runtime has no kernel for int8 activations with uint8 weights."""
    return conv(rng, "uint8", weights="uint8")


def weights_with_zero(rng: np.random.Generator, dtype: str) -> Case:
    return conv(rng, "uint8", weights="uint8", zero=int(rng.integers(90, 160)), groups="depthwise" if rng.random() < 0.3 else "none")


def qlinear_conv(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    x, data, qx, shape = _image(m)
    outputs, kernel = int(rng.integers(1, 12)), [int(k) for k in rng.integers(1, 4, 2)]
    w, ws, wz, scales = m.weights((outputs, shape[1], *kernel), axis=0)
    place = _place(m, 2, kernel)
    values = m.rng.integers(-3000, 3000, outputs).astype(np.int32)
    real_bias = m.constant((values * scales * qx[2]).astype(np.float32))
    real = m.node("Conv", m.dequantize(x, qx), m.node("DequantizeLinear", w, ws, wz, axis=0), real_bias, **place)
    bias = m.constant(values)
    return _finish(m, real, data, quantised=lambda qy: m.node("QLinearConv", x, *qx[:2], w, ws, wz, *qy[:2], bias, **place))


def gemm(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    n, inner, outputs = (int(v) for v in rng.integers(1, 60, 3))
    x, data, qx, turned = m.input((n, inner)), m.array((n, inner)), m.quantisation(), bool(rng.integers(2))
    axis = 0 if turned else 1
    each = axis if outputs > 1 and rng.random() < 0.5 else None
    w, ws, wz, scales = m.weights((outputs, inner) if turned else (inner, outputs), axis=each)
    operands = [m.dequantize(x, qx), m.node("DequantizeLinear", w, ws, wz, axis=axis)]
    if rng.random() < 0.7:
        operands.append(_bias(m, qx[2] * scales, outputs))
    return _finish(m, m.node("Gemm", *operands, transB=int(turned)), data)


def matmul(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    shape, outputs = (*(int(v) for v in rng.integers(1, 8, rng.integers(1, 3))), int(rng.integers(1, 60))), int(rng.integers(2, 40))
    x, data, qx = m.input(shape), m.array(shape), m.quantisation()
    w, ws, wz, _ = m.weights((shape[-1], outputs), axis=1 if rng.random() < 0.5 else None)
    return _finish(m, m.node("MatMul", m.dequantize(x, qx), m.node("DequantizeLinear", w, ws, wz, axis=1)), data)


def qlinear_matmul(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    n, inner, outputs = (int(v) for v in rng.integers(2, 60, 3))
    x, data, qx = m.input((n, inner)), m.array((n, inner)), m.quantisation()
    w, ws, wz, _ = m.weights((inner, outputs), axis=1 if rng.random() < 0.5 else None)
    real = m.node("MatMul", m.dequantize(x, qx), m.node("DequantizeLinear", w, ws, wz, axis=1))
    return _finish(m, real, data, quantised=lambda qy: m.node("QLinearMatMul", x, *qx[:2], w, ws, wz, *qy[:2]))


def matmul_of_two(rng: np.random.Generator, dtype: str) -> Case:
    """Both operands computed, each in either order in memory."""
    m = Maker(rng, dtype)
    outer, (rows, inner, columns) = [int(v) for v in rng.integers(1, 4, rng.integers(0, 3))], (int(v) for v in rng.integers(2, 20, 3))
    operands, arrays = [], []
    for one, two in ((rows, inner), (inner, columns)):
        turned = bool(rng.integers(2))
        shape = (*outer, two, one) if turned else (*outer, one, two)
        x, qx = m.input(shape), m.quantisation()
        arrays.append(m.array(shape))
        real = m.dequantize(x, qx)
        operands.append(m.node("Transpose", real, perm=[*range(len(outer)), len(outer) + 1, len(outer)]) if turned else real)
    return _finish(m, m.node("MatMul", *operands), *arrays)


def add(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    shape = tuple(int(v) for v in rng.integers(1, 9, rng.integers(2, 5)))
    x, y, qx, qy = m.input(shape), m.input(shape), m.quantisation(0.0003, 0.3), m.quantisation(0.0003, 0.3)
    real = m.node("Add", m.dequantize(x, qx), m.dequantize(y, qy))
    return _finish(m, m.node("Relu", real) if rng.random() < 0.3 else real, m.array(shape), m.array(shape))


def qlinear_add(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    shape = tuple(int(v) for v in rng.integers(1, 9, rng.integers(2, 5)))
    x, y, qx, qy = m.input(shape), m.input(shape), m.quantisation(), m.quantisation()
    real = m.node("Add", m.dequantize(x, qx), m.dequantize(y, qy))
    return _finish(m, real, m.array(shape), m.array(shape),
                   quantised=lambda qz: m.node("QLinearAdd", x, *qx[:2], y, *qy[:2], *qz[:2], domain="com.microsoft"))


def add_constant(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    x, data, qx, shape = _image(m)
    constant = (rng.standard_normal((shape[1], 1, 1) if rng.random() < 0.7 else ()) * qx[2] * 50).astype(np.float32)
    op = str(rng.choice(["Add", "Sub", "Mul", "Div"]))
    operands = [m.dequantize(x, qx), m.constant(constant)]
    return _finish(m, m.node(op, *(operands[::-1] if op != "Div" and rng.random() < 0.3 else operands)), data)


def max_pool(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    x, data, qx, _ = _image(m)
    kernel = [int(k) for k in rng.integers(1, 4, 2)]
    place = {"kernel_shape": kernel, "strides": [int(s) for s in rng.integers(1, 3, 2)],
             "pads": [int(rng.integers(0, k)) for k in kernel * 2], "ceil_mode": int(rng.integers(2))}
    real = m.node("MaxPool", m.dequantize(x, qx), **place)
    if rng.random() < 0.5:  # as quantisers write it: one scale
        m.output(m.quantize(real, qx))
        return m.model(), [data]
    return _finish(m, real, data)


def max_pool_of_integers(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    x, data, _, _ = _image(m)
    m.output(m.node("MaxPool", x, kernel_shape=[2, 3], strides=[2, 1]))
    return m.model(), [data]


def conv_max_pool(rng: np.random.Generator, dtype: str) -> Case:
    """Quantised behind the pool only."""
    m = Maker(rng, dtype)
    x, data, qx, shape = _image(m)
    w, ws, wz, _ = m.weights((4, shape[1], 3, 3), axis=0)
    y = m.node("Relu", m.node("Conv", m.dequantize(x, qx), m.node("DequantizeLinear", w, ws, wz, axis=0)))
    return _finish(m, m.node("MaxPool", y, kernel_shape=[2, 2], strides=[1, 1]), data)


def _average_place(m: Maker) -> dict[str, Any]:
    kernel = [int(k) for k in m.rng.integers(1, 5, 2)]
    place: dict[str, Any] = {"kernel_shape": kernel, "strides": [int(s) for s in m.rng.integers(1, 3, 2)]}
    way = m.rng.integers(3)
    if way:
        place |= {"pads": [int(m.rng.integers(0, k)) for k in kernel * 2], "count_include_pad": int(way == 1)}
    return place


def average_pool(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    x, data, qx, _ = _image(m)
    return _finish(m, m.node("AveragePool", m.dequantize(x, qx), **_average_place(m)), data)


def qlinear_average_pool(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    x, data, qx, _ = _image(m)
    place = _average_place(m)
    real = m.node("AveragePool", m.dequantize(x, qx), **place)
    return _finish(m, real, data,
                   quantised=lambda qy: m.node("QLinearAveragePool", x, *qx[:2], *qy[:2], domain="com.microsoft", **place))


def global_average_pool(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    x, data, qx, _ = _image(m)
    real = m.node("GlobalAveragePool", m.dequantize(x, qx))
    way = rng.integers(3)
    if way == 0:
        return _finish(m, real, data, quantised=lambda qy: m.node("QLinearGlobalAveragePool", x, *qx[:2], *qy[:2], domain="com.microsoft"))
    if way == 1:
        real = m.node("ReduceMean", m.dequantize(x, qx), axes=[-1, 2], keepdims=int(rng.integers(2)))
    return _finish(m, real, data)


def mean_of_tokens(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    shape = (2, int(rng.integers(2, 20)), int(rng.integers(1, 20)))
    x, qx = m.input(shape), m.quantisation()
    return _finish(m, m.node("ReduceMean", m.dequantize(x, qx), axes=[1], keepdims=0), m.array(shape))


def relu(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    shape = (3, int(rng.integers(1, 100)))
    x, qx = m.input(shape), m.quantisation()
    real = m.dequantize(x, qx)
    real = m.node("Relu", real) if rng.random() < 0.5 else m.node("Clip", real, m.constant(np.float32(-0.3)), "")
    return _finish(m, real, m.array(shape))


def another_scale(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    shape = (3, int(rng.integers(1, 100)))
    x, qx = m.input(shape), m.quantisation()
    return _finish(m, m.dequantize(x, qx), m.array(shape))


def softmax(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    shape = (int(rng.integers(1, 4)), int(rng.integers(2, 40)))
    x, qx = m.input(shape), m.quantisation(0.02, 0.2)
    real = m.node("Softmax", m.dequantize(x, qx), axis=-1)
    if rng.random() < 0.5:
        return _finish(m, real, m.array(shape))
    like = (m.constant(np.float32(1 / 256)), m.constant(np.asarray(np.iinfo(dtype).min, dtype)), np.float32(1 / 256))
    m.output(m.quantize(real, like))
    return m.model(), [m.array(shape)]


def batch_normalization(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    x, data, qx, shape = _image(m)
    w, ws, wz, _ = m.weights((5, shape[1], 3, 3), axis=0)
    y, channels = m.dequantize(x, qx), shape[1]
    if rng.random() < 0.7:
        y, channels = m.node("Conv", y, m.node("DequantizeLinear", w, ws, wz, axis=0)), 5
    normal = [rng.standard_normal(channels), rng.standard_normal(channels), rng.standard_normal(channels), rng.uniform(0.5, 2, channels)]
    y = m.node("BatchNormalization", y, *(m.constant(a.astype(np.float32)) for a in normal))
    return _finish(m, m.node("Relu", y), data)


def flatten_gemm(rng: np.random.Generator, dtype: str) -> Case:
    """A product behind a flattened image, whose rows are in another order inside."""
    m = Maker(rng, dtype)
    x, data, qx, shape = _image(m, 3)
    y = m.quantize(m.node("MaxPool", m.dequantize(x, qx), kernel_shape=[1, 1]), qx)
    way = rng.integers(3)
    real = m.dequantize(y, qx)
    if way == 0:
        flat = m.node("Flatten", real)
    elif way == 1:
        flat = m.node("Reshape", real, m.constant(np.array([shape[0], -1])))
    else:
        flat = m.node("Reshape", m.node("Transpose", real, perm=[0, 3, 1, 2]), m.constant(np.array([0, -1])))
    w, ws, wz, _ = m.weights((7, int(np.prod(shape[1:]))), axis=0)
    return _finish(m, m.node("Gemm", flat, m.node("DequantizeLinear", w, ws, wz, axis=0), transB=1), data)


def transposed(rng: np.random.Generator, dtype: str) -> Case:
    """Axes that come out in another order than they are in memory."""
    m = Maker(rng, dtype)
    x, data, qx, shape = _image(m, 3)
    y = m.node("MaxPool", m.dequantize(x, qx), kernel_shape=[2, 2])
    y = m.node("Transpose", m.dequantize(m.quantize(y, qx), qx), perm=[int(a) for a in [0, *(1 + rng.permutation(3))]])
    if rng.random() < 0.5:
        y = m.node("Reshape", y, m.constant(np.array([shape[0], -1])))
    m.output(m.quantize(y, qx))
    return m.model(), [data]


FUNCTIONS: dict[str, dict[str, Any]] = {
    "Abs": {}, "Elu": {"alpha": 0.7}, "Erf": {}, "Exp": {}, "Gelu": {}, "HardSigmoid": {"alpha": 0.17}, "HardSwish": {},
    "LeakyRelu": {"alpha": 0.13}, "Neg": {}, "Sigmoid": {}, "Softplus": {}, "Tanh": {}}


def functions(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype, opset=20)
    shape = (2, int(rng.integers(1, 200)))
    x, qx, op = m.input(shape), m.quantisation(), str(rng.choice(list(FUNCTIONS)))
    return _finish(m, m.node(op, m.dequantize(x, qx), **FUNCTIONS[op]), m.array(shape))


def silu(rng: np.random.Generator, dtype: str) -> Case:
    """x · Sigmoid(x), quantised in between."""
    m = Maker(rng, dtype)
    x, data, qx, _ = _image(m)
    low = np.asarray(np.iinfo(dtype).min, dtype)
    share = (m.constant(np.float32(1 / 256)), m.constant(low), np.float32(1 / 256))
    real = m.dequantize(x, qx)
    inner = m.dequantize(m.quantize(m.node("Sigmoid", real), share), share)
    return _finish(m, m.node("Mul", real, inner), data)


def two_tensors(rng: np.random.Generator, dtype: str) -> Case:
    """Element by element with broadcasting, on the host."""
    m = Maker(rng, dtype)
    x, data, qx, shape = _image(m)
    other = tuple(n if i == 0 or rng.random() < 0.5 else 1 for i, n in enumerate(shape))
    op = str(rng.choice(["Mul", "Sub", "Add"]))
    y, qy = m.input(other), m.quantisation()
    return _finish(m, m.node(op, m.dequantize(x, qx), m.dequantize(y, qy)), data, m.array(other))


def concat(rng: np.random.Generator, dtype: str) -> Case:
    m = Maker(rng, dtype)
    x, data, qx, shape = _image(m)
    other = (shape[0], int(rng.integers(1, 6)), *shape[2:])
    y, qy = m.input(other), m.quantisation()
    return _finish(m, m.node("Concat", m.dequantize(x, qx), m.dequantize(y, qy), axis=1), data, m.array(other))


CASES: dict[str, Callable[[np.random.Generator, str], Case]] = {
    function.__name__: function
    for function in (conv, conv_1d, depthwise, grouped, uint8_weights, weights_with_zero, qlinear_conv, gemm, matmul, qlinear_matmul,
                     matmul_of_two, add, qlinear_add, add_constant, max_pool, max_pool_of_integers, conv_max_pool, average_pool,
                     qlinear_average_pool, global_average_pool, mean_of_tokens, relu, another_scale, softmax, batch_normalization,
                     flatten_gemm, transposed, functions, silu, two_tensors, concat)}
