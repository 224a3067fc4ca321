"""Up or down by one, for counters that learn late in their cycle which."""

from amaranth import *

__all__ = ["stepped"]


def stepped(count: Value, up: Value) -> Value:
    """``count`` + 1 where ``up``, else ``count`` − 1, modulo 2**bits.

    A bit turns where all bits below it are 1, or 0: that is known of ``count`` alone, and ``up`` passes a single look-up table, where an
    adder would put a carry chain behind it.
    """
    return Cat(count[n] ^ Mux(up, count[:n].all(), ~count[:n].any()) for n in range(len(count)))
