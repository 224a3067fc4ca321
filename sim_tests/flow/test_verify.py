"""``systolith verify``: the cocotb benches pass on sound Verilog, behind AXI and bare; what cannot be verified is refused."""

import pytest
from devices import small_config
from nightly import NIGHTLY
from systolith.arch.manifest import ManifestError
from systolith.gen.generate import generate
from systolith.gen.tools import ToolError
from systolith.gen.verify import PROGRAMS, VerifyError, verify


@pytest.mark.parametrize("shell, programs, least, array", [
    ("axi", PROGRAMS if NIGHTLY else 48, 32, {}), ("native", 12, 25, {"weights": "int4"}), ("native", 12, 25, {"dataflow": "os"})])
def test_benches_pass(shell, programs, least, array, tmp_path):
    generate(small_config(3, 5, shell=shell, array=array), tmp_path / "g")
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
