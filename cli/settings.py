"""From what a user says to a complete configuration: built-in default < board < configuration file < ``--set``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arch.config import Config
from ..arch.settings import merge, parse_assignments, read_toml, resolve

if TYPE_CHECKING:
    from ..boards import Board

__all__ = ["Target", "cache_folder", "choose"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """An accelerator that was asked for: its configuration, and the board it is for, if any."""

    config: Config
    board: Board | None = None
    variant: str = "bare"

    @property
    def name(self) -> str:
        """For folders and messages: the board's name, or the array's size."""
        name = self.board.name if self.board else f"{self.config.array.rows}x{self.config.array.cols}"
        return name if self.variant == "bare" else f"{name}-{self.variant}"


def choose(*, board: str | None = None, config: str | Path | Mapping[str, Any] | None = None, assignments: Iterable[str] = (),
           shell: str | None = None, variant: str | None = None) -> Target:
    """The target for a board's name, a configuration (TOML file or nested mapping) and ``section.key=value`` assignments;
    ``variant`` is one of the board's, by default ``bare``.

    Raises
    ------
    ConfigError, BoardError
        A name, key or value is wrong; the message is one line.
    """
    found: Board | None = None
    layers: list[Mapping[str, Any]] = []
    if board is not None:
        from ..boards import get_board
        found = get_board(board)
        layers.append(found.settings)
    if variant == "litex":
        layers += [found.soc_settings if found else {}, {"shell": "axi"}]
    if config is not None:
        layers.append(config if isinstance(config, Mapping) else read_toml(config))
    layers.append(parse_assignments(assignments))
    if shell is not None:
        layers.append({"shell": shell})
    return Target(config=resolve(merge(*layers), dsp_blocks=found.multipliers if found else None), board=found,
                  variant=variant or "bare")


def cache_folder(target: Target) -> Path:
    """Where the accelerator for ``target`` is generated when no folder is named: by the content that makes it."""
    import platformdirs
    digest = hashlib.sha256(json.dumps([target.config.to_dict(), repr(target.board), target.variant], sort_keys=True).encode())
    root = Path(__file__).parents[1]
    for room in ("arch", "rtl", "boards", "gen"):
        for source in sorted((root / room).glob("**/*.py")):
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return platformdirs.user_cache_path("systolith") / "generated" / f"{target.name}-{digest.hexdigest()[:24]}"
