"""``systolith_axi`` under ``verify``'s benches at every kind of bus width, and with faults put into it on purpose.

64 bits are in test_verify.py.
"""

import re

import pytest
from devices import small_config
from mutants import Mutation, check_places, generate_mutant, names
from nightly import nightly
from systolith.gen.generate import generate
from systolith.gen.verify import verify

SEED = 20261122
CONFIGS = {32: small_config(2, 4, memory={"bus_bits": 32}), 128: small_config(4, 2, memory={"bus_bits": 128}),
           512: small_config(3, 3, memory={"bus_bits": 512})}


@pytest.mark.parametrize("bus_bits", [32, *(pytest.param(bits, marks=nightly("a minute or two; 32 and 64 bits are tested"))
                                           for bits in (128, 512))])
def test_bus_width(bus_bits, tmp_path):
    generate(CONFIGS[bus_bits], tmp_path / "g")
    result = verify(tmp_path / "g", seed=SEED, programs=12)
    assert not result.failures, f"seed {SEED}: {result.failures}"
    assert result.passed >= 30


# Each with a bench that must notice it, and what is said of it.
MUTATIONS = {
    "4 kB split": (Mutation("rtl/load_front.py", {
        "first_byte = run.address[:block_bits]": "first_byte = run.address[:word_bits]",
        "first_word = run.address[word_bits:block_bits]": "first_word = C(0, 1)",
        "run.address.eq(Cat(C(0, block_bits), run.address[block_bits:] + 1))":
            "run.address.eq(Cat(C(0, word_bits), run.address[word_bits:] + BURST_BEATS))"}), "random_bench", "crosses 4 kB"),
    "last-row strobe": (Mutation("rtl/packer.py", {
        "Cat(over > i for i in range(width))": "Cat(over >= i for i in range(width))"}), "core_bench", "outside of what may be written"),
    "early last": (Mutation("rtl/axi_master.py", {
        "bus.wlast.eq(words.o.payload.last)": "bus.wlast.eq(1)"}), "core_bench", "last must be 0 at word 1"),
    "payload of what waits": (Mutation("rtl/axi_slice.py", {
        "            with m.If(~valid):\n                m.d.sync += [valid.eq(self.i.valid), payload.eq(self.i.payload)]":
            "            m.d.sync += payload.eq(self.i.payload)\n"
            "            with m.If(~valid):\n                m.d.sync += valid.eq(self.i.valid)"}), "core_bench", "changed from"),
    "response lost": (Mutation("rtl/axi_master.py", {
        "responses.i.valid.eq(bus.bvalid)": "responses.i.valid.eq(bus.bvalid & bus.wready)"}), "core_bench", "must end within|TIMEOUT"),
    "error of a read": (Mutation("rtl/axi_master.py", {
        "words.i.payload.error.eq(bus.rresp[1])": "words.i.payload.error.eq(0)"}), "error_bench", "BUS: got NONE"),
}


def test_every_mutation_has_its_place():
    check_places(mutation for mutation, _, _ in MUTATIONS.values())


@pytest.mark.parametrize("name", names(MUTATIONS, {"4 kB split"}))
def test_mutation_is_noticed(name, tmp_path, monkeypatch):
    mutation, bench, complaint = MUTATIONS[name]
    if bench == "core_bench":
        monkeypatch.setenv("COCOTB_TEST_FILTER", "out=int32/stall=0.4/latency=20$")
    folder = generate_mutant(tmp_path, small_config(3, 5), mutation)
    result = verify(folder, seed=SEED, benches=[bench], programs=6)
    messages = [message for _, message in result.failures]
    assert any(re.search(complaint, message) for message in messages), f"mutation {name!r}: {messages}"
