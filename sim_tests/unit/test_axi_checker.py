"""The protocol checker itself: quiet on what IHI 0022 allows, and each rule's complaint on what breaks it."""

from types import SimpleNamespace

import pytest
from systolith.gen.benches.axi_checker import AXIChecker, AXILiteChecker

WIDTHS = {"id": 1, "addr": 32, "len": 8, "size": 3, "burst": 2, "lock": 1, "cache": 4, "prot": 3, "qos": 4, "valid": 1, "ready": 1,
          "data": 64, "resp": 2, "last": 1, "strb": 8}
CHANNELS = {"ar": "id addr len size burst lock cache prot qos valid ready", "r": "id data resp last valid ready",
            "w": "data strb last valid ready", "b": "id resp valid ready"}
CHANNELS["aw"] = CHANNELS["ar"]
BURST = {"size": 3, "burst": 1, "cache": 3}


class Bus:
    """Signals as a simulator has them, set by name; ``cycle`` shows values for one cycle."""

    def __init__(self):
        self.widths = {f"{way}{field}": WIDTHS[field] for way, fields in CHANNELS.items() for field in fields.split()}
        self.dut = SimpleNamespace(**{f"m_axi_{name}": SimpleNamespace(value="0" * width) for name, width in self.widths.items()})
        self.checker = AXIChecker(self.dut, 8)

    def cycle(self, **channels):
        """One cycle in which each named channel shows these fields; valid and ready are 1 unless said otherwise."""
        for name, width in self.widths.items():
            getattr(self.dut, f"m_axi_{name}").value = "0" * width
        for way, fields in channels.items():
            for field, value in {"valid": 1, "ready": 1, **fields}.items():
                text = value if isinstance(value, str) else format(value, f"0{self.widths[way + field]}b")
                getattr(self.dut, f"m_axi_{way}{field}").value = text
        self.checker.sample()

    def read(self, address=0x1000, words=2, **changes):
        self.cycle(ar={"addr": address, "len": words - 1, **BURST, **changes})

    def write(self, address=0x1000, words=2, **changes):
        self.cycle(aw={"addr": address, "len": words - 1, **BURST, **changes})


def test_a_legal_run_is_quiet():
    bus = Bus()
    bus.checker.writable = [(0x1003, 0x100D)]
    bus.read()
    bus.cycle(r={"ready": 0, "data": 5}, w={"strb": 0b11111000, "data": 7})  # a word before its address
    bus.cycle(r={"data": 5})
    bus.cycle(r={"data": 6, "last": 1, "resp": 2}, aw={"addr": 0x1000, "len": 1, **BURST, "ready": 0})
    bus.write()
    assert bus.checker.within_writing and not bus.checker.within_reading
    bus.cycle(w={"strb": 0b00011111, "last": 1, "data": "X" * 24 + "1" * 40, "ready": 0})
    bus.cycle(w={"strb": 0b00011111, "last": 1, "data": "X" * 24 + "1" * 40})
    bus.cycle(b={"resp": 3})
    bus.cycle()
    bus.checker.check_quiet()
    assert (bus.checker.reads, bus.checker.writes) == (1, 1)


@pytest.mark.parametrize("change, complaint", [
    ({"address": 0x1FF8}, "burst from 0x1ff8 to 0x2007 crosses 4 kB"),
    ({"address": 0x1004}, "address must start a bus word, not 0x1004"),
    ({"size": 2}, "size must be 8 bytes, not 4"),
    ({"burst": 0}, "burst must be INCR, not 0"),
    ({"burst": 2}, "burst must be INCR, not 2"),
    ({"lock": 1}, "lock must be 0"),
    ({"cache": 0b1000}, "cache 0x8 is reserved"),
    ({"addr": "X" * 32}, "addr is X"),
    ({"valid": "X"}, "valid is X"),
    ({"ready": "Z"}, "valid is 1, ready is Z"),
])
@pytest.mark.parametrize("way", ["ar", "aw"])
def test_requests(way, change, complaint):
    with pytest.raises(AssertionError, match=f"^m_axi_{way}.*{complaint}"):
        getattr(Bus(), {"ar": "read", "aw": "write"}[way])(**change)


@pytest.mark.parametrize("way, fields", [("ar", {"addr": 8, **BURST}), ("aw", {"len": 3, **BURST}), ("w", {"strb": 1}), ("r", {"data": 1}),
                                         ("b", {"resp": 2})])
