"""Faults on the wire between the driver and a whole simulated board, through this computer's own terminals and in real time: a named error,
or a clean retry with the data intact; none silent. Thousands of them, by a board's own time, are in ``test_fault_campaign.py``."""

import os
import threading
import time

import numpy as np
import pytest
from faulty_line import FAULTS, FaultyLine
from nightly import NIGHTLY
from small_board import SMALL, small_board
from systolith.arch.registers import SERIAL_MEMORY, Control, State
from systolith.arch.serial_link import Frame, header
from systolith.gen.simulate_board import simulated_board
from systolith.host.accelerator import Accelerator
from systolith.host.serial_device import LinkError, PortError, SerialDevice

SEED = 1
FAULTS_EACH = 100 if NIGHTLY else 40  # the campaign has thousands
STARTS = 15
RATE = 1 / 800  # faults per byte


def opened(line, manifest, board, **options):
    """The driver, by the board's own clock, which is behind the one on the wall where the machine is busy."""
    settings = {"baud": SMALL.baud, "silence_s": 0.08, "pause_s": 0.045, "clock": lambda: board.seconds} | options
    return SerialDevice(line.port, manifest, **settings)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_board(tmp_path_factory.mktemp("small"))


@pytest.fixture
def running(small):
    manifest, program = small
    with simulated_board(program, SMALL, real_time=True) as board:
        yield manifest, board


