"""The accelerator's bus on a LiteDRAM port that is wider: bursts of any length, with any stalls, against a memory in NumPy."""

import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("litedram", reason="LiteDRAM is not installed: pip install 'systolith[litex]'")

from litedram.common import LiteDRAMNativePort
from litex.soc.interconnect import axi
from migen import run_simulation
from systolith import gen

BYTES = 4096
LATENCY = 4  # cycles from a command to its data, which the controller then takes, or gives, without waiting


def adapters():
    """The file that is written into generated folders."""
    path = Path(gen.__file__).parent / "driver" / "systolith_litex.py"
    specification = importlib.util.spec_from_file_location("systolith_litex", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Bench:
    """A memory behind the port of a WideWrites or WideReads, which takes its time with commands as ``random`` has it."""

    def __init__(self, kind, bus_bits, port_bits, seed, patience):
        self.random, self.patience = random.Random(seed), patience
        self.bus = axi.AXIInterface(data_width=bus_bits, address_width=32, id_width=1)
        self.port = LiteDRAMNativePort("write" if kind == "WideWrites" else "read", 28, port_bits)
        self.module = getattr(adapters(), kind)(self.bus, self.port)
        self.bus_bytes, self.port_bytes = bus_bits // 8, port_bits // 8
        self.memory = np.random.default_rng(seed).integers(0, 256, BYTES, np.uint8)
        self.commands = 0
        self.finished = False

    def patient(self):
        return self.random.random() < self.patience

    def controller(self):
        """Answers commands in their order, after LATENCY."""
        port, line = self.port, [None] * LATENCY
        while not self.finished:
            ready = self.patient()
            yield port.cmd.ready.eq(ready)
            now = line.pop(0)
            if port.mode == "write":
                yield port.wdata.ready.eq(now is not None)
            else:
                yield port.rdata.valid.eq(now is not None)
                if now is not None:
                    yield port.rdata.data.eq(int.from_bytes(self.memory[now:now + self.port_bytes].tobytes(), "little"))
            yield
            if port.mode == "write" and now is not None:
                assert (yield port.wdata.valid), "a controller does not wait for data"
                data, we = (yield port.wdata.data), (yield port.wdata.we)
                for index in range(self.port_bytes):
                    if we >> index & 1:
                        self.memory[now + index] = data >> 8 * index & 0xFF
            if port.mode == "read" and now is not None:
                assert (yield port.rdata.ready), "a controller does not wait for room"
            accepted = ready and (yield port.cmd.valid)
            line.append((yield port.cmd.addr) * self.port_bytes if accepted else None)
            self.commands += bool(accepted)

    def bursts(self, count):
        for _ in range(count):
            beats = self.random.choice([1, 1, 2, 3, 4, 16, self.random.randint(1, 64)])
            first = self.random.randrange(BYTES // self.bus_bytes - beats + 1) * self.bus_bytes
            yield first, beats

    def send(self, channel, **fields):
        while not self.patient():
            yield
        for name, value in fields.items():
            yield getattr(channel, name).eq(value)
        yield channel.valid.eq(1)
        yield
        while not (yield channel.ready):
            yield
        yield channel.valid.eq(0)

    def request(self, channel, first, beats, identity):
        yield from self.send(channel, addr=first, len=beats - 1, size=(self.bus_bytes - 1).bit_length(), burst=1, id=identity)


SIZES = [(64, 128), (32, 128), (64, 512)]


@pytest.mark.parametrize("patience", [1.0, 0.4])
@pytest.mark.parametrize(("bus_bits", "port_bits"), SIZES)
def test_writes(bus_bits, port_bits, patience):
    bench = Bench("WideWrites", bus_bits, port_bits, seed := 7, patience)
    print(f"seed {seed}")
    expected, bus, jobs = bench.memory.copy(), bench.bus, []
    for number, (first, beats) in enumerate(bench.bursts(60)):
        octets = np.random.default_rng(number).integers(0, 256, (beats, bench.bus_bytes), np.uint8)
        strobes = np.random.default_rng(-number % 1000).integers(0, 2, octets.shape).astype(bool) | (number % 2 == 0)
        expected[first:first + octets.size][strobes.reshape(-1)] = octets[strobes]
        jobs.append((first, octets, strobes))

    def addresses():
        for number, (first, octets, _) in enumerate(jobs):
            yield from bench.request(bus.aw, first, len(octets), number & 1)

    def data():
        for _, octets, strobes in jobs:
            for index, (word, strobe) in enumerate(zip(octets, strobes, strict=True)):
                yield from bench.send(bus.w, data=int.from_bytes(word.tobytes(), "little"), last=index == len(octets) - 1,
                                      strb=sum(int(bit) << place for place, bit in enumerate(strobe)))

    def responses():
        for number in range(len(jobs)):
            waited = 0
            while True:
                ready = bench.patient()
                yield bus.b.ready.eq(ready)
                yield
                if ready and (yield bus.b.valid):
                    assert (yield bus.b.id) == number & 1 and (yield bus.b.resp) == 0
                    break
                waited += 1
                assert waited < 2000, f"no response to burst {number}"
        yield bus.b.ready.eq(0)
        for _ in range(2 * LATENCY):
            yield
        bench.finished = True

    run_simulation(bench.module, [addresses(), data(), responses(), bench.controller()])
    assert np.array_equal(bench.memory, expected)
    whole = sum(-(-(first % bench.port_bytes + octets.size) // bench.port_bytes) for first, octets, _ in jobs)
    assert bench.commands == whole, "one command for each of the port's words"


@pytest.mark.parametrize("patience", [1.0, 0.4])
@pytest.mark.parametrize(("bus_bits", "port_bits"), SIZES)
def test_reads(bus_bits, port_bits, patience):
    bench = Bench("WideReads", bus_bits, port_bits, seed := 8, patience)
    print(f"seed {seed}")
    bus, jobs = bench.bus, list(bench.bursts(60))

    def addresses():
        for number, (first, beats) in enumerate(jobs):
            yield from bench.request(bus.ar, first, beats, number & 1)

    def data():
        for number, (first, beats) in enumerate(jobs):
            for beat in range(beats):
                waited = 0
                while True:
                    ready = bench.patient()
                    yield bus.r.ready.eq(ready)
                    yield
                    if ready and (yield bus.r.valid):
                        break
                    waited += 1
                    assert waited < 2000, f"no word {beat} of burst {number}"
                place = first + beat * bench.bus_bytes
                word = bench.memory[place:place + bench.bus_bytes].tobytes()
                assert (yield bus.r.data).to_bytes(bench.bus_bytes, "little") == word, (number, beat)
                assert (yield bus.r.last) == (beat == beats - 1) and (yield bus.r.id) == number & 1
        bench.finished = True

    run_simulation(bench.module, [addresses(), data(), bench.controller()])
    whole = sum(-(-(first % bench.port_bytes + beats * bench.bus_bytes) // bench.port_bytes) for first, beats in jobs)
    assert bench.commands == whole, "one command for each of the port's words"
