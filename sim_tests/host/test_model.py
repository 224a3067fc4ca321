"""The functional model: every command against a word-for-word reading of the command set in plain loops; control and errors."""

import itertools
from collections import Counter

import numpy as np
import pytest
from systolith.arch import numerics
from systolith.arch.assembler import assemble, format_command
from systolith.arch.commands import Bank, Engine, Execute, Load, Operation, Store, Target, pack
from systolith.arch.model import Model
from systolith.arch.registers import ErrorCode
from systolith.arch.settings import resolve

BASE, SIZE = 512, 3000


def small(rows, cols, **settings):
    memory = {"activation_kib": 1, "weight_kib": 1, "accumulator_rows": 32, "parameter_channels": 16, "bus_bits": 32}
    return resolve({"array": {"rows": rows, "cols": cols}, "memory": memory, **settings})


MEMORIES = ("memory", "activation", "weight", "accumulator", "parameters", "table")


class Loops:
    """The command set as its documents have it, one byte at a time."""

    def __init__(self, model):
        machine = model.machine
        self.config = model.config
        for memory in MEMORIES:
            setattr(self, memory, getattr(machine, memory).copy())

    def load(self, c):
        r, n, lanes = self.config.array.rows, self.config.array.cols, self.config.epilogue.lanes
        bank, width = {Bank.ACTIVATION: (self.activation, r), Bank.WEIGHT: (self.weight, n), Bank.ACCUMULATOR: (self.accumulator, 4 * n),
                       Bank.PARAMETER: (self.parameters, 12 * lanes), Bank.TABLE: (self.table, 4)}[Bank(c.bank)]
        octets = bank.reshape(-1).view(np.uint8)
        for i2, i1 in itertools.product(range(c.count2), range(c.count1)):
            offset = (c.offset + i2 * c.stride2 + i1 * c.stride1) % 2**32
            first = c.row + i2 * c.row_stride2 + i1 * c.row_stride1
            for i in range(c.run):
                row = (first + (c.lane + i) // width) % 2**16
                octets[row * width + (c.lane + i) % width] = self.memory[BASE + offset + i]

    def execute(self, c):
        r, n = self.config.array.rows, self.config.array.cols
        overwrite = not c.accumulate
        for ky, kx, ct in itertools.product(range(c.ky_count), range(c.kx_count), range(c.ct_count)):
            w = c.weight_row + ky * c.weight_ky + kx * c.weight_kx + ct * c.weight_ct
            tile = np.zeros((r, n), np.int64)
            for k in range(c.k_last if ct == c.ct_count - 1 else r):
                for column in range(n):
                    if c.transpose:
                        tile[k, column] = self.weight[(w + column * c.weight_stride + k // n) % 2**16, k % n]
                    else:
                        tile[k, column] = self.weight[(w + k * c.weight_stride) % 2**16, column]
            for b, y, x in itertools.product(range(c.b_count), range(c.y_count), range(c.x_count)):
                a = (c.activation_row + ct * c.activation_ct + ky * c.activation_ky + kx * c.activation_kx
                     + b * c.activation_b + y * c.activation_y + x * c.activation_x) % 2**16
                inside = ((c.y_origin + y * c.y_step + ky * c.y_dilation) % 2**16 < c.height
                          and (c.x_origin + x * c.x_step + kx * c.x_dilation) % 2**16 < c.width)
                vector = self.activation[a].astype(np.int64) if inside else np.full(r, c.pad)
                row = c.accumulator_row + (b * c.y_count + y) * c.x_count + x
                self.accumulator[row] = numerics.wrap32(vector @ tile + (0 if overwrite else self.accumulator[row].astype(np.int64)))
            overwrite = False

    def store(self, c):
        lanes = self.config.epilogue.lanes
        for i2, i1 in itertools.product(range(c.count2), range(c.count1)):
            first = c.row + i2 * c.count1 + i1
            source = np.array([max(int(self.accumulator[first + j * c.window_stride, column]) for j in range(c.window))
                               for column in range(c.columns)])
            bias, multiplier, shift = self.parameters[c.parameter_group * lanes:c.parameter_group * lanes + c.columns].T
            if c.operation == Operation.RAW:
                octets = numerics.wrap32(source + (bias if c.bias else 0)).view(np.uint8)
            elif c.operation == Operation.MAX_POOL:
                octets = np.array([min(max(int(v) + c.zero_point, c.low), c.high) for v in source], np.int8).view(np.uint8)
            else:
                if c.operation == Operation.ADD:
                    x1 = source.astype(np.int8).astype(np.int64)
                    total = (x1 << 19) + [self.table[(v - x) // 256 % 256] for v, x in zip(source, x1, strict=True)]
                else:
                    total = source + bias
                octets = numerics.requantise(numerics.wrap32(total), multiplier, shift, c.zero_point, c.low, c.high).view(np.uint8)
            place = c.destination + i2 * c.stride2 + i1 * c.stride1
            for i, octet in enumerate(octets):
                if c.target == Target.MEMORY:
                    self.memory[BASE + place % 2**32 + i] = octet
                else:
                    bank = self.activation if c.target == Target.ACTIVATION else self.weight
                    width = bank.shape[1]
                    bank.view(np.uint8)[(place + (c.lane + i) // width) % 2**16, (c.lane + i) % width] = octet


def random_command(rng, config):
    """A command that may break a rule now and then."""
    r, n = config.array.rows, config.array.cols

    def pick(low, high):
        return int(rng.integers(low, high + 1))

    kind = pick(0, 2)
    if kind == 0:
        bank = Bank(pick(0, 4))
        unit = {Bank.ACCUMULATOR: 4, Bank.PARAMETER: 12, Bank.TABLE: 4}.get(bank, 1)
        word = 4 if unit > 1 else 1
        return Load(bank=bank, base=1, offset=pick(0, 300) * word, run=pick(1, 20) * unit,
                    lane=pick(0, (r if bank == 0 else n) - 1) if word == 1 else 0, count1=pick(1, 4), count2=pick(1, 3),
                    stride1=pick(-20, 60) * word, stride2=pick(-20, 60) * word, row=pick(0, 5),
                    row_stride1=pick(-1, 2), row_stride2=pick(-1, 2))
    if kind == 1:
        return Execute(
            accumulate=pick(0, 1), transpose=pick(0, 1), weight_row=pick(0, 60), weight_stride=pick(-1, 3), activation_row=pick(0, 40),
            accumulator_row=pick(0, 20), pad=pick(-128, 127), k_last=pick(1, r), ky_count=pick(1, 3), kx_count=pick(1, 3),
            ct_count=pick(1, 2), weight_ky=pick(-3, 9), weight_kx=pick(-3, 9), weight_ct=pick(-3, 9), activation_ct=pick(-1, 3),
            activation_ky=pick(-1, 5),
            activation_kx=pick(-1, 3), x_count=pick(1, 3), y_count=pick(1, 3), b_count=pick(1, 2), activation_b=pick(0, 9),
            activation_y=pick(0, 5), activation_x=pick(0, 3), y_origin=pick(-2, 1), x_origin=pick(-2, 1), y_step=pick(0, 2),
            x_step=pick(0, 2), y_dilation=pick(0, 2), x_dilation=pick(0, 2), height=pick(0, 6), width=pick(0, 6))
    target = Target(pick(0, 2))
    stride = (-30, 90) if target == Target.MEMORY else (-1, 3)
    low, high = sorted((pick(-128, 127), pick(-128, 127)))
    return Store(operation=Operation(pick(0, 3)), target=target, base=1, bias=pick(0, 1), window=pick(1, 3), row=pick(0, 24),
                 window_stride=pick(0, 5), columns=pick(1, n),
                 count1=pick(1, 4), count2=pick(1, 3), destination=pick(0, 400 if target == Target.MEMORY else 20), stride1=pick(*stride),
                 stride2=pick(*stride), zero_point=pick(-128, 127), low=low, high=high,
                 lane=pick(0, (r if target == Target.ACTIVATION else n) - 1) if target else 0, parameter_group=pick(0, 2))


@pytest.mark.parametrize("rows,cols", [(1, 1), (3, 5), (5, 3), (4, 4)])
def test_commands(rows, cols):
    """One command after the other on one accelerator; memories are compared whole, so that garbage counts too."""
    seed = 10 * rows + cols
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    model = Model(small(rows, cols), rng.integers(0, 256, 4096, dtype=np.uint8))
    for memory in ("activation", "weight", "accumulator", "table"):
        values = getattr(model.machine, memory)
        values[:] = rng.integers(np.iinfo(values.dtype).min, np.iinfo(values.dtype).max, values.shape, endpoint=True)
    wanted = dict.fromkeys((*Operation, Bank.TABLE), 15) | {Engine.LOAD: 60, Engine.EXECUTE: 60, Engine.STORE: 60}
    done = Counter()
    while any(done[kind.name] < count for kind, count in wanted.items()):
        command = random_command(rng, model.config)
        words = pack([command])
        model.machine.memory[:words.nbytes] = words.view(np.uint8)
        loops = Loops(model)
        result = model.run(bases=[0, BASE], sizes=[words.nbytes, SIZE], program_words=words.size)
        if result.error:
            assert result.error in (ErrorCode.RANGE, ErrorCode.ADDRESS), format_command(command)
            continue
        getattr(loops, command.opcode.name.lower())(command)
        for memory in MEMORIES:
            assert (getattr(model.machine, memory) == getattr(loops, memory)).all(), f"{memory} after {format_command(command)}"
        done[command.engine.name] += 1
        match command:
            case Load():
                done[Bank(command.bank).name] += 1
            case Store():
                done[Operation(command.operation).name] += 1


def run(text, *, config=None, memory_bytes=4096, base=BASE, size=SIZE, offset=0, words=None, seed=0):
    """(result, model) of a program in text or words at address 0."""
    program = assemble(text) if isinstance(text, str) else np.array(text, np.uint32)
    memory = np.arange(memory_bytes).astype(np.uint8)
    memory[offset & ~3:(offset & ~3) + program.nbytes] = program.view(np.uint8)
    model = Model(config or small(4, 4), memory)
    result = model.run(bases=[0, base], sizes=[BASE, size], program_words=program.size if words is None else words, program_offset=offset,
                       seed=seed)
    return result, model


LIMITED = {"control": {"outer_loops": 1, "inner_loops": 1}, "epilogue": {"add": False, "max_pool": False}}


@pytest.mark.parametrize("text,error", [
    ("load run=0", ErrorCode.VALUE),
    ("load count1=0", ErrorCode.VALUE),
    ("load count2=0", ErrorCode.VALUE),
    ("load lane=4", ErrorCode.VALUE),
    ("load bank=accumulator run=4 lane=1", ErrorCode.VALUE),
    ("load bank=accumulator run=6", ErrorCode.VALUE),
    ("load bank=parameter run=16", ErrorCode.VALUE),
    ("load bank=parameter run=12 offset=2", ErrorCode.VALUE),
    ("load bank=parameter run=12 stride2=-2", ErrorCode.VALUE),
    ("load bank=5", ErrorCode.VALUE),
    ("load bank=table run=4 lane=1", ErrorCode.VALUE),
    ("load bank=table run=6", ErrorCode.VALUE),
    ("load bank=table run=4 stride1=2", ErrorCode.VALUE),
    ("load bank=table run=4", ErrorCode.UNSUPPORTED),
    ("execute k_last=0", ErrorCode.VALUE),
    ("execute k_last=5", ErrorCode.VALUE),
    *((f"execute {count}_count=0", ErrorCode.VALUE) for count in ("ky", "kx", "ct", "x", "y", "b")),
    *((f"execute {count}_count=2", ErrorCode.UNSUPPORTED) for count in ("ky", "kx", "y", "b")),
    ("execute x_count=17", ErrorCode.RANGE),
    ("execute accumulator_row=10 x_count=7", ErrorCode.RANGE),
    ("execute accumulator_row=32", ErrorCode.RANGE),
    ("store columns=5", ErrorCode.VALUE),
    ("store columns=0", ErrorCode.VALUE),
    ("store count1=0", ErrorCode.VALUE),
    ("store target=3", ErrorCode.VALUE),
    ("store window=0", ErrorCode.VALUE),
    ("store target=activation lane=4", ErrorCode.VALUE),
    ("store low=3 high=2", ErrorCode.VALUE),
    ("store operation=add", ErrorCode.UNSUPPORTED),
    ("store operation=max_pool", ErrorCode.UNSUPPORTED),
    ("store operation=add columns=0", ErrorCode.VALUE),
    ("store window=2", ErrorCode.UNSUPPORTED),
    ("store window=2 columns=0", ErrorCode.UNSUPPORTED),
])
def test_refused_commands(text, error):
    """Refused before the tokens, which never come; what went before is done."""
    good = f"{text.split()[0]} base=1 activation_row=3" if text.startswith("execute") else f"{text.split()[0]} base=1"
    good = good.replace("execute base=1", "execute")
    wait = {"load": "store", "execute": "load", "store": "execute"}[text.split()[0]]
    result, _ = run(f"{good}\n{text} wait={wait}", config=small(4, 4, **LIMITED))
    assert (result.error, result.engine.name.lower(), result.command, result.commands) == (error, text.split()[0], 1, 1)


def test_no_transposer():
    result, _ = run("execute transpose=1", config=resolve({"array": {"rows": 4, "cols": 4, "transposer": False}}))
    assert result.error is ErrorCode.UNSUPPORTED


@pytest.mark.parametrize("text", [
    "load base=1 row=255 run=5", "load base=1 row=256 run=4", "load base=1 row=2 count1=4 row_stride1=-1",
    "load base=1 bank=accumulator row=31 run=20", "load base=1 bank=parameter row=3 run=60",
    "execute activation_row=250 x_count=10 activation_x=1", "execute weight_row=255 k_last=2",
    "execute weight_row=3 weight_stride=-2 k_last=4", "execute transpose=1 weight_row=253", "store base=1 row=15 count1=2",
    "store base=1 row=32", "store base=1 row=12 window=3 window_stride=2", "store base=1 window=2 window_stride=65535",
    "store base=1 window=255 window_stride=65535 operation=max_pool", "load base=1 bank=table row=255 run=8",
    "store base=1 target=weight destination=255 columns=4", "store base=1 bias=1 parameter_group=4",
    "store base=1 operation=add parameter_group=4",
])
def test_range(text):
    result, _ = run(text)
    assert (result.error, result.engine.name.lower(), result.command) == (ErrorCode.RANGE, text.split()[0], 0)


def test_windows_reach_to_the_end_of_a_half():
    """The rows of which the windows lie inside are written, and no parameters are needed without scaling."""
    assert run("store base=1 operation=max_pool row=11 window=3 window_stride=2 parameter_group=999")[0].error is ErrorCode.NONE
    result, _ = run("store base=1 row=9 count1=5 columns=4 stride1=16 window=3 window_stride=2")
    assert (result.error, result.bytes_written) == (ErrorCode.RANGE, 3 * 16)


def test_rows_are_modulo_65536():
    result, model = run("load base=1 row=65535 count1=2 row_stride1=1 run=4")
    assert result.error is ErrorCode.RANGE
    result, model = run("load base=1 row=2 count1=3 row_stride1=-1 stride1=4 run=4")
    assert result.error is ErrorCode.NONE
    assert model.machine.activation[2, 0] == model.machine.memory[BASE].view(np.int8)


@pytest.mark.parametrize("text,address", [
    ("load base=1 offset=2999 run=2", BASE + 2999),
    ("load base=1 offset=4 stride1=-4 count1=3", BASE + 2**32 - 4),
    ("load base=2", 0),
    ("store base=1 columns=4 destination=2990", BASE + 2990),
    ("store base=1 columns=4 destination=2960 count1=4 stride1=16", BASE + 2992),
])
def test_address(text, address):
    """Nothing is written from the run on that leaves the limit."""
    result, model = run(text)
    assert (result.error, result.address) == (ErrorCode.ADDRESS, address % 2**32)
    clean = np.arange(4096).astype(np.uint8)
    assert (model.machine.memory[BASE + SIZE:] == clean[BASE + SIZE:]).all()
    if "count1=4" in text:
        assert result.bytes_written == 32
        assert not model.machine.memory[BASE + 2960:BASE + 2992].any()
        assert (model.machine.memory[BASE + 2992:] == clean[BASE + 2992:]).all()


def test_base_of_words_is_aligned():
    assert run("load base=1 bank=parameter run=12", base=BASE + 2)[0].error is ErrorCode.ADDRESS
    assert run("load base=1 run=12", base=BASE + 2)[0].error is ErrorCode.NONE


def test_bus():
    result, _ = run("load base=1 offset=3580 run=8", size=1 << 20)
    assert (result.error, result.engine, result.address) == (ErrorCode.BUS, Engine.LOAD, BASE + 3584)


@pytest.mark.parametrize("words,expected", [
    ([0], (ErrorCode.OPCODE, 0)),
    ([*pack([Load(base=1)]), 15], (ErrorCode.OPCODE, 1)),
    ([*pack([Load(base=1)]), 0x901], (ErrorCode.LENGTH, 1)),
    (pack([Load(base=1)])[:-1], (ErrorCode.LENGTH, 0)),
])
def test_malformed_programs(words, expected):
    result, _ = run(words)
    assert (result.error, result.engine, result.command) == (expected[0], Engine.FETCH, expected[1])


def test_place_of_the_program():
    assert run("load base=1", offset=64)[0].error is ErrorCode.NONE
    assert run("load base=1", offset=BASE - 28)[0].error is ErrorCode.ADDRESS
    assert run("load base=1", offset=62)[0].error is ErrorCode.VALUE
    assert run("load base=1", words=0)[0].commands == 0


@pytest.mark.parametrize("text,dispatched", [
    ("load base=1 wait=execute", 1),
    ("load base=1 wait=execute\nexecute wait=store\nstore base=1 wait=load", 3),
    ("load base=1 post=store\nexecute wait=store post=load\nstore base=1 wait=load,execute", 3),
    ("load base=1 wait=execute\n" + "load base=1\n" * 4 + "execute post=load", 4),  # the queue is full before the one that gives
])
def test_deadlock(text, dispatched):
    for seed in range(5):
        result, _ = run(text, seed=seed)
        assert (result.error, result.engine, result.command) == (ErrorCode.DEADLOCK, Engine.FETCH, dispatched)


def test_token_overflow():
    config = small(4, 4, control={"token_bits": 3})
    text = "load base=1 post=execute\n" * 7
    assert run(text, config=config)[0].error is ErrorCode.NONE
    result, _ = run(text + "load base=1 post=execute\n", config=config)
    assert (result.error, result.engine, result.command) == (ErrorCode.TOKEN_OVERFLOW, Engine.LOAD, 7)


def test_tokens_are_counted_and_need_not_be_used_up():
    for seed in range(5):
        text = "load base=1 row=9 post=execute,store\n" * 2 + "execute wait=load\nstore base=1 row=20 destination=2000 wait=load"
        result, _ = run(text, seed=seed)
        assert (result.error, result.commands, result.hazards) == (ErrorCode.NONE, 4, ())


def test_counters():
    """Bus words for reads, bytes for writes; the program of 30 words counts too."""
    text = ("load base=1 offset=3 run=6 count1=2 stride1=8\nexecute activation_row=9 x_count=5 ct_count=3\n"
            "store base=1 row=20 columns=3 count1=2 stride1=16")
    result, _ = run(text)
    assert (result.bytes_read, result.bytes_written, result.commands) == (4 * 30 + 2 * 12, 24, 3)
    assert (result.rows_issued, result.macs_issued) == (15, 15 * 16)


def test_state_is_kept_from_program_to_program():
    _, model = run("load base=1 run=16")
    words = assemble("load base=1 row=9 run=4")
    model.machine.memory[:words.nbytes] = words.view(np.uint8)
    model.run(bases=[0, BASE], sizes=[BASE, SIZE], program_words=words.size)
    expected = model.machine.memory[BASE:BASE + 16].view(np.int8)
    assert (model.machine.activation[:4].ravel() == expected).all()
    assert (model.machine.activation[9] == expected[:4]).all()


def test_memory_must_be_bytes():
    with pytest.raises(TypeError, match=r"^memory must be a one-dimensional uint8 array, not int8 with 1 dimensions$"):
        Model(small(4, 4), np.zeros(4, np.int8))
