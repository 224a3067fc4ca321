"""Thousands of faults on the line of a whole simulated board, whose time stands while the driver thinks: the same in every run."""

import dataclasses
import os
import random
import types

import numpy as np
import pytest
from faulty_port import FAULTS, FaultyPort
from lockstep import lockstep_library
from small_board import SMALL, small_board
from systolith.arch.registers import Control, State
from systolith.host import serial_link
from systolith.host.accelerator import Accelerator
from systolith.host.serial_device import LinkError, SerialDevice

NIGHTLY = bool(os.environ.get("SYSTOLITH_NIGHTLY"))
SEED = 1
SEEDS, COUNT = (range(SEED, SEED + 12), 500) if NIGHTLY else (range(SEED, SEED + 2), 150)  # faults of each seed, on each board
RATE = 1 / 250  # faults per byte
MOST = 64       # bytes of one write or read
BITS = 64       # of silence that cut a frame
# One whose bits have the fewest cycles, and one whose rate the driver raises.
BOARDS = {"fixed": dataclasses.replace(SMALL, memory_kib=2, frame_timeout_s=BITS / SMALL.baud),
          "raised": dataclasses.replace(SMALL, memory_kib=2, baud=SMALL.baud // 2, frame_timeout_s=2 * BITS / SMALL.baud)}


@pytest.fixture(scope="module", params=BOARDS)
def small(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    manifest, _ = small_board(folder, BOARDS[request.param])
    return BOARDS[request.param], manifest, lockstep_library(folder)


@pytest.fixture
def opened(small, monkeypatch):
    """A function that gives a driver at a faulty line, sound for now, and random numbers that are those of its seed."""
    board, manifest, library = small
    ports = []

    def make(seed):
        rng = random.Random(seed)
        monkeypatch.setattr(serial_link, "secrets", types.SimpleNamespace(randbits=rng.getrandbits, token_bytes=rng.randbytes))
        ports.append(FaultyPort(library, board, silence_s=0.003, seed=seed))
        return ports[-1], Accelerator(SerialDevice(ports[-1], manifest, pause_s=2.5 * board.frame_timeout_s), manifest)

    yield make
    for port in ports:
        port.switch_off()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_fault_is_silent(small, opened, seed):
    """Products and memory of random content over a bad line: every byte right, or the driver gives up by name; nothing else."""
    board, _, _ = small
    port, acc = opened(seed)
    device = acc.device
    rng = np.random.default_rng(seed)
    mirror = rng.integers(0, 256, board.memory_bytes, np.uint8)
    named = rounds = products = 0

    def whole_memory():
        port.rate = 0.0
        result = device.read_memory(0, board.memory_bytes)
        port.rate = RATE
        return result

    device.write_memory(0, mirror)
    port.rate = RATE
    while sum(port.faults.values()) < COUNT:
        rounds += 1
        size = int(rng.integers(1, MOST))
        address = int(rng.integers(0, board.memory_bytes - MOST))
        data = rng.integers(0, 256, size, np.uint8)
        if rounds % 2:
            data[:] = np.repeat(data[:size // 8 + 1] % 4 | 0x80 * (rounds % 4 == 1), 8)[:size]  # runs of bytes that look like commands
        start = int(rng.integers(max(0, address - 20), address + 1))
        multiplies = rounds % 6 == 0
        m, n, k = (int(side) for side in rng.integers(1, 7, 3))
        a, w = rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)
        before = mirror.copy()
        try:
            mirror[address:address + size] = data
            device.write_memory(address, data)
            assert np.array_equal(device.read_memory(start, MOST), mirror[start:start + MOST]), (seed, rounds)
            if multiplies:
                products += 1
                assert np.array_equal(acc.matmul(a, w), a.astype(np.int32) @ w), (seed, rounds)
                mirror[:] = whole_memory()
        except LinkError as error:  # ten repetitions of one transfer in a row were hit
            assert "failed 10 times in a row" in str(error) or "nothing answers" in str(error)
            named += 1
            mirror[:] = whole_memory()
            if not multiplies:  # no product wrote anywhere
                outside = np.ones(mirror.size, bool)
                outside[address:address + size] = False
                assert np.array_equal(mirror[outside], before[outside]), (seed, rounds)
    assert np.array_equal(whole_memory(), mirror), seed
    faults = sum(port.faults.values())
    print(f"seed {seed}: {faults} faults ({port.faults}), {device.link.faults} transfers repeated, {named} named errors, {rounds} rounds, "
          f"{products} products, {port.clock():.1f} s of the board at {port.baud} baud")
    assert all(port.faults[name] > 0 for name in FAULTS)
    assert device.link.faults > faults / 4
    assert named < rounds / 3


@pytest.mark.parametrize("seed", SEEDS)
def test_control_is_written_once(opened, seed):
    """Whatever happens to the frames of CONTROL and to the answers to them: what is written acts, and only once."""
    port, acc = opened(seed)
    rng = np.random.default_rng(seed)
    a, w = rng.integers(-128, 128, (2, 2), np.int8), rng.integers(-128, 128, (2, 2), np.int8)
    for _ in range(COUNT // 10):
        port.rate = 0.0
        acc.write("CONTROL", Control.RESET)
        assert acc.read("STATUS") & 3 == State.IDLE
        port.rate = 1 / 40
        acc.write("CONTROL", Control.CLEAR_IRQ)
        assert acc.read("STATUS") & 3 == State.IDLE, "something else than CLEAR_IRQ was done"
    port.rate = 0.0
    assert np.array_equal(acc.matmul(a, w), a.astype(np.int32) @ w)
    print(f"seed {seed}: {sum(port.faults.values())} faults, {acc.device.link.faults} transfers repeated")
    assert acc.device.link.faults > COUNT / 40
