"""The accelerator behind AXI: registers on AXI4-Lite, memory on AXI4."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import Config
from .axi import AXI4Lite, AXI4Read, AXI4Write
from .axi_lite import ADDRESS_BITS, AXILiteRegisters
from .axi_master import AXIReader, AXIWriter
from .core import flat_members

__all__ = ["AXIShell"]


class AXIShell(wiring.Component):
    """The accelerator with the ports that interconnects and tools know. All leave from registers.

    A program's bursts are at most 64 words long, aligned so that none crosses 4 kB, of whole bus words, with one ID. Writes strobe
    exactly the bytes that they mean. ABORT and RESET (the register) let every burst end; ``aresetn`` does not, and must reset the
    interconnect too.

    Parameters
    ----------
    config : the accelerator's configuration
    core : component with the ports of :class:`~systolith.rtl.core.Core`; ``build_hash``, if it has it, is left to others

    Members
    -------
    aclk, aresetn : clock, and reset, active low and synchronous
    s_axil_* : :class:`AXI4Lite`, the registers
    m_axi_* : :class:`AXI4Read` and :class:`AXI4Write`, the memory
    irq : level
    """

    aclk: Signal
    aresetn: Signal
    irq: Signal

    def __init__(self, *, config: Config, core: wiring.Component):
        self.config = config
        self.core = core
        memory = config.memory
        self._lite = AXI4Lite(ADDRESS_BITS)
        self._read = AXI4Read(memory.address_bits, memory.bus_bits)
        self._write = AXI4Write(memory.address_bits, memory.bus_bits)
        super().__init__({
            "aclk": In(1), "aresetn": In(1), "irq": Out(1),
            **_flat("s_axil", self._lite.flip()), **_flat("m_axi", self._write), **_flat("m_axi", self._read),
        })

    def elaborate(self, platform):
        m = Module()
        memory = self.config.memory
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal().eq(self.aclk), ResetSignal().eq(~self.aresetn)]
        m.submodules.core = core = self.core
        m.submodules.registers = registers = AXILiteRegisters()
        m.submodules.reader = reader = AXIReader(address_bits=memory.address_bits, bus_bits=memory.bus_bits)
        m.submodules.writer = writer = AXIWriter(address_bits=memory.address_bits, bus_bits=memory.bus_bits)
        csr = registers.csr
        m.d.comb += [
            core.csr_address.eq(csr.address), core.csr_write.eq(csr.write), core.csr_write_data.eq(csr.write_data),
            csr.read_data.eq(core.csr_read_data), self.irq.eq(core.irq),
        ]
        for way, port in ("read", reader.port), ("write", writer.port):
            for name, flow, signal in flat_members(way, port):
                m.d.comb += getattr(core, name).eq(signal) if flow is Out else signal.eq(getattr(core, name))
        for prefix, bus, signature in (("s_axil", registers.bus, self._lite.flip()), ("m_axi", writer.bus, self._write),
                                       ("m_axi", reader.bus, self._read)):
            for name, member in signature.members.items():
                outside, inside = getattr(self, f"{prefix}_{name}"), getattr(bus, name)
                m.d.comb += outside.eq(inside) if member.flow is Out else inside.eq(outside)
        return m


def _flat(prefix: str, signature: wiring.Signature) -> dict[str, wiring.Member]:
    return {f"{prefix}_{name}": member for name, member in signature.members.items()}
