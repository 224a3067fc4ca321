"""The writing side of LOAD: bus words to rows."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..arch.commands import PARAMETER_WORDS, Bank
from ..arch.config import Config
from ..arch.registers import ErrorCode
from .elastic_buffer import ElasticBuffer
from .interfaces import TABLE_FIELD, AccumulatorLoad, ErrorShape, ParameterLoad, ScratchpadWrite
from .load_fields import bank_lanes, bank_of_words, bank_rows
from .load_records import RecordLayout, most_bytes, next_chunk
from .locks import HALVES

__all__ = ["LoadBack"]


class LoadBack(wiring.Component):
    """Takes the words of each recorded burst apart and writes them: up to a bus word per cycle into a scratchpad, 4 bytes
    into accumulator, parameters or table.

    Latency: 4 cycles from a word to its write. Reports RANGE for a row outside its memory and BUS (with the bus word's address),
    both when everything before is complete; nothing is written from there on.

    Parameters
    ----------
    config : the accelerator
    visible_cycles : from a write to the cycle in which a token for it may be given
    hold_cycles : a half of the accumulator stays claimed so long after a write

    Members
    -------
    halt : level; what comes now is discarded
    record : stream of :class:`RecordLayout`, with the bytes behind the first chunk (:func:`~.load_records.behind_first_chunk`)
    response : bus words; ``response_address``: of the one that is there
    activation, weight : :class:`ScratchpadWrite`
    accumulator : :class:`AccumulatorLoad`
    claim, granted : halves of the accumulator (see :mod:`~systolith.rtl.locks`)
    parameter : :class:`ParameterLoad`, of parameters and table
    give, give_mask : a command is complete
    fault : something was wrong, reported (``error``) or about to be
    idle : nothing is recorded, held or still to be given
    moves, stalls : this cycle writes, or waits to write
    """

    halt: Signal
    record: stream.Interface
    response: stream.Interface
    response_address: Signal
    activation: wiring.PureInterface
    weight: wiring.PureInterface
    accumulator: wiring.PureInterface
    parameter: wiring.PureInterface
    claim: Signal
    granted: Signal
    give: Signal
    give_mask: Signal
    fault: Signal
    idle: Signal
    moves: Signal
    stalls: Signal
    error: ErrorShape

    def __init__(self, config: Config, *, visible_cycles: int, hold_cycles: int):
        self.config = config
        self.bus_bytes = bus_bytes = config.bus_bytes
        self.lanes = lanes = bank_lanes(config)
        self.depth = bank_rows(config)
        self.half_rows = config.half_rows
        self.visible_cycles = visible_cycles
        self.hold_cycles = hold_cycles
        self.widths = {bank: config.write_bytes(lanes[bank]) for bank in (Bank.ACTIVATION, Bank.WEIGHT)}
        super().__init__({
            "halt": In(1),
            "record": In(stream.Signature(RecordLayout(config))),
            "response": In(stream.Signature(data.StructLayout({"data": 8 * bus_bytes, "error": 1}))),
            "response_address": In(config.memory.address_bits),
            **{bank.name.lower(): Out(ScratchpadWrite(lanes=lanes[bank], row_bits=16, width=width))
               for bank, width in self.widths.items()},
            "accumulator": Out(AccumulatorLoad(cols=lanes[Bank.ACCUMULATOR])),
            "parameter": Out(ParameterLoad(lanes=lanes[Bank.PARAMETER])),
            "claim": Out(HALVES), "granted": In(HALVES), "give": Out(1), "give_mask": Out(2),
            "fault": Out(1), "idle": Out(1), "moves": Out(1), "stalls": Out(1), "error": Out(ErrorShape(config.memory.address_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        chunk_bytes = max(4, *self.widths.values())

        # Stage 1: the burst whose words arrive, and how much of it is left behind its next chunk.
        burst = Signal(self.record.payload.shape(), reset_less=True)
        behind = Signal.like(burst.first, reset_less=True)  # where the chunk behind the next one begins: what is left takes long enough
        burst_valid = Signal()
        # Stage 2: up to ``chunk_bytes`` bytes and where they go.
        chunk = Signal(data.StructLayout({
            "data": data.ArrayLayout(8, chunk_bytes), "count": range(chunk_bytes + 1), "bank": burst.bank.shape(), "row": burst.row.shape(),
            "lane": burst.lane.shape(), "field": range(PARAMETER_WORDS), "last": 1, "post": 2, "discard": 1}), reset_less=True)
        chunk_valid = Signal()
        chunk_done = Signal()
        # Stage 3: what was seen of the chunk's place. When it leaves is decided late in the cycle: those behind do not wait for that.
        m.submodules.seen = seen = ElasticBuffer(data.StructLayout({
            "chunk": chunk.shape(), "row_beyond": 1, "row_last": 1, "lane_beyond": 1}))
        # Stage 4: a chunk that is known to be inside its memory, or is not ``live``; and where it goes, one bit for each bank.
        m.submodules.out = out = ElasticBuffer(data.StructLayout({"chunk": chunk.shape(), "live": 1, "to": len(self.lanes)}))
        fault = self.fault
        fault_code = Signal(ErrorCode, reset_less=True)
        fault_address = Signal.like(self.response_address, reset_less=True)

        # The next chunk of the burst, known with it.
        following = burst.chunk

        free = ~chunk_valid | chunk_done
        cut = Signal()  # a chunk leaves stage 1
        m.d.comb += [
            cut.eq(burst_valid & self.response.valid & free),
            self.response.ready.eq(burst_valid & free & (following.burst_end | following.word_end)),
            self.record.ready.eq(~burst_valid | (cut & following.burst_end)),
        ]
        with m.If(self.record.ready):
            m.d.sync += [
                burst_valid.eq(self.record.valid), burst.eq(self.record.payload),
                behind.eq(self._behind(self.record.payload.first, self.record.payload.bank)),
            ]
        with m.Elif(cut):
            m.d.sync += [
                burst.start.eq(0), burst.first.eq(behind), behind.eq(self._behind(behind, burst.bank)),
                burst.bytes.eq((burst.bytes - most_bytes(self.config, behind, burst.bank))[:len(burst.bytes)]),
                burst.chunk.eq(next_chunk(self.config, behind, burst.bytes, burst.bank)),
            ]

        # The place behind the chunk in stage 2, and whether a byte of that chunk is outside its memory.
        lane_counts = Array(self.lanes.values())
        lanes, last_row = Signal(range(max(self.lanes.values()) + 1), reset_less=True), Signal(16, reset_less=True)  # of its bank
        row_behind = Signal.like(burst.row, reset_less=True)  # the one behind its own: whether it goes on there is known late
        lanes_left = Signal.like(lanes, reset_less=True)  # in its row, with its own first
        is_scratchpad, field_end = Signal(reset_less=True), Signal(reset_less=True)
        steps = Signal(reset_less=True)  # of words: to the next lane
        step = Mux(is_scratchpad, chunk.count, steps)
        over = Signal(signed(len(lanes) + chunk_bytes.bit_length() + 1))  # bytes beyond the end of the row
        wraps = Signal()
        m.d.comb += [
            over.eq(step - lanes_left),
            wraps.eq(over >= 0),
            seen.i.valid.eq(chunk_valid), seen.i.payload.chunk.eq(chunk), seen.i.payload.row_beyond.eq(chunk.row > last_row),
            seen.i.payload.row_last.eq((chunk.row == last_row) & ~chunk.row.all()),
            seen.i.payload.lane_beyond.eq(is_scratchpad & (over > 0)),
            chunk_done.eq(chunk_valid & seen.i.ready),
        ]

        field = Mux(burst.start | field_end, 0, chunk.field + 1)
        of_words = bank_of_words(burst.bank)
        with m.If(chunk_done):
            m.d.sync += chunk_valid.eq(0)
        with m.If(cut):
            m.d.sync += [
                lanes.eq(lane_counts[burst.bank]), last_row.eq(Array(rows - 1 for rows in self.depth.values())[burst.bank]),
                chunk_valid.eq(1), chunk.data.eq(self.response.payload.data >> (burst.first << 3)), chunk.count.eq(following.count),
                chunk.bank.eq(burst.bank), chunk.last.eq(burst.last & following.burst_end), chunk.post.eq(burst.post),
                chunk.discard.eq(self.halt | fault),
                chunk.row.eq(Mux(burst.start, burst.row, Mux(wraps, row_behind, chunk.row))),
                chunk.lane.eq(Mux(wraps, over, chunk.lane + step)),
                lanes_left.eq(Mux(wraps, lanes - over, -over)),
                chunk.field.eq(field), field_end.eq(field == PARAMETER_WORDS - 1), is_scratchpad.eq(~of_words),
                steps.eq((burst.bank != Bank.PARAMETER) | (field == PARAMETER_WORDS - 1)),
            ]
            with m.If(burst.start | wraps):
                m.d.sync += row_behind.eq(Mux(burst.start, burst.row, row_behind) + 1)
            with m.If(burst.start):
                m.d.sync += [chunk.lane.eq(burst.lane), lanes_left.eq(lane_counts[burst.bank] - burst.lane)]

        # The first fault spoils everything behind it.
        with m.If(cut & self.response.payload.error & ~fault):
            m.d.sync += [
                fault.eq(1), fault_code.eq(ErrorCode.BUS), fault_address.eq(self.response_address), chunk.discard.eq(1)]
        spoiled = Signal()  # by a row outside; what came before a fault of the memory's is written
        checked = seen.o.payload
        outside = checked.row_beyond | checked.lane_beyond & checked.row_last
        discards, unchecked = chunk.discard, seen.o.valid & ~checked.chunk.discard & ~spoiled
        lives = unchecked & ~outside
        m.d.comb += [
            out.i.valid.eq(seen.o.valid), seen.o.ready.eq(out.i.ready), out.i.payload.chunk.eq(checked.chunk), out.i.payload.live.eq(lives),
            out.i.payload.to.eq(Cat(checked.chunk.bank == bank for bank in self.lanes)),
        ]
        with m.If(unchecked & outside):
            m.d.sync += [fault.eq(1), fault_code.eq(ErrorCode.RANGE), spoiled.eq(1)]

        # More of a run comes to the half in which the chunk behind this one is. A claim may stay a cycle longer.
        half_bit = exact_log2(self.half_rows)
        drops = Signal()
        m.d.sync += drops.eq(fault | self.halt)
        comes, comes_to = (chunk.bank == Bank.ACCUMULATOR) & burst_valid & ~burst.start & ~drops, chunk.row[half_bit]
        chunk, writes = out.o.payload.chunk, out.o.valid & out.o.payload.live
        half = chunk.row[half_bit]
        targets = dict(zip(self.lanes, out.o.payload.to, strict=True))
        to_accumulator, to_table = targets[Bank.ACCUMULATOR], targets.get(Bank.TABLE, Const(0))
        ready = Signal()
        m.d.comb += [
            ready.eq(1),
            out.o.ready.eq(ready | ~writes),
            self.moves.eq(writes & ready), self.stalls.eq(writes & ~ready),
        ]
        for bank in self.widths:
            port = getattr(self, bank.name.lower()).stream
            m.d.comb += [
                port.valid.eq(writes & targets[bank]), port.payload.row.eq(chunk.row), port.payload.lane.eq(chunk.lane),
                port.payload.count.eq(chunk.count),
                *(port.payload.data[i].eq(chunk.data[i]) for i in range(self.widths[bank])),
            ]
            with m.If(targets[bank]):
                m.d.comb += ready.eq(port.ready)
        word = Cat(chunk.data[i] for i in range(4))
        m.d.comb += [
            self.accumulator.valid.eq(self.moves & to_accumulator), self.accumulator.row.eq(chunk.row),
            self.accumulator.column.eq(chunk.lane), self.accumulator.word.eq(word),
            self.parameter.valid.eq(self.moves & (targets[Bank.PARAMETER] | to_table)), self.parameter.group.eq(chunk.row),
            self.parameter.lane.eq(chunk.lane), self.parameter.field.eq(Mux(to_table, TABLE_FIELD, chunk.field)),
            self.parameter.word.eq(word),
        ]
        with m.If(to_accumulator):
            m.d.comb += ready.eq(self.granted.bit_select(half, 1))

        # A half is claimed from the first word of a run that goes there on, while more of the run comes, and a little longer.
        for number in range(HALVES):
            hold, held = Signal(self.hold_cycles, name=f"hold{number}"), Signal(name=f"held{number}")  # any of them
            here = (to_accumulator & writes & (half == number)) | (comes & (comes_to == number))
            m.d.sync += [hold.eq(Cat(here, hold)), held.eq(here | hold[:-1].any())]
            m.d.comb += self.claim[number].eq(here | held)

        # Completed commands travel until their last write is visible.
        gives = Signal(self.visible_cycles)
        posts = [Signal(2, name=f"post{i}", reset_less=True) for i in range(self.visible_cycles)]
        m.d.sync += gives.eq(Cat(self.moves & chunk.last, gives))
        for post, source in zip(posts, [chunk.post, *posts], strict=False):
            m.d.sync += post.eq(source)
        m.d.comb += [
            self.give.eq(gives[-1]), self.give_mask.eq(posts[-1]),
            self.idle.eq(~burst_valid & ~self.record.valid & ~chunk_valid & ~seen.o.valid & ~out.o.valid & ~gives.any()),
            self.error.valid.eq(fault & ~(chunk_valid & ~discards) & ~unchecked & ~out.o.valid & ~gives.any()),
            self.error.code.eq(fault_code), self.error.address.eq(fault_address),
        ]
        return m

    def _behind(self, first: Value, bank: Value) -> Value:
        """Where a burst goes on behind as many bytes from ``first`` on as can be written at once: with fewer it ends."""
        return (first + most_bytes(self.config, first, bank))[:len(first)]
