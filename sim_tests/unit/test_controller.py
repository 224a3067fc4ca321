"""The controller with engines that the test plays: states, errors and their order, deadlock, interrupt."""

import itertools

import pytest
from amaranth.sim import Simulator
from systolith.arch.commands import Engine
from systolith.arch.registers import Control, ErrorCode, State, Status
from systolith.rtl.controller import Controller
from systolith.rtl.csr import WRITTEN

ENGINES = ("load", "execute", "store")


class Bench:
    """Drives a controller; between calls all engines are idle unless set otherwise."""

    def __init__(self, ctx, dut):
        self.ctx, self.dut = ctx, dut

    def rest(self):
        """Engines idle, fetch in the middle of a program."""
        ctx, dut = self.ctx, self.dut
        for name in ENGINES:
            port = getattr(dut, name)
            for signal, value in ((port.idle, 1), (port.blocked, 0), (port.started, 0), (port.error, {})):
                ctx.set(signal, value)
        for signal, value in ((dut.fetch.idle, 1), (dut.fetch.finished, 0), (dut.fetch.stuck, 0), (dut.fetch.pending, 0),
                              (dut.fetch.moved, 0), (dut.fetch.error.valid, 0), (dut.token_overflow, 0), (dut.gives, 0)):
            ctx.set(signal, value)

    async def write(self, name, value):
        ctx, dut = self.ctx, self.dut
        ctx.set(dut.writes, 1 << WRITTEN.index(name))
        ctx.set(dut.write_data, int(value))
        await ctx.tick()
        ctx.set(dut.writes, 0)

    async def start(self):
        self.rest()
        await self.write("CONTROL", Control.START)
        assert self.state == State.RUNNING and not self.ctx.get(self.dut.clear)
        await self.ctx.tick()
        assert self.ctx.get(self.dut.clear)
        await self.ctx.tick().repeat(2)

    async def pulse(self, *signals, cycles=1):
        for signal in signals:
            self.ctx.set(signal, 1)
        await self.ctx.tick().repeat(cycles)
        for signal in signals:
            self.ctx.set(signal, 0)
        await self.ctx.tick()  # what the blocks say is seen a cycle later

    def get(self, name):
        return self.ctx.get(self.dut.values[name])

    @property
    def state(self):
        return State(self.get("status") & 3)

    @property
    def error(self):
        return ErrorCode(self.get("error_code")), Engine(self.get("error_engine")), self.get("error_command")


def run(body, **parameters):
    dut = Controller(address_bits=40, watchdog_bits=8, **parameters)

    async def bench(ctx):
        await body(Bench(ctx, dut), ctx, dut)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_a_program_from_start_to_done():
    async def body(b, ctx, dut):
        b.rest()
        await b.write("PROGRAM_OFFSET", 0x1234_5678)
        await b.write("PROGRAM_WORDS", 77)
        await b.write("IRQ_ENABLE", 1)
        ctx.set(dut.writes, 1)
        ctx.set(dut.write_data, int(Control.START))
        assert not ctx.get(dut.clear) and b.state == State.IDLE
        await ctx.tick()
        ctx.set(dut.writes, 0)
        assert not ctx.get(dut.clear) and ctx.get(dut.running)
        await ctx.tick()
        assert ctx.get(dut.clear) and not ctx.get(dut.fetch.start) and ctx.get(dut.running)
        await ctx.tick()
        assert not ctx.get(dut.clear) and ctx.get(dut.fetch.start) and ctx.get(dut.running)
        await ctx.tick()
        assert not ctx.get(dut.fetch.start)
        await b.write("PROGRAM_WORDS", 5)
        assert ctx.get(dut.program.offset) == 0x1234_5678 and ctx.get(dut.program.words) == 77
        # Each of these alone keeps it running.
        ctx.set(dut.fetch.finished, 1)
        for signal, busy in ((dut.fetch.finished, 0), (dut.fetch.idle, 0), (dut.fetch.pending, 4),
                             *((getattr(dut, name).idle, 0) for name in ENGINES)):
            ctx.set(signal, busy)
            await ctx.tick().repeat(3)
            assert b.state == State.RUNNING and not ctx.get(dut.irq)
            ctx.set(signal, 0 if busy == 4 else 1)
        await ctx.tick()
        assert b.state == State.RUNNING
        await ctx.tick()
        assert b.state == State.DONE and ctx.get(dut.irq) and b.get("status") & Status.IRQ
        assert b.error == (ErrorCode.NONE, Engine.NONE, 0)
        await b.write("CONTROL", Control.CLEAR_IRQ)
        assert not ctx.get(dut.irq) and b.state == State.DONE
    run(body)


