"""Configurations of small accelerators: what they leave out, and what the functional model says to commands that need it."""

import re

import numpy as np
import pytest
from systolith import connect
from systolith.arch.commands import Execute, Load, Store, Target
from systolith.arch.config import ConfigError
from systolith.arch.footprint import objection
from systolith.arch.numerics import quantize_multiplier, requantise
from systolith.arch.registers import ErrorCode
from systolith.arch.settings import merge, resolve
from systolith.boards import BOARDS
from systolith.host.matmul import Requantise

SMALL = resolve(BOARDS["icebreaker"].settings)


@pytest.mark.parametrize("settings, message", [
    ({"control": {"row_bits": 10}}, "control.row_bits must be at least 13 for 4096 rows, not 10"),
    ({"control": {"row_bits": 7}}, "control.row_bits must be from 8 to 16, not 7"),
    ({"control": {"run_loops": 3}}, "control.run_loops must be from 1 to 2, not 3"),
    ({"control": {"engines": "tiny"}}, "control.engines must be one of 'pipelined', 'serial', not 'tiny'"),
    ({"control": {"engines": "serial"}, "epilogue": {"lanes": 2}}, "epilogue.lanes must be 1 where control.engines is 'serial', not 2"),
    ({"control": {"padding": 0}}, "control.padding must be one of True, False, not 0")])
def test_refused(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolve(settings)


def test_serial_engines_have_a_serial_lane():
    config = resolve({"control": {"engines": "serial"}})
    assert (config.epilogue.lanes, config.epilogue.multiplier, config.write_bytes(16)) == (1, "serial", 1)
    assert not config.control.looks_ahead


@pytest.mark.parametrize("command, code", [
    (Load(run=1 << 17), ErrorCode.UNSUPPORTED), (Load(run=(1 << 17) - 1), ErrorCode.NONE),
    (Load(count1=1024), ErrorCode.UNSUPPORTED), (Load(count1=1023), ErrorCode.NONE),
    (Load(count2=2), ErrorCode.UNSUPPORTED), (Load(count2=0), ErrorCode.VALUE), (Load(count2=2, run=0), ErrorCode.UNSUPPORTED),
    (Store(count2=2), ErrorCode.UNSUPPORTED), (Store(columns=0), ErrorCode.VALUE), (Store(columns=65535), ErrorCode.VALUE),
    (Store(target=Target.WEIGHT, lane=2), ErrorCode.VALUE),
    (Execute(), ErrorCode.NONE), (Execute(x_origin=-1), ErrorCode.UNSUPPORTED), (Execute(y_step=1), ErrorCode.UNSUPPORTED),
    (Execute(ct_count=1024), ErrorCode.UNSUPPORTED), (Execute(k_last=1024), ErrorCode.VALUE), (Execute(kx_count=2), ErrorCode.UNSUPPORTED),
    (Execute(accumulator_row=512), ErrorCode.RANGE), (Execute(transpose=1), ErrorCode.UNSUPPORTED)])
def test_what_the_icebreaker_refuses(command, code):
    assert objection(SMALL, command) == code


def test_all_fields_fit_the_default():
    config = resolve(merge({"control": {"row_bits": 16}}))
    assert objection(config, Load(run=(1 << 24) - 1, count1=65535, count2=65535)) == ErrorCode.NONE
    assert objection(config, Execute(ct_count=65535, x_origin=-5, y_dilation=3)) == ErrorCode.NONE


@pytest.mark.parametrize("m, n, k", [(1, 1, 1), (33, 21, 50), (100, 75, 200), (5, 64, 700)])
@pytest.mark.parametrize("out", ["int32", "int8"])
def test_products_are_planned_within_its_limits(m, n, k, out):
    """Runs without an outer loop, ten bits of row numbers, two token bits: the planner knows, and the result is right."""
    rng = np.random.default_rng(m + n + k)
    a, w = (rng.integers(-128, 128, shape, dtype=np.int8) for shape in ((m, k), (k, n)))
    bias = rng.integers(-1000, 1000, n, dtype=np.int32)
    exact = a.astype(np.int32) @ w.astype(np.int32) + bias
    real = np.full(n, 60 / max(1, np.abs(exact).max()))
    with connect("model", board="icebreaker") as accelerator:
        if out == "int32":
            np.testing.assert_array_equal(accelerator.matmul(a, w, bias), exact)
        else:
            multiplier, shift = quantize_multiplier(real)
            result = accelerator.matmul(a, w, bias, Requantise(multiplier=multiplier, shift=shift, zero_point=3))
            np.testing.assert_array_equal(result, requantise(exact, multiplier, shift, 3))
