"""The pages of ``make bench`` about arrays alone: what a multiplier costs, how fast it is, and what its place does to that."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..boards import get_board
from ..gen.fabric import Fabric, measure_array, measure_floorplan
from . import console

__all__ = ["fabric_page", "floorplan_page"]


class Variant(NamedTuple):
    """An array: ``dsp_cols`` None is all columns in DSP blocks."""

    title: str
    multiplier: str
    rows: int = 8
    cols: int = 8
    dsp_cols: int | None = None
    side_dsp: bool = False
    pinned: bool = False
    weight_bits: int = 8


class Part(NamedTuple):
    """A board's part, what is measured on it, and which of its times the tools do not know."""

    board: str
    variants: Sequence[Variant]
    remark: str


_PARTS = [
    Part("ulx3s-85f", [
        *(Variant(f"{kind}{', pinned' if pinned else ''}", kind, pinned=pinned)
          for kind in ("single", "fast-inner-product", "packed") for pinned in (False, True)),
        Variant("fast-inner-product, side_dsp, pinned", "fast-inner-product", side_dsp=True, pinned=True),
        Variant("lut", "single", dsp_cols=0), Variant("fast-inner-product, no DSP blocks", "fast-inner-product", dsp_cols=0),
        Variant("fast-inner-product, int4 weights", "fast-inner-product", weight_bits=4),
        Variant("lut, int4 weights", "single", dsp_cols=0, weight_bits=4)],
        "nextpnr does not time the multiply between a DSP block's own registers, which fast-inner-product has at both operands and the "
        "product: such clocks are the least of nextpnr's and 258 MHz, the block's clock-to-output. In single and packed one operand comes "
        "from the fabric, and the path through the block is timed. Pinned: DSP blocks in the order of the array (`gen/placement.py`)."),
    Part("icebreaker", [
        Variant("single", "single", rows=4, cols=2), Variant("fast-inner-product", "fast-inner-product", rows=4, cols=4),
        Variant("lut", "single", rows=4, cols=4, dsp_cols=0)],
        "nextpnr has placeholders of 0.1 ns for SB_MAC16, so 2 ns are added to the period of what uses it. What fits 8 multipliers of "
        "16 × 16: packed needs an operand of 18 bits."),
    Part("tang-primer-20k", [
        *(Variant(kind, kind) for kind in ("single", "fast-inner-product", "packed")), Variant("lut", "single", dsp_cols=0)],
        "Synthesis only: nextpnr does not time Gowin's multipliers, and a clock without them means nothing. DSP blocks are multipliers of "
        "9 × 9 bits; packed takes two of them, one of 18 × 18."),
]
_COLUMNS = ["multiplier", "array", "DSP blocks", "MACs per DSP", "LUT-eq per MAC", "FF per MAC", "credible MHz", "bound by", "GOPS"]


def _row(variant: Variant, fabric: Fabric) -> list[str]:
    macs = variant.rows * variant.cols
    clock = [f"{fabric.fmax.mhz:.0f}", fabric.fmax.limited_by, f"{2e-3 * macs * fabric.fmax.mhz:.1f}"] if fabric.fmax else ["–"] * 3
    return [variant.title, f"{variant.rows} × {variant.cols}", str(fabric.dsp), f"{macs / fabric.dsp:.3g}" if fabric.dsp else "–",
            f"{fabric.lut / macs:.1f}", f"{fabric.ff / macs:.1f}", *clock]


def fabric_page(seed: int, made_by: str) -> list[str]:
    """Markdown lines: an array on a part of each family by kind of multiplier; on ECP5 placed by nextpnr and pinned."""
    lines = ["# The array alone", "", made_by,
             f"int8 unless it says int4, a register at every input and output, seed {seed}. Areas are those of what goes to place "
             "and route, without the harness's; a carry cell of ECP5 counts two LUTs, and nextpnr adds none. All that makes "
             "the product exact is included: of fast-inner-product the term of activations, made of LUTs, or with side_dsp of one DSP "
             "block per two rows, and the feet; of packed the feet. Their shares shrink as arrays grow.", ""]
    for part in _PARTS:
        board = get_board(part.board)
        lines += [f"## {board.device}{f', speed -{board.speed}' if board.speed else ''}", "", part.remark, "",
                  "| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
        for variant in part.variants:
            console.progress(f"{board.device}: {variant.title}")
            with tempfile.TemporaryDirectory(prefix="systolith-") as directory:
                fabric = measure_array(board, Path(directory), rows=variant.rows, cols=variant.cols, multiplier=variant.multiplier,
                                       dsp_cols=variant.dsp_cols, side_dsp=variant.side_dsp,
                                       weight_bits=variant.weight_bits, pinned=variant.pinned, seed=seed)
            lines.append("| " + " | ".join(_row(variant, fabric)) + " |")
        lines.append("")
    return lines


def floorplan_page(seed: int, made_by: str) -> list[str]:
    """Markdown lines: the ULX3S-85F's array with one multiplier per element, five seeds with and without the floorplan."""
    board, rows, cols = get_board("ulx3s-85f"), 12, 12
    lines = ["# The floorplan", "", made_by,
             f"One netlist of an array of {rows} × {cols} `single` on an {board.device}, speed -{board.speed}, a register at every input "
             "and output. Credible clocks in MHz: as nextpnr places it, and with the DSP blocks in the order of the array "
             "(`gen/placement.py`).", "",
             "| seed | nextpnr's places | in order | bound by, in order |", "|---|---|---|---|"]
    clocks = []
    with tempfile.TemporaryDirectory(prefix="systolith-") as directory:
        for each, placed, pinned in measure_floorplan(board, Path(directory), rows=rows, cols=cols, multiplier="single", block_rows=4,
                                                      seeds=range(seed, seed + 5)):
            console.progress(f"seed {each}: {placed.mhz:.1f} and {pinned.mhz:.1f} MHz")
            clocks.append((placed.mhz, pinned.mhz))
            lines.append(f"| {each} | {placed.mhz:.1f} | {pinned.mhz:.1f} | {pinned.limited_by} |")
    medians = [statistics.median(run) for run in zip(*clocks, strict=True)]
    return [*lines, f"| median | {medians[0]:.1f} | {medians[1]:.1f} | ratio {medians[1] / medians[0]:.2f} |", ""]
