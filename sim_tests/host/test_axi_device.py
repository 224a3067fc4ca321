"""The memory-mapped device, with files in place of a chip's registers and memory, and the functional model behind them."""

import contextlib
import json
import mmap
import threading

import numpy as np
import pytest
from systolith.arch.manifest import MANIFEST_NAME, Manifest
from systolith.arch.registers import BASES, COUNTERS, REGISTERS, offset_of
from systolith.arch.settings import resolve
from systolith.cli.flow import FlowError, connect
from systolith.host import axi_device
from systolith.host.accelerator import Accelerator
from systolith.host.axi_device import AXIDevice, parse_place
from systolith.host.device import DeviceError, DeviceMismatch
from systolith.host.model_device import ModelDevice

MANIFEST = Manifest(config=resolve({"array": {"rows": 3, "cols": 5}}), hash="0123456789abcdef" + "0" * 48)
PHYSICAL = 0xFFFF_0000  # sums of it and an address carry
MEMORY_BYTES = 1 << 18


class Chip:
    """Registers and memory in two files; a write to CONTROL runs the program on the functional model."""

    def __init__(self, folder):
        self.paths = folder / "registers", folder / "memory"
        self.paths[0].write_bytes(bytes(4096))
        self.paths[1].write_bytes(bytes(MEMORY_BYTES))
        self.maps = []
        self.registers, self.memory = (self._map(path) for path in self.paths)
        self.registers = self.registers.view("<u4")
        self.model = ModelDevice(MANIFEST, memory_bytes=MEMORY_BYTES)
        self._show()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def _map(self, path):
        with open(path, "r+b") as file:
            self.maps.append(mmap.mmap(file.fileno(), 0))
        return np.frombuffer(self.maps[-1], np.uint8)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self.registers = self.memory = None
        for mapped in self.maps:
            mapped.close()

    def _show(self):
        for register in REGISTERS:
            if (register.access == "ro" and register not in COUNTERS) or register.name in ("BYTES_READ", "BYTES_WRITTEN", "COMMANDS"):
                self.registers[register.offset // 4] = self.model.read_register(register.offset)

    def _serve(self):
        control = offset_of("CONTROL")
        while not self._stop.wait(0.002):
            bits = int(self.registers[control // 4])
            if not bits:
                continue
            for index in range(BASES):
                low, high = (offset_of(f"BASE{index}_{half}") for half in ("LO", "HI"))
                address = int(self.registers[low // 4]) + (int(self.registers[high // 4]) << 32) - PHYSICAL
                assert 0 <= address < MEMORY_BYTES, "a base register with an address that is not physical"
                self.model.write_register(low, address & 0xFFFFFFFF)
                self.model.write_register(high, address >> 32)
                for half in ("LO", "HI"):
                    size = offset_of(f"SIZE{index}_{half}")
                    self.model.write_register(size, int(self.registers[size // 4]))
            for name in ("PROGRAM_OFFSET", "PROGRAM_WORDS"):
                self.model.write_register(offset_of(name), int(self.registers[offset_of(name) // 4]))
            self.model.memory[:] = self.memory
            self.model.write_register(control, bits)
            self.memory[:] = self.model.memory
            self._show()
            self.registers[control // 4] = 0


@pytest.fixture
def chip(tmp_path):
    with Chip(tmp_path) as running:
        yield running


@contextlib.contextmanager
def opened(chip, manifest=MANIFEST):
    registers, memory = chip.paths
    with AXIDevice(str(registers), f"{memory}@{PHYSICAL:#x}", manifest) as device:
        yield device


class Started(AXIDevice):
    """Waits until the chip has seen a write to CONTROL, which real registers do at once."""
    counts_cycles = False

    def write_register(self, offset, value):
        super().write_register(offset, value)
        while offset == offset_of("CONTROL") and self._registers[offset // 4]:
            pass


def test_a_product(chip):
    rng = np.random.default_rng(1)
    a, w = rng.integers(-128, 128, (7, 9), np.int8), rng.integers(-128, 128, (9, 11), np.int8)
    with Accelerator(Started(str(chip.paths[0]), f"{chip.paths[1]}@{PHYSICAL:#x}", MANIFEST), MANIFEST) as acc:
        assert np.array_equal(acc.matmul(a, w), a.astype(np.int32) @ w.astype(np.int32))


def test_memory_and_bases(chip):
    with opened(chip) as device:
        assert (device.memory_bytes, device.physical) == (MEMORY_BYTES, PHYSICAL)
        device.write_memory(5, np.arange(9, dtype=np.uint8))
        assert device.read_memory(4, 4).tolist() == [0, 0, 1, 2] and chip.memory[13] == 8
        device.write_register(offset_of("BASE2_LO"), 0x1_0004)
        assert device.read_register(offset_of("BASE2_LO")) == 0x1_0004 and device.read_register(offset_of("BASE2_HI")) == 0
        assert chip.registers[offset_of("BASE2_LO") // 4] == 4 and chip.registers[offset_of("BASE2_HI") // 4] == 1, "a carry"
        with pytest.raises(ValueError, match=f"memory access must lie in 0 … {MEMORY_BYTES}, not {MEMORY_BYTES} … {MEMORY_BYTES + 1}"):
            device.read_memory(MEMORY_BYTES, 1)


def test_u_dma_buf_says_where_it_is(chip, tmp_path, monkeypatch):
    described = tmp_path / "class" / "memory"
    described.mkdir(parents=True)
    (described / "phys_addr").write_text("0x1f000000\n")
    (described / "size").write_text("65536\n")
    monkeypatch.setattr(axi_device, "_UDMABUF", (str(tmp_path / "class"),))
    with AXIDevice(str(chip.paths[0]), str(chip.paths[1]), MANIFEST) as device:
        assert (device.physical, device.memory_bytes) == (0x1F000000, 65536)


@pytest.fixture
def uio(chip, tmp_path, monkeypatch):
    """The folder of a UIO device's maps in sysfs; its file has the registers in the first page and the memory from the second on."""
    page = mmap.PAGESIZE
    maps = tmp_path / "class" / "uio3" / "maps"
    (tmp_path / "class" / "uio3").mkdir(parents=True)
    (tmp_path / "class" / "uio3" / "name").write_text("systolith\n")
    for number, (address, size) in enumerate(((0x43C0_0000, page), (0x1800_0000, MEMORY_BYTES))):
        (maps / f"map{number}").mkdir(parents=True)
        for name, value in (("addr", address), ("size", size), ("offset", 0)):
            (maps / f"map{number}" / name).write_text(f"0x{value:x}\n")
    (tmp_path / "uio3").write_bytes(chip.paths[0].read_bytes().ljust(page, b"\0")[:page] + bytes(range(256)) * (MEMORY_BYTES // 256))
    monkeypatch.setattr(axi_device, "_UIO", str(tmp_path / "class"))
    monkeypatch.setattr(axi_device, "_DEVICES", str(tmp_path))
    return maps


@pytest.mark.parametrize("name", ["systolith", "uio3", "path", "link"])
def test_one_uio_device_has_both(uio, tmp_path, name):
    """By its name, by the device tree's, by its file and by a link that udev makes."""
    (tmp_path / "board").symlink_to(tmp_path / "uio3")
    place = {"path": str(tmp_path / "uio3"), "link": str(tmp_path / "board")}.get(name, name)
    with AXIDevice(place, None, MANIFEST) as device:
        assert (device.physical, device.memory_bytes) == (0x1800_0000, MEMORY_BYTES)
        assert device.read_memory(254, 4).tolist() == [254, 255, 0, 1]
        device.write_memory(10, np.array([7], np.uint8))
        assert (tmp_path / "uio3").read_bytes()[mmap.PAGESIZE + 10] == 7
        device.write_register(offset_of("BASE1_LO"), 0x1000)
        assert (tmp_path / "uio3").read_bytes()[offset_of("BASE1_LO"):][:4] == (0x1800_1000).to_bytes(4, "little")


def test_maps_that_begin_within_a_page(uio, tmp_path):
    """As the kernel shows them: whole pages, and what comes before the device in its first one."""
    text = (tmp_path / "uio3").read_bytes()
    (tmp_path / "uio3").write_bytes(bytes(0x200) + text[:mmap.PAGESIZE - 0x200] + text[mmap.PAGESIZE:])
    (uio / "map0" / "offset").write_text("0x200\n")
    (uio / "map1" / "offset").write_text("0x40\n")
    with AXIDevice("systolith", None, MANIFEST) as device:
        assert (device.physical, device.memory_bytes) == (0x1800_0040, MEMORY_BYTES - 0x40)
        assert device.read_memory(0, 2).tolist() == [0x40, 0x41]


def test_a_uio_device_from_the_command_line(uio, tmp_path):
    (tmp_path / MANIFEST_NAME).write_text(MANIFEST.to_json())
    for place in ("systolith", tmp_path / "uio3"):
        with connect(f"axi:{place}", directory=tmp_path) as acc:
            assert acc.device.memory_bytes == MEMORY_BYTES


def test_uio_devices_that_will_not_do(uio, chip, tmp_path):
    with pytest.raises(DeviceError, match=r"^no UIO device is called 'systolit'; there is uio3 \(systolith\)$"):
        AXIDevice("systolit", None, MANIFEST)
    (uio / "map0" / "size").write_text("0x100\n")
    with pytest.raises(DeviceError, match=r"^map 0 of '.*uio3' must hold the registers, 512 bytes, not 256$"):
        AXIDevice("uio3", None, MANIFEST)
    (uio / "map0" / "size").write_text("0x1000\n")
    (uio / "map1" / "addr").unlink()
    with pytest.raises(DeviceError, match=r"^'.*uio3' must be a UIO device with a second map, the memory; give the memory as well, "):
        AXIDevice("uio3", None, MANIFEST)
    with AXIDevice("uio3", f"{chip.paths[1]}@{PHYSICAL:#x}", MANIFEST) as device:
        assert device.physical == PHYSICAL
    with pytest.raises(DeviceError, match=r"^'.*registers' must be a UIO device with a second map"):
        AXIDevice(str(chip.paths[0]), None, MANIFEST)


def test_a_machine_without_uio(tmp_path, monkeypatch):
    monkeypatch.setattr(axi_device, "_UIO", str(tmp_path / "none"))
    with pytest.raises(DeviceError, match=r"^no UIO device is called 'systolith'; there is none: does the device tree have one \(docs/"):
        AXIDevice("systolith", None, MANIFEST)


def test_what_cannot_be(chip, tmp_path):
    registers, memory = map(str, chip.paths)
    with pytest.raises(DeviceMismatch, match="HASH_LO must be 0x11111111"), \
            opened(chip, Manifest(config=MANIFEST.config, hash="1" * 64)):
        pass
    for places, message in (((str(tmp_path / "none"), memory), "registers at '.*none' cannot be mapped: No such file or directory"),
                            ((registers, str(tmp_path / "none")), "memory at '.*none' cannot be mapped: No such file or directory"),
                            ((registers, memory), r"is no u-dma-buf; give its physical address and size, PATH@ADDRESS\+BYTES")):
        with pytest.raises(DeviceError, match=message):
            AXIDevice(*places, MANIFEST)
    with pytest.raises(ValueError, match=r"a mapping must be PATH\[@ADDRESS\[\+BYTES\]\], not '/dev/mem@here'"):
        parse_place("/dev/mem@here")
    assert parse_place("/dev/mem@0x40000000+65536") == ("/dev/mem", 0x40000000, 65536)


def test_from_a_folder(chip, tmp_path):
    (tmp_path / MANIFEST_NAME).write_text(MANIFEST.to_json())
    with connect(f"axi:{chip.paths[0]},{chip.paths[1]}@{PHYSICAL}", directory=tmp_path) as acc:
        assert acc.device.memory_bytes == MEMORY_BYTES and json.loads(MANIFEST.to_json())["sizes"]["memory_bytes"] == 0
    with pytest.raises(FlowError, match=r"device 'axi:' must be axi:DEVICE, such as axi:/dev/uio0, or axi:REGISTERS,MEMORY, such as axi:/"):
        connect("axi:", directory=tmp_path)
