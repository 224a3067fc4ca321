"""Programs as text, one command per line, and back::

    load bank=weight base=2 run=64 count1=16 stride1=64 row_stride1=4 post=execute
    execute x_count=64 activation_x=1 k_last=16 wait=load post=store   # everything after # is a comment

A field that is not named has its default. Numbers are decimal or 0x…; fields with choices take their names; ``wait`` and ``post`` take
the names of the peers, joined by commas.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable

import numpy as np

from .commands import COMMANDS, PEERS, Command, Engine, Field, Opcode, ProgramError, fields_of, pack, unpack

__all__ = ["AssemblyError", "assemble", "disassemble", "format_command", "parse_command"]

_MASKS = ("wait", "post")


class AssemblyError(ProgramError):
    """Text that is not a program; the message begins with the line number."""


def assemble(text: str) -> np.ndarray:
    """The words of the program in ``text``, uint32. Raises :class:`AssemblyError`."""
    program = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        if line:
            try:
                program.append(parse_command(line))
            except ProgramError as error:
                raise AssemblyError(f"line {number}: {error}") from None
    return pack(program)


def disassemble(program: np.ndarray | Iterable[Command]) -> str:
    """Text of a program given as words or commands. Raises :class:`ProgramError` where words are not a program."""
    commands = unpack(program) if isinstance(program, np.ndarray) else program
    return "".join(f"{format_command(command)}\n" for command in commands)


def format_command(command: Command) -> str:
    """One line without its end: what differs from the defaults, in the order of the fields, masks last."""
    fields = sorted(fields_of(type(command)), key=lambda field: field.name in _MASKS)
    defaults = type(command)()
    differing = [f for f in fields if getattr(command, f.name) != getattr(defaults, f.name)]
    return " ".join([command.opcode.name.lower(), *(f"{f.name}={_format(command, f)}" for f in differing)])


def _format(command: Command, field: Field) -> str:
    value = getattr(command, field.name)
    if field.name in _MASKS:
        return ",".join(peer.name.lower() for bit, peer in enumerate(PEERS[command.engine]) if value >> bit & 1)
    if field.choices and value in list(field.choices):
        return field.choices(value).name.lower()
    return str(int(value))


def parse_command(line: str) -> Command:
    """The command in one line without comment. Raises :class:`ProgramError`."""
    name, *assignments = line.split()
    opcodes = {opcode.name.lower(): opcode for opcode in Opcode}
    if name not in opcodes:
        raise ProgramError(f"command must be {_choices(opcodes)}, not {name!r}{_suggest(name, opcodes)}")
    kind = COMMANDS[opcodes[name]]
    fields = {field.name: field for field in fields_of(kind)}
    values: dict[str, int] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not text:
            raise ProgramError(f"field must have the form name=value, not {assignment!r}")
        if key not in fields:
            raise ProgramError(f"{name} has no field {key!r}{_suggest(key, fields)}")
        if key in values:
            raise ProgramError(f"{name} {key} must be given once, not twice")
        values[key] = _mask(kind, key, text) if key in _MASKS else _number(name, fields[key], text)
    return kind(**values)


def _mask(kind: type[Command], key: str, text: str) -> int:
    peers = {peer.name.lower(): 1 << bit for bit, peer in enumerate(PEERS[Engine(int(kind.opcode))])}
    mask = 0
    for word in text.split(","):
        if word not in peers:
            raise ProgramError(f"{kind.opcode.name.lower()} {key} must name {_choices(peers)}, not {word!r}")
        mask |= peers[word]
    return mask


def _number(name: str, field: Field, text: str) -> int:
    names: dict[str, enum.IntEnum] = {choice.name.lower(): choice for choice in field.choices or ()}
    if text in names:
        return names[text]
    try:
        return int(text, 0)
    except ValueError:
        rule = f"{_choices(names)} or a number" if names else "a number"
        raise ProgramError(f"{name} {field.name} must be {rule}, not {text!r}{_suggest(text, names)}") from None


def _choices(words: Iterable[str]) -> str:
    return " or ".join(words)


def _suggest(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
