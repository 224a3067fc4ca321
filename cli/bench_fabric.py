"""The page of ``make bench`` about arrays alone: what a multiplier costs and how fast it is."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..boards import get_board
from ..gen.fabric import Fabric, measure_array
from . import console

__all__ = ["fabric_page"]

_SIZE = 8
_VARIANTS = [(multiplier, pinned) for multiplier in ("single", "fast-inner-product") for pinned in (False, True)]
_COLUMNS = ["multiplier", "DSP blocks", "MACs per DSP", "LUT-eq per MAC", "FF per MAC", "credible MHz", "bound by", "GOPS"]


def _row(name: str, fabric: Fabric) -> list[str]:
    macs = _SIZE * _SIZE
    return [name, str(fabric.dsp), f"{macs / fabric.dsp:g}", f"{fabric.lut / macs:.1f}", f"{fabric.ff / macs:.1f}",
            f"{fabric.fmax.mhz:.0f}", fabric.fmax.limited_by, f"{2e-3 * macs * fabric.fmax.mhz:.1f}"]


def fabric_page(seed: int, made_by: str) -> list[str]:
    """Markdown lines: an 8 × 8 array on the ULX3S's part by kind of multiplier, placed by nextpnr and pinned."""
    board = get_board("ulx3s-85f")
    rows = []
    for multiplier, pinned in _VARIANTS:
        name = f"{multiplier}{', pinned' if pinned else ''}"
        console.progress(f"8 × 8, {name}")
        with tempfile.TemporaryDirectory(prefix="systolith-") as directory:
            rows.append(_row(name, measure_array(
                board, Path(directory), rows=_SIZE, cols=_SIZE, multiplier=multiplier, block_rows=4, pinned=pinned, seed=seed)))
    return ["# The array alone", "", made_by, f"{_SIZE} × {_SIZE} int8, a register at every input and output, on {board.device} at speed "
            f"-{board.speed}, seed {seed}; areas are those of yosys without the harness's, a carry cell counts two LUTs. All that makes "
            "the product exact is included: of fast-inner-product the terms of activations and weights too, which are made of LUTs and "
            "whose share shrinks with the array.",
            "Clocks: the least of nextpnr's and 258 MHz, because nextpnr does not time the multiply between a DSP block's registers.", "",
            "| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS), *("| " + " | ".join(row) + " |" for row in rows), ""]
