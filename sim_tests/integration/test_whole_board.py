"""Whole boards, simulated from their UART pins inwards, driven by the unmodified driver, command line and LiteX's own client."""

import contextlib
import dataclasses
import json
import re
import subprocess
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import serial
from litex_server import litex_server
from nightly import nightly
from systolith.arch.manifest import Manifest, ManifestError
from systolith.arch.registers import MAGIC, SERIAL_MEMORY, SERIAL_NOWHERE, SERIAL_REGISTERS, offset_of
from systolith.arch.serial_link import MOST_WORDS, Frame, header
from systolith.boards import BOARDS
from systolith.cli import flow, products
from systolith.gen import tools
from systolith.gen.simulate_board import compile_board, simulated_board
from systolith.host import digits
from systolith.host.accelerator import Accelerator
from systolith.host.device import DeviceMismatch
from systolith.host.inference import infer
from systolith.host.quantise import quantise
from systolith.host.serial_device import LinkError, SerialDevice

DOCS = Path(__file__).parents[2] / "docs"
long = nightly("over the lines of whole simulated boards it takes minutes")


@long
@pytest.mark.parametrize(("board", "images", "size"), [("icebreaker", 1, 24), ("ulx3s-85f", 8, 64)])
def test_the_demo_network_a_product_and_the_selftest(board, images, size, tmp_path):
    """What a user does with a board just loaded, each by ``--device serial:PORT``; the network's output is its reference's."""
    data = digits.load()
    network = quantise(digits.train(data), data.train_images)
    inputs = network.input.quantise(data.test_images)[:images]
    took, board_took = {}, {}
    with flow.simulated_board(board=board) as (folder, running):
        device = f"serial:{running.port}"

        @contextlib.contextmanager
        def timed(what):
            start, board_start = time.monotonic(), running.seconds
            yield
            took[what], board_took[what] = time.monotonic() - start, running.seconds - board_start

        with timed("network"), flow.connect(device, directory=folder) as acc:
            assert np.array_equal(infer(acc, network, inputs).output, network.reference(inputs))
            baud, faults = acc.device.link.port.baud, acc.device.link.faults
        for what, arguments in (("matmul", [f"--{side}={size}" for side in "mnk"]), ("selftest", ["--quick"])):
            with timed(what):
                done = subprocess.run([tools.find("systolith"), what, *arguments, "--json", "--device", device, "--directory", folder],
                                      capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            report = json.loads(done.stdout)
            assert report["correct" if what == "matmul" else "passed"] is True
    print(f"{board}, {images} images, {size} cubed, {baud} baud: " + ", ".join(
        f"{what} {took[what]:.0f} s, {board_took[what]:.2f} s of the board" for what in took))
    assert faults == 0
    assert (baud > BOARDS[board].baud) == (board == "ulx3s-85f"), "the smallest machines keep their rate"


@pytest.mark.parametrize(("board", "not_run"), [
    ("icebreaker", ["counters"]), pytest.param("ice40-hx8k", ["counters"], marks=long), pytest.param("my_board.py", [], marks=long)])
def test_the_command_that_simulates_a_board(board, not_run, tmp_path, monkeypatch):
    """And the self-test against it, as a user types both; my_board.py is the file in docs/new_board.md, as it stands there."""
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "new_board.md").read_text(encoding="utf-8")
    Path("my_board.py").write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], encoding="utf-8")
    command = [tools.find("systolith"), "simulate-board", "--board", board, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            document = json.loads(process.stdout.readline())
            command = [tools.find("systolith"), "selftest", "--quick", "--json", "--board", board, "--device", document["device"]]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            report = json.loads(done.stdout)
            assert report["passed"] is True and report["not_run"] == not_run and report["repeated_transfers"] == 0, report
        finally:
            process.terminate()


def test_what_cannot_be_simulated(tmp_path):
    flow.generate_folder(tmp_path / "bare", assignments=["array.rows=2", "array.cols=2"])
    with pytest.raises(tools.ToolError, match="was generated without a board's serial shell; run: systolith generate --board NAME"):
        compile_board(tmp_path / "bare")
    with pytest.raises(flow.FlowError, match="a board is simulated whole; give a folder generated for one, or --board"), \
            flow.simulated_board(assignments=["array.rows=2"]):
        pass
    with pytest.raises(ManifestError, match=r"has no readable manifest\.json"):
        compile_board(tmp_path)


@pytest.fixture(scope="module", params=["icebreaker", "ulx3s-85f"])
def running(request, tmp_path_factory):
    """Folder, manifest and simulation of a board as it ships. The last tests of the file use it: until its end it takes a processor."""
    folder = tmp_path_factory.mktemp(request.param)
    flow.generate_folder(folder, board=request.param)
    program = compile_board(folder).path
    with simulated_board(program, BOARDS[request.param]) as board:
        yield folder, Manifest.read(folder), board


def test_products_are_numpys(running):
    _, manifest, board = running
    rng = np.random.default_rng(3)
    with Accelerator(SerialDevice(board.port, manifest), manifest) as acc:
        assert acc.device.memory_bytes == 128 * 1024
        for m, n, k in ((1, 1, 1), (9, 7, 13)):
            a, w = rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)
            assert np.array_equal(acc.matmul(a, w), a.astype(np.int32) @ w.astype(np.int32)), (m, n, k)
        assert acc.counters["cycles"] > 0
        tile = products.matmul(acc, 8, acc.config.array.cols, acc.config.array.rows, memory=flow.on_chip_memory(manifest))
        predicted = tile["cycles"] if acc.config.control.engines == "pipelined" else None
        assert tile["correct"] and tile.get("predicted_cycles") == predicted, "the cycle model knows pipelined engines, and them exactly"


