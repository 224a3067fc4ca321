"""The CRC of a line against zlib, and its constants."""

import random
import zlib

from amaranth.sim import Simulator
from systolith.arch.serial_link import AFTER_DIGEST, AFTER_HEADER, Frame, checked_header, digest
from systolith.rtl.line_crc import LineCRC


def test_constants():
    """Whatever came before: the register after a good header, and after a digest."""
    rng = random.Random(1)
    for _ in range(100):
        crc = rng.getrandbits(32)
        assert zlib.crc32(checked_header(Frame.CHECKED_WRITE, 4 * rng.getrandbits(30), rng.randrange(256), crc), crc) == AFTER_HEADER
        assert zlib.crc32(digest(crc), crc) == AFTER_DIGEST


def test_zlib():
    rng = random.Random(2)
    dut = LineCRC()

    async def testbench(ctx):
        for _ in range(20):
            ctx.set(dut.restart, 1)
            await ctx.tick()
            ctx.set(dut.restart, 0)
            data = rng.randbytes(rng.randrange(12))
            for byte in data:
                for index in range(8):
                    ctx.set(dut.bit, byte >> index & 1)
                    ctx.set(dut.step, 1)
                    await ctx.tick()
                    ctx.set(dut.step, 0)
                    if rng.randrange(2):
                        await ctx.tick()
            assert ctx.get(dut.value) == zlib.crc32(data) ^ 0xFFFFFFFF

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
