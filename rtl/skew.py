"""Delays that differ from lane to lane."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LaneSkew", "Skew"]


class Skew(wiring.Component):
    """One value in, the same value on every lane, each after its own delay: what turns a row into a systolic wave.

    All lanes tap one chain of registers, as long as the longest delay; so addresses and flags are skewed, which all lanes
    share, rather than data::

        i ─────┬───────►[reg]──┬───────►[reg]──┬──►           cycle   i   o[0]  o[1]  o[2]
               ▼               ▼               ▼                t     x    x
              o[0]            o[1]            o[2]             t+1    y    y     x
              delay 0         delay 1         delay 2          t+2    z    z     y     x

    Latency: ``delays[l]`` cycles to lane l; 0 is a wire. Throughput: one value per cycle.

    Parameters
    ----------
    shape : of the value
    delays : one per lane, cycles, in any order
    control : the registers are reset (flags that act); otherwise not (data)

    Members
    -------
    i : the value
    o : one per lane
    """

    i: Signal
    o: list[Signal]

    def __init__(self, shape, *, delays: list[int], control: bool = False):
        if not delays or min(delays) < 0:
            raise ValueError(f"delays must be one or more numbers of cycles from 0 on, not {delays!r}")
        self.shape = shape
        self.delays = list(delays)
        self.control = control
        super().__init__({"i": In(shape), "o": Out(shape).array(len(delays))})

    def elaborate(self, platform):
        m = Module()
        chain = [self.i]
        for cycle in range(1, max(self.delays) + 1):
            stage = Signal(self.shape, name=f"stage{cycle}", reset_less=not self.control)
            m.d.sync += stage.eq(chain[-1])
            chain.append(stage)
        m.d.comb += [lane.eq(chain[delay]) for lane, delay in zip(self.o, self.delays, strict=True)]
        return m


class LaneSkew(wiring.Component):
    """Lane l of a vector after l cycles, where lanes have values of their own. Throughput: one vector per cycle.

    Parameters
    ----------
    width : bits of a value
    lanes : values

    Members
    -------
    i, o : signed, one per lane
    """

    i: list[Signal]
    o: list[Signal]

    def __init__(self, *, width: int, lanes: int):
        self.width = width
        self.lanes = lanes
        super().__init__({"i": In(signed(width)).array(lanes), "o": Out(signed(width)).array(lanes)})

    def elaborate(self, platform):
        m = Module()
        rest: Value = Cat(self.i)
        for lane, o in enumerate(self.o):
            m.d.comb += o.eq(rest[:self.width])
            if lane + 1 < self.lanes:  # one register of all that have further to go: in large arrays there are ten thousands of values
                stage = Signal(len(rest) - self.width, name=f"stage{lane + 1}", reset_less=True)
                m.d.sync += stage.eq(rest[self.width:])
                rest = stage
        return m
