"""The documented path from PyTorch: examples/pytorch_digits.py trains, exports, quantises, compiles, compares."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed (extra 'pytorch', gigabytes)")
pytest.importorskip("onnxscript", reason="torch.onnx.export needs onnxscript (extra 'pytorch')")
pytest.importorskip("onnxruntime", reason="quantises the model (extra 'onnx')")

EXAMPLE = Path(__file__).parents[2] / "examples" / "pytorch_digits.py"


@pytest.mark.filterwarnings("ignore")  # of the exporter
@pytest.mark.parametrize(("device", "tested"), [("model", 360), ("sim", 2)])
def test_digits(device, tested, tmp_path):
    spec = importlib.util.spec_from_file_location("pytorch_digits", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    result = example.run(tmp_path, device=device, epochs=8, tested=tested)
    print(result)
    assert result["same class as ONNX Runtime"] == 1.0
    assert result["equal scores"] >= 0.99
    assert result["largest difference"] <= 1.01 * result["one step"]
    assert result["on the host"] == []
    if tested > 100:
        assert result["accuracy of systolith, int8"] > 0.95
        assert result["accuracy of systolith, int8"] > result["accuracy of PyTorch, float"] - 0.02


def modules():
    """Networks of the modules that docs/pytorch.md names, with the shape of an input and what the host has to do."""
    from torch import nn

    class Attention(nn.Module):
        """One head: (1, tokens, 16) → the same."""

        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))

        def forward(self, x):
            share = (self.q(x) @ self.k(x).transpose(1, 2) * 0.25).softmax(-1)
            return x + self.o(share @ self.v(x))

    return {
        "conv1d": (nn.Sequential(nn.Conv1d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 8, 3, stride=2),
                                 nn.Hardtanh(-1, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 5)), (1, 3, 20), []),
        "conv2d": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(2),
                                 nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.ReLU(), nn.Flatten(),
                                 nn.Dropout(), nn.Linear(288, 10), nn.Softmax(1)), (1, 3, 15, 15), ["Softmax"]),
        "dilated": (nn.Sequential(nn.Conv2d(2, 6, 3, dilation=2, padding="same"), nn.ReLU(), nn.Conv2d(6, 4, 1)), (1, 2, 10, 10), []),
        "functions": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1), nn.Hardswish(), nn.Conv2d(8, 4, 1),
                                    nn.LeakyReLU(), nn.Sigmoid()), (1, 3, 9, 9), []),
        "average": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.AvgPool2d(3, stride=2, padding=1), nn.ReLU()), (1, 3, 15, 15), []),
        "tokens": (nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 7)), (1, 5, 20), []),
        "attention": (Attention(), (1, 6, 16), ["Softmax"]),
    }


@pytest.mark.filterwarnings("ignore")  # of the exporter
@pytest.mark.parametrize("name", ["conv1d", "conv2d", "dilated", "functions", "average", "tokens", "attention"])
def test_modules(name, tmp_path):
    import numpy as np
    import onnxruntime
    import systolith
    import torch
    from systolith.host.onnx_quantise import quantise_onnx
    torch.manual_seed(0)
    net, shape, on_host = modules()[name]
    program = torch.onnx.export(torch.export.export(net.eval(), (torch.zeros(shape),)), dynamo=True, verbose=False)
    program.save(tmp_path / "net.onnx")
    x = np.random.default_rng(0).standard_normal((64, *shape[1:])).astype(np.float32)
    model = quantise_onnx(tmp_path / "net.onnx", x)
    run = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    want = np.concatenate([run.run(None, {run.get_inputs()[0].name: each[None]})[0] for each in x])
    with systolith.connect("model") as accelerator:
        session = systolith.Session(model, accelerator)
        got = session.run(x)
    steps = np.abs(got - want) / session.graph.tensors[session.graph.outputs[0]].quantisation.scale
    assert steps.max() < 1.5
    assert np.mean(steps > 0.5) < 0.01
    assert [op["op"] for op in session.report["fallback_ops"]] == on_host


@pytest.mark.filterwarnings("ignore")  # of the exporter
def test_module_that_is_not_supported(tmp_path):
    import numpy as np
    import torch
    from systolith.host.errors import NetworkError
    from systolith.host.onnx_quantise import read_calibrated
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)).eval()
    torch.onnx.export(torch.export.export(net, (torch.zeros(1, 4),)), dynamo=True, verbose=False).save(tmp_path / "net.onnx")
    message = r"^operator \d+ \(LayerNormalization, 'node_layer_norm'\) is not supported; supported are Abs, "
    with pytest.raises(NetworkError, match=message):
        read_calibrated(tmp_path / "net.onnx", np.ones((4, 4), np.float32))
