"""Command words to fields."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import Command, fields_of

__all__ = ["Decoder", "command_layout"]


def command_layout(command: type[Command]) -> data.StructLayout:
    """A struct with one member per field of a command."""
    return data.StructLayout({f.name: signed(f.width) if f.signed else unsigned(f.width) for f in fields_of(command)})


class Decoder(wiring.Component):
    """Collects the words of one command and presents its fields.

    Latency: one cycle per word, header included. The next command is collected once the fields were accepted.

    Parameters
    ----------
    command : the command's class; its field table gives the places

    Members
    -------
    i : stream of 32-bit words, whole commands of this type
    o : stream of :func:`command_layout`
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, command: type[Command]):
        self.command = command
        super().__init__({
            "i": In(stream.Signature(32)),
            "o": Out(stream.Signature(command_layout(command))),
        })

    def elaborate(self, platform):
        m = Module()
        # Only words that hold fields are kept, and yosys drops the bits that no field uses.
        words = Array(Signal(32, name=f"word{i}", reset_less=True) for i in range(self.command.words))
        position = Signal(range(self.command.words + 1))
        m.d.comb += self.o.valid.eq(position == self.command.words)
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [words[position].eq(self.i.payload), position.eq(position + 1)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += position.eq(0)
        for field in fields_of(self.command):
            m.d.comb += self.o.payload[field.name].eq(words[field.word][field.lsb:field.lsb + field.width])
        return m
