"""Command words to fields."""

from collections.abc import Iterable, Mapping

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import Command, fields_of

__all__ = ["Decoder", "command_layout"]


def command_layout(command: type[Command]) -> data.StructLayout:
    """A struct with one member per field of a command, and ``excess``: a field has more bits than this accelerator keeps."""
    return data.StructLayout({
        **{f.name: signed(f.width) if f.signed else unsigned(f.width) for f in fields_of(command)}, "excess": 1})


class Decoder(wiring.Component):
    """Collects the words of one command and presents its fields.

    Latency: one cycle per word, header included. The next command is collected once the fields were accepted.

    Parameters
    ----------
    command : the command's class; its field table gives the places
    bits : fields of which only the low bits are kept (:func:`~systolith.arch.footprint.field_bits`), and how many
    saturate : fields that only have to be known below some value, and in how many bits: larger ones become all ones
    moving : fields that whoever does the command changes as it goes on, in place
    early : which word is the next one is a register for each, instead of a number: for a higher clock

    Members
    -------
    i : stream of 32-bit words, whole commands of this type
    o : stream of :func:`command_layout`
    move, following : fields of ``moving``, if there are any, become ``following``; only while a command is presented
    """

    i: stream.Interface
    o: stream.Interface
    move: Signal
    following: data.View

    def __init__(self, command: type[Command], bits: Mapping[str, int] | None = None, saturate: Mapping[str, int] | None = None,
                 moving: Iterable[str] = (), early: bool = False):
        layout = command_layout(command)
        self.moving = tuple(moving)
        self.early = early
        self.command = command
        self.saturate = dict(saturate or {})
        self.bits = {field.name: field.width for field in fields_of(command)} | dict(bits or {})
        super().__init__({
            "i": In(stream.Signature(32)),
            "o": Out(stream.Signature(layout)),
            **({"move": In(1), "following": In(data.StructLayout({name: layout[name].shape for name in self.moving}))}
               if self.moving else {}),
        })

    def elaborate(self, platform):
        m = Module()
        # Only words that hold fields are kept, and yosys drops the bits that no field uses.
        words = [Signal(32, name=f"word{i}", reset_less=True) for i in range(self.command.words)]
        saturated = [Signal(32, name=f"saturated{i}") for i in range(self.command.words)]
        # One bit per word: that it is the next one; the last one, that there is none.
        moves = Mux(self.o.valid, self.o.ready, self.i.valid)
        if self.early:
            position = Signal(self.command.words + 1, init=1)
            with m.If(moves):
                m.d.sync += position.eq(position.rotate_left(1))
        else:
            number = Signal(range(self.command.words + 1))
            position = Cat(number == i for i in range(self.command.words + 1))
            with m.If(moves):
                m.d.sync += number.eq(Mux(self.o.valid, 0, number + 1))
        m.d.comb += self.o.valid.eq(position[-1])
        m.d.comb += self.i.ready.eq(~self.o.valid)
        for here, word, all_ones in zip(position, words, saturated, strict=False):
            with m.If(self.i.valid & here):
                m.d.sync += word.eq(self.i.payload | all_ones)
        excess = Signal(reset_less=True)
        beyond = Const(0)
        for field in fields_of(self.command):
            kept = self.bits[field.name]
            if field.name in self.saturate:
                kept = min(kept, self.saturate[field.name])
                with m.If(self.i.payload[field.lsb + kept:field.lsb + self.bits[field.name]].any()):
                    m.d.comb += saturated[field.word][field.lsb:field.lsb + kept].eq(-1)
            place = words[field.word][field.lsb:field.lsb + kept]
            m.d.comb += self.o.payload[field.name].eq(place)
            if field.name in self.moving:
                with m.If(self.move):
                    m.d.sync += place.eq(self.following[field.name])
            kept = self.bits[field.name]
            if kept < field.width:
                beyond |= position[field.word] & self.i.payload[field.lsb + kept:field.lsb + field.width].any()
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += excess.eq((excess & ~position[0]) | beyond)
        m.d.comb += self.o.payload.excess.eq(excess)
        return m
