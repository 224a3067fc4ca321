"""The cycle model against the counters of the compiled RTL."""

from itertools import product

import numpy as np
import pytest
from devices import run_words, simulated, small_config
from nightly import nightly
from systolith.arch.commands import Bank, Engine, Execute, Load, Operation, Store, Target, pack
from systolith.arch.cycles import Memory, predict_cycles
from systolith.arch.cycles_serial import serial_cycles
from systolith.arch.hazards import Space
from systolith.arch.plan_gemm import plan_gemm
from systolith.arch.program import Program, Region
from systolith.arch.registers import ErrorCode
from systolith.arch.settings import merge, resolve
from systolith.boards import BOARDS

CONFIGS = {"3x5": small_config(3, 5), "8x8-narrow-bus": small_config(8, 8, memory={"bus_bits": 32}),
           "5x7-int4": small_config(5, 7, array={"weights": "int4"}), "8x8-int4": small_config(8, 8, array={"weights": "int4"}),
           "3x5-os": small_config(3, 5, array={"dataflow": "os"}), "8x6-os": small_config(8, 6, array={"dataflow": "os", "dsp_cols": 4})}
STORES = {"3x5": CONFIGS["3x5"], "24x12-serial": small_config(24, 12, epilogue={"multiplier": "serial"})}
SHAPES = [(1, 1, 1), (20, 30, 40), (64, 48, 96), (97, 31, 103)]
MEMORY = 1 << 17