def test_start_is_refused_while_running():
    async def body(b, ctx, dut):
        await b.start()
        await b.write("CONTROL", Control.START)
        assert b.get("status") == State.RUNNING | Status.START_REFUSED
        ctx.set(dut.fetch.finished, 1)
        await ctx.tick().repeat(2)
        assert b.get("status") == State.DONE | Status.START_REFUSED | Status.IRQ
        await b.start()
        assert b.get("status") == State.RUNNING
    run(body)


def test_an_error_while_no_program_runs_stops_nothing():
    async def body(b, ctx, dut):
        await b.start()
        ctx.set(dut.fetch.finished, 1)
        await ctx.tick().repeat(2)
        assert b.state == State.DONE
        ctx.set(dut.load.error.code, ErrorCode.BUS)
        await b.pulse(dut.load.error.valid)
        await ctx.tick().repeat(4)
        assert b.state == State.DONE and b.error == (ErrorCode.NONE, Engine.NONE, 0)
        assert not any(ctx.get(getattr(dut, name).halt) for name in (*ENGINES, "fetch"))
    run(body)


@pytest.mark.parametrize("engine", range(4))
def test_an_error_halts_until_all_is_idle(engine):
    async def body(b, ctx, dut):
        await b.start()
        name = (*ENGINES, "fetch")[engine]
        port = getattr(dut, name)
        if name == "fetch":
            await b.pulse(dut.fetch.moved, cycles=5)
        else:  # two are under way, from the faulty one on
            await b.pulse(port.started, cycles=7)
            ctx.set(dut.gives, 1 << engine)
            await ctx.tick().repeat(5)
            ctx.set(dut.gives, 0)
            if name == "execute":  # the one before may have issued its last row and not have given yet
                ctx.set(port.begun, 1)
        ctx.set(port.error.code, ErrorCode.ADDRESS)
        ctx.set(port.error.address, 0x89_1234_5678)
        ctx.set(dut.load.idle, 0)
        await b.pulse(port.error.valid)
        await ctx.tick()
        assert all(ctx.get(getattr(dut, other).halt) for other in (*ENGINES, "fetch"))
        await b.pulse(dut.store.error.valid)  # too late
        await ctx.tick().repeat(5)
        assert b.state == State.RUNNING
        ctx.set(dut.load.idle, 1)
        await ctx.tick().repeat(3)
        assert b.state == State.ERROR and b.get("status") & Status.IRQ
        assert b.error == (ErrorCode.ADDRESS, Engine(engine + 1), 6 if name == "execute" else 5)
        assert (b.get("error_address_lo"), b.get("error_address_hi")) == (0x1234_5678, 0x89)
        await b.start()  # nothing needs to be set again
        assert b.error == (ErrorCode.NONE, Engine.NONE, 0) and b.get("error_address_lo") == 0
        await b.pulse(dut.store.error.valid)
        await ctx.tick().repeat(2)
        assert b.error[1:] == (Engine.STORE, 0)
    run(body)


def test_order_of_errors_in_one_cycle():
    async def body(b, ctx, dut):
        for count in range(1, 5):
            for names in itertools.combinations(("load", "execute", "store", "fetch"), count):
                await b.start()
                await b.pulse(*(getattr(dut, name).error.valid for name in names))
                await ctx.tick().repeat(2)
                assert b.error[1] == Engine[names[0].upper()]
                await ctx.tick().repeat(3)
    run(body)


