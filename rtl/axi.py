"""AXI4 and AXI4-Lite as Arm's IHI 0022 defines them: the signals of each channel, and the response codes."""

from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["AXI4Lite", "AXI4Read", "AXI4Write", "Response"]


class Response(enum.Enum, shape=2):
    """BRESP and RRESP. Bit 1 is set for what is an error."""
    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def _address(way: str, address_bits: int) -> dict[str, wiring.Member]:
    """The address channel ``aw`` or ``ar`` of AXI4."""
    return {
        f"{way}id": Out(1), f"{way}addr": Out(address_bits), f"{way}len": Out(8), f"{way}size": Out(3), f"{way}burst": Out(2),
        f"{way}lock": Out(1), f"{way}cache": Out(4), f"{way}prot": Out(3), f"{way}qos": Out(4),
        f"{way}valid": Out(1), f"{way}ready": In(1),
    }


class AXI4Read(wiring.Signature):
    """The read channels AR and R, seen from the manager."""

    def __init__(self, address_bits: int, bus_bits: int):
        super().__init__({
            **_address("ar", address_bits),
            "rid": In(1), "rdata": In(bus_bits), "rresp": In(2), "rlast": In(1), "rvalid": In(1), "rready": Out(1),
        })


class AXI4Write(wiring.Signature):
    """The write channels AW, W and B, seen from the manager."""

    def __init__(self, address_bits: int, bus_bits: int):
        super().__init__({
            **_address("aw", address_bits),
            "wdata": Out(bus_bits), "wstrb": Out(bus_bits // 8), "wlast": Out(1), "wvalid": Out(1), "wready": In(1),
            "bid": In(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1),
        })


class AXI4Lite(wiring.Signature):
    """All channels of AXI4-Lite with 32 data bits, seen from the manager."""

    def __init__(self, address_bits: int):
        super().__init__({
            "awaddr": Out(address_bits), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "araddr": Out(address_bits), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
            "rdata": In(32), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
        })
