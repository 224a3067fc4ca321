"""The FuseSoC core file: FuseSoC itself finds the core, reads its targets and checks the Verilog through it."""

import os
import subprocess

import pytest
from systolith import __version__
from systolith.arch.manifest import Manifest
from systolith.arch.settings import resolve
from systolith.gen import tools
from systolith.gen.fusesoc import core_file
from systolith.gen.generate import generate

CONFIG = resolve({"array": {"rows": 2, "cols": 3}, "memory": {"activation_kib": 1, "weight_kib": 1, "accumulator_rows": 16}})
NAME = f"systolith:accelerator:2x3:{__version__}"


@pytest.fixture(scope="module")
def fusesoc(tmp_path_factory):
    """FuseSoC with nothing but the generated folder in its library."""
    work = tmp_path_factory.mktemp("fusesoc")
    generate(CONFIG, work / "out")
    environment = {**os.environ, **tools.cocotb_environment(work / "tools"), "XDG_CONFIG_HOME": str(work), "XDG_DATA_HOME": str(work),
                   "XDG_CACHE_HOME": str(work)}

    def run(*arguments):
        return subprocess.run([tools.find("fusesoc", extra="test"), "--cores-root", "out", *arguments], cwd=work, env=environment,
                              capture_output=True, text=True)
    return run


def test_the_core_is_found(fusesoc):
    shown = fusesoc("core", "show", NAME)
    assert shown.returncode == 0, shown.stderr
    assert "Description: Matrix-multiply accelerator, 2 x 3, int8 x int8, build hash" in shown.stdout
    assert "default :" in shown.stdout and "lint    :" in shown.stdout


def test_verilator_finds_no_error_through_it(fusesoc):
    done = fusesoc("run", "--target", "lint", NAME)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_top_module_has_a_target():
    manifest = Manifest(config=CONFIG, board="ulx3s-85f", version="1.2.3", tops={"core": "systolith", "board": "systolith_board"})
    text = core_file(manifest)
    assert 'name: "systolith:accelerator:ulx3s-85f:1.2.3"' in text
    for name, top in (("default", "systolith"), ("board", "systolith_board")):
        assert f"  {name}:\n    filesets: [rtl]\n    toplevel: {top}\n" in text
