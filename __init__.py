"""Systolith: generator of systolic-array matrix-multiply accelerators, their simulation, bitstreams and driver.

The public names are loaded when first used, so that ``import systolith`` needs neither Amaranth nor any tool.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["Accelerator", "Session", "connect", "reference"]

_NAMES = {
    "connect": (".cli.flow", "connect"),
    "Accelerator": (".host.accelerator", "Accelerator"),
    "Session": (".host.session", "Session"),
    "reference": (".host.reference", None),
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _NAMES[name]
    loaded = importlib.import_module(module, __name__)
    return loaded if attribute is None else getattr(loaded, attribute)
