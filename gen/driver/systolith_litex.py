"""The accelerator in this folder as a LiteX peripheral: registers on the SoC's bus, memory in LiteDRAM, one interrupt.

    from systolith_litex import Systolith

    self.systolith = Systolith(platform)
    self.systolith.add_to(self)  # after add_sdram

For LiteX 2024.12. Needs nothing of the generator: this file, manifest.json and systolith.v are enough.
"""

import json
import pathlib

from litedram.frontend.axi import LiteDRAMAXI2Native, LiteDRAMAXI2NativeR
from litex.gen import LiteXModule
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect import axi, stream
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceLevel
from migen import FSM, Cat, ClockSignal, If, Instance, NextState, NextValue, Replicate, ResetSignal, Signal, log2_int

REGISTER_BYTES = 0x1000


class Systolith(LiteXModule):
    """``systolith_axi`` with LiteX's interfaces.

    Parameters
    ----------
    platform : gets the Verilog
    directory : the generated folder, default the one that holds this file
    clock_domain : of the accelerator and its buses

    Attributes
    ----------
    registers : AXI-Lite, for a bus on which it is a slave
    memory : AXI4 master; address 0 is wherever its user connects it
    ev.done : interrupt source, level; the accelerator's IRQ_ENABLE and CLEAR_IRQ govern it
    """

    def __init__(self, platform, directory=None, clock_domain="sys"):
        directory = pathlib.Path(directory or pathlib.Path(__file__).parent)
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        if "axi" not in manifest["tops"]:
            raise ValueError(f"{directory} must be generated with shell = 'axi'")
        memory = manifest["config"]["memory"]
        self.registers = registers = axi.AXILiteInterface(data_width=32, address_width=32, clock_domain=clock_domain)
        self.memory = master = axi.AXIInterface(data_width=memory["bus_bits"], address_width=memory["address_bits"], id_width=1,
                                                clock_domain=clock_domain)
        self.ev = EventManager()
        self.ev.done = EventSourceLevel()
        self.ev.finalize()

        platform.add_source(str(directory / "systolith.v"))
        ports = {"i_aclk": ClockSignal(clock_domain), "i_aresetn": ~ResetSignal(clock_domain), "o_irq": self.ev.done.trigger}
        for channel, fields in (("aw", ("addr", "prot")), ("w", ("data", "strb")), ("ar", ("addr", "prot"))):
            ports |= _channel("s_axil", registers, channel, fields, "i", "o")
        for channel, fields in (("b", ("resp",)), ("r", ("data", "resp"))):
            ports |= _channel("s_axil", registers, channel, fields, "o", "i")
        request = ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos")
        for channel, fields in (("aw", request), ("w", ("data", "strb", "last")), ("ar", request)):
            ports |= _channel("m_axi", master, channel, fields, "o", "i")
        for channel, fields in (("b", ("id", "resp")), ("r", ("id", "data", "resp", "last"))):
            ports |= _channel("m_axi", master, channel, fields, "i", "o")
        self.specials += Instance("systolith_axi", **ports)

    def add_to(self, soc, name="systolith", origin=None, byte_masks=True):
        """Put the registers on the bus of ``soc`` and the memory into its SDRAM, whose first byte is the accelerator's address 0.

        ``origin`` is the registers' address; LiteX chooses one where it is left out, which a SoC without a CPU must not do.
        ``byte_masks`` : the memory's are wired; where they are not, words of which a part is written are read first.

        The SDRAM's L2 cache, where there is one, does not see what the accelerator writes: use ``l2_cache_size=0`` or flush it.
        """
        soc.bus.add_slave(name, self.registers, SoCRegion(origin=origin, size=REGISTER_BYTES, cached=False))
        if byte_masks and self.memory.data_width < soc.sdram.crossbar.controller.data_width:
            self.dram_writes = WideWrites(self.memory, soc.sdram.crossbar.get_port(mode="write"))
            self.dram_reads = WideReads(self.memory, soc.sdram.crossbar.get_port(mode="read"))
        elif byte_masks:
            self.dram = LiteDRAMAXI2Native(self.memory, soc.sdram.crossbar.get_port(data_width=self.memory.data_width))
        else:
            self.dram_writes = WholeWordWrites(self.memory, soc.sdram.crossbar.get_port(data_width=self.memory.data_width))
            self.dram_reads = LiteDRAMAXI2NativeR(self.memory, soc.sdram.crossbar.get_port(data_width=self.memory.data_width),
                                                  buffer_depth=16, base_address=0)
            self.comb += self.dram_reads.cmd_grant.eq(1)
        if soc.irq.enabled:
            soc.irq.add(name, use_loc_if_exists=True)


