"""Faults put into the hardware on purpose, each of which the checks must notice.

The accelerator is generated from a changed copy of the sources and put through the same checks as a sound one.
"""

from pathlib import Path

import numpy as np
import pytest
from devices import run_words, small_config
from mutants import Mutation, check_places, generate_mutant, names
from systolith.arch.assembler import format_command
from systolith.arch.commands import Execute, Load, Operation, Store, pack
from systolith.arch.manifest import Manifest
from systolith.arch.model import Model
from systolith.arch.random_programs import random_program
from systolith.gen.simulate import compile_simulation
from systolith.host.accelerator import Accelerator
from systolith.host.device import DeviceError
from systolith.host.selftest import selftest
from systolith.host.simulated import SimulatedDevice

SEED = 20261122
CONFIG = small_config(3, 5)
REGION, DUMP, PROGRAM, MEMORY = 0x1000, 0x4000, 0x20000, 0x30000
REGION_BYTES = 4096

MUTATIONS = {
    "token dropped": Mutation("rtl/tokens.py", {"port.take & (port.available | ~port.take_mask).all()": "port.take"}),
    "weight swap one cycle early": Mutation("rtl/array.py", {"return 1\n": "return 0\n"}),
    "halves crossed": Mutation("rtl/accumulator.py", {"Mux(drain_half.o[0], words[1], words[0])": "Mux(drain_half.o[0], *words)"}),
    "tie rounding": Mutation("rtl/requantise.py", {"base + (nearest & (self.v < 0)).replicate(33).as_signed() +": "base +"}),
    "clamp": Mutation("rtl/requantise.py", {"Mux((high - total)[-1], high, total)": "total"}),
    "stride": Mutation("rtl/stream_rows.py", {'.eq(command[f"{value}_step"])': ".eq(1)"}),
    "pad value": Mutation("rtl/datapath_base.py", {"Mux(flags.pad, flags.value, activation)": "Mux(flags.pad, 0, activation)"}),
    "last-row strobe": Mutation("rtl/packer.py", {"Cat(over > i for i in range(width))": "Cat(over >= i for i in range(width))"}),
    "accumulate flag": Mutation("rtl/stream_rows.py", {"accumulate.eq(pending.accumulate)": "accumulate.eq(0)"}),
    "borrow of the second operand": Mutation("rtl/epilogue.py", {"read.addr.eq(word[8:16] + word[7])": "read.addr.eq(word[8:16])"}),
    "window stride": Mutation("rtl/store_read.py", {"self.drain.row + stride": "self.drain.row + 1"}),
    "window of the group before": Mutation("rtl/epilogue.py", {"read & (fresh | less)": "read & less"}),
    "transposer off": Mutation("rtl/datapath_base.py", {"transposer.emit.eq(weight.emit)": "transposer.emit.eq(0)"}),
}
OUTPUT_CONFIG = small_config(3, 5, array={"dataflow": "os"})
# Of what only an output-stationary array has.
OUTPUT_MUTATIONS = {
    "sums go on": Mutation("rtl/pe_output.py", {"held.eq(Mux(first, 0, total))": "held.eq(total)"}),
    "sums come down over others": Mutation("rtl/datapath_output.py", {"above.eq(above << 1)": "above.eq(above)"}),
    "weights between vectors": Mutation("rtl/datapath_output.py", {"flags.shift & ~flags.zero": "~flags.zero"}),
    "no turn of the corner": Mutation("rtl/datapath_output.py", {"turn.down.eq(moves.o[0].down)": "turn.down.eq(0)"}),
    "places of the block before": Mutation("rtl/passes.py", {"Mux(opens, place.as_value(), read.data.as_value())": "read.data.as_value()"}),
    "touched too soon": Mutation("rtl/passes.py", {"Mux(adds, self.adding_cycles, self.plain_cycles)": "self.plain_cycles"}),
    "filled too soon": Mutation("rtl/passes.py", {"return max(0, self.timing.emit_to_fill_cycles - 1)": "return 0"}),
}
PAIR_CONFIG = small_config(4, 5, array={"multiplier": "fast-inner-product", "dsp_cols": 2, "side_dsp": True})
# Of what only a fast inner product has.
PAIR_MUTATIONS = {
    "activations beside a swap": Mutation("rtl/stream_rows.py", {"control_out.pad.eq(1)": "control_out.pad.eq(control.pad)"}),
    "padding beside a swap": Mutation("rtl/stream_rows.py", {"control_out.pad_value.eq(0)": "control_out.pad_value.eq(control.pad_value)"}),
    "swap beside the first row": Mutation("rtl/stream_rows.py", {"held = hazard | swaps": "held = hazard"}),
    "term of the tile before": Mutation("rtl/array.py", {"before = self.latency_cycles - PairFoot.latency_cycles":
                                                         "before = self.latency_cycles - PairFoot.latency_cycles + 1"}),
    "term of activations a cycle late": Mutation("rtl/array.py", {'"row_term", side, self._element_cycles(PairPE))':
                                                                  '"row_term", side, self._element_cycles(PairPE) - 1)'}),
}
WIDE_CONFIG = small_config(6, 5, array={"activations": "int16", "accumulator_bits": 40})
# Of what only sums of more than 32 bits have.
WIDE_MUTATIONS = {
    "loaded words without a sign": Mutation("rtl/accumulator.py", {"32 if self.bits == 32 else signed(32)": "32"}),
    "maximum of the lowest bits": Mutation("rtl/epilogue.py", {"less = (maximum - word)[-1]": "less = (maximum - word)[31]"}),
    "results that come round": Mutation("rtl/requantise.py", {"(blocks <= block) & differ": "(blocks < block) & differ"}),
    "a part of the product": Mutation("rtl/requantise.py", {"p11 + p20": "p11"}),
}


