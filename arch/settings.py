"""From the few values that users write to a complete configuration: files, assignments, layers of them, and sizes that follow.

What is left out follows from the array, so that 1 × 1 and 256 × 256 are valid as they stand.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .config import SIDE_DSP_OF_SINGLE, ArrayConfig, Config, ConfigError, ControlConfig, EpilogueConfig, MemoryConfig

__all__ = ["merge", "parse_assignments", "read_toml", "resolve"]

_SECTIONS: dict[str, type] = {"array": ArrayConfig, "memory": MemoryConfig, "epilogue": EpilogueConfig,
                              "control": ControlConfig}


def _suggest(word: str, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(choices)}"


def check_keys(settings: Mapping[str, Any]) -> None:
    """Raise :class:`ConfigError` for a section or key that does not exist, suggesting the nearest."""
    for section, values in settings.items():
        if section == "shell":
            continue
        if section not in _SECTIONS:
            raise ConfigError(f"unknown configuration section {section!r}{_suggest(section, [*_SECTIONS, 'shell'])}")
        if not isinstance(values, Mapping):
            raise ConfigError(f"configuration section {section!r} must be a table of keys, not {values!r}")
        known = [field.name for field in dataclasses.fields(_SECTIONS[section])]
        for key in values:
            if key not in known:
                raise ConfigError(f"unknown configuration key '{section}.{key}'{_suggest(key, known)}")


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of all layers, later ones over earlier ones, key by key."""
    result: dict[str, Any] = {}
    for layer in layers:
        check_keys(layer)
        for section, values in layer.items():
            if section == "shell":
                result[section] = values
            else:
                result.setdefault(section, {}).update(values)
    return result


def _filling(array: ArrayConfig, dsp_blocks: int) -> ArrayConfig:
    """``array`` with what multiplies as many of its columns as can be with ``dsp_blocks``, the other columns in look-up tables."""
    if array.rows * array.dsp_columns <= dsp_blocks:
        return array
    pairs = array.rows % 2 == 0 and array.activations == "int8" and array.dataflow == "ws"
    if array.side_dsp and not pairs:
        raise ConfigError(SIDE_DSP_OF_SINGLE)
    multiplier, each = ("fast-inner-product", array.rows // 2) if pairs else ("single", array.rows)
    dsp_cols = min(array.dsp_columns, max(0, dsp_blocks // each - array.side_dsp))
    side_dsp = array.side_dsp or (pairs and dsp_blocks - dsp_cols * each >= each)
    return dataclasses.replace(array, multiplier=multiplier, dsp_cols=dsp_cols, side_dsp=side_dsp)


def resolve(settings: Mapping[str, Any] | None = None, *, dsp_blocks: int | None = None) -> Config:
    """The complete configuration for ``settings`` (nested as in TOML); sizes that are not set follow the array.

    ``dsp_blocks`` is how many multipliers a part has: where one for each row and column is more, "auto" becomes "fast-inner-product",
    in DSP blocks as far as these go round, epilogue first.
    """
    settings = merge(settings or {})
    array = ArrayConfig(**settings.get("array", {}))
    memory = dict(settings.get("memory", {}))
    epilogue = dict(settings.get("epilogue", {}))
    # A weight scratchpad holds at least two tiles, so that one loads while the other is used; activations at least 256 rows.
    memory.setdefault("activation_kib", max(64, array.rows * array.activation_bytes * 256 // 1024))
    memory.setdefault("weight_kib", max(48, -(-2 * array.rows * array.cols // 1024)))
    shell = settings.get("shell", "axi")
    # Behind a serial link the host is slow for other reasons, and the memory is on the chip.
    memory.setdefault("error_address", shell != "serial")
    memory_config = MemoryConfig(**memory)
    control = ({"queue_programs": 0, "watchdog_bits": 0} if shell == "serial" else {}) | settings.get("control", {})
    if control.get("engines") == "serial":
        epilogue = {"lanes": 1, "multiplier": "serial", "add": False, "max_pool": False} | epilogue
    if array.activations == "int16":
        epilogue.setdefault("add", False)
    epilogue.setdefault("lanes", min(4, array.cols, memory_config.bus_bits // (8 * array.activation_bytes)))
    epilogue_config = EpilogueConfig(**epilogue)
    if array.multiplier == "auto" and dsp_blocks is not None:
        array = _filling(array, max(0, dsp_blocks - epilogue_config.dsp_blocks(array.accumulator_bits)))
    return Config(array=array, memory=memory_config, epilogue=epilogue_config,
                  control=ControlConfig(**control), shell=shell)


def read_toml(path: str | Path) -> dict[str, Any]:
    """Settings in a TOML file. Raises :class:`ConfigError` where the file is absent or malformed."""
    try:
        with open(path, "rb") as file:
            settings = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"configuration file {str(path)!r} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {str(path)!r} is not TOML: {error}") from None
    check_keys(settings)
    return settings


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Settings from ``section.key=value`` strings; values are TOML, and a bare word is a string."""
    settings: dict[str, Any] = {}
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator or not path or not text:
            raise ConfigError(f"setting {assignment!r} must have the form section.key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        section, dot, key = path.strip().partition(".")
        if dot:
            settings = merge(settings, {section: {key: value}})
        else:
            settings = merge(settings, {section: value})
    return settings
