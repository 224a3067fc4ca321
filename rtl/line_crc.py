"""The CRC of a serial line, bit by bit as the line has them."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.serial_link import POLYNOMIAL

__all__ = ["LineCRC"]


class LineCRC(wiring.Component):
    """CRC-32 of IEEE 802.3: least significant bit of a byte first, as a UART sends it, so that a bit costs a cycle and no buffer.

    Members
    -------
    step, bit : the next bit
    restart : begin anew, whatever comes in this cycle
    value : the register, which is ``zlib.crc32`` inverted
    """

    step: Signal
    bit: Signal
    restart: Signal
    value: Signal

    def __init__(self):
        super().__init__({"step": In(1), "bit": In(1), "restart": In(1), "value": Out(32, init=0xFFFF_FFFF)})

    def elaborate(self, platform):
        m = Module()
        feedback = Signal()
        m.d.comb += feedback.eq(self.value[0] ^ self.bit)
        with m.If(self.restart):
            m.d.sync += self.value.eq(0xFFFF_FFFF)
        with m.Elif(self.step):
            m.d.sync += self.value.eq((self.value >> 1) ^ Mux(feedback, POLYNOMIAL, 0))
        return m
