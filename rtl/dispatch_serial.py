"""Hands the commands of a program to the engines through one memory."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..arch.commands import COMMANDS
from ..arch.registers import ErrorCode
from .interfaces import ErrorShape

__all__ = ["SerialDispatch"]


class SerialDispatch(wiring.Component):
    """What :class:`~systolith.rtl.dispatch.Dispatch` does, with its errors, with one memory for all commands that wait.

    Each engine has ``queue_commands`` places there, which it fills and empties in turn; no more commands of an engine are pending, so a
    place is free when its turn comes. A command is read from its first word to its last while no other is.
    Throughput: a word in each cycle in which there is one, a header in the second.

    Parameters
    ----------
    queue_commands : commands of one engine that may have been dispatched and not started, a power of two
    address_bits : of the memory that programs are in

    Members
    -------
    wanted : a word of the program can be taken, or a header looked at; right from the second cycle after the word before
    the others : as of :class:`~systolith.rtl.dispatch.Dispatch`; a header that is only looked at comes once more
    """

    start: Signal
    halt: Signal
    words: Signal
    wanted: Signal
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
            "start": In(1), "halt": In(1), "words": In(32), "wanted": Out(1), "i": In(stream.Signature(32)),
            **{f"o_{opcode.name.lower()}": Out(stream.Signature(32)) for opcode in COMMANDS},
            "started": In(3), "pending": Out(3), "moved": Out(1), "finished": Out(1), "stuck": Out(1),
            "error": Out(ErrorShape(address_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        word_bits = max(ceil_log2(command.words) for command in COMMANDS.values())
        place_bits = exact_log2(self.queue_commands)
        active, looked, in_header = Signal(), Signal(), Signal(init=1)
        left = Signal(min(32, self.address_bits), reset_less=True)  # words of the program
        opcode = Signal(len(COMMANDS), reset_less=True)  # one bit each
        index = Signal(word_bits, reset_less=True)  # of the word that comes
        last = Signal(word_bits)  # of a command of this kind
        fits = Signal(reset_less=True)
        full, filled = Signal(len(COMMANDS)), Signal(len(COMMANDS))
        more = Signal(reset_less=True)  # ``left`` is not 0
        move, blocked = Signal(), Signal()
        m.d.comb += [
            blocked.eq(looked & in_header & (opcode & full).any()),
            self.finished.eq(active & ~more), self.stuck.eq(self.finished | blocked),
            move.eq(self.i.valid & self.i.ready), self.i.ready.eq(~in_header | (looked & ~blocked & ~self.error.valid)),
            self.moved.eq(move & in_header),
        ]
        m.d.sync += self.wanted.eq(active & more & ~blocked & ~self.error.valid)
        header = self.i.payload
        with m.If(self.i.valid & ~looked):
            m.d.sync += [
                looked.eq(1), index.eq(0), opcode.eq(Cat(header[:4] == code for code in COMMANDS)),
                fits.eq(Cat((header[:4] == code) & (header[8:16] == command.words)
                            & (left[word_bits:].any() | (left[:word_bits] >= command.words)) for code, command in COMMANDS.items()).any()),
            ]
        with m.If(looked & in_header & ~self.halt):
            m.d.comb += [self.error.valid.eq(~fits), self.error.code.eq(Mux(opcode.any(), ErrorCode.LENGTH, ErrorCode.OPCODE))]
        for number, command in enumerate(COMMANDS.values()):
            with m.If(opcode[number]):
                m.d.comb += last.eq(command.words - 1)
        with m.If(move):
            m.d.sync += [left.eq(left - 1), more.eq(left != 1), index.eq(index + 1), in_header.eq(0)]
            with m.If(~in_header & (index == last)):
                m.d.sync += [in_header.eq(1), looked.eq(0)]
                m.d.comb += filled.eq(opcode)
        with m.If(self.start):
            m.d.sync += [active.eq(1), left.eq(self.words), more.eq(self.words != 0)]

        # One command at a time to its engine.
        reads, comes = Signal(), Signal()
        chosen = Signal(range(len(COMMANDS)), reset_less=True)
        read_index = Signal(word_bits, reset_less=True)
        streams = [getattr(self, f"o_{code.name.lower()}") for code in COMMANDS]
        emptied = Signal(len(COMMANDS))
        m.submodules.commands = commands = memory.Memory(
            shape=32, depth=4 << (place_bits + word_bits), init=[], attrs={"no_rw_check": 1, "ram_style": "block"})
        write, read = commands.write_port(), commands.read_port()
        write_places, read_places = [], []
        m.d.sync += comes.eq(reads)
        for number, (code, o) in enumerate(zip(COMMANDS, streams, strict=True)):
            name = code.name.lower()
            pending = Signal(range(self.queue_commands + 1), name=f"{name}_pending")
            stored = Signal(range(self.queue_commands + 1), name=f"{name}_stored")
            write_place, read_place = (Signal(place_bits, name=f"{name}_{way}_place") for way in ("write", "read"))
            m.d.sync += [
                pending.eq(pending + (self.moved & opcode[number]) - self.started[number]),
                stored.eq(stored + filled[number] - emptied[number]),
                write_place.eq(write_place + filled[number]), read_place.eq(read_place + emptied[number]),
            ]
            m.d.comb += [
                self.pending[number].eq(pending != 0), full[number].eq(pending == self.queue_commands),
                o.valid.eq(comes & (chosen == number)), o.payload.eq(read.data),
            ]
            with m.If(~reads & ~comes & (stored != 0) & o.ready):
                m.d.sync += [reads.eq(1), chosen.eq(number), read_index.eq(0)]
            write_places.append(write_place)
            read_places.append(read_place)
        lasts = Array(command.words - 1 for command in COMMANDS.values())
        with m.If(reads):
            m.d.sync += read_index.eq(read_index + 1)
            with m.If(read_index == lasts[chosen]):
                m.d.sync += reads.eq(0)
                m.d.comb += emptied.eq(1 << chosen)
        m.d.comb += [
            write.addr.eq(Cat(index, sum(Mux(opcode[n], place, 0) for n, place in enumerate(write_places))[:place_bits],
                              opcode[1:])),
            write.data.eq(self.i.payload), write.en.eq(move),
            read.addr.eq(Cat(read_index, Array(read_places)[chosen], chosen)),
        ]
        return m