def test_no_fault_is_silent(running, seed=SEED, count=FAULTS_EACH):
    """Products and memory of random content over a bad cable: every byte right, or the driver gives up by name; nothing else."""
    manifest, board = running
    rng = np.random.default_rng(seed)
    mirror = np.zeros(SMALL.memory_bytes, np.uint8)
    named = 0
    with FaultyLine(board.port, seed=seed) as line, Accelerator(opened(line, manifest, board), manifest) as acc:
        def sound_line(work):
            line.rate = 0
            result = work()
            line.rate = RATE
            return result

        acc.device.write_memory(0, mirror)
        line.rate = RATE
        rounds = 0
        while sum(line.faults.values()) < count:
            rounds += 1
            size = int(rng.integers(1, 250))
            address = int(rng.integers(0, SMALL.memory_bytes - 250))
            data = rng.integers(0, 256, size, np.uint8)
            if rounds % 2:
                data[:] = np.repeat(data[:size // 8 + 1] % 4, 8)[:size]  # runs of bytes that look like commands
            start = int(rng.integers(max(0, address - 50), address + 1))
            m, n, k = (int(side) for side in rng.integers(1, 7, 3))
            a, w = rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)
            try:
                acc.device.write_memory(address, data)
                mirror[address:address + size] = data
                assert np.array_equal(acc.device.read_memory(start, 250), mirror[start:start + 250]), (seed, rounds)
                if rounds % 3 == 0:
                    assert np.array_equal(acc.matmul(a, w), a.astype(np.int32) @ w), (seed, rounds)
            except LinkError as error:  # ten repetitions of one transfer in a row were hit
                assert "failed 10 times in a row" in str(error) or "nothing answers" in str(error)
                named += 1
                before = mirror.copy()
                mirror[:] = sound_line(lambda: acc.device.read_memory(0, SMALL.memory_bytes))
                if rounds % 3:  # no product wrote anywhere
                    outside = np.ones(mirror.size, bool)
                    outside[address:address + size] = False
                    assert np.array_equal(mirror[outside], before[outside]), (seed, rounds)
            else:
                if rounds % 3 == 0:
                    mirror[:] = sound_line(lambda: acc.device.read_memory(0, SMALL.memory_bytes))
        assert np.array_equal(sound_line(lambda: acc.device.read_memory(0, SMALL.memory_bytes)), mirror)
        faults, noticed = sum(line.faults.values()), acc.device.link.faults
    print(f"seed {seed}: {faults} faults ({line.faults}), {noticed} transfers repeated, {named} named errors, {rounds} rounds")
    assert all(line.faults[name] > 0 for name in FAULTS)
    assert noticed > faults / 4
    assert named < rounds / 4


def test_a_cable_pulled_in_mid_transfer(running):
    manifest, board = running
    with FaultyLine(board.port) as line:
        device = opened(line, manifest, board)
        puller = threading.Timer(0.1, line.pull)
        puller.start()
        with device, pytest.raises(PortError, match=f"port '{line.port}' has gone; is the cable still plugged in"):
            while True:
                device.write_memory(0, np.zeros(16384, np.uint8))
        puller.join()


def test_a_second_client_that_does_not_ask(running):
    """Another program's frames in between, as of one that ignores the lock: the driver repeats, and nothing of its own is lost."""
    manifest, board = running
    data = np.random.default_rng(SEED).integers(0, 256, 2000, np.uint8)
    with FaultyLine(board.port) as line, opened(line, manifest, board) as device:
        other = os.open(line.port, os.O_RDWR | os.O_NOCTTY)
        stop = threading.Event()

        def talk():
            last = board.seconds
            while not stop.wait(0.01):
                if board.seconds < last + 0.5:
                    continue
                last = board.seconds
                os.write(other, header(Frame.WRITE, SERIAL_MEMORY + 64, 1) + bytes(4))

        talker = threading.Thread(target=talk)
        talker.start()
        try:
            for start in range(0, 8000, 2000):
                device.write_memory(start, data)
                assert np.array_equal(device.read_memory(start, 2000), data)
        finally:
            stop.set()
            talker.join()
            os.close(other)
        assert np.array_equal(device.read_memory(0, 8000).reshape(4, 2000), [data] * 4), "a plain write was done"


def test_another_rate(running):
    manifest, board = running
    with pytest.raises(LinkError, match=r"nothing answers at port .* with 9600 baud; is the board powered, its bitstream loaded"):
        opened(board, manifest, board, baud=9600)


def test_bytes_at_the_wrong_rate_change_nothing(running):
    """The rate changes in mid-session, as when another program sets the port: an error, and all that was written is there afterwards."""
    manifest, board = running
    data = np.random.default_rng(SEED).integers(0, 256, 500, np.uint8)
    with opened(board, manifest, board) as device:
        device.write_memory(0, data)
        device._port._port.baudrate = 115200
        with pytest.raises(LinkError, match=r"nothing answers|failed 10 times in a row"):
            device.write_memory(1000, data)
        device._port._port.baudrate = SMALL.baud
        device.write_memory(1000, data)
        assert np.array_equal(device.read_memory(0, 500), data) and np.array_equal(device.read_memory(1000, 500), data)


def test_a_board_that_is_switched_off(small):
    manifest, program = small
    with simulated_board(program, SMALL, real_time=True) as board, FaultyLine(board.port) as line, \
            opened(line, manifest, board, clock=time.monotonic, silence_s=1, pause_s=0.3) as device:
        board.process.kill()
        board.process.wait()
        device._port.silence_s = 0.05
        with pytest.raises((LinkError, PortError)):
            device.read_memory(0, 4)


def test_lost_starts_run_the_program_once(running):
    """Whatever happens to the frames of CONTROL, and to the answers to them, a program runs exactly once."""
    manifest, board = running
    rng = np.random.default_rng(SEED)
    a, w = rng.integers(-128, 128, (2, 2), np.int8), rng.integers(-128, 128, (2, 2), np.int8)
    with FaultyLine(board.port, seed=SEED) as line, Accelerator(opened(line, manifest, board), manifest) as acc:
        for _ in range(STARTS):
            line.rate = 0
            acc.write("CONTROL", Control.RESET)
            assert acc.read("STATUS") & 3 == State.IDLE
            line.rate = 1 / 60
            acc.write("CONTROL", Control.CLEAR_IRQ)
            assert acc.read("STATUS") & 3 == State.IDLE, "something else than CLEAR_IRQ was done"
        line.rate = 0
        assert np.array_equal(acc.matmul(a, w), a.astype(np.int32) @ w)
        assert acc.device.link.faults > STARTS / 4
