"""Queued programs on the functional model and on the simulated Verilog: products in a row, relocated by base registers."""

import dataclasses

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
from systolith.host.device import DeviceError, DeviceTimeout
from systolith.host.matmul import MatmulJob
from systolith.host.model_device import ModelDevice
from systolith.host.queue import ProgramQueue
from systolith.host.simulated import SimulatedDevice

M, N, K = 20, 9, 31
WINDOW = 1 << 14  # bytes between two products
MEMORY = {"activation_kib": 2, "weight_kib": 2, "accumulator_rows": 64}
DEPTH = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("queue")
    generate(resolve({"array": {"rows": 4, "cols": 6}, "memory": MEMORY, "control": {"queue_programs": DEPTH}}), directory)
    return directory


@pytest.fixture(params=["model", "sim", "no queue"])
def acc(request, folder):
    manifest = Manifest.read(folder)
    if request.param == "no queue":
        control = dataclasses.replace(manifest.config.control, queue_programs=0)
        manifest = dataclasses.replace(manifest, config=dataclasses.replace(manifest.config, control=control))
    if request.param == "sim":
        device = SimulatedDevice(compile_simulation(folder).path, manifest, memory_bytes=1 << 18, max_cycles=1_000_000)
    else:
        device = ModelDevice(manifest, memory_bytes=1 << 18)
    with Accelerator(device, manifest, timeout_s=60) as accelerator:
        yield accelerator


@pytest.fixture
def simulated(folder):
    manifest = Manifest.read(folder)
    device = SimulatedDevice(compile_simulation(folder).path, manifest, memory_bytes=1 << 18, max_cycles=1_000_000)
    with Accelerator(device, manifest, timeout_s=60) as accelerator:
        yield accelerator


class Products:
    """Random products, one in each window of the device memory, all of one program."""

    def __init__(self, acc, count):
        rng = np.random.default_rng(5)
        self.acc, self.operands, self.results = acc, [], []
        for index in range(count):
            a, w = rng.integers(-128, 128, (M, K), np.int8), rng.integers(-128, 128, (K, N), np.int8)
            job = MatmulJob(acc.config, a, w, None, None)
            part, = job.parts(WINDOW)
            self.plan, addresses = job.plan(part)
            for address, data in job.operands(part, addresses):
                acc.device.write_memory(index * WINDOW + address, data)
            windows = {region.base: (addresses[name], region.bytes) for name, region in self.plan.regions.items()}
            self.windows = [windows.get(base, (0, 0)) for base in range(max(windows) + 1)]
            self.c = addresses["c"], self.plan.regions["c"].bytes
            self.operands.append((a, w))
        self.words = self.plan.words

    def bases(self, index):
        addresses, sizes = zip(*self.windows, strict=True)
        return {"bases": [index * WINDOW + address for address in addresses], "sizes": list(sizes)}

    def right(self, index):
        address, count = self.c
        result = self.acc.device.read_memory(index * WINDOW + address, count).view("<i4").reshape(M, N)
        return np.array_equal(result, numerics.matmul(*self.operands[index]))


def test_products_in_a_row(acc):
    products = Products(acc, 7)
    with ProgramQueue(acc) as queue:
        assert [queue.submit(products.words, **products.bases(index)) for index in range(7)] == list(range(7))
    assert queue.completed == queue.submitted == 7
    assert all(products.right(index) for index in range(7))
    assert acc.counters["bytes_written"] == 4 * M * N

    with ProgramQueue(acc) as queue:  # another one, on the same bases
        for _ in range(2 * DEPTH + 3):
            queue.submit(products.words, **products.bases(3))
    assert queue.completed == 2 * DEPTH + 3


