"""The driver on the functional model and on the simulated Verilog: the same results, the same errors."""

import numpy as np
import pytest
from systolith.arch import numerics
from systolith.arch.commands import Engine, Execute, Load, Store, pack
from systolith.arch.manifest import Manifest
from systolith.arch.registers import ErrorCode, State, offset_of
from systolith.arch.settings import resolve
from systolith.arch.tiling import PlanError
from systolith.gen.generate import generate
from systolith.gen.simulate import compile_simulation
from systolith.host.accelerator import Accelerator, CounterError, ProgramFailed, Requantise
from systolith.host.device import DeviceError
from systolith.host.model_device import ModelDevice
from systolith.host.simulated import SimulatedDevice

SEED = 20
SHAPES = [(1, 1, 1), (1, 7, 13), (13, 1, 2), (4, 6, 4), (31, 17, 29), (64, 33, 50)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("accelerator")
    memory = {"activation_kib": 2, "weight_kib": 2, "accumulator_rows": 64}
    generate(resolve({"array": {"rows": 4, "cols": 6}, "memory": memory}), directory)
    return directory


@pytest.fixture(scope="module")
def manifest(folder):
    return Manifest.read(folder)


@pytest.fixture(params=["model", "sim"])
def connect(request, folder, manifest):
    def open_device(*, memory_bytes=1 << 20, notify=None):
        if request.param == "model":
            device = ModelDevice(manifest, memory_bytes=memory_bytes)
        else:
            device = SimulatedDevice(compile_simulation(folder).path, manifest, memory_bytes=memory_bytes, max_cycles=10_000_000)
        return Accelerator(device, manifest, notify=notify)
    return open_device


def operands(m, n, k, seed=SEED):
    rng = np.random.default_rng([seed, m, n, k])
    return (rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8),
            rng.integers(-1 << 31, 1 << 31, n, np.int32), rng)


def test_matmul(connect):
    with connect() as acc:
        for m, n, k in SHAPES:
            a, w, bias, rng = operands(m, n, k)
            exact = numerics.matmul(a, w)
            assert np.array_equal(acc.matmul(a, w), exact), (SEED, m, n, k)
            assert np.array_equal(acc.matmul(a, w, bias), exact + bias), (SEED, m, n, k)
            q = Requantise(multiplier=rng.integers(1 << 30, 1 << 31, n), shift=rng.integers(-14, -6, n), zero_point=-5, low=-100, high=90)
            expected = numerics.requantise(exact + bias, q.multiplier, q.shift, -5, -100, 90)
            assert np.array_equal(acc.matmul(a, w, bias, q), expected), (SEED, m, n, k)
            scalar = Requantise(multiplier=1 << 30, shift=-8)
            assert np.array_equal(acc.matmul(a, w, requantise=scalar), numerics.requantise(exact, 1 << 30, -8, 0))


def test_counters(connect):
    with connect() as acc:
        a, w, _, _ = operands(31, 17, 29)
        acc.matmul(a, w)
        counters = acc.counters
        assert counters["macs"] == 31 * 17 * 29 <= counters["macs_issued"]
        assert counters["bytes_written"] == 4 * 31 * 17
        assert counters["programs"] == 1 and counters["host_bytes_rearranged"] == 0
        assert ("cycles" in counters) == ("stalls" in counters) == acc.device.counts_cycles
        for causes in counters.get("stalls", {}).values():
            assert sum(causes.values()) == counters["cycles"]


def test_devices_count_the_same_traffic(folder, manifest):
    a, w, bias, _ = operands(31, 17, 29)
    found = []
    library = compile_simulation(folder).path
    for device in (ModelDevice(manifest, memory_bytes=1 << 20), SimulatedDevice(library, manifest, memory_bytes=1 << 20)):
        with Accelerator(device, manifest) as acc:
            acc.matmul(a, w, bias)
            found.append({name: acc.counters[name] for name in ("bytes_read", "bytes_written", "commands")})
    assert found[0] == found[1]


def test_work_larger_than_memory_is_split(connect):
    lines = []
    with connect(memory_bytes=4096, notify=lines.append) as acc:
        a, w, bias, _ = operands(60, 40, 30)
        q = Requantise(multiplier=1 << 30, shift=-9)
        assert np.array_equal(acc.matmul(a, w, bias), numerics.matmul(a, w) + bias)
        assert acc.counters["programs"] > 1
        assert lines == [f"60×30 · 30×40 does not fit 4096 bytes of device memory: done in {acc.counters['programs']} programs"]
        assert np.array_equal(acc.matmul(a, w, bias, q), numerics.requantise(numerics.matmul(a, w) + bias, 1 << 30, -9, 0))
        a, w, _, _ = operands(1, 1, 8192)
        with pytest.raises(PlanError, match="device memory must hold"):
            acc.matmul(a, w)