def stores(rng, config):
    """Products of any size, and what a STORE can do with them: operations, windows, targets and runs of rows."""
    program, cols = Program(config.control), config.array.cols
    half, row_bytes = config.half_rows, config.array.rows
    row, parameters, table = Region(Space.ACTIVATION, 0, 1), Region(Space.PARAMETER, 0, 8), Region(Space.TABLE, 0, 256)
    results = {Target.MEMORY: Region(Space.MEMORY, 0, 1), Target.ACTIVATION: Region(Space.ACTIVATION, 64, config.activation_rows)}
    program.add(Load(bank=Bank.ACTIVATION, base=1, run=row_bytes), writes=[row])
    program.add(Load(bank=Bank.TABLE, base=1, run=1024), writes=[table])
    program.add(Load(bank=Bank.PARAMETER, base=1, run=12 * 16), writes=[parameters])
    for _ in range(rng.integers(3, 9)):
        first, rows = half * int(rng.integers(2)), int(rng.integers(4, half + 1))
        sums = Region(Space.ACCUMULATOR, first, first + rows)
        program.add(Execute(accumulator_row=first, x_count=rows), reads=[row], writes=[sums])
        operation, window = Operation(int(rng.integers(4))), int(rng.choice([1, 1, 2, 3, 4]))
        columns = int(rng.choice([cols, rng.integers(1, cols + 1)]))
        size = columns * (4 if operation == Operation.RAW else 1)
        target = Target(int(rng.integers(2)))
        stride = -(-size // row_bytes) if target else size + 8 * int(rng.integers(2))
        program.add(Store(operation=operation, target=target, base=2, window=window, window_stride=rows // window, row=first,
                          columns=columns, count1=rows // window, destination=64 * target, stride1=stride),
                    reads=[sums, parameters, table], writes=[results[target]])
    return program.commands


@pytest.mark.parametrize("name", STORES)
def test_stores(name):
    """Within 3 cycles of the hardware or 0.3 %, whichever is larger."""
    config = STORES[name]
    for latency in (1, 30):
        with simulated(config, memory_bytes=MEMORY, latency=latency) as device:
            for seed in range(12):
                program = stores(np.random.default_rng(seed), config)
                outcome = run_words(device, config, pack(program), {1: (0x1000, 0x1000), 2: (0x4000, 0xC000)}, program=0x14000)
                assert outcome.error == ErrorCode.NONE
                predicted = predict_cycles(config, program, memory=Memory(latency=latency), bases=[0x14000, 0x1000, 0x4000]).cycles
                cycles = outcome.counters["CYCLES"]
                assert abs(predicted - cycles) <= max(3, 0.003 * cycles), f"seed {seed}, latency {latency}: {predicted}, not {cycles}"


def run_plan(device, config, plan):
    """What the device says, and the bases that it had."""
    device.write_memory(0, np.zeros(MEMORY, np.uint8))
    places, at = {}, 0
    for region in plan.regions.values():
        places[region.base] = (at, region.bytes)
        at += (region.bytes + 63) & ~63
    bases = [places[base][0] for base in range(len(places))]
    program, _ = places.pop(0)
    outcome = run_words(device, config, plan.words, places, program=program)
    assert outcome.error == ErrorCode.NONE
    return outcome, bases


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("latency", [1, pytest.param(30, marks=nightly("minutes; the latencies around it are tested")), 100])
def test_prediction(name, latency):
    """Within 1 % or 8 cycles of the hardware, whichever is larger; rows streamed are exact."""
    config = CONFIGS[name]
    with simulated(config, memory_bytes=MEMORY, latency=latency) as device:
        for m, n, k in SHAPES:
            for out in ("int32", "int8"):
                plan = plan_gemm(config, m, n, k, out=out)
                outcome, bases = run_plan(device, config, plan)
                predicted = predict_cycles(config, plan.program, memory=Memory(latency=latency), bases=bases)
                cycles = outcome.counters["CYCLES"]
                assert abs(predicted.cycles - cycles) <= max(8, 0.01 * cycles), f"{m}×{n}×{k} {out}: {predicted.cycles}, not {cycles}"
                assert predicted.busy[Engine.EXECUTE] == outcome.counters["EXECUTE_BUSY"]


@pytest.mark.parametrize("cycles_per_beat, half_duplex", [(4, False), (4, True), (1, True)])
def test_slow_and_shared_memory(cycles_per_beat, half_duplex):
    """Words that come slowly, to 0.5 % or 8 cycles; and such as take turns with those that are written, to 3 %."""
    config = small_config(8, 8)
    memory = Memory(latency=20, cycles_per_beat=cycles_per_beat, half_duplex=half_duplex)
    with simulated(config, memory_bytes=MEMORY, latency=20, cycles_per_beat=cycles_per_beat,
                   half_duplex=half_duplex) as device:
        for m, n, k in SHAPES:
            plan = plan_gemm(config, m, n, k)
            outcome, bases = run_plan(device, config, plan)
            predicted, cycles = predict_cycles(config, plan.program, memory=memory, bases=bases).cycles, outcome.counters["CYCLES"]
            tolerance = max(16, 0.03 * cycles) if half_duplex else max(8, 0.005 * cycles)
            assert abs(predicted - cycles) <= tolerance, f"{m}×{n}×{k}: {predicted}, not {cycles}"


@pytest.mark.parametrize("latency", [1, 30])
def test_bounds_of_serial_engines(latency):
    """They hold, and are near each other where the commands of a single tile wait for one another."""
    config = resolve(merge(BOARDS["icebreaker"].settings, {"shell": "native", "memory": {"address_bits": 18}}))
    with simulated(config, memory_bytes=MEMORY, latency=latency) as device:
        for m, n, k in [(8, 2, 8), (1, 1, 1), (24, 4, 16), (17, 3, 23)]:
            plan = plan_gemm(config, m, n, k)
            outcome, bases = run_plan(device, config, plan)
            low, high = serial_cycles(config, plan.program, memory=Memory(latency=latency), bases=bases)
            assert low <= outcome.counters["CYCLES"] <= high, f"{m}×{n}×{k}"
            assert high < 1.3 * low or (m, n, k) != (8, 2, 8)


def _beside(bank, target):
    """LOADs of short runs into one scratchpad while STORE fills rows of one, behind them a word that waits for the LOADs."""
    return [
        Load(bank=Bank.WEIGHT, base=1, run=64, post=1),
        Load(base=1, run=256, post=1),
        Execute(k_last=8, x_count=32, activation_x=1, wait=1, post=2),
        Store(operation=Operation.REQUANTISE, target=target, columns=8, count1=32, destination=100, stride1=1, wait=2),
        Store(operation=Operation.REQUANTISE, target=target, columns=8, count1=32, destination=140, stride1=1),
        *[Load(bank=bank, base=1, offset=3 * number, run=5, count1=30, stride1=24, row=200 + 32 * number, row_stride1=1)
          for number in range(5)],
        Load(bank=Bank.WEIGHT, base=1, run=8, post=1),
        Execute(k_last=8, x_count=8, activation_x=1, accumulator_row=32, wait=1, post=2),
        Store(base=2, columns=8, count1=8, stride1=32, row=32, wait=2),
    ]


PROGRAMS = {
    # STORE goes first where both write into the same scratchpad, and a LOAD holds up the program's words behind it.
    "load beside store": _beside(Bank.ACTIVATION, Target.ACTIVATION),
    "load beside store elsewhere": _beside(Bank.ACTIVATION, Target.WEIGHT),
    # Rows of several lines are counted bit by bit before the command begins.
    "lines": [
        Load(base=1, run=256, post=1), Load(bank=Bank.WEIGHT, base=1, run=64, post=1),
        Execute(k_last=8, x_count=2, y_count=3, b_count=2, activation_x=1, activation_y=2, activation_b=6, wait=1),
        *[Execute(k_last=8, x_count=1, y_count=count, activation_y=1, accumulator_row=row) for row, count in ((0, 1), (1, 2), (3, 13))],
        Execute(k_last=8, x_count=4, b_count=7, activation_b=1, post=2),
        Store(base=2, columns=8, count1=20, stride1=32, wait=2),
    ],
    # A command with another target waits for those before it; one to a scratchpad needs no base register.
    "targets": [
        Load(base=1, run=64, post=1), Load(bank=Bank.WEIGHT, base=1, run=64, post=1), Load(bank=Bank.PARAMETER, base=1, run=96),
        Execute(k_last=8, x_count=8, activation_x=1, wait=1),
        Execute(k_last=8, x_count=8, activation_x=1, accumulator_row=32, wait=1, post=2),
        Store(operation=Operation.REQUANTISE, target=Target.ACTIVATION, columns=8, count1=8, destination=50, stride1=1, wait=2),
        Store(base=2, columns=8, count1=8, stride1=32, row=32),
        Store(operation=Operation.REQUANTISE, target=Target.WEIGHT, columns=5, count1=8, destination=50, stride1=2, lane=6),
        Store(operation=Operation.REQUANTISE, target=Target.ACTIVATION, columns=8, count1=3, window=2, destination=70, stride1=1, post=2),
        Execute(k_last=8, x_count=8, activation_x=1, wait=2, post=2),
        Store(operation=Operation.MAX_POOL, base=2, columns=8, count1=4, window=2, window_stride=4, stride1=8, wait=2),
    ],
    # The second run waits until the first one's bursts have all been asked for, as many as may be.
    "long runs": [
        Load(base=1, run=64), Load(bank=Bank.WEIGHT, base=1, run=4096, post=1), Load(base=1, run=4096), Load(base=1, run=40, post=1),
        Load(bank=Bank.WEIGHT, base=1, run=8, wait=0, post=1),
        Execute(k_last=8, x_count=8, activation_x=1, wait=1), Execute(k_last=8, x_count=8, activation_x=1, wait=1),
        Execute(k_last=8, x_count=8, activation_x=1, wait=1, post=2),
        Store(base=2, columns=8, count1=8, stride1=32, wait=2),
    ],
}


def test_rules():
    """Programs by hand, each for a rule that a product does not need, to 2 cycles.

    Where LOAD and STORE meet, to 20: what LOAD has on its way to a scratchpad may move up while a write of STORE's goes first, which the
    model does not know.
    """
    config = small_config(8, 8, memory={"outstanding": 4})
    latency = 9
    with simulated(config, memory_bytes=MEMORY, latency=latency) as device:
        # At the beginning of a burst, in the middle of one, and in the middle of a word.
        for (name, program), place in product(PROGRAMS.items(), (0, 64, 92)):
            beside = name.startswith("load beside store")
            if beside and place:
                continue
            device.write_memory(0, np.zeros(MEMORY, np.uint8))
            outcome = run_words(device, config, pack(program), {1: (4096, 8192), 2: (16384, 4096)}, program=place)
            assert outcome.error == ErrorCode.NONE, name
            predicted = predict_cycles(config, program, memory=Memory(latency=latency), bases=[place, 4096, 16384])
            tolerance = 20 if beside else 2
            cycles = outcome.counters["CYCLES"]
            assert abs(predicted.cycles - cycles) <= tolerance, f"{name} at {place}: {predicted.cycles}, not {cycles}"
