"""Text to words and back."""

import numpy as np
import pytest
from systolith.arch.assembler import AssemblyError, assemble, disassemble, format_command, parse_command
from systolith.arch.commands import COMMANDS, Bank, Execute, Load, Operation, ProgramError, Store, Target, fields_of, pack, unpack

PROGRAM = """\
load bank=weight base=2 offset=4096 run=64 count1=16 stride1=-64 row_stride1=4 post=execute
execute accumulate=1 pad=-128 k_last=16 x_count=64 activation_x=1 wait=load,store post=store
store operation=requantise target=activation columns=16 low=0 wait=load,execute post=load,execute
"""


def test_text():
    load, execute, store = unpack(assemble(PROGRAM))
    assert load == Load(bank=Bank.WEIGHT, base=2, offset=4096, run=64, count1=16, stride1=-64, row_stride1=4, post=1)
    assert execute == Execute(accumulate=1, pad=-128, k_last=16, x_count=64, activation_x=1, wait=3, post=2)
    assert store == Store(operation=Operation.REQUANTISE, target=Target.ACTIVATION, columns=16, low=0, wait=3, post=3)
    assert disassemble(assemble(PROGRAM)) == PROGRAM
    assert disassemble([load, execute, store]) == PROGRAM


def test_comments_blank_lines_and_bases():
    assert (assemble("\n  # nothing\nload run=0x40 # all\n\n") == pack([Load(run=64)])).all()
    assert assemble("# nothing").size == 0


def test_round_trip_of_random_bits():
    """Every value that a field can hold survives, those without a name too."""
    seed = 5
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for _ in range(200):
        commands = []
        for kind in COMMANDS.values():
            values = {}
            for field in fields_of(kind):
                low = -(1 << field.width - 1) if field.signed else 0
                values[field.name] = int(rng.integers(low, low + (1 << field.width)))
            commands.append(kind(**values))
        words = pack(commands)
        assert (assemble(disassemble(words)) == words).all()
        assert [parse_command(format_command(command)) for command in commands] == commands


@pytest.mark.parametrize("line,message", [
    ("lode run=1", "command must be load or execute or store, not 'lode'; did you mean 'load'?"),
    ("load runs=1", "load has no field 'runs'; did you mean 'run'?"),
    ("load run", "field must have the form name=value, not 'run'"),
    ("load run=", "field must have the form name=value, not 'run='"),
    ("load run=1 run=2", "load run must be given once, not twice"),
    ("load run=ten", "load run must be a number, not 'ten'"),
    ("load bank=weights", "load bank must be activation or weight or parameter or accumulator or table or a number, not 'weights'; "
                          "did you mean 'weight'?"),
    ("load wait=load", "load wait must name execute or store, not 'load'"),
    ("load run=16777216", "LOAD run must be from 0 to 16777215, not 16777216"),
    ("execute pad=-129", "EXECUTE pad must be from -128 to 127, not -129"),
])
def test_errors_name_the_line(line, message):
    with pytest.raises(AssemblyError) as caught:
        assemble(f"load\n\n{line}  # comment\n")
    assert str(caught.value) == f"line 3: {message}"


def test_words_that_are_no_program():
    with pytest.raises(ProgramError, match=r"^word 0: opcode must be one of 1, 2, 3, not 0$"):
        disassemble(np.zeros(1, np.uint32))
