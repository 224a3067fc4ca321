"""The GEMM planner: every plan, run by the functional model, equals NumPy, and its tokens are enough and none too many."""

import dataclasses

import numpy as np
import pytest
from systolith.arch import numerics
from systolith.arch.commands import PEERS, Engine, pack
from systolith.arch.model import Model
from systolith.arch.plan_gemm import plan_gemm, split_gemm
from systolith.arch.registers import ErrorCode
from systolith.arch.settings import resolve
from systolith.arch.tiling import PlanError

ARRAYS = [(1, 1), (3, 5), (8, 8), (16, 16), (24, 12), (256, 256)]
TINY = {"activation_kib": 1, "weight_kib": 2, "accumulator_rows": 16, "parameter_channels": 16}
SENTINEL = 0xA5


class Problem:
    """A plan with random operands in a memory of its own, every region between sentinels."""

    def __init__(self, config, m, n, k, seed=0, **options):
        self.plan = plan_gemm(config, m, n, k, **options)
        self.config, self.gemm = config, self.plan.gemm
        rng = np.random.default_rng(seed)
        self.a = rng.integers(-128, 128, (m, k), dtype=np.int8)
        low, high = config.array.weight_limits
        self.w = rng.integers(low, high + 1, (k, n), dtype=np.int8)
        parameters = [rng.integers(-1000, 1000, n), rng.integers(1 << 30, 1 << 31, n), rng.integers(-12, -6, n)]
        self.parameters = np.stack(parameters, 1).astype(np.int32)

    def run(self, program=None, seed=0):
        """(result of the model, C)."""
        words = self.plan.words if program is None else pack(program)
        content = {"a": self.a, "w": np.ascontiguousarray(self.gemm.pack(self.w)), "parameters": self.parameters, "program": words}
        bases, sizes, at = [0] * 8, [0] * 8, 64
        for region in self.plan.regions.values():
            bases[region.base], sizes[region.base] = at, region.bytes
            at += (region.bytes + 127) & ~63
        memory = np.full(at, SENTINEL, np.uint8)
        for name, region in self.plan.regions.items():
            if name in content:
                data = content[name].reshape(-1).view(np.uint8)
                assert data.size == region.bytes, name
                memory[bases[region.base]:bases[region.base] + data.size] = data
        before = memory.copy()
        result = Model(self.config, memory).run(bases=bases, sizes=sizes, program_words=words.size, seed=seed)
        c = self.plan.regions["c"]
        place = slice(bases[c.base], bases[c.base] + c.bytes)
        values = memory[place].copy().view(np.int32 if self.gemm.out == "int32" else np.int8).reshape(self.gemm.m, self.gemm.n)
        memory[place] = before[place]
        assert (memory == before).all(), "written outside C"
        return result, values

    @property
    def expected(self):
        product = (self.a.astype(np.int64) @ self.w.astype(np.int64)).astype(np.int32)
        bias, multiplier, shift = self.parameters.T
        if self.gemm.out == "int8":
            return numerics.requantise(product + bias, multiplier, shift, 0)
        return product + bias if self.gemm.bias else product

    def check(self, seed=0):
        result, values = self.run(seed=seed)
        assert result.error is ErrorCode.NONE
        assert not result.hazards, str(result.hazards[0])
        assert (values == self.expected).all()
        assert result.macs_issued == self.plan.macs_issued
        return result


@pytest.mark.parametrize("rows,cols", ARRAYS)
@pytest.mark.parametrize("out,bias", [("int32", False), ("int32", True), ("int8", False)])
def test_random_shapes(rows, cols, out, bias):
    seed = rows * 1000 + cols
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    config = resolve({"array": {"rows": rows, "cols": cols}})
    most = 30 if rows == 1 else 150
    for m, n, k in [(1, 1, 1), (1, 23, 29), *rng.integers(1, most, (3, 3)).tolist()]:
        problem = Problem(config, m, n, k, seed, out=out, bias=bias)
        for interleaving in range(2):
            problem.check(interleaving)


