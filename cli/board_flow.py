"""What the commands for boards do: finding them, and testing them."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..arch.config import ConfigError
from ..arch.manifest import Manifest, ManifestError
from ..arch.registers import MAGIC, offset_of
from ..host.device import Device, DeviceError
from . import flow
from .flow import FlowError, Progress, _quiet

if TYPE_CHECKING:
    from ..host.serial_device import SerialDevice

__all__ = ["probe", "selftest"]

SILENCE_S = 0.5  # an answer that is not there by then is none: each port and rate costs a few of these


def probe(directory: str | Path | None = None, *, ports: Sequence[str] | None = None, progress: Progress = _quiet) -> list[dict[str, Any]]:
    """Each serial port and what answers there: what ``systolith probe`` prints.

    ``ports``, each with ``@BAUD`` or not, are looked at instead of all; ``directory`` is a generated folder that ``matches`` is about.
    Without it, folders ``build/*`` are compared.
    """
    from ..boards import BOARDS
    from ..host.serial_port import list_ports
    known = dict(list_ports())
    rates = list(dict.fromkeys(board.baud for board in BOARDS.values() if board.link == "serial"))
    folders = _folders(directory)
    rows = []
    for name in ports if ports is not None else list(known):
        port, _, baud = name.partition("@")
        if baud and not baud.isdigit():
            raise FlowError(f"baud must be a whole number, not {baud!r}")
        progress(f"looking at {port}")
        row = {"port": port, "description": known.get(port, ""), "found": False}
        for rate in [int(baud)] if baud else rates:
            row |= _look(port, rate, folders, named=directory is not None)
            if row["found"]:
                break
        rows.append(row)
    return rows


def _folders(directory: str | Path | None) -> dict[int, str]:
    """Folder by build hash: the one that is named, or those under ``build``."""
    if directory is not None:
        return {Manifest.read(directory).build_hash: str(directory)}
    found = {}
    for path in sorted(Path("build").glob("*/manifest.json")):
        try:
            found[Manifest.read(path.parent).build_hash] = str(path.parent)
        except (ManifestError, ConfigError):
            continue
    return found


def _look(port: str, baud: int, folders: dict[int, str], *, named: bool) -> dict[str, Any]:
    from ..host.serial_device import SerialDevice
    try:
        with SerialDevice(port, None, baud=baud, negotiate=False, silence_s=SILENCE_S) as device:
            if device.read_register(offset_of("MAGIC")) != MAGIC:
                return {"what": "something that is no accelerator"}
            row = {"found": True, "baud": baud, **_identity(device)}
            folder = folders.get(int(row["hash"], 16))
            row |= _memory(device, folder)
    except DeviceError as error:
        return {"what": str(error)}
    if folder is not None:
        row["built_from"] = folder
    if named:
        row["matches"] = folder is not None
    return {"what": "an accelerator" if folder is not None or not named else "an accelerator of another build"} | row


def _memory(device: SerialDevice, folder: str | None) -> dict[str, Any]:
    """Whether the memory beside the part works, where the folder of its build says that there is one."""
    if folder is None or (soc := Manifest.read(folder).soc) is None:
        return {}
    try:
        device.wake(soc)
    except DeviceError as error:
        return {"memory_works": False, "what": f"an accelerator, but {error}"}
    return {"memory_works": True}


def _identity(device: Device) -> dict[str, Any]:
    """What the identity registers show, for people."""
    names = ("HASH_HI", "HASH_LO", "VERSION", "ARRAY", "MEMORY_BYTES", "FEATURES")
    values = dict(zip(names, device.read_registers([offset_of(name) for name in names]), strict=True))
    return {"hash": f"{values['HASH_HI']:08x}{values['HASH_LO']:08x}", "command_set_version": values["VERSION"],
            "array": f"{values['ARRAY'] & 0xFFFF} × {values['ARRAY'] >> 16}", "memory_kib": values["MEMORY_BYTES"] // 1024}


def selftest(device: str, *, quick: bool = False, seed: int = 1, progress: Progress = _quiet, directory: str | Path | None = None,
             board: str | None = None, config: str | Path | None = None, assignments: Iterable[str] = ()) -> dict[str, Any]:
    """Test a device: what ``systolith selftest`` prints, a self-contained report."""
    from ..host.selftest import selftest as run
    from ..host.serial_device import SerialDevice
    start = time.monotonic()
    settings = flow.Settings(seed=seed)
    with flow.connect(device, directory=directory, board=board, config=config, assignments=assignments, settings=settings,
                      progress=progress) as accelerator:
        manifest = accelerator.manifest
        report: dict[str, Any] = {
            "device": device, "board": manifest.board, "hash": f"{manifest.build_hash:016x}", "generated_by": manifest.version,
            "systolith": __version__, "host": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            "array": f"{accelerator.config.array.rows} × {accelerator.config.array.cols}", "memory_bytes": accelerator.device.memory_bytes}
        report |= run(accelerator, seed=seed, quick=quick, memory=flow.known_memory(accelerator, device, settings), progress=progress)
        if isinstance(accelerator.device, SerialDevice):
            report |= {"baud": accelerator.device.link.port.baud, "repeated_transfers": accelerator.device.link.faults}
    return {name: value for name, value in report.items() if value is not None} | {"seconds": round(time.monotonic() - start, 1)}
