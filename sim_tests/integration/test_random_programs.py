"""The compiled RTL against the functional model on random valid programs, and against its own promises on random bits."""

import os

import numpy as np
import pytest
from devices import run_words, simulated, small_config
from nightly import NIGHTLY, nightly
from programs import flip_bits, random_bits
from systolith.arch.commands import Bank, Load, Operation, Store, pack
from systolith.arch.model import Model
from systolith.arch.random_programs import random_program
from systolith.arch.registers import Control, ErrorCode, offset_of
from systolith.arch.settings import merge, resolve
from systolith.boards import BOARDS
from systolith.host.device import DeviceTimeout

SEED = int(os.environ.get("SYSTOLITH_SEED", "20261122"))
REGION, DUMP, PROGRAM, MEMORY = 0x1000, 0x4000, 0x20000, 0x30000
REGION_BYTES = 4096

CONFIGS = {
    "1x1": small_config(1, 1),
    "3x5": small_config(3, 5),
    "5x3-wide-bus-two-bursts": small_config(5, 3, memory={"bus_bits": 128, "outstanding": 2}),
    "8x8-narrow-bus-one-burst": small_config(8, 8, memory={"bus_bits": 32, "outstanding": 1}),
    "24x12-serial": small_config(24, 12, epilogue={"multiplier": "serial"}),
    "5x7-int4": small_config(5, 7, array={"weights": "int4"}),
    "4x2-int4-one-byte": small_config(4, 2, array={"weights": "int4", "multiplier": "fast-inner-product"}),
    "6x8-int4-byte-by-byte": small_config(6, 8, array={"weights": "int4"}, memory={"bus_bits": 32}, control={"engines": "serial"}),
    "7x5-int16": small_config(7, 5, array={"activations": "int16"}),
    "6x5-int16-wide": small_config(6, 5, array={"activations": "int16", "accumulator_bits": 40}),
    "8x4-int16-widest": small_config(8, 4, array={"activations": "int16", "accumulator_bits": 48},
                                     memory={"bus_bits": 32}, epilogue={"max_pool": False}),
    "6x4-int16-byte-by-byte": small_config(6, 4, array={"activations": "int16"}, memory={"bus_bits": 32}, control={"engines": "serial"}),
    "1x1-os": small_config(1, 1, array={"dataflow": "os"}),
    "3x5-os": small_config(3, 5, array={"dataflow": "os"}),
    "4x2-os-one-loop": small_config(4, 2, array={"dataflow": "os"},
                                    control={"padding": False, "inner_loops": 1, "outer_loops": 1, "row_bits": 12}),
    "8x6-os-lut": small_config(8, 6, array={"dataflow": "os", "dsp_cols": 4}),
    "5x7-os-int4": small_config(5, 7, array={"dataflow": "os", "weights": "int4"}),
    "7x5-os-int16": small_config(7, 5, array={"dataflow": "os", "activations": "int16"}),
    "icebreaker": resolve(merge(BOARDS["icebreaker"].settings, {"shell": "native", "memory": {"address_bits": 18}})),
}
COMBINED = {"6x4-int16-byte-by-byte", "5x7-os-int4", "8x6-os-lut"}


def _bases(config):
    dump_bytes = config.memory.accumulator_rows * config.array.cols * 4
    return {1: (REGION, REGION_BYTES), 2: (DUMP, dump_bytes)}


