"""The cycle model against the counters of the compiled RTL."""

import numpy as np
import pytest
from devices import run_words, simulated, small_config
from systolith.arch.commands import Engine
from systolith.arch.cycles import Memory, predict_cycles
from systolith.arch.plan_gemm import plan_gemm
from systolith.arch.registers import ErrorCode

CONFIGS = {"3x5": small_config(3, 5), "8x8-narrow-bus": small_config(8, 8, memory={"bus_bits": 32})}
SHAPES = [(1, 1, 1), (20, 30, 40), (64, 48, 96), (97, 31, 103)]
MEMORY = 1 << 17


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