def test_token_overflow_names_the_giving_command():
    async def body(b, ctx, dut):
        await b.start()
        await b.pulse(dut.execute.started, cycles=6)
        ctx.set(dut.gives, 2)
        await ctx.tick().repeat(4)
        ctx.set(dut.token_overflow, 2)  # of the fourth
        await ctx.tick().repeat(4)
        assert b.error == (ErrorCode.TOKEN_OVERFLOW, Engine.EXECUTE, 3)
    run(body)


def test_the_deadlock_of_the_program_before_is_not_this_one_s():
    """Until they are cleared, engines and dispatch say what they said at its end."""
    async def body(b, ctx, dut):
        await b.start()
        ctx.set(dut.fetch.stuck, 1)
        ctx.set(dut.load.idle, 0)
        ctx.set(dut.load.blocked, 1)
        await ctx.tick().repeat(5)
        assert b.error[0] == ErrorCode.DEADLOCK
        ctx.set(dut.load.idle, 1)  # as every halted engine
        await ctx.tick().repeat(5)
        assert b.state == State.ERROR
        await b.write("CONTROL", Control.START)
        while not ctx.get(dut.clear):
            await ctx.tick()
        await ctx.tick()
        b.rest()
        await ctx.tick().repeat(10)
        assert b.state == State.RUNNING and b.error[0] == ErrorCode.NONE
    run(body)


def test_deadlock_at_once_and_never_wrongly():
    async def body(b, ctx, dut):
        choices = itertools.product([(1, 0, 0), (1, 0, 1), (0, 1, 1), (0, 0, 0)], repeat=3)  # (idle, blocked, pending)
        for engines, stuck, give in itertools.product(choices, (0, 1), (0, 1)):
            await b.start()
            await b.pulse(dut.fetch.moved, cycles=3)
            for name, (idle, blocked, _) in zip(ENGINES, engines, strict=True):
                ctx.set(getattr(dut, name).idle, idle)
                ctx.set(getattr(dut, name).blocked, blocked)
            ctx.set(dut.fetch.pending, sum(pending << i for i, (*_, pending) in enumerate(engines)))
            ctx.set(dut.fetch.stuck, stuck)
            ctx.set(dut.gives, give)
            await ctx.tick().repeat(5)
            dead = stuck and not give and (0, 1, 1) in engines and all(e in ((1, 0, 0), (0, 1, 1)) for e in engines)
            assert b.error == ((ErrorCode.DEADLOCK, Engine.FETCH, 3) if dead else (ErrorCode.NONE, Engine.NONE, 0))
            b.rest()
            await b.write("CONTROL", Control.RESET)
            await ctx.tick().repeat(5)
            assert b.state == State.IDLE
    run(body)


def test_abort():
    async def body(b, ctx, dut):
        b.rest()
        await b.write("CONTROL", Control.ABORT)
        assert b.state == State.IDLE
        await b.start()
        await b.pulse(dut.fetch.moved, cycles=2)
        ctx.set(dut.store.idle, 0)
        await b.write("CONTROL", Control.ABORT)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.store.halt) and b.state == State.RUNNING
        ctx.set(dut.store.idle, 1)
        await ctx.tick().repeat(3)
        assert b.state == State.ERROR and b.error == (ErrorCode.ABORTED, Engine.NONE, 2)
    run(body)


@pytest.mark.parametrize("after_error", [False, True])
def test_reset_while_running(after_error):
    async def body(b, ctx, dut):
        await b.start()
        ctx.set(dut.load.idle, 0)
        if after_error:
            await b.pulse(dut.load.error.valid)
        await b.write("CONTROL", Control.RESET)
        await ctx.tick().repeat(3)
        assert b.state == State.RUNNING and ctx.get(dut.load.halt) and not ctx.get(dut.clear)
        ctx.set(dut.load.idle, 1)
        await ctx.tick().repeat(4)
        assert b.get("status") == State.IDLE and ctx.get(dut.clear) and ctx.get(dut.load.halt)
        await ctx.tick()
        assert not ctx.get(dut.clear) and not ctx.get(dut.load.halt)
        assert b.error == (ErrorCode.NONE, Engine.NONE, 0)
    run(body)


