"""MuseLab iCESugar: the iCEBreaker's part on another board, serial line through its iCELink bridge.

Pins: amaranth-boards 0.0.21, ``icesugar.py``.
"""

from __future__ import annotations

import dataclasses

from . import icebreaker
from .board import Pin

__all__ = ["BOARD"]

BOARD = dataclasses.replace(
    icebreaker.BOARD, name="icesugar", title="MuseLab iCESugar", loader=None,  # by copying the file to its drive
    pins={"oscillator": Pin("35"), "rx": Pin("4"), "tx": Pin("6"), "led": Pin("41", inverted=True)})
