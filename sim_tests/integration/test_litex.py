"""A LiteX SoC with LiteDRAM and the accelerator, simulated: a client moves matrices in and out over UARTBone."""

import contextlib
import dataclasses
import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from systolith.arch.config import resolve
from systolith.arch.manifest import Manifest
from systolith.gen import tools
from systolith.gen.generate import generate
from systolith.host.accelerator import Accelerator, ProgramFailed
from systolith.host.device import DeviceError, DeviceMismatch
from systolith.host.litex import LiteXDevice

SUPPORT = Path(__file__).parents[1] / "support"
CONFIG = resolve({"array": {"rows": 4, "cols": 4}, "memory": {"activation_kib": 2, "weight_kib": 2, "accumulator_rows": 64}})


def run(*command, cwd, log, environment=None):
    tools.run_tool(command, cwd=cwd, log=cwd / log, environment=environment)


@pytest.fixture(scope="module")
def soc(tmp_path_factory):
    """Folder with the accelerator in ``out``, the SoC's ``csr.csv`` and its simulation."""
    work = tmp_path_factory.mktemp("litex")
    generate(CONFIG, work / "out")
    run(sys.executable, SUPPORT / "litex_soc.py", work / "out", work, cwd=work, log="litex.log")
    environment = tools.cocotb_environment(work / "tools")
    run(work / "tools" / "verilator", "--cc", "--exe", "--build", "-O3", "-j", "2", "-CFLAGS", "-O1", "--x-assign", "fast",
        "--x-initial", "fast", "-Wno-fatal", "-Wno-lint", "--top-module", "soc", "-Mdir", work / "model", "-o", work / "soc",
        work / "soc.v", work / "out" / "systolith.v", SUPPORT / "litex_soc.cpp", cwd=work, log="verilator.log", environment=environment)
    return work


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def process(*command, **options):
    with subprocess.Popen(command, text=True, **options) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture(scope="module")
def port(soc):
    """Of a litex_server in front of the running simulation."""
    number = free_port()
    with process(soc / "soc", stdout=subprocess.PIPE) as simulation:
        terminal = simulation.stdout.readline().strip()
        with process(tools.find("litex_server", extra="litex"), "--uart", "--uart-port", terminal, "--bind-port", str(number),
                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as server:
            said = ""
            while "tcp port" not in said:
                assert server.poll() is None and select.select([server.stdout], [], [], 30)[0], said
                said += server.stdout.readline()
            with LiteXDevice(Manifest.read(soc / "out"), port=number, csr_csv=soc / "csr.csv") as device:
                device.client.regs.sdram_dfii_control.write(1)  # LiteDRAM's controller takes over; a CPU's boot code does that and more
            yield number


@pytest.fixture
def device(soc, port):
    with LiteXDevice(Manifest.read(soc / "out"), port=port, csr_csv=soc / "csr.csv") as device:
        yield device


def test_memory(device):
    data = np.random.default_rng(1).integers(0, 256, 700, np.uint8)
    device.write_memory(0x1000, np.zeros(1024, np.uint8))
    device.write_memory(0x1003, data)
    assert np.array_equal(device.read_memory(0x1003, 700), data)
    assert not device.read_memory(0x1000, 3).any() and not device.read_memory(0x1003 + 700, 60).any()


def test_the_product_is_numpys(soc, device):
    rng = np.random.default_rng(2)
    with Accelerator(device, Manifest.read(soc / "out"), timeout_s=60) as acc:
        for m, n, k in ((5, 6, 7), (16, 12, 20)):
            a, w = rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)
            assert np.array_equal(acc.matmul(a, w), a.astype(np.int32) @ w.astype(np.int32)), (m, n, k)
        assert acc.counters["cycles"] > 0 and acc.counters["bytes_written"] == 4 * 16 * 12


def test_errors_are_named(soc, port):
    manifest = Manifest.read(soc / "out")
    device = LiteXDevice(manifest, port=port, csr_csv=soc / "csr.csv")
    with Accelerator(device, manifest, timeout_s=60) as acc, pytest.raises(ProgramFailed, match="OPCODE in FETCH command 0"):
        acc.run(np.array([15], np.uint32), bases=[0], sizes=[64])
    with pytest.raises(DeviceMismatch, match="HASH_LO must be 0x11111111"), \
            LiteXDevice(dataclasses.replace(manifest, hash="1" * 64), port=port, csr_csv=soc / "csr.csv"):
        pass
    with pytest.raises(DeviceError, match="no accelerator 'other' through litex_server at localhost:"):
        LiteXDevice(manifest, port=port, csr_csv=soc / "csr.csv", name="other")
    with pytest.raises(DeviceError, match="no accelerator 'systolith' through litex_server at localhost:1 with "):
        LiteXDevice(manifest, port=1, csr_csv=soc / "csr.csv")


def test_from_the_command_line(soc, port):
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    command = [tools.find("systolith"), "matmul", "--m", "3", "--n", "5", "--k", "9", "--device", f"litex:localhost:{port}", "--json",
               *(f"--set={key}={value}" for key, value in (("array.rows", 4), ("array.cols", 4), ("memory.activation_kib", 2),
                                                            ("memory.weight_kib", 2), ("memory.accumulator_rows", 64)))]
    done = subprocess.run(command, cwd=soc, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["correct"] is True
