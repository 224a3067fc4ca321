"""``systolith verify``: the cocotb benches pass on sound Verilog, behind AXI and bare; what cannot be verified is refused."""

import pytest
from devices import small_config
from systolith.arch.manifest import ManifestError
from systolith.gen.generate import generate
from systolith.gen.tools import ToolError
from systolith.gen.verify import VerifyError, verify


@pytest.mark.parametrize("shell, programs, least, weights", [
    ("axi", 200, 32, "int8"), ("native", 30, 25, "int8"), ("native", 30, 25, "int4")])
def test_benches_pass(shell, programs, least, weights, tmp_path):
    generate(small_config(3, 5, shell=shell, array={"weights": weights}), tmp_path / "g")
    result = verify(tmp_path / "g", seed=7, programs=programs)
    assert not result.failures, f"seed 7: {result.failures}"
    assert result.passed >= least and all(case.cycles > 20 for case in result.cases)


def test_what_cannot_be_verified_is_refused(tmp_path, monkeypatch):
    generate(small_config(1, 1), tmp_path / "g")
    with pytest.raises(VerifyError, match="simulator must be one of verilator, icarus, not 'modelsim'"):
        verify(tmp_path / "g", simulator="modelsim")
    with monkeypatch.context() as without:
        without.setenv("PATH", "")
        with pytest.raises(ToolError) as caught:
            verify(tmp_path / "g", simulator="icarus")
        assert str(caught.value) == "icarus is not installed; run: apt-get install iverilog, or use --simulator verilator"
    verilog = tmp_path / "g" / "systolith.v"
    verilog.write_text(verilog.read_text() + "// changed\n")
    with pytest.raises(ManifestError, match="is not as it was generated"):
        verify(tmp_path / "g")
