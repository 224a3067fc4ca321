"""The SoC of a board's LiteX variant, without a CPU: a serial line and, where the board has Ethernet, LiteEth's Etherbone as its masters,
the accelerator's registers, LiteDRAM.

A program of its own, ``python -m systolith.gen.litex_soc FOLDER``, because LiteX fills global state and warns of itself. FOLDER holds
``manifest.json`` and ``systolith_litex.py``; what is written into it are ``soc.v``, ``csr.csv`` and ``soc.json``, which a host needs:

    {"registers": {name: byte address}, "init": [[what, address, bank, "command" or "control", bits, cycles to wait], …],
     "levelling": {"lanes": bytes of a word, "delays": …, "bitslips": …}, "phy": {what: cycles}, where reads must be calibrated
     "etherbone": {"mac": …, "ip": …, "port": …, "words": most of them in a datagram}, where the board has Ethernet}
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from litedram import init, modules
from litedram.common import get_sys_latency
from litedram.phy import GENSDRPHY
from litex.build.generic_platform import Pins
from litex.build.lattice import LatticeECP5Platform
from litex.build.lattice.common import lattice_ecp5_special_overrides
from litex.soc.integration.export import get_csr_csv
from litex.soc.integration.soc_core import SoCCore
from litex.soc.interconnect import wishbone
from migen import ClockDomain, ClockSignal, Instance, Module, ResetSignal, Signal

from ..arch.manifest import Manifest
from ..arch.registers import SERIAL_MEMORY, SERIAL_REGISTERS, SERIAL_SOC
from ..boards import Board, get_board
from .litex_ddr3 import PHY, phy_verilog
from .soc import SOC_TOP

__all__ = ["SoC", "main"]

BUS_TIMEOUT_CYCLES = 1 << 16
# What LiteX says of itself has the date in it, and its tree of the design the order in which sets are walked.
_UNSAID = re.compile(r"^(?://|`timescale)[^\n]*\n|/\*.*?\*/\n?|(?<=\n)\n+(?=\n)", re.MULTILINE | re.DOTALL)
# LiteDRAM leaves them out for some chips and has the 200 MHz grade's for others; boards have slower ones (the Colorlight 5A-75B 7.0 a
# 166 MHz one), whose data sheets ask for 42 ns of an open row (MT48LC16M16A2-6A) and 20 before the next.
_SDR_NS = {"tRAS": 42, "tRC": 62}
_CONTROL = {"CKE": 2, "ODT": 4, "RESET_N": 8}             # of the register dfii_control
_COMMAND = {"CS": 1, "WE": 2, "CAS": 4, "RAS": 8}         # of dfii_pi0_command


class _Clocks(Module):
    """The module ``systolith_clocks``; its clock begins when everything is as configured, so that nothing is reset."""

    def __init__(self, platform: Any) -> None:
        self.clock_domains.cd_sys = ClockDomain()
        self.comb += self.cd_sys.rst.eq(0)
        self.specials += Instance("systolith_clocks", i_reference=platform.request("oscillator"), o_clock=self.cd_sys.clk,
                                  o_late_pin=platform.request("sdram_clk"))


class _DDR3Clocks(Module):
    """The module ``systolith_clocks`` of a board with DDR3; ``signals`` are those of the PHY."""

    def __init__(self, platform: Any) -> None:
        self.clock_domains.cd_sys = ClockDomain()
        self.comb += self.cd_sys.rst.eq(0)
        given, taken = ("fast", "start", "start_reset", "pins_reset"), ("stop", "restart")
        self.signals = {name: Signal(name=f"clocks_{name}") for name in (*given, *taken)}
        self.specials += Instance("systolith_clocks", i_reference=platform.request("oscillator"), o_clock=self.cd_sys.clk,
                                  **{f"{way}_{name}": self.signals[name] for way, names in (("o", given), ("i", taken)) for name in names})


class SoC(SoCCore):  # type: ignore[misc]
    """Byte addresses are those of a serial shell (``arch/registers.py``), so that one driver knows both."""

    mem_map: ClassVar[dict[str, int]] = {**SoCCore.mem_map, "main_ram": SERIAL_MEMORY, "csr": SERIAL_SOC}

    crg: Any

    def __init__(self, board: Board, folder: Path) -> None:
        memory = board.external_memory
        assert memory is not None
        beside = {"sdram": memory.pins, **({"eth": board.ethernet.pins} if board.ethernet else {})}
        taken = {f"{chip}_{name}" for chip, pins in beside.items() for name in pins}
        platform = LatticeECP5Platform(board.device, [
            *((name, 0, Pins(1)) for name in board.pins if name.partition("[")[0] not in taken),
            *((f"{chip}_{name}", 0, Pins(len(sites.split()))) for chip, pins in beside.items() for name, sites in pins.items())],
            toolchain="trellis")
        SoCCore.__init__(self, platform, board.clock_hz, cpu_type=None, with_uart=False, with_timer=False, with_ctrl=False,
                         integrated_sram_size=0, ident="", bus_timeout=BUS_TIMEOUT_CYCLES)
        ddr3 = memory.standard == "DDR3"
        self.crg = _DDR3Clocks(platform) if ddr3 else _Clocks(platform)

        line = wishbone.Interface(data_width=32, adr_width=30)
        self.comb += [line.cyc.eq(line.stb), line.sel.eq(0xF)]
        self.specials += Instance(
            "systolith_line", i_clk=ClockSignal(), i_rst=ResetSignal(), i_rx=platform.request("rx"), o_tx=platform.request("tx"),
            o_bus__valid=line.stb, i_bus__ready=line.ack, o_bus__address=line.adr, o_bus__write=line.we, o_bus__write_data=line.dat_w,
            i_bus__read_data=line.dat_r)
        self.bus.add_master(name="line", master=line)

        chip = getattr(modules, memory.chip)(board.clock_hz, "1:2" if ddr3 else "1:1")
        phy = self._ddr3_phy(platform, board) if ddr3 else GENSDRPHY(_Pads(platform, "sdram", memory.pins), board.clock_hz)
        if not ddr3:
            for name, ns in _SDR_NS.items():
                setattr(chip.timing_settings, name, chip.ns_to_cycles(ns))
        self.phy_settings = phy.settings
        self.add_module("ddrphy" if ddr3 else "sdrphy", phy)
        self.add_sdram("sdram", phy=phy, module=chip, l2_cache_size=0)
        self.init_sequence, _ = init.get_sdram_phy_init_sequence(phy.settings, chip.timing_settings)

        if board.ethernet is not None:
            from .litex_ethernet import add_etherbone
            add_etherbone(self, board.ethernet, _Pads(platform, "eth", board.ethernet.pins))

        wrapper = runpy.run_path(str(folder / "systolith_litex.py"))
        self.systolith = wrapper["Systolith"](platform, folder)
        self.systolith.add_to(self, origin=SERIAL_REGISTERS, byte_masks="dm" in memory.pins)
        if "led" in board.pins:
            self.comb += platform.request("led").eq(self.systolith.ev.done.trigger ^ board.pins["led"].inverted)

    def _ddr3_phy(self, platform: Any, board: Board) -> PHY:
        memory = board.external_memory
        assert memory is not None
        pads = {name: platform.request(f"sdram_{name}") for name in memory.pins}
        for name, level in (("vccio", ~0), ("gnd", 0)):
            if name in pads:
                self.comb += pads.pop(name).eq(level)
        return PHY(pads, memory, board.clock_hz, self.crg.signals)


class _Pads:
    """A chip's pins as a PHY takes them: attributes by their names."""

    def __init__(self, platform: Any, chip: str, pins: Iterable[str]) -> None:
        for name in pins:
            if name != "clk":
                setattr(self, name, platform.request(f"{chip}_{name}"))

    @property
    def layout(self) -> list[tuple[str, int]]:
        return [(name, len(pad)) for name, pad in vars(self).items()]


