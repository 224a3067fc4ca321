"""What the cycle model knows of the blocks, against the blocks: a latency that changes there turns a test red here."""

import pytest
from systolith.arch.latency import LOAD_BURST_BEATS, STORE_BURST_BEATS, Latency
from systolith.arch.settings import resolve
from systolith.rtl import load_records, preload, store_memory, store_walk
from systolith.rtl.datapath import Datapath
from systolith.rtl.datapath_output import OutputDatapath
from systolith.rtl.epilogue import Epilogue
from systolith.rtl.fetch import Fetch
from systolith.rtl.passes import CONTROL_LATENCY_CYCLES, PassSequencer

CONFIGS = [{"array": {"rows": rows, "cols": cols}} for rows, cols in ((1, 1), (3, 5), (5, 3), (8, 8), (16, 16), (24, 12), (32, 32))]
CONFIGS += [{"array": {"rows": 12, "cols": 12}, "epilogue": {"lanes": 3}}, {"epilogue": {"multiplier": "serial"}},
            {"epilogue": {"add": False}}, {"epilogue": {"max_pool": False}},
            {"memory": {"bus_bits": 32}}, {"memory": {"bus_bits": 256}}, {"array": {"rows": 64, "cols": 64}, "epilogue": {"lanes": 1}}]

CONFIGS += [{"array": {"rows": rows, "cols": cols, "multiplier": multiplier, "block_rows": block_rows}}
            for rows, cols, multiplier, block_rows in (
                (24, 12, "fast-inner-product", 4), (2, 2, "fast-inner-product", 0), (16, 16, "fast-inner-product", 3),
                (12, 12, "single", 4), (3, 3, "single", 1), (8, 8, "packed", 0), (16, 7, "packed", 3), (5, 2, "packed", 0),
                (3, 1, "packed", 0), (24, 12, "packed", 4), (4, 9, "packed", 0), (8, 8, "lut", 0), (5, 3, "lut", 2),
                (8, 2, "dual", 0), (1, 1, "dual", 0), (5, 7, "dual", 0))]
CONFIGS += [{"array": {"rows": 8, "cols": 6, "multiplier": multiplier, "dsp_cols": dsp_cols}}
            for multiplier in ("single", "fast-inner-product", "packed") for dsp_cols in (0, 1, 3, 4, 200)]
OUTPUT_CONFIGS = [{"array": {"rows": rows, "cols": cols, "dataflow": "os", **more}} for rows, cols, more in (
    (1, 1, {}), (3, 5, {}), (5, 3, {"dsp_cols": 1}), (16, 16, {}), (2, 7, {"multiplier": "lut"}), (24, 12, {"weights": "int4"}),
    (4, 9, {"activations": "int16"}))]


@pytest.mark.parametrize("settings", CONFIGS)
def test_latencies_are_those_of_the_blocks(settings):
    config = resolve(settings)
    datapath = Datapath(config)
    latency, timing = Latency(config), datapath.timing
    decision = 3  # cycles that the preloader's decisions take: see arch/latency.py
    assert latency.swap_cycles == timing.swap_cycles
    assert latency.swap_to_shift == max(timing.swap_to_shift_cycles, decision)
    assert latency.shift_to_swap == timing.shift_to_swap_cycles
    assert latency.settle == timing.settle_cycles
    assert latency.fill_to_emit == timing.fill_to_emit_cycles
    assert latency.emit_to_fill == max(timing.emit_to_fill_cycles, decision)
    assert latency.visible == max(timing.write_cycles, timing.load_cycles)
    assert latency.drain == timing.drain_cycles
    # No row waits for the one before in its accumulator row: the change of tiles takes longer.
    assert timing.distance_cycles <= latency.swap_to_shift - 2 + max(config.array.rows + 1 + latency.shift_to_swap, latency.tile)


@pytest.mark.parametrize("settings", OUTPUT_CONFIGS)
def test_latencies_where_sums_stay(settings):
    config = resolve(settings)
    latency, timing = Latency(config), OutputDatapath(config).timing
    passes = PassSequencer(config, y_moves=True, timing=timing)
    rows = config.array.rows
    assert latency.pass_control == CONTROL_LATENCY_CYCLES
    assert (latency.settle, latency.distance) == (timing.settle_cycles, timing.distance_cycles)
    assert latency.slot == rows + passes.plain_cycles
    assert latency.adding_slot == rows + passes.adding_cycles
    assert latency.transposed_slot == rows + passes.transposed_cycles
    assert latency.visible == max(timing.write_cycles, timing.load_cycles)


@pytest.mark.parametrize("settings", CONFIGS)
def test_latencies_of_the_epilogue(settings):
    config = resolve(settings)
    latency = Latency(config)
    epilogue = Epilogue(
        cols=config.array.cols, lanes=config.epilogue.lanes, raw_lanes=config.raw_lanes, parameter_groups=config.parameter_groups,
        multiplier=config.epilogue.multiplier, drain_cycles=latency.drain, add=config.epilogue.add, max_pool=config.epilogue.max_pool)
    assert (latency.raw, latency.requantise) == (epilogue.raw_cycles, epilogue.requantise_cycles)
    assert (latency.interval, latency.chunks) == (epilogue.interval_cycles, epilogue.depth)


@pytest.mark.parametrize("bus_bits", [32, 64, 128, 256, 512])
def test_bursts(bus_bits):
    config = resolve({"memory": {"bus_bits": bus_bits}})
    fetch = Fetch(address_bits=32, bus_bits=bus_bits)
    assert Latency(config).fetch_bytes == fetch.burst_beats * bus_bits // 8
    assert LOAD_BURST_BEATS == load_records.BURST_BEATS
    assert STORE_BURST_BEATS == store_walk.BURST_BEATS


def test_pipelines():
    latency = Latency(resolve())
    # The offer of a tile is a cycle behind its first vector's step at the earliest.
    assert latency.tile == 1 + preload.TILE_LATENCY_CYCLES
    assert latency.execute_preload == preload.VECTOR_LATENCY_CYCLES
    assert store_memory.OUTSTANDING == 16
    assert store_walk.StoreWalk.in_flight == 4
