"""The whole-flow functions behind the commands and behind ``systolith.connect``: each returns what its command prints."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arch.latency import Memory
from ..arch.manifest import MANIFEST_NAME, Manifest
from ..host.accelerator import Accelerator
from ..host.device import Device
from .settings import Target, cache_folder, choose

if TYPE_CHECKING:
    from ..gen.simulate_board import SimulatedBoard

__all__ = ["FlowError", "Settings", "build_folder", "connect", "device_memory", "generate_cached", "generate_folder", "known_memory",
           "on_chip_memory", "simulated_board", "verify_folder", "write_command_trace"]

Progress = Callable[[str], None]
MEMORY_BYTES = 64 << 20
MOST_BAUD = 25_000_000  # more than a quarter of any board's clock
MEMORIES = ("ideal", "board", "chip")
_AXI = re.compile(r"axi:([^,]+)(?:,([^,]+))?")
_LITEX = re.compile(r"litex:([^:]+):(\d+)")
_ETHERBONE = re.compile(r"etherbone:([^:]+)(?::(\d+))?")
_SERIAL = re.compile(r"serial:([^@]+)(?:@(\d+))?")


class FlowError(RuntimeError):
    """A step of the flow that cannot be taken; the message is one line and says what to do."""


def _quiet(line: str) -> None:
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a device is simulated.

    ``memory_latency`` : cycles from a request to its first word; ``memory`` : ``ideal`` (64 MiB, a word per cycle each way),
    ``board`` (size, speed and ports of the memory on the board) or ``chip`` (of the one on its part, which the serial shell uses);
    ``vcd`` : file for waveforms; ``trace`` : record the engines' activity.
    """

    memory_latency: int = 30
    memory: str = "ideal"
    seed: int = 1
    vcd: str | Path | None = None
    trace: bool = False

    def __post_init__(self) -> None:
        if self.memory not in MEMORIES:
            raise FlowError(f"memory must be one of {', '.join(map(repr, MEMORIES))}, not {self.memory!r}")
        if self.memory_latency < 1:
            raise FlowError(f"memory latency must be at least 1 cycle, not {self.memory_latency!r}")


def generate_cached(target: Target, *, progress: Progress = _quiet) -> Path:
    """The folder of the accelerator for ``target``, generated when it is not in the cache yet."""
    folder = cache_folder(target)
    if not (folder / MANIFEST_NAME).is_file():
        from ..gen.generate import generate
        progress(f"generating the {target.name} accelerator (seconds, once for this configuration)")
        generate(target.config, folder, board=target.board, variant=target.variant)
    return folder


def generate_folder(output: str | Path | None, *, progress: Progress = _quiet, **what: Any) -> dict[str, Any]:
    """Generate what ``what`` chooses (see :func:`~systolith.cli.settings.choose`) into ``output``, default ``build/NAME``."""
    from ..gen.fit import estimate
    from ..gen.generate import generate
    target = choose(**what)
    folder = Path(output) if output is not None else Path("build") / target.name
    progress(f"generating the {target.name} accelerator into {folder} (seconds)")
    result = generate(target.config, folder, board=target.board, variant=target.variant)
    answer: dict[str, Any] = {"directory": str(result.directory), "files": result.files, "seconds": result.seconds}
    if target.board is not None:
        board = target.board.in_variant(target.variant)
        answer["estimate"] = {name: {"needed": needed, "available": board.resources[name]}
                              for name, needed in estimate(target.config, board).items() if board.resources[name]}
    return answer


def _generated(directory: str | Path | None, output: str | Path | None, what: dict[str, Any], progress: Progress) -> Path:
    """The folder to work on: ``directory``, or a new one for what the options choose."""
    chosen = any(what.values())
    if directory is not None:
        if chosen or output is not None:
            raise FlowError("a generated folder carries its configuration; give either DIR or --board, --config, --set and -o")
        Manifest.read(Path(directory))
        return Path(directory)
    if not chosen:
        raise FlowError("nothing was chosen; give a generated folder, or --board, --config or --set")
    return Path(generate_folder(output, progress=progress, **what)["directory"])


def verify_folder(directory: str | Path | None = None, *, simulator: str = "verilator", seed: int = 1, progress: Progress = _quiet,
                  **what: Any) -> dict[str, Any]:
    """Run the benches: what ``systolith verify`` prints."""
    from ..gen.verify import verify
    result = verify(_generated(directory, None, what, progress), seed=seed, simulator=simulator, progress=progress)
    return {"passed": result.passed, "failed": result.failed, "seed": result.seed, "simulator": result.simulator, "seconds": result.seconds,
            "failures": [{"test": test, "message": message} for test, message in result.failures], "log": str(result.log)}


def build_folder(directory: str | Path | None = None, *, output: str | Path | None = None, seeds: int = 1, progress: Progress = _quiet,
                 **what: Any) -> dict[str, Any]:
    """Synthesise, place and route, or only the former for the vendor's tools: what ``systolith build`` prints."""
    from ..gen.build import build
    folder = _generated(directory, output, what, progress)
    return build(folder, seeds=seeds, progress=progress).to_dict()


