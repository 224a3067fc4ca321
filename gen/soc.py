"""A board's LiteX variant: the SoC that :mod:`.litex_soc` describes, and what stands in it beside LiteX's own."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..arch.config import Config
from ..arch.manifest import MANIFEST_NAME, Manifest
from ..boards import Board
from ..boards.top import soc_parts
from . import tools
from .header import driver_file
from .verilog import emit

__all__ = ["PHY_MODEL_MACRO", "SOC_TOP", "SoCFiles", "build_soc", "soc_packages"]

SOC_TOP = "systolith_board"
WRAPPER = "systolith_litex.py"
PHY_MODEL_MACRO = "SYSTOLITH_PHY_MODEL"  # defined where a simulation brings its own module systolith_phy


class SoCFiles(NamedTuple):
    """``verilog`` of the module ``top`` and of its parts but the accelerator; ``description`` for the manifest; LiteX's ``csr_csv``,
    without its first lines, which say when."""

    top: str
    verilog: str
    description: Mapping[str, Any]
    csr_csv: str
    memory_bytes: int


def soc_packages(board: Board) -> tuple[str, ...]:
    """Those that make the SoC for ``board``."""
    return ("litex", "litedram", *(("liteeth",) if board.ethernet else ()))


def build_soc(config: Config, board: Board) -> SoCFiles:
    """The SoC for ``board``, whose accelerator has ``config``.

    Raises
    ------
    ToolError
        LiteX, LiteDRAM or LiteEth is missing or fails.
    """
    for package in soc_packages(board):
        if importlib.util.find_spec(package) is None:
            raise tools.ToolError(f"{package} is not installed; run: pip install 'systolith[litex]'")
    assert board.external_memory is not None
    parts = [emit(part, f"systolith_{name}") for name, part in soc_parts(board, config).items()]
    # Kept where LiteX fails: its message names a log in it.
    folder = Path(tempfile.mkdtemp(prefix="systolith-litex-"))
    manifest = Manifest(config=config, board=board.reference, tops={"axi": "systolith_axi"})
    (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    (folder / WRAPPER).write_text(driver_file(WRAPPER), encoding="utf-8")
    tools.run_tool([sys.executable, "-P", "-m", f"{__package__}.litex_soc", folder], log=folder / "litex.log", name="LiteX")
    soc, csr_csv, description = ((folder / name).read_text(encoding="utf-8") for name in ("soc.v", "csr.csv", "soc.json"))
    shutil.rmtree(folder)
    return SoCFiles(SOC_TOP, "\n".join([*parts, soc]), json.loads(description),
                    "".join(line for line in csr_csv.splitlines(keepends=True) if not line.startswith("#")), board.external_memory.bytes)
