"""Small float networks as ONNX files, trained just enough on scikit-learn's digits."""

from __future__ import annotations

import functools

import numpy as np
from onnx import helper
from onnx_models import TYPES, Maker, session
from sklearn.datasets import load_digits

TRAINING = 1200  # images


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 1, 8, 8) from 0 to 1, and labels."""
    images, labels = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32).reshape(-1, 1, 8, 8), labels


def _conv(m: Maker, x: str, channels: int, filters: int, kernel: int, *, group: int = 1) -> str:
    scale = np.sqrt(2 * group / (channels * kernel * kernel))
    weights = m.rng.standard_normal((filters, channels // group, kernel, kernel)) * scale
    bias = m.rng.standard_normal(filters) * 0.1
    operands = m.constant(weights.astype(np.float32)), m.constant(bias.astype(np.float32))
    return m.node("Conv", x, *operands, group=group, pads=[kernel // 2] * 4)


@functools.cache
def residual(pool: str = "MaxPool", seed: int = 0, batch: int | str = 1) -> bytes:
    """Convolutions with batch normalisation and a residual sum, depthwise and pointwise ones, a pool, a product, softmax.

    All weights are random but those of the product, which are the best for the digits (ridge regression). ``pool`` is the last one.
    """
    m = Maker(np.random.default_rng(seed), "float32")
    x = m.input((batch, 1, 8, 8))
    y = _conv(m, x, 1, 16, 3)
    normal = (m.rng.uniform(0.5, 1.5, 16), m.rng.normal(0, 0.1, 16), m.rng.normal(0, 0.1, 16), m.rng.uniform(0.5, 1.5, 16))
    y = m.node("Relu", m.node("BatchNormalization", y, *(m.constant(a.astype(np.float32)) for a in normal)))
    z = m.node("Relu", _conv(m, y, 16, 16, 3))
    y = m.node("Relu", m.node("Add", y, _conv(m, z, 16, 16, 3)))
    y = m.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = _conv(m, y, 16, 16, 3, group=16)
    y = m.node("Clip", _conv(m, y, 16, 64, 1), m.constant(np.float32(0)), m.constant(np.float32(6)))
    y = m.node(pool, y) if pool.startswith("Global") else m.node(pool, y, kernel_shape=[2, 2], strides=[2, 2])
    y = m.node("Flatten", y)
    images, labels = digits()
    run = session(m.model([helper.make_tensor_value_info(y, TYPES["float32"], None)]))
    features = np.concatenate([run.run(None, {x: images[i:i + 1]})[0] for i in range(TRAINING)]).astype(np.float64)
    inputs = np.concatenate([features, np.ones((TRAINING, 1))], axis=1)
    target = 4.0 * (2 * np.eye(10)[labels[:TRAINING]] - 1)
    weights = np.linalg.solve(inputs.T @ inputs + 3 * np.eye(inputs.shape[1]), inputs.T @ target).astype(np.float32)
    y = m.node("Softmax", m.node("Gemm", y, m.constant(weights[:-1]), m.constant(weights[-1])), axis=-1)
    m.outputs.append(helper.make_tensor_value_info(y, TYPES["float32"], [batch, 10]))
    return m.model()


def random_network(rng: np.random.Generator) -> tuple[bytes, np.ndarray]:
    """A float network that nobody has seen, with inputs for it: convolutions of all kinds, residual sums, pools, products."""
    m = Maker(rng, "float32")
    shape = [int(rng.integers(1, 5)), int(rng.integers(6, 13)), int(rng.integers(6, 13))]
    y = m.input((1, *shape))
    for _ in range(int(rng.integers(2, 7))):
        channels, height, width = shape
        way = rng.integers(6)
        if way <= 1:
            filters, kernel = int(rng.integers(1, 24)), int(rng.choice([1, 3, 5]))
            y, shape[0] = _conv(m, y, channels, filters, kernel), filters
            if way == 0:
                y = m.node("Relu", y)
        elif way == 2 and channels > 1:
            y = m.node("Clip", _conv(m, y, channels, channels, 3, group=channels), m.constant(np.float32(0)), m.constant(np.float32(6)))
        elif way == 3:
            y = m.node("Add", y, _conv(m, m.node("Relu", _conv(m, y, channels, channels, 3)), channels, channels, 1))
        elif way == 4 and min(height, width) >= 4:
            y, shape[1:] = m.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]), [height // 2, width // 2]
        elif way == 5:
            normal = (m.rng.uniform(0.5, 1.5, channels), m.rng.normal(0, 0.1, channels), m.rng.normal(0, 0.1, channels),
                      m.rng.uniform(0.5, 1.5, channels))
            y = m.node("BatchNormalization", _conv(m, y, channels, channels, 3), *(m.constant(a.astype(np.float32)) for a in normal))
    inputs = int(np.prod(shape))
    if rng.random() < 0.4:
        y, inputs = m.node("GlobalAveragePool", y), shape[0]
    outputs = int(rng.integers(2, 20))
    weights = (rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
    y = m.node("Gemm", m.node("Flatten", y), m.constant(weights), m.constant(rng.standard_normal(outputs).astype(np.float32)), transB=1)
    m.outputs.append(helper.make_tensor_value_info(y, TYPES["float32"], [1, outputs]))
    shape = m.inputs[0].type.tensor_type.shape.dim
    return m.model(), rng.standard_normal((24, *(d.dim_value for d in shape[1:]))).astype(np.float32)
