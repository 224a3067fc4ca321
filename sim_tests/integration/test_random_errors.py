"""Programs with one wrong field: the RTL reports what the functional model reports, whichever engine gets there first."""

import dataclasses
import os

import numpy as np
import pytest
from devices import run_words, simulated, small_config
from nightly import NIGHTLY
from systolith.arch.commands import fields_of, pack
from systolith.arch.model import Model
from systolith.arch.random_programs import random_program
from systolith.arch.registers import ErrorCode, offset_of
from systolith.arch.settings import merge, resolve
from systolith.boards import BOARDS

SEED = int(os.environ.get("SYSTOLITH_SEED", "20261122"))
PROGRAMS = 2000 if NIGHTLY else 150
REGION, REGION_BYTES, DUMP, PROGRAM, MEMORY = 0x1000, 0x1000, 0x4000, 0x8000, 0x10000
INTERLEAVINGS = 6
LONGEST = 100  # of counts: so that a program that goes on takes no minutes


def _spoil(commands, rng):
    """``commands`` with another value in one field of one of them."""
    index = int(rng.integers(len(commands)))
    field = rng.choice(np.array(fields_of(type(commands[index])), dtype=object))
    name, width, signed = field[0], field[3], field[4]
    low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
    value = int(rng.choice([0, 1, low, high, rng.integers(low, high + 1)]))
    if "count" in name:
        value = min(value, LONGEST)
    return [*commands[:index], dataclasses.replace(commands[index], **{name: value}), *commands[index + 1:]], f"{index} {name} {value}"


@pytest.mark.parametrize("config", [
    small_config(3, 5), small_config(3, 5, array={"dataflow": "os"}),
    resolve(merge(BOARDS["icebreaker"].settings, {"shell": "native"}))], ids=["3x5", "3x5-os", "icebreaker"])
def test_errors_equal_the_model(config):
    dump_bytes = config.memory.accumulator_rows * config.array.cols * 4
    seen = set()
    with simulated(config, memory_bytes=MEMORY, latency=5, stall=0.1, seed=SEED) as device:
        for seed in range(SEED, SEED + PROGRAMS):
            rng = np.random.default_rng(seed)
            commands, change = _spoil(random_program(rng, config, commands=8, region_bytes=REGION_BYTES), rng)
            words = pack(commands)
            image = rng.integers(0, 256, MEMORY, dtype=np.uint8)
            image[PROGRAM:PROGRAM + 4 * len(words)] = words.astype("<u4").view(np.uint8)
            # Which of several errors comes first depends on timing: any of the model's orders will do.
            expected = set()
            for order in range(INTERLEAVINGS):
                result = Model(config, image.copy()).run(
                    bases=[PROGRAM, REGION, DUMP], sizes=[4 * len(words), REGION_BYTES, dump_bytes], program_words=len(words), seed=order)
                expected.add((result.error, result.engine, result.command, result.address))
            device.write_memory(0, image)
            outcome = run_words(device, config, words, {1: (REGION, REGION_BYTES), 2: (DUMP, dump_bytes)}, program=PROGRAM)
            reported = (outcome.error, outcome.engine, outcome.command, device.read_register(offset_of("ERROR_ADDRESS_LO")))
            assert reported in expected, f"seed {seed}: command {change} gives {reported}, not one of {expected}"
            seen.add(outcome.error)
    assert {ErrorCode.VALUE, ErrorCode.RANGE, ErrorCode.ADDRESS, ErrorCode.DEADLOCK} <= seen, f"seed {SEED}: {seen}"
