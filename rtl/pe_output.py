"""The processing element of an output-stationary array: a multiplier and the sum that stays."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .multiplier import FabricMultiplier
from .pe import PE, fabric_product, registered_product

__all__ = ["FabricOutputPE", "OutputPE"]


class OutputPE(wiring.Component):
    """sum = Σ a · w over the vectors from the one with ``first`` to the one with ``end``, and a register from which it leaves.

    Latency: ``latency_cycles`` from ``a_in`` and ``w_in`` with ``end`` to ``sum_out`` (activation and weight, product, sum); one cycle
    from them to their neighbours. Throughput: one product per cycle; the next sum may begin in the cycle after ``end``. What comes in
    between must have weights of zero where a sum is not complete; after ``end`` it may be anything.

    Parameters
    ----------
    weight_bits : width of a weight, 8 or 4
    activation_bits : width of an activation, 8 or 16

    Members
    -------
    a_in, a_out : activation, to the right
    first_in, first_out, end_in, end_out : with an activation: the sum begins with it, is complete with it
    w_in, w_out : weight, downwards
    shift_in, shift_out : as ``end``: ``sum_out`` takes what is above it, unless a sum is complete
    sum_in, sum_out : complete sums, downwards; modulo 2**32
    """

    a_in: Signal
    a_out: Signal
    first_in: Signal
    first_out: Signal
    end_in: Signal
    end_out: Signal
    w_in: Signal
    w_out: Signal
    shift_in: Signal
    shift_out: Signal
    sum_in: Signal
    sum_out: Signal

    sum_bits = 32
    product_cycles = 1
    latency_cycles = 1 + product_cycles + 1
    product = staticmethod(registered_product)

    def __init__(self, *, weight_bits: int = 8, activation_bits: int = 8):
        if activation_bits not in PE.activation_widths:
            raise ValueError(f"activation_bits must be {' or '.join(map(str, PE.activation_widths))}, not {activation_bits!r}")
        self.weight_bits = weight_bits
        self.activation_bits = activation_bits
        super().__init__({
            "a_in": In(activation_bits), "a_out": Out(activation_bits), "w_in": In(weight_bits), "w_out": Out(weight_bits),
            "first_in": In(1), "first_out": Out(1), "end_in": In(1), "end_out": Out(1),
            "shift_in": In(1), "shift_out": Out(1), "sum_in": In(signed(self.sum_bits)), "sum_out": Out(signed(self.sum_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        a = Signal(signed(self.activation_bits), reset_less=True)
        w = Signal(signed(self.weight_bits), reset_less=True)
        total, held, complete = (Signal(signed(self.sum_bits), name=name, reset_less=True) for name in ("total", "held", "complete"))
        m.d.sync += [a.eq(self.a_in), w.eq(self.w_in)]
        flags = []
        # The first product meets a sum that was cleared a cycle before: a flip-flop's reset, where a gate would be a look-up table a bit.
        for name, cycles in (("first", self.product_cycles), ("end", 1 + self.product_cycles), ("shift", 1 + self.product_cycles)):
            flag = getattr(self, f"{name}_in")
            for cycle in range(cycles):  # beside the activation, then the product
                stage = Signal(name=f"{name}{cycle}", reset_less=True)
                m.d.sync += stage.eq(flag)
                if cycle == 0:
                    m.d.comb += getattr(self, f"{name}_out").eq(stage)
                flag = stage
            flags.append(flag)
        first, end, shift = flags
        m.d.comb += total.eq(held + self.product(m, platform, a, w))
        m.d.sync += held.eq(Mux(first, 0, total))
        with m.If(end):
            m.d.sync += complete.eq(total)
        with m.Elif(shift):
            m.d.sync += complete.eq(self.sum_in)
        m.d.comb += [self.a_out.eq(a), self.w_out.eq(w), self.sum_out.eq(complete)]
        return m


class FabricOutputPE(OutputPE):
    """An :class:`OutputPE` that multiplies in look-up tables. Latency: a cycle more."""

    product_cycles = FabricMultiplier.latency_cycles
    latency_cycles = 1 + product_cycles + 1

    product = staticmethod(fabric_product)
