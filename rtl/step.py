"""Counters that learn late in their cycle what happens in it."""

from amaranth import *

__all__ = ["LateCount", "stepped"]


def stepped(count: Value, up: Value) -> Value:
    """``count`` + 1 where ``up``, else ``count`` − 1, modulo 2**bits.

    A bit turns where all bits below it are 1, or 0: that is known of ``count`` alone, and ``up`` passes a single look-up table, where an
    adder would put a carry chain behind it.
    """
    return Cat(count[n] ^ Mux(up, count[:n].all(), ~count[:n].any()) for n in range(len(count)))


class LateCount:
    """A number from 0 to ``most`` that follows a cycle late: what moves it reaches two flip-flops and nothing else.

    What it is now is known of those two and of the number before, early in the cycle (:meth:`equals`).

    Parameters
    ----------
    m : the module that counts
    most : the largest number; who counts sees to it that it stays from 0 to that
    up, down : it moves by one in this cycle; both leave it as it is
    name : of its signals
    init : after reset

    Attributes
    ----------
    went_up, went_down : what moved it in the cycle before
    """

    def __init__(self, m: Module, most: int, *, up: Value, down: Value, name: str, init: int = 0):
        self.most = most
        self._count = Signal(range(most + 1), name=name, init=init)
        self.went_up, self.went_down = Signal(name=f"{name}_up"), Signal(name=f"{name}_down")
        m.d.sync += [self.went_up.eq(up), self.went_down.eq(down)]
        with m.If(self.went_up ^ self.went_down):
            m.d.sync += self._count.eq(stepped(self._count, self.went_up))

    def equals(self, number: int) -> Value:
        """Whether it is ``number``."""
        def before(count: int) -> Value:
            return self._count == count if 0 <= count <= self.most else C(0)

        same = before(number)
        return Mux(self.went_up, Mux(self.went_down, same, before(number - 1)), Mux(self.went_down, before(number + 1), same))
