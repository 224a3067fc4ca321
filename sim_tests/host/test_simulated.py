"""The simulated device by itself: a small component with the core's ports exercises the memory model and its watch over the rules."""

import json
import os
import shutil
import threading
import time

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from systolith.arch.manifest import Manifest
from systolith.arch.registers import Control, offset_of
from systolith.arch.settings import resolve
from systolith.gen import generate as generate_module
from systolith.gen import simulate, tools
from systolith.gen.simulate import compile_simulation
from systolith.host.device import DeviceError, DeviceMismatch, DeviceTimeout
from systolith.host.simulated import EVENT, SimulatedDevice
from systolith.host.trace import trace_events, write_trace

RULES = {
    1: "a read address is not a multiple of the bus bytes",
    2: "write data came before its request",
    3: "write data changed while it waited",
    4: "a write burst's last word is marked wrongly",
    5: "a read request changed while it waited",
}
HANGS = 6


class Exerciser(wiring.Component):
    """Copies PROGRAM_WORDS bus words from base 0 to base 1, one word per burst; PROGRAM_OFFSET chooses a rule to break."""

    def __init__(self, config):
        self.config = config
        address, bus = config.memory.address_bits, config.memory.bus_bits
        super().__init__({
            "csr_address": In(10), "csr_write": In(1), "csr_write_data": In(32), "csr_read_data": Out(32), "irq": Out(1),
            "read_request_valid": Out(1), "read_request_ready": In(1), "read_request_address": Out(address), "read_request_beats": Out(8),
            "read_response_valid": In(1), "read_response_ready": Out(1), "read_response_data": In(bus), "read_response_error": In(1),
            "write_request_valid": Out(1), "write_request_ready": In(1), "write_request_address": Out(address),
            "write_request_beats": Out(8), "write_data_valid": Out(1), "write_data_ready": In(1), "write_data_data": Out(bus),
            "write_data_strobe": Out(bus // 8), "write_data_last": Out(1),
            "write_response_valid": In(1), "write_response_ready": Out(1), "write_response_error": In(1),
            "build_hash": In(64), "activity": Out(9), "started": Out(3),
        })

    def elaborate(self, platform):
        m = Module()
        running, errors, cycles, rule = Signal(), Signal(8), Signal(32), Signal(32)
        count, source, target = Signal(32), Signal(32), Signal(32)
        to_read, to_request, to_write, to_finish = Signal(32), Signal(32), Signal(32), Signal(32)
        shown = Manifest(config=self.config).identity
        values = {offset_of(name): value for name, value in shown.items()} | {
            offset_of("HASH_LO"): self.build_hash[:32], offset_of("HASH_HI"): self.build_hash[32:],
            offset_of("STATUS"): Mux(running, 1, 2), offset_of("CYCLES"): cycles, offset_of("ERROR_CODE"): errors}
        with m.Switch(self.csr_address):
            for offset, value in values.items():
                with m.Case(offset):
                    m.d.sync += self.csr_read_data.eq(value)
        written = {"PROGRAM_WORDS": count, "BASE0_LO": source, "BASE1_LO": target, "PROGRAM_OFFSET": rule}
        m.d.sync += self.started.eq(0)
        with m.If(self.csr_write):
            with m.Switch(self.csr_address):
                for name, register in written.items():
                    with m.Case(offset_of(name)):
                        m.d.sync += register.eq(self.csr_write_data)
                with m.Case(offset_of("CONTROL")):
                    m.d.sync += [running.eq(1), cycles.eq(0), errors.eq(0), self.started.eq(0b101),
                                 *(left.eq(count) for left in (to_read, to_request, to_write, to_finish))]
        asked = to_write > to_request  # words whose request is out
        m.d.comb += [
            self.read_request_valid.eq(to_read.any()), self.read_request_address.eq(source + (rule == 1)),
            self.write_request_valid.eq(to_request.any() & (rule != 2)), self.write_request_address.eq(target),
            self.write_data_valid.eq(self.read_response_valid & (asked | (rule == 2))), self.write_data_data.eq(self.read_response_data),
            self.write_data_strobe.eq(~0), self.write_data_last.eq(rule != 4),
            self.read_response_ready.eq(self.write_data_ready & (asked | (rule == 2))), self.write_response_ready.eq(1),
            self.activity.eq(Mux(running, 0b000_001_100, 0b001_001_001)),
        ]
        with m.If(rule == 3):
            m.d.comb += self.write_data_data.eq(self.read_response_data ^ cycles)
        with m.If(rule == 5):
            m.d.comb += self.read_request_beats.eq(cycles)
        with m.If(self.read_request_valid & self.read_request_ready):
            m.d.sync += [to_read.eq(to_read - 1), source.eq(source + self.config.bus_bytes)]
        with m.If(self.write_request_valid & self.write_request_ready):
            m.d.sync += [to_request.eq(to_request - 1), target.eq(target + self.config.bus_bytes)]
        with m.If(self.write_data_valid & self.write_data_ready):
            m.d.sync += [to_write.eq(to_write - 1), errors.eq(errors | self.read_response_error)]
        with m.If(self.write_response_valid & self.write_response_ready):
            m.d.sync += [to_finish.eq(to_finish - 1), errors.eq(errors | self.write_response_error << 1)]
        with m.If(running):
            m.d.sync += [cycles.eq(cycles + 1), running.eq(to_finish.any() | (rule == HANGS))]
        return m


def generate_exerciser(directory, bus_bits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate_module, "Core", Exerciser)
        generate_module.generate(resolve({"memory": {"bus_bits": bus_bits}}), directory)
    return directory


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return generate_exerciser(tmp_path_factory.mktemp("exerciser"), 32)


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory):
    return generate_exerciser(tmp_path_factory.mktemp("exerciser"), 128)


