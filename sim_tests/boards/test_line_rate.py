"""How much of the line's rate bulk transfers use, in a board's own time, with an adapter that holds each byte back for a millisecond."""

import contextlib
import dataclasses

import numpy as np
import pytest
from lockstep import LockstepPort, lockstep_library
from nightly import NIGHTLY
from small_board import SMALL, small_board
from systolith.host.serial_device import SerialDevice

RATES = (1_000_000, 3_000_000, 6_000_000, 12_000_000, 18_750_000)  # the last is a quarter of the ULX3S-85F's clock
BITS = 500  # of silence that cut a frame
LASTS_S = 0.03  # of the line, one way; in the nightly run all of the memory


def board_at(baud):
    """Four cycles per bit, and its times in bits, so that all rates have the same Verilog."""
    return dataclasses.replace(SMALL, baud=baud, clock_mhz=4e-6 * baud, oscillator_mhz=4e-6 * baud, frame_timeout_s=BITS / baud,
                               memory_kib=128)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    manifest, _ = small_board(folder, board_at(RATES[0]))
    library = lockstep_library(folder)

    @contextlib.contextmanager
    def at(baud):
        port = LockstepPort(library, board_at(baud), silence_s=0.1, latency_s=0.001)
        with SerialDevice(port, manifest, pause_s=2.5 * BITS / baud) as device:
            yield device, port
        port.switch_off()

    return at


@pytest.mark.parametrize("baud", RATES)
def test_bulk_transfers_use_nine_tenths_of_the_rate(opened, baud):
    with opened(baud) as (device, port):
        size = device.memory_bytes if NIGHTLY else max(8, int(LASTS_S * baud / 10 / 1024)) * 1024
        data = np.random.default_rng(1).integers(0, 256, size, np.uint8)
        start = port.clock()
        device.write_memory(0, data)
        written = port.clock()
        back = device.read_memory(0, size)
        used = [10 * size / baud / seconds for seconds in (written - start, port.clock() - written)]
        assert np.array_equal(back, data) and device.link.faults == 0
    print(f"{size} bytes at {baud} baud: written at {100 * used[0]:.1f} %, read at {100 * used[1]:.1f} % of it")
    assert min(used) >= 0.9 and max(used) < 1


def test_a_single_register_takes_one_round_trip(opened):
    with opened(RATES[0]) as (device, port):
        start = port.clock()
        for _ in range(10):
            device.read_register(0)
        trip = (port.clock() - start) / 10
    print(f"{1e3 * trip:.2f} ms per register")
    assert 2e-3 < trip < 2.3e-3
