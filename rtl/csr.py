"""The register map of an accelerator, as :mod:`systolith.arch.registers` lays it out."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import Config
from ..arch.manifest import identity_registers
from ..arch.registers import REGISTERS, offset_of

__all__ = ["CSRPort", "RegisterMap", "status_layout"]

_TABLE_AT, _TABLE_BYTES = offset_of("BASE0_LO"), 128
_HASH = ("HASH_LO", "HASH_HI")
_IDENTITY_END = offset_of("CONTROL")
_GROUP_BITS = 3  # of a register's number, that choose within a group
_STALLS_AT = offset_of("LOAD_BUSY")
WRITTEN = ("CONTROL", "IRQ_ENABLE", "PROGRAM_OFFSET", "PROGRAM_WORDS", "PROGRAM_BASES", "WATCHDOG")


class CSRPort(wiring.Signature):
    """Register accesses by byte address: a write takes effect at the edge, read data follow one cycle after the address."""

    def __init__(self):
        super().__init__({"address": Out(10), "write": Out(1), "write_data": Out(32), "read_data": In(32)})


def status_layout() -> data.StructLayout:
    """A struct with 32 bits for each register that is neither an identity nor a base register nor an engine's counter."""
    return data.StructLayout({
        register.name.lower(): unsigned(32) for register in REGISTERS
        if _IDENTITY_END <= register.offset < _STALLS_AT and not _TABLE_AT <= register.offset < _TABLE_AT + _TABLE_BYTES})


class RegisterMap(wiring.Component):
    """Decodes register addresses. Addresses without a register read 0 and ignore writes.

    Members
    -------
    csr : :class:`CSRPort`
    build_hash : what HASH shows
    values : what the registers of :func:`status_layout` show
    writes : bit i is set while register i of ``WRITTEN`` is written with ``csr.write_data``
    table_address, table_write, table_read_data : the table of base registers; data follow one cycle after the address
    stall_address, stall_read_data : the engines' counters, likewise (:class:`Counters`)
    """

    csr: wiring.PureInterface
    build_hash: Signal
    values: data.View
    writes: Signal
    table_address: Signal
    table_write: Signal
    table_read_data: Signal
    stall_address: Signal
    stall_read_data: Signal

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "csr": In(CSRPort()), "build_hash": In(64), "values": In(status_layout()), "writes": Out(len(WRITTEN)),
            "table_address": Out(5), "table_write": Out(1), "table_read_data": In(32),
            "stall_address": Out(5), "stall_read_data": In(32),
        })

    def elaborate(self, platform):
        m = Module()
        csr = self.csr
        identity = identity_registers(self.config)
        index = csr.address[2:]
        shown = {}
        for register in REGISTERS:
            name = register.name
            if name in _HASH:
                shown[register.offset // 4] = self.build_hash.word_select(_HASH.index(name), 32)
            elif name in identity:
                shown[register.offset // 4] = C(identity[name], 32)
            elif name.lower() in self.values.shape().members:
                shown[register.offset // 4] = self.values[name.lower()]
        exists = Signal()
        read_data = Signal(32, reset_less=True)
        if self.config.control.engines == "serial":
            m.d.sync += read_data.eq(_select(shown, index))
        else:  # half of the selection before the register, half behind it
            group = Signal(len(index) - _GROUP_BITS, reset_less=True)
            groups = {number >> _GROUP_BITS: Signal(32, name=f"group{number >> _GROUP_BITS}", reset_less=True) for number in shown}
            m.d.sync += [group.eq(index[_GROUP_BITS:]), *(
                kept.eq(_select({n % (1 << _GROUP_BITS): value for n, value in shown.items() if n >> _GROUP_BITS == number},
                                index[:_GROUP_BITS])) for number, kept in groups.items())]
            m.d.comb += read_data.eq(_select(groups, group))
        m.d.sync += exists.eq(Cat(index == number for number in shown).any())

        in_table = index[5:] == _TABLE_AT // _TABLE_BYTES
        in_stalls = Cat(index == register.offset // 4 for register in REGISTERS if register.offset >= _STALLS_AT).any()
        table_read = Signal()
        stall_read = Signal()
        m.d.sync += [table_read.eq(in_table), stall_read.eq(in_stalls)]
        m.d.comb += [
            self.table_address.eq(index), self.table_write.eq(csr.write & in_table),
            self.stall_address.eq(Cat(index[:3], index[4:6])),
            self.writes.eq(Cat(csr.write & (index == offset_of(name) // 4) for name in WRITTEN)),
        ]
        with m.If(exists):
            m.d.comb += csr.read_data.eq(read_data)
        with m.Elif(table_read):
            m.d.comb += csr.read_data.eq(self.table_read_data)
        with m.Elif(stall_read):
            m.d.comb += csr.read_data.eq(self.stall_read_data)
        return m


def _select(values: dict[int, Value], index: Value) -> Value:
    """The value at ``index`` by a tree of two-way multiplexers; anything where there is none.

    A switch over a sparse map costs yosys four times as many look-up tables.
    """
    if len(values) == 1 or not len(index):
        return next(iter(values.values()))
    top, rest = index[-1], index[:-1]
    low, high = ({number % (1 << len(rest)): value for number, value in values.items() if number >> len(rest) == half}
                 for half in range(2))
    if not low or not high:
        return _select(low or high, rest)
    return Mux(top, _select(high, rest), _select(low, rest))
