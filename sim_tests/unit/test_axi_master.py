"""Memory ports as AXI4: what is said on each channel, what an error is, and that no channel waits for another without need."""

import pytest
from amaranth.sim import Simulator
from systolith.rtl.axi_master import AXIReader, AXIWriter


def run(dut, *testbenches):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    simulator.run()


async def offer(ctx, stream, **payload):
    for name, value in payload.items():
        ctx.set(stream.payload[name], value)
    ctx.set(stream.valid, 1)
    for _ in range(20):
        _, _, ready = await ctx.tick().sample(stream.ready)
        if ready:
            ctx.set(stream.valid, 0)
            return
    raise AssertionError("not accepted")


@pytest.mark.parametrize("bus_bits, size", [(32, 2), (64, 3), (128, 4), (512, 6)])
@pytest.mark.parametrize("kind, way", [(AXIReader, "ar"), (AXIWriter, "aw")])
def test_bursts_are_whole_words_of_one_id(kind, way, bus_bits, size):
    dut = kind(address_bits=40, bus_bits=bus_bits)

    async def testbench(ctx):
        await offer(ctx, dut.port.request, address=0x12_3456_7000, beats=63)
        expected = {"valid": 1, "addr": 0x12_3456_7000, "len": 63, "size": size, "burst": 1, "id": 0, "lock": 0, "cache": 3, "prot": 0,
                    "qos": 0}
        assert {name: ctx.get(getattr(dut.bus, f"{way}{name}")) for name in expected} == expected

    run(dut, testbench)


@pytest.mark.parametrize("response, error", [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_slverr_and_decerr_are_errors(response, error):
    reader = AXIReader(address_bits=32, bus_bits=64)
    writer = AXIWriter(address_bits=32, bus_bits=64)

    async def read(ctx):
        ctx.set(reader.bus.rvalid, 1)
        ctx.set(reader.bus.rdata, 0x1122334455667788)
        ctx.set(reader.bus.rresp, response)
        ctx.set(reader.bus.rlast, 1)
        await ctx.tick()
        assert ctx.get(reader.port.response.valid)
        assert ctx.get(reader.port.response.payload.data) == 0x1122334455667788
        assert ctx.get(reader.port.response.payload.error) == error

    async def write(ctx):
        ctx.set(writer.bus.bvalid, 1)
        ctx.set(writer.bus.bresp, response)
        await ctx.tick()
        assert ctx.get(writer.port.response.valid)
        assert ctx.get(writer.port.response.payload.error) == error

    run(reader, read)
    run(writer, write)


def test_words_do_not_wait_for_their_address():
    """IHI 0022: a manager must not wait for AWREADY before it shows WVALID."""
    dut = AXIWriter(address_bits=32, bus_bits=64)

    async def testbench(ctx):
        await offer(ctx, dut.port.request, address=64, beats=1)  # accepted, although AWREADY is low
        for i in range(2):
            await offer(ctx, dut.port.data, data=i, strobe=0xF0 + i, last=i)
        assert ctx.get(dut.bus.awvalid) and ctx.get(dut.bus.wvalid)
        ctx.set(dut.bus.wready, 1)
        for i in range(2):
            assert (ctx.get(dut.bus.wvalid), ctx.get(dut.bus.wdata), ctx.get(dut.bus.wstrb), ctx.get(dut.bus.wlast)) == (1, i, 0xF0 + i, i)
            await ctx.tick()
        assert ctx.get(dut.bus.awvalid) and not ctx.get(dut.bus.wvalid)

    run(dut, testbench)


def test_one_word_per_cycle_each_way():
    reader = AXIReader(address_bits=32, bus_bits=64)
    count = 50

    async def subordinate(ctx):
        bus = reader.bus
        ctx.set(bus.rvalid, 1)
        for i in range(count):
            ctx.set(bus.rdata, i)
            _, _, ready = await ctx.tick().sample(bus.rready)
            assert ready
        ctx.set(bus.rvalid, 0)

    async def consumer(ctx):
        ctx.set(reader.port.response.ready, 1)
        await ctx.tick()
        for i in range(count):
            _, _, valid, data = await ctx.tick().sample(reader.port.response.valid, reader.port.response.payload.data)
            assert valid and data == i

    run(reader, subordinate, consumer)
