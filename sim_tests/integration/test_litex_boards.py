"""Boards' LiteX variants, simulated whole: from the pins of the serial line and of Ethernet to a chip of SDRAM at its own, or one of DDR3
behind a model of its pins, by the unmodified drivers."""

import dataclasses
import json
import os
import subprocess
import time

import numpy as np
import pytest
from litex_server import litex_server
from nightly import nightly
from systolith.arch.commands import Bank, Execute, Load, Store, pack
from systolith.arch.manifest import MANIFEST_NAME, Manifest
from systolith.boards import get_board
from systolith.cli import board_flow, flow, products
from systolith.gen import tools
from systolith.gen.simulate_board import compile_board, simulated_board
from systolith.host import sdram
from systolith.host.accelerator import Accelerator
from systolith.host.device import DeviceError
from systolith.host.etherbone import EtherboneDevice
from systolith.host.levelling import Setting, level
from systolith.host.serial_device import SerialDevice

pytest.importorskip("litedram", reason="LiteDRAM is not installed: pip install 'systolith[litex]'")

BOARDS = {name: get_board(name).in_variant("litex") for name in ("ulx3s-85f", "colorlight-5a75b", "ecpix5-45f", "versa-ecp5")}
SMALL = ["array.rows=4", "array.cols=4", "memory.activation_kib=2", "memory.weight_kib=2", "memory.accumulator_rows=64"]
ULX3S, COLORLIGHT = "ulx3s-85f", "colorlight-5a75b"  # the second one's memory has no byte masks
ECPIX5, VERSA = "ecpix5-45f", "versa-ecp5"           # the first one's DDR3 has no reset at the part's pins
OTHER_DDR3 = pytest.param(VERSA, marks=nightly("a minute or two; the ECPIX-5 has DDR3 too"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a board's name: a generated folder, and the program that simulates it."""
    made = {}

    def get(name, assignments=SMALL):
        if name not in made:
            directory = tmp_path_factory.mktemp(name)
            flow.generate_folder(directory, board=name, variant="litex", assignments=assignments)
            made[name] = directory, compile_board(directory).path
        return made[name]
    return get


def rest(board):
    """Until the board has what was sent last: a terminal keeps no rate beside its bytes."""
    start = board.seconds
    while board.seconds < start + 0.001:
        assert board.process.poll() is None, "the simulation has ended: its standard error says why"
        time.sleep(0.01)


def connected(board, manifest):
    rest(board)
    return SerialDevice(board.port, manifest)


@pytest.mark.parametrize(("changed", "what"), [
    (lambda init: [], "no sequence"),
    (lambda init: [*init[:-1], [init[-1][0], init[-1][1] + 0x10, *init[-1][2:]]], "a latency that the controller does not expect")])
def test_memory_that_does_not_answer_is_named(folder, changed, what, tmp_path, monkeypatch):
    monkeypatch.setattr(board_flow, "SILENCE_S", 10.0)  # a simulation is not as quick as a board
    directory, program = folder(ULX3S)
    manifest = Manifest.read(directory)
    other = dataclasses.replace(manifest, soc={**manifest.soc, "init": changed(manifest.soc["init"])})
    with simulated_board(program, BOARDS[ULX3S]) as board:
        rest(board)
        row, = board_flow.probe(broken(other, tmp_path), ports=[f"{board.port}@1000000"])
        assert row["matches"] and row["memory_works"] is False
        assert row["what"].startswith("an accelerator, but the board's SDRAM does not keep what is written: at byte 0 ")
        with pytest.raises(DeviceError, match=r"the board's SDRAM does not keep what is written: at byte 0 .* is this the board that"):
            connected(board, other)
        connected(board, manifest).close()  # and the next one tries again
        rest(board)
        row, = board_flow.probe(directory, ports=[f"{board.port}@1000000"])
        assert row["memory_works"] is True and row["what"] == "an accelerator"


@pytest.mark.parametrize("name", [ECPIX5, OTHER_DDR3])
def test_ddr3_that_was_not_started_right(folder, name):
    """Nothing in the first try, or a latency that the controller does not expect; and the next one tries again."""
    directory, program = folder(name)
    manifest = Manifest.read(directory)
    init = manifest.soc["init"]
    wrong = [[what, address + 0x10 * what.startswith("Load Mode Register 0"), *rest] for what, address, *rest in init]
    with simulated_board(program, BOARDS[name]) as board:
        for changed in ([], wrong):
            with pytest.raises(DeviceError, match=r"^byte 0 of the board's DDR3 reads right at none of 8 delays and 4 bitslips; is this "):
                connected(board, dataclasses.replace(manifest, soc={**manifest.soc, "init": changed}))
        connected(board, manifest).close()


@pytest.mark.parametrize(("windows", "settings"), [
    ("{3,7,7},{0,0,0}", [Setting(3, 7, 1), Setting(0, 0, 1)]),
    pytest.param("{1,2,5},{2,8,8}", None, marks=nightly("a minute; host/test_levelling.py has the same with a model"))])
def test_windows_of_reads(folder, windows, settings, monkeypatch):
    """As narrow as they can be, and none in reach for the second byte: bitslip, first and last delay."""
    directory, _ = folder(ECPIX5)
    program = compile_board(directory, defines=[f"-DDDR3_WINDOWS={windows}"]).path
    manifest, found = Manifest.read(directory), []
    monkeypatch.setattr(sdram, "level", lambda *arguments, **more: found.extend(level(*arguments, **more)))
    with simulated_board(program, BOARDS[ECPIX5]) as board:
        if settings is None:
            with pytest.raises(DeviceError, match=r"^byte 1 of the board's DDR3 reads right at none of 8 delays and 4 bitslips; "):
                connected(board, manifest)
            return
        with connected(board, manifest) as device:
            assert found == settings
            data = np.random.default_rng(6).integers(0, 256, 999, np.uint8)
            device.write_memory(5, data)
            assert np.array_equal(device.read_memory(5, 999), data)


def broken(manifest, copy):
    """A folder with another manifest."""
    (copy / MANIFEST_NAME).write_text(manifest.to_json())
    return copy


@pytest.mark.parametrize("name", [ULX3S, OTHER_DDR3])
def test_litex_server_and_the_command_line(folder, name):
    """Whose ``csr.csv`` is in the generated folder, which wakes the memory too."""
    directory, program = folder(name)
    with simulated_board(program, BOARDS[name]) as board, litex_server(board.port, BOARDS[name].baud) as port:
        command = [tools.find("systolith"), "matmul", "--m", "3", "--n", "5", "--k", "9", "--device", f"litex:localhost:{port}", "--json",
                   "--directory", directory]
        done = subprocess.run(command, env={**os.environ, "PYTHONWARNINGS": "default"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["correct"] is True


@pytest.mark.parametrize("name", [COLORLIGHT, ECPIX5])
def test_the_command_line_over_ethernet_and_both_links_at_once(folder, name):
    """The first to come wakes the memory, by its own link; either sees what the other writes."""
    directory, program = folder(name)
    rng = np.random.default_rng(7)
    print("seed 7")
    with simulated_board(program, BOARDS[name]) as board:
        command = [tools.find("systolith"), "matmul", "--m", "3", "--n", "5", "--k", "9", "--json", "--directory", directory,
                   "--device", f"etherbone:{board.network}"]
        done = subprocess.run(command, env={**os.environ, "PYTHONWARNINGS": "default"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["correct"] is True
        with flow.connect(f"etherbone:{board.network}", directory=directory) as acc, connected(board, acc.manifest) as serial:
            for place in (5, acc.device.memory_bytes - 400):
                ours, theirs = rng.integers(0, 256, (2, 200), np.uint8)
                acc.device.write_memory(place, ours)
                serial.write_memory(place + 200, theirs)
                assert np.array_equal(serial.read_memory(place, 200), ours)
                assert np.array_equal(acc.device.read_memory(place + 200, 200), theirs)
            for m, n, k in map(tuple, rng.integers(1, 24, (3, 3))):
                a, w = rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)
                assert np.array_equal(acc.matmul(a, w), a.astype(np.int32) @ w.astype(np.int32)), (m, n, k)
            assert acc.counters["cycles"] > 0 and serial.link.faults == 0


@pytest.mark.parametrize(("name", "seed"), [
    (COLORLIGHT, 1), pytest.param(ECPIX5, 2, marks=nightly("a minute; host/test_etherbone.py has the same with a model"))])
def test_datagrams_lost_doubled_and_hurt(folder, name, seed, monkeypatch):
    """One in twenty, either way, while the memory is woken too."""
    monkeypatch.setattr(EtherboneDevice, "silence_s", 0.2)
    directory, program = folder(name)
    rng = np.random.default_rng(seed)
    with simulated_board(program, BOARDS[name], fault_rate=0.05, seed=seed) as board:
        rest(board)  # at first its chip is reset
        with flow.connect(f"etherbone:{board.network}", directory=directory) as acc:
            data = rng.integers(0, 256, 3000, np.uint8)
            acc.device.write_memory(1001, data)
            assert np.array_equal(acc.device.read_memory(1001, 3000), data)
            for m, n, k in map(tuple, rng.integers(1, 24, (2, 3))):
                a, w = rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)
                assert np.array_equal(acc.matmul(a, w), a.astype(np.int32) @ w.astype(np.int32)), (m, n, k)
            link = acc.device.link
            print(f"seed {seed}: {link.lost} questions without an answer, {link.doubled} answers twice, {acc.device.repeated} repeated")
            assert link.lost and link.doubled


@nightly("over the lines of whole simulated boards it takes minutes")
@pytest.mark.parametrize("name", [ULX3S, COLORLIGHT, "icesugar-pro", "ulx3s-12f", ECPIX5, VERSA, "orangecrab-25f"])
def test_the_selftest_on_boards_as_they_ship(name, tmp_path):
    with flow.simulated_board(board=name, variant="litex") as (directory, board):
        report = board_flow.selftest(f"serial:{board.port}", directory=directory, quick=True, seed=6)
        assert report["passed"] is True and report["repeated_transfers"] == 0, report
        if board.network:
            report = board_flow.selftest(f"etherbone:{board.network}", directory=directory, quick=True, seed=6)
            assert report["passed"] is True, report


@pytest.fixture(scope="module", params=[ULX3S, COLORLIGHT, ECPIX5])
def running(request, folder):
    """Folder, manifest and simulation of a board. The last tests of this file use it: it takes a processor until the file ends."""
    directory, program = folder(request.param)
    with simulated_board(program, BOARDS[request.param]) as board:
        yield directory, Manifest.read(directory), board


def test_products_are_numpys(running):
    _, manifest, board = running
    rng = np.random.default_rng(4)
    print("seed 4")
    with Accelerator(connected(board, manifest), manifest) as acc:
        assert acc.device.memory_bytes == BOARDS[manifest.board].external_memory.bytes
        for m, n, k in ((1, 1, 1), (9, 7, 13), *map(tuple, rng.integers(1, 24, (4, 3)))):
            a, w = rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)
            assert np.array_equal(acc.matmul(a, w), a.astype(np.int32) @ w.astype(np.int32)), (m, n, k)
        assert acc.counters["cycles"] > 0 and acc.device.link.faults == 0
        result = products.matmul(acc, 6, 5, 7, out="int8", memory=flow.known_memory(acc, f"serial:{board.port}", flow.Settings()))
        assert result["correct"] and "predicted_cycles" not in result, "the cycle model knows nothing of refreshes and open rows"


def test_rows_of_one_bank_one_after_the_other(running):
    """Reads and writes of few bytes in many rows, at the same time: what a chip asks for between opening two of them, on which it would
    end the simulation."""
    _, manifest, board = running
    rng = np.random.default_rng(2)
    print("seed 2")
    with Accelerator(connected(board, manifest), manifest) as acc:
        for _ in range(12):
            program = [Load(base=1, run=4, count1=8, row_stride1=1), Load(base=1, bank=Bank.WEIGHT, run=16, post=1),
                       Execute(k_last=4, x_count=8, activation_x=1, wait=1, post=2)]
            written = 0
            for number in range(12):
                stride, place, columns = int(rng.integers(1, 9)) << 10, int(rng.integers(64)), int(rng.integers(1, 5))
                written += 8 * 4 * columns
                program += [
                    Store(base=2, columns=columns, count1=8, destination=4 * place, stride1=stride, wait=0 if number else 2),
                    Load(base=1, run=int(rng.integers(1, 9)), offset=place, count1=int(rng.integers(4, 14)), stride1=stride, row=8,
                         row_stride1=2)]
            assert acc.run(pack(program), bases=[0, 4096, 1 << 20], sizes=[4096, 1 << 19, 1 << 19])["bytes_written"] == written


def test_memory_stays_between_sessions(running):
    """Its first and its last bytes, at any place in a word, for longer than a chip keeps what nobody refreshes."""
    _, manifest, board = running
    data = np.random.default_rng(5).integers(0, 256, 41, np.uint8)
    with connected(board, manifest) as device:
        for place in (3, device.memory_bytes - 43):
            device.write_memory(place, data)
    with connected(board, manifest) as device:
        for place in (3, device.memory_bytes - 43):
            assert np.array_equal(device.read_memory(place, 41), data)
