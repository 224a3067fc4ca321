"""The register port behind AXI4-Lite: every access is answered, and only whole words of the map reach a register."""

import itertools
import random

import pytest
from amaranth.sim import Simulator
from systolith.arch.registers import REGISTER_BYTES
from systolith.rtl.axi import Response
from systolith.rtl.axi_lite import ADDRESS_BITS, AXILiteRegisters

OKAY, SLVERR = Response.OKAY.value, Response.SLVERR.value
LIMIT = 50  # cycles for any one thing


class Bench:
    """An interconnect with its own pace on each channel, and registers that show what was written to them."""

    def __init__(self):
        self.dut = AXILiteRegisters()
        self.registers = {}
        self.writes = []
        self.simulator = Simulator(self.dut)
        self.simulator.add_clock(1e-6)
        self.simulator.add_testbench(self.serve, background=True)

    async def serve(self, ctx):
        csr = self.dut.csr
        while True:
            _, _, address, write, data = await ctx.tick().sample(csr.address, csr.write, csr.write_data)
            ctx.set(csr.read_data, self.registers.get(address, 0xDEAD0000 | address))
            if write:
                self.registers[address] = data
                self.writes.append((address, data))

    async def offer(self, ctx, way, wait=0, **payload):
        for _ in range(wait):
            await ctx.tick()
        bus = self.dut.bus
        for name, value in payload.items():
            ctx.set(getattr(bus, f"{way}{name}"), value)
        ctx.set(getattr(bus, f"{way}valid"), 1)
        for _ in range(LIMIT):
            _, _, ready = await ctx.tick().sample(getattr(bus, f"{way}ready"))
            if ready:
                ctx.set(getattr(bus, f"{way}valid"), 0)
                for name in payload:
                    ctx.set(getattr(bus, f"{way}{name}"), 0x5A5 & (1 << len(getattr(bus, f"{way}{name}"))) - 1)
                return
        raise AssertionError(f"{way} was not accepted")

    async def receive(self, ctx, way, fields, wait=0):
        """Fields of the next answer, accepted ``wait`` cycles after it came; they must hold until then."""
        signals = [getattr(self.dut.bus, f"{way}{field}") for field in fields]
        held = None
        for _ in range(LIMIT):
            ready = held is not None and wait <= 0
            ctx.set(getattr(self.dut.bus, f"{way}ready"), ready)
            _, _, valid, *values = await ctx.tick().sample(getattr(self.dut.bus, f"{way}valid"), *signals)
            assert held is None or (valid and held == values), "an answer changed while it waited"
            if valid and ready:
                ctx.set(getattr(self.dut.bus, f"{way}ready"), 0)
                return values
            if valid:
                held = values
                wait -= 1
        raise AssertionError(f"no answer on {way}")

    def run(self, *testbenches):
        for testbench in testbenches:
            self.simulator.add_testbench(testbench)
        self.simulator.run()


CASES = {"whole word": (0x40, 15, OKAY, True), "last word": (REGISTER_BYTES - 4, 15, OKAY, True), "no byte": (0x40, 0, OKAY, False),
         "some bytes": (0x40, 7, SLVERR, False), "one byte": (0x40, 1, SLVERR, False), "misaligned": (0x42, 15, SLVERR, False),
         "beyond": (REGISTER_BYTES, 15, SLVERR, False), "end of the page": ((1 << ADDRESS_BITS) - 4, 15, SLVERR, False)}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("address_wait, data_wait", [(0, 0), (0, 5), (5, 0)])
def test_write(name, address_wait, data_wait):
    address, strobe, response, reaches = CASES[name]
    bench = Bench()

    async def answer(ctx):
        assert await bench.receive(ctx, "b", ["resp"], wait=2) == [response]

    async def offer_address(ctx):
        await bench.offer(ctx, "aw", address_wait, addr=address)

    async def offer_data(ctx):
        await bench.offer(ctx, "w", data_wait, data=0x12345678, strb=strobe)

    bench.run(offer_address, offer_data, answer)
    assert bench.writes == ([(address, 0x12345678)] if reaches else [])


@pytest.mark.parametrize("address, expected", [(0x40, [0xDEAD0040, OKAY]), (0x1FC, [0xDEAD01FC, OKAY]), (0x41, [0, SLVERR]),
                                               (0x43, [0, SLVERR]), (REGISTER_BYTES, [0, SLVERR]), (0xFFC, [0, SLVERR])])
def test_read(address, expected):
    bench = Bench()

    async def answer(ctx):
        assert await bench.receive(ctx, "r", ["data", "resp"], wait=2) == expected

    async def offer_address(ctx):
        await bench.offer(ctx, "ar", addr=address)

    bench.run(offer_address, answer)


def test_reads_and_writes_do_not_wait_for_each_other():
    """With an answer that nobody takes on one side, the other side goes on."""
    bench = Bench()

    async def testbench(ctx):
        await bench.offer(ctx, "aw", addr=0x80)
        await bench.offer(ctx, "w", data=1, strb=15)
        for i in range(5):
            await bench.offer(ctx, "ar", addr=4 * i)
            assert await bench.receive(ctx, "r", ["data", "resp"]) == [0xDEAD0000 | 4 * i, OKAY]
        await bench.receive(ctx, "b", ["resp"])
        await bench.offer(ctx, "ar", addr=0x80)
        for i in range(5):
            await bench.offer(ctx, "aw", addr=0x84)
            await bench.offer(ctx, "w", data=i, strb=15)
            assert await bench.receive(ctx, "b", ["resp"]) == [OKAY]
        assert await bench.receive(ctx, "r", ["data", "resp"]) == [1, OKAY]

    bench.run(testbench)


def test_random_accesses():
    """Reads give what the last write before them gave, at any pace of the five channels."""
    bench = Bench()
    rng = random.Random(seed := 7)

    async def testbench(ctx):
        for _ in range(300):
            address = 4 * rng.randrange(REGISTER_BYTES // 4)
            if rng.random() < 0.5:
                data = rng.randrange(1 << 32)
                for way in rng.choice([("aw", "w"), ("w", "aw")]):
                    payload = {"addr": address} if way == "aw" else {"data": data, "strb": 15}
                    await bench.offer(ctx, way, rng.randrange(3), **payload)
                assert await bench.receive(ctx, "b", ["resp"], rng.randrange(3)) == [OKAY], f"seed {seed}"
                assert bench.registers[address] == data
            else:
                await bench.offer(ctx, "ar", rng.randrange(3), addr=address)
                expected = bench.registers.get(address, 0xDEAD0000 | address)
                assert await bench.receive(ctx, "r", ["data", "resp"], rng.randrange(3)) == [expected, OKAY], f"seed {seed}"

    bench.run(testbench)


@pytest.mark.parametrize("way, fields", [("r", ["data"]), ("b", ["resp"])])
def test_throughput(way, fields):
    """One access of a kind in three cycles, when the interconnect never waits."""
    bench = Bench()
    times = []

    async def testbench(ctx):
        bus = bench.dut.bus
        for name in ("awvalid", "wvalid") if way == "b" else ("arvalid",):
            ctx.set(getattr(bus, name), 1)
        ctx.set(bus.wstrb, 15)
        ctx.set(getattr(bus, f"{way}ready"), 1)
        for cycle in range(40):
            _, _, valid = await ctx.tick().sample(getattr(bus, f"{way}valid"))
            if valid:
                times.append(cycle)

    bench.run(testbench)
    assert times[0] == 3 and {b - a for a, b in itertools.pairwise(times)} == {3}, times
