"""AXI4-Lite to the register port."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.registers import REGISTER_BYTES
from .axi import AXI4Lite, Response
from .csr import CSRPort

__all__ = ["ADDRESS_BITS", "AXILiteRegisters"]

ADDRESS_BITS = 12  # a page, the least that an interconnect hands out


class AXILiteRegisters(wiring.Component):
    """Answers every access: SLVERR where the address is no multiple of 4 or beyond the register map, and for a write that
    strobes some bytes of a word but not all. What is refused reads 0 and changes nothing; a write of no bytes is no error.

    Reads and writes take turns at the register port and wait for nothing else. Address and data of a write may come in any order.
    Latency: 3 cycles from the last of address and data to the response. Throughput: one write and one read in 3 cycles.
    """

    bus: wiring.PureInterface
    csr: wiring.PureInterface

    def __init__(self):
        super().__init__({"bus": In(AXI4Lite(ADDRESS_BITS)), "csr": Out(CSRPort())})

    def elaborate(self, platform):
        m = Module()
        bus, csr = self.bus, self.csr
        write_address, read_address, write_data, strobe = (
            Signal.like(signal, name=f"held_{name}", reset_less=True) for name, signal in
            (("awaddr", bus.awaddr), ("araddr", bus.araddr), ("wdata", bus.wdata), ("wstrb", bus.wstrb)))
        held = {}
        for way, stored in (("aw", [(write_address, bus.awaddr)]), ("w", [(write_data, bus.wdata), (strobe, bus.wstrb)]),
                            ("ar", [(read_address, bus.araddr)])):
            held[way] = Signal(name=f"{way}_held")
            m.d.comb += getattr(bus, f"{way}ready").eq(~held[way])
            with m.If(~held[way]):
                m.d.sync += [held[way].eq(getattr(bus, f"{way}valid")), *(register.eq(signal) for register, signal in stored)]

        # A write takes one cycle at the register port, ``writing``; a read has it otherwise and the data in the next one.
        writing = Signal()
        reading = Signal()
        writable = _exists(write_address) & strobe.all()
        m.d.comb += [
            csr.address.eq(Mux(writing, write_address, read_address)), csr.write_data.eq(write_data), csr.write.eq(writing & writable),
        ]
        m.d.sync += [
            writing.eq(held["aw"] & held["w"] & ~bus.bvalid & ~writing),
            reading.eq(held["ar"] & ~bus.rvalid & ~reading & ~writing),
        ]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(writing):
            m.d.sync += [
                held["aw"].eq(0), held["w"].eq(0), bus.bvalid.eq(1),
                bus.bresp.eq(Mux(writable | (_exists(write_address) & ~strobe.any()), Response.OKAY, Response.SLVERR)),
            ]
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(reading):
            m.d.sync += [
                held["ar"].eq(0), bus.rvalid.eq(1), bus.rdata.eq(Mux(_exists(read_address), csr.read_data, 0)),
                bus.rresp.eq(Mux(_exists(read_address), Response.OKAY, Response.SLVERR)),
            ]
        return m


def _exists(address: Value) -> Value:
    """Whether a word of the register map begins at ``address``."""
    return (address < REGISTER_BYTES) & (address[:2] == 0)