def _check_device(device: str) -> None:
    if not isinstance(device, str):  # from Python
        raise FlowError(f"device must be a string, such as 'sim' or 'serial:PORT', not {device!r}")
    if device.startswith("axi:") and not _AXI.fullmatch(device):
        raise FlowError(f"device {device!r} must be axi:DEVICE, such as axi:/dev/uio0, or axi:REGISTERS,MEMORY, such as "
                        "axi:/dev/uio0,/dev/udmabuf0")
    serial = _SERIAL.fullmatch(device)
    if device not in ("sim", "model") and not serial and not any(kind.fullmatch(device) for kind in (_LITEX, _ETHERBONE, _AXI)):
        raise FlowError("device must be one of sim, model, serial:PORT[@BAUD], axi:DEVICE, litex:HOST:PORT, etherbone:HOST[:PORT], "
                        f"not {device!r}")
    if serial and serial[2] and not 300 <= int(serial[2]) <= MOST_BAUD:
        raise FlowError(f"baud must be from 300 to {MOST_BAUD}, not {serial[2]}")
    network = _LITEX.fullmatch(device) or _ETHERBONE.fullmatch(device)
    if network and network[2] and not 1 <= int(network[2]) <= 65535:
        raise FlowError(f"port of {device!r} must be from 1 to 65535, not {network[2]}")


def _check_memory(settings: Settings, board: str | None) -> None:
    if settings.memory != "ideal" and board is None:
        raise FlowError(f"memory {settings.memory!r} needs a board; add --board, or use memory 'ideal'")


def _memory_bytes(manifest: Manifest) -> int:
    """Of a device without a board's memory: all that the accelerator's address registers reach, up to 64 MiB."""
    return min(MEMORY_BYTES, 1 << manifest.config.memory.address_bits)


