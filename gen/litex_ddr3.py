"""LiteDRAM's PHY for DDR3 at the pins of an ECP5, as a module of its own: registers of the part's pins, which nothing can simulate here.

``systolith_phy`` has LiteDRAM's DFI on one side and the chip on the other; what stands around it is simulated as it is synthesised, with
another body for it (``ddr3_phy.v``).
"""

from __future__ import annotations

from typing import Any

from litedram.phy import ECP5DDRPHY
from litedram.phy.dfi import DIR_M_TO_S, Interface
from litex.build.lattice.common import lattice_ecp5_special_overrides
from litex.gen.fhdl import verilog
from litex.soc.interconnect.csr import CSR, AutoCSR, CSRStatus, CSRStorage
from migen import ClockDomain, ClockSignal, Instance, Module, Signal

from ..boards.board import ExternalMemory
from .soc import PHY_MODEL_MACRO

__all__ = ["PHY", "PHY_TOP", "phy_verilog"]

PHY_TOP = "systolith_phy"
_BOTH_WAYS = ("dq", "dqs_p")
# LiteDRAM's names of registers that a host calibrates reads with.
_STROBES = ("rdly_dq_rst", "rdly_dq_inc", "rdly_dq_bitslip_rst", "rdly_dq_bitslip", "burstdet_clr")
_CLOCKS = ("clock", "fast", "start", "start_reset", "pins_reset")


class _Pads:
    """The chip's pins as signals of the PHY's module, for LiteDRAM: attributes by their names."""

    def __init__(self, memory: ExternalMemory) -> None:
        for name, sites in memory.pins.items():
            if name not in ("vccio", "gnd"):
                setattr(self, name, Signal(len(sites.split()), name=name))

    @property
    def layout(self) -> list[tuple[str, int]]:
        return [(name, len(pad)) for name, pad in vars(self).items()]


class _Inside(Module):
    """LiteDRAM's PHY with its surroundings as signals, in ``ports``: the direction by the name of each."""

    def __init__(self, memory: ExternalMemory, clock_hz: float) -> None:
        self.pads = _Pads(memory)
        self.submodules.phy = self.phy = _phy(self.pads, memory, clock_hz)
        self.ports: dict[str, tuple[str, Signal]] = {}

        def port(way: str, name: str, bits: int = 1) -> Signal:
            self.ports[name] = way, Signal(bits, name=name)
            return self.ports[name][1]

        clocks = {name: port("i", name) for name in _CLOCKS}
        for domain, clock, reset in (("sys", "clock", "pins_reset"), ("sys2x", "fast", None), ("init", "start", "start_reset")):
            made = ClockDomain(domain, reset_less=reset is None)
            setattr(self.clock_domains, f"cd_{domain}", made)
            self.comb += made.clk.eq(clocks[clock])
            if reset:
                self.comb += made.rst.eq(clocks[reset])
        self.comb += [port("o", "stop").eq(self.phy.init.stop), port("o", "restart").eq(self.phy.init.reset)]

        for index, phase in enumerate(self.phy.dfi.phases):
            for name, bits, direction in phase.layout:
                signal, way = getattr(phase, name), "i" if direction == DIR_M_TO_S else "o"
                outside = port(way, f"dfi_p{index}_{name}", bits)
                self.comb += signal.eq(outside) if way == "i" else outside.eq(signal)
        self.comb += self.phy._dly_sel.storage.eq(port("i", "dly_sel", memory.lanes))
        for name in _STROBES:
            self.comb += getattr(self.phy, f"_{name}").re.eq(port("i", name))
        self.comb += port("o", "burstdet_seen", memory.lanes).eq(self.phy._burstdet_seen.status)
        for name, _ in self.pads.layout:
            self.ports[name] = "io" if name in _BOTH_WAYS else "o", getattr(self.pads, name)


def _phy(pads: Any, memory: ExternalMemory, clock_hz: float) -> Any:
    phy = ECP5DDRPHY(pads, sys_clk_freq=clock_hz, dm_remapping=dict(enumerate(memory.mask_lanes)))
    for name, value in memory.electrical.items():
        setattr(phy.settings, name, value)
    return phy


def phy_verilog(memory: ExternalMemory, clock_hz: float) -> str:
    """Module ``systolith_phy``."""
    inside = _Inside(memory, clock_hz)
    ios = {signal for _, signal in inside.ports.values()}
    text = str(verilog.convert(inside, ios=ios, name=PHY_TOP, special_overrides=lattice_ecp5_special_overrides))
    return f"`ifndef {PHY_MODEL_MACRO}\n{text}\n`endif\n"


class PHY(Module, AutoCSR):  # type: ignore[misc]
    """The module ``systolith_phy`` in a SoC, as LiteDRAM takes a PHY: ``dfi``, ``settings`` and registers under LiteDRAM's names.

    ``clocks`` has what the module ``systolith_clocks`` gives and takes, by name.
    """

    def __init__(self, pads: dict[str, Signal], memory: ExternalMemory, clock_hz: float, clocks: dict[str, Signal]) -> None:
        inside = _Inside(memory, clock_hz)
        self.settings = inside.phy.settings
        first = inside.phy.dfi.phases[0]
        self.dfi = Interface(len(first.address), len(first.bank), self.settings.nranks, len(first.wrdata), self.settings.nphases)
        self._dly_sel = CSRStorage(memory.lanes)
        for name in _STROBES:
            setattr(self, f"_{name}", CSR(name=name))
        self._burstdet_seen = CSRStatus(memory.lanes)

        outside: dict[str, Any] = {**clocks, **pads, "clock": ClockSignal(), "dly_sel": self._dly_sel.storage,
                                   "burstdet_seen": self._burstdet_seen.status,
                                   **{name: getattr(self, f"_{name}").re for name in _STROBES}}
        for index, phase in enumerate(self.dfi.phases):
            outside |= {f"dfi_p{index}_{name}": getattr(phase, name) for name, *_ in phase.layout}
        self.specials += Instance(PHY_TOP, **{f"{way}_{name}": outside[name] for name, (way, _) in inside.ports.items()})
