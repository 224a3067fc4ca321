"""AMD's 7 series and Zynq-7000: a clock, constraints and a Vivado project. Bitstream and timing are Vivado's.

Limits: AMD UG472, 7 series clocking resources, and DS181: oscillator of an MMCM at 600 … 1200 MHz at speed grade -1.
"""

from typing import NamedTuple

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .board import Board

__all__ = ["PLL", "PLLDividers", "constraints", "pll_dividers", "project"]


class PLLDividers(NamedTuple):
    """The oscillator runs at input × feedback; output = oscillator ÷ output divider."""
    feedback: int
    output: int


def pll_dividers(input_mhz: float, output_mhz: float) -> PLLDividers:
    """Whole dividers that give ``output_mhz`` exactly, with the oscillator at 600 … 1200 MHz.

    Raises
    ------
    ValueError
        No dividers give that frequency.
    """
    for feedback in range(2, 65):
        oscillator = input_mhz * feedback
        output = round(oscillator / output_mhz)
        if 600 <= oscillator <= 1200 and 1 <= output <= 128 and abs(oscillator / output - output_mhz) < 1e-6:
            return PLLDividers(feedback, output)
    raise ValueError(f"clock_mhz must be a frequency that an MMCM makes from {input_mhz} MHz with whole dividers, not {output_mhz!r}")


class PLL(wiring.Component):
    """MMCME2_BASE with its feedback inside: ``clock`` at ``output_mhz``, on a global buffer."""

    starts_clean = False

    def __init__(self, *, input_mhz: float, output_mhz: float):
        self.input_mhz = input_mhz
        self.output_mhz = output_mhz
        self.dividers = pll_dividers(input_mhz, output_mhz)
        super().__init__({"reference": In(1), "clock": Out(1), "locked": Out(1)})

    def elaborate(self, platform):
        m = Module()
        feedback, raw = Signal(), Signal()
        m.submodules.mmcm = Instance(
            "MMCME2_BASE", p_CLKIN1_PERIOD=1e3 / self.input_mhz, p_CLKFBOUT_MULT_F=float(self.dividers.feedback),
            p_CLKOUT0_DIVIDE_F=float(self.dividers.output), p_DIVCLK_DIVIDE=1, i_CLKIN1=self.reference, i_CLKFBIN=feedback,
            o_CLKFBOUT=feedback, o_CLKOUT0=raw, o_LOCKED=self.locked, i_PWRDWN=0, i_RST=0)
        m.submodules.buffer = Instance("BUFG", i_I=raw, o_O=self.clock)
        return m


def constraints(board: Board) -> str:
    """The board's pins and oscillator as Vivado reads them (XDC)."""
    lines = [f"set_property -dict {{PACKAGE_PIN {pin.site} {' '.join(f'{name} {value}' for name, value in pin.attributes.items())}}} "
             f"[get_ports {port}]" for port, pin in board.pins.items()]
    if "oscillator" in board.pins:
        lines.append(f"create_clock -period {1e3 / board.oscillator_mhz:.3f} [get_ports oscillator]")
    return "\n".join(lines) + "\n"


# A Zynq's processing system, the accelerator as a module, and the two bus connections; Vivado's automation does the rest.
_ZYNQ = """\
create_bd_design design
create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7 ps
apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 -config {{make_external "FIXED_IO, DDR"}} [get_bd_cells ps]
set_property -dict [list CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ {{{clock}}} CONFIG.PCW_USE_S_AXI_HP0 {{1}} CONFIG.PCW_USE_FABRIC_INTERRUPT \
{{1}} CONFIG.PCW_IRQ_F2P_INTR {{1}}] [get_bd_cells ps]
create_bd_cell -type module -reference {top} accelerator
apply_bd_automation -rule xilinx.com:bd_rule:axi4 -config {{Master "/ps/M_AXI_GP0"}} [get_bd_intf_pins accelerator/s_axil]
apply_bd_automation -rule xilinx.com:bd_rule:axi4 -config {{Slave "/ps/S_AXI_HP0"}} [get_bd_intf_pins accelerator/m_axi]
connect_bd_net [get_bd_pins accelerator/irq] [get_bd_pins ps/IRQ_F2P]
validate_bd_design
make_wrapper -files [get_files design.bd] -top -import
set_property top design_wrapper [current_fileset]
"""


def project(board: Board, top: str, verilog: str) -> dict[str, str]:
    """What stands beside the Verilog: constraints and a script for Vivado."""
    zynq = board.link == "axi"
    design = _ZYNQ.format(clock=f"{board.clock_mhz:g}", top=top) if zynq else f"set_property top {top} [current_fileset]\n"
    script = "\n".join([
        f"# {board.title}: run  vivado -mode batch -source vivado.tcl ; not tried on a board",
        f"create_project -force vivado vivado -part {board.device}",
        f"add_files {verilog}", *([] if zynq else ["add_files -fileset constrs_1 board.xdc"]), design.rstrip(),
        "launch_runs impl_1 -to_step write_bitstream -jobs 4", "wait_on_run impl_1", "open_run impl_1",
        "report_timing_summary -file timing.txt", "report_utilization -file utilisation.txt", ""])
    return {"vivado.tcl": script} | ({} if zynq else {"board.xdc": constraints(board)})
