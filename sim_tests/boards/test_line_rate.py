"""How much of the line's rate bulk transfers use, in a board's own time, with an adapter that holds each byte back for a millisecond."""

import dataclasses

import numpy as np
import pytest
from small_board import SMALL, small_board
from systolith.gen.simulate_board import simulated_board
from systolith.host.serial_device import SerialDevice

BAUD = 1_000_000
BOARD = dataclasses.replace(SMALL, baud=BAUD, clock_mhz=4e-6 * BAUD, oscillator_mhz=4e-6 * BAUD)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    manifest, program = small_board(tmp_path_factory.mktemp("small"), BOARD)
    with simulated_board(program, BOARD, latency_us=1000, real_time=True) as board, SerialDevice(board.port, manifest, baud=BAUD) as device:
        yield board, device


def test_bulk_transfers_use_nine_tenths_of_the_rate(running):
    board, device = running
    data = np.random.default_rng(1).integers(0, 256, BOARD.memory_bytes, np.uint8)
    used = {}
    for way in ("write", "read"):
        start = board.seconds
        if way == "write":
            device.write_memory(0, data)
        else:
            assert np.array_equal(device.read_memory(0, data.size), data)
        used[way] = 10 * data.size / BAUD / (board.seconds - start)
    print(", ".join(f"{way}: {100 * share:.1f} % of {BAUD} baud" for way, share in used.items()))
    assert device.link.faults == 0
    assert min(used.values()) >= 0.9 and max(used.values()) < 1


def test_a_single_register_takes_one_round_trip(running):
    board, device = running
    start = board.seconds
    for _ in range(10):
        device.read_register(0)
    trip = (board.seconds - start) / 10
    print(f"{1e3 * trip:.2f} ms per register")
    assert 2e-3 < trip < 20e-3
