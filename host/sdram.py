"""Waking the SDRAM of a SoC without a CPU: what LiteX's boot code does there, the host does over its link.

LiteDRAM's controller has the chip from power-up on, but no chip works before a sequence of commands that sets its mode. Registers of the
controller's DFI injector send them; the sequence is LiteDRAM's own for that chip and clock, and stands in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .device import Device, DeviceError
from .levelling import level

__all__ = ["AWAKE", "wake"]

SEL = 1                # of dfii_control: the controller has the chip, and its clock enable and reset are high
AWAKE = SEL | 2 | 4 | 8  # with CKE, ODT and RESET_N, which mean nothing then: after power-up they are 0
WORDS = 4              # at each place of the check


def wake(device: Device, soc: Mapping[str, Any], *, read: Callable[[int], int], write: Callable[[int, int], bool],
         wait: Callable[[int], None]) -> bool:
    """Make the memory of ``device`` work, unless that was done since power-up; whether it had to be. The reads of DDR3 are calibrated.

    Parameters
    ----------
    soc : of the manifest
    read, write : a word of the SoC at a byte address; a write is done once at least, and says whether it was known to be once. The chip
        may get any command of the sequence twice
    wait : let so many cycles of the SoC pass, or more

    Raises
    ------
    DeviceError
        What was written to the memory does not come back.
    """
    registers = soc["registers"]

    def command(name: str, value: int) -> None:
        write(registers[f"sdram_dfii_{name}"], value)

    if read(registers["sdram_dfii_control"]) == AWAKE:
        return False
    for _, address, bank, kind, bits, cycles in soc["init"]:
        command("pi0_address", address)
        command("pi0_baddress", bank)
        if kind == "control":
            command("control", bits)
        else:
            command("pi0_command", bits)
            command("pi0_command_issue", 1)
        wait(cycles)
    # Until it is known to work, it is as after power-up for the next one.
    command("control", SEL)
    if "levelling" in soc:
        level(device, soc, read=read, write=write)
    _check(device)
    command("control", AWAKE)
    return True


def _check(device: Device) -> None:
    """Different words where each address line is high, all written before any is read."""
    places = [0, *(1 << bit for bit in range((4 * WORDS - 1).bit_length(), (device.memory_bytes - 1).bit_length()))]
    data = np.random.default_rng(0x5D4A).integers(0, 256, (len(places), 4 * WORDS), np.uint8)
    for place, octets in zip(places, data, strict=True):
        device.write_memory(place, octets)
    for place, octets in zip(places, data, strict=True):
        found = device.read_memory(place, octets.size)
        if not np.array_equal(found, octets):
            raise DeviceError(f"the board's SDRAM does not keep what is written: at byte {place} {octets.tobytes().hex()} came back as "
                              f"{found.tobytes().hex()}; is this the board that the bitstream was built for?")
