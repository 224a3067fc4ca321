"""LiteEth in a board's SoC: its RGMII PHY for ECP5, its UDP/IP core and Etherbone, and queues of whole frames between the first two.

With them the core runs by the SoC's clock, octet by octet, whatever that is: a frame that comes waits until there is time for it, and one
that goes is complete before it begins. They drop frames whose check sequence is wrong, which the core counts and then takes as they are.
The core's own ways between clocks have the SoC's on both sides: at 125 MHz they miss their timing.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from liteeth.common import eth_phy_description
from liteeth.core import LiteEthUDPIPCore
from liteeth.frontend.etherbone import LiteEthEtherbone
from liteeth.mac.crc import LiteEthMACCRCEngine
from liteeth.phy.ecp5rgmii import LiteEthPHYRGMII
from litex.soc.interconnect import stream, wishbone
from migen import READ_FIRST, Cat, ClockDomainsRenamer, If, Memory, Module, Mux, Signal
from migen.genlib.cdc import BusSynchronizer

from ..boards import Ethernet

__all__ = ["ETHERBONE_WORDS", "add_etherbone"]

ETHERBONE_WORDS = 125  # of a datagram; with their address, the number of the answer and what is read, as much as 7 bits count
_BUFFER_WORDS = 128
_POLYNOMIAL, _RESIDUE = 0x04C11DB7, 0xC704DD7B  # IEEE 802.3, 3.2.9: of a frame with its right sequence
_START = 0xD5


class FrameQueue(Module):
    """Frames from ``sink``, in clock domain ``write``, to ``source``, in ``read``, each complete before it begins. Octets lie in a block
    RAM with a port for each domain; only where frames end, and how far they were read, crosses.

    Throughput: an octet per cycle of either, but more than ``gap`` cycles of ``read`` between frames.

    Parameters
    ----------
    checks : ``sink`` does not wait. Frames whose check sequence is wrong, and those for which there is no room, are dropped. Between
        frames nothing comes for two cycles
    bits : 2**bits octets wait at most, which must be more than a frame's: 11 are one block RAM
    """

    def __init__(self, *, checks: bool, gap: int, bits: int = 11) -> None:
        self.sink = sink = stream.Endpoint(eth_phy_description(8))
        self.source = source = stream.Endpoint(eth_phy_description(8))
        self.specials.memory = memory = Memory(9, 1 << bits)
        write = memory.get_port(write_capable=True, mode=READ_FIRST, clock_domain="write")
        read = memory.get_port(mode=READ_FIRST, clock_domain="read")
        self.specials += write, read
        self.submodules.ends = ends = BusSynchronizer(bits + 1, "write", "read")
        self.submodules.reads = reads = BusSynchronizer(bits + 1, "read", "write")

        # Of the two domains one may be reset alone.
        place, complete = (Signal(bits + 1, reset_less=True) for _ in range(2))
        level, full, writes, ended = Signal(bits + 1), Signal(), Signal(), Signal()
        self.comb += [
            level.eq(place - reads.o), writes.eq(sink.valid & ~full), ends.i.eq(complete),
            write.adr.eq(place[:bits]), write.dat_w.eq(Cat(sink.data, sink.last)), write.we.eq(writes)]
        self.sync.write += [
            full.eq(level >= (1 << bits) - 2),  # a cycle late
            If(writes, place.eq(place + 1)), ended.eq(sink.valid & sink.ready & sink.last)]
        if checks:
            crc, started, lost, right, decided = Signal(32, reset=0xFFFF_FFFF), Signal(), Signal(), Signal(), Signal()
            self.submodules.engine = engine = LiteEthMACCRCEngine(8, 32, _POLYNOMIAL)
            self.comb += [sink.ready.eq(1), engine.data.eq(sink.data), engine.crc_prev.eq(crc)]
            self.sync.write += [
                If(sink.valid, If(started, crc.eq(engine.crc_next)).Elif(sink.data == _START, started.eq(1)),
                   If(full, lost.eq(1))),
                right.eq((crc == _RESIDUE) & ~lost), decided.eq(ended),
                If(ended, crc.eq(0xFFFF_FFFF), started.eq(0), lost.eq(0)),
                If(decided, If(right, complete.eq(place)).Else(place.eq(complete)))]
        else:
            self.comb += sink.ready.eq(~full)
            self.sync.write += If(ended, complete.eq(place))

        # A register behind the RAM, whose output is late: what follows a frame's end waits in front of it.
        taken, following = Signal(bits + 1, reset_less=True), Signal(bits + 1, reset=1, reset_less=True)
        here, there, moves, pause, rests = Signal(bits + 1), Signal(), Signal(), Signal(max=gap + 2), Signal()
        octet, loaded = Signal(9), Signal()
        self.comb += [
            moves.eq(there & ~rests & (~loaded | source.ready & ~octet[8])),
            here.eq(Mux(moves, following, taken)), read.adr.eq(here[:bits]), reads.i.eq(taken),
            source.valid.eq(loaded), source.data.eq(octet[:8]), source.last.eq(octet[8])]
        self.sync.read += [
            taken.eq(here), there.eq(here != ends.o),
            If(moves, following.eq(following + 1), octet.eq(read.dat_r), loaded.eq(1)).Elif(source.ready, loaded.eq(0)),
            If(loaded & source.ready & octet[8], pause.eq(gap), rests.eq(gap > 0)).Else(
                rests.eq(pause > 1), If(pause != 0, pause.eq(pause - 1)))]


class _Frames(Module):
    """A PHY in the SoC's clock domain that takes and gives whole frames, as LiteEth's core takes one."""

    dw = 8
    integrated_ifg_inserter = True

    def __init__(self, phy: Any) -> None:
        incoming = ClockDomainsRenamer({"write": "eth_rx", "read": "sys"})(FrameQueue(checks=True, gap=0))
        outgoing = ClockDomainsRenamer({"write": "sys", "read": "eth_tx"})(FrameQueue(checks=False, gap=12))
        self.submodules += incoming, outgoing
        self.comb += [phy.source.connect(incoming.sink), outgoing.source.connect(phy.sink)]
        self.sink, self.source = outgoing.sink, incoming.source


class RegisteredPort(Module):
    """LiteEth's UDP ports, as ``crossbar``, with a register in front of what is sent. Without it one cycle goes from the queue of octets
    that leave, whether it has room, through all that makes a datagram and all that takes one apart to the queue of those that come."""

    def __init__(self, udp: Any) -> None:
        self.crossbar = self
        self.dw = udp.crossbar.dw
        self._port = udp.crossbar.get_port

    def get_port(self, number: int, **options: Any) -> SimpleNamespace:
        port = self._port(number, **options)
        self.submodules.register = register = stream.Buffer(port.sink.description, pipe_valid=True, pipe_ready=True)
        self.comb += register.source.connect(port.sink)
        return SimpleNamespace(sink=register.sink, source=port.source)


class BusRegister(Module):
    """``master``, a Wishbone master, a register away from ``bus``: what it asks for comes a cycle later, and so does the answer. It holds
    what it asks for until it is answered, as LiteEth's does.

    Etherbone has its address from a block RAM, and the enables of a queue behind the acknowledgement; with all of the SoC's bus in between
    that was the longest way of the Versa, 15 ns. The two cycles of each word are little beside those in which a datagram comes and goes.
    """

    def __init__(self, master: wishbone.Interface) -> None:
        self.bus = bus = wishbone.Interface(data_width=master.data_width, adr_width=master.adr_width)
        answered = Signal()
        self.comb += [bus.cyc.eq(bus.stb), master.ack.eq(answered)]
        self.sync += [
            answered.eq(bus.stb & bus.ack), master.dat_r.eq(bus.dat_r),
            If(bus.stb & bus.ack, bus.stb.eq(0)).Elif(master.cyc & master.stb & ~answered, bus.stb.eq(1)),
            If(~bus.stb, *(getattr(bus, name).eq(getattr(master, name)) for name in ("adr", "dat_w", "sel", "we")))]


def add_etherbone(soc: Any, ethernet: Ethernet, pads: Any) -> None:
    """Give ``soc`` a bus master at UDP ``ethernet.port``; ``pads`` has the chip's pins as attributes."""
    phy = LiteEthPHYRGMII(SimpleNamespace(tx=pads.tx_clk, rx=pads.rx_clk), pads, tx_delay=ethernet.tx_delay_ns * 1e-9,
                          rx_delay=ethernet.rx_delay_ns * 1e-9, with_inband_status=False)
    soc.add_module("ethphy", phy)
    frames = _Frames(phy)
    soc.add_module("ethframes", frames)
    core = LiteEthUDPIPCore(phy=frames, mac_address=int(ethernet.mac.replace(":", ""), 16), ip_address=ethernet.ip, clk_freq=soc.clk_freq,
                            dw=8, with_sys_datapath=True, with_icmp=False, with_ip_broadcast=False)
    core = ClockDomainsRenamer({"eth_rx": "sys", "eth_tx": "sys"})(core)
    soc.add_module("ethcore", core)
    port = RegisteredPort(core.udp)
    soc.add_module("etherbone_port", port)
    etherbone = LiteEthEtherbone(port, ethernet.port, buffer_depth=_BUFFER_WORDS)
    soc.add_module("etherbone", etherbone)
    _mend(etherbone.record)
    register = BusRegister(etherbone.wishbone.bus)
    soc.add_module("etherbone_register", register)
    soc.bus.add_master(name="etherbone", master=register.bus)


def _mend(record: Any) -> None:
    """What LiteEth and LiteX (2024.12) have wrong there: where a record writes and then reads, the number of its answer stays in the queue
    and is taken for an address; and where a queue of words is full when a record ends, its lengths are queued once in every cycle."""
    record.receiver.fsm.act("RECEIVE_BASE_RET_ADDR", record.receiver.fifo.source.ready.eq(1))
    for fifo in (record.receiver.fifo, record.sender.fifo):
        fifo.comb += fifo.param_fifo.sink.valid.eq(fifo.sink.valid & fifo.sink.last & fifo.payload_fifo.sink.ready)