def _bits(names: str, values: dict[str, int]) -> int:
    """The value of ``DFII_COMMAND_RAS|DFII_COMMAND_CS`` and the like."""
    return sum(values[name.split("_", 2)[2]] for name in names.split("|"))


def _steps(sequence: list[tuple[str, int, int, str, int]]) -> list[list[Any]]:
    """LiteDRAM's sequence, which it has as C, as data."""
    return [[what, address, bank, *(("control", _bits(names, _CONTROL)) if names.startswith("DFII_CONTROL") else
                                    ("command", _bits(names, _COMMAND))), cycles] for what, address, bank, names, cycles in sequence]


def main(folder: Path) -> None:
    """Write the SoC for the manifest in ``folder``."""
    board = get_board(str(Manifest.read(folder).board)).in_variant("litex")
    soc = SoC(board, folder)
    soc.finalize()
    size = soc.bus.regions["main_ram"].size
    assert board.external_memory is not None
    if size != board.external_memory.bytes:
        raise ValueError(f"external memory of {board.name} must be {size} bytes as its chip and pins have it, not "
                         f"{board.external_memory.bytes}")
    # Pins of both directions as such, not as nextpnr's cells with an input: a simulation takes them too.
    verilog = str(soc.platform.get_verilog(soc, name=SOC_TOP, special_overrides=lattice_ecp5_special_overrides))
    if board.external_memory.standard == "DDR3":
        verilog += phy_verilog(board.external_memory, board.clock_hz)
    (folder / "soc.v").write_text(_UNSAID.sub("", verilog), encoding="utf-8")
    (folder / "csr.csv").write_text(get_csr_csv(soc.csr_regions, soc.constants, soc.mem_regions), encoding="utf-8")
    registers = {f"sdram_{name}": address for name, address in _addresses(soc, "sdram").items() if name.startswith("dfii_")}
    steps = _steps(soc.init_sequence)
    description: dict[str, Any] = {"registers": registers, "init": steps}
    settings = soc.phy_settings
    if settings.read_leveling:
        registers |= {f"ddrphy_{name}": address for name, address in _addresses(soc, "ddrphy").items()}
        description["init"] = _ddr3_steps(steps, board.clock_hz)
        description["levelling"] = {"lanes": settings.strobes, "delays": settings.delays, "bitslips": settings.bitslips}
        # Cycles from a command to its words at the pins, to the window for its strobe, and to when the controller has what was read.
        description["phy"] = {"write": settings.write_latency, "strobe": get_sys_latency(settings.nphases, settings.cl),
                              "read": settings.read_latency}
    if board.ethernet is not None:
        from .litex_ethernet import ETHERBONE_WORDS
        description["etherbone"] = {**{name: getattr(board.ethernet, name) for name in ("mac", "ip", "port")}, "words": ETHERBONE_WORDS}
    (folder / "soc.json").write_text(json.dumps(description), encoding="utf-8")


def _ddr3_steps(steps: list[list[Any]], clock_hz: float) -> list[list[Any]]:
    """LiteDRAM's sequence from power-up on: JEDEC 79-3 has 200 µs of reset before it. Where a chip's reset is not at the part's pins, and
    this is not the first time, rows are open, with which no mode may be set."""
    first = next(index for index, step in enumerate(steps) if step[3] == "command")
    precharge = [["Precharge all", 1 << 10, 0, "command", _COMMAND["CS"] | _COMMAND["RAS"] | _COMMAND["WE"], 4]]
    return [["Hold reset", 0, 0, "control", 0, round(200e-6 * clock_hz)], *steps[:first], *precharge, *steps[first:]]


def _addresses(soc: SoC, region: str) -> dict[str, int]:
    """Byte address of each register in one of the SoC's groups."""
    found, address = {}, soc.csr_regions[region].origin
    for register in soc.csr_regions[region].obj:
        found[register.name] = address
        address += 4 * -(-register.size // 32)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
