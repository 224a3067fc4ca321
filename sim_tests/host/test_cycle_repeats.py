"""The cycle model skips what repeats itself, and skipping changes nothing."""

import pytest
from systolith.arch import cycles
from systolith.arch.config import resolve
from systolith.arch.cycles import Machine, Memory, predict_cycles
from systolith.arch.plan_gemm import plan_gemm

SMALL = resolve({"array": {"rows": 8, "cols": 8}, "memory": {"activation_kib": 4, "weight_kib": 4, "accumulator_rows": 128}})


@pytest.mark.parametrize("shape, out", [((64, 512, 256), "int32"), ((1, 512, 1024), "int32"), ((120, 96, 512), "int8")])
@pytest.mark.parametrize("memory", [Memory(), Memory(latency=100), Memory(cycles_per_beat=4, half_duplex=True)])
def test_skipping_changes_nothing(shape, out, memory, monkeypatch):
    program = plan_gemm(SMALL, *shape, out=out).program
    begun = []
    begin = Machine._begin
    monkeypatch.setattr(Machine, "_begin", lambda machine, *arguments: begun.append(1) or begin(machine, *arguments))
    monkeypatch.setattr(cycles, "_LONG", len(program))
    skipping = predict_cycles(SMALL, program, memory=memory)
    assert len(begun) <= len(program)
    monkeypatch.setattr(cycles, "_LONG", len(program) + 1)
    whole = predict_cycles(SMALL, program, memory=memory)
    assert skipping == whole


def test_much_is_skipped(monkeypatch):
    program = plan_gemm(SMALL, 1, 512, 1024).program
    begun = []
    begin = Machine._begin
    monkeypatch.setattr(Machine, "_begin", lambda machine, *arguments: begun.append(1) or begin(machine, *arguments))
    monkeypatch.setattr(cycles, "_LONG", 100)
    predict_cycles(SMALL, program)
    assert len(begun) < len(program)
