"""What stands between a serial line's pins and the accesses of its frames; and a line that masters a SoC's bus."""

from typing import NamedTuple

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..arch.registers import (
    REGISTER_BYTES,
    SERIAL_BAUD,
    SERIAL_CONTROL,
    SERIAL_MEMORY,
    SERIAL_RATE,
    SERIAL_REGISTERS,
    SERIAL_SOC,
    offset_of,
)
from ..arch.serial_link import CONTROL_BITS, CONTROL_SECOND, CONTROL_STEP, LEAST_BIT_CYCLES
from .line_crc import LineCRC
from .line_rate import LineRate
from .uart import UARTReceiver, UARTTransmitter, bit_cycles
from .uartbone import HostPort, UARTBone

__all__ = ["Line", "SerialBus", "add_line"]


class Line(NamedTuple):
    """What the rest of a design has to do with of a line: ``rate`` only where a host can raise it."""

    frames: UARTBone
    rate: LineRate | None


def add_line(m: Module, *, rx: Signal, tx: Signal, bit_cycles: int, adjustable: bool, baud: int, timeout_s: float,
             counted_bits: int) -> Line:
    """Add UART, UARTBone, the CRC of the line and, where ``adjustable``, its rate to ``m``; what is left to connect are ``frames.bus``
    and what ``rate`` is asked.

    Parameters
    ----------
    rx, tx : the line
    bit_cycles : clock cycles of a bit at ``baud``, the rate that the line begins with
    timeout_s : longest pause within a frame; the next power of two of bit times is taken, for a counter without a comparator
    counted_bits : of :class:`~systolith.rtl.uartbone.UARTBone`
    """
    m.submodules.receiver = receiver = UARTReceiver(bit_cycles=bit_cycles, adjustable=adjustable)
    m.submodules.transmitter = transmitter = UARTTransmitter(bit_cycles=bit_cycles, adjustable=adjustable)
    timeout_ticks = 1 << (round(timeout_s * baud) - 1).bit_length()
    m.submodules.frames = frames = UARTBone(counted_bits=counted_bits, timeout_ticks=timeout_ticks)
    m.submodules.crc = crc = LineCRC()
    m.d.comb += [
        receiver.rx.eq(rx), tx.eq(transmitter.tx),
        crc.step.eq(receiver.sampled | transmitter.sent), crc.bit.eq(Mux(receiver.sampled, receiver.bit, transmitter.bit)),
        crc.restart.eq(frames.restart), frames.crc.eq(crc.value),
    ]
    rate = None
    if adjustable:
        # Pauses are those of the host, whatever the rate.
        m.submodules.rate = rate = LineRate(bit_cycles=bit_cycles, timeout_ticks=timeout_ticks)
        m.d.comb += [
            rate.digest.eq(frames.digested), rate.trusted.eq(frames.trusted), rate.released.eq(frames.released),
            rate.waiting.eq(frames.waiting), rate.forget.eq(frames.restart), rate.sent.eq(transmitter.i.ready),
            receiver.cycles.eq(rate.cycles), transmitter.cycles.eq(rate.cycles), frames.tick.eq(rate.tick),
        ]
    else:
        m.d.comb += frames.tick.eq(transmitter.tick)
    wiring.connect(m, receiver.o, frames.i)
    wiring.connect(m, frames.o, transmitter.i)
    return Line(frames, rate)


