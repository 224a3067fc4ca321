"""The whole accelerator, between a register port and memory."""

from collections.abc import Iterator

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import Config
from .arbiter import ReadArbiter
from .arbiter_serial import SerialArbiter
from .bases import BaseTable
from .controller import Controller
from .counters import Counters
from .csr import RegisterMap
from .datapath import Datapath
from .datapath_output import OutputDatapath
from .dispatch import Dispatch
from .dispatch_serial import SerialDispatch
from .execute import ExecuteEngine
from .execute_output import OutputExecuteEngine
from .fetch import Fetch
from .fetch_serial import SerialFetch
from .interfaces import ReadPort, WritePort
from .load import LoadEngine
from .load_serial import SerialLoadEngine
from .locks import HalfLocks
from .store import StoreEngine
from .store_serial import SerialStoreEngine
from .tokens import TokenCounters

__all__ = ["Core", "flat_members"]


class Core(wiring.Component):
    """Registers on one side, byte-addressed memory on the other. All ports are flat, so that the Verilog reads well.

    Parameters
    ----------
    config : the accelerator

    Members
    -------
    csr_* : register port (:class:`CSRPort`)
    irq : interrupt line, a level
    read_*, write_* : memory (:class:`ReadPort`, :class:`WritePort`)
    activity : what LOAD (lowest 3 bits), EXECUTE and STORE do in this cycle; ``started``: which of them starts a command
    build_hash : shown in HASH; constant
    """

    csr_address: Signal
    csr_write: Signal
    csr_write_data: Signal
    csr_read_data: Signal
    irq: Signal
    activity: Signal
    started: Signal
    build_hash: Signal

    def __init__(self, config: Config):
        self.config = config
        memory = config.memory
        self._memory_ports = {
            "read": ReadPort(memory.address_bits, memory.bus_bits), "write": WritePort(memory.address_bits, memory.bus_bits)}
        super().__init__({
            "csr_address": In(10), "csr_write": In(1), "csr_write_data": In(32), "csr_read_data": Out(32),
            "irq": Out(1),
            **{name: flow(len(signal)) for way, port in self._memory_ports.items()
               for name, flow, signal in flat_members(way, port.create())},
            "activity": Out(9), "started": Out(3),
            "build_hash": In(64),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        address_bits, bus_bits = config.memory.address_bits, config.memory.bus_bits
        outputs_stay = config.array.dataflow == "os"
        datapath = (OutputDatapath if outputs_stay else Datapath)(config)
        timing = datapath.timing
        serial = config.control.engines == "serial"
        load = (SerialLoadEngine if serial else LoadEngine)(config=config, timing=timing)
        execute = (OutputExecuteEngine if outputs_stay else ExecuteEngine)(config=config, timing=timing)
        store = (SerialStoreEngine if serial else StoreEngine)(config=config, timing=timing)
        engines = {"load": load, "execute": execute, "store": store}
        memory_port = {"address_bits": address_bits, "bus_bits": bus_bits}
        queues = {"queue_commands": config.control.queue_commands, "address_bits": address_bits}
        fetch = SerialFetch(**memory_port, addresses=config.memory.error_address) if serial else Fetch(**memory_port)
        dispatch = SerialDispatch(**queues) if serial else Dispatch(**queues)
        tokens = TokenCounters(bits=config.control.token_bits, early=config.control.looks_ahead)
        locks = HalfLocks()
        arbiter = SerialArbiter(**memory_port) if serial else ReadArbiter(
            **memory_port, outstanding=config.memory.outstanding + 1, addresses=config.memory.error_address)

        m.submodules.registers = registers = RegisterMap(config)
        m.submodules.controller = controller = Controller(
            address_bits=address_bits, queue_programs=config.control.queue_programs, watchdog_bits=config.control.watchdog_bits,
            late=not serial)
        m.submodules.counters = counters = Counters(bits=config.control.counter_bits, bus_bytes=config.bus_bytes)

        # All that a program moves goes back to its reset state before the next one.
        bases = BaseTable(address_bits=address_bits, lookups=3, sets=2 if config.control.queue_programs else 1, block=serial)
        cleared = ResetInserter(controller.clear)
        for name, block in {**engines, "bases": bases, "fetch": fetch, "dispatch": dispatch, "tokens": tokens, "locks": locks,
                            "arbiter": arbiter, "datapath": datapath}.items():
            m.submodules[name] = cleared(block)

        # Host: registers, state, counters.
        csr = registers.csr
        m.d.comb += [
            csr.address.eq(self.csr_address), csr.write.eq(self.csr_write), csr.write_data.eq(self.csr_write_data),
            self.csr_read_data.eq(csr.read_data), registers.build_hash.eq(self.build_hash), registers.values.eq(controller.values),
            controller.writes.eq(registers.writes), controller.write_data.eq(csr.write_data), self.irq.eq(controller.irq),
            bases.running.eq(controller.running), bases.running_set.eq(controller.program.bases), bases.port_set.eq(controller.base_set),
            bases.address.eq(registers.table_address), bases.write.eq(registers.table_write),
            bases.write_data.eq(csr.write_data), registers.table_read_data.eq(bases.read_data),
            controller.memory_moves.eq(Cat(
                getattr(self, f"{channel}_valid") & getattr(self, f"{channel}_ready")
                for channel in ("read_request", "read_response", "write_request", "write_data", "write_response")).any()),
            controller.totals.eq(counters.totals), counters.clear.eq(controller.clear), counters.count.eq(controller.running),
            counters.address.eq(registers.stall_address), registers.stall_read_data.eq(counters.read_data),
            counters.started.eq(self.started),
            counters.word_read.eq(arbiter.o.response.valid & arbiter.o.response.ready),
            counters.word_written.eq(store.write.data.valid & store.write.data.ready),
            counters.strobe.eq(store.write.data.payload.strobe),
            *(port.eq(engine.control.activity) for port, engine in zip(counters.activity, engines.values(), strict=True)),
            self.activity.eq(Cat(engine.control.activity for engine in engines.values())),
            self.started.eq(Cat(engine.control.started for engine in engines.values())),
        ]

        # Program: fetch, dispatch, engines.
        status = controller.fetch
        m.d.comb += [
            fetch.offset.eq(controller.program.offset), fetch.words.eq(controller.program.words),
            dispatch.words.eq(controller.program.words), dispatch.started.eq(self.started),
            *(block.start.eq(status.start) for block in (fetch, dispatch)),
            *(block.halt.eq(status.halt) for block in (fetch, dispatch)),
            status.idle.eq(fetch.idle), status.pending.eq(dispatch.pending), status.moved.eq(dispatch.moved),
            status.finished.eq(dispatch.finished), status.stuck.eq(dispatch.stuck),
            status.error.valid.eq(dispatch.error.valid | fetch.error.valid),
            status.error.code.eq(Mux(dispatch.error.valid, dispatch.error.code, fetch.error.code)),
            status.error.address.eq(fetch.error.address),  # those of dispatch have none
            controller.token_overflow.eq(tokens.overflow),
            controller.gives.eq(Cat(engine.tokens.give for engine in engines.values())),
        ]
        wiring.connect(m, fetch.o, dispatch.i)
        for name, engine in engines.items():
            wiring.connect(m, getattr(dispatch, f"o_{name}"), engine.commands)
            wiring.connect(m, engine.tokens, getattr(tokens, name))
            wiring.connect(m, engine.control, getattr(controller, name))
            lock = getattr(locks, name)
            m.d.comb += [lock.claim.eq(engine.claim), engine.granted.eq(lock.granted)]
        for lookup, asker in zip(bases.lookup, (fetch, load, store), strict=True):
            wiring.connect(m, asker.lookup, lookup)

        # Data: memory to datapath and back.
        wiring.connect(m, fetch.read, arbiter.urgent)
        wiring.connect(m, load.read, arbiter.bulk)
        for index, engine in enumerate((load, store)):
            wiring.connect(m, engine.activation, datapath.activation_write[index])
            wiring.connect(m, engine.weight, datapath.weight_write[index])
        wiring.connect(m, load.accumulator, datapath.load)
        if serial:
            wiring.connect(m, load.parameter, store.parameter)
        else:  # a cycle late, long before a row asks for them: their memories lie all over the epilogue
            m.d.sync += [getattr(store.parameter, name).eq(getattr(load.parameter, name)) for name in load.parameter.signature.members]
        wiring.connect(m, store.drain, datapath.drain)
        m.d.comb += [
            datapath.weight_control.eq(execute.weight), datapath.row_control.eq(execute.row),
        ]
        if serial:
            m.d.comb += fetch.wanted.eq(dispatch.wanted)
        else:
            m.d.comb += [fetch.read_address.eq(arbiter.address), load.read_address.eq(arbiter.address)]
        for way, port in (("read", arbiter.o), ("write", store.write)):
            for name, flow, signal in flat_members(way, port):
                m.d.comb += getattr(self, name).eq(signal) if flow is Out else signal.eq(getattr(self, name))
        return m


def flat_members(way: str, port: wiring.PureInterface) -> Iterator[tuple[str, wiring.Flow, Value]]:
    """Name, direction and signal of each flat port of a memory port, seen from the core."""
    for channel, member in port.signature.members.items():
        stream = getattr(port, channel)
        forward, back = (Out, In) if member.flow is wiring.Out else (In, Out)
        yield f"{way}_{channel}_valid", forward, stream.valid
        yield f"{way}_{channel}_ready", back, stream.ready
        for field in stream.payload.shape().members:
            yield f"{way}_{channel}_{field}", forward, stream.payload[field]
