"""Etherbone in datagrams that get lost or come twice, by LiteX's own packets, with the functional model behind."""

import contextlib
import dataclasses
import socket

import numpy as np
import pytest
from ddr3_soc import CONTROL, SOC, DDR3SoC
from systolith.arch.manifest import MANIFEST_NAME, Manifest
from systolith.arch.registers import Control, State, offset_of
from systolith.arch.settings import resolve
from systolith.cli.flow import FlowError, connect
from systolith.host import levelling
from systolith.host.accelerator import Accelerator
from systolith.host.device import DeviceError
from systolith.host.etherbone import EtherboneDevice
from systolith.host.model_device import ModelDevice
from systolith.host.sdram import AWAKE, SEL

pytest.importorskip("litex", reason="LiteX is not installed: pip install 'systolith[litex]'")
from etherbone_soc import CSR_CSV, FAULTS, MEMORY_BYTES, Soc

MANIFEST = Manifest(config=resolve({"array": {"rows": 3, "cols": 5}}), hash="0123456789abcdef" + "0" * 48)
KEPT = dataclasses.replace(MANIFEST, soc=SOC | {"etherbone": {"mac": "10:e2:d5:00:00:00", "ip": "127.0.0.2", "port": 1234, "words": 12}})


@contextlib.contextmanager
def serving(folder, model, **options):
    """What :class:`Soc` serves, from a port on, with its ``csr.csv`` in ``folder``."""
    (folder / "csr.csv").write_text(CSR_CSV)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    with Soc(port, model, **options) as running:
        running.port = port
        yield running


