"""On-chip memory in single-port RAM, for engines that move one word at a time."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from .interfaces import ReadPort, WritePort
from .uartbone import HostPort

__all__ = ["WordMemory"]


class WordMemory(wiring.Component):
    """What :class:`~systolith.rtl.device_memory.DeviceMemory` is behind serial engines, in a quarter of its area: bursts have one word, and
    the address of one holds until its response.

    One access at a time: the host's, else a write, else a read. Latency: 2 cycles from an accepted read request to its word, 1 from a
    written word to its response. Words beyond the memory are answered with an error and not written.

    Parameters
    ----------
    memory_bytes : size, a power of two
    address_bits : width of the ports' byte addresses; a bus word has 32 bits

    Members
    -------
    read, write : the accelerator's ports
    host : words of 32 bits
    """

    read: ReadPort
    write: WritePort
    host: HostPort

    def __init__(self, *, memory_bytes: int, address_bits: int):
        if memory_bytes < 8 or memory_bytes & (memory_bytes - 1):
            raise ValueError(f"memory_bytes must be a power of two and at least two bus words, not {memory_bytes!r}")
        self.memory_bytes = memory_bytes
        super().__init__({
            "read": In(ReadPort(address_bits, 32)), "write": In(WritePort(address_bits, 32)),
            "host": In(HostPort(exact_log2(memory_bytes // 4))),
        })

    def elaborate(self, platform):
        m = Module()
        depth = self.memory_bytes // 4
        bits = exact_log2(depth)
        # A word is never read in the cycle in which it is written.
        m.submodules.ram = ram = Memory(shape=32, depth=depth, init=[], attrs={"no_rw_check": 1})
        write_port, read_port = ram.write_port(granularity=8), ram.read_port()
        host, read, write = self.host, self.read, self.write
        # Late in its cycle the host's link knows that it means the memory, so that is seen a cycle later.
        host_valid = Signal()
        m.d.sync += host_valid.eq(host.valid & ~host.ready)

        # An access of which the word is awaited or has come, and whose it is.
        asked, there, hosts = Signal(), Signal(), Signal(reset_less=True)
        answered = Signal()  # a write's response waits
        free = ~asked & ~there
        host_begins, write_begins, read_begins = Signal(), Signal(), Signal()
        m.d.comb += [
            host_begins.eq(host_valid & free),
            write_begins.eq(write.data.valid & free & ~host_valid & ~answered),
            read_begins.eq(read.request.valid & free & ~host_valid & ~write.data.valid),
            write.request.ready.eq(1), write.data.ready.eq(write_begins), write.response.valid.eq(answered),
            read.request.ready.eq(read_begins), read.response.valid.eq(there & ~hosts), read.response.payload.data.eq(read_port.data),
            host.ready.eq(host_begins & host.write | there & hosts), host.read_data.eq(read_port.data),
        ]
        m.d.sync += [
            asked.eq(host_begins & ~host.write | read_begins), there.eq(asked | there & ~(hosts | read.response.ready)),
            answered.eq(write_begins | answered & ~write.response.ready),
        ]
        with m.If(free):
            m.d.sync += hosts.eq(host_valid)

        # One register for both ports, never both enabled, lets synthesis see a single-port RAM.
        address = Signal(bits, reset_less=True)
        outside, failed = Signal(reset_less=True), Signal(reset_less=True)  # of a read, of a write
        addresses = write.request.payload.address, read.request.payload.address
        chosen = Mux(write.data.valid, *addresses)
        m.d.sync += write_port.en.eq(0)
        with m.If(write_begins):
            m.d.sync += failed.eq(chosen[2 + bits:].any())
        with m.If(free):
            m.d.sync += [
                address.eq(Mux(host_valid, host.address, chosen[2:])),
                write_port.data.eq(Mux(host_valid, host.write_data, write.data.payload.data)),
                outside.eq(chosen[2 + bits:].any()),
            ]
            with m.If(host_valid):
                m.d.sync += write_port.en.eq(host.write.replicate(4))
            with m.Elif(write_begins & ~chosen[2 + bits:].any()):
                m.d.sync += write_port.en.eq(write.data.payload.strobe)
        m.d.comb += [
            write_port.addr.eq(address), read_port.addr.eq(address), read_port.en.eq(~write_port.en.any()),
            write.response.payload.error.eq(failed), read.response.payload.error.eq(outside),
        ]
        return m
