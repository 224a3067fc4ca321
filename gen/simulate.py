"""Compiles emitted Verilog with Verilator into a shared library: the simulated device of ``host/simulated.py``.

Libraries are cached by the content that makes them, so the second use of a configuration costs milliseconds; of the user's cache those
that were used last stay.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import heapq
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import platformdirs

from ..arch.manifest import VERILOG_NAME, Manifest
from ..arch.registers import offset_of
from . import tools

__all__ = ["SimulationLibrary", "build_model", "compile_simulation", "simulation_cache"]

HARNESS = Path(__file__).with_name("harness.cpp")
KEPT = 1000  # finished simulations, 0.6 to a few MB each
_LIBRARY = re.compile(r"[0-9a-f]{32}(\.so)?")
UNIT_BYTES = 1_500_000  # of C++ in one run of the compiler, for its memory
COMMON_FLAGS = ("-std=c++17", "-fPIC", "-w")
VERILATOR_FLAGS = ("--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "--no-timing", "-Wno-fatal", "-Wno-lint",
                   "-Werror-ALWNEVER", "--output-split", "8000")
DEEP_STACK = ("sh", "-c", 'ulimit -s unlimited 2>/dev/null; exec "$@"', "sh")
HEADERS = ("fast", "slow")
RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
RUNTIME_VCD = ("verilated_vcd_c.cpp",)


class SimulationLibrary(NamedTuple):
    """A compiled device, how long it took, and whether it was there already."""
    path: Path
    seconds: float
    cached: bool


def _key(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def _join(sources: list[Path], directory: Path, name: str, *, least: int) -> list[Path]:
    """``sources`` as ``least`` files of equal size that include them, or more where they are large."""
    sizes = {source: source.stat().st_size for source in sources}
    count = max(least, sum(sizes.values()) // UNIT_BYTES)
    units: list[tuple[int, int, list[Path]]] = [(0, index, []) for index in range(count)]
    for source in sorted(sources, key=sizes.__getitem__, reverse=True):
        size, index, members = heapq.heappop(units)
        heapq.heappush(units, (size + sizes[source], index, [*members, source]))
    joined = []
    for _, index, members in units:
        joined.append(directory / f"{name}{index}.cpp")
        joined[-1].write_text("".join(f'#include "{member}"\n' for member in members), encoding="utf-8")
    return joined


def _speed(stem: str) -> tuple[str, ...]:
    """The compiler's options for a file of Verilator's, or for its headers, of that name."""
    return tools.SLOW_FLAGS if stem.startswith("slow") else tools.FAST_FLAGS


def _compile(compiler: str, sources: list[Path], flags: tuple[str, ...], directory: Path, *, headers: Path | None = None) -> list[Path]:
    """Objects of ``sources``, compiled in parallel; with the precompiled headers in folder ``headers``."""
    def one(source: Path) -> Path:
        target = directory / f"{source.stem}.o"
        before: list[str | Path] = ["-include", headers / f"{source.stem.rstrip('0123456789')}.h"] if headers else []
        tools.run_tool([compiler, *_speed(source.stem), *flags, *before, "-c", source, "-o", target], log=directory / f"{source.stem}.log")
        return target

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(one, sources))


def _defines(vcd: bool) -> tuple[str, ...]:
    """What Verilator's own Makefile defines; every object of one library must agree on it."""
    return (f"-DVM_TRACE={int(vcd)}", f"-DVM_TRACE_VCD={int(vcd)}", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE_FST=0",
            "-DVM_TRACE_SAIF=0", "-DVERILATOR=1")


def _runtime(cache: Path, compiler: str, include: Path, *, vcd: bool) -> Path:
    """The folder of what every design shares, compiled once for each version: Verilator's own library, as objects, and its headers,
    ``fast.h`` and ``slow.h``, which would take as long to read as most designs. GCC only has these precompiled: clang would refuse what
    has moved since."""
    sources = [include / name for name in RUNTIME + (RUNTIME_VCD if vcd else ())]
    flags = (*COMMON_FLAGS, *_defines(vcd))
    # Not keyed by where Verilator lies: every environment with the same version shares it.
    folder = cache / f"runtime-{_key(str(tools.versions().get('verilator')), compiler, *flags, *tools.FAST_FLAGS, *tools.SLOW_FLAGS)}"
    if not folder.is_dir():
        work = Path(tempfile.mkdtemp(dir=cache, prefix="building-"))
        flags = (*flags, f"-I{include}", f"-I{include / 'vltstd'}")
        _compile(compiler, sources, flags, work)
        for stem in HEADERS:
            header = work / f"{stem}.h"
            header.write_text('#include "verilated.h"\n', encoding="utf-8")
            if tools.is_gcc(compiler):
                tools.run_tool([compiler, *_speed(stem), *flags, "-x", "c++-header", header, "-o", work / f"{stem}.h.gch"],
                               log=work / f"{stem}.log")
        try:
            os.rename(work, folder)
        except OSError:  # another process was quicker
            shutil.rmtree(work)
    return folder