class WholeWordWrites(LiteXModule):
    """The writing half of an AXI slave on a LiteDRAM ``port`` of the same width whose memory has no byte masks: one word after the other,
    read first where only a part of it is written. (LiteDRAM's own does not wait for the words of the same burst.)

    A response is sent when the controller has the words, behind which it queues later reads.
    """

    def __init__(self, bus, port):
        beat = axi.AXIStreamInterface(layout=axi.ax_description(bus.address_width), id_width=bus.id_width)
        self.beats = axi.AXIBurst2Beat(bus.aw, beat)
        word, kept, identity = Signal(port.data_width), Signal(port.data_width), Signal(bus.id_width)
        self.comb += [
            kept.eq(Cat(*(Replicate(~bit, 8) for bit in bus.w.strb))),
            port.cmd.addr.eq(beat.addr >> log2_int(port.data_width // 8)),
            port.cmd.last.eq(1),
            port.wdata.data.eq(word),
            port.wdata.we.eq(2**(port.data_width // 8) - 1),
            bus.b.id.eq(identity),
        ]
        self.fsm = fsm = FSM(reset_state="WORD")
        fsm.act("WORD", If(beat.valid & bus.w.valid,
            NextValue(word, bus.w.data),
            NextValue(identity, beat.id),
            If(bus.w.strb == 2**len(bus.w.strb) - 1,
                NextState("COMMAND"),
            ).Else(
                port.cmd.valid.eq(1),
                If(port.cmd.ready, NextState("READ")),
            )))
        fsm.act("READ",
            port.rdata.ready.eq(1),
            If(port.rdata.valid, NextValue(word, (port.rdata.data & kept) | (bus.w.data & ~kept)), NextState("COMMAND")))
        fsm.act("COMMAND", port.cmd.valid.eq(1), port.cmd.we.eq(1), If(port.cmd.ready, NextState("DATA")))
        fsm.act("DATA", port.wdata.valid.eq(1), If(port.wdata.ready,
            beat.ready.eq(1),
            bus.w.ready.eq(1),
            If(bus.w.last, NextState("RESPONSE")).Else(NextState("WORD"))))
        fsm.act("RESPONSE", bus.b.valid.eq(1), If(bus.b.ready, NextState("WORD")))


class WideWrites(LiteXModule):
    """The writing half of an AXI slave on a LiteDRAM ``port`` that is wider: the words of a burst that are in one of the port's become one.
    (LiteDRAM's own converter leaves some short bursts unanswered.)

    A response is sent when the controller has the command for the last word, behind which it queues later reads.
    """

    def __init__(self, bus, port, depth=8):
        ratio = port.data_width // bus.data_width
        ashift = log2_int(bus.data_width // 8)
        beat = axi.AXIStreamInterface(layout=axi.ax_description(bus.address_width), id_width=bus.id_width)
        self.beats = axi.AXIBurst2Beat(bus.aw, beat)
        self.commands = commands = stream.SyncFIFO([("addr", len(port.cmd.addr)), ("final", 1), ("id", bus.id_width)], depth)
        self.words = words = stream.SyncFIFO([("data", port.data_width), ("we", port.data_width // 8)], depth)
        self.responses = responses = stream.SyncFIFO([("id", bus.id_width)], depth)
        # Parts of a word that came before the present one.
        data, we = Signal(port.data_width), Signal(port.data_width // 8)
        part = Signal(max=ratio)
        complete, both = Signal(), Signal()
        self.comb += [
            part.eq(beat.addr[ashift:]),
            complete.eq(beat.last | (part == ratio - 1)),
            both.eq(beat.valid & bus.w.valid & (~complete | (commands.sink.ready & words.sink.ready))),
            beat.ready.eq(both),
            bus.w.ready.eq(both),
            words.sink.data.eq(data | (bus.w.data << (part * bus.data_width))),
            words.sink.we.eq(we | (bus.w.strb << (part * (bus.data_width // 8)))),
            words.sink.valid.eq(both & complete),
            commands.sink.valid.eq(both & complete),
            commands.sink.addr.eq(beat.addr >> log2_int(port.data_width // 8)),
            commands.sink.final.eq(beat.last),
            commands.sink.id.eq(beat.id),
            port.cmd.valid.eq(commands.source.valid & responses.sink.ready),
            port.cmd.we.eq(1),
            port.cmd.addr.eq(commands.source.addr),
            commands.source.ready.eq(port.cmd.valid & port.cmd.ready),
            words.source.connect(port.wdata),
            responses.sink.valid.eq(commands.source.ready & commands.source.final),
            responses.sink.id.eq(commands.source.id),
            bus.b.valid.eq(responses.source.valid),
            bus.b.id.eq(responses.source.id),
            responses.source.ready.eq(bus.b.ready),
        ]
        self.sync += If(both, If(complete, data.eq(0), we.eq(0)).Else(data.eq(words.sink.data), we.eq(words.sink.we)))


class WideReads(LiteXModule):
    """The reading half of an AXI slave on a LiteDRAM ``port`` that is wider, whose word is read once for the words of a burst in it."""

    def __init__(self, bus, port, depth=16):
        ratio = port.data_width // bus.data_width
        ashift = log2_int(bus.data_width // 8)
        beat = axi.AXIStreamInterface(layout=axi.ax_description(bus.address_width), id_width=bus.id_width)
        self.beats = axi.AXIBurst2Beat(bus.ar, beat)
        self.parts = parts = stream.SyncFIFO([("part", log2_int(ratio)), ("done", 1), ("final", 1), ("id", bus.id_width)], ratio * depth)
        self.words = words = stream.SyncFIFO([("data", port.data_width)], depth)
        owed = Signal(max=depth + 1)  # words that were asked for and are not gone: the controller does not wait
        begun, needed, gone = Signal(), Signal(), Signal()
        self.comb += [
            parts.sink.part.eq(beat.addr[ashift:]),
            parts.sink.done.eq(beat.last | (parts.sink.part == ratio - 1)),
            parts.sink.final.eq(beat.last),
            parts.sink.id.eq(beat.id),
            needed.eq(~begun),
            port.cmd.valid.eq(beat.valid & needed & parts.sink.ready & (owed != depth)),
            port.cmd.addr.eq(beat.addr >> log2_int(port.data_width // 8)),
            parts.sink.valid.eq(beat.valid & (~needed | (port.cmd.valid & port.cmd.ready))),
            beat.ready.eq(parts.sink.valid & parts.sink.ready),
            port.rdata.connect(words.sink),
            bus.r.valid.eq(parts.source.valid & words.source.valid),
            bus.r.data.eq(words.source.data >> (parts.source.part * bus.data_width)),
            bus.r.last.eq(parts.source.final),
            bus.r.id.eq(parts.source.id),
            parts.source.ready.eq(bus.r.valid & bus.r.ready),
            gone.eq(parts.source.ready & parts.source.done),
            words.source.ready.eq(gone),
        ]
        self.sync += [
            If(beat.valid & beat.ready, begun.eq(~parts.sink.done)),
            owed.eq(owed + (port.cmd.valid & port.cmd.ready) - gone),
        ]


def _channel(prefix, bus, channel, fields, forward, back):
    """Connections of one channel: ``forward`` is the direction of its payload, seen from the accelerator."""
    endpoint = getattr(bus, channel)
    ports = {f"{forward}_{prefix}_{channel}valid": endpoint.valid, f"{back}_{prefix}_{channel}ready": endpoint.ready}
    return ports | {f"{forward}_{prefix}_{channel}{field}": getattr(endpoint, field) for field in fields}
