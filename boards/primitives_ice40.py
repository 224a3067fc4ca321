"""Primitives of Lattice's iCE40, and the constraint file of its tools.

Limits: Lattice FPGA-TN-02052, iCE40 sysCLOCK PLL design and usage guide.
"""

from typing import NamedTuple

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .board import Board

__all__ = ["PLL", "PLLDividers", "constraints", "pll_dividers"]


class PLLDividers(NamedTuple):
    """output = input × (feedback + 1) ÷ ((reference + 1) × 2 ** post); ``filter`` goes with the frequency compared."""
    reference: int
    feedback: int
    post: int
    filter: int


def pll_dividers(input_mhz: float, output_mhz: float) -> PLLDividers:
    """Dividers that give ``output_mhz`` exactly: comparison at 10 … 133 MHz, oscillator at 533 … 1066 MHz.

    Raises
    ------
    ValueError
        No dividers give that frequency.
    """
    for reference in range(16):
        compared = input_mhz / (reference + 1)
        for post in range(1, 7):
            feedback = round(output_mhz * 2 ** post / compared) - 1
            if (10 <= compared <= 133 and 0 <= feedback <= 127 and 533 <= compared * (feedback + 1) <= 1066
                    and abs(compared * (feedback + 1) / 2 ** post - output_mhz) < 1e-6):
                bounds = (17, 26, 44, 66, 101)
                return PLLDividers(reference, feedback, post, 1 + sum(compared >= bound for bound in bounds))
    raise ValueError(f"clock_mhz must be a frequency that an iCE40 PLL makes from {input_mhz} MHz, not {output_mhz!r}")


class PLL(wiring.Component):
    """SB_PLL40_PAD: ``clock`` at ``output_mhz``; ``reference`` must be the pin next to the PLL."""

    starts_clean = False

    def __init__(self, *, input_mhz: float, output_mhz: float):
        self.input_mhz = input_mhz
        self.output_mhz = output_mhz
        self.dividers = pll_dividers(input_mhz, output_mhz)
        super().__init__({"reference": In(1), "clock": Out(1), "locked": Out(1)})

    def elaborate(self, platform):
        m = Module()
        d = self.dividers
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE", p_PLLOUT_SELECT="GENCLK",
            p_DIVR=Const(d.reference, 4), p_DIVF=Const(d.feedback, 7), p_DIVQ=Const(d.post, 3), p_FILTER_RANGE=Const(d.filter, 3),
            i_PACKAGEPIN=self.reference, o_PLLOUTGLOBAL=self.clock, o_LOCK=self.locked, i_RESETB=1, i_BYPASS=0,
        )
        return m


def constraints(board: Board) -> str:
    """The board's pins and oscillator as nextpnr-ice40 reads them (PCF)."""
    lines = [f"set_io {port} {pin.site}" for port, pin in board.pins.items()]
    lines.append(f"set_frequency oscillator {board.oscillator_mhz}")
    return "\n".join(lines) + "\n"