def test_nothing_of_the_program_before_ends_the_next():
    async def body(b, ctx, dut):
        for first in ((dut.fetch.finished,), (dut.load.error.valid,)):  # levels that hold until they are cleared
            await b.start()
            await b.pulse(*first)
            await ctx.tick().repeat(5)
            assert b.state in (State.DONE, State.ERROR)
            for signal in first:
                ctx.set(signal, 1)
            await b.write("CONTROL", Control.START)
            await ctx.tick().repeat(2)
            for signal in first:
                ctx.set(signal, 0)
            await ctx.tick().repeat(3)
            assert b.state == State.RUNNING and not ctx.get(dut.load.halt)
            await b.write("CONTROL", Control.RESET)
            await ctx.tick().repeat(5)
    run(body)


def test_abort_right_after_start():
    async def body(b, ctx, dut):
        b.rest()
        await b.write("CONTROL", Control.START)
        await b.write("CONTROL", Control.ABORT)
        await ctx.tick().repeat(7)
        assert b.state == State.ERROR and b.error == (ErrorCode.ABORTED, Engine.NONE, 0)
    run(body)


def test_reset_right_after_start():
    async def body(b, ctx, dut):
        b.rest()
        await b.write("CONTROL", Control.START)
        await b.write("CONTROL", Control.RESET)
        await ctx.tick().repeat(4)
        assert b.state == State.IDLE and not ctx.get(dut.load.halt)
    run(body)


def test_reset_in_the_cycle_of_the_end():
    async def body(b, ctx, dut):
        await b.start()
        ctx.set(dut.fetch.finished, 1)
        await b.write("CONTROL", Control.RESET)
        await ctx.tick().repeat(4)
        assert b.get("status") == State.IDLE
    run(body)


class QueueBench(Bench):
    """With a queue of two programs, which are told apart by their length."""

    async def enqueue(self, words):
        await self.write("PROGRAM_WORDS", words)
        await self.write("CONTROL", Control.ENQUEUE)

    async def end(self):
        await self.pulse(self.dut.fetch.finished)

    @property
    def shown(self):
        """State, IRQ, START_REFUSED, waiting programs, COMPLETED, and what runs."""
        status = self.get("status")
        return (State(status & 3), bool(status & Status.IRQ), bool(status & Status.START_REFUSED), (status & Status.WAITING) >> 8,
                self.get("completed"), self.ctx.get(self.dut.program.words))


def run_queue(body):
    dut = Controller(address_bits=40, queue_programs=2)

    async def bench(ctx):
        b = QueueBench(ctx, dut)
        b.rest()
        await body(b, ctx, dut)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_queued_programs_follow_each_other():
    async def body(b, ctx, dut):
        await b.enqueue(1)
        assert b.shown == (State.RUNNING, False, False, 0, 0, 1)
        await b.write("PROGRAM_BASES", 1)
        await b.enqueue(2)
        await b.write("PROGRAM_BASES", 0)
        await b.enqueue(3)
        assert b.shown == (State.RUNNING, False, False, 2, 0, 1) and not ctx.get(dut.program.bases)
        await b.enqueue(4)
        assert b.shown == (State.RUNNING, False, True, 2, 0, 1)
        # The end of one is the START of the next: cleared two cycles later, fetched in the one after.
        await b.end()
        assert b.shown == (State.RUNNING, True, True, 1, 1, 2) and ctx.get(dut.program.bases)
        await ctx.tick()
        assert ctx.get(dut.clear) and not ctx.get(dut.fetch.start)
        await ctx.tick()
        assert not ctx.get(dut.clear) and ctx.get(dut.fetch.start)
        await b.write("CONTROL", Control.CLEAR_IRQ)
        await b.enqueue(5)
        assert b.shown == (State.RUNNING, False, False, 2, 1, 2)
        for completed, words, waiting in ((2, 3, 1), (3, 5, 0)):
            await b.end()
            assert b.shown == (State.RUNNING, True, False, waiting, completed, words)
            await ctx.tick().repeat(2)
        await b.end()
        assert b.shown[:5] == (State.DONE, True, False, 0, 4)
        await b.enqueue(6)
        assert b.shown == (State.RUNNING, True, False, 0, 4, 6)  # the interrupt of the program before is still to be seen
    run_queue(body)


