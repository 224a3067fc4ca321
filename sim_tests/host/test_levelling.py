"""Calibrating the reads of DDR3: the middle of the widest window for each lane, and what is said where there is none."""

import numpy as np
import pytest
from ddr3_soc import CONTROL, DDR3SoC
from systolith.host import levelling
from systolith.host.device import DeviceError
from systolith.host.levelling import ATTEMPTS, Setting, widest
from systolith.host.model_device import ModelDevice
from systolith.host.sdram import AWAKE, SEL


def window(bitslip, first, last):
    return {(bitslip, delay) for delay in range(first, last + 1)}


@pytest.mark.parametrize(("windows", "settings"), [
    ((window(0, 0, 7), window(3, 2, 2)), [Setting(0, 3, 8), Setting(3, 2, 1)]),
    ((window(1, 0, 2), window(2, 5, 7)), [Setting(1, 1, 3), Setting(2, 6, 3)]),
    ((window(0, 0, 1) | window(0, 3, 6) | window(1, 1, 3), window(2, 0, 2) | window(3, 0, 2)), [Setting(0, 4, 4), Setting(2, 1, 3)])])
def test_each_lane_has_the_middle_of_its_widest_window(windows, settings):
    soc = DDR3SoC(*windows)
    assert soc.level() == settings
    assert soc.lanes == [[setting.bitslip, setting.delay] for setting in settings] and soc.selected == 0
    assert np.array_equal(soc.read_memory(3, 20), ModelDevice.read_memory(soc, 3, 20))


def test_a_setting_whose_strobe_is_not_seen_is_not_good():
    assert DDR3SoC(window(1, 1, 6), window(1, 1, 6), unseen=window(1, 1, 3)).level() == [Setting(1, 5, 3)] * 2


@pytest.mark.parametrize("dead", [0, 1])
def test_a_dead_lane_is_named(dead):
    windows = [window(1, 2, 5)] * 2
    windows[dead] = set()
    soc = DDR3SoC(*windows)
    with pytest.raises(DeviceError) as caught:
        soc.wake()
    assert str(caught.value) == (f"byte {dead} of the board's DDR3 reads right at none of 8 delays and 4 bitslips; is this the board that "
                                 "the bitstream was built for?")
    assert soc.written[CONTROL] == SEL, "the next driver tries again"


def test_a_memory_that_works_is_left_as_it_is():
    soc = DDR3SoC(window(1, 2, 5), window(2, 3, 6))
    assert soc.wake() is True and soc.lanes == [[1, 3], [2, 4]] and soc.written[CONTROL] == AWAKE
    pulses = soc.pulses
    assert soc.wake() is False and soc.pulses == pulses


def test_a_register_that_was_written_twice():
    """A step too many while the delays are tried, or when one is set, is found, and all begins anew."""
    soc = DDR3SoC(window(1, 2, 2), window(2, 3, 3))
    soc.level()
    steps = soc.pulses
    for twice in range(1, steps + 1):
        soc = DDR3SoC(window(1, 2, 2), window(2, 3, 3), twice=[twice])
        assert soc.level() == [Setting(1, 2, 1), Setting(2, 3, 1)] and soc.lanes == [[1, 2], [2, 3]], twice


@pytest.mark.parametrize("seed", range(3))
def test_a_link_that_knows_what_it_doubled(seed):
    """One write in four, so that no scan passes without: every count is right all the same."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    soc = DDR3SoC(window(1, 2, 2), window(2, 3, 3), twice=np.flatnonzero(rng.random(10000) < 0.25).tolist(), knows=True)
    assert soc.level() == [Setting(1, 2, 1), Setting(2, 3, 1)] and soc.lanes == [[1, 2], [2, 3]]


def test_a_link_that_doubles_everything(monkeypatch):
    monkeypatch.setattr(levelling, "PATIENCE", 20)
    with pytest.raises(DeviceError, match=r"^register rdly_dq_bitslip_rst of the board's DDR3 was not written exactly once in 20 attem"):
        DDR3SoC(window(1, 2, 5), window(2, 3, 6), twice=range(1000), knows=True).level()


def test_settings_that_do_not_last():
    class Drifting(DDR3SoC):
        reads = 0

        def read_memory(self, address, count):
            self.reads += 1
            found = super().read_memory(address, count)
            return found ^ (self.reads % 33 == 0)  # the read that follows each scan

    with pytest.raises(DeviceError, match=rf"^byte 0 of the board's DDR3 reads wrong where it had read right, {ATTEMPTS} times; is this"):
        Drifting(window(1, 2, 5), window(2, 3, 6)).level()


def test_no_window():
    assert widest(np.zeros((4, 8), bool)) is None
