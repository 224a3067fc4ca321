"""STORE: accumulator rows through the epilogue to memory or a scratchpad."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.commands import PEERS, Engine, Operation, Target
from ..arch.config import Config
from ..arch.registers import ErrorCode
from .epilogue import Epilogue
from .interfaces import (
    AccumulatorDrain,
    BaseLookup,
    EngineControl,
    ParameterLoad,
    ScratchpadWrite,
    TokenPort,
    WritePort,
    activity_enum,
)
from .locks import HALVES
from .placer import LanePlace, Placer
from .queue import Queue
from .store_fields import store_decoder
from .store_memory import MemoryWriter
from .store_read import RowReader
from .store_walk import StoreWalk
from .timing import DatapathTiming

__all__ = ["StoreEngine", "store_ports"]

_ROWS = 16  # between the walk and the reader, and between the walk and the bursts
_PLACES = 32  # between the walk and the writers, with the epilogue's pipeline in between


def store_ports(config: Config) -> dict[str, wiring.Member]:
    """The members of an engine behind STORE commands; see :class:`StoreEngine`."""
    array, address_bits = config.array, config.memory.address_bits
    return {
        "commands": In(stream.Signature(32)),
        "control": Out(EngineControl(Engine.STORE, address_bits)),
        "tokens": Out(TokenPort()),
        "lookup": Out(BaseLookup(address_bits)),
        "claim": Out(HALVES), "granted": In(HALVES),
        "drain": Out(AccumulatorDrain(cols=array.cols, half_rows=config.half_rows, bits=array.accumulator_bits)),
        "parameter": In(ParameterLoad(lanes=config.epilogue.lanes)),
        "write": Out(WritePort(address_bits, config.memory.bus_bits)),
        **{name: Out(ScratchpadWrite(lanes=lanes, row_bits=16, width=config.write_bytes(lanes)))
           for name, lanes in (("activation", config.activation_lanes), ("weight", config.weight_lanes))},
    }


class StoreEngine(wiring.Component):
    """The engine behind STORE commands::

        decoder ─► walk ─┬─► rows ───► reader ─► epilogue ─► chunks ─┬─► memory writer ─► memory
                         ├─► places ─────────────────────────────────┼─► placer ────────► activation scratchpad
                         └─► bursts, to the memory writer            └─► placer ────────► weight scratchpad

    The walk checks rows and sends each three ways; the ways meet again where chunks are written. Throughput: ``raw_lanes``
    words or ``lanes`` results per cycle, without gaps between rows; rows of which each begins where the last one ended share bursts
    and bus words. A command that goes elsewhere than the one before (memory, either scratchpad) waits until that is
    complete, so that tokens are given in order.

    Parameters
    ----------
    config : the accelerator
    timing : of the datapath

    Members
    -------
    commands : words of STORE commands
    control : to the controller
    tokens : to the token counters
    lookup : to the base registers
    claim, granted : locks of the accumulator's halves
    drain : to the accumulator
    parameter : writes of the parameter memory
    write : to memory
    activation, weight : to the scratchpads
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
        array = config.array
        self._epilogue = Epilogue(
            cols=array.cols, lanes=config.epilogue.lanes, raw_lanes=config.raw_lanes, parameter_groups=config.parameter_groups,
            multiplier=config.epilogue.multiplier, drain_cycles=timing.drain_cycles, add=config.epilogue.add,
            max_pool=config.epilogue.max_pool, result_bytes=array.activation_bytes, bits=array.accumulator_bits)
        # A row's place in a scratchpad; of one in memory it holds the byte in its bus word.
        self._place = LanePlace(depth=max(config.activation_rows, config.weight_rows, config.bus_bytes),
                                lanes=max(config.activation_lanes, array.cols))
        self._placers = {
            target: Placer(place=self._place, lanes=lanes, width=config.write_bytes(lanes), chunk_bytes=self._epilogue.chunk_bytes,
                           slot_bytes=config.epilogue.lanes * array.activation_bytes, write_cycles=timing.write_cycles)
            for target, lanes in ((Target.ACTIVATION, config.activation_lanes), (Target.WEIGHT, config.weight_lanes))}
        super().__init__(store_ports(config))

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = store_decoder(self.config)
        m.submodules.walk = walk = StoreWalk(self.config)
        m.submodules.epilogue = epilogue = self._epilogue
        m.submodules.reader = reader = RowReader(epilogue=epilogue, half_rows=self.config.half_rows)
        m.submodules.memory = memory = MemoryWriter(walk.span, chunk_bytes=epilogue.chunk_bytes, depth=_ROWS)
        for target, placer in self._placers.items():
            m.submodules[f"placer_{target.name.lower()}"] = placer
        placers = list(self._placers.values())
        control, command = self.control, decoder.o.payload
        wiring.connect(m, decoder.i, wiring.flipped(self.commands))
        wiring.connect(m, decoder.o, walk.command)
        wiring.connect(m, walk.lookup, wiring.flipped(self.lookup))
        wiring.connect(m, memory.write, wiring.flipped(self.write))
        wiring.connect(m, epilogue.parameter, wiring.flipped(self.parameter))
        wiring.connect(m, self._placers[Target.ACTIVATION].write, wiring.flipped(self.activation))
        wiring.connect(m, self._placers[Target.WEIGHT].write, wiring.flipped(self.weight))

        self._read(m, reader, epilogue, command)
        rows, places = self._fork(m, walk, reader, memory, command)
        chosen = self._write(m, walk, epilogue, places, memory, placers)

        settled = Signal()  # one cycle late, which nobody minds: a row is on its way for longer before anybody asks
        broken = Signal()  # a response reported an error: nothing is complete any more
        with m.If(memory.bad):
            m.d.sync += broken.eq(1)
        halted, stopped = Signal(), Signal()  # a cycle late, all of it alike: begin nothing new, nor after a response with an error
        m.d.sync += [halted.eq(control.halt), stopped.eq(control.halt | broken)]
        local_done = Cat(placer.done for placer in placers)
        m.d.sync += settled.eq(
            epilogue.idle & ~reader.busy & rows.empty & places.empty & memory.idle
            & Cat(placer.empty for placer in placers).all())
        m.d.comb += [
            walk.settled.eq(settled), walk.halt.eq(stopped),
            memory.halt.eq(control.halt), *(placer.halt.eq(halted) for placer in placers),
            self.tokens.take.eq(walk.take), self.tokens.take_mask.eq(command.wait), walk.taken.eq(self.tokens.taken),
            self.tokens.give.eq((memory.done | local_done.any()) & ~broken & ~halted),
            # Nothing else is complete while rows go there.
            self.tokens.give_mask.eq(Mux(chosen[0], memory.done_post, Mux(chosen[1], placers[0].post, placers[1].post))),
            control.started.eq(walk.take & walk.taken),
            control.blocked.eq(walk.waits & settled),
            control.idle.eq(walk.idle & settled),
            control.error.eq(walk.error),
        ]
        with m.If(memory.bad & ~broken):
            m.d.comb += [control.error.valid.eq(1), control.error.code.eq(ErrorCode.BUS), control.error.address.eq(memory.bad_address)]
        self._report_activity(m, walk, reader, epilogue, settled)
        return m

    def _read(self, m, reader, epilogue, command):
        """Accumulator to chunks."""
        wanted = reader.command
        wiring.connect(m, reader.drain, wiring.flipped(self.drain))
        m.d.comb += [
            *(inner.eq(outer) for inner, outer in zip(epilogue.words, self.drain.words, strict=True)),
            epilogue.settings.eq(reader.settings), epilogue.group.eq(reader.group),
            reader.ready.eq(epilogue.ready), reader.empty.eq(epilogue.empty),
            wanted.settings.requantise.eq(command.operation != Operation.RAW),
            wanted.settings.bias.eq(Mux(command.operation == Operation.RAW, command.bias, command.operation == Operation.REQUANTISE)),
            wanted.settings.add.eq(command.operation == Operation.ADD), wanted.settings.unit.eq(command.operation == Operation.MAX_POOL),
            wanted.others.eq(command.window - 1), wanted.stride.eq(command.window_stride),
            wanted.columns.eq(command.columns), wanted.parameter_group.eq(command.parameter_group),
            *(wanted.settings[name].eq(command[name]) for name in ("zero_point", "low", "high")),
        ]

    def _fork(self, m, walk, reader, memory, command):
        """Each row to the queues of reader and writers; claims for the halves of rows not yet read."""
        row = walk.row
        place = Signal(data.StructLayout({"local": self._place, "end": 1}))
        m.submodules.rows = rows = Queue(width=reader.row.payload.shape().size, depth=_ROWS, early=True)
        m.submodules.places = places = Queue(width=place.shape().size, depth=_PLACES, early=True)
        # One cycle late, and ``in_flight`` rows may still come.
        levels = ((rows.level, _ROWS), (places.level, _PLACES), (memory.rows, memory.depth))
        m.d.sync += walk.room.eq(Cat(level < depth - walk.in_flight - 1 for level, depth in levels).all())
        m.d.comb += [
            rows.w_en.eq(walk.valid), rows.w_data.eq(Cat(row.source, row.first)),
            places.w_en.eq(walk.valid), places.w_data.eq(place),
            place.local.row.eq(row.span.address), place.local.lane.eq(command.lane), place.local.last.eq(row.span.last),
            place.local.post.eq(command.post), place.end.eq(row.span.end),
            memory.span.eq(row.span), memory.valid.eq(walk.valid & (walk.target == Target.MEMORY)), memory.post.eq(command.post),
            memory.stalled.eq(~walk.room),
            reader.row.valid.eq(rows.r_rdy), reader.row.payload.eq(rows.r_data), rows.r_en.eq(reader.row.ready),
            walk.first_read.eq(rows.r_rdy & rows.r_en & reader.row.payload.first),
            reader.granted.eq(self.granted),
        ]
        for half in range(HALVES):
            unread = Signal(range(_ROWS + 2), name=f"unread{half}")
            some = Signal(name=f"some_unread{half}")  # known with it
            entering, leaving = walk.valid & (row.source[-1] == half), reader.finish & (self.drain.half == half)
            m.d.sync += [unread.eq(unread + entering - leaving), some.eq(entering | some & ~(leaving & (unread == 1)))]
            m.d.comb += self.claim[half].eq(walk.claim[half] | some)
        return rows, places

    def _write(self, m, walk, epilogue, places, memory, placers):
        """Chunks and places to the writer that the target names. Returns which that is."""
        place = data.View(data.StructLayout({"local": self._place, "end": 1}), places.r_data)
        chunk = epilogue.o
        m.d.comb += [
            # There when a row's first chunk is: the walk sent it when it sent the row to be read.
            memory.place.offset.eq(place.local.row), memory.place.end.eq(place.end), *(placer.place.eq(place.local) for placer in placers),
            places.r_en.eq(chunk.valid & chunk.ready & chunk.payload.last),
        ]
        readies, chosens = [], []
        for target, writer in ((Target.MEMORY, memory), *self._placers.items()):
            chosen = Signal(name=f"to_{target.name.lower()}", init=target == Target.MEMORY)  # long before the first row comes
            m.d.sync += chosen.eq(walk.target == target)
            m.d.comb += [writer.i.payload.eq(chunk.payload), writer.i.valid.eq(chunk.valid & chosen)]
            readies.append(writer.i.ready & chosen)
            chosens.append(chosen)
        m.d.comb += chunk.ready.eq(Cat(readies).any())
        return chosens

    def _report_activity(self, m, walk, reader, epilogue, settled):
        """What the engine does, two cycles late: what there is to be seen of it, then what that means."""
        activity = activity_enum(Engine.STORE)
        waits = [activity[f"WAIT_{peer.name}"] for peer in PEERS[Engine.STORE]]
        locals_ = [self.activation.stream, self.weight.stream]
        stuck = [port.valid & ~port.ready for port in (self.write.request, self.write.data, *locals_)]
        missing = (self.tokens.take_mask & ~self.tokens.available)[0]
        causes = {
            activity.BUSY: reader.reads | Cat(port.valid & port.ready for port in (self.write.data, *locals_)).any(),
            activity.MEMORY: Cat(stuck[:2]).any(), activity.PORT: Cat(stuck[2:]).any() | reader.busy}
        later = [(activity.BUSY, ~epilogue.idle), (activity.MEMORY, ~settled | walk.claim.any()),
                 (waits[0], walk.waits & missing), (waits[1], walk.waits)]
        reported = Signal.like(self.control.activity, init=activity.IDLE.value)
        meaning = activity.IDLE
        for number, (what, seen) in reversed(list(enumerate([*causes.items(), *later]))):
            cause = Signal(name=f"cause{number}")
            m.d.sync += cause.eq(seen)
            meaning = Mux(cause, what, meaning)
        m.d.sync += reported.eq(meaning)
        m.d.comb += self.control.activity.eq(reported)
