"""``systolith verify``: the cocotb benches pass on sound Verilog, and a changed file is refused."""

import pytest
from devices import small_config
from systolith.arch.manifest import ManifestError
from systolith.gen.generate import generate
from systolith.gen.verify import VerifyError, verify


def test_benches_pass(tmp_path):
    generate(small_config(3, 5), tmp_path / "g")
    result = verify(tmp_path / "g", seed=7)
    assert not result.failures, result.failures
    assert result.passed >= 16


def test_what_cannot_be_verified_is_refused(tmp_path):
    generate(small_config(1, 1), tmp_path / "g")
    with pytest.raises(VerifyError, match="simulator must be one of verilator, icarus, not 'modelsim'"):
        verify(tmp_path / "g", simulator="modelsim")
    verilog = tmp_path / "g" / "systolith.v"
    verilog.write_text(verilog.read_text() + "// changed\n")
    with pytest.raises(ManifestError, match="is not as it was generated"):
        verify(tmp_path / "g")
