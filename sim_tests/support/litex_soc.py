"""A LiteX SoC without a CPU: UARTBone, LiteEth's Etherbone, LiteDRAM with its model of an SDRAM, and the accelerator:
``python litex_soc.py FOLDER WORK``.

Writes ``WORK/soc.v`` and ``WORK/csr.csv``. Run as a program of its own: LiteX fills global state, and warns of itself.
"""

import sys
from pathlib import Path

from litedram.modules import M12L16161A
from litedram.phy.model import SDRAMPHYModel
from liteeth.phy.model import LiteEthPHYModel
from litex.build.generic_platform import Pins, Subsignal
from litex.build.io import CRG
from litex.build.sim import SimPlatform
from litex.soc.cores.uart import RS232PHYModel, UARTBone
from litex.soc.integration.export import get_csr_csv
from litex.soc.integration.soc_core import SoCCore

CLOCK_HZ = 100_000_000
IO = [
    ("sys_clk", 0, Pins(1)),
    ("sys_rst", 0, Pins(1)),
    ("serial", 0, *(Subsignal(f"{way}_{name}", Pins(width)) for way in ("source", "sink")
                    for name, width in (("valid", 1), ("ready", 1), ("data", 8)))),
    ("eth", 0, *(Subsignal(f"{way}_{name}", Pins(width)) for way in ("source", "sink") for name, width in (("valid", 1), ("data", 8)))),
    ("systolith_irq", 0, Pins(1)),
]


class SoC(SoCCore):
    """Everything that a LiteX user has already, and the accelerator."""

    def __init__(self, folder):
        platform = SimPlatform("SIM", IO)
        SoCCore.__init__(self, platform, CLOCK_HZ, cpu_type=None, with_uart=False, with_timer=False, integrated_sram_size=0, ident="")
        self.crg = CRG(platform.request("sys_clk"), platform.request("sys_rst"))
        self.uartbone = UARTBone(RS232PHYModel(platform.request("serial")), CLOCK_HZ)
        self.bus.add_master(name="uartbone", master=self.uartbone.wishbone)
        self.ethphy = LiteEthPHYModel(platform.request("eth"))
        self.add_etherbone(phy=self.ethphy)
        chip = M12L16161A(CLOCK_HZ, "1:1")
        self.sdrphy = SDRAMPHYModel(module=chip, data_width=32, clk_freq=CLOCK_HZ)
        self.add_sdram("sdram", phy=self.sdrphy, module=chip, l2_cache_size=0, origin=0x4000_0000)

        sys.path.insert(0, str(folder))
        from systolith_litex import Systolith
        self.systolith = Systolith(platform)
        self.systolith.add_to(self, origin=0x8000_0000)
        self.comb += platform.request("systolith_irq").eq(self.systolith.ev.done.trigger)


def main(folder, work):
    soc = SoC(folder)
    soc.finalize()
    soc.platform.get_verilog(soc, name="soc").write(str(work / "soc.v"))
    (work / "csr.csv").write_text(get_csr_csv(soc.csr_regions, soc.constants, soc.mem_regions), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
