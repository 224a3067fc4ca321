"""The register in front of a SoC's bus: what a master asks for is done once and in order, however long the slave takes."""

import random

import pytest

pytest.importorskip("liteeth", reason="LiteEth is not installed: pip install 'systolith[litex]'")
from litex.soc.interconnect import wishbone
from migen import run_simulation
from migen.sim import passive
from systolith.gen.litex_ethernet import BusRegister

SEED = 20261127
WORDS = 64


@pytest.mark.parametrize("most", [0, 1, 3])
def test_accesses_in_order(most):
    """Reads and writes, one behind the other or not, against a list; each is seen by the slave once, and takes three cycles at least."""
    rng = random.Random(SEED + most)
    print("seed", SEED + most)
    master = wishbone.Interface(data_width=32, adr_width=30)
    dut = BusRegister(master)
    memory, mirror, seen, took = list(range(100, 100 + WORDS)), list(range(100, 100 + WORDS)), [], []

    def slave():
        while True:
            for _ in range(rng.randint(0, most)):
                yield
            if (yield dut.bus.stb) and (yield dut.bus.cyc):
                place, write = (yield dut.bus.adr), (yield dut.bus.we)
                seen.append((place, write))
                if write:
                    memory[place] = yield dut.bus.dat_w
                yield dut.bus.dat_r.eq(memory[place])
                yield dut.bus.ack.eq(1)
                yield
                yield dut.bus.ack.eq(0)
            yield

    def asks():
        asked = []
        for _ in range(300):
            place, write, value = rng.randrange(WORDS), rng.randrange(2), rng.randrange(1 << 32)
            asked.append((place, write))
            for signal, wanted in ((master.adr, place), (master.we, write), (master.dat_w, value), (master.stb, 1), (master.cyc, 1)):
                yield signal.eq(wanted)
            yield
            cycles = 1
            while not (yield master.ack):
                yield
                cycles += 1
            took.append(cycles)
            if write:
                mirror[place] = value
            else:
                assert (yield master.dat_r) == mirror[place]
            if rng.randrange(2):
                yield master.stb.eq(0)
                yield master.cyc.eq(0)
                for _ in range(rng.randint(1, 3)):
                    yield
        yield master.stb.eq(0)
        for _ in range(10):
            yield
        assert seen == asked and memory == mirror and min(took) >= 3

    # The slave ends with the master, which is the one that is not passive.
    run_simulation(dut, [passive(slave)(), asks()])
