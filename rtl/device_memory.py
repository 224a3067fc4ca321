"""On-chip memory of a device that has no other: behind the accelerator's memory ports, with access for the host."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .interfaces import ReadPort, WritePort
from .uartbone import HostPort

__all__ = ["DeviceMemory"]


class _Burst(wiring.Component):
    """Word counter of one burst at a time; the next request is accepted with the last word, so that bursts follow without a gap.

    ``step`` ends a word. ``outside`` is high for a word beyond the memory, in which case ``word`` means nothing.
    """

    def __init__(self, *, address_bits: int, bus_bytes: int, depth: int):
        self.bus_bytes = bus_bytes
        self.depth = depth
        super().__init__({
            "request_valid": In(1), "request_ready": Out(1), "request_address": In(address_bits), "request_beats": In(8),
            "valid": Out(1), "word": Out(range(depth)), "last": Out(1), "outside": Out(1), "step": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        index = self.request_address[exact_log2(self.bus_bytes):]
        bits = exact_log2(self.depth)
        beats = Signal(8, reset_less=True)
        m.d.comb += [self.last.eq(beats == 0), self.request_ready.eq(~self.valid | (self.last & self.step))]
        with m.If(self.step):
            m.d.sync += [beats.eq(beats - 1), self.word.eq(self.word + 1), self.valid.eq(~self.last)]
            with m.If(self.word == self.depth - 1):
                m.d.sync += self.outside.eq(1)
        with m.If(self.request_valid & self.request_ready):
            m.d.sync += [
                self.valid.eq(1),
                beats.eq(self.request_beats),
                self.word.eq(index[:bits]),
                self.outside.eq(index[bits:].any()),
            ]
        return m


class DeviceMemory(wiring.Component):
    """Block RAM behind the accelerator's memory ports: byte address 0 is the first byte of the RAM.

    Latency: three cycles from an accepted read request to its first word; then one word per cycle, also across bursts.
    A write is in the RAM at the edge that accepts its word, one word per cycle. Words beyond the memory are answered with
    an error and not written. The host's single words go first, each costs the accelerator one cycle at most; a read by
    the host waits behind words that the accelerator has asked for and not yet taken.

    Parameters
    ----------
    memory_bytes : size, a power of two
    bus_bits : width of a bus word
    address_bits : width of the ports' byte addresses
    ports : 2 reads and writes in the same cycle; 1 has one address for both (writes first), for single-port RAM

    Members
    -------
    read, write : the accelerator's ports
    host : words of 32 bits
    """

    read: ReadPort
    write: WritePort
    host: HostPort

    def __init__(self, *, memory_bytes: int, bus_bits: int, address_bits: int, ports: int = 2):
        if memory_bytes < 2 * bus_bits // 8 or memory_bytes & (memory_bytes - 1):
            raise ValueError(f"memory_bytes must be a power of two and at least two bus words, not {memory_bytes!r}")
        if ports not in (1, 2):
            raise ValueError(f"ports must be 1 or 2, not {ports!r}")
        self.memory_bytes = memory_bytes
        self.bus_bits = bus_bits
        self.address_bits = address_bits
        self.ports = ports
        super().__init__({
            "read": In(ReadPort(address_bits, bus_bits)),
            "write": In(WritePort(address_bits, bus_bits)),
            "host": In(HostPort(exact_log2(memory_bytes // 4))),
        })

    def elaborate(self, platform):
        m = Module()
        bus_bytes = self.bus_bits // 8
        depth = self.memory_bytes // bus_bytes
        # A word written in the same cycle as it is read may be read as anything: programs order such accesses by tokens.
        m.submodules.ram = ram = Memory(shape=self.bus_bits, depth=depth, init=[], attrs={"no_rw_check": 1})
        write_port = ram.write_port(granularity=8)
        read_port = ram.read_port()

        m.submodules.reads = reads = _Burst(address_bits=self.address_bits, bus_bytes=bus_bytes, depth=depth)
        m.submodules.writes = writes = _Burst(address_bits=self.address_bits, bus_bytes=bus_bytes, depth=depth)
        for burst, port in (reads, self.read), (writes, self.write):
            m.d.comb += [
                burst.request_valid.eq(port.request.valid),
                port.request.ready.eq(burst.request_ready),
                burst.request_address.eq(port.request.payload.address),
                burst.request_beats.eq(port.request.payload.beats),
            ]

        # The host's word within a bus word.
        host_lane = self.host.address[:exact_log2(self.bus_bits // 32)]
        host_word = self.host.address[exact_log2(self.bus_bits // 32):]

        # Writes: the host's word, or the next word of a burst once its response has a place.
        host_write = Signal()
        response = self.write.response
        word = self.write.data
        m.d.comb += [
            host_write.eq(self.host.valid & self.host.write),
            word.ready.eq(writes.valid & ~host_write & (~writes.last | ~response.valid | response.ready)),
            writes.step.eq(word.valid & word.ready),
        ]
        with m.If(response.ready):
            m.d.sync += response.valid.eq(0)
        with m.If(writes.step & writes.last):
            # A burst that leaves the memory does not come back, so its last word tells.
            m.d.sync += [response.valid.eq(1), response.payload.error.eq(writes.outside)]
        with m.If(host_write):
            m.d.comb += [
                write_port.data.eq(self.host.write_data.replicate(self.bus_bits // 32)),
                write_port.en.eq(Const(0xf, 4) << (4 * host_lane)),
            ]
        with m.Else():
            m.d.comb += [
                write_port.data.eq(word.payload.data),
                write_port.en.eq(word.payload.strobe & (writes.step & ~writes.outside).replicate(bus_bytes)),
            ]

        # Reads: RAM output (stage 1), then a register (stage 2) because block RAM is slow from clock to output.
        # The host's reads pass through the same stages with a tag.
        host_read = Signal()
        valid1 = Signal()
        host1 = Signal()
        outside1 = Signal()
        valid2 = Signal()
        host2 = Signal()
        data2 = Signal(self.bus_bits, reset_less=True)
        outside2 = Signal()
        move2 = Signal()
        issue = Signal()
        writing = host_write | writes.step if self.ports == 1 else Const(0)
        m.d.comb += [
            move2.eq(~valid2 | host2 | self.read.response.ready),
            issue.eq((~valid1 | move2) & ~writing),
            host_read.eq(self.host.valid & ~self.host.write & ~(valid1 & host1) & ~(valid2 & host2)),
            reads.step.eq(reads.valid & issue & ~host_read),
            read_port.en.eq(issue & (host_read | reads.valid)),
        ]
        with m.If(issue):
            m.d.sync += [valid1.eq(host_read | reads.valid), host1.eq(host_read), outside1.eq(reads.outside)]
        with m.Elif(move2):
            m.d.sync += valid1.eq(0)
        with m.If(move2):
            m.d.sync += [valid2.eq(valid1), host2.eq(host1), outside2.eq(outside1), data2.eq(read_port.data)]
        m.d.comb += [
            self.read.response.valid.eq(valid2 & ~host2),
            self.read.response.payload.data.eq(data2),
            self.read.response.payload.error.eq(outside2),
            self.host.read_data.eq(data2.word_select(host_lane, 32)),
            self.host.ready.eq(self.host.write | (valid2 & host2)),
        ]

        write_address = Mux(host_write, host_word, writes.word)
        read_address = Mux(host_read, host_word, reads.word)
        if self.ports == 1:
            # One expression for both ports lets synthesis see a single-port RAM.
            address = Signal(range(depth))
            m.d.comb += address.eq(Mux(writing, write_address, read_address))
            m.d.comb += [write_port.addr.eq(address), read_port.addr.eq(address)]
        else:
            m.d.comb += [write_port.addr.eq(write_address), read_port.addr.eq(read_address)]
        return m
