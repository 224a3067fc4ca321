"""What a board is: the part on it, its clock, its pins and the configuration that fits."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from ..arch.config import Config
from ..arch.settings import resolve

__all__ = ["RGMII_MHZ", "VARIANTS", "Board", "Ethernet", "ExternalMemory", "Pin"]

VARIANTS = ("bare", "litex")
RGMII_MHZ = 125  # of both directions' clocks at 1 Gbit/s


@dataclasses.dataclass(frozen=True)
class Pin:
    """One pin of the part: ``site`` as the part's package names it, ``attributes`` as the constraint file does; ``inverted`` lamps are
    on when it is low."""
    site: str
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    inverted: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExternalMemory:
    """SDRAM beside the part, at the accelerator's clock: what a simulation needs to know of it, and a controller from ``chip`` on.

    Members
    -------
    title : for people
    bytes, bytes_per_cycle, half_duplex : size and speed
    chip : as ``litedram.modules`` calls it, for its timing
    standard : ``SDR``, or ``DDR3``, whose chip has twice the controller's clock
    clock_mhz : fastest clock of a controller that runs at the accelerator's
    clock_degrees : its clock behind the accelerator's, so that what either side sends has settled when the other looks (SDR)
    pins : sites by the names of a controller's signals, those of a bus separated by spaces, bit 0 first. Without ``dm`` a chip writes
        whole words only; ``cs_n``, ``cke`` and ``reset_n`` are fixed on some boards. Of a differential pair the positive one; ``vccio``
        and ``gnd`` are pins that help to supply their bank
    attributes : of all of these pins
    pin_attributes : by name, what some of them have instead or as well
    sides : of the part at which its pins are, left and right, each with a clock tree of its own for them (DDR3)
    mask_lanes : for the byte mask in each lane's group of pins, the lane whose bytes it masks; empty where it is the same
    electrical : of the chip, as ``litedram.init`` calls what its mode registers say of termination and drive
    """
    title: str
    bytes: int
    bytes_per_cycle: int
    half_duplex: bool
    chip: str = ""
    standard: str = "SDR"
    clock_mhz: float = 50
    clock_degrees: float = 90
    pins: Mapping[str, str] = dataclasses.field(default_factory=dict)
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pin_attributes: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    sides: int = 1
    mask_lanes: tuple[int, ...] = ()
    electrical: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def lanes(self) -> int:
        """Bytes of a word."""
        return len(self.pins["dq"].split()) // 8

    @property
    def ports(self) -> dict[str, Pin]:
        """The top module's ports for it: ``sdram_clk``, ``sdram_a[0]`` …"""
        return _ports("sdram", self.pins, self.attributes, self.pin_attributes)


