"""The decoder against the field table: all fields, fields of which only some bits are kept, and words at any pace."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator
from systolith.arch.commands import Execute, Load, Store, fields_of
from systolith.rtl.decode import Decoder


@pytest.mark.parametrize("kind, bits, saturate", [
    (Load, {}, {}), (Execute, {}, {}), (Store, {"count1": 11, "count2": 1}, {"columns": 3, "lane": 2}),
    (Load, {"run": 17, "count1": 9}, {"lane": 3}), (Execute, {"y_origin": 0, "x_step": 0, "ct_count": 10}, {"k_last": 3, "ky_count": 2})])
def test_fields(kind, bits, saturate):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng, choice = np.random.default_rng(seed), random.Random(seed)
    commands = rng.integers(0, 1 << 32, (60, kind.words), dtype=np.uint32)
    commands[rng.random(commands.shape) < 0.7] &= 0x0001_0003  # small fields, so that many commands are kept whole
    dut = Decoder(kind, bits, saturate)

    async def feed(ctx):
        for word in commands.ravel():
            while choice.random() < 0.3:
                await ctx.tick()
            ctx.set(dut.i.payload, int(word))
            ctx.set(dut.i.valid, 1)
            while not (await ctx.tick().sample(dut.i.ready))[-1]:
                pass
            ctx.set(dut.i.valid, 0)

    async def check(ctx):
        for words in commands:
            for _ in range(400):
                ready = choice.random() < 0.5
                ctx.set(dut.o.ready, ready)
                *_, valid, fields = await ctx.tick().sample(dut.o.valid, dut.o.payload)
                if valid:
                    excess = False
                    for field in fields_of(kind):
                        value = int(words[field.word]) >> field.lsb & (1 << field.width) - 1
                        kept = bits.get(field.name, field.width)
                        excess |= value >> kept != 0
                        value &= (1 << kept) - 1
                        if field.name in saturate:
                            value = min(value, (1 << saturate[field.name]) - 1)
                        elif field.signed and kept == field.width and value >> field.width - 1:
                            value -= 1 << field.width
                        assert fields[field.name] == value, field.name
                    assert fields.excess == excess
                if valid and ready:
                    break
            else:
                raise AssertionError("no command")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(check)
    simulator.add_testbench(feed, background=True)
    simulator.run()
