"""The host's end of a serial line under Amaranth's simulator, bit by bit."""

from amaranth.sim import Simulator

__all__ = ["BIT", "Line", "run_line"]

BIT = 4  # cycles


class Line:
    """At the pins ``rx`` and ``tx`` of ``dut``. Add :meth:`listen` as a background testbench."""

    def __init__(self, dut):
        self.dut = dut
        self.received = bytearray()

    async def listen(self, ctx):
        while True:
            await ctx.tick()
            if ctx.get(self.dut.tx):
                continue
            await ctx.tick().repeat(BIT + BIT // 2)
            byte = 0
            for i in range(8):
                byte |= ctx.get(self.dut.tx) << i
                await ctx.tick().repeat(BIT)
            assert ctx.get(self.dut.tx), "no stop bit"
            self.received.append(byte)

    async def send(self, ctx, data):
        for byte in data:
            for bit in (0, *(byte >> i & 1 for i in range(8)), 1):
                ctx.set(self.dut.rx, bit)
                await ctx.tick().repeat(BIT)

    async def write(self, ctx, address, *words):
        await self.send(ctx, bytes([1, len(words)]) + (address // 4).to_bytes(4, "big") + b"".join(w.to_bytes(4, "big") for w in words))

    async def read(self, ctx, address, count=1):
        self.received.clear()
        await self.send(ctx, bytes([2, count]) + (address // 4).to_bytes(4, "big"))
        for _ in range(200 + 4 * count * 12 * BIT):
            if len(self.received) == 4 * count:
                break
            await ctx.tick()
        words = [int.from_bytes(self.received[i:i + 4], "big") for i in range(0, len(self.received), 4)]
        assert len(words) == count
        return words


def run_line(dut, testbench, *, clock_hz, background=()):
    """Run ``testbench(ctx, line)`` with the line of ``dut``; ``background`` are further testbenches that never end."""
    line = Line(dut)
    simulator = Simulator(dut)
    simulator.add_clock(1 / clock_hz)

    async def with_line(ctx):
        await testbench(ctx, line)

    simulator.add_testbench(with_line)
    for served in (line.listen, *background):
        simulator.add_testbench(served, background=True)
    simulator.run()
