"""The demo network: a small convolutional classifier of scikit-learn's handwritten digits (1,797 scans of 8 × 8 pixels).

Trained from scratch by plain NumPy in seconds, the same on every run: conv 3×3 1→16, conv 3×3 stride 2 16→32, fully connected
512→10, ReLU between, softmax cross-entropy, Adam (Kingma & Ba, ICLR 2015).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from .quantise import FloatLayer

__all__ = ["Digits", "accuracy", "load", "train"]

TEST_IMAGES = 360
_EPOCHS, _BATCH, _RATE = 30, 32, 2e-3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Digits:
    """Images (B, 8, 8, 1), float32 from 0 to 1, and labels (B,), split once and for all."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load(seed: int = 0) -> Digits:
    """The data set, shuffled by ``seed`` and split into training and 360 test images. Needs scikit-learn."""
    from sklearn.datasets import load_digits
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    x = (images[order] / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    y = labels[order]
    return Digits(train_images=x[TEST_IMAGES:], train_labels=y[TEST_IMAGES:], test_images=x[:TEST_IMAGES], test_labels=y[:TEST_IMAGES])


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows of ``scores`` (B, …, 10) whose largest value is at the label."""
    return float(np.mean(scores.reshape(len(labels), -1).argmax(axis=1) == labels))


class _Conv:
    """3 × 3 convolution for training: im2col forward, its transpose backward. Weights (9·cin, cout), HWIO order."""

    def __init__(self, rng: np.random.Generator, cin: int, cout: int, stride: int, padding: tuple[int, int]):
        self.stride, self.padding = stride, padding
        self.weights = (rng.standard_normal((9 * cin, cout)) * np.sqrt(2 / (9 * cin))).astype(np.float32)
        self.bias = np.zeros(cout, np.float32)

    def _slices(self, x_shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
        def lines(k: int, n: int) -> slice:
            last = (n + sum(self.padding) - 3) // self.stride
            return slice(k, k + self.stride * last + 1, self.stride)

        return [(lines(ky, x_shape[1]), lines(kx, x_shape[2])) for ky, kx in np.ndindex(3, 3)]

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x_shape = x.shape
        padded = np.pad(x, ((0, 0), self.padding, self.padding, (0, 0)))
        self.columns = np.stack([padded[:, ys, xs] for ys, xs in self._slices(x.shape)], axis=3)
        self.columns = self.columns.reshape(*self.columns.shape[:3], -1)
        return self.columns @ self.weights + self.bias

    def backward(self, dy: np.ndarray) -> np.ndarray:
        flat = dy.reshape(-1, dy.shape[-1])
        self.gradients = (self.columns.reshape(-1, len(self.weights)).T @ flat, flat.sum(axis=0))
        b, h, w, c = self.x_shape
        taps = (dy @ self.weights.T).reshape(*dy.shape[:3], 9, c)
        dx = np.zeros((b, h + sum(self.padding), w + sum(self.padding), c), np.float32)
        for tap, (ys, xs) in enumerate(self._slices(self.x_shape)):
            dx[:, ys, xs] += taps[..., tap, :]
        return dx[:, self.padding[0]:self.padding[0] + h, self.padding[0]:self.padding[0] + w]


class _Dense:
    """Fully connected layer for training. Weights (inputs, outputs)."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int):
        self.weights = (rng.standard_normal((inputs, outputs)) * np.sqrt(1 / inputs)).astype(np.float32)
        self.bias = np.zeros(outputs, np.float32)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x_shape, self.x = x.shape, x.reshape(len(x), -1)
        return self.x @ self.weights + self.bias

    def backward(self, dy: np.ndarray) -> np.ndarray:
        self.gradients = (self.x.T @ dy, dy.sum(axis=0))
        return (dy @ self.weights.T).reshape(self.x_shape)


def train(data: Digits, *, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> list[FloatLayer]:
    """The float network, trained on ``data``; ``progress`` is called with (epochs done, epochs) after each epoch."""
    rng = np.random.default_rng(seed)
    one, two, three = _Conv(rng, 1, 16, 1, (1, 1)), _Conv(rng, 16, 32, 2, (0, 1)), _Dense(rng, 512, 10)
    layers: tuple[_Conv | _Dense, ...] = (one, two, three)
    moments = [[(np.zeros_like(p), np.zeros_like(p)) for p in (layer.weights, layer.bias)] for layer in layers]
    step = 0
    for epoch in range(_EPOCHS):
        order = rng.permutation(len(data.train_labels))
        # Cosine decay ends training quietly, so that the last epoch is the one to keep.
        rate = _RATE * 0.5 * (1 + math.cos(math.pi * epoch / _EPOCHS))
        for start in range(0, len(order), _BATCH):
            chosen = order[start:start + _BATCH]
            hidden1 = np.maximum(one.forward(data.train_images[chosen]), 0)
            hidden2 = np.maximum(two.forward(hidden1), 0)
            scores = three.forward(hidden2)
            odds = np.exp(scores - scores.max(axis=1, keepdims=True))
            gradient = odds / odds.sum(axis=1, keepdims=True)
            gradient[np.arange(len(chosen)), data.train_labels[chosen]] -= 1
            gradient = three.backward(gradient / np.float32(len(chosen)))
            gradient = two.backward(gradient * (hidden2 > 0))
            one.backward(gradient * (hidden1 > 0))
            step += 1
            for layer, pairs in zip(layers, moments, strict=True):
                for parameter, g, (mean, square) in zip((layer.weights, layer.bias), layer.gradients, pairs, strict=True):
                    mean += 0.1 * (g - mean)
                    square += 0.001 * (g * g - square)
                    parameter -= rate * (mean / (1 - 0.9 ** step)) / (np.sqrt(square / (1 - 0.999 ** step)) + 1e-8)
        if progress is not None:
            progress(epoch + 1, _EPOCHS)
    return [FloatLayer(weights=one.weights.reshape(3, 3, 1, 16), bias=one.bias, padding=((1, 1), (1, 1))),
            FloatLayer(weights=two.weights.reshape(3, 3, 16, 32), bias=two.bias, stride=(2, 2), padding=((0, 1), (0, 1))),
            FloatLayer(weights=three.weights, bias=three.bias, relu=False)]
