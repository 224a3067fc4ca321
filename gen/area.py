"""Where the area of a flat netlist went: which block of the hierarchy drives each cell's output.

Synthesis flattens the design and names cells after nets; a net that crosses blocks has one name in each. The block that
drives it is the deepest one for which it is not an input, which the ports in the Verilog tell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

__all__ = ["CELL_AREA", "block_area", "cell_counts", "instances"]

# Cells that count, per family: how many of which resource.
CELL_AREA: dict[str, dict[str, tuple[str, int]]] = {
    # A CCU2C takes two LUTs; a 16 × 4 RAM takes four and the two of its write port.
    "ecp5": {"LUT4": ("lut", 1), "CCU2C": ("lut", 2), "TRELLIS_DPR16X4": ("lut", 6), "TRELLIS_FF": ("ff", 1),
             "MULT18X18D": ("dsp", 1), "DP16KD": ("bram", 1), "PDPW16KD": ("bram", 1)},
    "ice40": {"SB_LUT4": ("lut", 1), "SB_MAC16": ("dsp", 1), "SB_RAM40_4K": ("bram", 1), "SB_SPRAM256KA": ("spram", 1),
              **{f"SB_DFF{clock}{kind}": ("ff", 1) for clock in ("", "N")
                 for kind in ("", "E", "R", "S", "SR", "SS", "ER", "ES", "ESR", "ESS")}},
    # A carry cell takes one LUT, the multiplexers between LUTs none; a DSP block is a multiplier of 9 × 9 bits.
    "gowin": {**{f"LUT{inputs}": ("lut", 1) for inputs in range(1, 5)}, "ALU": ("lut", 1), "RAM16SDP4": ("lut", 6),
              **{f"DFF{clock}{kind}": ("ff", 1) for clock in ("", "N") for kind in ("", "E", "S", "SE", "R", "RE", "P", "PE", "C", "CE")},
              "MULT9X9": ("dsp", 1), "MULT18X18": ("dsp", 2), "MULT36X36": ("dsp", 8),
              **{kind: ("bram", 1) for kind in ("SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B", "pROM", "pROMX9")}},
    # A LUT is half of a CPE: four inputs, or one bit of an adder. A multiplier of 8 × 8 bits takes 56 CPEs.
    "gatemate": {**{f"CC_LUT{inputs}": ("lut", 1) for inputs in range(1, 5)}, "CC_L2T4": ("lut", 1), "CC_L2T5": ("lut", 2),
                 "CC_MX2": ("lut", 1), "CC_MX4": ("lut", 2), "CC_ADDF": ("lut", 1), "CC_MULT": ("lut", 112),
                 "CC_DFF": ("ff", 1), "CC_BRAM_20K": ("bram", 1), "CC_BRAM_40K": ("bram", 2)},
    # Two small LUTs may come to share a place with six inputs; here each counts. A RAM of LUTs takes one for each port and 64 words (AMD
    # UG474). Block RAMs are of 18 Kib.
    "xilinx7": {**{f"LUT{inputs}": ("lut", 1) for inputs in range(1, 7)}, "INV": ("lut", 1), "SRL16E": ("lut", 1), "SRLC32E": ("lut", 1),
                "RAM32M": ("lut", 4), "RAM64M": ("lut", 4), "RAM64X1S": ("lut", 1), "RAM128X1S": ("lut", 2), "RAM256X1S": ("lut", 4),
                "RAM64X1D": ("lut", 2), "RAM128X1D": ("lut", 4),
                **{f"FD{kind}E{edge}": ("ff", 1) for kind in "RSCP" for edge in ("", "_1")},
                "DSP48E1": ("dsp", 1), "RAMB18E1": ("bram", 1), "RAMB36E1": ("bram", 2)},
}

_MODULE = re.compile(r"^module (\S+?) ?\((.*?)^endmodule", re.MULTILINE | re.DOTALL)
_INPUT = re.compile(r"^ +input +(?:wire +)?(?:\[\d+:\d+\] )?(?:\\(\S+) |(\w+));?,?$", re.MULTILINE)
_INSTANCE = re.compile(r"^(?:  )?(?:\\(\S+) |(\w+)) (?:\\(\S+) |(\w+)) ?\($", re.MULTILINE)  # yosys', and LiteX's
_CELL_SUFFIX = re.compile(r"_(?:LUT\d|PFUMX|L6MUX21|CCU2C|TRELLIS_\w+?|MULT18X18D|DP16KD|PDPW16KD|SB_[A-Z]+\d*[A-Z0-9]*|ALU|DFF[A-Z]*|"
                          r"MULT\d+X\d+|MUX2_LUT\d|CC_[A-Z]+\d*[A-Z]?\d?|FD[RSCP]E|CARRY4|MUXF\d|INV|SRLC?\d+E|RAM\d+[MX]\w*?|DSP48E1|"
                          r"RAMB\d+E1)_.*$")


def instances(verilog: str, top: str) -> dict[str, frozenset[str]]:
    """The input ports of every module instance below ``top``, by its path (``a.b.c``; the top itself is the empty path)."""
    modules = {match[1].lstrip("\\"): match[2] for match in _MODULE.finditer(verilog)}
    inputs = {name: frozenset(match[1] or match[2] for match in _INPUT.finditer(body)) for name, body in modules.items()}
    children = {name: [(match[3] or match[4], match[1] or match[2]) for match in _INSTANCE.finditer(body)
                       if (match[1] or match[2]) in modules] for name, body in modules.items()}
    found: dict[str, frozenset[str]] = {}
    waiting = [("", top)]
    while waiting:
        path, name = waiting.pop()
        found[path] = inputs.get(name, frozenset())
        waiting += [(f"{path}.{child}" if path else child, kind) for child, kind in children.get(name, ())]
    return found


def cell_counts(module: Mapping[str, Any]) -> Counter[str]:
    """Cells by type of one module of a yosys netlist."""
    return Counter(cell["type"] for cell in module["cells"].values())


def _split(name: str, paths: Mapping[str, frozenset[str]]) -> tuple[str, str]:
    """A flat name's instance path, the longest that exists, and the rest."""
    path = name
    while path:
        path = path.rpartition(".")[0]
        if path in paths:
            break
    return path, name[len(path) + 1:] if path else name


