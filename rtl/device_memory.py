"""On-chip memory of a device that has no other: behind the accelerator's memory ports, with access for the host."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .axi_slice import RegisterSlice
from .elastic_buffer import ElasticBuffer
from .interfaces import ReadPort, WritePort
from .queue import Queue
from .step import LateCount
from .uartbone import HostPort

__all__ = ["DeviceMemory"]

_QUEUE_WORDS = 10  # a place comes back at most eight cycles after it was taken: enough for a word per cycle


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
        last = Signal(reset_less=True)
        place = Signal(bits + 1, reset_less=True)  # a burst is shorter than the memory: from outside it does not come back in
        m.d.comb += [
            self.word.eq(place), self.outside.eq(place[-1]), self.last.eq(last),
            self.request_ready.eq(~self.valid | (last & self.step)),
        ]
        # What is next is chosen by registers; ``step``, which comes late, only says when.
        begins = ~self.valid | last
        with m.If(~self.valid | self.step):
            m.d.sync += [
                self.valid.eq(Mux(begins, self.request_valid, 1)),
                beats.eq(Mux(begins, self.request_beats, beats - 1)), last.eq(Mux(begins, self.request_beats == 0, beats == 1)),
                place.eq(Mux(begins, Cat(index[:bits], index[bits:].any()), place + 1)),
            ]
        return m


class DeviceMemory(wiring.Component):
    """Block RAM behind the accelerator's memory ports: byte address 0 is the first byte of the RAM.

    Latency: 8 cycles from an accepted read request to its first word (5 with one port); then one word per cycle, also across bursts. Writes
    take one word per cycle; a response means that every later read sees them. Words beyond the memory are answered with an
    error and not written. The host's single words go first, each costs the accelerator one cycle at most.

    Everything that goes to the RAM comes out of a register, its words go into one, and wait in a queue for the accelerator: the blocks
    of a large RAM lie all over the part, and no path leads through the accelerator or the host's link to them.

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
        for name, burst, port in ("read", reads, self.read), ("write", writes, self.write):
            request = self._part(m, f"{name}_request", port.request)
            m.d.comb += [
                burst.request_valid.eq(request.valid),
                request.ready.eq(burst.request_ready),
                burst.request_address.eq(request.payload.address),
                burst.request_beats.eq(request.payload.beats),
            ]

        # The host's request, with two ports a cycle late, and its word within a bus word.
        host_write, host_read = Signal(), Signal()
        host_address, host_write_data = self.host.address, self.host.write_data
        if self.ports == 2:
            host_address = Signal.like(self.host.address, reset_less=True)
            host_write_data = Signal.like(self.host.write_data, reset_less=True)
            m.d.sync += [
                host_write.eq(self.host.valid & self.host.write & ~self.host.ready), host_address.eq(self.host.address),
                host_write_data.eq(self.host.write_data),
            ]
        else:
            m.d.comb += host_write.eq(self.host.valid & self.host.write)
        host_lane = host_address[:exact_log2(self.bus_bits // 32)]
        host_word = host_address[exact_log2(self.bus_bits // 32):]

        # Writes: the host's word, or the next word of a burst once its response has a place.
        host_first = host_write | host_read if self.ports == 1 else host_write
        m.submodules.responses = responses = RegisterSlice(self.write.response.payload.shape())
        word = self._part(m, "write_data", self.write.data)
        m.d.comb += [
            word.ready.eq(writes.valid & ~host_first & (~writes.last | responses.i.ready)),
            writes.step.eq(word.valid & word.ready),
            # A burst that leaves the memory does not come back, so its last word tells.
            responses.i.valid.eq(writes.step & writes.last), responses.i.payload.error.eq(writes.outside),
            self.write.response.valid.eq(responses.o.valid), self.write.response.payload.eq(responses.o.payload),
            responses.o.ready.eq(self.write.response.ready),
        ]
        takes = writes.step & ~writes.outside
        host_strobe = Const(0xf, 4) << (4 * host_lane)
        if self.ports == 2:
            # In two cycles: what is written, and then where, which is known late.
            data = Signal.like(write_port.data, name="data", reset_less=True)
            strobe = Signal.like(write_port.en, name="strobe", reset_less=True)
            taken, by_host = Signal(), Signal()
            m.d.sync += [
                data.eq(Mux(host_write, host_write_data.replicate(self.bus_bits // 32), word.payload.data)),
                strobe.eq(word.payload.strobe), taken.eq(takes), by_host.eq(host_write),
                write_port.data.eq(data), write_port.en.eq(Mux(by_host, host_strobe, Mux(taken, strobe, 0))),
            ]
        else:
            m.d.sync += write_port.en.eq(0)
            with m.If(host_write):
                m.d.sync += [
                    write_port.data.eq(host_write_data.replicate(self.bus_bits // 32)), write_port.en.eq(host_strobe),
                ]
            with m.Else():
                m.d.sync += write_port.data.eq(word.payload.data)
                with m.If(takes):
                    m.d.sync += write_port.en.eq(word.payload.strobe)

        # Reads: what is asked, with two ports a register before the RAM and one behind its output, the queue. A word is asked for when it
        # has a place there.
        stages = 2
        ram_word = read_port.data
        if self.ports == 2:
            stages = 4
            ram_word = Signal(self.bus_bits, reset_less=True)
            m.d.sync += ram_word.eq(read_port.data)
        m.submodules.queue = queue = Queue(width=self.bus_bits + 1, depth=_QUEUE_WORDS)
        some = Signal(init=1)  # are there any places
        read = queue.r_rdy & queue.r_en
        host_stage = Signal(stages + 1)
        stage = Signal(stages)
        outside = Signal(stages, reset_less=True)
        writing = host_write | writes.step if self.ports == 1 else Const(0)
        if self.ports == 2:  # in a register too
            m.d.sync += host_read.eq(self.host.valid & ~self.host.write & ~host_read & ~host_stage.any())
        else:
            m.d.comb += host_read.eq(self.host.valid & ~self.host.write & ~host_stage.any())
        m.d.comb += [
            reads.step.eq(reads.valid & some & ~host_read & ~writing),
            queue.w_en.eq(stage[-1]),
            queue.w_data.eq(Cat(ram_word, outside[-1])),
            self.read.response.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.read.response.ready),
            Cat(self.read.response.payload.data, self.read.response.payload.error).eq(queue.r_data),
        ]
        # A single-port RAM is that of a small part, where its output goes straight to the host.
        host_data = Signal(32, reset_less=True)
        host_word_read = ram_word.word_select(host_lane, 32)
        places = LateCount(m, _QUEUE_WORDS, init=_QUEUE_WORDS, up=read, down=reads.step, name="places")
        m.d.sync += [
            some.eq(~(places.equals(0) | places.equals(1) & reads.step) | read),
            stage.eq(Cat(reads.step, stage)),
            outside.eq(Cat(reads.outside, outside)),
            host_stage.eq(Cat(host_read, host_stage)),
            host_data.eq(host_word_read),
        ]
        m.d.comb += [
            self.host.read_data.eq(host_word_read if self.ports == 1 else host_data),
            self.host.ready.eq(self.host.write | host_stage[1] if self.ports == 1 else host_write | host_stage[stages]),
        ]

        write_address = Mux(host_write, host_word, writes.word)
        read_address = Mux(host_read, host_word, reads.word)
        if self.ports == 1:
            # One register for both ports, never both enabled, lets synthesis see a single-port RAM.
            address = Signal(range(depth), reset_less=True)
            m.d.sync += address.eq(Mux(writing, write_address, read_address))
            m.d.comb += [write_port.addr.eq(address), read_port.addr.eq(address), read_port.en.eq(~write_port.en.any())]
        else:
            # Twice in registers: those of the RAM lie among its blocks, these among what they are chosen from.
            for port, address, name in (write_port, write_address, "write_address"), (read_port, read_address, "read_address"):
                chosen = Signal.like(port.addr, name=name, reset_less=True)
                m.d.sync += [chosen.eq(address), port.addr.eq(chosen)]
        return m

    def _part(self, m: Module, name: str, port: wiring.PureInterface) -> wiring.PureInterface:
        """A stream from the accelerator, from registers both ways; with one port area goes first."""
        if self.ports == 1:
            return port
        m.submodules[name] = parts = ElasticBuffer(port.payload.shape())
        m.d.comb += [parts.i.valid.eq(port.valid), parts.i.payload.eq(port.payload), port.ready.eq(parts.i.ready)]
        return parts.o
