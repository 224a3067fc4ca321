"""Multipliers with their registers: the one that a DSP block replaces, and one of adders for where there is none."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["FabricMultiplier", "Multiplier"]


class Multiplier(wiring.Component):
    """p = x · y, both signed.

    Latency: 2 cycles (operand registers, product register). Throughput: one product per cycle. The registers stand where DSP
    blocks have theirs, and have no reset.

    Parameters
    ----------
    x_bits, y_bits : widths of the operands

    Platform overrides
    ------------------
    Emitted as a module ``multiplier_XxY`` of its own (:mod:`~systolith.rtl.shared`), which ``boards/primitives_<family>.py``
    replaces by the family's block.
    """

    x: Signal
    y: Signal
    p: Signal

    module_name = "multiplier_{x_bits}x{y_bits}"
    latency_cycles = 2

    def __init__(self, *, x_bits: int, y_bits: int):
        for subject, bits in (("x_bits", x_bits), ("y_bits", y_bits)):
            if bits < 2:
                raise ValueError(f"{subject} must be at least 2, not {bits!r}")
        self.x_bits = x_bits
        self.y_bits = y_bits
        super().__init__({"x": In(signed(x_bits)), "y": In(signed(y_bits)), "p": Out(signed(x_bits + y_bits))})

    def elaborate(self, platform):
        m = Module()
        x, y = (Signal(operand.shape(), name=f"{operand.name}_register", reset_less=True) for operand in (self.x, self.y))
        product = Signal(self.p.shape(), reset_less=True)
        m.d.sync += [x.eq(self.x), y.eq(self.y), product.eq(x * y)]
        m.d.comb += self.p.eq(product)
        return m


class FabricMultiplier(wiring.Component):
    """p = x · y of two signed bytes, from look-up tables and carry chains only: four times two partial products, added in pairs.

    Latency: 3 cycles. Throughput: one product per cycle.
    """

    x: Signal
    y: Signal
    p: Signal

    latency_cycles = 3

    def __init__(self):
        super().__init__({"x": In(signed(8)), "y": In(signed(8)), "p": Out(signed(16))})

    def elaborate(self, platform):
        m = Module()

        def register(value: Value, name: str) -> Signal:
            stage = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += stage.eq(value)
            return stage

        partial = [(self.x & bit.replicate(8).as_signed()) for bit in self.y]
        quarters = []
        for i in range(0, 8, 2):
            double = partial[i + 1] << 1
            # Bit 7 is the sign of y: it counts −128.
            total = partial[i] - double if i == 6 else partial[i] + double
            quarters.append(register(total[:10].as_signed(), f"quarter{i // 2}"))
        halves = [register((quarters[i] + (quarters[i + 1] << 2))[:13].as_signed(), f"half{i // 2}") for i in (0, 2)]
        m.d.comb += self.p.eq(register((halves[0] + (halves[1] << 4))[:16].as_signed(), "product"))
        return m
