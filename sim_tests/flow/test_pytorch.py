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
