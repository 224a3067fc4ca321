"""Hands the commands of a program to the queues of their engines."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import COMMANDS, MAX_WORDS
from ..arch.registers import ErrorCode
from .interfaces import ErrorShape
from .queue import Queue
from .step import stepped

__all__ = ["Dispatch"]

_FEW_BITS = MAX_WORDS.bit_length()


class Dispatch(wiring.Component):
    """Checks headers and moves each command, word by word, into its engine's queue, in program order.

    A command moves only while fewer than ``queue_commands`` of its engine are ``pending``; all behind it wait. So a queue
    always has room for a whole command. Latency: a word is in its queue two cycles after it was taken. Throughput: one word per cycle,
    and a cycle for each header. Reports OPCODE and LENGTH.

    Parameters
    ----------
    queue_commands : commands of one engine that may have been dispatched and not started

    Members
    -------
    start : begins a program of ``words`` words
    halt : level; moves nothing more
    i : words of the program
    o_load, o_execute, o_store : words of whole commands
    started : bit i is set when engine i (LOAD, EXECUTE, STORE) starts a command
    pending : bit i is set while engine i has commands that it has not started
    moved : a command begins to move
    finished : all commands were moved
    stuck : nothing moves until an engine starts a command
    """

    start: Signal
    halt: Signal
    words: Signal
    i: stream.Interface
    o_load: stream.Interface
    o_execute: stream.Interface
    o_store: stream.Interface
    started: Signal
    pending: Signal
    moved: Signal
    finished: Signal
    stuck: Signal
    error: ErrorShape

    def __init__(self, *, queue_commands: int, address_bits: int):
        self.queue_commands = queue_commands
        self.address_bits = address_bits
        super().__init__({
            "start": In(1), "halt": In(1), "words": In(32), "i": In(stream.Signature(32)),
            **{f"o_{opcode.name.lower()}": Out(stream.Signature(32)) for opcode in COMMANDS},
            "started": In(3), "pending": Out(3), "moved": Out(1), "finished": Out(1), "stuck": Out(1),
            "error": Out(ErrorShape(address_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        active = Signal()
        left = Signal(min(32, self.address_bits), reset_less=True)  # words of the program; of one that is longer, fetch gives none
        # More than any command has, a cycle late: then there are as many still, or one fewer.
        many, few = Signal(reset_less=True), left[:_FEW_BITS]
        m.d.sync += many.eq(left[_FEW_BITS:].any())
        rest = Signal(8, reset_less=True)  # words of the command that moves
        in_header = Signal(init=1)

        # A header is looked at in one cycle and moved in the next, at the earliest: what was seen is in registers.
        header = self.i.payload
        looked = Signal()
        opcode = Signal(len(COMMANDS), reset_less=True)  # one bit each
        known, fits, more, blocked = (Signal(name=name, reset_less=True) for name in ("known", "fits", "more", "blocked"))
        full = Signal(len(COMMANDS))
        move = Signal()
        m.d.sync += looked.eq(self.i.valid & in_header & ~move)
        is_code = {code: header[:4] == code for code in COMMANDS}
        with m.If(in_header):
            m.d.sync += [
                opcode.eq(Cat(is_code.values())), more.eq(many | few.any()), known.eq(Cat(is_code.values()).any()),
                # All commands' lengths at once, instead of one after the other.
                fits.eq(Cat(is_code[code] & (header[8:16] == command.words) & (many | (few >= command.words))
                            for code, command in COMMANDS.items()).any()),
                blocked.eq((Cat(is_code.values()) & full).any()),
            ]

        # The queues lie among their engines, far from each other: what is written into them comes from registers.
        word = Signal(32, reset_less=True)
        m.d.sync += word.eq(header)
        for index, (code, command) in enumerate(COMMANDS.items()):
            name = code.name.lower()
            write = Signal(name=f"{name}_write")
            m.d.sync += write.eq(move & opcode[index])
            # Look-up tables: block RAM answers late in its cycle.
            queue = Queue(width=32, depth=self.queue_commands * command.words, block=False, early=True)
            m.submodules[f"{name}_queue"] = queue
            o = getattr(self, f"o_{name}")
            m.d.comb += [
                queue.w_data.eq(word),
                queue.w_en.eq(write),
                o.valid.eq(queue.r_rdy),
                o.payload.eq(queue.r_data),
                queue.r_en.eq(o.ready),
            ]
            pending = Signal(range(self.queue_commands + 1), name=f"{name}_pending")
            dispatched, started = self.moved & opcode[index], self.started[index]
            with m.If(dispatched ^ started):
                m.d.sync += pending.eq(stepped(pending, dispatched))
            m.d.comb += [self.pending[index].eq(pending != 0), full[index].eq(pending == self.queue_commands)]

        # Where the lowest bits are 0, the others did not change in the cycle before.
        m.d.comb += [self.finished.eq(active & ~(many | few.any())), self.stuck.eq(self.finished)]
        with m.If(active & self.i.valid & ~self.halt):
            with m.If(~in_header):
                m.d.comb += move.eq(1)
                m.d.sync += [rest.eq(rest - 1), in_header.eq(rest == 1)]
            with m.Elif(looked & more):
                with m.If(~known):
                    m.d.comb += [self.error.valid.eq(1), self.error.code.eq(ErrorCode.OPCODE)]
                with m.Elif(~fits):
                    m.d.comb += [self.error.valid.eq(1), self.error.code.eq(ErrorCode.LENGTH)]
                with m.Elif(blocked):
                    m.d.comb += self.stuck.eq(1)
                with m.Else():
                    m.d.comb += [move.eq(1), self.moved.eq(1)]
                    # No command is a header alone.
                    m.d.sync += in_header.eq(0)
                    for index, command in enumerate(COMMANDS.values()):
                        with m.If(opcode[index]):
                            m.d.sync += rest.eq(command.words - 1)
        m.d.comb += self.i.ready.eq(move)
        with m.If(move):
            m.d.sync += left.eq(left - 1)
        with m.If(self.start):
            m.d.sync += [active.eq(1), left.eq(self.words), many.eq(self.words[_FEW_BITS:len(left)].any())]
        return m
