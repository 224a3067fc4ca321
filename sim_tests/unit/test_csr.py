"""The register map at its addresses."""

import random

from amaranth.sim import Simulator
from systolith.arch.manifest import identity_registers
from systolith.arch.registers import REGISTERS, STALLS, offset_of
from systolith.arch.settings import resolve
from systolith.rtl.csr import WRITTEN, RegisterMap, status_layout


def test_every_register_at_its_address():
    config = resolve({"array": {"rows": 3, "cols": 5}})
    dut = RegisterMap(config)
    choice = random.Random(1)
    build_hash = choice.randrange(1 << 64)
    values = {name: choice.randrange(1 << 32) for name in status_layout().members}
    expected = identity_registers(config, build_hash=build_hash)
    expected |= {name.upper(): value for name, value in values.items()}

    stalls = {f"{engine.name}_{cause}".upper(): 8 * engine + index
              for engine, causes in STALLS.items() for index, cause in enumerate(causes)}

    async def bench(ctx):
        ctx.set(dut.build_hash, build_hash)
        ctx.set(dut.values, values)
        registers = {register.offset: register.name for register in REGISTERS}
        for address in range(0, 1024, 4):
            ctx.set(dut.csr.address, address)
            table = 0x080 <= address < 0x100
            await ctx.tick()
            ctx.set(dut.table_read_data, ctx.get(dut.table_address) ^ 0xABC0)
            ctx.set(dut.stall_read_data, ctx.get(dut.stall_address) ^ 0x1230)
            name = registers.get(address)
            value = address // 4 % 32 ^ 0xABC0 if table else expected.get(name, 0)
            if name in stalls:
                value = stalls[name] ^ 0x1230
            assert ctx.get(dut.csr.read_data) == value, f"{address:#x} {name}"

        ctx.set(dut.csr.write, 1)
        for address in range(0, 1024, 4):
            ctx.set(dut.csr.address, address)
            assert ctx.get(dut.table_write) == (0x080 <= address < 0x100)
            assert ctx.get(dut.writes) == sum((offset_of(name) == address) << i for i, name in enumerate(WRITTEN))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