def test_an_error_names_the_program_and_stops_those_behind(acc):
    products = Products(acc, 5)
    short = products.bases(2)
    short["sizes"] = [*short["sizes"][:-1], 8]
    with pytest.raises(ProgramFailed, match=r"ADDRESS in \w+ command \d+ at address") as caught, ProgramQueue(acc) as queue:
        for index in range(5):
            queue.submit(products.words, **(short if index == 2 else products.bases(index)))
    assert caught.value.code is ErrorCode.ADDRESS
    if acc.config.control.queue_programs:
        assert caught.value.program == 2
        assert str(caught.value).startswith(f"program 2 of the queue ({caught.value.dropped} behind it do not run): ADDRESS in ")
    assert [products.right(index) for index in range(5)] == [True, True, False, False, False]

    with ProgramQueue(acc) as queue:
        queue.submit(products.words, **products.bases(4))
    assert products.right(4) and queue.completed == 1
    acc.run(products.words, **products.bases(3))
    assert products.right(3)


def status(acc):
    return acc.read("STATUS")


def enqueue_all(acc, products, count):
    """Queue one program ``count`` times by its registers."""
    acc.write_bases(**products.bases(0))
    acc.write_program(products.words, **products.bases(0))
    for _ in range(count):
        acc.write("CONTROL", Control.ENQUEUE)


def test_queue_full_abort_and_reset(simulated):
    products = Products(simulated, 1)
    enqueue_all(simulated, products, DEPTH + 1)
    assert status(simulated) == State.RUNNING | DEPTH << 8
    simulated.write("CONTROL", Control.ENQUEUE)
    assert status(simulated) == State.RUNNING | Status.START_REFUSED | DEPTH << 8
    simulated.write("CONTROL", Control.START)
    assert status(simulated) == State.RUNNING | Status.START_REFUSED | DEPTH << 8
    simulated.write("CONTROL", Control.ABORT)
    simulated.device.wait()
    assert status(simulated) == State.ERROR | Status.IRQ | Status.START_REFUSED | DEPTH << 8
    error = simulated.failure(None)
    assert (error.code, error.engine) == (ErrorCode.ABORTED, Engine.NONE)
    simulated.run(products.words, **products.bases(0))
    assert products.right(0) and simulated.read("COMPLETED") == 1

    enqueue_all(simulated, products, DEPTH)
    simulated.write("CONTROL", Control.RESET)
    simulated.device.wait()
    assert status(simulated) == State.IDLE and simulated.read("COMPLETED") == 0
    simulated.run(products.words, **products.bases(0))


def test_cycles_between_two_programs(simulated):
    """The end of a program is the start of the next: nothing is lost but what clears the accelerator, three cycles."""
    products = Products(simulated, 1)
    alone = simulated.run(products.words, **products.bases(0))["cycles"]
    before = simulated.device.cycle
    enqueue_all(simulated, products, DEPTH + 1)
    begun = simulated.device.cycle - DEPTH  # ENQUEUE takes a cycle each; the first one began
    simulated.device.wait()
    took = simulated.device.cycle - begun
    assert simulated.read_counters()["cycles"] == alone
    print(f"{DEPTH + 1} programs of {alone} cycles took {took}; {begun - before} cycles of register writes before")
    assert 0 <= took - (DEPTH + 1) * alone <= 3 * (DEPTH + 1)


def test_interrupt_for_each(simulated):
    products = Products(simulated, 1)
    simulated.write("IRQ_ENABLE", 1)
    enqueue_all(simulated, products, 2)
    simulated.device.poll(lambda: status(simulated) & Status.IRQ)
    simulated.write("CONTROL", Control.CLEAR_IRQ)
    assert status(simulated) == State.RUNNING and simulated.read("COMPLETED") == 1
    simulated.device.wait()
    assert status(simulated) == State.DONE | Status.IRQ and simulated.read("COMPLETED") == 2


def test_another_hosts_program(simulated):
    products = Products(simulated, 1)
    enqueue_all(simulated, products, 1)
    with pytest.raises(DeviceError, match="the device refused to start the program: another one was running"):
        simulated.run(products.words, **products.bases(0))


def test_a_queue_that_does_not_end_in_time(simulated):
    products = Products(simulated, 1)
    simulated.device.max_cycles = 50
    queue = ProgramQueue(simulated)
    queue.submit(products.words, **products.bases(0))
    with pytest.raises(DeviceTimeout, match="the program has not ended after 50 cycles: LOAD "):
        queue.finish()
    assert simulated.device.read_register(offset_of("STATUS")) & 3 == State.RUNNING
