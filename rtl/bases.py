"""Base registers: where in memory the tensors of a program are, and how far each may be touched."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..arch.registers import BASES
from .interfaces import BaseLookup

__all__ = ["BaseTable"]


class BaseTable(wiring.Component):
    """A memory of (base, size) pairs with one read port, shared by the register port and ``lookups`` engines.

    There may be two sets of them: one for the running program, which lookups see, and one that the register port sees. While
    ``running``, lookups are served one after the other, lower ports first, each in 4 cycles; the register port reads nothing
    sensible, and writes only the other set. Otherwise it reads and writes; read data are valid one cycle after the address.
    Bits beyond ``address_bits`` read 0.

    Parameters
    ----------
    address_bits : width of base and size
    lookups : number of lookup ports
    sets : 1 or 2
    block : False wants look-up tables: block RAM answers late in its cycle

    Members
    -------
    running : lookups come only now
    running_set, port_set : set that lookups and the register port see; without effect if there is one
    address : word of the table: base register [4:2], size instead of base [1], high half [0]
    write, write_data, read_data : the register port
    lookup : from the engines
    """

    running: Signal
    running_set: Signal
    port_set: Signal
    address: Signal
    write: Signal
    write_data: Signal
    read_data: Signal
    lookup: list[wiring.PureInterface]

    def __init__(self, *, address_bits: int, lookups: int, sets: int = 1, block: bool = True):
        self.address_bits = address_bits
        self.lookups = lookups
        self.sets = sets
        self.block = block
        super().__init__({
            "running": In(1), "running_set": In(1), "port_set": In(1),
            "address": In(5), "write": In(1), "write_data": In(32), "read_data": Out(32),
            "lookup": In(BaseLookup(address_bits)).array(lookups),
        })

    def elaborate(self, platform):
        m = Module()
        wide = self.address_bits > 32
        width = 64 if wide else self.address_bits
        m.submodules.table = table = memory.Memory(
            shape=width, depth=2 * BASES * self.sets, init=[],
            attrs={"no_rw_check": 1} | ({} if self.block else {"ram_style": "distributed"}))
        write_port = table.write_port(granularity=32 if wide else None)
        read_port = table.read_port()

        running_set, port_set = (self.running_set, self.port_set) if self.sets == 2 else (C(0, 0), C(0, 0))
        enable = self.write & ~(self.running & (running_set == port_set))
        high = self.address[0]
        m.d.comb += [
            write_port.addr.eq(Cat(self.address[1:], port_set)),
            write_port.data.eq(self.write_data.replicate(2) if wide else self.write_data),
            write_port.en.eq(Cat(enable & ~high, enable & high) if wide else enable & ~high),
        ]
        high_read = Signal(reset_less=True)
        m.d.sync += high_read.eq(high)
        words = Cat(read_port.data[:self.address_bits], C(0, 64 - self.address_bits))
        m.d.comb += self.read_data.eq(words.word_select(high_read, 32))

        chosen = Signal(range(max(2, self.lookups)), reset_less=True)
        base = Signal(self.address_bits, reset_less=True)
        for port in self.lookup:
            m.d.comb += [port.base.eq(base), port.size.eq(read_port.data)]
        # Where a lookup reads is in registers: the memory of look-up tables, and what leaves it, take the rest of a cycle.
        looks, size, index = Signal(), Signal(reset_less=True), Signal(3, reset_less=True)
        m.d.comb += read_port.addr.eq(Mux(looks, Cat(size, index, running_set), Cat(self.address[1:], port_set)))
        with m.FSM():
            with m.State("CHOOSE"):
                m.d.sync += size.eq(0)
                for number, port in reversed(list(enumerate(self.lookup))):
                    with m.If(port.valid):
                        m.d.sync += [chosen.eq(number), index.eq(port.index), looks.eq(1)]
                        m.next = "BASE"
            with m.State("BASE"):
                m.d.sync += size.eq(1)
                m.next = "SIZE"
            with m.State("SIZE"):
                m.d.sync += [base.eq(read_port.data), looks.eq(0)]
                m.next = "ANSWER"
            with m.State("ANSWER"):
                for number, port in enumerate(self.lookup):
                    m.d.comb += port.ready.eq(chosen == number)
                m.next = "CHOOSE"
        return m
