"""The boards that can be targeted, by name."""

from __future__ import annotations

import difflib

from . import icebreaker, ulx3s_85f
from .board import Board, Pin

__all__ = ["BOARDS", "Board", "BoardError", "Pin", "get_board"]

BOARDS: dict[str, Board] = {module.BOARD.name: module.BOARD for module in (ulx3s_85f, icebreaker)}


class BoardError(ValueError):
    """A board that is not known, or cannot do what is asked; the message is one line."""


def get_board(name: str) -> Board:
    """The board called ``name``. Raises :class:`BoardError`, which suggests the nearest name."""
    if name in BOARDS:
        return BOARDS[name]
    close = difflib.get_close_matches(name.lower().replace("_", "-"), BOARDS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(BOARDS)}"
    raise BoardError(f"board {name!r} is not known; {hint}")
