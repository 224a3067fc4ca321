"""Cologne Chip's GateMate: constraints. The clock is the oscillator's: no PLL is used."""

from .board import Board

__all__ = ["constraints"]


def constraints(board: Board) -> str:
    """The board's pins as Cologne Chip's tools and nextpnr-himbaechel read them (CCF)."""
    lines = [" | ".join([f'NET "{port}" Loc = "{pin.site}"', *(f"{name}={value}" for name, value in pin.attributes.items())]) + ";"
             for port, pin in board.pins.items()]
    return "\n".join(lines) + "\n"
