"""The driver of a serial line, against the functional model behind a pseudo-terminal: products, whole and ragged memory, every error."""

import contextlib
import dataclasses
import errno
import grp
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import serial
from fake_board import FakeBoard
from systolith.arch.manifest import MANIFEST_NAME, Manifest
from systolith.arch.registers import offset_of
from systolith.arch.settings import resolve
from systolith.cli.flow import FlowError, connect
from systolith.host import serial_port
from systolith.host.accelerator import Accelerator
from systolith.host.device import DeviceMismatch
from systolith.host.model_device import ModelDevice
from systolith.host.serial_device import LinkError, SerialDevice
from systolith.host.serial_port import PortError, SerialPort

MEMORY_BYTES = 16384
MANIFEST = Manifest(config=resolve({"array": {"rows": 3, "cols": 5}, "shell": "serial"}), hash="0123456789abcdef" + "0" * 48,
                    memory_bytes=MEMORY_BYTES, board="ulx3s-85f")


QUICK = {"silence_s": 0.3, "pause_s": 0.02}


@contextlib.contextmanager
def board(**options):
    with FakeBoard(ModelDevice(MANIFEST, memory_bytes=MEMORY_BYTES), **options) as fake:
        yield fake


@contextlib.contextmanager
def device(manifest=MANIFEST, **options):
    with board(**options) as fake, SerialDevice(fake.port, manifest, **QUICK) as opened:
        yield opened


def test_a_product_through_the_command_lines_device(tmp_path):
    (tmp_path / MANIFEST_NAME).write_text(MANIFEST.to_json())
    rng = np.random.default_rng(1)
    a, w = rng.integers(-128, 128, (7, 9), np.int8), rng.integers(-128, 128, (9, 11), np.int8)
    with board() as fake:
        with connect(f"serial:{fake.port}@1000000", directory=tmp_path) as accelerator:
            accelerator.device.counts_cycles = False  # the model has no clock
            assert np.array_equal(accelerator.matmul(a, w), a.astype(np.int32) @ w.astype(np.int32))


def test_memory_of_any_alignment_and_length():
    rng = np.random.default_rng(2)
    mirror = np.zeros(MEMORY_BYTES, np.uint8)
    with device() as opened:
        for count in (0, 1, 2, 3, 4, 5, 255 * 4, 255 * 4 + 1, 3000):
            address = int(rng.integers(0, MEMORY_BYTES - count))
            data = rng.integers(0, 256, count, np.uint8)
            opened.write_memory(address, data)
            mirror[address:address + count] = data
            start = int(rng.integers(0, address + 1))
            assert np.array_equal(opened.read_memory(start, address + count - start), mirror[start:address + count])
        assert np.array_equal(opened.read_memory(0, MEMORY_BYTES), mirror)
        with pytest.raises(ValueError, match=f"memory access must lie in 0 … {MEMORY_BYTES}, not 16380 … 16385"):
            opened.write_memory(16380, np.zeros(5, np.uint8))


@pytest.mark.parametrize(("baud", "spoilt", "sizes"), [
    (3_000_000, 0, [16384]), (115_200, 0, [1536] * 10),
    (500_000, 1, [7168, 1536, 3584, 7168, 4096]),  # 0.15 s, then a quarter of it, half, all
    (115_200, 4, [1536, 432, 108, 64, 64, 128, 256, 512, 64])])
def test_blocks_last_as_long_at_every_rate_and_less_after_faults(baud, spoilt, sizes):
    """What memory is written in, where a byte of the first blocks is changed on the way."""
    data = np.random.default_rng(3).integers(0, 256, MEMORY_BYTES, np.uint8)
    blocks = []
    with device() as opened:
        send = opened._port.write

        def write(sent):
            if len(sent) > 11:  # a header and DIGEST
                blocks.append(len(sent) - 11)
                sent = sent[:-2] + bytes((sent[-2] ^ (len(blocks) <= spoilt), sent[-1]))
            send(sent)

        opened._port.write, opened._port.baud = write, baud
        opened.write_memory(0, data)
        assert blocks[:9] == sizes[:9]
        assert np.array_equal(opened.read_memory(0, data.size), data) and opened.link.faults == spoilt


def test_a_port_that_is_not_there_says_what_is(monkeypatch):
    monkeypatch.setattr(serial_port, "list_ports", lambda: [("/dev/ttyUSB3", "ULX3S FPGA"), ("/dev/ttyS0", "n/a")])
    with pytest.raises(PortError, match=re.escape("port '/dev/ttyUSB77' does not exist; there is /dev/ttyUSB3 (ULX3S FPGA), /dev/ttyS0")):
        SerialPort("/dev/ttyUSB77", 1_000_000, silence_s=1)
    monkeypatch.setattr(serial_port, "list_ports", lambda: [])
    with pytest.raises(PortError, match="there is no serial port: is the board plugged in"):
        SerialPort("/dev/ttyUSB77", 1_000_000, silence_s=1)