def device_memory(manifest: Manifest, settings: Settings) -> tuple[int, Memory]:
    """Bytes of the memory that a simulation has, and what else the cycle model knows of it."""
    latency, bus_bytes = settings.memory_latency, manifest.config.bus_bytes
    if settings.memory == "ideal":
        return _memory_bytes(manifest), Memory(latency=latency)
    from ..boards import get_board
    board = get_board(str(manifest.board))
    external = board.external_memory
    if settings.memory == "chip" or external is None:
        return board.memory_bytes, Memory(latency=latency, half_duplex=board.memory_ports == 1)
    cycles_per_beat = -(-bus_bytes // external.bytes_per_cycle)
    return external.bytes, Memory(latency=latency, cycles_per_beat=cycles_per_beat, half_duplex=external.half_duplex)


def known_memory(accelerator: Accelerator, device: str, settings: Settings) -> Memory | None:
    """What the cycle model knows of the memory behind ``device``: that of a simulation, or on a board's part; nothing of a SoC's."""
    if device == "sim":
        return device_memory(accelerator.manifest, settings)[1]
    if _SERIAL.fullmatch(device) and accelerator.manifest.variant == "bare":
        return on_chip_memory(accelerator.manifest)
    return None


def on_chip_memory(manifest: Manifest) -> Memory:
    """Of the serial shell on the manifest's board: see ``rtl/device_memory.py``, and ``rtl/word_memory.py`` behind serial engines."""
    from ..boards import get_board
    ports, config = get_board(str(manifest.board)).memory_ports, manifest.config
    word_by_word = ports == 1 and config.memory.bus_bits == 32 and config.control.engines == "serial"
    return Memory(latency=2 if word_by_word else {1: 5, 2: 8}[ports], response=ports, half_duplex=ports == 1)


def _simulated(directory: Path, manifest: Manifest, settings: Settings, progress: Progress) -> Device:
    from ..gen.simulate import compile_simulation
    from ..host.simulated import SimulatedDevice
    library = compile_simulation(directory, vcd=settings.vcd is not None, progress=progress)
    memory_bytes, memory = device_memory(manifest, settings)
    return SimulatedDevice(library.path, manifest, memory_bytes=memory_bytes, latency=memory.latency,
                           cycles_per_beat=memory.cycles_per_beat, half_duplex=memory.half_duplex, seed=settings.seed, vcd=settings.vcd,
                           trace=settings.trace)


def _serial(device: str, manifest: Manifest) -> Device:
    """The board at a serial port: found at its bitstream's rate and then made faster, unless a rate is said, which it then stays at."""
    from ..boards import get_board
    from ..host.serial_device import SerialDevice
    match = _SERIAL.fullmatch(device)
    assert match is not None
    if manifest.board is None:
        raise FlowError(f"device {device!r} needs a board's accelerator; add --board, or give a folder generated with it")
    return SerialDevice(match[1], manifest, baud=int(match[2]) if match[2] else get_board(manifest.board).baud, negotiate=not match[2])


def _csr_csv(directory: str | Path | None, manifest: Manifest) -> Path:
    """LiteX's list of addresses: that of a board's LiteX variant, or the user's own."""
    return Path("csr.csv") if manifest.variant == "bare" or directory is None else Path(directory) / "csr.csv"


def connect(device: str = "sim", *, board: str | None = None, config: str | Path | Mapping[str, Any] | None = None,
            directory: str | Path | None = None, assignments: Iterable[str] = (), settings: Settings | None = None,
            timeout_s: float | None = None, progress: Progress = _quiet) -> Accelerator:
    """An accelerator to compute on; close it, or use it in a ``with`` statement.

    Parameters
    ----------
    device : ``sim`` (the emitted Verilog, compiled), ``model`` (exact results, no clock), ``serial:PORT[@BAUD]`` (a board),
        ``axi:DEVICE`` or ``axi:REGISTERS,MEMORY`` (on the same chip, see :class:`~systolith.host.axi_device.AXIDevice`) or
        ``litex:HOST:PORT`` (a SoC behind ``litex_server``, whose ``csr.csv`` is in the current folder, or beside a board's LiteX variant)
        or ``etherbone:HOST[:PORT]`` (likewise, over the SoC's own Ethernet)
    board, config, assignments : what to generate: a board's name, a TOML file or nested mapping, ``section.key=value`` strings
    directory : a generated folder instead of these
    settings : of the simulation
    timeout_s : limit for one program on the wall clock
    progress : receives one line before a step that takes seconds, and where work had to be split

    Raises
    ------
    FlowError, ConfigError, BoardError, ManifestError, ToolError
        Each with one line that says what to do.
    """
    _check_device(device)
    settings = settings or Settings()
    assignments = list(assignments)
    if directory is not None:
        if board is not None or config is not None or assignments:
            raise FlowError("a generated folder carries its configuration; give either the folder or board, config and settings")
        manifest = Manifest.read(Path(directory))
        _check_memory(settings, manifest.board)
    else:
        target = choose(board=board, config=config, assignments=assignments)
        _check_memory(settings, board)
        if device == "model":
            manifest = Manifest(config=target.config, board=board)
        else:
            directory = generate_cached(target, progress=progress)
            manifest = Manifest.read(directory)
    if device == "model":
        from ..host.model_device import ModelDevice
        opened: Device = ModelDevice(manifest, memory_bytes=_memory_bytes(manifest), seed=settings.seed)
    elif litex := _LITEX.fullmatch(device):
        from ..host.litex import LiteXDevice
        opened = LiteXDevice(manifest, host=litex[1], port=int(litex[2]), csr_csv=_csr_csv(directory, manifest))
    elif etherbone := _ETHERBONE.fullmatch(device):
        from ..host.etherbone import EtherboneDevice
        opened = EtherboneDevice(manifest, host=etherbone[1], port=int(etherbone[2] or 1234), csr_csv=_csr_csv(directory, manifest))
    elif _SERIAL.fullmatch(device):
        opened = _serial(device, manifest)
    elif axi := _AXI.fullmatch(device):
        from ..host.axi_device import AXIDevice
        opened = AXIDevice(axi[1], axi[2], manifest)
    else:
        assert directory is not None
        opened = _simulated(Path(directory), manifest, settings, progress)
    return Accelerator(opened, manifest, timeout_s=timeout_s, notify=progress)


@contextlib.contextmanager
def simulated_board(directory: str | Path | None = None, *, latency_us: float = 0, real_time: bool = False, progress: Progress = _quiet,
                    **what: Any) -> Iterator[tuple[Path, SimulatedBoard]]:
    """A whole board in simulation, from a generated folder or for what ``what`` chooses: the folder, and what runs until the end of the
    ``with`` statement."""
    from ..boards import get_board
    from ..gen import simulate_board
    if directory is not None:
        folder = _generated(directory, None, what, progress)
    elif what.get("board") is None:
        raise FlowError("a board is simulated whole; give a folder generated for one, or --board")
    else:
        folder = generate_cached(choose(**what), progress=progress)
    program = simulate_board.compile_board(folder, progress=progress).path
    manifest = Manifest.read(folder)
    with simulate_board.simulated_board(program, get_board(str(manifest.board)).in_variant(manifest.variant), latency_us=latency_us,
                                        real_time=real_time) as running:
        yield folder, running


def write_command_trace(accelerator: Accelerator, path: str | Path) -> None:
    """Write what the engines of a simulated device did, for Perfetto or chrome://tracing; its settings must ask for a trace."""
    from ..host.simulated import SimulatedDevice
    from ..host.trace import write_trace
    if not isinstance(accelerator.device, SimulatedDevice):
        raise FlowError("only a simulated device records a trace; use --device sim")
    program = [command for plan in accelerator.plans for command in plan.program]
    write_trace(path, accelerator.device.take_events(), end=accelerator.device.cycle, program=program)
