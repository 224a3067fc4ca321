"""The clock that can be believed: what nextpnr reports, and the limits that it does not know.

ECP5: nextpnr times neither the multiply between a DSP's own input and output registers nor the block RAM's shortest
clock pulse. The bounds below are the DSP's clock-to-output and that pulse width in Project Trellis' timing tables.
iCE40: nextpnr's arcs through SB_MAC16 are placeholders of 0.1 ns; 2 ns are added to the period of a design that uses it.
Gowin: nextpnr times no path that leaves block RAM and none through a multiplier, so what it says beyond the clock that was asked for is
not known of these. GateMate: multipliers are made of the fabric, and they and the block RAM have times (worst case, 0.11.1).
"""

from __future__ import annotations

import dataclasses

from ..boards.primitives_ice40 import DSP_NS

__all__ = ["Fmax", "credible_fmax"]

ECP5_DSP_MHZ = {"6": 258.0, "7": 289.0, "8": 328.0}
ECP5_BRAM_MHZ = {"6": 212.0, "7": 254.0, "8": 271.0}


@dataclasses.dataclass(frozen=True)
class Fmax:
    """``mhz`` is credible, ``nextpnr_mhz`` what the tool says, ``limited_by`` what bounds it, ``rule`` how it was derived."""
    mhz: float
    nextpnr_mhz: float
    limited_by: str
    rule: str


def credible_fmax(nextpnr_mhz: float, *, family: str, speed: str, path: str, registered_dsp: bool, dsp: bool, bram: bool,
                  asked_mhz: float) -> Fmax:
    """The least of nextpnr's figure and the limits of the blocks in the design.

    Parameters
    ----------
    path : nextpnr's critical path, in words
    registered_dsp : a DSP block has input and output registers in use
    dsp, bram : such blocks share the clock
    asked_mhz : the clock that nextpnr was asked for
    """
    if family == "gatemate":
        return Fmax(nextpnr_mhz, nextpnr_mhz, path, "nextpnr's Fmax")
    if family == "gowin":
        return _gowin_fmax(nextpnr_mhz, path, [name for name, used in (("multipliers", dsp), ("what leaves block RAM", bram)) if used],
                           asked_mhz)
    if family == "ice40":
        if not dsp:
            return Fmax(nextpnr_mhz, nextpnr_mhz, path, "nextpnr's Fmax")
        return Fmax(1e3 / (1e3 / nextpnr_mhz + DSP_NS), nextpnr_mhz, path,
                    f"nextpnr's period + {DSP_NS:g} ns, because it has no times for SB_MAC16")
    limits = [(nextpnr_mhz, path)]
    rule = ["nextpnr"]
    if registered_dsp:
        limits.append((ECP5_DSP_MHZ[speed], "DSP block between its registers"))
        rule.append(f"{ECP5_DSP_MHZ[speed]:g} MHz for a DSP with registers")
    if bram:
        limits.append((ECP5_BRAM_MHZ[speed], "shortest clock pulse of block RAM"))
        rule.append(f"{ECP5_BRAM_MHZ[speed]:g} MHz for block RAM")
    mhz, limited_by = min(limits)
    return Fmax(mhz, nextpnr_mhz, limited_by, f"least of {', '.join(rule)}" if len(rule) > 1 else "nextpnr's Fmax")


def _gowin_fmax(nextpnr_mhz: float, path: str, untimed: list[str], asked_mhz: float) -> Fmax:
    """nextpnr's figure as far as the clock that was asked for, where the design has what it has no times for."""
    if not untimed:
        return Fmax(nextpnr_mhz, nextpnr_mhz, path, "nextpnr's Fmax")
    unknown = f"nextpnr has no times for {' and '.join(untimed)}"
    mhz, limited_by = min((nextpnr_mhz, path), (asked_mhz, f"the clock asked for, because {unknown}"))
    return Fmax(mhz, nextpnr_mhz, limited_by, f"nextpnr's Fmax, but no more than the {asked_mhz:g} MHz asked for: {unknown}")
