"""A whole board in simulation: everything on the part compiled by Verilator, its serial line at a pseudo-terminal."""

from __future__ import annotations

import contextlib
import ipaddress
import mmap
import select
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..arch.manifest import VERILOG_NAME, Manifest
from ..boards import Board, get_board
from .simulate import SimulationLibrary, build_model, simulation_cache
from .soc import PHY_MODEL_MACRO
from .tools import ToolError

__all__ = ["SimulatedBoard", "compile_board", "simulated_board"]

HARNESS = Path(__file__).with_name("board_harness.cpp")
ADAPTER = Path(__file__).with_name("adapter.h")
CHIP = Path(__file__).with_name("sdram.h")
DDR3_CHIP = Path(__file__).with_name("ddr3.h")
DDR3_PHY = Path(__file__).with_name("ddr3_phy.v")
ETHERNET = Path(__file__).with_name("ethernet.h")
PRIMITIVES = Path(__file__).with_name("primitives.v")


def compile_board(directory: str | Path, *, cache: Path | None = None, progress: Callable[[str], None] | None = None,
                  harness: Path = HARNESS, shared: bool = False, defines: Sequence[str] = ()) -> SimulationLibrary:
    """The program that simulates the board whose accelerator was generated in ``directory``, or another ``harness`` around its pins.
    ``defines`` are macros, as a compiler takes them, that the models of chips know.

    Raises
    ------
    ToolError
        Verilator or a C++ compiler is missing or fails, or the folder was generated without a board.
    ManifestError
        ``directory`` holds no manifest, or files that do not match it.
    """
    directory = Path(directory)
    manifest = Manifest.read(directory)
    verilog = manifest.check_verilog(directory)
    if "board" not in manifest.tops:
        raise ToolError(f"folder {str(directory)!r} was generated without a board's serial shell; run: systolith generate --board NAME "
                        f"-o {directory}")
    key = "".join([verilog, *(path.read_text(encoding="utf-8") for path in (PRIMITIVES, ADAPTER, CHIP, DDR3_CHIP, DDR3_PHY, ETHERNET))])
    sources, flags, options = [directory / VERILOG_NAME, PRIMITIVES], [*defines], []
    if manifest.soc is not None:
        flags += [*_chip_flags(get_board(str(manifest.board)), manifest.soc), *_network_flags(manifest.soc)]
        options.append("--pins-inout-enables")
        if "phy" in manifest.soc:
            sources.append(DDR3_PHY)
            options += [f"-D{PHY_MODEL_MACRO}", *flags]
    return build_model(sources, manifest.tops["board"], harness, cache=simulation_cache(cache), key=key, flags=tuple(flags),
                       options=tuple(options), include=ADAPTER.parent, shared=shared, report=progress or (lambda line: None))


def _chip_flags(board: Board, soc: Mapping[str, Any]) -> tuple[str, ...]:
    """What ``sdram.h`` or ``ddr3.h`` and their user in the harness must know of a board's chip."""
    memory = board.external_memory
    assert memory is not None
    if memory.standard == "DDR3":
        rows = (memory.bytes // (8 * 1024 * memory.lanes)).bit_length() - 1
        sizes = {"ROW_BITS": rows, "ADDRESS_BITS": len(memory.pins["a"].split()),
                 **{f"{name.upper()}_CYCLES": cycles for name, cycles in soc["phy"].items()}}
        return (*(f"-DDDR3_{name}={value}" for name, value in sizes.items()),
                *(f"-DDDR3_{name}" for name, pin in (("CS", "cs_n"), ("RESET", "reset_n")) if pin in memory.pins))
    widths = {name: len(sites.split()) for name, sites in memory.pins.items()}
    columns = (memory.bytes * 8 // widths["dq"]).bit_length() - 1 - widths["a"] - widths["ba"]
    sizes = {"ROW": widths["a"], "COLUMN": columns, "BANK": widths["ba"], "DATA": widths["dq"]}
    return (*(f"-DSDRAM_{name}_BITS={bits}" for name, bits in sizes.items()),
            *(f"-DSDRAM_{name}" for name, pin in (("CKE", "cke"), ("CS", "cs_n"), ("MASK", "dm")) if pin in widths))


def _network_flags(soc: Mapping[str, Any]) -> tuple[str, ...]:
    """What ``ethernet.h`` must know of a board's SoC, if that has Ethernet."""
    if "etherbone" not in soc:
        return ()
    etherbone = soc["etherbone"]
    mac, ip = int(etherbone["mac"].replace(":", ""), 16), int(ipaddress.IPv4Address(etherbone["ip"]))
    return f"-DETHERNET_MAC={mac:#x}", f"-DETHERNET_IP={ip:#x}", f"-DETHERNET_PORT={etherbone['port']}"


class SimulatedBoard:
    """A running simulation.

    ``port`` : the pseudo-terminal's name; ``network`` : ``HOST:PORT`` for datagrams to a board with Ethernet, else None; ``clock_hz`` : of
    the simulated accelerator
    """

    def __init__(self, port: str, network: str | None, clock_hz: float, process: subprocess.Popen[str], cycles: mmap.mmap):
        self.port = port
        self.network = network
        self.clock_hz = clock_hz
        self.process = process
        self._cycles = cycles

    @property
    def seconds(self) -> float:
        """The board's own time since it was switched on."""
        return float(struct.unpack("<Q", self._cycles[:8])[0]) / self.clock_hz


@contextlib.contextmanager
def simulated_board(program: Path, board: Board, *, latency_us: float = 0, real_time: bool = False,
                    most_baud: int = 1_000_000_000, fault_rate: float = 0, seed: int = 1) -> Iterator[SimulatedBoard]:
    """Run ``program`` (of :func:`compile_board`) until the end of the ``with`` statement.

    Parameters
    ----------
    latency_us : of the adapter, in the board's time, for each byte in either direction
    real_time : the board's time does not run ahead of the clock on the wall
    most_baud : the adapter's highest rate, which it also has where a higher one is set
    fault_rate, seed : how many of the datagrams on the board's Ethernet are lost, doubled or hurt, either way, and which
    """
    with tempfile.TemporaryDirectory(prefix="systolith-") as folder:
        clock = Path(folder) / "cycles"
        command = [str(program), f"{board.clock_hz:.0f}", f"{latency_us:g}", str(int(real_time)), str(clock), str(most_baud),
                   f"{fault_rate:g}", str(seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                if not select.select([process.stdout], [], [], 30)[0] or not (port := process.stdout.readline().strip()):
                    raise ToolError("the simulated board gave no pseudo-terminal; does this operating system have them?")
                network = None
                if "eth_rx_clk" in board.pins and not (network := process.stdout.readline().strip()):
                    raise ToolError("the simulated board gave no address for datagrams; does this operating system have 127.0.0.2?")
                with open(clock, "rb") as file, mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ) as cycles:
                    yield SimulatedBoard(port, network, board.clock_hz, process, cycles)
            finally:
                process.kill()
