"""An ECP5 netlist of yosys, played cycle by cycle: what the cells compute, written down from their descriptions.

Look-up tables, carry chains and flip-flops as in yosys' ``lattice`` cells; MULT18X18D and DP16KD in the modes that are used here, with
the registers that they have (Lattice FPGA-TN-02205, ECP5 sysDSP usage guide; FPGA-TN-02204, ECP5 memory usage guide). One clock.
"""

import graphlib


def _number(text):
    """A parameter: yosys writes numbers as binary text."""
    return int(text, 2) if isinstance(text, str) else text


class Netlist:
    """A flat module; :meth:`step` is one clock cycle. All registers and memories are zero at first."""

    def __init__(self, module):
        self.ports = module["ports"]
        # An output that drives nothing has no net.
        self.cells = {
            name: {**cell, "connections": {pin: [] if bits == ["x"] and cell["port_directions"][pin] == "output" else bits
                                           for pin, bits in cell["connections"].items()}}
            for name, cell in module["cells"].items() if cell["type"] != "$scopeinfo"}
        self.value = {"0": 0, "1": 1, "x": 0, "z": 0}
        self.memories = {name: {} for name, cell in self.cells.items() if cell["type"] == "DP16KD"}
        self.pipes = {}  # registers inside blocks: (cell, register) → value
        driver = {bit: name for name, cell in self.cells.items() for pin in self._outputs(cell) for bit in cell["connections"][pin]}
        graph = {}
        for name, cell in self.cells.items():
            if self._is_combinational(cell):
                graph[name] = {driver[bit] for pin, bits in cell["connections"].items() if cell["port_directions"][pin] == "input"
                               for bit in bits if bit in driver and self._is_combinational(self.cells[driver[bit]])}
        self.order = list(graphlib.TopologicalSorter(graph).static_order())
        self.clocked = [name for name in self.cells if name not in graph]
        for bit in driver:
            self.value[bit] = 0

    @staticmethod
    def _outputs(cell):
        return [pin for pin, way in cell["port_directions"].items() if way == "output" and pin in cell["connections"]]

    @staticmethod
    def _is_combinational(cell):
        if cell["type"] == "MULT18X18D":
            return cell["parameters"].get("REG_OUTPUT_CLK", "NONE") == "NONE"
        return cell["type"] not in ("TRELLIS_FF", "DP16KD")

    def _in(self, cell, pin, default=0):
        bits = cell["connections"].get(pin)
        return self.value.get(bits[0], 0) if bits else default

    def _word(self, cell, letter, bits):
        return sum(self._in(cell, f"{letter}{i}") << i for i in range(bits))

    def _out(self, cell, letter, bits, word):
        for i in range(bits):
            for bit in cell["connections"].get(f"{letter}{i}", ()):
                self.value[bit] = word >> i & 1

    def _settle(self):
        for name in self.order:
            cell = self.cells[name]
            pins, parameters, kind = cell["connections"], cell["parameters"], cell["type"]
            if kind == "LUT4":
                index = sum(self._in(cell, pin) << i for i, pin in enumerate("ABCD"))
                self.value[pins["Z"][0]] = _number(parameters["INIT"]) >> index & 1
            elif kind == "PFUMX":
                self.value[pins["Z"][0]] = self._in(cell, "ALUT" if self._in(cell, "C0") else "BLUT")
            elif kind == "L6MUX21":
                self.value[pins["Z"][0]] = self._in(cell, "D1" if self._in(cell, "SD") else "D0")
            elif kind == "CCU2C":
                carry = self._in(cell, "CIN")
                for half in "01":
                    index = sum(self._in(cell, f"{pin}{half}") << i for i, pin in enumerate("ABCD"))
                    init, inject = _number(parameters[f"INIT{half}"]), parameters[f"INJECT1_{half}"] == "YES"
                    total, generate = init >> index & 1, (init & 15) >> (index & 3) & 1
                    for bit in pins.get(f"S{half}", ()):
                        self.value[bit] = total ^ (0 if inject else carry)
                    carry = carry if total else (0 if inject else generate)
                for bit in pins.get("COUT", ()):
                    self.value[bit] = carry
            elif kind == "MULT18X18D":
                self._out(cell, "P", 36, self._product(name, cell))
            else:
                raise NotImplementedError(kind)

    def _product(self, name, cell):
        """Of the operands, or of what their registers hold."""
        result = 1
        for letter in "AB":
            word = self.pipes.get((name, letter), 0) if self._registered(cell, f"INPUT{letter}") else self._word(cell, letter, 18)
            signed = self._in(cell, f"SIGNED{letter}")
            result *= word - (word >> 17 << 18) if signed else word
        return result % (1 << 36)

    @staticmethod
    def _registered(cell, register):
        return cell["parameters"].get(f"REG_{register}_CLK", "NONE") != "NONE"

    def _clock(self, name):
        """What a clocked cell will be after the edge, as a function to be called then."""
        cell = self.cells[name]
        pins, parameters = cell["connections"], cell["parameters"]
        if cell["type"] == "TRELLIS_FF":
            enable = {"1": 1, "INV": 1 - self._in(cell, "CE"), "CE": self._in(cell, "CE")}[parameters["CEMUX"].strip()]
            q, now = pins["Q"][0], self.value[pins["Q"][0]]
            if self._in(cell, "LSR") and (enable or parameters.get("SRMODE") != "CE_OVER_LSR"):
                now = int(parameters["REGSET"] == "SET")
            elif enable:
                now = self._in(cell, "DI")
            return lambda: self.value.__setitem__(q, now)
        if cell["type"] == "MULT18X18D":
            words = {letter: self._word(cell, letter, 18) for letter in "AB"}
            product = self._product(name, cell)

            def edge():
                self.pipes.update({(name, letter): word for letter, word in words.items()})
                if self._registered(cell, "OUTPUT"):
                    self._out(cell, "P", 36, product)
            return edge
        return self._ram(name, cell)

    def _ram(self, name, cell):
        """Port A writes, port B reads; in a read of what is being written there is garbage, here all ones."""
        parameters, memory = cell["parameters"], self.memories[name]
        width = {letter: _number(parameters[f"DATA_WIDTH_{letter}"]) for letter in "AB"}
        shift = {1: 0, 2: 1, 4: 2, 9: 3, 18: 4, 36: 5}
        words = {letter: self._word(cell, f"AD{letter}", 14) >> shift[width[letter]] for letter in "AB"}
        assert width["A"] == width["B"]
        wide, bits = width["B"] == 36, width["B"]
        data = self._word(cell, "DIA", 18) | (self._word(cell, "DIB", 18) << 18 if wide else 0)
        enables = self._word(cell, "ADA", 4) if wide else self._word(cell, "ADA", 2) if bits == 18 else 1
        mask = sum(0x1FF << 9 * i for i in range(4) if enables >> i & 1) if bits >= 18 else (1 << bits) - 1
        write = self._in(cell, "WEA") and self._in(cell, "CEA", 1)
        read = memory.get(words["B"], 0) if self._in(cell, "CEB", 1) else None
        if write and mask and words["A"] == words["B"]:
            read = (1 << bits) - 1
        enabled = self._in(cell, "OCEB", 1)

        def edge():
            if write:
                memory[words["A"]] = (memory.get(words["A"], 0) & ~mask) | (data & mask)
            before = self.pipes.get((name, "read"), 0)
            if read is not None:
                self.pipes[name, "read"] = read
            word = self.pipes.get((name, "read"), 0)
            if parameters["REGMODE_B"] == "OUTREG":
                word = before if enabled else self.pipes.get((name, "register"), 0)
                self.pipes[name, "register"] = word
            self._out(cell, "DOA" if wide else "DOB", 18, word)
            if wide:
                self._out(cell, "DOB", 18, word >> 18)
        return edge

    def step(self, **inputs):
        """Outputs in this cycle, as unsigned numbers, with these inputs; then the clock's edge."""
        for name, word in inputs.items():
            for i, bit in enumerate(self.ports[name]["bits"]):
                self.value[bit] = int(word) >> i & 1
        self._settle()
        seen = {name: sum(self.value.get(bit, 0) << i for i, bit in enumerate(port["bits"]))
                for name, port in self.ports.items() if port["direction"] == "output"}
        for edge in [self._clock(name) for name in self.clocked]:
            edge()
        return seen
