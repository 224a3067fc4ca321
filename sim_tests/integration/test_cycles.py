"""The cycle model against the counters of the compiled RTL."""

import numpy as np
import pytest
from devices import run_words, simulated, small_config
from systolith.arch.commands import Bank, Engine, Execute, Load, Operation, Store, Target, pack
from systolith.arch.cycles import Memory, predict_cycles
from systolith.arch.hazards import Space
from systolith.arch.plan_gemm import plan_gemm
from systolith.arch.program import Program, Region
from systolith.arch.registers import ErrorCode

CONFIGS = {"3x5": small_config(3, 5), "8x8-narrow-bus": small_config(8, 8, memory={"bus_bits": 32})}
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
def test_stores(name, tmp_path):
    """Within 3 cycles of the hardware or 0.3 %, whichever is larger."""
    config = STORES[name]
    for latency in (1, 30):
        with simulated(config, tmp_path / "g", memory_bytes=MEMORY, latency=latency) as device:
            for seed in range(12):
                program = stores(np.random.default_rng(seed), config)
                outcome = run_words(device, config, pack(program), {1: (0x1000, 0x1000), 2: (0x4000, 0xC000)}, program=0x14000)
                assert outcome.error == ErrorCode.NONE
                predicted = predict_cycles(config, program, memory=Memory(latency=latency), bases=[0x14000, 0x1000, 0x4000]).cycles
                cycles = outcome.counters["CYCLES"]
                assert abs(predicted - cycles) <= max(3, 0.003 * cycles), f"seed {seed}, latency {latency}: {predicted}, not {cycles}"


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("latency", [1, 30, 100])
def test_prediction(name, latency, tmp_path):
    """Within 1 % or 8 cycles of the hardware, whichever is larger; rows streamed are exact."""
    config = CONFIGS[name]
    with simulated(config, tmp_path / "g", memory_bytes=MEMORY, latency=latency) as device:
        for m, n, k in SHAPES:
            for out in ("int32", "int8"):
                plan = plan_gemm(config, m, n, k, out=out)
                device.write_memory(0, np.zeros(MEMORY, np.uint8))
                places, at = {}, 0
                for region in plan.regions.values():
                    places[region.base] = (at, region.bytes)
                    at += (region.bytes + 63) & ~63
                bases = [places[base][0] for base in range(len(places))]
                program, _ = places.pop(0)
                outcome = run_words(device, config, plan.words, places, program=program)
                assert outcome.error == ErrorCode.NONE
                predicted = predict_cycles(config, plan.program, memory=Memory(latency=latency), bases=bases)
                cycles = outcome.counters["CYCLES"]
                assert abs(predicted.cycles - cycles) <= max(8, 0.01 * cycles), f"{m}×{n}×{k} {out}: {predicted.cycles}, not {cycles}"
                assert predicted.busy[Engine.EXECUTE] == outcome.counters["EXECUTE_BUSY"]
