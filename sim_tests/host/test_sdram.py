"""Waking a SoC's memory: which registers are written when, and what is said where it does not work."""

import numpy as np
import pytest
from systolith.arch.manifest import Manifest
from systolith.arch.settings import resolve
from systolith.host.device import DeviceError
from systolith.host.model_device import ModelDevice
from systolith.host.sdram import AWAKE, SEL, wake

CONFIG = resolve({"array": {"rows": 2, "cols": 2}})
SOC = {"registers": {f"sdram_dfii_{name}": 0xE000_0000 + 4 * index for index, name in enumerate(
           ("control", "pi0_command", "pi0_command_issue", "pi0_address", "pi0_baddress"))},
       "init": [["clock", 0, 0, "control", 14, 20000], ["mode", 0x20, 1, "command", 15, 200]]}
CONTROL, COMMAND, ISSUE, ADDRESS, BANK = SOC["registers"].values()


class SoC(ModelDevice):
    """A memory whose controller's registers are written down in ``log``, with the pauses; its address lines ``dead`` are low."""

    def __init__(self, dead=0):
        self.dead, self.log, self.registers = dead, [], {CONTROL: SEL}
        super().__init__(Manifest(config=CONFIG), memory_bytes=1 << 16)

    def wake(self):
        return wake(self, SOC, read=self.registers.__getitem__, write=self.put, wait=self.log.append)

    def put(self, address, value):
        self.registers[address] = value
        self.log.append((address, value))
        return True

    def write_memory(self, address, data):
        super().write_memory(address & ~self.dead, data)

    def read_memory(self, address, count):
        return super().read_memory(address & ~self.dead, count)


def test_the_sequence_and_only_once():
    soc = SoC()
    assert soc.wake() is True
    assert soc.log == [(ADDRESS, 0), (BANK, 0), (CONTROL, 14), 20000,
                       (ADDRESS, 0x20), (BANK, 1), (COMMAND, 15), (ISSUE, 1), 200, (CONTROL, SEL), (CONTROL, AWAKE)]
    soc.log.clear()
    soc.write_memory(0, np.arange(16, dtype=np.uint8))
    assert soc.wake() is False and not soc.log
    assert np.array_equal(soc.read_memory(0, 16), np.arange(16)), "a memory that works is left as it is"


@pytest.mark.parametrize("line", [4, 9, 15])
def test_an_address_line_that_does_nothing(line):
    soc = SoC(dead=1 << line)
    with pytest.raises(DeviceError, match=r"^the board's SDRAM does not keep what is written: at byte 0 [0-9a-f]{32} came back as "):
        soc.wake()
    assert soc.registers[CONTROL] == SEL, "the next driver tries again"
