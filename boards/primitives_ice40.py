"""Primitives of Lattice's iCE40, and the constraint file of its tools.

Limits: Lattice FPGA-TN-02052, iCE40 sysCLOCK PLL design and usage guide.
"""

from typing import NamedTuple

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .board import Board

__all__ = ["DSP_NS", "MULTIPLIER_MAP", "PLL", "PLLDividers", "constraints", "pll_dividers"]

# nextpnr has no times for SB_MAC16, only placeholders of 0.1 ns: so much longer is the period of a design that uses it.
DSP_NS = 2.0

# For yosys' techmap: the two products of a MultiplierPair by one SB_MAC16 in 8 × 8 mode, which yosys itself never infers, with its
# operand and product registers. The weights' register holds unless they are taken.
MULTIPLIER_MAP = """\
module multiplier_pair (clk, rst, a, w, take, p);
  input clk, rst, take;
  input [7:0] a;
  input [15:0] w;
  output [31:0] p;
  SB_MAC16 #(
    .MODE_8x8(1'b1), .A_SIGNED(1'b1), .B_SIGNED(1'b1), .A_REG(1'b1), .B_REG(1'b1), .TOP_8x8_MULT_REG(1'b1), .BOT_8x8_MULT_REG(1'b1),
    .TOPOUTPUT_SELECT(2'b10), .BOTOUTPUT_SELECT(2'b10)
  ) _TECHMAP_REPLACE_ (
    .CLK(clk), .CE(1'b1), .A({a, a}), .B(w), .C(16'b0), .D(16'b0), .AHOLD(1'b0), .BHOLD(!take), .CHOLD(1'b0), .DHOLD(1'b0),
    .IRSTTOP(1'b0), .IRSTBOT(1'b0), .ORSTTOP(1'b0), .ORSTBOT(1'b0), .OLOADTOP(1'b0), .OLOADBOT(1'b0), .ADDSUBTOP(1'b0), .ADDSUBBOT(1'b0),
    .OHOLDTOP(1'b0), .OHOLDBOT(1'b0), .CI(1'b0), .ACCUMCI(1'b0), .SIGNEXTIN(1'b0), .O(p));
endmodule
"""


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
    # The tools get the period without what they do not know of.
    unknown_ns = DSP_NS if board.resources["dsp"] else 0.0
    lines.append(f"set_frequency oscillator {board.oscillator_mhz / (1 - unknown_ns * 1e-3 * board.clock_mhz):.6g}")
    return "\n".join(lines) + "\n"
