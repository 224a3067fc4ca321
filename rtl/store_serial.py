"""STORE in a fifth of its area: one byte after the other."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import exact_log2

from ..arch.commands import PEERS, Engine, Operation, Target
from ..arch.config import Config
from ..arch.registers import ErrorCode
from .accumulator_serial import WordDrain
from .epilogue_serial import SerialEpilogue
from .interfaces import activity_enum
from .store import store_ports
from .store_fields import store_decoder, store_doubts, store_objection
from .timing import DatapathTiming

__all__ = ["SerialStoreEngine"]


class SerialStoreEngine(wiring.Component):
    """What :class:`~systolith.rtl.store.StoreEngine` does, with its ports and its errors, but without overlap.

    A command's rows are checked and written in turn, each byte with a bus word of its own or a write to a scratchpad. A row that goes
    to a scratchpad is walked twice: the first time only its places are checked. Throughput: a raw byte takes about 13
    cycles and the memory's latency, a requantised one 80, a row 12 more.

    Parameters
    ----------
    config : the accelerator, with one epilogue lane
    timing : of the datapath

    Members
    -------
    As :class:`~systolith.rtl.store.StoreEngine`.
    """

    commands: stream.Interface
    control: wiring.PureInterface
    tokens: wiring.PureInterface
    lookup: wiring.PureInterface
    claim: Signal
    granted: Signal
    drain: wiring.PureInterface
    parameter: wiring.PureInterface
    write: wiring.PureInterface
    activation: wiring.PureInterface
    weight: wiring.PureInterface

    def __init__(self, *, config: Config, timing: DatapathTiming):
        self.config = config
        self.timing = timing
        port = WordDrain(cols=config.array.cols, rows=config.memory.accumulator_rows)
        super().__init__({**store_ports(config), "drain": Out(port)})

    def elaborate(self, platform):
        m = Module()
        config, control, tokens = self.config, self.control, self.tokens
        # With one loop, the row in turn is in the command's own registers.
        two_loops = config.control.run_loops == 2
        m.submodules.decoder = decoder = store_decoder(config, () if two_loops else ("destination", "row", "count1"))
        m.submodules.epilogue = epilogue = SerialEpilogue(
            cols=config.array.cols, channels=config.parameter_groups, result_bytes=config.array.activation_bytes)
        command = decoder.o.payload
        wiring.connect(m, decoder.i, wiring.flipped(self.commands))
        wiring.connect(m, epilogue.parameter, wiring.flipped(self.parameter))

        address_bits, cols = config.memory.address_bits, config.array.cols
        to_memory = command.target == Target.MEMORY
        into_activations = command.target == Target.ACTIVATION
        lanes = Mux(into_activations, config.activation_lanes, config.weight_lanes)
        depth = Mux(into_activations, config.activation_rows, config.weight_rows)
        raw = command.operation == Operation.RAW
        results = command.columns if config.array.activation_bytes == 1 else command.columns << 1
        row_bytes = Mux(raw, command.columns << 2, results)[:(4 * cols).bit_length()]

        # The row in turn, where its repetition began, and how many follow.
        offset_bits, row_bits = max(config.offset_bits, config.control.row_bits), config.control.row_bits
        offset, source, left1 = command.destination[:offset_bits], command.row[:row_bits], command.count1[:row_bits]
        repeat = Signal(offset_bits, reset_less=True)
        left2 = Signal(row_bits, reset_less=True)
        if two_loops:
            offset, source, left1 = (Signal(len(value), reset_less=True, name=name)
                                     for value, name in ((offset, "offset"), (source, "source"), (left1, "left1")))
        # The byte in turn: its place (address or scratchpad row, and lane), and how many bytes of the row follow.
        place = Signal(max(address_bits, row_bits), reset_less=True)
        lane = Signal(range(max(config.activation_lanes, cols)), reset_less=True)
        bytes_left = Signal.like(row_bytes, reset_less=True)
        column = Signal(range(cols), reset_less=True)
        wraps = lane == lanes - 1
        advance = Signal()
        with m.If(advance):
            m.d.sync += [place.eq(place + (to_memory | wraps)), lane.eq(Mux(wraps, 0, lane + 1)), bytes_left.eq(bytes_left - 1)]

        half = config.half_rows.bit_length() - 1
        first_half = Signal(reset_less=True)
        outside = (source[half:] != first_half) | (
            (~raw | command.bias) & (command.parameter_group + command.columns > config.parameter_groups))

        m.d.comb += [
            self.drain.row.eq(source),
            epilogue.column.eq(column), epilogue.channel.eq(command.parameter_group + column),
            *(inner.eq(outer) for inner, outer in zip(epilogue.words, self.drain.words, strict=True)),
            epilogue.settings.requantise.eq(~raw), epilogue.settings.bias.eq(~raw | command.bias),
            *(epilogue.settings[name].eq(command[name]) for name in ("zero_point", "low", "high")),
        ]
        byte, write = Signal(8, reset_less=True), self.write
        byte_bits = exact_log2(config.bus_bytes)
        m.d.comb += [
            write.request.payload.address.eq(Cat(C(0, byte_bits), place[byte_bits:])),
            write.data.payload.data.eq(byte.replicate(config.bus_bytes)), write.data.payload.strobe.eq(1 << place[:byte_bits]),
            write.data.payload.last.eq(1),
        ]
        local = [self.activation.stream, self.weight.stream]
        for port in local:
            m.d.comb += [
                port.payload.row.eq(place), port.payload.lane.eq(lane), port.payload.count.eq(1), port.payload.data[0].eq(byte)]
        local_ready = Mux(into_activations, local[0].ready, local[1].ready)

        activity = activity_enum(Engine.STORE)
        failure = Signal(ErrorCode, reset_less=True)
        wait = Signal(range(self.timing.write_cycles + 1))
        held = Signal()  # the command has its tokens and reads the accumulator
        m.d.comb += [
            self.claim.eq(held << first_half), self.lookup.index.eq(command.base),
            tokens.take_mask.eq(command.wait), tokens.give_mask.eq(command.post),
            control.activity.eq(activity.BUSY), control.idle.eq(control.halt),
            control.error.code.eq(failure), control.error.address.eq(place),
        ]

        with m.FSM(name="store"):
            with m.State("WAIT"):
                m.d.comb += [control.idle.eq(~decoder.o.valid | control.halt), control.activity.eq(activity.IDLE)]
                with m.If(decoder.o.valid & ~control.halt):
                    m.d.sync += failure.eq(store_objection(store_doubts(config, command)))
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += control.activity.eq(activity.IDLE)
                m.next = "TAKE"
                with m.If(failure != ErrorCode.NONE):
                    m.d.comb += control.error.valid.eq(~control.halt)
                    m.next = "STOP"
            with m.State("TAKE"):
                missing = command.wait & ~tokens.available
                waits = [activity[f"WAIT_{peer.name}"] for peer in PEERS[Engine.STORE]]
                m.d.comb += [
                    tokens.take.eq(~control.halt), control.started.eq(tokens.take & tokens.taken), control.blocked.eq(~tokens.taken),
                    control.activity.eq(Mux(missing[0], *waits)),
                ]
                m.d.sync += first_half.eq(command.row[half])
                if two_loops:
                    m.d.sync += [
                        offset.eq(command.destination), repeat.eq(command.destination), source.eq(command.row),
                        left1.eq(command.count1), left2.eq(command.count2),
                    ]
                with m.If(control.started):
                    m.d.sync += held.eq(1)
                    m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += [
                    place.eq(offset), lane.eq(command.lane), bytes_left.eq(row_bytes), column.eq(0), wait.eq(0)]
                m.next = "LOOKUP"
                with m.If(outside):
                    m.d.sync += failure.eq(ErrorCode.RANGE)
                    m.next = "FAIL"
                with m.Elif(~to_memory):
                    m.next = "PLACES"
            with m.State("LOOKUP"):
                m.d.comb += [self.lookup.valid.eq(1), control.activity.eq(activity.MEMORY)]
                with m.If(self.lookup.ready):
                    m.d.sync += [place.eq((self.lookup.base + offset)[:address_bits]), failure.eq(ErrorCode.ADDRESS)]
                    m.next = "READ"
                    # What is left of the limit, in which only the lowest bits have to be compared.
                    room = (self.lookup.size - offset[:config.offset_bits])[:len(self.lookup.size) + 1]
                    few = len(row_bytes)
                    with m.If(room[-1] | (~room[few:-1].any() & (room[:few] < row_bytes))):
                        m.next = "FAIL"
            with m.State("PLACES"):
                m.d.comb += advance.eq(1)
                with m.If(bytes_left == 1):
                    m.d.sync += [place.eq(offset), lane.eq(command.lane), bytes_left.eq(row_bytes)]
                    m.next = "READ"
                with m.If(place[:row_bits] >= depth):
                    m.d.sync += failure.eq(ErrorCode.RANGE)
                    m.next = "FAIL"
            with m.State("READ"):
                m.d.comb += control.activity.eq(activity.PORT)
                m.d.comb += self.drain.valid.eq(self.granted.bit_select(source[half], 1))
                with m.If(self.drain.ready):
                    m.d.comb += epilogue.start.eq(1)
                    m.next = "BYTE"
            with m.State("BYTE"):
                m.d.sync += byte.eq(epilogue.o.payload.data)
                with m.If(epilogue.o.valid & ~control.halt):
                    m.next = "LOCAL"
                    with m.If(to_memory):
                        m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += [write.request.valid.eq(1), control.idle.eq(0), control.activity.eq(activity.MEMORY)]
                with m.If(write.request.ready):
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [write.data.valid.eq(1), control.idle.eq(0)]
                with m.If(write.data.ready):
                    m.next = "RESPONSE"
            with m.State("RESPONSE"):
                m.d.comb += [write.response.ready.eq(1), control.idle.eq(0), control.activity.eq(activity.MEMORY)]
                with m.If(write.response.valid):
                    m.next = "NEXT"
                    with m.If(write.response.payload.error):
                        m.d.comb += [
                            control.error.valid.eq(~control.halt), control.error.code.eq(ErrorCode.BUS),
                            control.error.address.eq(write.request.payload.address),
                        ]
                        m.next = "STOP"
            with m.State("LOCAL"):
                m.d.comb += [port.valid.eq(into_activations if port is local[0] else ~into_activations) for port in local]
                m.d.comb += control.idle.eq(0)
                with m.If(local_ready):
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.comb += [epilogue.o.ready.eq(1), advance.eq(1)]
                m.d.sync += wait.eq(0)
                m.next = "BYTE"
                with m.If(epilogue.o.payload.last):
                    m.d.sync += column.eq(column + 1)
                    m.next = "NEXT_WORD"
            with m.State("NEXT_WORD"):
                # The parameters of the next word are being read.
                m.next = "READ"
                with m.If(bytes_left == 0):
                    m.next = "NEXT_ROW"
            with m.State("NEXT_ROW"):
                again = left1 == 1  # a repetition ends
                m.next = "ROW"
                if two_loops:
                    following = Mux(again, repeat, offset) + Mux(again, command.stride2, command.stride1)
                    m.d.sync += [offset.eq(following), source.eq(source + 1), left1.eq(Mux(again, command.count1, left1 - 1))]
                    with m.If(again):
                        m.d.sync += [repeat.eq(following), left2.eq(left2 - 1)]
                else:
                    m.d.comb += [
                        decoder.move.eq(1), decoder.following.destination.eq(offset + command.stride1),
                        decoder.following.row.eq(source + 1), decoder.following.count1.eq(left1 - 1),
                    ]
                with m.If(again & ((left2 == 1) | (not two_loops))):
                    m.d.sync += held.eq(0)
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.comb += [control.idle.eq(0), control.activity.eq(activity.PORT)]
                m.d.sync += wait.eq(wait + 1)
                with m.If(to_memory | (wait == self.timing.write_cycles)):
                    m.d.comb += [tokens.give.eq(~control.halt), decoder.o.ready.eq(1)]
                    m.next = "WAIT"
            with m.State("FAIL"):
                m.d.comb += control.error.valid.eq(~control.halt)
                m.next = "STOP"
            with m.State("STOP"):
                m.d.comb += [control.idle.eq(1), control.activity.eq(activity.IDLE)]
        return m
