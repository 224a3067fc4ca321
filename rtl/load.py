"""LOAD: memory to scratchpads, parameters and accumulator."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import PEERS, Engine
from ..arch.config import Config
from .elastic_buffer import ElasticBuffer
from .interfaces import (
    AccumulatorLoad,
    BaseLookup,
    EngineControl,
    ParameterLoad,
    ReadPort,
    ScratchpadWrite,
    TokenPort,
    activity_enum,
)
from .load_back import LoadBack
from .load_fields import load_decoder
from .load_front import LoadFront
from .load_records import behind_first_chunk
from .locks import HALVES
from .queue import Queue
from .step import LateCount
from .timing import DatapathTiming

__all__ = ["LoadEngine", "load_ports"]

_BLOCK_RECORDS = 128  # as many are worth a block RAM, which answers late in its cycle


def load_ports(config: Config) -> dict[str, wiring.Member]:
    """The members of an engine behind LOAD commands; see :class:`LoadEngine`."""
    array, address_bits = config.array, config.memory.address_bits
    return {
        "commands": In(stream.Signature(32)),
        "control": Out(EngineControl(Engine.LOAD, address_bits)),
        "tokens": Out(TokenPort()),
        "lookup": Out(BaseLookup(address_bits)),
        "read": Out(ReadPort(address_bits, config.memory.bus_bits)), "read_address": In(address_bits),
        **{name: Out(ScratchpadWrite(lanes=lanes, row_bits=16, width=config.write_bytes(lanes)))
           for name, lanes in (("activation", config.activation_lanes), ("weight", config.weight_lanes))},
        "accumulator": Out(AccumulatorLoad(cols=array.cols)),
        "parameter": Out(ParameterLoad(lanes=config.epilogue.lanes)),
        "claim": Out(HALVES), "granted": In(HALVES),
    }


class LoadEngine(wiring.Component):
    """The engine behind LOAD commands: one side asks, the other writes, and a queue of records between them hides latency.

    Throughput: one bus word per cycle into a scratchpad of at least as many lanes, as soon as ``memory.outstanding`` bursts
    cover the latency. The asking side requests a run per cycle, so runs of two bus words still fill the bus.

    Parameters
    ----------
    config : the accelerator
    timing : of the datapath; how long a write to it takes to be visible

    Members
    -------
    commands : words of LOAD commands
    control : to the controller
    tokens : to the token counters
    lookup : to the base registers
    read : to memory
    activation, weight, accumulator, parameter : what is written; ``claim`` and ``granted`` guard the accumulator's halves
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
        self._front = LoadFront(config)
        self._back = LoadBack(
            config, visible_cycles=max(timing.write_cycles, timing.load_cycles), hold_cycles=timing.load_cycles)
        super().__init__(load_ports(config))

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = load_decoder(self.config)
        m.submodules.front = front = self._front
        m.submodules.back = back = self._back
        record = front.record.payload
        m.submodules.records = records = Queue(  # of two words it would take one in two cycles, and nobody waits for it
            width=record.shape().size, depth=max(3, self.config.memory.outstanding),
            block=self.config.memory.outstanding >= _BLOCK_RECORDS, early=True)

        for own, inner in (
                (self.commands, decoder.i), (self.lookup, front.lookup), (self.read.request, front.request),
                (self.activation, back.activation), (self.weight, back.weight), (self.accumulator, back.accumulator),
                (self.parameter, back.parameter)):
            wiring.connect(m, wiring.flipped(own), inner)
        wiring.connect(m, decoder.o, front.command)

        # Words, with the addresses that an error reports.
        response = data.StructLayout({"word": back.response.payload.shape(), "address": len(self.read_address)})
        m.submodules.words = words = ElasticBuffer(response)
        m.d.comb += [
            words.i.valid.eq(self.read.response.valid), words.i.payload.word.eq(self.read.response.payload),
            words.i.payload.address.eq(self.read_address), self.read.response.ready.eq(words.i.ready),
            back.response.valid.eq(words.o.valid), back.response.payload.eq(words.o.payload.word), words.o.ready.eq(back.response.ready),
        ]
        # A record is known late in its cycle, and nobody waits for it: it goes through a register. There are as many in all as the
        # queue takes. A halt comes a cycle late.
        kept, recorded = Signal(record.shape(), name="kept", reset_less=True), Signal()
        outstanding = self.config.memory.outstanding
        room = Signal(init=1)
        recording, unrecords = front.record.valid & room, back.record.ready & records.r_rdy
        places = LateCount(m, outstanding, init=outstanding, up=unrecords, down=recording, name="places")
        m.d.sync += [
            kept.eq(record), recorded.eq(recording),
            room.eq((~(places.equals(0) | places.equals(1) & recording) | unrecords) & ~self.control.halt),
        ]
        m.d.comb += [
            front.record.ready.eq(room), records.w_en.eq(recorded), records.w_data.eq(behind_first_chunk(self.config, kept)),
            back.record.valid.eq(records.r_rdy), back.record.payload.eq(records.r_data), records.r_en.eq(back.record.ready),
        ]

        behind_idle = Signal()
        m.d.comb += [
            behind_idle.eq(back.idle & records.empty & ~recorded),
            front.behind_idle.eq(behind_idle), self.claim.eq(back.claim), back.granted.eq(self.granted),
            back.response_address.eq(words.o.payload.address), front.halt.eq(self.control.halt), back.halt.eq(self.control.halt),
            self.tokens.take.eq(front.take), self.tokens.take_mask.eq(decoder.o.payload.wait), front.taken.eq(self.tokens.taken),
            self.tokens.give.eq(back.give), self.tokens.give_mask.eq(back.give_mask),
        ]

        activity = activity_enum(Engine.LOAD)
        missing = decoder.o.payload.wait & ~self.tokens.available
        waits = [activity[f"WAIT_{peer.name}"] for peer in PEERS[Engine.LOAD]]
        control = self.control
        m.d.comb += [
            control.started.eq(front.take & front.taken),
            control.blocked.eq(front.waits & behind_idle),
            control.idle.eq(behind_idle & Mux(control.halt, front.quiet, front.idle)),
            control.error.valid.eq(back.error.valid | front.error.valid),
            # Told by the register: what is behind is idle only when it has reported its fault.
            *(getattr(control.error, field).eq(Mux(back.fault, getattr(back.error, field), getattr(front.error, field)))
              for field in ("code", "address")),
        ]
        with m.If(back.moves):
            m.d.comb += control.activity.eq(activity.BUSY)
        with m.Elif(back.stalls):
            m.d.comb += control.activity.eq(activity.PORT)
        with m.Elif(~behind_idle | ~front.quiet):
            m.d.comb += control.activity.eq(activity.MEMORY)
        with m.Elif(front.waits):
            m.d.comb += control.activity.eq(Mux(missing[0], waits[0], waits[1]))
        with m.Else():
            m.d.comb += control.activity.eq(activity.IDLE)
        return m
