"""LOAD in a quarter of its area: one bus word after the other, byte by byte."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import exact_log2

from ..arch.commands import PARAMETER_WORDS, PEERS, Bank, Engine
from ..arch.config import Config
from ..arch.registers import ErrorCode
from .accumulator_serial import WordLoad
from .interfaces import activity_enum
from .load import load_ports
from .load_fields import bank_of_words, bank_rows, load_decoder, load_objection
from .locks import HALVES
from .timing import DatapathTiming

__all__ = ["SerialLoadEngine"]


class SerialLoadEngine(wiring.Component):
    """What :class:`~systolith.rtl.load.LoadEngine` does, with its ports and its errors, but without overlap.

    Each bus word is asked for alone, and taken apart byte by byte (word by word into accumulator and parameters). Throughput: a
    bus word takes its bytes, 3 cycles and the memory's latency; a run 6 more.

    Parameters
    ----------
    config : the accelerator, with one epilogue lane
    timing : of the datapath

    Members
    -------
    As :class:`~systolith.rtl.load.LoadEngine`.
    """

    commands: stream.Interface
    control: wiring.PureInterface
    tokens: wiring.PureInterface
    lookup: wiring.PureInterface
    read: wiring.PureInterface
    read_address: Signal
    activation: wiring.PureInterface
    weight: wiring.PureInterface
    accumulator: wiring.PureInterface
    parameter: wiring.PureInterface
    claim: Signal
    granted: Signal

    def __init__(self, *, config: Config, timing: DatapathTiming):
        self.config = config
        self.timing = timing
        ports = WordLoad(cols=config.array.cols, rows=config.memory.accumulator_rows)
        super().__init__({**load_ports(config), "accumulator": Out(ports)})

    def elaborate(self, platform):
        m = Module()
        config, control, tokens = self.config, self.control, self.tokens
        # With one loop, the run in turn is in the command's own registers.
        two_loops = config.control.run_loops == 2
        m.submodules.decoder = decoder = load_decoder(config, () if two_loops else ("offset", "row", "count1"))
        command = decoder.o.payload
        wiring.connect(m, decoder.i, wiring.flipped(self.commands))
        visible_cycles = max(self.timing.write_cycles, self.timing.load_cycles)
        # What fills a row of each bank, in the order of their numbers: bytes; of parameters and accumulator, words.
        widths = Array([config.activation_lanes, config.weight_lanes, PARAMETER_WORDS, config.array.cols])
        to_scratchpad = ~bank_of_words(command.bank)

        # The run in turn, where its repetition began, and how many follow.
        offset_bits, row_bits = config.offset_bits, config.control.row_bits
        offset, run_row, left1 = command.offset[:offset_bits], command.row[:row_bits], command.count1[:row_bits]
        repeat = Signal(offset_bits, reset_less=True)
        repeat_row, left2 = Signal(row_bits, reset_less=True), Signal(row_bits, reset_less=True)
        if two_loops:
            offset, run_row, left1 = (Signal(len(value), reset_less=True, name=name)
                                      for value, name in ((offset, "offset"), (run_row, "run_row"), (left1, "left1")))
        # The byte or word in turn: its address and its place, and how many bytes of the run follow.
        address = Signal(config.memory.address_bits, reset_less=True)
        row = Signal(row_bits, reset_less=True)
        lane = Signal(range(max(config.activation_lanes, config.array.cols, PARAMETER_WORDS)), reset_less=True)
        left = Signal(decoder.bits["run"], reset_less=True)

        whole_run = command.run[:decoder.bits["run"]]
        request, response = self.read.request, self.read.response
        word_bytes_bits = exact_log2(config.bus_bytes)
        unit = Mux(to_scratchpad, 1, 4)
        word_ends = (address[2:word_bytes_bits].all() & (address[:2].all() | ~to_scratchpad))
        wraps = lane == widths[command.bank] - 1
        outside = Array(row >= rows for rows in bank_rows(config).values())[command.bank]
        half = row[exact_log2(config.half_rows)]
        byte = response.payload.data.word_select(address[:word_bytes_bits], 8)
        word = response.payload.data.word_select(address[2:word_bytes_bits], 32)
        local = [self.activation.stream, self.weight.stream]
        put = Signal()  # what the response holds goes to its place
        granted = Signal()
        ready = Signal()
        m.d.comb += [
            request.payload.address.eq(Cat(C(0, word_bytes_bits), address[word_bytes_bits:])),
            self.accumulator.row.eq(row), self.accumulator.column.eq(lane), self.accumulator.word.eq(word),
            self.accumulator.valid.eq(put & granted & (command.bank == Bank.ACCUMULATOR)),
            self.parameter.group.eq(row), self.parameter.field.eq(lane), self.parameter.word.eq(word),
            self.parameter.valid.eq(put & (command.bank == Bank.PARAMETER)),
            granted.eq(self.granted.bit_select(half, 1)),
            ready.eq(Array([local[0].ready, local[1].ready, 1, granted & self.accumulator.ready])[command.bank]),
        ]
        for bank, port in zip((Bank.ACTIVATION, Bank.WEIGHT), local, strict=True):
            m.d.comb += [
                port.valid.eq(put & (command.bank == bank)), port.payload.row.eq(row), port.payload.lane.eq(lane),
                port.payload.count.eq(1), port.payload.data[0].eq(byte)]

        activity = activity_enum(Engine.LOAD)
        failure = Signal(ErrorCode, reset_less=True)
        wait = Signal(range(visible_cycles))
        held = Signal()  # the command has its tokens and writes
        for number in range(HALVES):
            hold = Signal(self.timing.load_cycles, name=f"hold{number}")
            here = held & (command.bank == Bank.ACCUMULATOR) & (half == number)
            m.d.sync += hold.eq(Cat(here, hold))
            m.d.comb += self.claim[number].eq(here | hold.any())
        m.d.comb += [
            self.lookup.index.eq(command.base), tokens.take_mask.eq(command.wait), tokens.give_mask.eq(command.post),
            control.activity.eq(activity.MEMORY), control.idle.eq(control.halt),
            control.error.code.eq(failure), control.error.address.eq(address),
        ]

        with m.FSM(name="load"):
            with m.State("WAIT"):
                m.d.comb += [control.idle.eq(~decoder.o.valid | control.halt), control.activity.eq(activity.IDLE)]
                m.d.sync += failure.eq(load_objection(config, command))
                with m.If(decoder.o.valid & ~control.halt):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += control.activity.eq(activity.IDLE)
                m.next = "TAKE"
                with m.If(failure != ErrorCode.NONE):
                    m.d.comb += control.error.valid.eq(~control.halt)
                    m.next = "STOP"
            with m.State("TAKE"):
                missing = command.wait & ~tokens.available
                waits = [activity[f"WAIT_{peer.name}"] for peer in PEERS[Engine.LOAD]]
                m.d.comb += [
                    tokens.take.eq(~control.halt), control.started.eq(tokens.take & tokens.taken), control.blocked.eq(~tokens.taken),
                    control.activity.eq(Mux(missing[0], *waits)),
                ]
                m.d.sync += wait.eq(0)
                if two_loops:
                    m.d.sync += [
                        offset.eq(command.offset), repeat.eq(command.offset), run_row.eq(command.row), repeat_row.eq(command.row),
                        left1.eq(command.count1), left2.eq(command.count2),
                    ]
                with m.If(control.started):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += self.lookup.valid.eq(1)
                m.d.sync += [
                    address.eq(self.lookup.base + offset), row.eq(run_row), lane.eq(command.lane), left.eq(whole_run),
                    failure.eq(ErrorCode.ADDRESS),
                ]
                with m.If(self.lookup.ready):
                    m.d.sync += held.eq(1)
                    m.next = "WORD"
                    with m.If((offset + whole_run > self.lookup.size) | (~to_scratchpad & self.lookup.base[:2].any())):
                        m.next = "FAIL"
            with m.State("WORD"):
                m.d.comb += response.ready.eq(1)
                # Nothing that waits for a half may occupy the memory, which the half's owner waits for.
                in_accumulator = command.bank == Bank.ACCUMULATOR
                m.d.comb += control.activity.eq(Mux(in_accumulator & ~granted, activity.PORT, activity.MEMORY))
                with m.If(~control.halt & (granted | ~in_accumulator)):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += [request.valid.eq(1), control.idle.eq(0)]
                with m.If(request.ready):
                    m.next = "PUT"
            with m.State("PUT"):
                # The states that follow take the response: whether it is done with is known late in a cycle.
                m.d.comb += control.idle.eq(0)
                with m.If(response.valid):
                    with m.If(control.halt):
                        m.next = "STOP"
                    with m.Elif(response.payload.error | outside):
                        m.d.sync += failure.eq(Mux(response.payload.error, ErrorCode.BUS, ErrorCode.RANGE))
                        m.next = "FAIL"
                    with m.Else():
                        m.d.comb += [put.eq(1), control.activity.eq(Mux(ready, activity.BUSY, activity.PORT))]
                        with m.If(ready):
                            m.d.sync += [
                                address.eq(address + unit), left.eq(left - unit),
                                lane.eq(Mux(wraps, 0, lane + 1)), row.eq(row + wraps),
                            ]
                            with m.If(left == unit):
                                m.next = "NEXT"
                            with m.Elif(word_ends):
                                m.next = "WORD"
            with m.State("NEXT"):
                m.d.comb += response.ready.eq(1)
                again = left1 == 1  # a repetition ends
                m.next = "RUN"
                if two_loops:
                    offset_next = Mux(again, repeat, offset) + Mux(again, command.stride2, command.stride1)
                    row_next = Mux(again, repeat_row, run_row) + Mux(again, command.row_stride2, command.row_stride1)
                    m.d.sync += [offset.eq(offset_next), run_row.eq(row_next), left1.eq(Mux(again, command.count1, left1 - 1))]
                    with m.If(again):
                        m.d.sync += [repeat.eq(offset_next), repeat_row.eq(row_next), left2.eq(left2 - 1)]
                else:
                    m.d.comb += [
                        decoder.move.eq(1), decoder.following.offset.eq(offset + command.stride1),
                        decoder.following.row.eq(run_row + command.row_stride1), decoder.following.count1.eq(left1 - 1),
                    ]
                with m.If(again & ((left2 == 1) | (not two_loops))):
                    m.d.sync += held.eq(0)
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.comb += control.idle.eq(0)
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == visible_cycles - 1):
                    m.d.comb += [tokens.give.eq(~control.halt), decoder.o.ready.eq(1)]
                    m.next = "WAIT"
            with m.State("FAIL"):
                m.d.comb += [control.error.valid.eq(~control.halt), response.ready.eq(1)]
                with m.If(failure == ErrorCode.BUS):
                    m.d.comb += control.error.address.eq(request.payload.address if config.memory.error_address else 0)
                m.next = "STOP"
            with m.State("STOP"):
                m.d.comb += [control.idle.eq(1), control.activity.eq(activity.IDLE), response.ready.eq(1)]
        return m
