"""The register map, the error codes and the performance counters: defined once for RTL, driver, C header and documents.

Registers are 32 bits wide; offsets are in bytes. 64-bit values are two registers, low word first.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from .commands import Engine

__all__ = ["BASES", "COMPLETED_BITS", "COUNTERS", "MAGIC", "REGISTERS", "STALLS", "WATCHDOG_CYCLES", "Control", "ErrorCode", "Feature",
           "Register", "State", "Status", "offset_of"]

MAGIC = 0x53595354  # "SYST"
BASES = 8
COMPLETED_BITS = 16
WATCHDOG_CYCLES = 1 << 20  # after power-up: 10 ms at 100 MHz


class State(enum.IntEnum):
    """Bits [1:0] of STATUS."""
    IDLE = 0
    RUNNING = 1
    DONE = 2
    ERROR = 3


class Control(enum.IntFlag):
    """Bits of CONTROL; writing 1 acts, reading gives 0."""
    START = 1
    ABORT = 2
    RESET = 4
    CLEAR_IRQ = 8
    ENQUEUE = 16


class Status(enum.IntFlag):
    """Bits of STATUS above the state."""
    IRQ = 4
    START_REFUSED = 8  # the last START or ENQUEUE was not accepted
    BUS_OWED = 16  # in ERROR: the memory has not yet answered all that was asked of it; START is refused
    WAITING = 0xF00  # programs that wait behind the running one; in ERROR, those that will not run


class Feature(enum.IntFlag):
    """Bits of FEATURES: what of the command set this accelerator has."""
    TRANSPOSER = 1
    REQUANTISE = 2
    COUNTERS = 4
    ADD = 8
    MAX_POOL = 16
    INT4_WEIGHTS = 32
    INT16_ACTIVATIONS = 64
    WIDE_ACCUMULATOR = 128  # more than 32 bits


class ErrorCode(enum.IntEnum):
    """Why a program ended; each with what to do about it in :data:`ERROR_HELP`."""
    NONE = 0
    OPCODE = 1
    LENGTH = 2
    UNSUPPORTED = 3
    VALUE = 4
    RANGE = 5
    ADDRESS = 6
    BUS = 7
    TOKEN_OVERFLOW = 8
    DEADLOCK = 9
    ABORTED = 10
    TIMEOUT = 11


ERROR_HELP = {
    ErrorCode.NONE: "no error",
    ErrorCode.OPCODE: "a word that is not a command header; check the program's offset and length",
    ErrorCode.LENGTH: "a command of another length than its opcode has, or a program that ends inside one",
    ErrorCode.UNSUPPORTED: "a command this accelerator was built without; see FEATURES",
    ErrorCode.VALUE: "a field outside its rule, such as a count of zero",
    ErrorCode.RANGE: "a row outside its on-chip memory, or rows in both accumulator halves",
    ErrorCode.ADDRESS: "a memory address outside the limits of its base register; nothing was written there",
    ErrorCode.BUS: "the memory answered with an error",
    ErrorCode.TOKEN_OVERFLOW: "more tokens posted than the counter holds",
    ErrorCode.DEADLOCK: "every engine waits for a token that none can post",
    ErrorCode.ABORTED: "the host aborted the program",
    ErrorCode.TIMEOUT: "the memory did not answer within WATCHDOG cycles; while it still owes an answer, STATUS shows BUS_OWED and only "
                       "RESET helps, with a reset of the memory's bus",
}


# Per engine, each running cycle is BUSY or exactly one of these causes.
STALLS: dict[Engine, tuple[str, ...]] = {
    Engine.LOAD: ("busy", "idle", "wait_execute", "wait_store", "memory", "port"),
    Engine.EXECUTE: ("busy", "idle", "wait_load", "wait_store", "preload", "hazard", "port"),
    Engine.STORE: ("busy", "idle", "wait_load", "wait_execute", "memory", "port"),
}
STALL_DOC = {
    "busy": "bytes move (LOAD, STORE) or a row of activations is issued (EXECUTE)",
    "idle": "no command, or one being decoded",
    "wait_load": "waits for a token from LOAD",
    "wait_execute": "waits for a token from EXECUTE",
    "wait_store": "waits for a token from STORE",
    "memory": "waits for the memory: request, data or response",
    "preload": "the next weight tile is not yet in the array",
    "hazard": "an accumulator row was touched too few cycles ago",
    "port": "an on-chip memory is held by another engine, or the epilogue is full",
}


class Register(NamedTuple):
    name: str
    offset: int
    access: str  # "ro" or "rw"
    doc: str


def _layout() -> tuple[Register, ...]:
    registers: list[Register] = []

    def add(name: str, access: str, doc: str, *, at: int | None = None) -> None:
        registers.append(Register(name, at if at is not None else registers[-1].offset + 4, access, doc))

    add("MAGIC", "ro", "0x53595354, “SYST”", at=0x000)
    add("VERSION", "ro", "command-set version")
    add("HASH_LO", "ro", "build hash, as in the manifest")
    add("HASH_HI", "ro", "build hash, high word")
    add("FEATURES", "ro", "bit set of Feature")
    add("ARRAY", "ro", "rows [15:0], cols [31:16]")
    add("ACTIVATION_ROWS", "ro", "rows of the activation scratchpad")
    add("WEIGHT_ROWS", "ro", "rows of the weight scratchpad")
    add("ACCUMULATOR_ROWS", "ro", "rows of the accumulator, both halves")
    add("PARAMETER_GROUPS", "ro", "groups of the parameter memory")
    add("LANES", "ro", "epilogue lanes [15:0], bus bytes [31:16]")
    add("MEMORY_BYTES", "ro", "bytes of on-chip device memory behind a serial shell, 0 where memory is outside")
    add("QUEUE_PROGRAMS", "ro", "programs that may wait behind the running one; 0 without a queue")
    add("CONTROL", "rw", "START 1, ABORT 2, RESET 4, CLEAR_IRQ 8, ENQUEUE 16", at=0x040)
    add("STATUS", "ro", "state [1:0] (0 idle, 1 running, 2 done, 3 error), IRQ 4, START_REFUSED 8, BUS_OWED 16, waiting programs [11:8]")
    add("IRQ_ENABLE", "rw", "bit 0: interrupt when a program ends, each one of a queue")
    add("PROGRAM_OFFSET", "rw", "first byte of the program from base 0, a multiple of 4")
    add("PROGRAM_WORDS", "rw", "length of the program in 32-bit words")
    add("ERROR_CODE", "ro", "ErrorCode of the last program")
    add("ERROR_ENGINE", "ro", "engine that stopped: 1 LOAD, 2 EXECUTE, 3 STORE, 4 FETCH")
    add("ERROR_COMMAND", "ro", "index of the command among those of that engine (FETCH: among all)")
    add("ERROR_ADDRESS_LO", "ro", "memory address, for ADDRESS and BUS")
    add("ERROR_ADDRESS_HI", "ro", "memory address, high word")
    add("PROGRAM_BASES", "rw", "set of base registers, 0 or 1: at their addresses below, and of the next program; only 0 without a queue")
    add("COMPLETED", "ro", "programs that ended well since RESET, modulo 65536; 0 without a queue")
    add("WATCHDOG", "rw", "cycles without any answer of the memory after which a program that waits for one ends with TIMEOUT; 0 never")
    for index in range(BASES):
        add(f"BASE{index}_LO", "rw", f"base register {index}: address of byte 0", at=0x080 + 16 * index)
        add(f"BASE{index}_HI", "rw", f"base register {index}, high word")
        add(f"SIZE{index}_LO", "rw", f"limit {index}: bytes that may be touched from base {index} on")
        add(f"SIZE{index}_HI", "rw", f"limit {index}, high word")
    add("CYCLES", "ro", "cycles of the program, from START accepted to DONE; if it waited, from the end of the one before", at=0x100)
    add("BYTES_READ", "ro", "bytes read from memory, whole bus words, program included")
    add("BYTES_WRITTEN", "ro", "bytes written to memory, strobed bytes only")
    add("COMMANDS", "ro", "commands started, all engines")
    at = 0x140
    for engine, causes in STALLS.items():
        for index, cause in enumerate(causes):
            add(f"{engine.name}_{cause.upper()}", "ro", f"{engine.name}: cycles in which {STALL_DOC[cause]}", at=at + 4 * index)
        at += 0x40
    return tuple(registers)


REGISTERS = _layout()
COUNTERS = tuple(r for r in REGISTERS if r.offset >= 0x100)
REGISTER_BYTES = 0x200
_OFFSETS = {r.name: r.offset for r in REGISTERS}


def offset_of(name: str) -> int:
    """Byte offset of a register."""
    return _OFFSETS[name]


# A serial shell's view of one device, byte addresses as UARTBone has them (its frames carry them divided by 4).
SERIAL_REGISTERS = 0x0000_0000
SERIAL_RATE = 0x2000_0000  # of the line: see serial_link.py
SERIAL_CONTROL = 0x2000_0000 + offset_of("CONTROL")  # in two steps: see serial_link.py
SERIAL_MEMORY = 0x4000_0000
SERIAL_SOC = 0xE000_0000  # the SoC's own registers, where the accelerator is part of one
SERIAL_NOWHERE = 0x8000_0000  # writes are lost, reads give 0
SERIAL_BAUD = 1_000_000
