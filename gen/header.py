"""The C header and the register document of one accelerator, written from the tables in ``arch``, and the C driver beside them."""

from __future__ import annotations

import enum
from pathlib import Path

from ..arch.commands import COMMANDS, Command, Engine, Field, Opcode, fields_of
from ..arch.manifest import Manifest
from ..arch.registers import ERROR_HELP, REGISTERS, Control, ErrorCode, Feature, State, Status

__all__ = ["DRIVER_FILES", "c_header", "driver_file", "register_document"]

DRIVER_FILES = ("systolith_driver.h", "systolith.c", "systolith_litex.py")

_ENUMS: tuple[tuple[str, type[enum.IntEnum] | type[enum.IntFlag]], ...] = (
    ("CONTROL", Control), ("STATE", State), ("STATUS", Status), ("FEATURE", Feature), ("ENGINE", Engine), ("ERROR", ErrorCode),
    ("OPCODE", Opcode))
_SET_FIELD = """\
/* Puts a field into a command: systolith_set(words, SYSTOLITH_LOAD_RUN, bytes). Set the header with SYSTOLITH_HEADER first. */
static inline void systolith_set(uint32_t *command, unsigned word, unsigned lsb, unsigned width, uint32_t value)
{
    const uint32_t mask = (width == 32 ? 0xffffffffu : (1u << width) - 1) << lsb;
    command[word] = (command[word] & ~mask) | (value << lsb & mask);
}
"""


def _define(name: str, value: str, comment: str = "") -> str:
    line = f"#define SYSTOLITH_{name:<32} {value}"
    return f"{line}  /* {comment} */" if comment else line


def _table(name: str, entries: list[str]) -> list[str]:
    return [f"#define SYSTOLITH_TABLE_{name} \\", ", \\\n".join(f"    {entry}" for entry in entries)]


def c_header(manifest: Manifest) -> str:
    """``systolith.h``: register offsets, bit values, error codes, command layouts and the sizes of this accelerator. C99."""
    lines = ["/* Register map, command set and sizes of one generated accelerator. */", "#ifndef SYSTOLITH_H", "#define SYSTOLITH_H", "",
             "#include <stdint.h>", "", "/* Identity: what the read-only registers of the device must show. */"]
    lines += [_define(f"IS_{name}", f"0x{value:08x}u") for name, value in manifest.identity.items()]
    lines += ["", "/* Register offsets in bytes; 64-bit values are two registers, low word first. */"]
    lines += [_define(register.name, f"0x{register.offset:03x}u", register.doc) for register in REGISTERS]
    for prefix, kind in _ENUMS:
        lines += ["", f"/* {(kind.__doc__ or prefix).splitlines()[0]} */"]
        lines += [_define(f"{prefix}_{member.name}", f"{int(member)}u") for member in kind]
    lines += ["", "/* Contents of the driver's tables: pairs of an identity register and its value; each error's name, and what to do. */"]
    lines += _table("IDENTITY", [f"{{SYSTOLITH_{name}, SYSTOLITH_IS_{name}}}" for name in manifest.identity])
    lines += _table("ERROR_NAMES", [f'[SYSTOLITH_ERROR_{code.name}] = "{code.name}"' for code in ErrorCode])
    lines += _table("ERROR_HELP", [f'[SYSTOLITH_ERROR_{code.name}] = "{ERROR_HELP[code]}"' for code in ErrorCode])
    lines += ["", "/* Commands: word, least significant bit and width of every field. */",
              "#define SYSTOLITH_HEADER(opcode, words) ((uint32_t)(opcode) | (uint32_t)(words) << 8)"]
    for command in COMMANDS.values():
        name = command.opcode.name
        lines += [_define(f"{name}_WORDS", str(command.words))]
        lines += [_define(f"{name}_{field.name.upper()}", f"{field.word}, {field.lsb}, {field.width}", field.doc)
                  for field in fields_of(command)]
    return "\n".join([*lines, "", _SET_FIELD, "#endif", ""])


def driver_file(name: str) -> str:
    """One of ``DRIVER_FILES``: the driver is the same for all accelerators, and takes what differs from ``systolith.h``."""
    return (Path(__file__).parent / "driver" / name).read_text(encoding="utf-8")


def _bits(field: Field) -> str:
    high = field.lsb + field.width - 1
    return f"{field.word} [{high}:{field.lsb}]" if field.width > 1 else f"{field.word} [{field.lsb}]"


def _command_table(command: type[Command]) -> list[str]:
    lines = ["", f"### {command.opcode.name} (opcode {int(command.opcode)}, {command.words} words)", "",
             "| word [bits] | field | meaning |", "|---|---|---|"]
    for field in sorted(fields_of(command), key=lambda field: (field.word, field.lsb)):
        choices = f" ({', '.join(f'{int(choice)} {choice.name}' for choice in field.choices)})" if field.choices else ""
        lines.append(f"| {_bits(field)} | `{field.name}`{' signed' if field.signed else ''} | {field.doc}{choices} |")
    return lines


def register_document(manifest: Manifest) -> str:
    """``REGISTERS.md``: the same for people, with the values of this accelerator's identity registers."""
    identity, array = manifest.identity, manifest.config.array
    lines = ["# Registers and commands", "",
             f"{array.rows} × {array.cols} array, {array.activations} activations, {array.weights} weights, build hash "
             f"`{manifest.hash[:16]}`. Registers are 32 bits wide; 64-bit values are two registers, low word first.", "",
             "| offset | register | access | meaning | value |", "|---|---|---|---|---|"]
    for register in REGISTERS:
        value = f"`0x{identity[register.name]:08x}`" if register.name in identity else ""
        lines.append(f"| 0x{register.offset:03x} | `{register.name}` | {register.access} | {register.doc} | {value} |")
    lines += ["", "## Error codes", "", "| code | name | what to do |", "|---|---|---|"]
    lines += [f"| {int(code)} | {code.name} | {ERROR_HELP[code]} |" for code in ErrorCode]
    lines += ["", "## Commands", "", "Each command begins with a header word: opcode [3:0], wait mask [5:4], post mask [7:6], "
              "number of words [15:8], flags above."]
    for command in COMMANDS.values():
        lines += _command_table(command)
    return "\n".join([*lines, ""])