@pytest.fixture
def soc(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(EtherboneDevice, "silence_s", 0.2)
    with serving(tmp_path, ModelDevice(MANIFEST, memory_bytes=MEMORY_BYTES), seed=1) as running:
        yield running


def opened(soc, manifest=MANIFEST, **options):
    return EtherboneDevice(manifest, **{"host": "127.0.0.2", "port": soc.port} | options)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_products_and_memory(soc, rate):
    """Every byte right, and every program run once, whatever gets lost."""
    rng = np.random.default_rng(1)
    mirror = np.zeros(MEMORY_BYTES, np.uint8)
    with Accelerator(opened(soc), MANIFEST) as acc:
        acc.device.counts_cycles = False  # the model has no clock
        acc.device.write_memory(0, mirror)
        soc.rate = rate
        for _ in range(10):
            count = int(rng.integers(0, 300))
            address = int(rng.integers(0, MEMORY_BYTES - count))
            mirror[address:address + count] = rng.integers(0, 256, count)
            acc.device.write_memory(address, mirror[address:address + count])
            assert np.array_equal(acc.device.read_memory(address, count), mirror[address:address + count])
        soc.rate = 0.0
        assert np.array_equal(acc.device.read_memory(0, MEMORY_BYTES), mirror)
        for product in range(1, 6):
            soc.rate = rate
            a, w = rng.integers(-128, 128, (5, 4), np.int8), rng.integers(-128, 128, (4, 6), np.int8)
            assert np.array_equal(acc.matmul(a, w), a.astype(np.int32) @ w), product
        print(f"seed 1: {soc.faults}, {acc.device.repeated} datagrams repeated, {soc.starts} starts")
        assert (acc.device.repeated > 0) == (rate > 0) and all((count > 0) == (rate > 0) for count in soc.faults.values())
        if not rate:
            assert soc.starts == 5


def board(**options):
    """A SoC of a board's LiteX variant, whose lanes read right at three of 32 settings each."""
    return DDR3SoC({(1, 2), (1, 3), (1, 4)}, {(2, 3), (2, 4), (2, 5)}, manifest=KEPT, **options)


@pytest.mark.parametrize(("rate", "seed"), [(0.0, 0), (0.05, 1), (0.15, 2), (0.15, 3)])
def test_a_memory_is_woken_whatever_gets_lost(tmp_path, monkeypatch, rate, seed):
    """Its registers clear themselves or count: a write that was lost or done twice shows in where the lanes stand at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(EtherboneDevice, "silence_s", 0.02 if rate else 0.5)
    model = board()
    with serving(tmp_path, model, seed=seed, answers_writes=True) as soc:
        soc.rate = rate
        with opened(soc, KEPT) as device:
            soc.rate = 0.0
            print(f"seed {seed}: {soc.faults}, {device.link.lost} lost, {device.link.doubled} doubled, {device.repeated} repeated")
            assert model.lanes == [[1, 3], [2, 4]] and model.written[CONTROL] == AWAKE and model.issued
            assert (device.repeated > 0) == (rate > 0) and (device.link.doubled > 0) == (rate > 0)
            data = np.random.default_rng(seed).integers(0, 256, 500, np.uint8)
            device.write_memory(3, data)
            assert np.array_equal(device.read_memory(3, 500), data)
            pulses = model.pulses
        opened(soc, KEPT).close()
        assert model.pulses == pulses, "a memory that works is left as it is"


def test_a_network_that_doubles_everything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(levelling, "PATIENCE", 20)
    model = board()
    with serving(tmp_path, model, seed=1, answers_writes=True, kinds=("request twice",)) as soc:
        soc.rate = 1.0
        with pytest.raises(DeviceError, match=r"^register rdly_dq_bitslip_rst of the board's DDR3 was not written exactly once in 20 att"):
            opened(soc, KEPT)
        assert model.written[CONTROL] == SEL, "the next driver tries again"
        soc.rate = 0.0
        opened(soc, KEPT).close()
        assert model.lanes == [[1, 3], [2, 4]]


def test_products_where_writes_are_answered(tmp_path, monkeypatch):
    """Every program is run once, whatever gets lost."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(EtherboneDevice, "silence_s", 0.05)
    rng = np.random.default_rng(4)
    with serving(tmp_path, board(), seed=4, answers_writes=True) as soc, Accelerator(opened(soc, KEPT), KEPT) as acc:
        acc.device.counts_cycles = False
        assert acc.device.words_at_once == 12
        for product in range(5):
            soc.rate = 0.1
            a, w = rng.integers(-128, 128, (5, 4), np.int8), rng.integers(-128, 128, (4, 6), np.int8)
            assert np.array_equal(acc.matmul(a, w), a.astype(np.int32) @ w), product
        print(f"seed 4: {soc.faults}, {acc.device.repeated} datagrams repeated, {soc.starts} starts")
        assert acc.device.repeated > 0


def test_a_lost_start_is_repeated_and_a_done_one_is_not(soc):
    """Also where the program before has left its end in STATUS."""
    with Accelerator(opened(soc), MANIFEST) as acc:
        lost = []
        write = soc.model.write_register

        def once(offset, value):
            if offset == offset_of("CONTROL") and value == Control.START and soc.starts == 2:
                lost.append(value)
            else:
                write(offset, value)

        soc.model.write_register = once
        acc.device.counts_cycles = False
        for factor in (1, 2, 3):
            a = np.full((2, 3), factor, np.int8)
            assert np.array_equal(acc.matmul(a, np.ones((3, 2), np.int8)), np.full((2, 2), 3 * factor))
        assert len(lost) == 1 and soc.starts == 4 and acc.device.repeated == 1
        acc.write("CONTROL", Control.RESET)
        assert acc.read("STATUS") & 3 == State.IDLE


@pytest.mark.parametrize("device", ["etherbone:127.0.0.2", "litex:localhost:1234"])
def test_a_soc_s_addresses_are_not_there(device, tmp_path, monkeypatch):
    """As with the folder of a board's bare variant, which is in no SoC."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / MANIFEST_NAME).write_text(MANIFEST.to_json())
    with pytest.raises(DeviceError, match=r"^the SoC's list of addresses 'csr\.csv' does not exist; give the folder of a board that was "
                                          r"generated with --variant litex, or run where your own SoC's csr\.csv is$"):
        connect(device, directory=tmp_path)


def test_what_cannot_be(soc, tmp_path):
    soc.rate, soc.kinds = 1.0, FAULTS[:2]
    with pytest.raises(DeviceError, match=rf"^nothing answers Etherbone at 127.0.0.2:{soc.port}, asked 10 times; is the SoC's network "):
        opened(soc)
    soc.rate = 0.0
    with pytest.raises(DeviceError, match=rf"^no accelerator 'other' through Etherbone at 127.0.0.2:{soc.port} with 'csr.csv': "):
        opened(soc, name="other")
    with opened(soc) as device, pytest.raises(DeviceError, match="did not take 1 words at 0x80000000, written 10 times; "):
        device.write_register(offset_of("MAGIC"), 1)
    with pytest.raises(DeviceError, match=r"^the SoC for ulx3s-12f has no Ethernet; use --device serial:PORT$"):
        opened(soc, dataclasses.replace(MANIFEST, board="ulx3s-12f", soc=SOC))
    with opened(soc), pytest.raises(DeviceError, match=rf"^UDP port {soc.port} of 127.0.0.1, to which a SoC's Etherbone answers, cannot be "
                                                       r"used: Address already in use; is another driver running\?$"):
        opened(soc)
    with pytest.raises(FlowError, match=r"^device must be one of sim, model, .*, etherbone:HOST\[:PORT\], not 'etherbone:'$"):
        connect("etherbone:")


def test_from_a_folder(soc, tmp_path):
    (tmp_path / MANIFEST_NAME).write_text(MANIFEST.to_json())
    with connect(f"etherbone:127.0.0.2:{soc.port}", directory=tmp_path) as acc:
        assert acc.device.memory_bytes == MEMORY_BYTES