def test_what_waits_holds(way, fields):
    name, value = next(iter(fields.items()))
    bus = Bus()
    bus.cycle(**{way: {**fields, "ready": 0}})
    with pytest.raises(AssertionError, match=f"^m_axi_{way}{name} changed from 0*{value:b} to 0* while it waited"):
        bus.cycle(**{way: {**fields, name: 0, "ready": 1}})
    bus = Bus()
    bus.cycle(**{way: {**fields, "ready": 0}})
    with pytest.raises(AssertionError, match=f"^m_axi_{way}: valid was withdrawn before ready"):
        bus.cycle()


def test_last_word_of_a_write():
    bus = Bus()
    bus.write()
    with pytest.raises(AssertionError, match="m_axi_w: last must be 0 at word 1 of 2, 0x1000"):
        bus.cycle(w={"strb": 1, "last": 1})
    bus = Bus()
    bus.cycle(w={"strb": 1, "last": 0})
    with pytest.raises(AssertionError, match="m_axi_w: last must be 1 at word 1 of 1"):
        bus.write(words=1)


@pytest.mark.parametrize("strobe, bytes_", [(0b1, "0x1000 to 0x1000"), (0b11000, "0x1003 to 0x1004"), (0xF0, "0x1004 to 0x1007")])
def test_bytes_outside_of_what_may_be_written(strobe, bytes_):
    bus = Bus()
    bus.checker.writable = [(0x1001, 0x1004), (0x1005, 0x1007)]
    bus.write(words=1)
    with pytest.raises(AssertionError, match=f"bytes {bytes_} are outside of what may be written"):
        bus.cycle(w={"strb": strobe, "last": 1})


def test_data_that_is_written_is_known():
    bus = Bus()
    bus.write(words=1)
    with pytest.raises(AssertionError, match="m_axi_w: data is X in byte 4 of 0x1000"):
        bus.cycle(w={"strb": 0b10000, "last": 1, "data": "X" * 32 + "0" * 32})


def test_answers():
    bus = Bus()
    with pytest.raises(AssertionError, match="m_axi_r: a word without a burst"):
        bus.cycle(r={}, ar={**BURST})
    bus.read()
    with pytest.raises(AssertionError, match="m_axi_r: last must be 0 at word 1 of 2"):
        bus.cycle(r={"last": 1})
    bus = Bus()
    bus.read()
    with pytest.raises(AssertionError, match="m_axi_r: id must be 0, not 1"):
        bus.cycle(r={"id": 1})
    bus = Bus()
    bus.write(words=1)
    with pytest.raises(AssertionError, match="m_axi_b: a response without a burst that is complete"):
        bus.cycle(b={}, w={"strb": 1, "last": 1})


@pytest.mark.parametrize("steps, complaint", [
    (["read"], "1 read bursts that lack words"), (["write"], "1 write bursts that lack words"), (["word"], "1 words without a write burst"),
    (["word", "single"], "1 write bursts without a response"), (["waiting"], "m_axi_ar: valid must be 0 when all is done")])
def test_what_is_left_at_the_end(steps, complaint):
    bus = Bus()
    for step in steps:
        {"read": bus.read, "write": bus.write, "word": lambda: bus.cycle(w={"strb": 1, "last": 1}), "single": lambda: bus.write(words=1),
         "waiting": lambda: bus.read(ready=0)}[step]()
    with pytest.raises(AssertionError, match=complaint):
        bus.checker.check_quiet()


def test_reset():
    bus = Bus()
    bus.checker.check_reset()
    bus.dut.m_axi_wvalid.value = "1"
    with pytest.raises(AssertionError, match="m_axi_w: valid must be 0 during reset"):
        bus.checker.check_reset()


def test_registers_answer_once_for_each_access():
    names = {"awaddr": 12, "wdata": 32, "wstrb": 4, "bresp": 2, "araddr": 12, "rdata": 32, "rresp": 2}
    names |= {f"{way}{field}": 1 for way in ("aw", "w", "b", "ar", "r") for field in ("valid", "ready")}
    dut = SimpleNamespace(**{f"s_axil_{name}": SimpleNamespace(value="0" * width) for name, width in names.items()})
    checker = AXILiteChecker(dut)

    def cycle(*ways):
        for way in ("aw", "w", "b", "ar", "r"):
            for field in ("valid", "ready"):
                getattr(dut, f"s_axil_{way}{field}").value = "01"[way in ways]
        checker.sample()

    for ways in (("aw",), ("w", "ar"), ("r", "b")):
        cycle(*ways)
    with pytest.raises(AssertionError, match="s_axil_r: data without an address"):
        cycle("r", "ar")
    cycle("aw")
    with pytest.raises(AssertionError, match="s_axil_b: a response without address and data"):
        cycle("b")
