"""A memory that stops answering, at any moment of a program: the driver says who waited for what, and nothing hangs."""

import numpy as np
import pytest
from systolith.arch import numerics
from systolith.arch.commands import Engine
from systolith.arch.manifest import Manifest
from systolith.arch.registers import Control, ErrorCode, State, Status, offset_of
from systolith.arch.settings import resolve
from systolith.gen.generate import generate
from systolith.gen.simulate import compile_simulation
from systolith.host.accelerator import Accelerator, ProgramFailed
from systolith.host.device import DeviceError
from systolith.host.simulated import SimulatedDevice

MEMORY = {"activation_kib": 2, "weight_kib": 2, "accumulator_rows": 64}
A, W = (np.random.default_rng(3).integers(-128, 128, shape, np.int8) for shape in ((17, 40), (40, 13)))
WATCHDOG = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dead")
    generate(resolve({"array": {"rows": 4, "cols": 6}, "memory": MEMORY}), directory)
    return directory


@pytest.fixture
def acc(folder):
    manifest = Manifest.read(folder)
    device = SimulatedDevice(compile_simulation(folder).path, manifest, memory_bytes=1 << 16, latency=20, max_cycles=100_000)
    with Accelerator(device, manifest) as accelerator:
        accelerator.write("WATCHDOG", WATCHDOG)
        yield accelerator


def after_start(acc, action):
    """``action()`` follows the next START."""
    device = acc.device
    write = device.write_register

    def write_register(offset, value):
        write(offset, value)
        if (offset, value) == (offset_of("CONTROL"), Control.START):
            device.write_register = write
            action()
    device.write_register = write_register


def stop_after(acc, cycles):
    """The memory stops ``cycles`` cycles after the next START."""
    def stop():
        for _ in range(cycles):
            acc.read("STATUS")
        acc.device.stop_memory()
    after_start(acc, stop)


def test_each_engine_is_named(acc):
    acc.matmul(A, W)
    named = {}
    for cycles in range(1, acc.counters["cycles"], 37):
        stop_after(acc, cycles)
        try:
            result = acc.matmul(A, W)
        except ProgramFailed as failure:
            assert failure.code is ErrorCode.TIMEOUT and "the memory did not answer within WATCHDOG cycles" in str(failure)
            named[failure.engine] = str(failure)
            assert acc.counters["cycles"] >= cycles
        else:
            assert np.array_equal(result, numerics.matmul(A, W))
        acc.device.stop_memory(False)
        acc.device.poll(lambda: not acc.read("STATUS") & Status.BUS_OWED)
        assert np.array_equal(acc.matmul(A, W), numerics.matmul(A, W)), cycles
    assert set(named) == {Engine.FETCH, Engine.LOAD, Engine.STORE}
    assert "which waited for data that it reads (" in named[Engine.LOAD]
    assert "which waited for the end of its writes (" in named[Engine.STORE]
    assert "TIMEOUT in FETCH command 0, which waited for words of the program (" in named[Engine.FETCH]


def test_start_is_refused_until_the_memory_has_answered_or_reset(acc):
    stop_after(acc, 100)
    with pytest.raises(ProgramFailed, match="TIMEOUT in LOAD"):
        acc.matmul(A, W)
    assert acc.read("STATUS") == State.ERROR | Status.IRQ | Status.BUS_OWED
    with pytest.raises(DeviceError, match="refused to start the program: the memory owes answers to the one before; reset both"):
        acc.matmul(A, W)
    acc.write("CONTROL", Control.RESET)
    assert acc.read("STATUS") == State.IDLE and acc.read("WATCHDOG") == WATCHDOG


@pytest.mark.parametrize("action, state", [(Control.ABORT, State.ERROR), (Control.RESET, State.IDLE)])
def test_abort_and_reset(acc, action, state):
    def act():
        for _ in range(100):
            acc.read("STATUS")
        acc.device.stop_memory()
        acc.write("CONTROL", action)
    after_start(acc, act)
    with pytest.raises((ProgramFailed, DeviceError), match=r"ABORTED in NONE|the device is IDLE"):
        acc.matmul(A, W)
    assert acc.read("STATUS") & 3 == state


def test_a_slow_memory_is_not_dead(folder):
    manifest = Manifest.read(folder)
    device = SimulatedDevice(compile_simulation(folder).path, manifest, memory_bytes=1 << 16, latency=WATCHDOG - 20, max_cycles=1_000_000)
    with Accelerator(device, manifest) as acc:
        acc.write("WATCHDOG", WATCHDOG)
        assert np.array_equal(acc.matmul(A, W), numerics.matmul(A, W))