def _requantised_halves() -> list:
    """A program whose sums are all small integers, halved twice: every second one a tie, of both signs, and some clamped."""
    return [
        Load(bank=0, base=1, run=3, count1=32, stride1=3, row=0, row_stride1=1),
        Load(bank=1, base=1, offset=128, run=5, count1=3, stride1=5, row_stride1=1),
        Load(bank=2, base=1, offset=256, run=60, post=1),
        Execute(x_count=32, activation_x=1, k_last=3, wait=1, post=2),
        Store(operation=Operation.REQUANTISE, base=1, columns=5, count1=32, destination=2049, stride1=5, zero_point=2, low=-9, high=11,
              wait=2),
    ]


def _commands_behind_each_other() -> list:
    """Sums on rows that the command before has just touched, and a command of more tiles that waits behind one of a single tile."""
    return [
        Load(bank=0, base=1, run=1200), Load(bank=1, base=1, run=1200, post=1),
        Execute(transpose=1, x_count=15, activation_x=1, k_last=3, wait=1),
        Execute(accumulate=1, accumulator_row=14, x_count=17, activation_x=1, weight_row=7, k_last=3),
        Execute(accumulator_row=31, ct_count=3, activation_ct=1, weight_ct=3, k_last=2, post=2),
        Store(operation=Operation.RAW, base=2, columns=5, count1=32, stride1=20, wait=2),
    ]


def _check(device: SimulatedDevice, config) -> str | None:
    """What is wrong with the device, or None: programs against the functional model, memory compared byte by byte."""
    rng = np.random.default_rng(SEED)
    memory = np.zeros(MEMORY, np.uint8)
    model = Model(config, memory)
    bases = {1: (REGION, REGION_BYTES), 2: (DUMP, config.memory.accumulator_rows * config.array.cols * 4)}
    programs = [_requantised_halves(), _commands_behind_each_other()]
    programs += [random_program(rng, config, commands=40, region_bytes=REGION_BYTES) for _ in range(24)]
    for index, program in enumerate(programs):
        words = pack(program)
        memory[:] = rng.integers(0, 256, MEMORY, dtype=np.uint8)
        if index == 0:
            memory[REGION:REGION + 96] = rng.integers(-3, 4, 96).astype(np.int8).view(np.uint8)
            memory[REGION + 128:REGION + 143] = 1
            parameters = np.array([[0, 1 << 30, -1]] * 5, np.int32)
            memory[REGION + 256:REGION + 316] = parameters.view(np.uint8).ravel()
        memory[PROGRAM:PROGRAM + words.nbytes] = words.astype("<u4").view(np.uint8)
        device.write_memory(0, memory)
        expected = model.run(bases=[PROGRAM, REGION, DUMP], sizes=[words.nbytes, REGION_BYTES, bases[2][1]], program_words=words.size)
        assert not expected.error and not expected.hazards, f"seed {SEED}, program {index}: {[format_command(c) for c in program]}"
        try:
            outcome = run_words(device, config, words, bases, program=PROGRAM)
        except DeviceError as error:
            return f"seed {SEED}, program {index}: {error}"
        if outcome.error:
            return f"seed {SEED}, program {index}: {outcome.error.name}"
        wrong = np.flatnonzero(device.read_memory(0, MEMORY) != memory)
        if wrong.size:
            return f"seed {SEED}, program {index}: {wrong.size} bytes differ, the first at {wrong[0]:#x}"
    return None