def block_area(module: Mapping[str, Any], paths: Mapping[str, frozenset[str]], family: str) -> dict[str, Counter[str]]:
    """Resources of one flat netlist by instance path."""
    names_of_bit: dict[int, list[str]] = {}
    for name, net in module["netnames"].items():
        if not _CELL_SUFFIX.search(name):
            for bit in net["bits"]:
                if isinstance(bit, int):
                    names_of_bit.setdefault(bit, []).append(name)

    def is_input(path: str, rest: str) -> bool:
        return rest.partition(".")[0] in paths[path]  # a member of a struct is ``port.member``

    def driver(bits: list[int]) -> str | None:
        candidates = [_split(name, paths) for bit in bits for name in names_of_bit.get(bit, ())]
        own = [path for path, rest in candidates if not is_input(path, rest)]
        return max(own, key=lambda path: path.count(".") + bool(path)) if own else None

    area: dict[str, Counter[str]] = {}
    for name, cell in module["cells"].items():
        kind = CELL_AREA[family].get(cell["type"])
        if kind is None:
            continue
        outputs = [bit for port, bits in cell["connections"].items() if cell["port_directions"][port] == "output"
                   for bit in bits if isinstance(bit, int)]
        # A memory is called after what it was in the Verilog, wherever its data goes.
        block = _split(name, paths)[0] if kind[0] == "bram" else driver(outputs)
        if block is None:
            net = module["netnames"].get(_CELL_SUFFIX.sub("", name), {"bits": []})
            block = driver([bit for bit in net["bits"] if isinstance(bit, int)][:1])
        if block is None:
            # Only the name at a consumer is left: what drives it is beside that, so count it one level up.
            block, rest = _split(_CELL_SUFFIX.sub("", name), paths)
            block = block.rpartition(".")[0] if is_input(block, rest) else block
        area.setdefault(block, Counter())[kind[0]] += kind[1]
    return area
