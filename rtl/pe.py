"""The processing element: one multiply-accumulate and the registers that make it systolic."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MAC", "PE"]


class MAC(wiring.Component):
    """Multiply-accumulate with its weight: psum_out = psum_in + a · active.

    Latency: 3 cycles from ``a`` (input register, product, sum), 1 cycle from ``psum_in``. Throughput: one product per cycle.
    The registers stand where DSP blocks have theirs, so a primitive can hold all of them.

    Parameters
    ----------
    psum_bits : width of a partial sum, at least 16

    Members
    -------
    a, a_out : activation, and the same one cycle later
    weight, load : at the end of a cycle with ``load``, ``weight`` becomes active, for the ``a`` of that cycle on
    psum_in, psum_out : partial sums

    Platform overrides
    ------------------
    ``get_mac(mac)`` returns an elaboratable with the same ports, timing and results.
    """

    a: Signal
    a_out: Signal
    weight: Signal
    load: Signal
    psum_in: Signal
    psum_out: Signal

    a_latency_cycles = 1
    psum_latency_cycles = 1
    latency_cycles = 3

    def __init__(self, *, psum_bits: int):
        if psum_bits < 16:
            raise ValueError(f"psum_bits must be at least 16, not {psum_bits!r}")
        self.psum_bits = psum_bits
        super().__init__({
            "a": In(signed(8)), "a_out": Out(signed(8)),
            "weight": In(signed(8)), "load": In(1),
            "psum_in": In(signed(psum_bits)), "psum_out": Out(signed(psum_bits)),
        })

    def elaborate(self, platform):
        if hasattr(platform, "get_mac"):
            return platform.get_mac(self)
        m = Module()
        a = Signal(signed(8), reset_less=True)
        active = Signal(signed(8), reset_less=True)
        product = Signal(signed(16), reset_less=True)
        psum = Signal(signed(self.psum_bits), reset_less=True)
        with m.If(self.load):
            m.d.sync += active.eq(self.weight)
        m.d.sync += [a.eq(self.a), product.eq(a * active), psum.eq(self.psum_in + product)]
        m.d.comb += [self.a_out.eq(a), self.psum_out.eq(psum)]
        return m


class PE(wiring.Component):
    """A :class:`MAC` with a shadow weight: the next tile moves down the column while the active one works.

    Latency: as :class:`MAC`; ``swap`` travels with ``a``, ``w`` takes one cycle with ``w_shift``.

    Members
    -------
    a_in, a_out : activation, to the right
    swap_in, swap_out : with the first activation of a tile: the shadow weight becomes active
    w_in, w_out : weight, downwards, one row per cycle with ``w_shift``; ``w_out`` is the shadow weight
    psum_in, psum_out : partial sums, downwards
    """

    a_in: Signal
    a_out: Signal
    swap_in: Signal
    swap_out: Signal
    w_in: Signal
    w_out: Signal
    w_shift: Signal
    psum_in: Signal
    psum_out: Signal

    a_latency_cycles = MAC.a_latency_cycles
    psum_latency_cycles = MAC.psum_latency_cycles
    latency_cycles = MAC.latency_cycles
    w_latency_cycles = 1

    def __init__(self, *, psum_bits: int):
        self.psum_bits = psum_bits
        super().__init__({
            "a_in": In(signed(8)), "a_out": Out(signed(8)),
            "swap_in": In(1), "swap_out": Out(1),
            "w_in": In(signed(8)), "w_out": Out(signed(8)), "w_shift": In(1),
            "psum_in": In(signed(psum_bits)), "psum_out": Out(signed(psum_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.mac = mac = MAC(psum_bits=self.psum_bits)
        shadow = Signal(signed(8), reset_less=True)
        swap = Signal(reset_less=True)  # at power-up it may load a weight that no row uses
        with m.If(self.w_shift):
            m.d.sync += shadow.eq(self.w_in)
        m.d.sync += swap.eq(self.swap_in)
        m.d.comb += [
            mac.a.eq(self.a_in), mac.weight.eq(shadow), mac.load.eq(self.swap_in), mac.psum_in.eq(self.psum_in),
            self.a_out.eq(mac.a_out), self.psum_out.eq(mac.psum_out),
            self.w_out.eq(shadow), self.swap_out.eq(swap),
        ]
        return m
