"""From a configuration to a folder with an accelerator: Verilog, manifest, C driver, register document, FuseSoC core."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from amaranth.lib import wiring

from .. import __version__
from ..arch.config import Config
from ..arch.manifest import MANIFEST_NAME, VERILOG_NAME, Manifest
from ..boards import BOARDS, Board
from ..boards.board import VARIANTS
from ..boards.top import AcceleratorModule, BoardTop, project
from ..rtl.axi_shell import AXIShell
from ..rtl.core import Core
from . import tools
from .fusesoc import CORE_NAME, core_file
from .header import DRIVER_FILES, c_header, driver_file, register_document
from .soc import SoCFiles, build_soc, soc_packages
from .verilog import emit

__all__ = ["GenerateError", "GenerateResult", "generate", "native_verilog"]


class GenerateError(RuntimeError):
    """The folder cannot take the accelerator; the message is one line."""


class GenerateResult(NamedTuple):
    """What ``generate`` has written: names are relative to ``directory``."""
    directory: Path
    files: list[str]
    seconds: float
    manifest: Manifest


def native_verilog(component: wiring.Component) -> str:
    """Module ``systolith``: the core with its build hash, and the core's other ports."""
    ports = [("input", 1, "clk"), ("input", 1, "rst")]
    for path, member, value in component.signature.flatten(component):
        ports.append(("input" if member.flow == wiring.In else "output", len(value), "__".join(map(str, path))))
    outside = [port for port in ports if port[2] != "build_hash"]
    declared = [f"  {way} {f'[{width - 1}:0] ' if width > 1 else ''}{name}" for way, width, name in outside]
    lines = ["module systolith(", ",\n".join(declared), ");", "  wire [63:0] build_hash;",
             "  systolith_identity identity (.build_hash(build_hash));", "  systolith_core core ("]
    lines += [",\n".join(f"    .{name}({name})" for _, _, name in ports), "  );", "endmodule", ""]
    return "\n".join(lines)


def _identity_verilog(digest: str) -> str:
    return f"module systolith_identity(\n  output [63:0] build_hash\n);\n  assign build_hash = 64'h{digest[:16]};\nendmodule\n"


def _check_directory(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise GenerateError(f"output {str(directory)!r} must be a folder, not a file")
    if directory.is_dir() and any(directory.iterdir()) and not (directory / MANIFEST_NAME).is_file():
        raise GenerateError(f"folder {str(directory)!r} must be empty or hold a generated accelerator; choose another with -o")


def _write(directory: Path, files: dict[str, str]) -> None:
    """All files by renaming, the manifest last: a folder with a manifest is complete."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix=".generating-") as temporary:
            for name, text in files.items():
                (Path(temporary) / name).write_text(text, encoding="utf-8")
            for name in files:
                os.replace(Path(temporary) / name, directory / name)
    except OSError as error:
        raise GenerateError(f"folder {str(directory)!r} cannot be written: {error.strerror}") from None


def _shell_verilog(board: Board | None, config: Config, core: wiring.Component) -> dict[str, tuple[str, str]]:
    """What stands around ``systolith``: use → name of the module and its text."""
    top: wiring.Component
    if config.shell == "axi":
        use, top = "axi", AXIShell(config=config, core=AcceleratorModule(core.signature))
    elif config.shell == "serial" and board is not None:
        use, top = "board", BoardTop(board=board, config=config, accelerator=AcceleratorModule(core.signature))
    else:
        return {}
    return {use: (f"systolith_{use}", emit(top, f"systolith_{use}"))}


def _check_variant(variant: str, config: Config, board: Board | None) -> None:
    if variant not in VARIANTS:
        raise GenerateError(f"variant must be one of {', '.join(map(repr, VARIANTS))}, not {variant!r}")
    if variant == "bare":
        return
    if board is None or variant not in board.variants:
        able = ", ".join(name for name, known in BOARDS.items() if variant in known.variants)
        lacking = f"and {board.name} has none" if board else "with --board"
        raise GenerateError(f"variant {variant!r} needs a board with SDRAM, {lacking}; these have it: {able}")
    if config.shell != "axi":
        raise GenerateError(f"variant {variant!r} must have shell = 'axi', not {config.shell!r}")


def generate(config: Config, directory: str | Path, *, board: Board | None = None, variant: str = "bare") -> GenerateResult:
    """Write the accelerator ``config`` into ``directory``, with a top module where it has a shell: for ``board``, or on AXI; in the
    variant ``litex`` a SoC around the one on AXI, for ``board``.

    The same configuration gives the same Verilog, byte by byte.

    Raises
    ------
    GenerateError
        ``directory`` holds something else, or cannot be written, or the shell needs a board, or the variant another one.
    ToolError
        yosys, or in its variant LiteX, is missing or fails.
    """
    start = time.monotonic()
    directory = Path(directory)
    _check_directory(directory)
    if config.shell == "serial" and board is None:
        raise GenerateError("shell = 'serial' takes clock, baud rate and memory from a board; add --board, or use shell = 'native'")
    if config.shell == "serial" and board is not None and "rx" not in board.pins:
        raise GenerateError(f"shell = 'serial' needs a serial line, which board {board.name} has not; use shell = 'axi'")
    _check_variant(variant, config, board)
    core = Core(config)
    shell = _shell_verilog(board, config, core)
    soc: SoCFiles | None = None
    if variant == "litex":
        assert board is not None
        soc = build_soc(config, board.in_variant(variant))
        shell["board"] = soc.top, soc.verilog
    tops = {"core": "systolith", **{use: name for use, (name, _) in shell.items()}}
    text = "\n".join([emit(core, "systolith_core"), native_verilog(core), *(verilog for _, verilog in shell.values())])
    digest = hashlib.sha256(text.encode()).hexdigest()
    memory_bytes = soc.memory_bytes if soc else board.memory_bytes if board else 0
    manifest = Manifest(config=config, hash=digest, board=board.reference if board else None, version=__version__, tops=tops,
                        memory_bytes=memory_bytes, tools=tools.versions(*(soc_packages(board) if soc and board else ())),
                        soc=soc.description if soc else None)
    files = {VERILOG_NAME: f"{text}\n{_identity_verilog(digest)}", "systolith.h": c_header(manifest),
             **{name: driver_file(name) for name in DRIVER_FILES},
             **(project(board, tops.get("board", tops.get("axi", "systolith")), VERILOG_NAME) if board else {}),
             **({"csr.csv": soc.csr_csv} if soc else {}),
             "REGISTERS.md": register_document(manifest), CORE_NAME: core_file(manifest)}
    digests = {name: hashlib.sha256(content.encode()).hexdigest() for name, content in files.items()}
    manifest = dataclasses.replace(manifest, files=digests)
    files[MANIFEST_NAME] = manifest.to_json()
    _write(directory, files)
    return GenerateResult(directory, list(files), time.monotonic() - start, manifest)
