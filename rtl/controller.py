"""Runs programs: state, errors, interrupt, and what the host reads of them."""

from types import SimpleNamespace

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..arch.commands import COMMANDS, PEERS, Engine
from ..arch.registers import COMPLETED_BITS, STALLS, WATCHDOG_CYCLES, Control, ErrorCode, State
from .counters import totals_layout
from .csr import WRITTEN, status_layout
from .interfaces import EngineControl, ErrorShape
from .program_queue import ProgramQueue, program_layout
from .watchdog import Watchdog

__all__ = ["Controller", "FetchStatus"]

_COMMAND_BITS = 24  # of ERROR_COMMAND, at most: a program of more commands would be longer than half a gigabyte


class FetchStatus(wiring.Signature):
    """Fetch and dispatch, seen from them; see :class:`Fetch` and :class:`Dispatch`."""

    def __init__(self, address_bits: int):
        super().__init__({
            "start": In(1), "halt": In(1), "idle": Out(1), "pending": Out(3), "moved": Out(1), "finished": Out(1), "stuck": Out(1),
            "error": Out(ErrorShape(address_bits)),
        })


class Controller(wiring.Component):
    """State machine behind CONTROL and STATUS, and the first error's registers.

    START clears everything (``clear``, two cycles after; one, if not ``late``) and begins; the program runs until all is done, or an error,
    ABORT or RESET: then ``halt`` until nothing is in flight. Of errors in one cycle LOAD's comes first, then EXECUTE's, STORE's,
    FETCH's. DEADLOCK is found in the cycle after that in which it begins.

    ENQUEUE begins in IDLE and DONE too; while RUNNING its program waits, and the end of the one before it is its START. After
    an error nothing that waits begins. Without a queue, PROGRAM registers ignore writes while RUNNING.

    TIMEOUT does not wait until nothing is in flight, and after it ``halt`` stays: what the memory still answers is drained, and
    START is refused until all of it has come. RESET does not wait for that.

    Parameters
    ----------
    address_bits : of memory
    queue_programs : how many programs may wait
    watchdog_bits : of WATCHDOG; 0 leaves it out
    late : what the blocks report is seen a cycle later

    Members
    -------
    writes, write_data : of :class:`RegisterMap`
    values : registers as the host reads them
    totals : what of them counters are
    load, execute, store, fetch : engines, and fetch with dispatch
    token_overflow, gives : per engine (LOAD, EXECUTE, STORE), of the token counters; an overflow a cycle after what gave rise to it
    memory_moves : a handshake on a memory port
    program : what runs (:func:`program_layout`)
    base_set : the set of base registers that the host sees
    running : the program runs; a cycle with ``running`` is one of CYCLES
    clear : everything but registers of the host returns to its reset state; a register, since it reaches all of the core
    irq : the interrupt line
    """

    writes: Signal
    write_data: Signal
    values: data.View
    totals: data.View
    load: wiring.PureInterface
    execute: wiring.PureInterface
    store: wiring.PureInterface
    fetch: wiring.PureInterface
    token_overflow: Signal
    gives: Signal
    memory_moves: Signal
    program: data.View
    base_set: Signal
    running: Signal
    clear: Signal
    irq: Signal

    def __init__(self, *, address_bits: int, queue_programs: int = 0, watchdog_bits: int = 0, late: bool = True):
        self.late = late
        self.address_bits = address_bits
        self.queue_programs = queue_programs
        self.watchdog_bits = watchdog_bits
        self._command_bits = min(_COMMAND_BITS, address_bits - ceil_log2(4 * min(command.words for command in COMMANDS.values())))
        super().__init__({
            "writes": In(len(WRITTEN)), "write_data": In(32), "values": Out(status_layout()), "totals": In(totals_layout()),
            **{engine.name.lower(): In(EngineControl(engine, address_bits)) for engine in PEERS},
            "fetch": In(FetchStatus(address_bits)), "token_overflow": In(len(PEERS)), "gives": In(len(PEERS)),
            "memory_moves": In(1), "program": Out(program_layout(address_bits)), "base_set": Out(1),
            "running": Out(1), "clear": Out(1), "irq": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        writes = dict(zip(WRITTEN, self.writes, strict=True))
        # All that the blocks say is seen a cycle later (if ``late``): it comes from everywhere, and late in its cycle.
        seen = m.d.sync if self.late else m.d.comb
        engines = [_seen(seen, getattr(self, name), name) for name in ("load", "execute", "store")]
        fetch = _seen(seen, self.fetch, "fetch")
        token_overflow = Signal.like(self.token_overflow, name="token_overflow_seen")
        seen += token_overflow.eq(self.token_overflow)
        gives = Signal.like(self.gives, name="gives_seen")
        m.d.sync += gives.eq(self.gives)  # always, as the overflow is of the cycle before

        def asked(action: Control) -> Value:
            return writes["CONTROL"] & ((self.write_data & action) != 0)

        state = Signal(State)
        halted, halt_seen = Signal(), Signal()  # the program is being stopped; what the engines say is of the time after that
        to_reset = Signal()  # it ends in IDLE
        error = Signal(data.StructLayout({
            "code": ErrorCode, "engine": Engine, "command": self._command_bits, "address": self.address_bits}))
        irq = Signal()
        irq_enable = Signal()
        refused = Signal()
        completed = Signal(COMPLETED_BITS)
        m.submodules.queue = queue = ProgramQueue(depth=self.queue_programs, address_bits=self.address_bits)
        m.d.comb += self.running.eq(state == State.RUNNING)

        clearing = Signal()
        resetting = Signal()
        fails = Signal()
        owed = Signal()
        # It reaches all of the core: with ``late`` from a register of which there may be many copies.
        about_to_clear = Signal()
        if self.late:
            m.d.sync += about_to_clear.eq(clearing)
        m.d.sync += [self.clear.eq(about_to_clear if self.late else clearing), self.fetch.start.eq(self.clear & self.running)]
        # Nothing that has begun is left to do; a halted engine's waiting commands have not begun.
        clear_seen = Signal()
        halt = Signal()  # a cycle late
        quiet = fetch.idle & Cat(engine.idle for engine in engines).all()
        # Only DONE is in a hurry: what waits for quiet after a halt sees it a cycle later.
        rests, stopped = Signal(), Signal()
        if self.late:
            m.d.sync += [halt.eq(halted & ~self.clear), halt_seen.eq(halt), clear_seen.eq(self.clear)]
            m.d.sync += [rests.eq(quiet), stopped.eq(halt_seen & quiet)]
        else:
            m.d.comb += [halt_seen.eq(halted), rests.eq(quiet), stopped.eq(quiet)]
        through = Signal(name="through_seen")  # every command has been taken
        seen += through.eq(self.fetch.finished & ~self.fetch.pending.any())
        m.d.comb += owed.eq((state == State.ERROR) & ~rests)
        done = quiet & through
        # Until the cycle after ``clear``, what the engines say is of the program before; an ABORT that comes then is kept.
        held_abort = Signal()
        before = about_to_clear | self.clear | clear_seen
        m.d.sync += held_abort.eq(asked(Control.ABORT) & self.running | held_abort & before)
        late, expired = self._watch(m, writes["WATCHDOG"], halted, rests)
        fault, found = self._find_error(m, engines, fetch, gives, token_overflow, before, held_abort, late, expired)

        # A program has ended: seen of what it left, since the end is decided late in its cycle.
        ran, advanced, interrupts = Signal(), Signal(), Signal()
        m.d.comb += interrupts.eq(irq | ran & ((state == State.DONE) | (state == State.ERROR)) | advanced)
        m.d.sync += [ran.eq(self.running), advanced.eq(queue.advance), irq.eq(interrupts)]
        m.d.comb += [port.halt.eq(halt if self.late else halted) for port in (self.load, self.execute, self.store, self.fetch)]
        # A fault is known late in its cycle, and all else that decides over a halt early. Nor is it forgotten before ``clear``: what
        # waits in a halted engine must not begin before it is cleared.
        resets = self.running & asked(Control.RESET) & ~about_to_clear
        m.d.comb += fails.eq(fault & (self.running & ~halted & ~before))
        m.d.sync += [halted.eq(fails | resets | halted & ~self.clear), to_reset.eq(resets | to_reset & ~self.clear)]
        with m.If(self.running):
            with m.If(asked(Control.RESET)):
                with m.If(about_to_clear):
                    m.d.comb += resetting.eq(1)  # nothing has begun
                    m.d.sync += state.eq(State.IDLE)
            with m.Elif(before):
                pass
            with m.Elif(halted & (stopped | halt_seen & expired)):
                m.d.sync += state.eq(Mux(to_reset, State.IDLE, State.ERROR))
                m.d.comb += resetting.eq(to_reset)
            with m.Elif(~halted & fault):
                with m.If(expired):
                    m.d.sync += state.eq(State.ERROR)
            with m.Elif(~halted & done):
                m.d.sync += completed.eq(completed + 1)
                with m.If((queue.waiting != 0) | queue.append):
                    m.d.comb += [queue.advance.eq(1), clearing.eq(1)]
                with m.Else():
                    m.d.sync += state.eq(State.DONE)
            with m.If(asked(Control.START)):
                m.d.sync += refused.eq(1)
            with m.Elif(asked(Control.ENQUEUE)):
                m.d.comb += queue.append.eq(~queue.full & ~halted)
                m.d.sync += refused.eq(~queue.append)
        with m.Else():
            with m.If(asked(Control.RESET)):
                m.d.comb += resetting.eq(1)
                m.d.sync += state.eq(State.IDLE)
            with m.Elif((asked(Control.START) & ~owed) | (asked(Control.ENQUEUE) & (state != State.ERROR))):
                m.d.comb += [queue.replace.eq(1), clearing.eq(1)]
                m.d.sync += [state.eq(State.RUNNING), refused.eq(0)]
                with m.If(asked(Control.START)):
                    m.d.sync += irq.eq(0)
            with m.Elif(asked(Control.START) | asked(Control.ENQUEUE)):
                m.d.sync += refused.eq(1)
        with m.If(resetting):
            m.d.comb += [queue.drop.eq(1), clearing.eq(1)]
            m.d.sync += [refused.eq(0), irq.eq(0), completed.eq(0)]
        # Which error it is takes longer to tell than that there is one, and nobody reads it so soon.
        which, tells = Signal.like(error.as_value(), name="which", reset_less=True), Signal()
        told = m.d.sync if self.late else m.d.comb
        told += [which.eq(Cat(found.code, found.engine, found.command, found.address)), tells.eq(self._later(m, fails, "fails"))]
        with m.If(tells):
            m.d.sync += error.eq(which)
        with m.If(self.clear):
            m.d.sync += error.eq(0)
        with m.If(asked(Control.CLEAR_IRQ)):
            m.d.sync += irq.eq(0)
        with m.If(writes["IRQ_ENABLE"]):
            m.d.sync += irq_enable.eq(self.write_data[0])

        written = queue.i  # what runs is a copy of it, if there is a queue
        may_write = C(1) if self.queue_programs else ~self.running
        with m.If(writes["PROGRAM_OFFSET"] & may_write):
            m.d.sync += written.offset.eq(self.write_data)
        with m.If(writes["PROGRAM_WORDS"] & may_write):
            m.d.sync += written.words.eq(self.write_data)
        if self.queue_programs:
            with m.If(writes["PROGRAM_BASES"]):
                m.d.sync += written.bases.eq(self.write_data)
        m.d.comb += [self.program.eq(queue.current), self.base_set.eq(written.bases)]

        values = self.values
        address = error.address | C(0, 64)
        m.d.comb += [
            self.irq.eq(interrupts & irq_enable),
            values.status.eq(Cat(state, interrupts, refused, owed, C(0, 3), queue.waiting)),  # as in Status
            values.irq_enable.eq(irq_enable),
            values.program_offset.eq(written.offset), values.program_words.eq(written.words), values.program_bases.eq(written.bases),
            values.completed.eq(completed if self.queue_programs else 0),
            values.error_code.eq(error.code), values.error_engine.eq(error.engine), values.error_command.eq(error.command),
            values.error_address_lo.eq(address[:32]), values.error_address_hi.eq(address[32:]),
            *(values[name].eq(self.totals[name]) for name in self.totals.shape().members),
        ]
        return m

    def _watch(self, m: Module, write: Value, halted: Value, quiet: Value) -> tuple[Value, Value]:
        """Who waits for a memory that has not moved for WATCHDOG cycles: LOAD, EXECUTE (never), STORE, FETCH; and whether any does."""
        late = Signal(len(STALLS) + 1)
        if not self.watchdog_bits:
            return late, Const(0)
        limit = Signal(self.watchdog_bits, init=min(WATCHDOG_CYCLES, (1 << self.watchdog_bits) - 1))
        with m.If(write):
            m.d.sync += limit.eq(self.write_data)
        m.submodules.watchdog = watchdog = Watchdog(bits=self.watchdog_bits)
        waits = Signal(len(late))
        # From registers: the engines' activity comes late in the cycle. A program that is being stopped waits for what is in flight.
        m.d.sync += [
            watchdog.moves.eq(self.memory_moves), watchdog.waits.eq(self.running & Mux(halted, ~quiet, waits.any())),
        ]
        m.d.comb += [
            waits.eq(Cat(*(getattr(self, engine.name.lower()).activity == causes.index("memory") if "memory" in causes else 0
                           for engine, causes in STALLS.items()), ~self.fetch.idle)),
            watchdog.limit.eq(limit), self.values.watchdog.eq(limit),
            late.eq(Mux(watchdog.expired, Mux(waits.any(), waits, 1 << len(STALLS)), 0)),
        ]
        return late, watchdog.expired

    def _later(self, m: Module, value: Value, name: str) -> Value:
        """``value`` a cycle later, with ``late``."""
        if not self.late:
            return value
        kept = Signal(value.shape(), name=f"{name}_kept", reset_less=True)
        m.d.sync += kept.eq(value)
        return kept

    def _total(self, m: Module, one: Value, clear: Value, name: str) -> Signal:
        """How many commands ``one`` has told of since ``clear``."""
        total = Signal(self._command_bits, name=name)
        with m.If(clear):
            m.d.sync += total.eq(0)
        with m.Else():
            m.d.sync += total.eq(total + one)
        return total

    def _find_error(self, m: Module, engines: list[SimpleNamespace], fetch: SimpleNamespace, gives: Value, token_overflow: Value,
                    clear: Value, abort: Value, late: Value, expired: Value) -> tuple[Value, data.View]:
        """Whether there is an error, and what the error registers will show of the first one, with ``late`` a cycle later."""
        found = Signal(data.StructLayout({
            "valid": 1, "code": ErrorCode, "engine": Engine, "command": self._command_bits, "address": self.address_bits}))
        dispatched = self._total(m, fetch.moved, clear, "dispatched")

        # Nobody can move, and a token that is just being given frees nobody.
        resting = Cat(engine.blocked | (engine.idle & ~pending) for engine, pending in zip(engines, fetch.pending, strict=True))
        blocked = Cat(engine.blocked for engine in engines)
        deadlock = fetch.stuck & resting.all() & blocked.any()
        gave = gives.any()  # of the same cycle as what is seen with ``late``, else of the one before
        deadlock &= ~clear & (~gave if self.late else 1)
        deadlock_seen, of_tokens = Signal(), Signal()  # of_tokens: that, or one was lost
        m.d.sync += [deadlock_seen.eq(deadlock), of_tokens.eq(deadlock | self.token_overflow.any())]
        deadlock = deadlock_seen & (1 if self.late else ~gave)

        def later(value: Value, name: str) -> Value:
            return self._later(m, value, name)

        def address(error: data.View, name: str) -> Value:
            return later(Mux(_has_address(error.code), error.address, 0), f"{name}_address")

        # The least urgent first: later statements win.
        m.d.comb += [
            found.engine.eq(Engine.NONE), found.command.eq(later(dispatched, "dispatched")), found.code.eq(ErrorCode.ABORTED),
            found.valid.eq(later(abort, "abort")),
        ]
        with m.If(later(expired, "late")):
            m.d.comb += [found.valid.eq(1), found.code.eq(ErrorCode.TIMEOUT), found.engine.eq(Engine.FETCH)]
        with m.If(later(deadlock, "deadlock")):
            m.d.comb += [found.valid.eq(1), found.code.eq(ErrorCode.DEADLOCK), found.engine.eq(Engine.FETCH)]
        code, place = later(fetch.error.code, "fetch_code"), address(fetch.error, "fetch")
        with m.If(later(fetch.error.valid, "fetch_error")):
            m.d.comb += [found.valid.eq(1), found.code.eq(code), found.engine.eq(Engine.FETCH), found.address.eq(place)]
        for engine, name, port, overflow, give, is_late in reversed(list(zip(
                PEERS, ("load", "execute", "store"), engines, token_overflow, gives, late[:-1], strict=True))):
            given = self._total(m, give, clear, f"{name}_given")
            number = complete = later(given, f"{name}_given")
            lost = later(complete, f"{name}_lost")  # what was given when the token was lost, of which is told a cycle after all else
            if engine is Engine.EXECUTE:
                number = later(self._total(m, port.started, clear, f"{name}_started") - port.begun, f"{name}_number")
            with m.If(later(is_late, f"{name}_late")):
                m.d.comb += [found.engine.eq(engine), found.command.eq(complete)]
            with m.If(later(overflow, f"{name}_overflow")):
                m.d.comb += [
                    found.valid.eq(1), found.code.eq(ErrorCode.TOKEN_OVERFLOW), found.engine.eq(engine), found.command.eq(lost),
                    found.address.eq(0),
                ]
            code, place = later(port.error.code, f"{name}_code"), address(port.error, name)
            with m.If(later(port.error.valid, f"{name}_error")):
                m.d.comb += [
                    found.valid.eq(1), found.code.eq(code), found.engine.eq(engine), found.command.eq(number), found.address.eq(place),
                ]
        if not self.late:
            return found.valid, found
        # That there is one is known at once.
        return Cat(abort, expired, of_tokens, fetch.error.valid, *(engine.error.valid for engine in engines)).any(), found


def _seen(domain, port: wiring.PureInterface, name: str) -> SimpleNamespace:
    """What a block says, its activity aside, as the controller sees it."""
    seen = {}
    for member, entry in port.signature.members.items():
        if member not in ("halt", "start", "activity"):
            seen[member] = Signal(entry.shape, name=f"{name}_{member}_seen")
            domain += seen[member].eq(getattr(port, member))
    return SimpleNamespace(**seen)


def _has_address(code: Value) -> Value:
    return (code == ErrorCode.ADDRESS) | (code == ErrorCode.BUS)
