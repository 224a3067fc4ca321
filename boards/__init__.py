"""The boards that can be targeted, by name, or by the file of one that is not here."""

from __future__ import annotations

import dataclasses
import difflib
import runpy
from pathlib import Path

from . import (
    arty_a7,
    colorlight_5a75b,
    ecpix5,
    gatemate_evb,
    ice40_hx8k,
    icebreaker,
    icesugar,
    icesugar_pro,
    orangecrab,
    pynq_z2,
    tang,
    ulx3s,
    ulx3s_85f,
    versa_ecp5,
)
from .board import Board, Ethernet, ExternalMemory, Pin

__all__ = ["BOARDS", "Board", "BoardError", "Ethernet", "ExternalMemory", "Pin", "get_board"]

BOARDS: dict[str, Board] = {board.name: board for board in (
    *ulx3s.BOARDS, ulx3s_85f.BOARD, *ecpix5.BOARDS, *orangecrab.BOARDS, colorlight_5a75b.BOARD, icesugar_pro.BOARD, versa_ecp5.BOARD,
    icebreaker.BOARD, icesugar.BOARD, ice40_hx8k.BOARD, *tang.BOARDS, gatemate_evb.BOARD, *arty_a7.BOARDS, pynq_z2.BOARD)}


class BoardError(ValueError):
    """A board that is not known, or cannot do what is asked; the message is one line."""


def get_board(name: str) -> Board:
    """The board called ``name``, or defined as ``BOARD`` in the Python file ``name``.

    Raises
    ------
    BoardError
        No such board, with the nearest name; or the file does not define one.
    """
    if name.endswith(".py"):
        return _from_file(Path(name))
    if name in BOARDS:
        return BOARDS[name]
    close = difflib.get_close_matches(name.lower().replace("_", "-"), BOARDS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(BOARDS)}"
    raise BoardError(f"board {name!r} is not known; {hint}")


def _from_file(path: Path) -> Board:
    if not path.is_file():
        raise BoardError(f"board file {str(path)!r} does not exist")
    try:
        board = runpy.run_path(str(path)).get("BOARD")
    except Exception as error:
        raise BoardError(f"board file {str(path)!r} fails: {type(error).__name__}: {' '.join(str(error).split())}") from None
    if not isinstance(board, Board):
        raise BoardError(f"board file {str(path)!r} must define BOARD, a systolith.boards.Board, not {type(board).__name__}")
    return dataclasses.replace(board, source=str(path.resolve()))
