"""Calibrating the reads of DDR3: the middle of the widest window for each lane, and what is said where there is none."""

import numpy as np
import pytest
from systolith.arch.manifest import Manifest
from systolith.arch.settings import resolve
from systolith.host.device import DeviceError
from systolith.host.levelling import ATTEMPTS, Setting, level, widest
from systolith.host.model_device import ModelDevice
from systolith.host.sdram import AWAKE, SEL, wake

CONFIG = resolve({"array": {"rows": 2, "cols": 2}})
NAMES = ("dly_sel", "rdly_dq_rst", "rdly_dq_inc", "rdly_dq_bitslip_rst", "rdly_dq_bitslip", "burstdet_clr", "burstdet_seen")
REGISTERS = {f"ddrphy_{name}": 0xE000_0000 + 4 * index for index, name in enumerate(NAMES)}
REGISTERS |= {f"sdram_dfii_{name}": 0xE000_0800 + 4 * index for index, name in enumerate(
    ("control", "pi0_command", "pi0_command_issue", "pi0_address", "pi0_baddress"))}
CONTROL = REGISTERS["sdram_dfii_control"]
SOC = {"registers": REGISTERS, "init": [["mode", 0x20, 1, "command", 15, 200]], "levelling": {"lanes": 2, "delays": 8, "bitslips": 4}}
NAME = {address: name.removeprefix("ddrphy_") for name, address in REGISTERS.items()}


class SoC(ModelDevice):
    """A memory whose lanes read right in ``windows``: (bitslip, delay) of each; its strobe is seen at those ``unseen`` does not name."""

    def __init__(self, *windows, unseen=(), twice=()):
        self.windows, self.unseen, self.twice = windows, unseen, set(twice)
        self.lanes = [[3, 5] for _ in windows]  # as somebody left them
        self.selected, self.seen, self.written, self.pulses = 0, 0, {CONTROL: SEL}, 0
        super().__init__(Manifest(config=CONFIG), memory_bytes=1 << 16)

    def level(self):
        return level(self, SOC, read=self.get, write=self.put)

    def wake(self):
        return wake(self, SOC, read=self.get, write=self.put, wait=lambda cycles: None)

    def get(self, address):
        return self.seen if NAME[address] == "burstdet_seen" else self.written[address]

    def put(self, address, value):
        self.written[address] = value
        name = NAME[address]
        if name == "dly_sel":
            self.selected = value
        elif name == "burstdet_clr":
            self.seen = 0
        elif name.startswith("rdly"):
            self.pulses += 1
            for _ in range(1 + (self.pulses in self.twice)):  # as where an answer was lost
                for number, lane in enumerate(self.lanes):
                    if self.selected >> number & 1:
                        place = int("bitslip" not in name)
                        lane[place] = 0 if name.endswith("rst") else (lane[place] + 1) % (4, 8)[place]

    def read_memory(self, address, count):
        assert not self.selected, "a lane that is chosen is held"
        found = super().read_memory(address, count)
        for number, (lane, window) in enumerate(zip(self.lanes, self.windows, strict=True)):
            if tuple(lane) not in self.unseen:
                self.seen |= 1 << number
            if tuple(lane) not in window:
                found[(number - address) % len(self.lanes)::len(self.lanes)] ^= 0x10
        return found


def window(bitslip, first, last):
    return {(bitslip, delay) for delay in range(first, last + 1)}


@pytest.mark.parametrize(("windows", "settings"), [
    ((window(0, 0, 7), window(3, 2, 2)), [Setting(0, 3, 8), Setting(3, 2, 1)]),
    ((window(1, 0, 2), window(2, 5, 7)), [Setting(1, 1, 3), Setting(2, 6, 3)]),
    ((window(0, 0, 1) | window(0, 3, 6) | window(1, 1, 3), window(2, 0, 2) | window(3, 0, 2)), [Setting(0, 4, 4), Setting(2, 1, 3)])])
def test_each_lane_has_the_middle_of_its_widest_window(windows, settings):
    soc = SoC(*windows)
    assert soc.level() == settings
    assert soc.lanes == [[setting.bitslip, setting.delay] for setting in settings] and soc.selected == 0
    assert np.array_equal(soc.read_memory(3, 20), ModelDevice.read_memory(soc, 3, 20))


def test_a_setting_whose_strobe_is_not_seen_is_not_good():
    assert SoC(window(1, 1, 6), window(1, 1, 6), unseen=window(1, 1, 3)).level() == [Setting(1, 5, 3)] * 2


@pytest.mark.parametrize("dead", [0, 1])
def test_a_dead_lane_is_named(dead):
    windows = [window(1, 2, 5)] * 2
    windows[dead] = set()
    soc = SoC(*windows)
    with pytest.raises(DeviceError) as caught:
        soc.wake()
    assert str(caught.value) == (f"byte {dead} of the board's DDR3 reads right at none of 8 delays and 4 bitslips; is this the board that "
                                 "the bitstream was built for?")
    assert soc.written[CONTROL] == SEL, "the next driver tries again"


def test_a_memory_that_works_is_left_as_it_is():
    soc = SoC(window(1, 2, 5), window(2, 3, 6))
    assert soc.wake() is True and soc.lanes == [[1, 3], [2, 4]] and soc.written[CONTROL] == AWAKE
    pulses = soc.pulses
    assert soc.wake() is False and soc.pulses == pulses


def test_a_register_that_was_written_twice():
    """A step too many while the delays are tried, or when one is set, is found, and all begins anew."""
    soc = SoC(window(1, 2, 2), window(2, 3, 3))
    soc.level()
    steps = soc.pulses
    for twice in range(1, steps + 1):
        soc = SoC(window(1, 2, 2), window(2, 3, 3), twice=[twice])
        assert soc.level() == [Setting(1, 2, 1), Setting(2, 3, 1)] and soc.lanes == [[1, 2], [2, 3]], twice


def test_settings_that_do_not_last():
    class Drifting(SoC):
        reads = 0

        def read_memory(self, address, count):
            self.reads += 1
            found = super().read_memory(address, count)
            return found ^ (self.reads % 33 == 0)  # the read that follows each scan

    with pytest.raises(DeviceError, match=rf"^byte 0 of the board's DDR3 reads wrong where it had read right, {ATTEMPTS} times; is this"):
        Drifting(window(1, 2, 5), window(2, 3, 6)).level()


def test_no_window():
    assert widest(np.zeros((4, 8), bool)) is None