def _ports(prefix: str, pins: Mapping[str, str], attributes: Mapping[str, str],
           pin_attributes: Mapping[str, Mapping[str, str]]) -> dict[str, Pin]:
    """Ports of the top module, one for each bit of a bus, and their pins."""
    return {f"{prefix}_{name}{f'[{bit}]' if ' ' in sites else ''}": Pin(site, {**attributes, **pin_attributes.get(name, {})})
            for name, sites in pins.items() for bit, site in enumerate(sites.split())}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ethernet:
    """A chip for Ethernet at 1 Gbit/s beside the part, with its reduced interface (RGMII 2.0, Hewlett-Packard 2002): four bits at each
    edge of a clock of 125 MHz.

    Members
    -------
    pins : sites by the names of the signals, ``tx_clk tx_ctl tx_data rx_clk rx_ctl rx_data rst_n``, those of a bus separated by spaces,
        bit 0 first
    attributes, pin_attributes : as :class:`ExternalMemory` has them
    tx_delay_ns : by which the part sends its clock later than its data; 0 where the chip or the board does it
    rx_delay_ns : by which the part delays the data that it receives
    mac, ip, port : of the SoC, whose Etherbone is at that UDP port. Two boards on one network must differ in the first two
    """
    pins: Mapping[str, str]
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pin_attributes: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    tx_delay_ns: float = 0
    rx_delay_ns: float = 0
    mac: str = "10:e2:d5:00:00:00"
    ip: str = "192.168.1.50"
    port: int = 1234

    def __post_init__(self) -> None:
        try:
            address = ipaddress.IPv4Address(self.ip)
        except ValueError:
            raise ValueError(f"ip must be an IPv4 address such as 192.168.1.50, not {self.ip!r}") from None
        if address.is_multicast or address.is_unspecified or address == ipaddress.IPv4Address("255.255.255.255"):
            raise ValueError(f"ip must be the address of one device, such as 192.168.1.50, not {self.ip!r}")
        if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", self.mac) or int(self.mac[:2], 16) & 1:
            raise ValueError(f"mac must be the address of one device, six bytes such as 10:e2:d5:00:00:00, not {self.mac!r}")
        if not 1 <= self.port <= 65535:
            raise ValueError(f"port must be from 1 to 65535, not {self.port!r}")

    @property
    def ports(self) -> dict[str, Pin]:
        """The top module's ports for it: ``eth_rx_clk``, ``eth_rx_data[0]`` …"""
        return _ports("eth", self.pins, self.attributes, self.pin_attributes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
    """A board that can be targeted.

    Members
    -------
    name, title : for commands and for people
    family : which ``primitives_<family>.py`` and which tools
    device, package, speed : the part, as nextpnr's options name it
    oscillator_mhz, clock_mhz : on the board, and the accelerator's after the PLL
    link, baud : how a host reaches it
    frame_timeout_s : longest pause within a frame on its line, far above what a host's scheduler or a USB bridge delays a byte
    memory_kib, memory_ports : on-chip device memory, and 1 where its RAM has a single port
    external_memory : beside the part, if there is one that the LiteX variant reaches; ``sim`` models it
    ethernet : beside the part, if there is one that the LiteX variant reaches
    toolchain : the programs from Verilog to bitstream
    loader : options with which openFPGALoader finds the board; None where it does not know it
    loader_flash_only : the part has no memory of its own that could be loaded
    experimental : what is not to be relied on, in words; empty for the rest
    source : the file that defines the board, where it is not one of systolith's own
    pins : of the ports of :class:`~systolith.boards.top.BoardTop`, of which a board may lack ``led``
    settings : configuration layer between the built-in defaults and the user's own
    soc_settings : the layer above it in the LiteX variant
    resources : what the part has: lut, ff, dsp, bram (and spram)
    """

    name: str
    title: str
    family: str
    device: str
    package: str
    speed: str
    oscillator_mhz: float
    clock_mhz: float
    link: str = "serial"
    baud: int
    frame_timeout_s: float = 0.1
    memory_kib: int
    memory_ports: int = 2
    external_memory: ExternalMemory | None = None
    ethernet: Ethernet | None = None
    toolchain: str
    loader: tuple[str, ...] | None = None
    loader_flash_only: bool = False
    experimental: str = ""
    source: str | None = None
    pins: Mapping[str, Pin]
    settings: Mapping[str, Any]
    soc_settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    resources: Mapping[str, int]

    @property
    def variants(self) -> tuple[str, ...]:
        """``bare``: the accelerator with on-chip memory; ``litex``: a SoC with a controller for the memory beside the part."""
        return VARIANTS if self.family == "ecp5" and self.external_memory and self.external_memory.chip else VARIANTS[:1]

    def in_variant(self, variant: str) -> Board:
        """The board as one of its variants takes it: with the pins of its external memory and its Ethernet, no faster than that memory,
        and none on the part."""
        memory = self.external_memory
        if variant == "bare" or memory is None:
            return self
        pins = {**self.pins, **memory.ports, **(self.ethernet.ports if self.ethernet else {})}
        return dataclasses.replace(self, pins=pins, clock_mhz=min(self.clock_mhz, memory.clock_mhz), memory_kib=0)

    @property
    def clocks_mhz(self) -> dict[str, float]:
        """Of clocks that come in at ports."""
        return {"oscillator": self.oscillator_mhz} | ({"eth_rx_clk": RGMII_MHZ} if "eth_rx_clk" in self.pins else {})

    @property
    def clock_hz(self) -> float:
        return self.clock_mhz * 1e6

    @property
    def multipliers(self) -> int | None:
        """Multipliers that an array may fill by itself; None where it does not: only ECP5's have been tried."""
        return self.resources["dsp"] if self.family == "ecp5" else None

    @property
    def config(self) -> Config:
        """What its settings come to."""
        return resolve(self.settings, dsp_blocks=self.multipliers)

    @property
    def memory_bytes(self) -> int:
        return self.memory_kib * 1024

    @property
    def reference(self) -> str:
        """What :func:`~systolith.boards.get_board` finds it by."""
        return self.source or self.name

    def summary(self) -> dict[str, Any]:
        """The line of ``systolith boards``."""
        return {"name": self.name, "device": f"{self.device}-{self.speed}{self.package}".rstrip("-"),
                "clock_mhz": self.clock_mhz, "oscillator_mhz": self.oscillator_mhz, "link": self.link,
                "memory_kib": self.memory_kib, "variants": list(self.variants),
                "toolchain": self.toolchain + (f" ({self.experimental})" if self.experimental else "")}