@pytest.mark.parametrize("rows,cols", ARRAYS[:-1])
def test_tiny_memories(rows, cols):
    """K is cut, panels are single or few, parameters come in parts."""
    seed = rows * 1000 + cols
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for channels in (1, 7, 16):
        config = resolve({"array": {"rows": rows, "cols": cols}, "memory": TINY | {"parameter_channels": channels}})
        for out in ("int32", "int8"):
            m, n, k = rng.integers(1, 30 if rows == 1 else 120, 3).tolist()
            Problem(config, m, n, k, seed, out=out, transpose=bool(rng.integers(2))).check(seed)


@pytest.mark.parametrize("rows,cols", [(1, 1), (3, 5), (5, 3), (8, 8), (24, 12)])
def test_transposed_weights(rows, cols):
    seed = rows * 1000 + cols
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for memory in ({}, TINY):
        config = resolve({"array": {"rows": rows, "cols": cols}, "memory": memory})
        for m, n, k in [(1, 1, 1), *rng.integers(1, 30 if rows == 1 else 90, (2, 3)).tolist()]:
            Problem(config, m, n, k, seed, transpose=True).check(seed)


@pytest.mark.parametrize("rows,cols", [*ARRAYS[:-1], (5, 3), (8, 7), (6, 2), (6, 1)])
@pytest.mark.parametrize("transpose", [False, True])
def test_int4_weights(rows, cols, transpose):
    """Tiles of odd and even width, all of W on chip and little of it, parameters that make tiles narrower."""
    seed = rows * 1000 + cols
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for memory in ({}, TINY, TINY | {"parameter_channels": 1}):
        config = resolve({"array": {"rows": rows, "cols": cols, "weights": "int4"}, "memory": memory})
        for out in ("int32", "int8"):
            for m, n, k in [(1, 1, 1), *rng.integers(1, 30 if rows == 1 else 90, (2, 3)).tolist()]:
                Problem(config, m, n, k, seed, out=out, transpose=transpose).check(seed)


def test_int4_weights_take_half_the_bytes():
    int8, int4 = (Problem(resolve({"array": {"weights": weights}}), 192, 128, 256) for weights in ("int8", "int4"))
    assert int4.plan.regions["w"].bytes == int8.plan.regions["w"].bytes // 2 == 128 * 128
    assert int4.check().bytes_read == int4.a.size + 128 * 128 + 4 * int4.plan.words.size
    assert int4.config.weight_rows == 2 * int8.config.weight_rows


@pytest.mark.parametrize("transpose,cols,expected", [
    (False, 4, [[0x21, 0x43, 0x05], [0xF8, 0x7E, 0x0D]]), (False, 3, [[0x21, 0x03, 0x54], [0xF8, 0x0E, 0xD7]]),
    (False, 1, [[1, 2, 3, 4, 5], [8, 15, 14, 7, 13]]), (True, 2, [[0x81], [0xF2], [0xE3], [0x74], [0xD5]]),
    (True, 1, [[1, 8], [2, 15], [3, 14], [4, 7], [5, 13]])])
def test_layout_of_int4_weights(transpose, cols, expected):
    """By hand: what goes to another scratchpad row begins with another byte."""
    config = resolve({"array": {"rows": 2, "cols": cols, "weights": "int4"}})
    w = np.array([[1, 2, 3, 4, 5], [-8, -1, -2, 7, -3]], np.int8)
    gemm = plan_gemm(config, 1, 5, 2, transpose=transpose).gemm
    assert gemm.pack(w).tolist() == expected
    assert gemm.matrix_bytes == np.size(expected)


def test_slots_that_hold_chunks_of_unequal_length():
    """The last chunk of K is shorter: what it takes of a slot must still be known to be the same place."""
    config = resolve({"array": {"rows": 8, "cols": 8}, "memory": {"activation_kib": 2, "weight_kib": 3, "parameter_channels": 16}})
    Problem(config, 48, 2, 142, bias=True, transpose=True).check()


def test_large_product_uses_the_whole_machine():
    problem = Problem(resolve({}), 512, 512, 512)
    result = problem.check()
    assert problem.gemm.macs / problem.config.macs_per_cycle / problem.plan.estimated_cycles > 0.97
    assert result.macs_issued == problem.gemm.macs
    assert result.bytes_written == 4 * 512 * 512


