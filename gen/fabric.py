"""An array alone, placed and routed between registers: what its multipliers cost, and how fast they are without a machine around them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..boards import Board
from ..rtl.array import SystolicArray
from ..rtl.array_output import OutputArray
from ..rtl.pe import pieces
from . import tools
from .carry import shorten_chains
from .constants import place_constants
from .fmax import Fmax, credible_fmax
from .packing import pack_registers
from .placement import pin_array
from .report import Netlist, Timing, read_netlist, read_timing
from .toolchain import TOOLCHAINS
from .verilog import emit

__all__ = ["ArrayHarness", "Fabric", "measure_array", "measure_floorplan"]

_TOP = "harness"


class ArrayHarness(wiring.Component):
    """Every input of an array from a register, every output into one; three pins besides the clock, so that no path ends at a pin.

    ``i`` is shifted into a chain, which ``load`` copies into the array's inputs, one after the other: fed straight from the chain, equal
    delays would be merged with those of the array, and one enable for all would be the longest path. ``o`` is the parity of all outputs,
    five cycles or so later. Without an ``array`` the inputs go where its outputs would: what is left is the harness.
    """

    i: Signal
    load: Signal
    o: Signal

    def __init__(self, array: SystolicArray | OutputArray, *, empty: bool = False) -> None:
        self.array = array
        self.empty = empty
        super().__init__({"i": In(1), "load": In(1), "o": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        array = self.array
        rows = (array.a, array.swap) if isinstance(array, SystolicArray) else (array.a, array.first, array.end, array.shift)
        cols = (array.w, array.w_shift) if isinstance(array, SystolicArray) else (array.w,)
        lanes = [Cat(lane) for side in (rows, cols) for lane in zip(*side, strict=True)]
        inputs = Cat(lanes)
        chain, held = Signal(len(inputs)), Signal(len(inputs))
        loads = Signal(len(lanes))
        m.d.sync += [chain.eq(Cat(self.i, chain)), loads.eq(Cat(self.load, loads))]
        for n, (old, new) in enumerate(zip(pieces(held, map(len, lanes)), pieces(chain, map(len, lanes)), strict=True)):
            with m.If(loads[n]):
                m.d.sync += old.eq(new)
        width = len(Cat(array.psum))
        m.submodules.array = array  # of which synthesis leaves nothing where nobody reads its outputs
        m.d.comb += inputs.eq(held)
        outputs = held.replicate(-(-width // len(held)))[:width] if self.empty else Cat(array.psum)
        # Four bits into one per stage.
        stage = 0
        while len(outputs) > 1 or not stage:
            parities = Signal(-(-len(outputs) // 4) if stage else len(outputs), name=f"parities{stage}")
            m.d.sync += parities.eq(Cat(outputs[n:n + 4].xor() for n in range(0, len(outputs), 4)) if stage else outputs)
            outputs = parities
            stage += 1
        m.d.comb += self.o.eq(outputs)
        return m


@dataclasses.dataclass(frozen=True)
class Fabric:
    """Of an array without its harness: look-up tables (a carry cell of ECP5 is two), flip-flops, DSP blocks; and the clock that it
    reached, None where it was not placed."""

    lut: int
    ff: int
    dsp: int
    fmax: Fmax | None


# Where there are no tools from yosys on, or none that time the blocks that matter here.
_SYNTHESIS_ONLY = {"gowin": "synth_gowin -top {top} -json {netlist}"}


def _build(directory: Path, component: wiring.Component, board: Board, pinned: bool) -> Netlist:
    verilog, netlist, log = directory / "systolith.v", directory / "netlist.json", directory / "yosys.log"
    verilog.write_text(emit(component, _TOP), encoding="utf-8")
    if board.family in _SYNTHESIS_ONLY:
        script = _SYNTHESIS_ONLY[board.family].format(top=_TOP, netlist=netlist.name)
        tools.run_tool([tools.yosys(), "-p", f"read_verilog {verilog.name}; {script}"], log=log, cwd=directory)
    else:
        TOOLCHAINS[board.family].for_board(board).synthesise(verilog, _TOP, netlist, log=log)
    if board.family == "ecp5":
        pack_registers(netlist, _TOP)
        place_constants(netlist, _TOP)
        shorten_chains(netlist, _TOP)
    if pinned:
        pin_array(netlist, board)
    return read_netlist(netlist, verilog, _TOP, board.family)


def _place(directory: Path, board: Board, seed: int) -> Timing:
    toolchain = TOOLCHAINS[board.family]
    (directory / "harness.lpf").write_text('FREQUENCY PORT "clk" 250 MHZ;\n', encoding="utf-8")
    own = {"ecp5": ["--" + board.device.removeprefix("LFE5U-").replace("F", "k"), "--speed", board.speed, "--router", "router2",
                    "--lpf", "harness.lpf", "--lpf-allow-unconstrained", "--textcfg"],
           "ice40": [f"--{board.device}", "--pcf-allow-unconstrained", "--asc"]}[board.family]
    report = directory / "report.json"
    tools.run_tool([
        tools.find(toolchain.place_and_route), *own, "routed", "--package", board.package, "--json", "netlist.json",
        "--report", report.name, "--seed", str(seed), "--freq", "250", "--timing-allow-fail"],
        log=directory / "nextpnr.log", cwd=directory)
    return read_timing(report, 250)


def measure_array(board: Board, directory: Path, *, rows: int, cols: int, multiplier: str, dsp_cols: int | None = None,
                  side_dsp: bool = False, weight_bits: int = 8, block_rows: int = 0, dataflow: str = "ws", pinned: bool = False,
                  seed: int = 1, place: bool = True) -> Fabric:
    """Synthesise an array in its harness, and ``place`` and route it where there are tools for the board's part.

    Raises
    ------
    ToolError
        A tool is missing or fails; an array that does not fit the part is such a failure.
    """
    sizes: dict[str, Any] = {"rows": rows, "cols": cols, "dsp_cols": dsp_cols, "weight_bits": weight_bits}
    if dataflow == "ws":
        sizes |= {"multiplier": multiplier, "side_dsp": side_dsp, "block_rows": block_rows}
    arrays = [OutputArray(**sizes) if dataflow == "os" else SystolicArray(**sizes) for _ in range(2)]
    empty = _build(directory, ArrayHarness(arrays[0], empty=True), board, False)
    whole = _build(directory, ArrayHarness(arrays[1]), board, pinned)
    area = {kind: sum(block[kind] for block in whole.area.values()) - sum(block[kind] for block in empty.area.values())
            for kind in ("lut", "ff", "dsp")}
    fmax = None
    if place and board.family not in _SYNTHESIS_ONLY:
        fmax = _clock(directory, board, whole, seed)
    return Fabric(area["lut"], area["ff"], area["dsp"], fmax)


def measure_floorplan(board: Board, directory: Path, *, rows: int, cols: int, multiplier: str, block_rows: int,
                      seeds: Iterable[int]) -> Iterator[tuple[int, Fmax, Fmax]]:
    """Of one netlist of an array in its harness, the clocks with each of ``seeds``: as nextpnr places it, and with the multipliers in the
    order of the array.

    Raises
    ------
    ToolError
        A tool is missing or fails.
    """
    array = SystolicArray(rows=rows, cols=cols, multiplier=multiplier, block_rows=block_rows)
    folders = directory / "placed", directory / "pinned"
    for folder in folders:
        folder.mkdir()
    netlist = _build(folders[0], ArrayHarness(array), board, False)
    shutil.copy(folders[0] / "netlist.json", folders[1])
    pin_array(folders[1] / "netlist.json", board)
    for seed in seeds:
        placed, pinned = (_clock(folder, board, netlist, seed) for folder in folders)
        yield seed, placed, pinned


def _clock(directory: Path, board: Board, netlist: Netlist, seed: int) -> Fmax:
    timing = _place(directory, board, seed)
    return credible_fmax(timing.fmax_mhz, family=board.family, speed=board.speed, path=timing.path,
                         registered_dsp=netlist.registered_dsp, dsp=sum(block["dsp"] for block in netlist.area.values()) > 0, bram=False,
                         asked_mhz=250)
