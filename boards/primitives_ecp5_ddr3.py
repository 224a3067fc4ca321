"""What a DDR3 controller on Lattice's ECP5 needs beside its PHY: the clocks, and how they start."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from .primitives_ecp5 import PLL_ALWAYS, PLL_IDLE, pll_dividers

__all__ = ["DDR3Clocks"]


class DDR3Clocks(wiring.Component):
    """Clocks for a DDR3 controller and its pins: ``clock`` at ``output_mhz``, ``fast`` at twice that in the tree of the pins' registers,
    and ``start`` at a sixth of that, by which those registers are started.

    ``clock`` is ``fast`` divided, which begins when the PLL has locked and stands still while ``stop`` is; the divider begins anew at
    ``restart``, which must be while it stands still. Either way it has no short pulse, so that nothing but the pins' registers needs a
    reset: see :class:`~.primitives_ecp5.PLL`. Theirs is ``pins_reset``, from ``restart`` until two cycles after it; ``start_reset`` that
    of what runs by ``start``, until the PLL has locked. (Lattice FPGA-TN-02035, ECP5 high-speed I/O interface: start of DDR memory
    interfaces; FPGA-TN-02200: ECLKSYNCB, CLKDIVF.)

    Parameters
    ----------
    sides : of the part that have such pins
    """

    def __init__(self, *, input_mhz: float, output_mhz: float, sides: int = 1):
        self.input_mhz = input_mhz
        self.output_mhz = output_mhz
        self.sides = sides
        self.dividers = pll_dividers(input_mhz, 2 * output_mhz)
        super().__init__({"reference": In(1), "stop": In(1), "restart": In(1), "clock": Out(1), "fast": Out(1), "start": Out(1),
                          "start_reset": Out(1), "pins_reset": Out(1)})

    def elaborate(self, platform):
        m = Module()
        d = self.dividers
        raw = Signal()
        locked = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=str(self.input_mhz), a_FREQUENCY_PIN_CLKOP=str(2 * self.output_mhz), **PLL_ALWAYS,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_FPHASE=0, p_CLKOP_CPHASE=d.post - 1,
            p_CLKOS_ENABLE="ENABLED", p_CLKOS_FPHASE=0, p_CLKOS_CPHASE=6 * d.post - 1, p_CLKOS_DIV=6 * d.post,
            p_CLKI_DIV=d.reference, p_CLKFB_DIV=d.feedback, p_CLKOP_DIV=d.post, p_FEEDBK_PATH="CLKOP",
            i_CLKI=self.reference, i_CLKFB=raw, o_CLKOP=raw, o_CLKOS=self.start, o_LOCK=locked, **PLL_IDLE)
        tree = raw
        if self.sides > 1:
            tree = Signal()
            # Its other clock stays open: no constant has a way there.
            m.submodules.bridge = Instance("ECLKBRIDGECS", i_CLK0=raw, i_SEL=0, o_ECSOUT=tree)
        m.submodules.gate = Instance("ECLKSYNCB", i_ECLKI=tree, i_STOP=self.stop | ~locked, o_ECLKO=self.fast)
        m.submodules.divider = Instance("CLKDIVF", p_DIV="2.0", i_ALIGNWD=0, i_CLKI=self.fast, i_RST=self.restart, o_CDIVX=self.clock)
        for name, clock, asynchronous, reset in (("start", self.start, ~locked, self.start_reset),
                                                 ("pins", self.clock, ~locked | self.restart, self.pins_reset)):
            m.domains += ClockDomain(name, local=True)
            m.d.comb += [ClockSignal(name).eq(clock), reset.eq(ResetSignal(name))]
            m.submodules[f"{name}_synchronizer"] = ResetSynchronizer(asynchronous, domain=name)
        return m
