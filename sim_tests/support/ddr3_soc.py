"""A SoC's DDR3 as a host finds it: registers that are counted and cleared by being written, lanes that read right at some settings only."""

from systolith.arch.manifest import Manifest
from systolith.arch.settings import resolve
from systolith.host.levelling import level
from systolith.host.model_device import ModelDevice
from systolith.host.sdram import SEL, wake

__all__ = ["CONFIG", "CONTROL", "NAME", "SOC", "DDR3SoC"]

CONFIG = resolve({"array": {"rows": 2, "cols": 2}})
NAMES = ("dly_sel", "rdly_dq_rst", "rdly_dq_inc", "rdly_dq_bitslip_rst", "rdly_dq_bitslip", "burstdet_clr", "burstdet_seen")
REGISTERS = {f"ddrphy_{name}": 0xE000_0000 + 4 * index for index, name in enumerate(NAMES)}
REGISTERS |= {f"sdram_dfii_{name}": 0xE000_0800 + 4 * index for index, name in enumerate(
    ("control", "pi0_command", "pi0_command_issue", "pi0_address", "pi0_baddress"))}
CONTROL = REGISTERS["sdram_dfii_control"]
SOC = {"registers": REGISTERS, "init": [["mode", 0x20, 1, "command", 15, 200]], "levelling": {"lanes": 2, "delays": 8, "bitslips": 4}}
NAME = {address: name.removeprefix("ddrphy_") for name, address in REGISTERS.items()}


class DDR3SoC(ModelDevice):
    """A memory whose lanes read right in ``windows``: (bitslip, delay) of each; its strobe is seen at those ``unseen`` does not name.

    Of the registers that count, those writes are done twice whose number is in ``twice``; the link ``knows`` that, or not.
    """

    def __init__(self, *windows, unseen=(), twice=(), knows=False, manifest=None):
        self.windows, self.unseen, self.twice, self.knows = windows, unseen, set(twice), knows
        self.lanes = [[3, 5] for _ in windows]  # as somebody left them
        self.selected, self.seen, self.written, self.pulses, self.issued = 0, 0, {CONTROL: SEL}, 0, 0
        super().__init__(manifest or Manifest(config=CONFIG), memory_bytes=1 << 16)

    def level(self):
        return level(self, SOC, read=self.get, write=self.put)

    def wake(self):
        return wake(self, SOC, read=self.get, write=self.put, wait=lambda cycles: None)

    def get(self, address):
        return self.seen if NAME[address] == "burstdet_seen" else self.written[address]

    def put(self, address, value):
        """Whether that was done once, as far as the link knows."""
        self.written[address] = value
        name = NAME[address]
        if name == "dly_sel":
            self.selected = value
        elif name == "burstdet_clr":
            self.seen = 0
        elif name == "sdram_dfii_pi0_command_issue":
            self.issued += 1
        elif name.startswith("rdly"):
            self.pulses += 1
            for _ in range(1 + (self.pulses in self.twice)):  # as where an answer was lost
                for number, lane in enumerate(self.lanes):
                    if self.selected >> number & 1:
                        place = int("bitslip" not in name)
                        lane[place] = 0 if name.endswith("rst") else (lane[place] + 1) % (4, 8)[place]
            return not (self.knows and self.pulses in self.twice)
        return True

    def read_memory(self, address, count):
        assert not self.selected, "a lane that is chosen is held"
        found = super().read_memory(address, count)
        for number, (lane, window) in enumerate(zip(self.lanes, self.windows, strict=True)):
            if tuple(lane) not in self.unseen:
                self.seen |= 1 << number
            if tuple(lane) not in window:
                found[(number - address) % len(self.lanes)::len(self.lanes)] ^= 0x10
        return found
