"""The manifest: what a generated folder holds and what its accelerator says about itself in its identity registers.

``gen`` writes it, ``host`` reads it: a driver refuses a device that is not the one which the manifest describes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .commands import COMMAND_SET_VERSION
from .config import Config, ConfigError
from .registers import MAGIC, REGISTERS, Feature
from .settings import resolve

__all__ = ["MANIFEST_NAME", "VERILOG_NAME", "Manifest", "ManifestError", "identity_registers"]

MANIFEST_NAME = "manifest.json"
VERILOG_NAME = "systolith.v"
SCHEMA = 1


class ManifestError(ValueError):
    """A folder without a usable manifest, or whose files are not those that the manifest names."""


def identity_registers(config: Config, *, build_hash: int = 0) -> dict[str, int]:
    """Values of the registers that identify an accelerator; ``build_hash`` has 64 bits.

    MEMORY_BYTES is not among them: the shell around the accelerator answers it.
    """
    features = Feature.REQUANTISE
    if config.array.transposer:
        features |= Feature.TRANSPOSER
    if config.control.counter_bits:
        features |= Feature.COUNTERS
    if config.epilogue.add:
        features |= Feature.ADD
    if config.epilogue.max_pool:
        features |= Feature.MAX_POOL
    if config.array.weights == "int4":
        features |= Feature.INT4_WEIGHTS
    if config.array.activations == "int16":
        features |= Feature.INT16_ACTIVATIONS
    if config.array.accumulator_bits > 32:
        features |= Feature.WIDE_ACCUMULATOR
    return {
        "MAGIC": MAGIC,
        "VERSION": COMMAND_SET_VERSION,
        "HASH_LO": build_hash & 0xFFFFFFFF,
        "HASH_HI": build_hash >> 32,
        "FEATURES": int(features),
        "ARRAY": config.array.rows | config.array.cols << 16,
        "ACTIVATION_ROWS": config.activation_rows,
        "WEIGHT_ROWS": config.weight_rows,
        "ACCUMULATOR_ROWS": config.memory.accumulator_rows,
        "PARAMETER_GROUPS": config.parameter_groups,
        "LANES": config.epilogue.lanes | config.bus_bytes << 16,
        "QUEUE_PROGRAMS": config.control.queue_programs,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """One generated accelerator.

    ``hash`` is the SHA-256 of the Verilog without its identity module, in hexadecimal; ``memory_bytes`` the device memory behind a
    serial line, 0 where memory is outside; ``board`` the board's name, if any; ``tops`` the top module for each use (``core`` for
    simulation, ``board`` for synthesis); ``soc``, of a board's LiteX variant, the registers with which a host wakes its memory, and
    how (:mod:`systolith.host.sdram`); ``files`` the SHA-256 of each file beside the manifest.
    """

    config: Config
    hash: str = "0" * 64
    memory_bytes: int = 0
    board: str | None = None
    version: str = ""
    tops: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"core": "systolith"})
    tools: Mapping[str, str] = dataclasses.field(default_factory=dict)
    soc: Mapping[str, Any] | None = None
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def variant(self) -> str:
        """``litex``: a SoC with memory beside the part; or ``bare``."""
        return "bare" if self.soc is None else "litex"

    @property
    def build_hash(self) -> int:
        """The first 64 bits of the hash, as the HASH registers show them."""
        return int(self.hash[:16], 16)

    @property
    def identity(self) -> dict[str, int]:
        """Value of each register that identifies the accelerator."""
        return identity_registers(self.config, build_hash=self.build_hash)

    def to_json(self) -> str:
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "systolith": self.version,
            "board": self.board,
            "hash": self.hash,
            "command_set_version": COMMAND_SET_VERSION,
            "tops": dict(self.tops),
            "config": self.config.to_dict(),
            "sizes": {
                "activation_rows": self.config.activation_rows,
                "weight_rows": self.config.weight_rows,
                "accumulator_rows": self.config.memory.accumulator_rows,
                "parameter_groups": self.config.parameter_groups,
                "bus_bytes": self.config.bus_bytes,
                "macs_per_cycle": self.config.macs_per_cycle,
                "memory_bytes": self.memory_bytes,
            },
            "registers": {register.name: register.offset for register in REGISTERS},
            "tools": dict(self.tools),
            **({} if self.soc is None else {"soc": dict(self.soc)}),
            "files": dict(self.files),
        }
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str = "manifest") -> Manifest:
        """The manifest in ``text``; ``source`` names it in errors."""
        try:
            document = json.loads(text)
            schema = document["schema"]
            if schema != SCHEMA:
                raise ManifestError(f"{source}: schema must be {SCHEMA}, not {schema!r}; generate again with this version")
            return cls(config=resolve(document["config"]), hash=document["hash"], board=document["board"],
                       memory_bytes=document["sizes"]["memory_bytes"], version=document["systolith"], tops=document["tops"],
                       tools=document["tools"], soc=document.get("soc"), files=document["files"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ManifestError(f"{source} is not a manifest: {type(error).__name__} {error}") from None
        except ConfigError as error:
            raise ManifestError(f"{source}: {error}") from None

    @classmethod
    def read(cls, directory: str | Path) -> Manifest:
        """The manifest in a generated folder."""
        directory = Path(directory)
        path = directory / MANIFEST_NAME
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(f"folder {str(directory)!r} has no readable {MANIFEST_NAME} ({_reason(error)}); "
                                f"run: systolith generate -o {directory}") from None
        return cls.from_json(text, source=str(path))

    def check_verilog(self, directory: str | Path) -> str:
        """The text of ``systolith.v`` in ``directory``; raises :class:`ManifestError` unless it is as it was generated."""
        path = Path(directory) / VERILOG_NAME
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ManifestError(f"file {str(path)!r} cannot be read: {_reason(error)}; generate again") from None
        if hashlib.sha256(data).hexdigest() != self.files.get(VERILOG_NAME):
            raise ManifestError(f"file {str(path)!r} is not as it was generated; generate again")
        return data.decode()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
