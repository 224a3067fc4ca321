"""Devices for tests: the functional model and the compiled RTL of a configuration, and running raw programs on either."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from systolith.arch.config import Config
from systolith.arch.manifest import Manifest
from systolith.arch.registers import COUNTERS, STALLS, Control, ErrorCode, State, offset_of
from systolith.arch.settings import resolve
from systolith.gen.generate import generate
from systolith.gen.simulate import build_model, compile_simulation, simulation_cache
from systolith.host.device import Device
from systolith.host.simulated import SimulatedDevice

__all__ = ["Outcome", "compiled", "generated", "run_words", "simulated", "small_config"]


def small_config(rows: int, cols: int, **sections: dict) -> Config:
    """An array with memories small enough that random programs meet their limits."""
    memory = {"activation_kib": 4, "weight_kib": 4, "accumulator_rows": 64, "parameter_channels": 32} | sections.pop("memory", {})
    array = {"rows": rows, "cols": cols} | sections.pop("array", {})
    return resolve({"array": array, "memory": memory, **sections})


@functools.cache
def generated(config: Config) -> Path:
    """The folder with what is emitted for ``config``, which takes seconds and therefore happens once in a process; not to be written to."""
    directory = Path(tempfile.mkdtemp(prefix="systolith-tests-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    generate(config, directory)
    return directory


def simulated(config: Config, **options) -> SimulatedDevice:
    """The emitted RTL of ``config``, compiled."""
    folder = generated(config)
    return SimulatedDevice(compile_simulation(folder).path, Manifest.read(folder), **options)


def compiled(sources: list[Path], top: str, harness: Path) -> Path:
    """The program that simulates module ``top`` of ``sources`` in a ``harness``, which may include what lies beside it."""
    texts = [path.read_text(encoding="utf-8") for path in (*sources, *sorted(harness.parent.glob("*.h")))]
    return build_model(sources, top, harness, cache=simulation_cache(None), key="\0".join(texts), shared=False, report=print).path


class Outcome(NamedTuple):
    """What a program left in the registers."""
    error: ErrorCode
    engine: int
    command: int
    counters: dict[str, int]


def run_words(device: Device, config: Config, words: np.ndarray, bases: dict[int, tuple[int, int]], *, program: int) -> Outcome:
    """Put ``words`` at address ``program``, set base registers to (address, bytes), run to the end.

    Checks, of a device that counts cycles, that each engine's busy and stall cycles add up exactly.
    """
    device.write_memory(program, words.astype("<u4"))
    for index, (address, size) in {0: (program, 4 * len(words)), **bases}.items():
        for name, value in ((f"BASE{index}", address), (f"SIZE{index}", size)):
            device.write_register(offset_of(f"{name}_LO"), value & 0xFFFFFFFF)
            device.write_register(offset_of(f"{name}_HI"), value >> 32)
    device.write_register(offset_of("PROGRAM_OFFSET"), 0)
    device.write_register(offset_of("PROGRAM_WORDS"), len(words))
    device.write_register(offset_of("CONTROL"), Control.START)
    device.wait(timeout_s=60)
    counters = {register.name: device.read_register(register.offset) for register in COUNTERS}
    if config.control.counter_bits and isinstance(device, SimulatedDevice):
        for engine, causes in STALLS.items():
            spent = {cause: counters[f"{engine.name}_{cause.upper()}"] for cause in causes}
            assert sum(spent.values()) == counters["CYCLES"], f"{engine.name}: {spent} must add up to {counters['CYCLES']}"
    error = ErrorCode(device.read_register(offset_of("ERROR_CODE")))
    state = State(device.read_register(offset_of("STATUS")) & 3)
    assert state == (State.ERROR if error else State.DONE)
    return Outcome(error, device.read_register(offset_of("ERROR_ENGINE")), device.read_register(offset_of("ERROR_COMMAND")), counters)