class SerialBus(wiring.Component):
    """UART and UARTBone as the master of a SoC's bus, for a host that finds there what a :class:`~systolith.rtl.serial_shell.SerialShell`
    has: byte addresses from ``SERIAL_REGISTERS`` are the accelerator's registers, from ``SERIAL_MEMORY`` its memory, and at
    ``SERIAL_CONTROL`` CONTROL in two steps, at ``SERIAL_RATE`` the line's rate; MEMORY_BYTES reads as the memory's size. From
    ``SERIAL_SOC`` on are the SoC's own registers. Elsewhere writes are lost and reads give 0, without the bus.

    A write is answered before the bus has done it, because a line has no flow control; the next access waits for it.

    Parameters
    ----------
    memory_bytes : size of the memory, a power of two up to 512 MiB
    clock_hz, baud, timeout_s, adjustable : as of :class:`~systolith.rtl.serial_shell.SerialShell`, which takes ``adjustable`` from its
        configuration

    Members
    -------
    rx, tx : the line, idle high
    bus : :class:`~systolith.rtl.uartbone.HostPort`, of whole words
    """

    rx: Signal
    tx: Signal
    bus: wiring.PureInterface

    def __init__(self, *, memory_bytes: int, clock_hz: float, baud: int = SERIAL_BAUD, timeout_s: float = 0.1, adjustable: bool = True):
        if not REGISTER_BYTES <= memory_bytes <= 1 << 29:
            raise ValueError(f"memory_bytes must be from {REGISTER_BYTES} to {1 << 29}, not {memory_bytes!r}")
        self.memory_bytes = memory_bytes
        self.clock_hz = clock_hz
        self.baud = baud
        self.timeout_s = timeout_s
        self.bit_cycles = bit_cycles(clock_hz, baud)
        self.adjustable = adjustable and self.bit_cycles > LEAST_BIT_CYCLES
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "bus": Out(HostPort())})

    def elaborate(self, platform):
        m = Module()
        frames, rate = add_line(m, rx=self.rx, tx=self.tx, bit_cycles=self.bit_cycles, adjustable=self.adjustable, baud=self.baud,
                                timeout_s=self.timeout_s, counted_bits=27)
        asked, bus = frames.bus, self.bus
        address = asked.address
        register_bits, memory_bits = exact_log2(REGISTER_BYTES // 4), exact_log2(self.memory_bytes // 4)
        step, second_bit = exact_log2(CONTROL_STEP // 4), exact_log2(CONTROL_SECOND // 4)

        def in_region(start: int) -> Value:
            return address[27:] == start >> 29

        in_registers, is_size, in_control, second, in_rate, outside = (
            Signal(name=name) for name in ("in_registers", "is_size", "in_control", "second", "in_rate", "outside"))
        first, done = Signal(), Signal()
        m.d.comb += [
            in_registers.eq(in_region(SERIAL_REGISTERS) & ~address[register_bits:27].any()),
            is_size.eq(in_registers & (address[:register_bits] == offset_of("MEMORY_BYTES") // 4)),
            second.eq(address[second_bit]),
            in_control.eq(in_region(SERIAL_CONTROL) & ~address[step + CONTROL_BITS:27].any()
                          & (address[:register_bits] == offset_of("CONTROL") // 4)),
            in_rate.eq(in_region(SERIAL_RATE) & ~address[:27].any()),
            outside.eq((in_registers & ~is_size) | (in_region(SERIAL_MEMORY) & ~address[memory_bits:27].any()) | in_region(SERIAL_SOC)
                       | (in_control & second & first & asked.write)),
        ]
        m.d.comb += asked.read_data.eq(bus.write_data)  # which a read does not need otherwise
        with m.FSM(name="access"):
            with m.State("IDLE"):
                with m.If(asked.valid):
                    m.d.sync += [bus.write.eq(asked.write), bus.address.eq(address), bus.write_data.eq(asked.write_data)]
                    m.d.comb += asked.ready.eq(asked.write)
                    with m.If(in_control):
                        # A second step's bits are in its address, which has been checked.
                        m.d.sync += [bus.address.eq((SERIAL_REGISTERS + offset_of("CONTROL")) // 4),
                                     bus.write_data.eq(address[step:step + CONTROL_BITS])]
                    with m.If(outside):
                        m.next = "BUS"
                    with m.Elif(~asked.write):
                        m.d.sync += bus.write_data.eq(Mux(is_size, self.memory_bytes, Mux(in_control, Cat(first, done), 0)))
                        if self.adjustable:
                            with m.If(in_rate):
                                m.d.sync += bus.write_data.eq(round(self.clock_hz / 1000))
                        m.next = "ANSWER"
                    with m.If(in_control & asked.write):
                        m.d.sync += [first.eq(~second), done.eq(second & (first | done))]
                    if rate is not None:
                        m.d.comb += [rate.ask.eq(in_rate & asked.write), rate.asked.eq(asked.write_data)]
            with m.State("BUS"):
                m.d.comb += bus.valid.eq(1)
                with m.If(bus.ready):
                    with m.If(bus.write):
                        m.next = "IDLE"
                    with m.Else():
                        m.d.sync += bus.write_data.eq(bus.read_data)
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += asked.ready.eq(1)
                m.next = "IDLE"
        return m
