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
from typing import NamedTuple
from xml.etree import ElementTree

from ..arch.manifest import VERILOG_NAME, Manifest
from .benches.testbench import PERIOD_NS
from .tools import ToolError, cocotb_environment

__all__ = ["PROGRAMS", "SIMULATORS", "Case", "VerifyError", "VerifyResult", "verify"]

SIMULATORS = ("verilator", "icarus")
PROGRAMS = 200
_PACKAGE = f"{__package__}.benches"
_BUILD_ARGS = {
    # The warnings are of style, about generated code.
    "verilator": ["--no-public-flat-rw", "-Wno-fatal", "-Wno-lint", "--output-split", "10000"],
    "icarus": ["-g2005"],  # in SystemVerilog initial values start no process, and what yosys writes relies on that they do
}
# Only the ports are for the benches: cocotb's runner would have all signals public, which optimises nothing, doubles the time to
# compile and makes a cycle forty times as long.
_PORTS = '`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n'


class VerifyError(RuntimeError):
    """The benches could not be run, or a result is missing; the message is one line."""


class Case(NamedTuple):
    """A test that ran: cycles that it simulated, and the first line of what was wrong, or nothing."""

    name: str
    cycles: int
    failure: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyResult:
    """What the benches found; ``failures`` are (test, first line of what was wrong)."""

    cases: tuple[Case, ...]
    seed: int
    simulator: str
    seconds: float
    log: Path

    @property
    def passed(self) -> int:
        return len(self.cases) - self.failed

    @property
    def failed(self) -> int:
        return len(self.failures)

    @property
    def failures(self) -> tuple[tuple[str, str], ...]:
        return tuple((case.name, case.failure) for case in self.cases if case.failure)


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _results(path: Path) -> tuple[Case, ...]:
    if not path.is_file():
        raise VerifyError(f"the simulation ended without results; see {path.parent / 'test.log'}")
    cases = []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("skipped") is not None:
            continue
        wrong = next((child for child in case if child.tag in ("failure", "error")), None)
        failure = ""
        if wrong is not None:
            text = (wrong.get("message") or wrong.get("error_msg") or wrong.text or "").strip()
            failure = text.splitlines()[0] if text else "no message"
        duration = case.find("properties/property[@name='sim_time_duration']")
        time_ns = float(duration.get("value", 0)) if duration is not None else 0.0
        cases.append(Case(case.get("name", "?"), round(time_ns / PERIOD_NS), failure))
    if not cases:
        raise VerifyError(f"no test ran; see {path.parent / 'test.log'}")
    return tuple(cases)


def _benches(manifest: Manifest) -> list[str]:
    return ["core_bench", "error_bench", *(["axi_bench"] if manifest.config.shell == "axi" else []), "random_bench"]


def verify(directory: str | Path, *, seed: int = 1, simulator: str = "verilator",
           benches: Sequence[str] | None = None, programs: int = PROGRAMS,
           progress: Callable[[str], None] = lambda message: None) -> VerifyResult:
    """Run the benches on ``DIRECTORY/systolith.v``; the compiled simulation stays in ``DIRECTORY/verify``.

    Parameters
    ----------
    directory : a folder that ``generate`` has written
    seed : of operands, programs and stalls
    simulator : one of :data:`SIMULATORS`
    benches : modules of ``gen/benches``, by default all that suit the accelerator's ports
    programs : random programs, at least; they are shared out over all paces of the memory
    progress : receives one line before a step that takes seconds

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
    environment = {"SYSTOLITH_DIRECTORY": str(directory), "SYSTOLITH_SEED": str(seed), "SYSTOLITH_PROGRAMS": str(programs)}
    top = manifest.tops.get(manifest.config.shell, manifest.tops["core"])
    sources = [directory / VERILOG_NAME]
    if simulator == "verilator":
        environment |= cocotb_environment(work / "bin")
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
            runner.test(test_module=[f"{_PACKAGE}.{name}" for name in benches or _benches(manifest)], hdl_toplevel=top,
                        hdl_toplevel_lang="verilog", build_dir=work, test_dir=work, results_xml=str(results), seed=seed,
                        log_file=work / "test.log", timescale=("1ns", "1ps"))
    cases = _results(results)
    return VerifyResult(cases=cases, seed=seed, simulator=simulator, seconds=time.monotonic() - start, log=work / "test.log")
