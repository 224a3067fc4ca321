"""The C driver, compiled with every warning, runs the Python driver's own program on the simulated device."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from devices import small_config
from systolith.arch.manifest import Manifest
from systolith.arch.registers import ERROR_HELP, ErrorCode, State, Status, offset_of
from systolith.gen import tools
from systolith.gen.generate import generate
from systolith.gen.header import c_header
from systolith.gen.simulate import compile_simulation
from systolith.host.accelerator import Accelerator
from systolith.host.matmul import MatmulJob
from systolith.host.simulated import SimulatedDevice, _Settings

CONFIG = small_config(4, 4)
MEMORY_BYTES = 1 << 16
M, N, K = 9, 10, 21
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
OK, ABSENT, MISMATCH, REFUSED, TIMEOUT, FAILED, STOPPED = range(7)


def compile_c(*arguments):
    subprocess.run([shutil.which("cc") or tools.compiler(), "-x", "c", *WARNINGS, *map(str, arguments)], check=True)


class Drive:
    """The C program for one folder, a product's program and operands, and where they lie."""

    def __init__(self, folder, config=CONFIG):
        self.folder = folder
        generate(config, folder / "out")
        self.manifest = Manifest.read(folder / "out")
        self.library = compile_simulation(folder / "out").path
        self.program = self.build(folder / "out", "drive")
        self.settings = folder / "settings"
        rng = np.random.default_rng(7)
        self.a = rng.integers(-128, 128, (M, K), np.int8)
        low, high = config.array.weight_limits
        self.w = rng.integers(low, high + 1, (K, N), np.int8)
        job = MatmulJob(config, self.a, self.w, None, None)
        part, = job.parts(MEMORY_BYTES)
        self.plan, self.addresses = job.plan(part)
        self.image = np.zeros(MEMORY_BYTES, np.uint8)
        windows = {region.base: (self.addresses[name], region.bytes) for name, region in self.plan.regions.items()}
        for address, data in [*job.operands(part, self.addresses), (windows[0][0], self.plan.words)]:
            octets = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
            self.image[address:address + octets.size] = octets
        self.bases = [f"base:{index}:{address}:{size}" for index, (address, size) in windows.items()]
        self.words = len(self.plan.words)

    def build(self, headers, name):
        support = Path(__file__).parents[1] / "support"
        out = self.folder / "out"
        compile_c(support / "drive.c", out / "systolith.c", f"-I{headers}", f"-I{out}", "-ldl", "-o", self.folder / name)
        return self.folder / name

    def __call__(self, *steps, program=None, latency=30):
        """The lines that the steps print, and the memory afterwards."""
        self.settings.write_bytes(bytes(_Settings(memory_bytes=MEMORY_BYTES, latency=latency, cycles_per_beat=1)))
        memory = self.folder / "memory"
        memory.write_bytes(self.image.tobytes())
        done = subprocess.run([program or self.program, self.library, self.settings, memory, *steps], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), np.frombuffer(memory.read_bytes(), np.uint8)

    def result(self, memory):
        region = self.plan.regions["c"]
        address = self.addresses["c"]
        return memory[address:address + region.bytes].view("<i4").reshape(M, N)


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    return Drive(tmp_path_factory.mktemp("c_driver"))


def code_of(line):
    return int(line.split()[0])


def test_it_compiles_freestanding_without_warnings(drive, tmp_path):
    out = drive.folder / "out"
    compile_c("-ffreestanding", "-Wconversion", "-c", out / "systolith.c", "-o", tmp_path / "systolith.o")


def test_the_product_is_numpys_and_the_cycles_are_the_python_drivers(drive):
    lines, memory = drive("check", *drive.bases, f"run:0:{drive.words}:100000", "counters", "barriers", f"read:{offset_of('EXECUTE_BUSY')}")
    assert [code_of(line) for line in lines[:2]] == [OK, OK]
    np.testing.assert_array_equal(drive.result(memory), drive.a.astype(np.int32) @ drive.w.astype(np.int32))

    device = SimulatedDevice(drive.library, drive.manifest, memory_bytes=MEMORY_BYTES, latency=30)
    with Accelerator(device, drive.manifest) as accelerator:
        accelerator.matmul(drive.a, drive.w)
        counters = accelerator.counters
    assert [int(word) for word in lines[2].split()] == [counters[name] for name in ("cycles", "bytes_read", "bytes_written", "commands")]
    assert lines[3:] == ["2", str(counters["stalls"]["execute"]["busy"])]