@pytest.mark.parametrize("stall", [0.0, 0.3], ids=["no-stall", "stall"])
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=nightly("a minute; others have their properties") if name in COMBINED else ()) for name in CONFIGS])
def test_rtl_equals_model(name, stall):
    config = CONFIGS[name]
    with simulated(config, memory_bytes=MEMORY, latency=1 if stall else 30, stall=stall, seed=SEED) as device:
        memory = np.zeros(MEMORY, np.uint8)
        model = Model(config, memory)
        kinds: set[object] = set()
        for seed in range(SEED, SEED + (400 if NIGHTLY else 40)):
            rng = np.random.default_rng(seed)
            program = random_program(rng, config, commands=40, region_bytes=REGION_BYTES)
            kinds |= {(c.operation, c.window > 1) for c in program if isinstance(c, Store)}
            kinds |= {c.bank for c in program if isinstance(c, Load)}
            words = pack(program)
            memory[:] = rng.integers(0, 256, MEMORY, dtype=np.uint8)
            memory[PROGRAM:PROGRAM + 4 * len(words)] = words.astype("<u4").view(np.uint8)
            device.write_memory(0, memory)
            bases = _bases(config)
            regions = [(PROGRAM, 4 * len(words)), bases[1], bases[2]]
            expected = model.run(bases=[start for start, _ in regions], sizes=[size for _, size in regions], program_words=len(words),
                                 seed=seed)
            assert expected.error == ErrorCode.NONE and not expected.hazards, f"seed {seed}: {expected}"
            outcome = run_words(device, config, words, bases, program=PROGRAM)
            assert outcome.error == ErrorCode.NONE, f"seed {seed}: {outcome}"
            wrong = np.flatnonzero(device.read_memory(0, MEMORY) != memory)
            assert not wrong.size, f"seed {seed}: {wrong.size} bytes differ, the first at {wrong[0]:#x}"
            if config.control.counter_bits:
                assert outcome.counters["EXECUTE_BUSY"] == expected.rows_issued, f"seed {seed}"
                assert outcome.counters["BYTES_WRITTEN"] == expected.bytes_written, f"seed {seed}"
                # The dispatcher of serial engines looks at a command's first word, and reads it again with the others.
                again = 4 * expected.commands if config.control.engines == "serial" else 0
                assert outcome.counters["BYTES_READ"] == expected.bytes_read + again, f"seed {seed}"
    epilogue = config.epilogue
    operations = {Operation.RAW, Operation.REQUANTISE, *[Operation.ADD] * epilogue.add, *[Operation.MAX_POOL] * epilogue.max_pool}
    banks = {bank for bank in Bank if bank != Bank.TABLE or epilogue.add}
    assert kinds == banks | {(operation, window) for operation in operations for window in {False, epilogue.max_pool}}


@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_random_bits_never_hang_and_never_leave_their_limits(dataflow):
    """Each program ends in DONE or an error within the bound, nothing outside the limits changes, and the device still works.

    Half of them are random words, half are valid programs with up to four bits inverted.
    """
    config = small_config(3, 5, array={"dataflow": dataflow}, control={"outer_loops": 2})  # kernel rows are UNSUPPORTED
    count = 100_000 if NIGHTLY else 10_000
    seen: dict[ErrorCode, int] = {}
    rng = np.random.default_rng(SEED)
    # An EXECUTE may ask for 2**32 tiles of a whole accumulator half: those are aborted, which must work too.
    with simulated(config, memory_bytes=MEMORY, latency=3, seed=SEED, max_cycles=5_000) as device:
        image = rng.integers(0, 256, MEMORY, dtype=np.uint8)
        device.write_memory(0, image)
        for index in range(count):
            if index % 2:
                words = random_bits(rng, words=int(rng.integers(1, 60)))
                bases = {i: (REGION + 256 * i, int(rng.integers(0, 257))) for i in range(1, 8)}
            else:
                if index % 32 == 0:
                    valid = pack(random_program(rng, config, commands=12, region_bytes=REGION_BYTES))
                words = flip_bits(rng, valid, flips=int(rng.integers(0, 5)))
                bases = _bases(config)
            bases = {0: (PROGRAM, 4 * len(words)), **bases}
            try:
                error = run_words(device, config, words, bases, program=PROGRAM).error
            except DeviceTimeout:
                error = _abort(device)
            seen[error] = seen.get(error, 0) + 1
            after = device.read_memory(0, MEMORY)
            allowed = np.zeros(MEMORY, bool)
            for start, size in bases.values():
                allowed[start:start + size] = True
            assert np.array_equal(after[~allowed], image[~allowed]), f"seed {SEED}, program {index}: wrote outside its limits"
            image[:] = after
        assert {ErrorCode.NONE, ErrorCode.OPCODE, ErrorCode.LENGTH, ErrorCode.VALUE, ErrorCode.ADDRESS, ErrorCode.RANGE,
                ErrorCode.DEADLOCK, ErrorCode.UNSUPPORTED, ErrorCode.ABORTED} <= set(seen), f"seed {SEED}: {seen}"
        # Nothing that any of them did is left behind.
        good = pack(random_program(np.random.default_rng(SEED), config, commands=20, region_bytes=REGION_BYTES))
        assert run_words(device, config, good, _bases(config), program=PROGRAM).error == ErrorCode.NONE


def _abort(device):
    device.write_register(offset_of("CONTROL"), Control.ABORT)
    device.wait(timeout_s=10)
    error = ErrorCode(device.read_register(offset_of("ERROR_CODE")))
    assert error, "a program that was aborted ends with an error"  # ABORTED, or what was found while bursts were still awaited
    return error