def test_enqueue_in_the_cycle_of_the_end():
    async def body(b, ctx, dut):
        await b.enqueue(1)
        await b.write("PROGRAM_WORDS", 2)
        await ctx.tick()
        ctx.set(dut.fetch.finished, 1)
        await ctx.tick()
        await b.write("CONTROL", Control.ENQUEUE)
        ctx.set(dut.fetch.finished, 0)
        assert b.shown == (State.RUNNING, True, False, 0, 1, 2)
        await ctx.tick()
        assert ctx.get(dut.clear)
    run_queue(body)


@pytest.mark.parametrize("restart", [Control.START, Control.RESET])
def test_an_error_stops_the_queue(restart):
    async def body(b, ctx, dut):
        await b.enqueue(1)
        await b.enqueue(2)
        await b.enqueue(3)
        await b.end()
        await ctx.tick().repeat(2)
        ctx.set(dut.store.idle, 0)
        await b.pulse(dut.load.error.valid)
        await b.enqueue(4)  # an error was found, and is being settled
        assert b.shown == (State.RUNNING, True, True, 1, 1, 2)
        ctx.set(dut.store.idle, 1)
        await ctx.tick().repeat(3)
        assert b.shown == (State.ERROR, True, True, 1, 1, 2)
        await b.enqueue(5)
        await ctx.tick().repeat(3)
        assert b.shown == (State.ERROR, True, True, 1, 1, 2)
        await b.write("CONTROL", restart)
        if restart == Control.START:
            assert b.shown == (State.RUNNING, False, False, 0, 1, 5)
        else:
            assert b.shown[:5] == (State.IDLE, False, False, 0, 0)
    run_queue(body)


@pytest.mark.parametrize("action", [Control.ABORT, Control.RESET])
def test_abort_and_reset_end_the_queue(action):
    async def body(b, ctx, dut):
        await b.enqueue(1)
        await b.enqueue(2)
        await b.write("CONTROL", action)
        await ctx.tick().repeat(5)
        if action == Control.ABORT:
            assert b.shown[:4] == (State.ERROR, True, False, 1) and b.error[0] == ErrorCode.ABORTED
        else:
            assert b.shown[:5] == (State.IDLE, False, False, 0, 0)
        await b.write("CONTROL", Control.START)
        await ctx.tick().repeat(2)
        await b.end()
        assert b.shown[0] == State.DONE
    run_queue(body)


def test_without_a_queue_nothing_waits():
    async def body(b, ctx, dut):
        b.rest()
        await b.write("CONTROL", Control.ENQUEUE)
        assert b.state == State.RUNNING
        await b.write("CONTROL", Control.ENQUEUE)
        assert b.get("status") == State.RUNNING | Status.START_REFUSED
        await ctx.tick()
        await b.pulse(dut.fetch.finished)
        assert b.state == State.DONE and b.get("completed") == 0
        await b.write("PROGRAM_BASES", 1)
        assert b.get("program_bases") == 0
    run(body)


MEMORY = 4  # what LOAD and STORE report while they wait for it


async def expire(b, cycles, **activity):
    """Cycles until the state is no longer RUNNING, at most ``cycles``."""
    for name, value in activity.items():
        b.ctx.set(getattr(b.dut, name).activity, value)
    for count in range(cycles):
        if b.state != State.RUNNING:
            return count
        await b.ctx.tick()
    return None


@pytest.mark.parametrize("activity, idle, engine, command", [
    ({"load": MEMORY}, "load", Engine.LOAD, 1), ({"store": MEMORY}, "store", Engine.STORE, 2), ({}, "fetch", Engine.FETCH, 0),
    ({"load": MEMORY, "store": MEMORY}, "load", Engine.LOAD, 1)])
