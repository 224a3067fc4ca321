"""PyTorch to accelerator: train a small CNN on scikit-learn's digits, export it, quantise it, run it, compare.

    pip install 'systolith[hardware,demo,onnx,pytorch]'
    python examples/pytorch_digits.py --device sim -o build/pytorch

Writes the float and the quantised ONNX file into the folder. docs/pytorch.md explains each step.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import systolith
import torch
from sklearn.datasets import load_digits
from systolith.host.onnx_quantise import quantise_onnx
from torch import nn


class Net(nn.Module):
    """A convolution, a residual block, a depthwise separable convolution, global average, a linear layer: (N, 1, 8, 8) → (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
                                   nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16))
        self.separable = nn.Sequential(nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=16), nn.BatchNorm2d(16), nn.ReLU6(),
                                       nn.Conv2d(16, 64, 1), nn.BatchNorm2d(64), nn.ReLU6())
        self.last = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = torch.relu(x + self.block(x))
        x = self.separable(x)
        return self.last(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and labels, test images and labels; images float32 (N, 1, 8, 8) from 0 to 1."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = (images[order] / 16).astype(np.float32).reshape(-1, 1, 8, 8), labels[order]
    return x[360:], y[360:], x[:360], y[:360]


def train(images: np.ndarray, labels: np.ndarray, epochs: int) -> Net:
    torch.manual_seed(0)
    net, x, y = Net(), torch.from_numpy(images), torch.from_numpy(labels)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimiser.step()
        schedule.step()
    return net.eval()


def export(net: Net, path: Path) -> None:
    """The float model as an ONNX file, by torch.export."""
    example = (torch.zeros(1, 1, 8, 8),)
    program = torch.onnx.export(torch.export.export(net, example), dynamo=True)
    assert program is not None
    program.save(path)


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(scores.argmax(axis=1) == labels))


def run(folder: Path, *, device: str = "model", epochs: int = 15, tested: int = 360) -> dict[str, Any]:
    """All steps; ``tested`` images go through the accelerator and ONNX Runtime."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels, test_images, test_labels = data()
    test_images, test_labels = test_images[:tested], test_labels[:tested]
    net = train(images, labels, epochs)
    export(net, folder / "digits.onnx")
    (folder / "digits_int8.onnx").write_bytes(quantise_onnx(folder / "digits.onnx", images[:200]))

    with torch.no_grad():
        real = net(torch.from_numpy(test_images)).numpy()
    theirs = onnxruntime.InferenceSession(folder / "digits_int8.onnx", providers=["CPUExecutionProvider"])
    name = theirs.get_inputs()[0].name
    expected = np.concatenate([theirs.run(None, {name: image[None]})[0] for image in test_images])
    with systolith.connect(device) as accelerator:
        session = systolith.Session(folder / "digits_int8.onnx", accelerator)
        scores = session.run(test_images)
    return {"images": len(test_labels), "accuracy of PyTorch, float": accuracy(real, test_labels),
            "accuracy of ONNX Runtime, int8": accuracy(expected, test_labels), "accuracy of systolith, int8": accuracy(scores, test_labels),
            "same class as ONNX Runtime": float(np.mean(scores.argmax(axis=1) == expected.argmax(axis=1))),
            "equal scores": float(np.mean(scores == expected)), "largest difference": float(np.abs(scores - expected).max()),
            "one step": float(session.graph.tensors[session.graph.outputs[0]].quantisation.scale),
            "utilisation": session.report["utilisation"], "on the host": [op["op"] for op in session.report["fallback_ops"]]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="model")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/pytorch"))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--images", type=int, default=360, help="to test on")
    arguments = parser.parse_args()
    for key, value in run(arguments.output, device=arguments.device, epochs=arguments.epochs, tested=arguments.images).items():
        print(f"{key:32} {value}")


if __name__ == "__main__":
    main()