def test_the_command_line_drives_it(running):
    folder, _, board = running
    done = subprocess.run([tools.find("systolith"), "matmul", "--m", "3", "--n", "5", "--k", "9", "--out", "int8", "--directory", folder,
                           "--device", f"serial:{board.port}", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["correct"] is True


def test_another_rate_and_another_build_are_named(running):
    _, manifest, board = running
    with pytest.raises(LinkError, match=rf"nothing answers at port '{board.port}' with 115200 baud"):
        SerialDevice(board.port, manifest, baud=115200, silence_s=0.3)
    with pytest.raises(DeviceMismatch, match="HASH_LO must be 0x11111111, not "):
        SerialDevice(board.port, dataclasses.replace(manifest, hash="1" * 64))


def test_bytes_keep_the_rate_at_which_they_were_written(running):
    """At a rate set afterwards, while they wait, they would be frames whose words the device waits for."""
    _, manifest, board = running
    with serial.Serial(board.port, 115200) as port:
        port.write(4 * header(Frame.WRITE, SERIAL_NOWHERE, MOST_WORDS))
        time.sleep(0.1)
    SerialDevice(board.port, manifest).close()


def test_litex_reads_the_identity_through_the_same_wire(running):
    from litex.tools.litex_client import RemoteClient
    _, manifest, board = running
    with litex_server(board.port, BOARDS[manifest.board].baud) as port:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # LiteX leaves files open
            client = RemoteClient("localhost", port)
        client.open()
        with contextlib.closing(client):  # where it fails, other tests would be told of its socket
            assert client.read(SERIAL_REGISTERS + offset_of("MAGIC")) == MAGIC
            client.write(SERIAL_REGISTERS + offset_of("BASE3_LO"), 0x5678)
            assert client.read(SERIAL_REGISTERS + offset_of("BASE3_LO")) == 0x5678
            client.write(SERIAL_MEMORY + 64, [0x12345678, 0, 0x9ABCDEF0])
            assert client.read(SERIAL_MEMORY + 64, 3) == [0x12345678, 0, 0x9ABCDEF0]