OTHERS = next(group for group in grp.getgrall() if group.gr_gid)
OF_GROUP = f"it belongs to group '{OTHERS.gr_name}': run: sudo usermod -aG {OTHERS.gr_name} $USER, and log in again"
OF_ROOT = ('only root may: put KERNEL=="ttyUSB[0-9]*", GROUP="dialout", MODE="0660" into /etc/udev/rules.d/99-serial.rules, '
           "run: sudo usermod -aG dialout $USER, log in again, and plug the board in again")


@pytest.mark.parametrize(("gid", "mode", "remedy"), [
    (OTHERS.gr_gid, 0o20660, OF_GROUP), (OTHERS.gr_gid, 0o20640, OF_ROOT), (0, 0o20660, OF_ROOT), (0, 0o20600, OF_ROOT),
    (None, None, "ask who may")])
def test_a_port_that_may_not_be_opened(gid, mode, remedy, monkeypatch):
    """Its group is named only where that helps, and never root's."""
    def refuse(*_, **__):
        raise serial.SerialException(errno.EACCES, "could not open port")

    def status(_):
        if gid is None:
            raise OSError
        return SimpleNamespace(st_gid=gid, st_mode=mode)

    monkeypatch.setattr(serial, "Serial", refuse)
    monkeypatch.setattr(serial_port, "os", SimpleNamespace(stat=status))
    with pytest.raises(PortError) as refused:
        SerialPort("/dev/ttyUSB0", 1_000_000, silence_s=1)
    assert str(refused.value) == f"port '/dev/ttyUSB0' may not be opened by you; {remedy}"


@pytest.mark.parametrize("known", [[], [("/dev/ttyUSB3", "ULX3S FPGA")]])
def test_what_is_no_port_at_all(known, monkeypatch, tmp_path):
    there = "there is /dev/ttyUSB3 (ULX3S FPGA)" if known else "there is no serial port: is the board plugged in?"
    (tmp_path / "notes.txt").touch()
    for port, why in ("/dev/null", ""), (str(tmp_path / "notes.txt"), ""), (str(tmp_path), " (Is a directory)"):
        monkeypatch.setattr(serial_port, "list_ports", lambda port=port: [(port, "n/a"), *known])  # as some systems list what does not open
        with pytest.raises(PortError, match=f"^{re.escape(f'port {port!r} is no serial port{why}; {there}')}$"):
            SerialPort(port, 1_000_000, silence_s=1)


def test_a_second_client_is_kept_out():
    with device() as opened, pytest.raises(PortError, match="is in use by another program; close that one"):
        SerialDevice(opened._port.name, MANIFEST)


def test_a_silent_line():
    with board(silent=True) as fake, pytest.raises(LinkError, match=rf"nothing answers at port '{fake.port}' with 115200 baud; is "):
        SerialDevice(fake.port, MANIFEST, baud=115200, silence_s=0.05, pause_s=0.02)


def test_another_bitstream():
    with pytest.raises(DeviceMismatch, match="no accelerator answers: register MAGIC must be 0x53595354, not 0x12345678"), \
            device(register=lambda offset, value: 0x12345678 if offset == 0 else value):
        pass
    with pytest.raises(DeviceMismatch, match="HASH_LO must be 0x11111111, not 0x89abcdef; load the bitstream that was built from this "), \
            device(dataclasses.replace(MANIFEST, hash="1" * 64)):
        pass
    with pytest.raises(DeviceMismatch, match="MEMORY_BYTES must be 16384, not 8192; load the bitstream"), \
            device(register=lambda offset, value: 8192 if offset == offset_of("MEMORY_BYTES") else value):
        pass


def test_a_device_that_knows_plain_frames_only():
    with board(plain=True) as fake, pytest.raises(DeviceMismatch, match=rf"what answers at port '{fake.port}' is no accelerator of this "):
        SerialDevice(fake.port, MANIFEST, **QUICK)


def test_a_pulled_cable_is_named():
    with board() as fake:
        opened = SerialDevice(fake.port, MANIFEST, **QUICK)
        fake.pull()
        with opened, pytest.raises(PortError, match=f"port '{opened._port.name}' has gone; is the cable still plugged in"):
            opened.read_memory(0, 4)


def test_what_the_command_line_refuses(tmp_path):
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(json.loads(MANIFEST.to_json()) | {"board": None}))
    with pytest.raises(FlowError, match="device 'serial:/dev/ttyUSB0' needs a board's accelerator; add --board, or give a folder "):
        connect("serial:/dev/ttyUSB0", directory=tmp_path)
    with pytest.raises(FlowError, match=r"^device must be a string, such as 'sim' or 'serial:PORT', not 5$"):
        connect(5)
    with pytest.raises(FlowError, match="device must be one of sim, model, serial:PORT"):
        connect("serial:", directory=tmp_path)
    with pytest.raises(FlowError, match="baud must be from 300 to 25000000, not 5"):
        connect("serial:/dev/ttyUSB0@5", board="ulx3s-85f")


def test_accelerator_over_the_line_closes_it():
    with board() as fake:
        with Accelerator(SerialDevice(fake.port, MANIFEST), MANIFEST), pytest.raises(PortError, match="is in use by another program"):
            SerialDevice(fake.port, MANIFEST)
        SerialDevice(fake.port, MANIFEST).close()
