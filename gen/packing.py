"""Registers around multipliers and behind memories into those that the blocks have themselves, which yosys leaves unused.

The Verilog says only what is computed and when: the operands, a cycle later the product, a cycle later what uses it. In the netlist a
block's own register takes the place of flip-flops in front of it or behind it, where they do nothing but that: one clock, always
enabled, never reset, zero at power-up.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..boards.primitives_ecp5 import BlockRegister, block_registers, is_plain_flip_flop

__all__ = ["pack_registers"]

_DATA, _OUTPUT, _CLOCK = "DI", "Q", "CLK"  # of a TRELLIS_FF

Bit = int | str  # a net's number, or a constant


class _Module:
    """A flat netlist, with who drives and who reads each net."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self.cells: dict[str, dict[str, Any]] = module["cells"]
        self.readers: dict[Bit, set[tuple[str, str]]] = defaultdict(set)
        self.flip_flops: dict[Bit, str] = {}  # by the net that they drive
        for name, cell in self.cells.items():
            for pin, bits in cell["connections"].items():
                if cell["port_directions"].get(pin) != "output":
                    for bit in bits:
                        self.readers[bit].add((name, pin))
            if is_plain_flip_flop(cell):
                self.flip_flops[self._bit(name, _OUTPUT)] = name
        for port in module["ports"].values():
            for bit in port["bits"]:
                self.readers[bit].add(("", ""))

    def _bit(self, cell: str, pin: str) -> Bit:
        bit: Bit = self.cells[cell]["connections"][pin][0]
        return bit

    def _connect(self, cell: str, pin: str, bit: Bit) -> None:
        for old in self.cells[cell]["connections"].get(pin, ()):
            self.readers[old].discard((cell, pin))
        self.cells[cell]["connections"][pin] = [bit]
        self.cells[cell]["port_directions"][pin] = "input"
        self.readers[bit].add((cell, pin))

    def _remove(self, flip_flop: str) -> None:
        del self.flip_flops[self._bit(flip_flop, _OUTPUT)]
        for pin, bits in self.cells.pop(flip_flop)["connections"].items():
            for bit in bits:
                self.readers[bit].discard((flip_flop, pin))

    def _behind(self, pins: Mapping[str, Bit]) -> dict[str, str] | None:
        """The flip-flops that read outputs, if nothing else does."""
        found = {}
        for pin, bit in pins.items():
            readers = self.readers[bit]
            if not readers:
                continue
            name, at = min(readers)
            if len(readers) > 1 or at != _DATA or self.flip_flops.get(self._bit(name, _OUTPUT)) != name:
                return None
            found[pin] = name
        return found

    def _in_front(self, pins: Mapping[str, Bit]) -> dict[str, str] | None:
        """The flip-flops that drive inputs, if all come from such or are zero."""
        nets = {pin: bit for pin, bit in pins.items() if bit not in ("0", "x")}
        if all(bit in self.flip_flops for bit in nets.values()):
            return {pin: self.flip_flops[bit] for pin, bit in nets.items()}
        return None

    def pack(self, name: str, register: BlockRegister) -> bool:
        """Whether ``register`` of block ``name`` has taken the place of flip-flops."""
        connections = self.cells[name]["connections"]
        pins = {pin: connections[pin][0] for pin in register.pins if connections.get(pin)}
        found = self._behind(pins) if register.driven else self._in_front(pins)
        if not found:
            return False
        clocks = {self._bit(flip_flop, _CLOCK) for flip_flop in found.values()}
        if len(clocks | set(connections.get(register.clock, ()))) != 1:
            return False
        for pin, flip_flop in found.items():
            if register.driven:
                output = self._bit(flip_flop, _OUTPUT)
                self._remove(flip_flop)
                connections[pin] = [output]
            else:
                self._connect(name, pin, self._bit(flip_flop, _DATA))
        if not register.driven:
            for flip_flop in set(found.values()):
                if not self.readers[self._bit(flip_flop, _OUTPUT)]:
                    self._remove(flip_flop)
        for pin, bit in {register.clock: clocks.pop(), **register.ties}.items():
            self._connect(name, pin, bit)
        self.cells[name]["parameters"].update(register.parameters)
        return True


def pack_registers(netlist: Path, top: str) -> int:
    """Switch on the blocks' registers in an ECP5 netlist of yosys, in place; how many."""
    document = json.loads(netlist.read_text(encoding="utf-8"))
    module = _Module(document["modules"][top])
    # Outputs first: what a block's output register replaces is not in front of the next block any more.
    waiting = [(name, register) for name, cell in module.cells.items() for register in block_registers(cell)]
    packed = sum(module.pack(name, register) for name, register in sorted(waiting, key=lambda entry: not entry[1].driven))
    if packed:
        netlist.write_text(json.dumps(document), encoding="utf-8")
    return packed
