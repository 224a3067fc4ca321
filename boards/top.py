"""The top module of a board: clock, reset, and the serial shell around the accelerator of ``systolith.v``."""

from types import ModuleType

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from ..arch.config import Config
from ..rtl.serial_line import SerialBus
from ..rtl.serial_shell import SerialShell
from . import primitives_ecp5, primitives_gatemate, primitives_gowin, primitives_ice40, primitives_xilinx7
from .board import Board
from .primitives_ecp5_ddr3 import DDR3Clocks

__all__ = ["AcceleratorModule", "BoardTop", "constraints", "project", "soc_parts"]

_PRIMITIVES: dict[str, ModuleType] = {
    "ecp5": primitives_ecp5, "ice40": primitives_ice40, "gowin": primitives_gowin, "gatemate": primitives_gatemate,
    "xilinx7": primitives_xilinx7}


def constraints(board: Board) -> str:
    """The board's constraint file."""
    return _PRIMITIVES[board.family].constraints(board)


def project(board: Board, top: str, verilog: str) -> dict[str, str]:
    """Name and text of what stands beside the file ``verilog`` for other tools than those of ``systolith build``: the vendor's."""
    primitives = _PRIMITIVES[board.family]
    return dict(primitives.project(board, top, verilog)) if hasattr(primitives, "project") else {}


def soc_parts(board: Board, config: Config) -> dict[str, wiring.Component]:
    """What stands in the SoC of ``board``, in its variant, around the accelerator's AXI shell and is not LiteX's, by name: ``clocks``,
    from the oscillator, and ``line``, the serial line as master of the SoC's bus."""
    memory = board.external_memory
    assert memory is not None
    return {
        "clocks": DDR3Clocks(input_mhz=board.oscillator_mhz, output_mhz=board.clock_mhz, sides=memory.sides)
        if memory.standard == "DDR3" else _PRIMITIVES[board.family].PLL(
            input_mhz=board.oscillator_mhz, output_mhz=board.clock_mhz, late_degrees=memory.clock_degrees),
        "line": SerialBus(memory_bytes=memory.bytes, clock_hz=board.clock_hz, baud=board.baud, timeout_s=board.frame_timeout_s,
                          adjustable=config.control.line_rates),
    }


class AcceleratorModule(wiring.Component):
    """Module ``systolith`` of the generated Verilog: the core's ports without ``build_hash``.

    Parameters
    ----------
    signature : of :class:`~systolith.rtl.core.Core`
    """

    def __init__(self, signature: wiring.Signature):
        super().__init__({name: member for name, member in signature.members.items() if name != "build_hash"})

    def elaborate(self, platform):
        m = Module()
        ports = {f"{'i' if member.flow is In else 'o'}_{name}": getattr(self, name) for name, member in self.signature.members.items()}
        m.submodules.systolith = Instance("systolith", i_clk=ClockSignal(), i_rst=ResetSignal(allow_reset_less=True), **ports)
        return m


class BoardTop(wiring.Component):
    """Everything on the part. The clock is the oscillator's where the frequencies are equal, else a PLL's.

    Reset lasts until the PLL has locked; without a PLL, or with one whose clock begins only then (``starts_clean``), the registers'
    initial values are the reset.

    Members
    -------
    oscillator, rx, tx : pins
    led : on while the accelerator's interrupt is, where the board has a lamp
    """

    oscillator: Signal
    rx: Signal
    tx: Signal
    led: Signal

    def __init__(self, *, board: Board, config: Config, accelerator: wiring.Component):
        self.board = board
        self.config = config
        self.accelerator = accelerator
        super().__init__({"oscillator": In(1), "rx": In(1), "tx": Out(1)} | ({"led": Out(1)} if "led" in board.pins else {}))

    def elaborate(self, platform):
        m = Module()
        board = self.board
        if board.clock_mhz == board.oscillator_mhz:
            m.domains.sync = ClockDomain(reset_less=True)
            m.d.comb += ClockSignal().eq(self.oscillator)
        else:
            if not hasattr(_PRIMITIVES[board.family], "PLL"):
                raise ValueError(f"clock_mhz of {board.name} must be its oscillator's {board.oscillator_mhz}, not {board.clock_mhz!r}: "
                                 f"this version has no PLL for {board.family}")
            m.submodules.pll = pll = _PRIMITIVES[board.family].PLL(input_mhz=board.oscillator_mhz, output_mhz=board.clock_mhz)
            m.domains.sync = ClockDomain(reset_less=pll.starts_clean)
            m.d.comb += [pll.reference.eq(self.oscillator), ClockSignal().eq(pll.clock)]
            if not pll.starts_clean:
                m.submodules.reset = ResetSynchronizer(~pll.locked)
        m.submodules.shell = shell = SerialShell(
            config=self.config, core=self.accelerator, memory_bytes=board.memory_bytes, memory_ports=board.memory_ports,
            clock_hz=board.clock_hz, baud=board.baud, timeout_s=board.frame_timeout_s)
        m.d.comb += [shell.rx.eq(self.rx), self.tx.eq(shell.tx)]
        if "led" in board.pins:
            m.d.comb += self.led.eq(shell.irq ^ board.pins["led"].inverted)
        return m
