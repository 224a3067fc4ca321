"""Components that a design has many of, and that are worth a module of their own in its Verilog."""

from typing import Any

from amaranth.lib import wiring

__all__ = ["shared"]


def shared(kind: type[wiring.Component], platform: object, **parameters: Any) -> wiring.Component:
    """``kind(**parameters)``; or, where the platform emits equal components once, an instance of what it has emitted.

    An array of 256 × 256 is a hundred thousand components, each of which Amaranth would elaborate for itself: minutes. Such a
    component has one clock, ``sync``, and registers without reset, since no ``ResetInserter`` reaches into an instance; or it has no
    registers, and says so with a ``latency_cycles`` of 0. The ports of its module are those of its signature, by their names.

    Platform overrides
    ------------------
    ``get_shared(kind, **parameters)`` returns an elaboratable with the same ports and the same behaviour.
    """
    return platform.get_shared(kind, **parameters) if hasattr(platform, "get_shared") else kind(**parameters)
