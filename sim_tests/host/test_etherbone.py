"""Etherbone in datagrams that get lost, come twice or come late, by LiteX's own client and packets, with the functional model behind."""

import random
import socket
import threading

import numpy as np
import pytest
from systolith.arch.manifest import MANIFEST_NAME, Manifest
from systolith.arch.registers import REGISTER_BYTES, Control, State, offset_of
from systolith.arch.settings import resolve
from systolith.cli.flow import FlowError, connect
from systolith.host.accelerator import Accelerator
from systolith.host.device import DeviceError
from systolith.host.etherbone import EtherboneDevice
from systolith.host.model_device import ModelDevice

litex = pytest.importorskip("litex.tools.remote.comm_udp", reason="LiteX is not installed: pip install 'systolith[litex]'")
from litex.tools.remote.etherbone import EtherbonePacket, EtherboneRecord, EtherboneWrites  # noqa: E402

MANIFEST = Manifest(config=resolve({"array": {"rows": 3, "cols": 5}}), hash="0123456789abcdef" + "0" * 48)
REGISTERS, RAM, MEMORY_BYTES = 0x8000_0000, 0x4000_0000, 1 << 14
CSR_CSV = (f"memory_region,main_ram,{RAM:#x},{MEMORY_BYTES},cached\nmemory_region,systolith,{REGISTERS:#x},{REGISTER_BYTES},io\n"
           "constant,config_csr_data_width,32,,\nconstant,config_bus_address_width,32,,\n")
FAULTS = ("request lost", "answer lost", "request twice")


class Soc:
    """Serves a model at 127.0.0.2; ``rate`` of the datagrams meet one of :data:`FAULTS`, which ``faults`` counts."""

    def __init__(self, port, *, seed):
        self.model = ModelDevice(MANIFEST, memory_bytes=MEMORY_BYTES)
        self.rng, self.rate, self.faults, self.starts = random.Random(seed), 0.0, dict.fromkeys(FAULTS, 0), 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.2", port))
        self._socket.settimeout(0.05)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while not self._stop.is_set():
            try:
                data, client = self._socket.recvfrom(8192)
            except TimeoutError:
                continue
            fault = self.rng.choice(FAULTS[:2] if self.rate == 1 else FAULTS) if self.rng.random() < self.rate else None
            if fault:
                self.faults[fault] += 1
            for _ in range({"request lost": 0, "request twice": 2}.get(fault, 1)):
                answer = self._do(data)
                if answer and fault != "answer lost":
                    self._socket.sendto(answer, client)

    def _do(self, data):
        packet = EtherbonePacket(32, data)
        packet.decode()
        record, = packet.records
        if record.wcount:
            for index, word in enumerate(record.writes.get_datas()):
                self._write(record.writes.base_addr + 4 * index, word)
        if not record.rcount:
            return None
        answer = EtherboneRecord(addr_size=4)
        number = int.from_bytes(record.reads.bytes[:4], "big")  # LiteX's decoder forgets it
        answer.writes = EtherboneWrites(addr_size=4, base_addr=number, datas=[self._read(address) for address in record.reads.get_addrs()])
        answer.wcount = len(answer.writes)
        packet = EtherbonePacket(32)
        packet.records = [answer]
        packet.encode()
        return packet.bytes

    def _write(self, address, word):
        if address >= REGISTERS:
            self.starts += address - REGISTERS == offset_of("CONTROL") and bool(word & Control.START)
            self.model.write_register(address - REGISTERS, word)
        else:
            self.model.write_memory(address - RAM, np.array([word], "<u4"))

    def _read(self, address):
        if address >= REGISTERS:
            return self.model.read_register(address - REGISTERS)
        return int(self.model.read_memory(address - RAM, 4).view("<u4")[0])


@pytest.fixture
def soc(tmp_path, monkeypatch):
    class Shared(socket.socket):
        """Both ends have the same port, here on one computer."""

        def bind(self, address):
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            super().bind(address)

        def settimeout(self, seconds):
            super().settimeout(seconds / 5)

    (tmp_path / "csr.csv").write_text(CSR_CSV)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    with Soc(port, seed=1) as running:
        monkeypatch.setattr(litex.socket, "socket", Shared)
        monkeypatch.chdir(tmp_path)
        running.port = port
        yield running


def opened(soc, **options):
    return EtherboneDevice(MANIFEST, **{"host": "127.0.0.2", "port": soc.port} | options)


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
        print(f"{soc.faults}, {acc.device.repeated} writes repeated, {soc.starts} starts")
        assert (acc.device.repeated > 0) == (rate > 0) and all((count > 0) == (rate > 0) for count in soc.faults.values())
        if not rate:
            assert soc.starts == 5


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


def test_what_cannot_be(soc, tmp_path):
    soc.rate = 1.0
    with pytest.raises(DeviceError, match=rf"^nothing answers Etherbone at 127.0.0.2:{soc.port} \(.*\); is the SoC's network up, and"):
        opened(soc)
    soc.rate = 0.0
    with pytest.raises(DeviceError, match=rf"^no accelerator 'other' through Etherbone at 127.0.0.2:{soc.port} with 'csr.csv': "):
        opened(soc, name="other")
    with opened(soc) as device, pytest.raises(DeviceError, match="did not take 1 words at 0x80000000, written 10 times; "):
        device.write_register(offset_of("MAGIC"), 1)
    with pytest.raises(FlowError, match=r"^device must be one of sim, model, .*, etherbone:HOST\[:PORT\], not 'etherbone:'$"):
        connect("etherbone:")


def test_from_a_folder(soc, tmp_path):
    (tmp_path / MANIFEST_NAME).write_text(MANIFEST.to_json())
    with connect(f"etherbone:127.0.0.2:{soc.port}", directory=tmp_path) as acc:
        assert acc.device.memory_bytes == MEMORY_BYTES
