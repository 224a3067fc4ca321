"""Thousands of faults on the line of a whole simulated board, whose time stands while the driver thinks: the same in every run.

With ``SYSTOLITH_FAULTS`` the name of a page, a run without a failure writes there what was injected (``make bench-faults``).
"""

import collections
import dataclasses
import os
import random
import types
from pathlib import Path

import numpy as np
import pytest
from faulty_port import FAULTS, FaultyPort
from lockstep import lockstep_library
from nightly import NIGHTLY
from small_board import SMALL, small_board
from systolith.arch.registers import Control, State
from systolith.cli import bench
from systolith.host import serial_link
from systolith.host.accelerator import Accelerator
from systolith.host.serial_device import LinkError, SerialDevice

PAGE = os.environ.get("SYSTOLITH_FAULTS")
SEED = 1
SEEDS, COUNT = (range(SEED, SEED + 12), 500) if NIGHTLY else (range(SEED, SEED + 2), 150)  # faults of each seed, on each board
RATE = 1 / 250  # faults per byte
MOST = 64       # bytes of one write or read; of one in ten as many as the memory has, over a line that is so much better
LONG_RATE = RATE / 16
BITS = 64       # of silence that cut a frame
OUTCOMES = ("all", "at a raised rate", "repeated", "given up")
# One whose bits have the fewest cycles, and one whose rate the driver raises.
BOARDS = {"fixed": dataclasses.replace(SMALL, memory_kib=2, frame_timeout_s=BITS / SMALL.baud),
          "raised": dataclasses.replace(SMALL, memory_kib=2, baud=SMALL.baud // 2, frame_timeout_s=2 * BITS / SMALL.baud)}


def page(columns):
    """Its lines, of what the tests of each column counted."""
    total = sum(columns.values(), collections.Counter())
    made_by = bench.machine(SEED).replace("make bench", "make bench-faults").replace(f"seed {SEED}", f"seeds {SEEDS[0]} to {SEEDS[-1]}")
    rows = [[name, *(f"{counts[name]:,}" for counts in (*columns.values(), total))] for name in (*FAULTS, *OUTCOMES)]
    return [
        "# Faults on the line", "", made_by,
        "The driver writes, reads and multiplies over a bad line to a whole simulated board, one that stays at its rate and one whose rate "
        "is raised; and sends CONTROL's frames alone. `sim_tests/support/faulty_port.py` has the kinds of fault. A fault counts where "
        "something else arrived than was sent. All that the driver said it had written or read was right, nothing beside it was touched, "
        f"and CONTROL did what was written and nothing else: of {total['all']:,} faults none was silent, or the run would have failed and "
        "written nothing. «Repeated» are transfers, which may be hit twice, «given up» those with a named error after ten repetitions.", "",
        *bench._markdown(["fault", *columns, "total"], rows)]


@pytest.fixture(scope="module")
def tally(request):
    """What was counted, by column of the page."""
    columns = collections.defaultdict(collections.Counter)
    yield columns
    if PAGE and not request.session.testsfailed:
        bench.write(Path(PAGE), page(columns))


@pytest.fixture(scope="module", params=BOARDS)
def small(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    manifest, _ = small_board(folder, BOARDS[request.param])
    return BOARDS[request.param], manifest, lockstep_library(folder)


@pytest.fixture
def count(small, tally):
    """A function that enters a test's faults and what became of them."""
    column = next(name for name, board in BOARDS.items() if board is small[0])

    def enter(port, device, *, prefix="", named=0):
        outcomes = (sum(port.faults.values()), port.raised, device.link.faults, named)
        tally[prefix + column].update(port.faults | dict(zip(OUTCOMES, outcomes, strict=True)))

    return enter


@pytest.fixture
def opened(small, monkeypatch):
    """A function that gives a driver at a faulty line, sound for now, and random numbers that are those of its seed."""
    board, manifest, library = small
    ports = []

    def make(seed):
        rng = random.Random(seed)
        monkeypatch.setattr(serial_link, "secrets", types.SimpleNamespace(randbits=rng.getrandbits, token_bytes=rng.randbytes))
        port = FaultyPort(library, board, silence_s=0.003, seed=seed)
        ports.append(port)
        device = SerialDevice(port, manifest, pause_s=2.5 * board.frame_timeout_s)
        if seed % 2:  # no rate that is tried over such a line passes; here it may, so that more is done at raised ones
            monkeypatch.setattr(serial_link, "TRIAL_BLOCKS", 1)
            attempt = device.link._try
            device.link._try = lambda rate: port.sound(lambda: attempt(rate))
        return port, Accelerator(device, manifest)

    yield make
    for port in ports:
        port.switch_off()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_fault_is_silent(small, opened, count, seed):
    """Products and memory of random content over a bad line: every byte right, or the driver gives up by name; nothing else."""
    board, _, _ = small
    port, acc = opened(seed)
    device = acc.device
    rng = np.random.default_rng(seed)
    mirror = rng.integers(0, 256, board.memory_bytes, np.uint8)
    baud = port.baud
    named = rounds = products = 0

    def whole_memory():
        return port.sound(lambda: device.read_memory(0, board.memory_bytes))

    device.write_memory(0, mirror)
    while sum(port.faults.values()) < COUNT:
        rounds += 1
        if rounds % 25 == 0 and port.baud < baud:  # faults have ended the rate
            port.sound(device.link.negotiate)
        most, port.rate = (board.memory_bytes, LONG_RATE) if rounds % 10 == 7 else (MOST, RATE)
        size = int(rng.integers(1, most))
        address = int(rng.integers(0, board.memory_bytes - size))
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
            end = min(start + most, board.memory_bytes)
            assert np.array_equal(device.read_memory(start, end - start), mirror[start:end]), (seed, rounds)
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
          f"{products} products, {port.clock():.1f} s of the board, {port.raised} faults at a raised rate")
    assert all(port.faults[name] > 0 for name in FAULTS)
    assert device.link.faults > faults / 2
    assert named < rounds / 3
    count(port, device, named=named)


@pytest.mark.parametrize("seed", SEEDS)
def test_control_is_written_once(opened, count, seed):
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
    count(port, acc.device, prefix="CONTROL, ")
