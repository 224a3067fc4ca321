"""The accelerator in this folder as a LiteX peripheral: registers on the SoC's bus, memory in LiteDRAM, one interrupt.

    from systolith_litex import Systolith

    self.systolith = Systolith(platform)
    self.systolith.add_to(self)  # after add_sdram

For LiteX 2024.12. Needs nothing of the generator: this file, manifest.json and systolith.v are enough.
"""

import json
import pathlib

from litedram.frontend.axi import LiteDRAMAXI2Native
from litex.gen import LiteXModule
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect import axi
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceLevel
from migen import ClockSignal, Instance, ResetSignal

REGISTER_BYTES = 0x1000


class Systolith(LiteXModule):
    """``systolith_axi`` with LiteX's interfaces.

    Parameters
    ----------
    platform : gets the Verilog
    directory : the generated folder, default the one that holds this file
    clock_domain : of the accelerator and its buses

    Attributes
    ----------
    registers : AXI-Lite, for a bus on which it is a slave
    memory : AXI4 master; address 0 is wherever its user connects it
    ev.done : interrupt source, level; the accelerator's IRQ_ENABLE and CLEAR_IRQ govern it
    """

    def __init__(self, platform, directory=None, clock_domain="sys"):
        directory = pathlib.Path(directory or pathlib.Path(__file__).parent)
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        if "axi" not in manifest["tops"]:
            raise ValueError(f"{directory} must be generated with shell = 'axi'")
        memory = manifest["config"]["memory"]
        self.registers = registers = axi.AXILiteInterface(data_width=32, address_width=32, clock_domain=clock_domain)
        self.memory = master = axi.AXIInterface(data_width=memory["bus_bits"], address_width=memory["address_bits"], id_width=1,
                                                clock_domain=clock_domain)
        self.ev = EventManager()
        self.ev.done = EventSourceLevel()
        self.ev.finalize()

        platform.add_source(str(directory / "systolith.v"))
        ports = {"i_aclk": ClockSignal(clock_domain), "i_aresetn": ~ResetSignal(clock_domain), "o_irq": self.ev.done.trigger}
        for channel, fields in (("aw", ("addr", "prot")), ("w", ("data", "strb")), ("ar", ("addr", "prot"))):
            ports |= _channel("s_axil", registers, channel, fields, "i", "o")
        for channel, fields in (("b", ("resp",)), ("r", ("data", "resp"))):
            ports |= _channel("s_axil", registers, channel, fields, "o", "i")
        request = ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos")
        for channel, fields in (("aw", request), ("w", ("data", "strb", "last")), ("ar", request)):
            ports |= _channel("m_axi", master, channel, fields, "o", "i")
        for channel, fields in (("b", ("id", "resp")), ("r", ("id", "data", "resp", "last"))):
            ports |= _channel("m_axi", master, channel, fields, "i", "o")
        self.specials += Instance("systolith_axi", **ports)

    def add_to(self, soc, name="systolith", origin=None):
        """Put the registers on the bus of ``soc`` and the memory into its SDRAM, whose first byte is the accelerator's address 0.

        ``origin`` is the registers' address; LiteX chooses one where it is left out, which a SoC without a CPU must not do.

        The SDRAM's L2 cache, where there is one, does not see what the accelerator writes: use ``l2_cache_size=0`` or flush it.
        """
        soc.bus.add_slave(name, self.registers, SoCRegion(origin=origin, size=REGISTER_BYTES, cached=False))
        port = soc.sdram.crossbar.get_port(data_width=self.memory.data_width)
        self.dram = LiteDRAMAXI2Native(self.memory, port)
        if soc.irq.enabled:
            soc.irq.add(name, use_loc_if_exists=True)


def _channel(prefix, bus, channel, fields, forward, back):
    """Connections of one channel: ``forward`` is the direction of its payload, seen from the accelerator."""
    endpoint = getattr(bus, channel)
    ports = {f"{forward}_{prefix}_{channel}valid": endpoint.valid, f"{back}_{prefix}_{channel}ready": endpoint.ready}
    return ports | {f"{forward}_{prefix}_{channel}{field}": getattr(endpoint, field) for field in fields}
