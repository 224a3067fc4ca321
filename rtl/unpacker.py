"""Two int4 weights out of each byte of the weight scratchpad."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Unpacker"]


class Unpacker(wiring.Component):
    """Lane c is half c mod 2, the low one first, of byte c ÷ 2: see :func:`~systolith.arch.numerics.pack_int4`.

    A byte is read when its first lane wants it; what its second one wants later waits in registers of four bits.

    Latency: none from a byte to its first lane, and to its second one as much as their delays differ. Throughput: one row per cycle.

    Parameters
    ----------
    delay : per lane, cycles by which it follows lane 0; the second lane of a byte not before the first

    Members
    -------
    i : bytes, byte b ``byte_delay[b]`` cycles after lane 0
    o : int4, one per lane, skewed by ``delay``
    """

    i: list[Signal]
    o: list[Signal]

    def __init__(self, *, delay: list[int]):
        if any(second < first for first, second in zip(delay[::2], delay[1::2], strict=False)):
            raise ValueError(f"delay must not fall within a pair of lanes, as in {delay!r}")
        self.delay = list(delay)
        super().__init__({"i": In(8).array(len(self.byte_delay)), "o": Out(signed(4)).array(len(delay))})

    @property
    def byte_delay(self) -> list[int]:
        """Per byte, cycles by which it follows lane 0."""
        return self.delay[::2]

    def elaborate(self, platform):
        m = Module()
        for lane, o in enumerate(self.o):
            byte, half = divmod(lane, 2)
            weight = self.i[byte].word_select(half, 4)
            for cycle in range(self.delay[lane] - self.byte_delay[byte]):
                waiting = Signal(4, name=f"weight{lane}_{cycle}", reset_less=True)
                m.d.sync += waiting.eq(weight)
                weight = waiting
            m.d.comb += o.eq(weight)
        return m