def test_nothing_else_is_written(connect):
    with connect() as acc:
        a, w, bias, _ = operands(7, 5, 9)
        sentinels = np.full(acc.device.memory_bytes, 0xA5, np.uint8)
        acc.device.write_memory(0, sentinels)
        acc.matmul(a, w, bias, Requantise(multiplier=1 << 30, shift=-7))
        regions = acc.plans[0].regions
        after = acc.device.read_memory(0, sentinels.size)
        start = 0  # regions follow each other at multiples of 64 bytes
        for name in ("program", "a", "w", "parameters", "c"):
            end = start + regions[name].bytes
            start = -(-end // 64) * 64
            assert (after[end:start] == 0xA5).all(), name
        assert (after[start:] == 0xA5).all()


def test_operands_that_are_not_row_major_are_copied_and_counted(connect):
    a, w, _, _ = operands(9, 8, 7)
    with connect() as acc:
        assert np.array_equal(acc.matmul(np.asfortranarray(a), w[:, ::-1]), numerics.matmul(a, w[:, ::-1]))
        assert acc.counters["host_bytes_rearranged"] == a.nbytes + w.nbytes


@pytest.mark.parametrize("arguments, kind, message", [
    ([np.ones((2, 3), np.int8), np.ones((4, 2), np.int8)], ValueError, "w must have as many rows as a has columns, 3, not 4"),
    ([np.ones((2, 3), np.uint8), np.ones((3, 2), np.int8)], TypeError, "a must be int8, not uint8"),
    ([np.ones((2, 3), np.int8), [[1]]], TypeError, "w must be a NumPy array, not list"),
    ([np.ones(3, np.int8), np.ones((3, 2), np.int8)], ValueError, "a must have 2 dimensions and not be empty, not shape (3,)"),
    ([np.ones((2, 0), np.int8), np.ones((0, 2), np.int8)], ValueError, "a must have 2 dimensions and not be empty, not shape (2, 0)"),
    ([np.ones((2, 3), np.int8), np.ones((3, 2), np.int8), np.ones(3, np.int32)], ValueError,
     "bias must have one value for each of 2 columns, not 3"),
    ([np.ones((2, 3), np.int8), np.ones((3, 2), np.int8), np.ones(2, np.int64)], TypeError, "bias must be int32, not int64"),
    ([np.ones((2, 3), np.int8), np.ones((3, 2), np.int8), None, Requantise(multiplier=np.ones(3, int), shift=0)], ValueError,
     "multiplier must be one number or one for each of 2 columns, not shape (3,)"),
])
def test_bad_operands(manifest, arguments, kind, message):
    with Accelerator(ModelDevice(manifest), manifest) as acc, pytest.raises(kind) as caught:
        acc.matmul(*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("settings, kind, message", [
    ({"multiplier": -1, "shift": 0}, ValueError, "multiplier must be from 0 to 2147483647, not -1"),
    ({"multiplier": 1, "shift": 31}, ValueError, "shift must be from -31 to 30, not 31"),
    ({"multiplier": 0.5, "shift": 0}, TypeError, "multiplier must be of whole numbers, not float64"),
    ({"multiplier": 1, "shift": 0, "low": 5, "high": 4}, ValueError, "low must be at most high, 4, not 5"),
])
def test_bad_requantise(settings, kind, message):
    with pytest.raises(kind) as caught:
        Requantise(**settings)
    assert str(caught.value) == message


def test_failures_say_what_and_where(connect):
    program = [Load(base=1, run=4), Load(base=1, offset=30, run=4)]
    with connect() as acc:
        with pytest.raises(ProgramFailed) as caught:
            acc.run(pack(program), bases=[0, 4096], sizes=[4096, 32])
        assert str(caught.value) == ("ADDRESS in LOAD command 1 at address 0x101e (a memory address outside the limits of its base "
                                     "register; nothing was written there): load base=1 offset=30 run=4")
        assert (caught.value.code, caught.value.engine, caught.value.command) == (ErrorCode.ADDRESS, Engine.LOAD, 1)
        with pytest.raises(ProgramFailed, match=r"VALUE in EXECUTE command 0 \(a field outside its rule") as caught:
            acc.run(pack([Execute(x_count=0)]), bases=[0], sizes=[4096])
        with pytest.raises(ProgramFailed, match=r"DEADLOCK in FETCH command 1 \(every engine waits for a token") as caught:
            acc.run(pack([Store(wait=1)]), bases=[0], sizes=[4096])
        assert caught.value.text is None
        with pytest.raises(ProgramFailed, match="OPCODE in FETCH command 0") as caught:
            acc.run(np.array([0], np.uint32), bases=[0], sizes=[4096])
        a, w, _, _ = operands(5, 4, 3)  # the device works on after errors
        assert np.array_equal(acc.matmul(a, w), numerics.matmul(a, w))


def test_bad_windows(manifest):
    with Accelerator(ModelDevice(manifest), manifest) as acc:
        with pytest.raises(ValueError, match="bases and sizes must be alike and from 1 to 8, not 1 and 2"):
            acc.run(pack([Execute()]), bases=[0], sizes=[64, 64])
        with pytest.raises(ValueError, match="the program's 56 bytes must lie within size 0, not 32"):
            acc.run(pack([Execute()]), bases=[0], sizes=[32])


class Overridden(ModelDevice):
    """A model that shows other values in some registers."""
    counts_cycles = True

    def __init__(self, manifest, values):
        super().__init__(manifest)
        self.shown = values

    def read_register(self, offset):
        return self.shown.get(offset, super().read_register(offset))


def test_contradicting_counters_are_refused(manifest):
    device = Overridden(manifest, {offset_of("CYCLES"): 10, **{offset_of(f"{engine}_IDLE"): 10 for engine in ("LOAD", "STORE")},
                                   offset_of("EXECUTE_IDLE"): 9})
    with pytest.raises(CounterError, match="counters of execute must add up to 10 cycles, not 9"):
        Accelerator(device, manifest).run(pack([]), bases=[0], sizes=[64])


def test_device_that_does_not_start(manifest):
    device = Overridden(manifest, {offset_of("STATUS"): State.IDLE})
    with pytest.raises(DeviceError, match="the program was started and the device is IDLE"):
        Accelerator(device, manifest).run(pack([]), bases=[0], sizes=[64])