def device_of(folder, **settings):
    return SimulatedDevice(compile_simulation(folder).path, Manifest.read(folder), memory_bytes=1 << 16, **settings)


def copy(device, words, *, source=0, target=1 << 15, rule=0):
    """Cycles that the copy takes."""
    for name, value in {"PROGRAM_WORDS": words, "BASE0_LO": source, "BASE1_LO": target, "PROGRAM_OFFSET": rule}.items():
        device.write_register(offset_of(name), value)
    device.write_register(offset_of("CONTROL"), Control.START)
    device.wait()
    return device.read_register(offset_of("CYCLES"))


@pytest.mark.parametrize("settings", [{}, {"latency": 1}, {"cycles_per_beat": 3}, {"half_duplex": True}, {"stall": 0.5, "seed": 3},
                                      {"stall": 0.9, "half_duplex": True, "cycles_per_beat": 2}])
@pytest.mark.parametrize("which", ["folder", "wide_folder"])
def test_copies_exactly(request, which, settings):
    data = np.random.default_rng(5).integers(0, 256, 1 << 12, np.uint8)
    with device_of(request.getfixturevalue(which), **settings) as device:
        device.write_memory(0, data)
        copy(device, data.size // {"folder": 4, "wide_folder": 16}[which])
        assert np.array_equal(device.read_memory(1 << 15, data.size), data)
        assert not device.read_memory((1 << 15) + data.size, 64).any()
        assert device.read_register(offset_of("ERROR_CODE")) == 0


def test_latency_and_rates(folder):
    words = 200
    with device_of(folder, latency=10) as fast, device_of(folder, latency=110) as slow:
        first = copy(fast, 1)
        assert copy(slow, 1) - first == 200  # one read and one write response
        assert copy(fast, words) - first == words - 1
    with device_of(folder, latency=10, cycles_per_beat=4) as device:
        assert copy(device, words) - copy(device, 1) == 4 * (words - 1)
    with device_of(folder, latency=10, half_duplex=True) as device:
        assert copy(device, words) - copy(device, 1) == pytest.approx(2 * (words - 1), abs=2)


def test_outside_memory_is_an_error(folder):
    with device_of(folder) as device:
        copy(device, 1, source=1 << 16)
        assert device.read_register(offset_of("ERROR_CODE")) == 1
        copy(device, 1, target=1 << 16)
        assert device.read_register(offset_of("ERROR_CODE")) == 2


@pytest.mark.parametrize("rule", RULES)
def test_broken_rules_are_reported(folder, rule):
    with device_of(folder, stall=0.8, seed=rule) as device, pytest.raises(DeviceError, match=f"^memory port: {RULES[rule]}, cycle "):
        copy(device, 100, rule=rule)


def test_watchdog_says_what_the_engines_do(folder):
    with device_of(folder, max_cycles=1000) as device:
        with pytest.raises(DeviceTimeout, match="has not ended after 1000 cycles: LOAD memory, EXECUTE idle, STORE busy"):
            copy(device, 1, rule=HANGS)
    with device_of(folder) as device:
        device.write_register(offset_of("PROGRAM_OFFSET"), HANGS)
        device.write_register(offset_of("CONTROL"), Control.START)
        with pytest.raises(DeviceTimeout, match=r"has not ended after 0\.1 s"):
            device.wait(timeout_s=0.1)


def test_trace(folder, tmp_path):
    with device_of(folder, trace=True) as device:
        copy(device, 4)
        events = device.take_events()
        assert events.dtype == EVENT
        assert not len(device.take_events())
        write_trace(tmp_path / "trace.json", events, end=device.cycle)
    spans = [event for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"] if event["ph"] == "X"]
    assert {span["name"] for span in spans} == {"LOAD 0", "STORE 0", "memory", "busy"}
    assert all(span["dur"] > 0 and span["ts"] >= 0 for span in spans)
    assert [event["name"] for event in trace_events(events[:0], end=0)] == ["process_name", *["thread_name", "thread_sort_index"] * 6]


def test_vcd(folder, tmp_path):
    vcd = pytest.importorskip("vcd.reader")
    path = tmp_path / "waves.vcd"
    with SimulatedDevice(compile_simulation(folder, vcd=True).path, Manifest.read(folder), memory_bytes=1 << 16, vcd=path) as device:
        copy(device, 4)
    with open(path, "rb") as file:
        names = {token.data.reference for token in vcd.tokenize(file) if token.kind is vcd.TokenKind.VAR}
    assert {"clk", "read_request_valid", "activity"} <= names
    with pytest.raises(DeviceError, match="waveforms cannot be written"):
        device_of(folder, vcd=path)


def test_second_compilation_is_quick(folder, tmp_path):
    compile_simulation(folder)
    start = time.monotonic()
    assert compile_simulation(folder).cached
    assert time.monotonic() - start < 0.5


def test_the_cache_keeps_what_was_used_last(folder, tmp_path, monkeypatch):
    library = compile_simulation(folder).path
    for runtime in library.parent.glob("runtime-*"):
        (tmp_path / runtime.name).symlink_to(runtime)
    others = [tmp_path / f"{digit * 32}{suffix}" for digit, suffix in (("0", ".so"), ("1", ""), ("2", ".so"))]
    for age, path in enumerate([tmp_path / library.name, *others, tmp_path / "notes.txt"]):
        shutil.copy(library, path)
        os.utime(path, (1000 - age, 1000 - age))
    monkeypatch.setattr(simulate, "KEPT", 3)
    used = compile_simulation(folder, cache=tmp_path)
    os.utime(others[2])
    new = compile_simulation(folder, vcd=True, cache=tmp_path)
    assert used.cached and not new.cached
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith("runtime-")}
    assert left == {library.name, others[2].name, new.path.name, "notes.txt"}


def test_racing_compilations_agree(folder, tmp_path):
    # Verilator's own library is compiled already, so that the race is short.
    for runtime in compile_simulation(folder).path.parent.glob("runtime-*"):
        (tmp_path / runtime.name).symlink_to(runtime)
    found = []
    threads = [threading.Thread(target=lambda: found.append(compile_simulation(folder, cache=tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and found[0].path == found[1].path
    assert len(list(tmp_path.glob("*.so"))) == 1 and not list(tmp_path.glob("building-*"))
    with SimulatedDevice(found[0].path, Manifest.read(folder), memory_bytes=1 << 16) as device:
        copy(device, 1)


@pytest.mark.parametrize(("says", "gcc"), [("Copyright (C) 2022 Free Software Foundation, Inc.", True), ("clang version 17.0.6", False)])
def test_only_gcc_gets_precompiled_headers(says, gcc, tmp_path):
    """By what the compiler says, as it is clang that is called g++ on some systems."""
    compiler = tmp_path / "g++"
    compiler.write_text(f"#!/bin/sh\necho '{says}'\n")
    compiler.chmod(0o755)
    assert tools.is_gcc(str(compiler)) is gcc


def test_another_manifest_is_refused(folder):
    manifest = Manifest.read(folder)
    other = Manifest(config=manifest.config, hash="ff" * 32)
    with pytest.raises(DeviceMismatch, match="HASH_LO must be 0xffffffff, not 0x"):
        SimulatedDevice(compile_simulation(folder).path, other)


@pytest.mark.parametrize("settings, message", [
    ({"latency": 0}, "latency must be at least 1, not 0"),
    ({"memory_bytes": 0}, r"memory_bytes must be at least \d+, not 0"),
    ({"stall": 1.0}, "stall must be from 0 to 0.95, not 1.0"),
])
def test_bad_settings(folder, settings, message):
    with pytest.raises(ValueError, match=message):
        SimulatedDevice("none.so", Manifest.read(folder), **settings)


def test_bad_library(folder, tmp_path):
    (tmp_path / "bad.so").write_text("no library")
    with pytest.raises(DeviceError, match="cannot be loaded"):
        SimulatedDevice(tmp_path / "bad.so", Manifest.read(folder))


def test_memory_range(folder):
    with device_of(folder) as device:
        with pytest.raises(ValueError, match="must lie in 0 … 65536, not 65535 … 65537"):
            device.read_memory(65535, 2)
        with pytest.raises(ValueError, match="must lie in"):
            device.write_memory(-1, np.zeros(1, np.uint8))
