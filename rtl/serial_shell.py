"""An accelerator that a serial line drives: registers and on-chip memory behind UARTBone frames."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..arch.config import Config
from ..arch.registers import REGISTER_BYTES, SERIAL_BAUD, SERIAL_CONTROL, SERIAL_MEMORY, SERIAL_RATE, SERIAL_REGISTERS, offset_of
from ..arch.serial_link import CONTROL_BITS, CONTROL_SECOND, CONTROL_STEP, LEAST_BIT_CYCLES
from .core import flat_members
from .device_memory import DeviceMemory
from .host_register import HostRegister
from .serial_line import add_line
from .uart import bit_cycles
from .word_memory import WordMemory

__all__ = ["SerialShell"]


class SerialShell(wiring.Component):
    """UART, UARTBone, on-chip memory and the accelerator.

    On the line, byte addresses from ``SERIAL_REGISTERS`` are the accelerator's registers, from ``SERIAL_MEMORY`` its memory, and
    at ``SERIAL_CONTROL`` CONTROL in two steps (see ``arch/registers.py``), at ``SERIAL_RATE`` the line's rate; elsewhere writes are lost
    and reads give 0. The accelerator sees the same memory from byte address 0. MEMORY_BYTES reads as the memory's size.

    Parameters
    ----------
    config : the accelerator's configuration
    core : component with the ports of :class:`~systolith.rtl.core.Core`; ``build_hash``, if it has it, is left to others
    memory_bytes : size of the on-chip memory, a power of two
    memory_ports : 2, or 1 for single-port RAM
    clock_hz : frequency of the clock domain
    baud : bits per second on the line, at first; with ``control.line_rates`` a host can raise it up to a bit of 4 cycles
    timeout_s : longest pause within a frame; the next power of two of bit times is taken, for a
        counter without a comparator

    Members
    -------
    rx, tx : the line, idle high
    irq : the accelerator's interrupt
    """

    rx: Signal
    tx: Signal
    irq: Signal

    def __init__(self, *, config: Config, core: wiring.Component, memory_bytes: int, clock_hz: float,
                 baud: int = SERIAL_BAUD, memory_ports: int = 2, timeout_s: float = 0.1):
        self.config = config
        self.core = core
        self.memory_bytes = memory_bytes
        self.memory_ports = memory_ports
        self.clock_hz = clock_hz
        self.baud = baud
        self.timeout_s = timeout_s
        self.bit_cycles = bit_cycles(clock_hz, baud)
        self.adjustable = config.control.line_rates and self.bit_cycles > LEAST_BIT_CYCLES
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "irq": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.core
        bus = self.config.memory
        memory: DeviceMemory | WordMemory
        if self.memory_ports == 1 and bus.bus_bits == 32 and self.config.control.engines == "serial":
            memory = WordMemory(memory_bytes=self.memory_bytes, address_bits=bus.address_bits)
        else:
            memory = DeviceMemory(
                memory_bytes=self.memory_bytes, bus_bits=bus.bus_bits, address_bits=bus.address_bits, ports=self.memory_ports)
        m.submodules.memory = memory
        register_bits = exact_log2(REGISTER_BYTES // 4)
        memory_bits = exact_log2(self.memory_bytes // 4)
        # One bit more than a memory has: a frame that runs out of it does not come back at its beginning.
        frames, rate = add_line(m, rx=self.rx, tx=self.tx, bit_cycles=self.bit_cycles, adjustable=self.adjustable, baud=self.baud,
                                timeout_s=self.timeout_s, counted_bits=max(16, memory_bits + 1))
        m.d.comb += self.irq.eq(core.irq)
        for way, port in ("read", memory.read), ("write", memory.write):
            for name, flow, signal in flat_members(way, port):
                m.d.comb += getattr(core, name).eq(signal) if flow is Out else signal.eq(getattr(core, name))

        bus = frames.bus
        if self.memory_ports == 2:
            m.submodules.host = host = HostRegister()
            wiring.connect(m, frames.bus, host.i)
            bus = host.o
        in_registers = Signal()
        in_memory = Signal()
        in_control = Signal()
        upper = Signal()
        lower = Signal()
        first = Signal()
        done = Signal()
        second = Signal()
        step = exact_log2(CONTROL_STEP // 4)
        m.d.comb += [
            second.eq(bus.address[exact_log2(CONTROL_SECOND // 4)]),
            # Three regions that differ in the upper three bits: the comparisons share the rest.
            upper.eq(~bus.address[memory_bits:frames.counted_bits + 1].any()),
            lower.eq(upper & ~bus.address[register_bits:memory_bits].any()),
            in_registers.eq(lower & (bus.address[27:] == SERIAL_REGISTERS >> 29)),
            in_control.eq(~bus.address[step + CONTROL_BITS:frames.counted_bits + 1].any() & (bus.address[27:] == SERIAL_CONTROL >> 29)
                          & (bus.address[:register_bits] == offset_of("CONTROL") // 4)),
            in_memory.eq(upper & (bus.address[27:] == SERIAL_MEMORY >> 29)),
            memory.host.valid.eq(bus.valid & in_memory),
            memory.host.address.eq(bus.address),
            memory.host.write.eq(bus.write),
            memory.host.write_data.eq(bus.write_data),
            core.csr_address.eq(bus.address[:register_bits] << 2),
            # A second step's bits are in its address, which has been checked; its place among the registers is CONTROL's.
            core.csr_write_data.eq(Cat(Mux(bus.address[27], bus.address[step:step + CONTROL_BITS], bus.write_data[:CONTROL_BITS]),
                                       bus.write_data[CONTROL_BITS:])),
        ]
        # A register read takes a cycle; a write, which comes from a register, takes two, and all else takes the same path for simplicity.
        begun, answered = Signal(), Signal()
        is_size = Signal()
        write = Signal()
        begins = bus.valid & ~in_memory & ~begun & ~answered
        accepted = Signal()
        m.d.sync += [
            begun.eq(begins), answered.eq(begun), write.eq(accepted & (in_registers | (in_control & second & first))),
            is_size.eq(core.csr_address == offset_of("MEMORY_BYTES")),
        ]
        m.d.comb += [accepted.eq(begins & bus.write), core.csr_write.eq(write)]
        with m.If(accepted & in_control):
            m.d.sync += [first.eq(~second), done.eq(second & (first | done))]
        if rate is not None:
            in_rate = Signal()
            m.d.comb += [in_rate.eq(lower & (bus.address[27:] == SERIAL_RATE >> 29) & ~bus.address[:register_bits].any()),
                         rate.ask.eq(accepted & in_rate), rate.asked.eq(bus.write_data)]
        register_data = Signal(32, reset_less=True)
        own = core.csr_read_data | is_size << exact_log2(self.memory_bytes)  # the core shows 0 there
        if self.memory_ports == 1:
            m.d.comb += register_data.eq(own)
        else:
            m.d.sync += register_data.eq(own)  # it is there a cycle before it is taken, and came from all over the part
        with m.If(in_memory):
            m.d.comb += [bus.ready.eq(memory.host.ready), bus.read_data.eq(memory.host.read_data)]
        with m.Else():
            m.d.comb += bus.ready.eq(answered)
            with m.If(in_registers):
                m.d.comb += bus.read_data.eq(register_data)
            with m.Elif(in_control):
                m.d.comb += bus.read_data.eq(Cat(first, done))
            if rate is not None:
                with m.Elif(in_rate):
                    m.d.comb += bus.read_data.eq(round(self.clock_hz / 1000))
        return m
