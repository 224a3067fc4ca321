"""Rows of a tall array that are one module."""

from typing import Any

from amaranth import *
from amaranth.lib import wiring

from .shared import shared

__all__ = ["RowBlock", "blocks", "rows_of"]

_BLOCK_ROWS = 16
_TALL_ROWS = 33  # and more; of lower arrays every row is seen in the Verilog as it lies on the part


def blocks(rows: int, *, crossed: bool = False) -> list[range]:
    """The rows that are one module each: of a tall array many, or else one, as where crossings lie between some (``crossed``)."""
    step = _BLOCK_ROWS if rows >= _TALL_ROWS and not crossed else 1
    return [range(first, min(first + step, rows)) for first in range(0, rows, step)]


def rows_of(m: Module, platform: object, row: type[wiring.Component], block: range, **parameters: Any) -> wiring.Component:
    """A submodule of ``m`` for the rows ``block``: one of class ``row``, or a :class:`RowBlock` of them."""
    if len(block) == 1:
        m.submodules[f"row_{block[0]}"] = one = shared(row, platform, **parameters)
        return one
    m.submodules[f"rows_{block[0]}"] = many = shared(RowBlock, platform, row=row, count=len(block), **parameters)
    return many


class RowBlock(wiring.Component):
    """``count`` rows below each other. Latency: a row's, for each.

    Between the rows of 256 × 256 there are two million wires, and Amaranth looks at each: minutes. Between blocks there are few, and
    those in a block are looked at once.

    Parameters
    ----------
    row : the class of a row; its ``ports`` are the members, and its ``common`` names those that all rows are given alike
    count : rows, from 1
    parameters : a row's

    Members
    -------
    Those of a row. What comes down is ``…_in`` of the first row and ``…_out`` of the last one; what enters or leaves at the side is
    ``count`` times as wide, the first row lowest.
    """

    def __init__(self, *, row: type[wiring.Component], count: int, **parameters: Any):
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        self.row = row
        self.count = count
        self.parameters = parameters
        members = row.ports(**parameters)
        self._down = [name.removesuffix("_in") for name in members if name.endswith("_in")]
        self._beside = {name: Shape.cast(member.shape).width for name, member in members.items()
                        if not name.endswith(("_in", "_out")) and name not in row.common}
        self._flows = {name: members[name].flow for name in self._beside}
        super().__init__(members | {name: self._flows[name](count * width) for name, width in self._beside.items()})

    def elaborate(self, platform):
        m = Module()
        down = {name: getattr(self, f"{name}_in") for name in self._down}
        for r in range(self.count):
            m.submodules[f"row_{r}"] = row = shared(self.row, platform, **self.parameters)
            m.d.comb += [getattr(row, name).eq(getattr(self, name)) for name in self.row.common]
            m.d.comb += [getattr(row, f"{name}_in").eq(value) for name, value in down.items()]
            down = {name: getattr(row, f"{name}_out") for name in self._down}
            for name, width in self._beside.items():
                part = getattr(self, name)[r * width:(r + 1) * width]
                m.d.comb += getattr(row, name).eq(part) if self._flows[name] == wiring.In else part.eq(getattr(row, name))
        m.d.comb += [getattr(self, f"{name}_out").eq(value) for name, value in down.items()]
        return m
