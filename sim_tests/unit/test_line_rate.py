"""When the rate of a serial line changes, and when it comes back."""

import pytest
from amaranth.sim import Simulator
from systolith.arch.serial_link import RATE_TIMEOUTS, RATE_TRIAL
from systolith.rtl.line_rate import LineRate

BUILT, TICKS = 6, 16
TIMEOUT = BUILT * TICKS  # cycles


class TB:
    def __init__(self, ctx):
        self.ctx = ctx

    async def pulse(self, *names, **values):
        for name in names:
            self.ctx.set(getattr(self.dut, name), 1)
        for name, value in values.items():
            self.ctx.set(getattr(self.dut, name), value)
        await self.ctx.tick()
        for name in names:
            self.ctx.set(getattr(self.dut, name), 0)

    async def change(self, cycles):
        """As a host does it: asked, answered, sent."""
        await self.pulse("ask", asked=cycles - 1)
        await self.pulse("digest")
        await self.ctx.tick().repeat(3)

    @property
    def cycles(self):
        return self.ctx.get(self.dut.cycles) + 1

    async def lasts(self, most):
        """Cycles until the built rate is back, at most so many."""
        for cycle in range(most):
            if self.cycles == BUILT:
                return cycle
            await self.ctx.tick()
        return most


def run(testbench):
    dut = LineRate(bit_cycles=BUILT, timeout_ticks=TICKS)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def prepared(ctx):
        tb = TB(ctx)
        tb.dut = dut
        ctx.set(dut.sent, 1)
        ctx.set(dut.waiting, 1)
        await testbench(ctx, tb)

    simulator.add_testbench(prepared)
    simulator.run()


def test_construction():
    with pytest.raises(ValueError):
        LineRate(bit_cycles=4, timeout_ticks=100)


def test_it_changes_once_the_answer_has_been_sent():
    async def testbench(ctx, tb):
        await tb.pulse("ask", asked=3)
        await ctx.tick().repeat(5)
        assert tb.cycles == BUILT, "before any digest"
        ctx.set(tb.dut.sent, 0)
        await tb.pulse("digest")
        await ctx.tick().repeat(50)
        assert tb.cycles == BUILT, "while the digest is on the line"
        ctx.set(tb.dut.sent, 1)
        await ctx.tick()
        assert tb.cycles == 4
        await tb.pulse("digest")
        await ctx.tick().repeat(3)
        assert tb.cycles == 4

    run(testbench)


def test_what_was_forgotten_does_not_begin():
    async def testbench(ctx, tb):
        await tb.pulse("ask", asked=3)
        await tb.pulse("forget")
        await tb.pulse("digest")
        await ctx.tick().repeat(3)
        assert tb.cycles == BUILT

    run(testbench)


def test_a_rate_that_nobody_uses_ends_after_its_trial():
    async def testbench(ctx, tb):
        await tb.change(4)
        assert tb.cycles == 4
        assert (RATE_TRIAL - 1) * TIMEOUT < await tb.lasts(10_000) < (RATE_TRIAL + 1) * TIMEOUT

    run(testbench)


def test_good_headers_keep_a_rate_and_their_end_ends_it():
    async def testbench(ctx, tb):
        await tb.change(4)
        for _ in range(5):
            await tb.pulse("trusted")
            assert await tb.lasts((RATE_TIMEOUTS - 1) * TIMEOUT) == (RATE_TIMEOUTS - 1) * TIMEOUT
        await tb.pulse("trusted")
        assert (RATE_TIMEOUTS - 1) * TIMEOUT < await tb.lasts(10_000) < (RATE_TIMEOUTS + 1) * TIMEOUT

    run(testbench)


def test_words_that_move_do_not_count():
    async def testbench(ctx, tb):
        await tb.change(4)
        await tb.pulse("trusted")
        ctx.set(tb.dut.waiting, 0)
        assert await tb.lasts(3 * RATE_TIMEOUTS * TIMEOUT) == 3 * RATE_TIMEOUTS * TIMEOUT
        ctx.set(tb.dut.waiting, 1)
        assert await tb.lasts(10_000) > (RATE_TIMEOUTS - 1) * TIMEOUT

    run(testbench)


def test_the_end_of_a_session_ends_it_at_once():
    async def testbench(ctx, tb):
        await tb.change(5)
        await tb.pulse("trusted", "released")
        await ctx.tick()
        assert tb.cycles == BUILT

    run(testbench)


def test_pauses_are_counted_at_the_built_rate():
    async def testbench(ctx, tb):
        for cycles in BUILT, 4:
            if cycles != BUILT:
                await tb.change(cycles)
                await tb.pulse("trusted")
            while not ctx.get(tb.dut.tick):
                await ctx.tick()
            ticks = 0
            for _ in range(20 * BUILT):
                ticks += ctx.get(tb.dut.tick)
                await ctx.tick()
            assert ticks == 20
            assert tb.cycles == cycles

    run(testbench)