def test_int4_weights(tmp_path):
    """The driver moves bytes; FEATURES is among what it checks."""
    drive = Drive(tmp_path, small_config(4, 5, array={"weights": "int4"}))
    lines, memory = drive("check", *drive.bases, f"run:0:{drive.words}:100000")
    assert [code_of(line) for line in lines] == [OK, OK]
    np.testing.assert_array_equal(drive.result(memory), drive.a.astype(np.int32) @ drive.w.astype(np.int32))


def test_another_accelerator_is_refused(drive, tmp_path):
    other = dataclasses.replace(drive.manifest, hash="1" * 64)
    (tmp_path / "systolith.h").write_text(c_header(other), encoding="utf-8")
    shutil.copy(drive.folder / "out" / "systolith_driver.h", tmp_path)
    shutil.copy(drive.folder / "out" / "systolith.c", tmp_path)
    program = tmp_path / "drive"
    compile_c(Path(__file__).parents[1] / "support" / "drive.c", tmp_path / "systolith.c", f"-I{tmp_path}", "-ldl", "-o", program)
    lines, _ = drive("check", program=program)
    assert lines == ["2 this is another accelerator than systolith.h describes; load the bitstream built with it"]

    header = re.sub(r"(IS_MAGIC\s+)0x\w+u", r"\g<1>0x12345678u", c_header(drive.manifest))
    (tmp_path / "systolith.h").write_text(header, encoding="utf-8")
    compile_c(Path(__file__).parents[1] / "support" / "drive.c", tmp_path / "systolith.c", f"-I{tmp_path}", "-ldl", "-o", program)
    lines, _ = drive("check", program=program)
    assert lines == ["1 no accelerator answers at this address"]


def test_errors_are_in_words(drive):
    base = drive.plan.regions["a"].base
    lines, memory = drive(*drive.bases, f"base:{base}:{drive.addresses['a']}:16", f"run:0:{drive.words}:100000", "error",
                          "run:0:0:100", "reset:1", "error", "wait:1")
    assert code_of(lines[0]) == FAILED
    assert re.fullmatch(rf"ADDRESS engine 1 command \d+ address 0x[0-9a-f]+: {re.escape(ERROR_HELP[ErrorCode.ADDRESS])}", lines[1])
    assert not drive.result(memory).any()
    assert code_of(lines[2]) == OK and code_of(lines[3]) == OK
    assert lines[4] == "NONE engine 0 command 0 address 0x0: no error"
    assert code_of(lines[5]) == STOPPED


def test_a_running_program_is_not_disturbed_and_can_be_ended(drive):
    start = f"start:0:{drive.words}"
    lines, memory = drive(*drive.bases, start, start, "wait:2", "wait:100000", start, "abort", "wait:100000", "error", start,
                          "reset:100000", f"run:0:{drive.words}:100000", latency=5000)
    assert [code_of(line) for line in lines[:6]] == [OK, REFUSED, TIMEOUT, OK, OK, FAILED]
    assert lines[6].startswith("ABORTED engine 0")
    assert [code_of(line) for line in lines[7:]] == [OK, OK, OK]
    np.testing.assert_array_equal(drive.result(memory), drive.a.astype(np.int32) @ drive.w.astype(np.int32))


def test_interrupt(drive):
    status, enable = offset_of("STATUS"), offset_of("IRQ_ENABLE")
    lines, _ = drive(*drive.bases, "irq:1", f"read:{enable}", f"run:0:{drive.words}:100000", f"read:{status}", "clear", f"read:{status}",
                     "irq:0", f"read:{enable}")
    assert lines[0] == "1" and lines[2:] == [str(State.DONE | Status.IRQ), str(int(State.DONE)), "0"]


def test_queue(drive):
    """Four fit behind the running one; an error in the second, by the other set of base registers, stops the rest."""
    queue = f"enqueue:0:{drive.words}"
    base = drive.plan.regions["a"].base
    lines, memory = drive(*drive.bases, *[queue] * 6, "wait:100000", "completed")
    assert [code_of(line) for line in lines[:7]] == [OK] * 5 + [REFUSED, OK] and lines[7] == "5"
    np.testing.assert_array_equal(drive.result(memory), drive.a.astype(np.int32) @ drive.w.astype(np.int32))

    lines, _ = drive(*drive.bases, queue, "select:1", *drive.bases, f"base:{base}:{drive.addresses['a']}:16", *[queue] * 2, "wait:100000",
                     "completed", "error", queue, f"read:{offset_of('STATUS')}")
    assert [code_of(line) for line in lines[:4]] == [OK, OK, OK, FAILED]
    assert lines[4] == "1" and lines[5].startswith("ADDRESS engine 1") and code_of(lines[6]) == FAILED
    assert int(lines[7]) & Status.WAITING == 1 << 8
