"""``systolith verify``: cocotb benches on the emitted Verilog, under Verilator or Icarus."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from ..arch.manifest import VERILOG_NAME, Manifest
from .tools import ToolError, cocotb_environment

__all__ = ["SIMULATORS", "VerifyError", "VerifyResult", "verify"]

SIMULATORS = ("verilator", "icarus")
_BUILD_ARGS = {
    # The warnings are of style, about generated code.
    "verilator": ["--no-public-flat-rw", "-Wno-fatal", "-Wno-lint", "--output-split", "10000"],
    "icarus": ["-g2012"],
}
# Only the ports are for the benches: cocotb's runner would have all signals public, which optimises nothing, doubles the time to
# compile and makes a cycle forty times as long.
_PORTS = '`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n'
_OPTIMISE = "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"  # what runs in every cycle, what runs once, Verilator's own library


class VerifyError(RuntimeError):
    """The benches could not be run, or a result is missing; the message is one line."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """Counts of test cases; ``failures`` are (test, first line of what was wrong)."""

    passed: int
    failed: int
    seed: int
    simulator: str
    seconds: float
    failures: tuple[tuple[str, str], ...]
    log: Path


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _results(path: Path) -> tuple[int, tuple[tuple[str, str], ...]]:
    if not path.is_file():
        raise VerifyError(f"the simulation ended without results; see {path.parent / 'test.log'}")
    passed, failures = 0, []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        wrong = next((child for child in case if child.tag in ("failure", "error")), None)
        if wrong is None:
            passed += 1
        else:
            text = (wrong.get("message") or wrong.get("error_msg") or wrong.text or "no message").strip()
            failures.append((case.get("name", "?"), text.splitlines()[0] if text else "no message"))
    return passed, tuple(failures)


def _benches(manifest: Manifest) -> list[str]:
    names = ["core_bench", "error_bench", *(["axi_bench"] if manifest.config.shell == "axi" else []), "random_bench"]
    return [f"systolith.gen.benches.{name}" for name in names]


def verify(directory: str | Path, *, seed: int = 1, simulator: str = "verilator",
           benches: Sequence[str] | None = None,
           progress: Callable[[str], None] = lambda message: None) -> VerifyResult:
    """Run the benches on ``DIRECTORY/systolith.v``; the compiled simulation stays in ``DIRECTORY/verify``.

    Raises
    ------
    VerifyError, ToolError, ManifestError
        The Verilog is not the manifest's, a tool is missing or failed, or the simulation broke off.
    """
    directory = Path(directory).absolute()
    manifest = Manifest.read(directory)
    manifest.check_verilog(directory)
    if simulator not in SIMULATORS:
        raise VerifyError(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")
    if simulator == "icarus" and shutil.which("iverilog") is None:
        raise ToolError("icarus is not installed; run: apt-get install iverilog, or use --simulator verilator")
    from cocotb_tools.runner import get_runner  # needs the hardware extra

    start = time.monotonic()
    work = directory / "verify" / simulator
    work.mkdir(parents=True, exist_ok=True)
    environment = {"SYSTOLITH_DIRECTORY": str(directory), "SYSTOLITH_SEED": str(seed)}
    top = manifest.tops.get(manifest.config.shell, manifest.tops["core"])
    sources = [directory / VERILOG_NAME]
    if simulator == "verilator":
        environment |= cocotb_environment(work / "bin")
        environment["MAKEFLAGS"] += f" {_OPTIMISE}"
        (work / "ports.vlt").write_text(_PORTS.format(top=top), encoding="utf-8")
        sources.insert(0, work / "ports.vlt")
    built = work / f"{manifest.hash}.built"
    results = work / "results.xml"
    results.unlink(missing_ok=True)
    with _environment(environment), contextlib.redirect_stdout(io.StringIO()):
        runner = get_runner(simulator)
        if not built.exists():
            progress(f"compiling the Verilog with {simulator} (half a minute to two minutes)")
            for old in work.glob("*.built"):
                old.unlink()
            try:
                runner.build(sources=sources, hdl_toplevel=top, build_dir=work, always=True,
                             build_args=_BUILD_ARGS[simulator], log_file=work / "build.log", timescale=("1ns", "1ps"))
            except (Exception, SystemExit) as error:
                raise ToolError(f"{simulator} could not compile the Verilog ({error}); see {work / 'build.log'}") from None
            built.touch()
        progress(f"running the benches, seed {seed}")
        with contextlib.suppress(SystemExit, Exception):  # what failed is in the results file
            runner.test(test_module=list(benches or _benches(manifest)), hdl_toplevel=top, hdl_toplevel_lang="verilog", build_dir=work,
                        test_dir=work, results_xml=str(results), seed=seed, log_file=work / "test.log", timescale=("1ns", "1ps"))
    passed, failures = _results(results)
    if not passed and not failures:
        raise VerifyError(f"no test ran; see {work / 'test.log'}")
    return VerifyResult(passed=passed, failed=len(failures), seed=seed, simulator=simulator,
                        seconds=time.monotonic() - start, failures=failures, log=work / "test.log")
