"""From accumulator words to bytes: maxima, sums with a table or the bias, requantisation, and the channels' parameters."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..arch.commands import TABLE_WORDS
from ..arch.numerics import ADD_SHIFT, unit
from .interfaces import TABLE_FIELD, ParameterLoad
from .queue import Queue
from .requantise import MULTIPLIER_BITS, SHIFT_BITS, requantiser
from .skew import Skew
from .step import stepped

__all__ = ["Chunk", "Epilogue", "Group", "Settings"]

_RADIX_BITS = 3  # inputs of one multiplexer stage: 8, which an FPGA builds from two levels of look-up tables


class Settings(data.StructLayout):
    """What holds for all groups in flight: raw words or, with ``requantise``, results.

    ``bias``: the channel's bias is added. ``add``: a word holds two operands, one of which the table replaces. ``unit``: all channels
    have the multiplier and the shift of a factor of one.
    """

    def __init__(self):
        super().__init__({
            "requantise": 1, "bias": 1, "add": 1, "unit": 1, "zero_point": signed(8), "low": signed(8), "high": signed(8),
        })


class Group(data.StructLayout):
    """Which columns of the row that is being drained: group ``index`` of ``lanes`` columns, of which raw words leave in parts.

    Words are ``read`` row after row of a window; ``fresh`` marks its first row, ``valid`` its last, with which the result is complete.
    ``bytes`` is what the chunk holds; ``last`` marks the row's last one.
    """

    def __init__(self, *, cols: int, lanes: int, raw_lanes: int, parameter_groups: int, chunk_bytes: int):
        super().__init__({
            "read": 1, "fresh": 1, "valid": 1, "index": range(-(-cols // lanes)), "part": range(-(-lanes // raw_lanes)),
            "parameter_group": range(parameter_groups), "bytes": range(chunk_bytes + 1), "last": 1,
        })


class Chunk(data.StructLayout):
    """``bytes`` bytes of a row, the first one lowest; ``last`` ends the row."""

    def __init__(self, *, chunk_bytes: int):
        super().__init__({"data": data.ArrayLayout(8, chunk_bytes), "bytes": range(chunk_bytes + 1), "last": 1})


class Epilogue(wiring.Component):
    """Takes groups of columns of drained accumulator rows and gives chunks of bytes, in order.

    A group is presented with the drain request of its row, and only while ``ready``: there is a place in the output queue for
    each group in the pipeline, so that the pipeline never stalls. Throughput: one group per cycle; with the serial multiplier,
    one requantised group per 8 cycles. Latency, from a group to its chunk at the output: ``raw_cycles`` or
    ``requantise_cycles``. ``settings`` may change while ``empty``::

        words ─► select group ─► maximum of a window ─► operands, table ─► sum, with the bias ─► requantise ─► chunks

    Parameters
    ----------
    cols : words of a drained row
    lanes : columns requantised together
    raw_lanes : words that leave together, at most ``lanes``
    parameter_groups : groups of ``lanes`` channels in the parameter memory
    multiplier : kind of requantiser, ``parallel`` or ``serial``
    drain_cycles : from a group to its row's words, at least 1
    add : there is a table, and ``settings.add`` may be set
    max_pool : windows may have more than one row, and ``settings.unit`` may be set
    result_bytes : of a requantised value, 1 or 2
    bits : width of a word, 32, or more without ``add``, with the multiplier ``parallel`` and results of 2 bytes

    Members
    -------
    settings : see :class:`Settings`
    group : see :class:`Group`
    ready : a group may be presented
    words : the row's words, ``drain_cycles`` after the group
    parameter : writes of the parameter memory and the table
    empty : no group is in the pipeline (chunks may wait at the output)
    idle : no group is in the pipeline and no chunk waits
    o : stream of :class:`Chunk`
    """

    settings: data.View
    group: data.View
    ready: Signal
    words: list[Signal]
    parameter: wiring.PureInterface
    empty: Signal
    idle: Signal
    o: stream.Interface

    def __init__(self, *, cols: int, lanes: int, raw_lanes: int, parameter_groups: int, multiplier: str, drain_cycles: int,
                 add: bool = True, max_pool: bool = True, result_bytes: int = 1, bits: int = 32):
        if not 1 <= raw_lanes <= lanes <= cols:
            raise ValueError(f"raw_lanes, lanes and cols must not decrease, from 1 on, not {raw_lanes!r}, {lanes!r}, {cols!r}")
        if drain_cycles < 1:
            raise ValueError(f"drain_cycles must be at least 1, not {drain_cycles!r}")
        self.cols = cols
        self.lanes = lanes
        self.raw_lanes = raw_lanes
        self.parameter_groups = parameter_groups
        self.multiplier = multiplier
        self.drain_cycles = drain_cycles
        self.add = add
        self.max_pool = max_pool
        self.result_bytes = result_bytes
        self.bits = bits
        self.chunk_bytes = max(lanes * result_bytes, 4 * raw_lanes)
        self._requantisers = [requantiser(multiplier, 8 * result_bytes, bits) for _ in range(lanes)]
        super().__init__({
            "settings": In(Settings()),
            "group": In(Group(cols=cols, lanes=lanes, raw_lanes=raw_lanes, parameter_groups=parameter_groups,
                              chunk_bytes=self.chunk_bytes)),
            "ready": Out(1),
            "words": In(signed(bits)).array(cols),
            "parameter": In(ParameterLoad(lanes=lanes)),
            "empty": Out(1),
            "idle": Out(1),
            "o": Out(stream.Signature(Chunk(chunk_bytes=self.chunk_bytes))),
        })

    @property
    def interval_cycles(self) -> int:
        """Cycles per requantised group."""
        return self._requantisers[0].interval_cycles

    @property
    def select_cycles(self) -> int:
        """Stages of the group multiplexer."""
        return max(1, -(-ceil_log2(-(-self.cols // self.lanes)) // _RADIX_BITS))

    @property
    def raw_cycles(self) -> int:
        return self._sum_cycles + self._queue_cycles

    @property
    def requantise_cycles(self) -> int:
        return self.raw_cycles + self._requantisers[0].latency_cycles

    @property
    def depth(self) -> int:
        """Chunks of the output queue: enough for one group per cycle, and a few to spare for a consumer that hesitates."""
        return 1 << ceil_log2(self.requantise_cycles // self.interval_cycles + 8)

    @property
    def maximum_cycles(self) -> int:
        return int(self.max_pool)

    @property
    def operand_cycles(self) -> int:
        """The table's memory, and a register."""
        return 2 * self.add

    @property
    def _sum_cycles(self) -> int:
        return self.drain_cycles + self.select_cycles + self.maximum_cycles + self.operand_cycles + 1

    _queue_cycles = 2

    def elaborate(self, platform):
        m = Module()
        settings = self.settings
        added = self._sum_cycles
        done = added + self._requantisers[0].latency_cycles

        # What goes along with the data, as far as somebody needs it.
        tail = data.StructLayout({"bytes": self.group.bytes.shape(), "last": 1})
        m.submodules.tail = tails = Skew(tail, delays=[added, done])
        m.submodules.index = index = Skew(len(self.group.index), delays=[self.drain_cycles])
        m.submodules.part = part = Skew(len(self.group.part), delays=[added])
        # A parameter is needed two cycles after its address: memory, register.
        scaled = added - 2 + self._requantisers[0].multiplier_cycles
        m.submodules.channel = channel = Skew(len(self.group.parameter_group), delays=[added - 3, scaled, added - 2])
        m.d.comb += [
            tails.i.bytes.eq(self.group.bytes), tails.i.last.eq(self.group.last),
            index.i.eq(self.group.index), part.i.eq(self.group.part), channel.i.eq(self.group.parameter_group),
        ]
        valid = Signal(done)  # bit i: a group was presented i + 1 cycles ago; raw ones leave after the sum
        coming = Cat(self.group.valid, valid[:added - 1], valid[added - 1] & settings.requantise, valid[added:])[:done]
        occupied = Signal()
        m.d.sync += [valid.eq(coming), occupied.eq(coming.any())]
        m.d.comb += self.empty.eq(~occupied)

        bias, multiplier, shift = self._parameters(m, channel.o)
        words = self._select(m, index.o[0])
        if self.max_pool:
            words = self._maxima(m, words)
        if self.add:
            words, table = self._operands(m, words)
            bias = [one | other for one, other in zip(bias, table, strict=True)]  # one of them is zero
        sums = []
        for lane, word in enumerate(words):
            total = Signal(signed(self.bits), name=f"sum{lane}", reset_less=True)
            m.d.sync += total.eq(word + bias[lane].as_signed())
            sums.append(total)
        results = []
        for lane, requantise in enumerate(self._requantisers):
            m.submodules[f"requantise{lane}"] = requantise
            m.d.comb += [
                requantise.start.eq(valid[added - 1]), requantise.acc.eq(sums[lane]),
                requantise.multiplier.eq(multiplier[lane]), requantise.shift.eq(shift[lane].as_signed()),
                requantise.zero_point.eq(settings.zero_point), requantise.low.eq(settings.low), requantise.high.eq(settings.high),
            ]
            results.append(requantise.o)

        m.submodules.queue = queue = Queue(width=self.o.payload.shape().size, depth=self.depth, early=True)
        chunk = Signal(self.o.payload.shape())
        raw = sums if self.bits == 32 else [total[:32] for total in sums]
        parts = Array(Cat(raw[first:first + self.raw_lanes]) for first in range(0, self.lanes, self.raw_lanes))
        m.d.comb += [
            chunk.data.as_value().eq(Mux(settings.requantise, Cat(results), parts[part.o[0]])),
            Cat(chunk.bytes, chunk.last).eq(Mux(settings.requantise, tails.o[1], tails.o[0])),
            queue.w_data.eq(chunk), queue.w_en.eq(Mux(settings.requantise, valid[done - 1], valid[added - 1])),
            self.o.payload.eq(queue.r_data), self.o.valid.eq(queue.r_rdy), queue.r_en.eq(self.o.ready),
        ]
        self._credits(m)
        return m

    def _credits(self, m):
        """``ready``: fewer groups and chunks than places, and the requantiser takes the next."""
        held = Signal(range(self.depth + 1))
        leaving = self.o.valid & self.o.ready
        with m.If(self.group.valid ^ leaving):
            m.d.sync += held.eq(stepped(held, self.group.valid))
        pause = Signal(range(self.interval_cycles))
        if self.interval_cycles > 1:
            with m.If(self.group.valid & self.settings.requantise):
                m.d.sync += pause.eq(self.interval_cycles - 1)
            with m.Elif(pause != 0):
                m.d.sync += pause.eq(pause - 1)
        spare = Signal()  # one cycle late, and a group may have come since
        m.d.sync += spare.eq(held < self.depth - 1)
        m.d.comb += [self.idle.eq(held == 0), self.ready.eq(spare & (pause == 0))]

    def _parameters(self, m, groups):
        """Registered words of bias, multiplier and shift at ``groups``, one list of lanes each."""
        fields = []
        for number, (name, width, group) in enumerate(zip(
                ("bias", "multiplier", "shift"), (32, MULTIPLIER_BITS + 1, SHIFT_BITS), groups, strict=True)):
            m.submodules[name] = ram = memory.Memory(
                shape=data.ArrayLayout(width, self.lanes), depth=self.parameter_groups, init=[], attrs={"no_rw_check": 1})
            write, read = ram.write_port(granularity=1), ram.read_port()
            enable = self.parameter.valid & (self.parameter.field == number)
            m.d.comb += [
                write.addr.eq(self.parameter.group), write.en.eq(enable << self.parameter.lane),
                write.data.eq(Cat(self.parameter.word[:width].replicate(self.lanes))), read.addr.eq(group),
            ]
            # The memory's own register, which gives them early in their cycle; what is not wanted is replaced behind it.
            words = Signal(data.ArrayLayout(width, self.lanes), name=f"{name}_words", reset_less=True)
            m.d.sync += words.eq(read.data)
            is_unit = self.settings.unit & self.max_pool
            if name == "shift":  # on its way to a shifter, without the load of the multipliers; what is read needs it later
                plain = Signal()
                m.d.sync += plain.eq(~is_unit)
                is_unit = ~plain
            one = unit(self.bits)
            without, instead = {"bias": (~self.settings.bias, 0), "multiplier": (is_unit, one[0]), "shift": (is_unit, one[1])}[name]
            fields.append([Mux(without, C(instead, width), word) for word in words])
        return fields

    def _maxima(self, m, words):
        """The largest words of each window so far."""
        m.submodules.window = window = Skew(2, delays=[self.drain_cycles + self.select_cycles])
        read, fresh = window.o[0]
        m.d.comb += window.i.eq(Cat(self.group.read, self.group.fresh))
        maxima = []
        for lane, word in enumerate(words):
            maximum = Signal(signed(self.bits), name=f"maximum{lane}", reset_less=True)
            less = (maximum - word)[-1]  # as a sum, of which the carry is faster than a comparison's tree
            with m.If(read & (fresh | less)):
                m.d.sync += maximum.eq(word)
            maxima.append(maximum)
        return maxima

    def _operands(self, m, words):
        """What is summed, ``operand_cycles`` later: the words, or their first operands and what the table has for the second.

        Of v = x1 − 256·x2, x1 is the lowest byte, signed; −x2 is the next one and what x1 < 0 has borrowed from it.
        """
        firsts, seconds = [], []
        for lane, word in enumerate(words):
            m.submodules[f"table{lane}"] = ram = memory.Memory(shape=32, depth=TABLE_WORDS, init=[], attrs={"no_rw_check": 1})
            write, read = ram.write_port(), ram.read_port()
            held, first, second = (Signal(signed(32), name=f"{name}{lane}", reset_less=True) for name in ("held", "first", "second"))
            m.d.comb += [
                write.addr.eq(self.parameter.group), write.en.eq(self.parameter.valid & (self.parameter.field == TABLE_FIELD)),
                write.data.eq(self.parameter.word), read.addr.eq(word[8:16] + word[7]),
            ]
            m.d.sync += [
                held.eq(word), first.eq(Mux(self.settings.add, held[:8].as_signed() << ADD_SHIFT, held)),
                second.eq(read.data),
            ]
            firsts.append(first)
            seconds.append(Mux(self.settings.add, second, 0))
        return firsts, seconds

    def _select(self, m, index):
        """The group's words, ``select_cycles`` after the row's."""
        padding = -self.cols % self.lanes
        words = [*self.words, *[C(0, signed(self.bits))] * padding]
        level = [words[first:first + self.lanes] for first in range(0, len(words), self.lanes)]
        for stage in range(self.select_cycles):
            low = index[:_RADIX_BITS]
            groups = []
            for block in range(0, len(level), 1 << _RADIX_BITS):
                inputs = level[block:block + (1 << _RADIX_BITS)]
                chosen = [Signal(signed(self.bits), name=f"select{stage}_{block}_{lane}", reset_less=True) for lane in range(self.lanes)]
                m.d.sync += [word.eq(Array(group[lane] for group in inputs)[low]) for lane, word in enumerate(chosen)]
                groups.append(chosen)
            level = groups
            rest = Signal(max(0, len(index) - _RADIX_BITS), name=f"index{stage}", reset_less=True)
            m.d.sync += rest.eq(index[_RADIX_BITS:])
            index = rest
        return level[0]
