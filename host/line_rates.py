"""Which rates a serial line is tried at."""

from __future__ import annotations

from typing import NamedTuple

from ..arch.serial_link import LEAST_BIT_CYCLES

__all__ = ["Rate", "line_rates"]

# What USB adapters make exactly: FTDI's divide 3 MHz, those of high speed 12 MHz; Silicon Labs' and WCH's know the same ones.
_ADAPTERS = (12_000_000, 8_000_000, 6_000_000, 4_000_000, 3_000_000, 2_000_000, 1_500_000, 1_000_000, 921_600, 460_800, 230_400, 115_200)
_TOLERANCE = 0.025
_STEP = 0.85


class Rate(NamedTuple):
    """``baud`` bits per second at the adapter, ``cycles`` of the device's clock."""
    baud: int
    cycles: int


def line_rates(clock_hz: float, built_baud: int) -> list[Rate]:
    """Rates above ``built_baud`` that a device with that clock can make, the highest first.

    Whole numbers of cycles from the least on, in steps of at least 15 %; where an adapter's rate is within 2.5 % of one, that is asked
    for, and a step that would hide such a rate is left out.
    """
    exact: dict[int, int] = {}
    for baud in _ADAPTERS:
        cycles = round(clock_hz / baud)
        if cycles >= LEAST_BIT_CYCLES and abs(cycles * baud / clock_hz - 1) <= _TOLERANCE:
            exact.setdefault(cycles, baud)
    rates: list[Rate] = []
    for cycles in range(LEAST_BIT_CYCLES, int(clock_hz / built_baud / 1.02)):
        rate = Rate(exact.get(cycles, round(clock_hz / cycles)), cycles)
        hides = any(_STEP < near / cycles < 1 / _STEP for near in exact if near != cycles)
        if (cycles in exact or not hides) and (not rates or rate.baud <= _STEP * rates[-1].baud or cycles in exact):
            rates.append(rate)
    return rates