def compile_simulation(directory: str | Path, *, vcd: bool = False, cache: Path | None = None,
                       progress: Callable[[str], None] | None = None) -> SimulationLibrary:
    """The shared library that simulates the accelerator generated in ``directory``.

    Parameters
    ----------
    directory : a folder that ``generate`` has written
    vcd : the library can write waveforms (a few times slower, even when it does not)
    cache : folder of finished libraries, default the user's cache folder
    progress : receives one line before a step that takes seconds

    Raises
    ------
    ToolError
        Verilator or a C++ compiler is missing or fails.
    ManifestError
        ``directory`` holds no manifest, or files that do not match it.
    """
    directory = Path(directory)
    manifest = Manifest.read(directory)
    verilog = manifest.check_verilog(directory)
    flags = (f"-DBUS_BYTES={manifest.config.bus_bytes}", f"-DSTATUS_OFFSET={offset_of('STATUS')}")
    cache = simulation_cache(cache)
    return build_model([directory / VERILOG_NAME], "systolith", HARNESS, cache=cache, key=verilog, flags=flags, vcd=vcd, shared=True,
                       report=progress or (lambda line: None))


def simulation_cache(cache: Path | None) -> Path:
    """The folder of finished simulations, which exists."""
    cache = cache or platformdirs.user_cache_path("systolith") / "simulation"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _evict(cache: Path) -> None:
    """Remove the libraries and programs that were used longest ago, but for :data:`KEPT`. Who runs one that is removed still has it."""
    used: list[tuple[float, Path]] = []
    for path in cache.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            status = path.stat()
            if stat.S_ISREG(status.st_mode) and _LIBRARY.fullmatch(path.name):
                used.append((status.st_mtime, path))
    for _, path in sorted(used, reverse=True)[KEPT:]:
        path.unlink(missing_ok=True)


def build_model(sources: list[Path], top: str, harness: Path, *, cache: Path, key: str, flags: tuple[str, ...] = (), vcd: bool = False,
                include: Path | None = None, options: tuple[str, ...] = (), shared: bool,
                report: Callable[[str], None]) -> SimulationLibrary:
    """Module ``top`` of ``sources`` with a harness in C++ around it, as a shared library or as a program; ``key`` is all their text,
    with that of what the harness includes from folder ``include``; ``options`` are Verilator's."""
    start = time.monotonic()
    root, compiler = tools.verilator_root(), tools.compiler()
    headers = root / "include"
    flags = (*COMMON_FLAGS, *flags, *_defines(vcd))
    options = (*VERILATOR_FLAGS, *options, "--top-module", top, "--prefix", f"V{top}", *(["--trace"] if vcd else []))
    key = _key(key, harness.read_text(encoding="utf-8"), str(tools.versions().get("verilator")), compiler, *options, *flags,
               *tools.FAST_FLAGS, *tools.SLOW_FLAGS)
    library = cache / f"{key}{'.so' if shared else ''}"
    if library.is_file():
        with contextlib.suppress(OSError):  # of another user's cache, all that is lost is when it was used
            os.utime(library)
        return SimulationLibrary(library, time.monotonic() - start, True)
    report("compiling the simulation (once for this configuration)")
    # Kept where a tool fails: its message names a log in it.
    work = Path(tempfile.mkdtemp(dir=cache, prefix="building-"))
    # Verilator recurses over the design, so its stack limit is lifted as its own wrapper script does.
    tools.run_tool([*DEEP_STACK, root / "bin" / "verilator_bin", *options, "--Mdir", work / "model", *(path.resolve() for path in sources)],
                   log=work / "verilator.log", name="verilator", environment={"VERILATOR_ROOT": str(root)})
    runtime = _runtime(cache, compiler, headers, vcd=vcd)
    flags = (*flags, f"-I{headers}", f"-I{headers / 'vltstd'}", f"-I{work / 'model'}", *([f"-I{include}"] if include else []))
    slow, fast = ([source for source in (work / "model").glob("*.cpp") if ("Slow" in source.stem) == is_slow] for is_slow in (True, False))
    units = [*_join([harness, *fast], work, "fast", least=os.cpu_count() or 1), *_join(slow, work, "slow", least=1)]
    objects = [*_compile(compiler, units, flags, work, headers=runtime), *runtime.glob("*.o")]
    built = work / "built"
    tools.run_tool([compiler, *(["-shared"] if shared else []), "-o", built, *objects, "-pthread"], log=work / "link.log")
    os.replace(built, library)
    shutil.rmtree(work)
    _evict(cache)
    return SimulationLibrary(library, time.monotonic() - start, False)
