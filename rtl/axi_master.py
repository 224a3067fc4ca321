"""Memory ports to AXI4: the two managers of the accelerator, one that reads and one that writes, independent of each other."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .axi import AXI4Read, AXI4Write
from .axi_slice import RegisterSlice
from .interfaces import BurstRequest, ReadPort, WritePort

__all__ = ["AXIReader", "AXIWriter"]

_INCREMENTING = 1
_NORMAL_BUFFERABLE = 0b0011  # AxCACHE: an interconnect may merge, split and buffer; nothing is looked up in a cache


def _address_channel(m: Module, bus: wiring.PureInterface, way: str, request: wiring.PureInterface, bus_bits: int, *, light: bool) -> None:
    """Offers the bursts of ``request`` on channel ``way``: whole bus words, one ID, so that all answers come in order."""
    slice = RegisterSlice(BurstRequest(len(request.payload.address)), light=light)
    m.submodules[f"{way}_slice"] = slice
    wiring.connect(m, wiring.flipped(request), slice.i)
    m.d.comb += [
        getattr(bus, f"{way}valid").eq(slice.o.valid), slice.o.ready.eq(getattr(bus, f"{way}ready")),
        getattr(bus, f"{way}addr").eq(slice.o.payload.address), getattr(bus, f"{way}len").eq(slice.o.payload.beats),
        getattr(bus, f"{way}size").eq(exact_log2(bus_bits // 8)), getattr(bus, f"{way}burst").eq(_INCREMENTING),
        getattr(bus, f"{way}cache").eq(_NORMAL_BUFFERABLE),
    ]


class AXIReader(wiring.Component):
    """A :class:`ReadPort` on channels AR and R. SLVERR and DECERR are the port's error.

    Bursts go out as they come: whoever asks sees to it that none crosses 4 kB. Latency: 1 cycle each way. Throughput: one burst
    and one word per cycle.

    Parameters
    ----------
    address_bits, bus_bits : of the port and of the bus
    """

    port: wiring.PureInterface
    bus: wiring.PureInterface

    def __init__(self, *, address_bits: int, bus_bits: int):
        self.address_bits = address_bits
        self.bus_bits = bus_bits
        super().__init__({"port": In(ReadPort(address_bits, bus_bits)), "bus": Out(AXI4Read(address_bits, bus_bits))})

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        _address_channel(m, bus, "ar", self.port.request, self.bus_bits, light=False)
        m.submodules.r_slice = words = RegisterSlice(self.port.response.payload.shape())
        wiring.connect(m, words.o, wiring.flipped(self.port.response))
        m.d.comb += [
            words.i.valid.eq(bus.rvalid), bus.rready.eq(words.i.ready),
            words.i.payload.data.eq(bus.rdata), words.i.payload.error.eq(bus.rresp[1]),
        ]
        return m


class AXIWriter(wiring.Component):
    """A :class:`WritePort` on channels AW, W and B. SLVERR and DECERR are the port's error.

    Bursts go out as they come: whoever asks sees to it that none crosses 4 kB. A burst's words are offered whether or not its
    address has been accepted. Latency: 1 cycle each way. Throughput: one word per cycle, and a burst in two, as STORE asks for them.

    Parameters
    ----------
    address_bits, bus_bits : of the port and of the bus
    """

    port: wiring.PureInterface
    bus: wiring.PureInterface

    def __init__(self, *, address_bits: int, bus_bits: int):
        self.address_bits = address_bits
        self.bus_bits = bus_bits
        super().__init__({"port": In(WritePort(address_bits, bus_bits)), "bus": Out(AXI4Write(address_bits, bus_bits))})

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        _address_channel(m, bus, "aw", self.port.request, self.bus_bits, light=True)
        m.submodules.w_slice = words = RegisterSlice(self.port.data.payload.shape())
        wiring.connect(m, wiring.flipped(self.port.data), words.i)
        m.submodules.b_slice = responses = RegisterSlice(self.port.response.payload.shape(), light=True)
        wiring.connect(m, responses.o, wiring.flipped(self.port.response))
        m.d.comb += [
            bus.wvalid.eq(words.o.valid), words.o.ready.eq(bus.wready), bus.wdata.eq(words.o.payload.data),
            bus.wstrb.eq(words.o.payload.strobe), bus.wlast.eq(words.o.payload.last),
            responses.i.valid.eq(bus.bvalid), bus.bready.eq(responses.i.ready),
            responses.i.payload.error.eq(bus.bresp[1]),
        ]
        return m