def test_a_memory_that_never_answers(activity, idle, engine, command):
    async def body(b, ctx, dut):
        assert b.get("watchdog") == 255
        await b.write("WATCHDOG", 10)
        assert b.get("watchdog") == 10
        await b.start()
        ctx.set(dut.gives, 0b101)
        await ctx.tick()
        ctx.set(dut.gives, 0b100)
        await ctx.tick()
        ctx.set(dut.gives, 0)
        ctx.set(getattr(dut, idle).idle, 0)
        for name, value in activity.items():
            ctx.set(getattr(dut, name).activity, value)
        for _ in range(5):  # whatever moves puts it off
            await ctx.tick().repeat(8)
            await b.pulse(dut.memory_moves)
            assert b.state == State.RUNNING
        assert await expire(b, 20) == 10
        await ctx.tick().repeat(2)  # which error it is shows two cycles later
        assert b.error == (ErrorCode.TIMEOUT, engine, command) and ctx.get(dut.irq) == 0
        assert b.get("status") == State.ERROR | Status.IRQ | Status.BUS_OWED and ctx.get(dut.load.halt)

        await b.write("CONTROL", Control.START)
        assert b.get("status") == State.ERROR | Status.IRQ | Status.BUS_OWED | Status.START_REFUSED
        ctx.set(getattr(dut, idle).idle, 1)  # it has answered after all
        await ctx.tick().repeat(2)
        assert not b.get("status") & Status.BUS_OWED and ctx.get(dut.load.halt)
        for name in activity:
            ctx.set(getattr(dut, name).activity, 1)
        await b.write("CONTROL", Control.START)
        await ctx.tick().repeat(2)
        assert b.get("status") == State.RUNNING and not ctx.get(dut.load.halt)
    run(body)


def test_reset_of_a_memory_that_owes():
    async def body(b, ctx, dut):
        await b.write("WATCHDOG", 10)
        await b.start()
        ctx.set(dut.store.idle, 0)
        assert await expire(b, 20, store=MEMORY) is not None
        await b.write("CONTROL", Control.RESET)
        assert b.state == State.IDLE
        await ctx.tick()
        assert ctx.get(dut.clear)
        await ctx.tick()
        assert b.error == (ErrorCode.NONE, Engine.NONE, 0)
        assert b.get("watchdog") == 10
    run(body)


@pytest.mark.parametrize("action", [Control.ABORT, Control.RESET])
def test_abort_and_reset_do_not_wait_for_a_dead_memory(action):
    async def body(b, ctx, dut):
        await b.write("WATCHDOG", 10)
        await b.start()
        ctx.set(dut.load.idle, 0)
        ctx.set(dut.load.activity, 1)  # a halted engine may say anything
        await b.write("CONTROL", action)
        assert await expire(b, 20) is not None
        if action == Control.ABORT:
            assert b.error[0] == ErrorCode.ABORTED and b.get("status") & Status.BUS_OWED
        else:
            assert b.state == State.IDLE
    run(body)


def test_reset_in_the_cycle_in_which_the_watchdog_expires():
    async def body(b, ctx, dut):
        for delay in range(6, 16):
            await b.write("WATCHDOG", 10)
            await b.start()
            ctx.set(dut.load.idle, 0)
            ctx.set(dut.load.activity, MEMORY)
            await ctx.tick().repeat(delay)
            await b.write("CONTROL", Control.RESET)
            assert await expire(b, 20) is not None
            ctx.set(dut.load.activity, 1)
            ctx.set(dut.load.idle, 1)
            await b.write("CONTROL", Control.RESET)
            await ctx.tick().repeat(4)
    run(body)


def test_waiting_for_others_is_no_timeout():
    async def body(b, ctx, dut):
        await b.write("WATCHDOG", 10)
        await b.start()
        ctx.set(dut.execute.idle, 0)
        assert await expire(b, 40, load=2, execute=0, store=2) is None
        await b.write("WATCHDOG", 0)
        ctx.set(dut.load.idle, 0)
        assert await expire(b, 300, load=MEMORY) is None
    run(body)