def test_operands_that_fit_are_loaded_once():
    problem = Problem(resolve({}), 192, 128, 256)
    result = problem.check()
    assert result.bytes_read == problem.a.size + problem.w.size + 4 * problem.plan.words.size


def test_contiguous_operands_are_one_long_run():
    """A of whole scratchpad rows and W of whole tiles lie in memory as on chip."""
    config = resolve({"array": {"rows": 8, "cols": 8}})
    loads = [c for c in Problem(config, 16, 8, 8).plan.program if c.engine is Engine.LOAD]
    assert all(c.count1 == c.count2 == 1 for c in loads)


def _tokens(program):
    """(giver's place in the program, its bit, taker's place, its bit) of every token: the n-th give matches the n-th take."""
    gives, takes = {}, {}
    for place, command in enumerate(program):
        for bit, peer in enumerate(PEERS[command.engine]):
            if command.post >> bit & 1:
                gives.setdefault((command.engine, peer), []).append((place, bit))
            if command.wait >> bit & 1:
                takes.setdefault((peer, command.engine), []).append((place, bit))
    assert {pair: len(places) for pair, places in gives.items()} == {pair: len(places) for pair, places in takes.items()}
    return [(*give, *take) for pair in gives for give, take in zip(gives[pair], takes[pair], strict=True)]


@pytest.mark.parametrize("settings,shape,options", [
    ({"array": {"rows": 8, "cols": 8}}, (40, 24, 40), {}),
    ({"array": {"rows": 8, "cols": 8}, "memory": TINY}, (40, 24, 40), {}),
    ({"array": {"rows": 8, "cols": 8}, "memory": TINY}, (40, 24, 40), {"out": "int8"}),
    ({"array": {"rows": 3, "cols": 5}, "memory": TINY}, (7, 31, 120), {"bias": True}),
    ({"array": {"rows": 8, "cols": 8}, "memory": TINY}, (20, 24, 40), {"transpose": True}),
])
def test_no_token_can_be_deleted(settings, shape, options):
    """Without any one of its tokens, a program is found out in one run, whatever the order of that run."""
    problem = Problem(resolve(settings), *shape, **options)
    program = problem.plan.program
    tokens = _tokens(program)
    assert tokens
    for number, (giver, give, taker, take) in enumerate(tokens):
        damaged = list(program)
        damaged[giver] = dataclasses.replace(damaged[giver], post=damaged[giver].post & ~(1 << give))
        damaged[taker] = dataclasses.replace(damaged[taker], wait=damaged[taker].wait & ~(1 << take))
        result, _ = problem.run(damaged, seed=number)
        assert result.hazards, f"token from {giver} to {taker} is not needed"


@pytest.mark.parametrize("m,n,k,budget", [(100, 70, 30, 1 << 30), (100, 70, 30, 3000), (1000, 3, 17, 200), (1, 1, 1, 6)])
def test_split_covers_the_product(m, n, k, budget):
    covered = np.zeros((m, n), int)
    for rows, columns in split_gemm(m, n, k, budget_bytes=budget):
        assert (len(rows) + len(columns)) * k + 4 * len(rows) * len(columns) <= budget
        covered[rows.start:rows.stop, columns.start:columns.stop] += 1
    assert (covered == 1).all()
    packed = list(split_gemm(m, n, k, budget_bytes=budget, row_bytes=lambda count: -(-count // 2)))
    assert all((len(rows) + len(columns) / 2) * k + 4 * len(rows) * len(columns) <= budget for rows, columns in packed)


def test_errors():
    config = resolve({})
    with pytest.raises(PlanError, match=r"^n must be at least 1, not 0$"):
        plan_gemm(config, 1, 0, 1)
    with pytest.raises(PlanError, match=r"^array.transposer must be true for a transposed W, not false$"):
        plan_gemm(resolve({"array": {"transposer": False}}), 1, 1, 1, transpose=True)
    with pytest.raises(PlanError, match=r"^w must be at most 4294967296 bytes, not 8589934592; split the product with split_gemm$"):
        plan_gemm(config, 1, 1 << 20, 1 << 13)
    with pytest.raises(PlanError, match=r"^device memory must hold 204 bytes for one element with K = 100, not 100$"):
        list(split_gemm(5, 5, 100, budget_bytes=100))