def _verdict(directory: Path, config=CONFIG) -> str | None:
    with SimulatedDevice(compile_simulation(directory).path, Manifest.read(directory), memory_bytes=MEMORY, latency=7,
                         max_cycles=200_000) as device:
        return _check(device, config)


@pytest.mark.parametrize("config", [CONFIG, OUTPUT_CONFIG, PAIR_CONFIG, WIDE_CONFIG], ids=["ws", "os", "pairs", "wide"])
def test_sound_hardware_passes(config, tmp_path):
    assert _verdict(generate_mutant(tmp_path, config, None), config) is None


def test_every_mutation_has_its_place():
    check_places([*MUTATIONS.values(), *OUTPUT_MUTATIONS.values(), *PAIR_MUTATIONS.values(), *WIDE_MUTATIONS.values()])


@pytest.mark.parametrize("name", names(MUTATIONS, {"token dropped", "weight swap one cycle early", "clamp", "window stride"}))
def test_mutation_is_noticed(name, tmp_path):
    assert _verdict(generate_mutant(tmp_path, CONFIG, MUTATIONS[name])) is not None, f"mutation {name!r} passes all checks"


@pytest.mark.parametrize("name", names(OUTPUT_MUTATIONS, {"no turn of the corner", "touched too soon"}))
def test_mutation_is_noticed_where_sums_stay(name, tmp_path):
    mutant = generate_mutant(tmp_path, OUTPUT_CONFIG, OUTPUT_MUTATIONS[name])
    assert _verdict(mutant, OUTPUT_CONFIG) is not None, f"mutation {name!r} passes all checks"


@pytest.mark.parametrize("name", names(PAIR_MUTATIONS, {"padding beside a swap"}))
def test_mutation_is_noticed_in_a_fast_inner_product(name, tmp_path):
    mutant = generate_mutant(tmp_path, PAIR_CONFIG, PAIR_MUTATIONS[name])
    assert _verdict(mutant, PAIR_CONFIG) is not None, f"mutation {name!r} passes all checks"


@pytest.mark.parametrize("bits", [35, 34])
def test_the_selftest_notices_sums_that_are_not_wide(bits, tmp_path):
    """Of an accumulator that keeps fewer bits than it says; 35 hold what the self-test sums."""
    kept = Mutation("rtl/accumulator.py", {"total.eq(Mux(select.accumulate, Mux(select.half, words[1], words[0]), 0) + self.psum[c])":
                                           "total.eq((Mux(select.accumulate, Mux(select.half, words[1], words[0]), 0) + self.psum[c])"
                                           f"[:{bits}].as_signed())"})
    folder = generate_mutant(tmp_path, WIDE_CONFIG, kept)
    with SimulatedDevice(compile_simulation(folder).path, Manifest.read(folder), memory_bytes=MEMORY, latency=7,
                         max_cycles=2_000_000) as device, Accelerator(device, Manifest.read(folder)) as accelerator:
        failed = [test["name"] for test in selftest(accelerator, quick=True)["tests"] if test["passed"] is False]
    assert failed == ([] if bits == 35 else ["products"])


@pytest.mark.parametrize("name", names(WIDE_MUTATIONS, {"results that come round"}))
def test_mutation_is_noticed_in_wide_sums(name, tmp_path):
    mutant = generate_mutant(tmp_path, WIDE_CONFIG, WIDE_MUTATIONS[name])
    assert _verdict(mutant, WIDE_CONFIG) is not None, f"mutation {name!r} passes all checks"
