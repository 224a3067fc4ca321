"""Boards: names, pins against amaranth-boards, clocks against the limits of the PLLs, and configurations that resolve and fit."""

import dataclasses
import importlib
import re
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.build import DiffPairs, Pins, Subsignal
from systolith.arch.manifest import Manifest
from systolith.arch.settings import resolve
from systolith.boards import BOARDS, BoardError, get_board, primitives_ecp5, primitives_ice40, primitives_xilinx7
from systolith.boards.primitives_ecp5_ddr3 import DDR3Clocks
from systolith.boards.top import AcceleratorModule, BoardTop, constraints, project
from systolith.cli.flow import generate_folder
from systolith.gen import tools
from systolith.gen.fit import estimate
from systolith.gen.generate import generate
from systolith.gen.toolchain import TOOLCHAINS
from systolith.rtl.core import Core
from systolith.rtl.uart import bit_cycles


@pytest.mark.parametrize(("name", "message"), [
    ("ulx3s", "board 'ulx3s' is not known; did you mean 'ulx3s-"),
    ("ICEBREAKER", "board 'ICEBREAKER' is not known; did you mean 'icebreaker'?"),
    ("ulx3s_85f", "board 'ulx3s_85f' is not known; did you mean 'ulx3s-85f'?"),
    ("zzz", "board 'zzz' is not known; known: " + ", ".join(BOARDS))])
def test_unknown_board(name, message):
    with pytest.raises(BoardError, match=re.escape(message)):
        get_board(name)


@pytest.mark.parametrize("board", BOARDS.values(), ids=str)
def test_board_is_consistent(board):
    """Its configuration resolves and its largest blocks fit; the serial line works at its clock; the memory is a power of two."""
    config = board.config
    assert config.shell == board.link
    assert set(board.summary()) == {"name", "device", "clock_mhz", "oscillator_mhz", "link", "memory_kib", "variants", "toolchain"}
    for resource, needed in estimate(config, board).items():
        assert 0 <= needed <= board.resources[resource]
    if board.link == "axi":
        return
    assert bit_cycles(board.clock_hz, board.baud)
    assert board.memory_bytes & (board.memory_bytes - 1) == 0



PLATFORMS = {
    "ulx3s-12f": "ulx3s.ULX3S_12F_Platform", "ulx3s-25f": "ulx3s.ULX3S_25F_Platform", "ulx3s-45f": "ulx3s.ULX3S_45F_Platform",
    "ulx3s-85f": "ulx3s.ULX3S_85F_Platform", "ecpix5-45f": "ecpix5.ECPIX545Platform", "ecpix5-85f": "ecpix5.ECPIX585Platform",
    "orangecrab-25f": "orangecrab_r0_2.OrangeCrabR0_2_25FPlatform", "orangecrab-85f": "orangecrab_r0_2.OrangeCrabR0_2_85FPlatform",
    "colorlight-5a75b": "colorlight_5a75b_r7_0.Colorlight_5A75B_R70Platform", "icesugar-pro": "icesugar_pro.ICESugarProPlatform",
    "versa-ecp5": "versa_ecp5.VersaECP5Platform", "icebreaker": "icebreaker.ICEBreakerPlatform", "icesugar": "icesugar.ICESugarPlatform",
    "ice40-hx8k": "ice40_hx8k_b_evn.ICE40HX8KBEVNPlatform", "tang-nano-9k": "tang_nano_9k.TangNano9kPlatform",
    "tang-primer-20k": "tang_primer_20k.TangPrimer20kPlatform", "arty-a7-35": "arty_a7.ArtyA7_35Platform",
    "arty-a7-100": "arty_a7.ArtyA7_100Platform",
}
SERIAL = [name for name, board in BOARDS.items() if board.link == "serial"]
OPEN = [name for name, board in BOARDS.items() if not TOOLCHAINS[board.family].vendor]


def _platform(name):
    module, kind = PLATFORMS[name].split(".")
    return getattr(importlib.import_module(f"amaranth_boards.{module}"), kind)


def _names(platform):
    """Pin names of the clock and of the serial line in amaranth-boards' tables; where it has no line, the header's first two pins."""
    found = {}
    for resource in platform.resources:
        if resource.name == platform.default_clk:
            pins = resource.ios[0]
            found["oscillator"] = pins.p.names[0] if isinstance(pins, DiffPairs) else pins.names[0]
            found["oscillator_mhz"] = resource.clock.frequency / 1e6
        if resource.name == "uart":
            for io in resource.ios:
                if isinstance(io, Subsignal) and isinstance(io.ios[0], Pins) and io.name in ("rx", "tx"):
                    found[io.name] = io.ios[0].names[0]
    if "rx" not in found:
        header = platform.connectors[0].mapping
        found["rx"], found["tx"] = header["0"], header["1"]
    return found


def test_every_board_is_compared():
    assert set(BOARDS) - set(PLATFORMS) == {"gatemate-evb", "pynq-z2"}, "which amaranth-boards does not have"


@pytest.mark.parametrize("name", PLATFORMS)
def test_pins_and_part_are_those_of_amaranth_boards(name):
    board, platform = get_board(name), _platform(name)
    sites = {port: board.pins[port].site for port in ("oscillator", "rx", "tx")}
    assert _names(platform) == {"oscillator_mhz": board.oscillator_mhz} | sites
    if board.family == "gowin":
        assert platform.part == board.device
    elif board.family == "xilinx7":
        assert board.device.startswith(platform.device) or board.device.startswith(platform.device.removesuffix("i"))
        assert platform.package in board.device
    else:
        assert platform.device.removeprefix("iCE40").upper() == board.device.upper()
        assert re.sub(r"\D", "", platform.package) == re.sub(r"\D", "", board.package)
        assert not board.speed or platform.speed == board.speed


SDRAM = [name for name, board in BOARDS.items() if "litex" in board.variants]


def test_which_boards_have_sdram():
    assert SDRAM == ["ulx3s-12f", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f", "ecpix5-45f", "ecpix5-85f", "orangecrab-25f", "orangecrab-85f",
                     "colorlight-5a75b", "icesugar-pro", "versa-ecp5"]
    assert [name for name in SDRAM if get_board(name).external_memory.standard == "DDR3"] == DDR3


DDR3 = ["ecpix5-45f", "ecpix5-85f", "orangecrab-25f", "orangecrab-85f", "versa-ecp5"]
# What litex-boards has for OrangeCrab's memory where amaranth-boards 0.0.21 has another board's bank address pins, one byte's strobe as
# both bytes' positive half, the masks in the order of the bytes and not of the groups of pins, and a termination that heats it.
ORANGECRAB = {"ba": "D6 B7 A6", "dqs_p": "B15 G18", "dm": "D16 G16", "dq": {"TERMINATION": "OFF"}}


@pytest.mark.parametrize("name", SDRAM)
def test_memory_pins_are_those_of_amaranth_boards(name):
    """Every pin, whether signals are low when they act, and the attributes."""
    board = get_board(name)
    memory = board.external_memory
    resource = next(resource for resource in _platform(name).resources if resource.name in ("sdram", "ddr3"))
    names = {"clk_en": "cke", "cs": "cs_n", "we": "we_n", "ras": "ras_n", "cas": "cas_n", "dqm": "dm", "rst": "reset_n", "dqs": "dqs_p"}
    if memory.standard == "DDR3":
        names["clk"] = "clk_p"
    signals = {names.get(io.name, io.name): io for io in resource.ios}
    pins = {name: io.ios[0].p if isinstance(io.ios[0], DiffPairs) else io.ios[0] for name, io in signals.items()}
    differences = ORANGECRAB if name.startswith("orangecrab") else {}
    expected = {signal: " ".join(found.names) for signal, found in pins.items()}
    expected |= {signal: sites for signal, sites in differences.items() if isinstance(sites, str)}
    assert {signal: sites for signal, sites in memory.pins.items() if signal not in ("vccio", "gnd")} == expected
    assert {signal for signal, found in pins.items() if found.invert} == {signal for signal in signals if signal.endswith("_n")}
    common = dict(resource.attrs)
    if name == "versa-ecp5":  # there a parenthesis is in the wrong place, which gives all pins what the data's are meant to have
        assert common.pop("TERMINATION") == "75" and memory.pin_attributes["dq"] == {"TERMINATION": "75"}
    assert memory.attributes == common
    for signal, io in signals.items():
        wanted = differences.get(signal) if isinstance(differences.get(signal), dict) else dict(io.attrs)
        if name == "versa-ecp5" and signal == "dq":
            wanted = {"TERMINATION": "75"}
        assert memory.pin_attributes.get(signal, {}) == wanted, signal
    sites = [pin.site for pin in board.in_variant("litex").pins.values()]
    assert len(set(sites)) == len(sites)


@pytest.mark.parametrize("name", DDR3)
def test_pins_that_are_the_other_half_of_a_pair_are_nothing_else(name):
    """The tools place it beside the positive one."""
    resource = next(resource for resource in _platform(name).resources if resource.name == "ddr3")
    others = {site for io in resource.ios if isinstance(io.ios[0], DiffPairs) for site in io.ios[0].n.names}
    if name.startswith("orangecrab"):
        others = others - {"B15"} | {"H17"}
    assert not others & {pin.site for pin in get_board(name).in_variant("litex").pins.values()}


def test_supplies_of_orangecrab():
    memory = get_board("orangecrab-25f").external_memory
    resource = next(resource for resource in _platform("orangecrab-25f").resources if resource.name == "ddr3_pseudo_power")
    assert [" ".join(io.ios[0].names) for io in resource.ios] == [memory.pins["vccio"], memory.pins["gnd"]]
    for name in ("vccio", "gnd"):
        assert {**memory.attributes, **memory.pin_attributes[name]} == dict(resource.attrs)


ETHERNET = [name for name, board in BOARDS.items() if board.ethernet]


def test_which_boards_have_ethernet():
    assert ETHERNET == ["ecpix5-45f", "ecpix5-85f", "colorlight-5a75b", "versa-ecp5"]


@pytest.mark.parametrize("name", ETHERNET)
def test_ethernet_pins_are_those_of_amaranth_boards(name):
    """Of its first chip: every pin but those by which its registers are set, whether reset is low when it acts, and the attributes."""
    ethernet = get_board(name).ethernet
    resource = next(resource for resource in _platform(name).resources if resource.name == "eth_rgmii" and resource.number == 0)
    pins = {io.name.replace("ctrl", "ctl").replace("rst", "rst_n"): io.ios[0] for io in resource.ios if io.name not in ("mdc", "mdio")}
    assert ethernet.pins == {signal: " ".join(found.names) for signal, found in pins.items()}
    assert [signal for signal, found in pins.items() if found.invert] == ["rst_n"]
    assert ethernet.attributes == dict(resource.attrs)
    # litex-boards has that besides, for what the chip reads while it is reset.
    assert ethernet.pin_attributes == ({"rx_data": {"PULLMODE": "UP"}} if name.startswith("ecpix5") else {})


def located(board, ports):
    """The constraints of the LiteX variant, in which each of ``ports`` has its place."""
    text = constraints(board.in_variant("litex"))
    for port, pin in ports.items():
        assert f'LOCATE COMP "{port}" SITE "{pin.site}";' in text
    return text


@pytest.mark.parametrize("name", ETHERNET)
def test_constraints_of_ethernet(name):
    """Every pin, and the clock that comes in at one; in the LiteX variant only."""
    board = get_board(name)
    text = located(board, board.ethernet.ports)
    assert 'FREQUENCY PORT "eth_rx_clk" 125 MHZ;' in text and "eth" not in constraints(board)
    assert "eth" not in constraints(get_board("ulx3s-85f").in_variant("litex"))


@pytest.mark.parametrize(("changed", "message"), [
    ({"ip": "192.168.1"}, "ip must be an IPv4 address such as 192.168.1.50, not '192.168.1'"),
    ({"ip": "224.0.0.1"}, "ip must be the address of one device, such as 192.168.1.50, not '224.0.0.1'"),
    ({"ip": "0.0.0.0"}, "ip must be the address of one device, such as 192.168.1.50, not '0.0.0.0'"),
    ({"mac": "10-e2-d5-00-00-00"}, "mac must be the address of one device, six bytes such as 10:e2:d5:00:00:00, not '10-e2-d5-00-00-00'"),
    ({"mac": "11:e2:d5:00:00:00"}, "mac must be the address of one device, six bytes such as 10:e2:d5:00:00:00, not '11:e2:d5:00:00:00'"),
    ({"port": 0}, "port must be from 1 to 65535, not 0")])
def test_addresses_that_a_board_cannot_have(changed, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        dataclasses.replace(get_board("versa-ecp5").ethernet, **changed)


@pytest.mark.parametrize("name", SDRAM)
def test_constraints_name_every_pin_of_the_memory(name):
    board = get_board(name)
    text = located(board, board.external_memory.ports)
    assert text.startswith(constraints(board).rpartition("FREQUENCY")[0]), "and the others as they are"
    assert "sdram" not in constraints(board) and board.in_variant("bare") is board
    # LiteX's own targets run DDR3 on an ECP5 at 48 … 75 MHz; Lattice has 133 MHz, twice the clock, for an ECP3's delay-locked loop.
    slowest, fastest = (133 / 2, 75) if name in DDR3 else (0, 45 if get_board(name).ethernet else 50)
    clock_mhz = board.in_variant("litex").clock_mhz
    assert slowest <= clock_mhz <= min(board.clock_mhz, fastest) and (name in DDR3 or clock_mhz == min(board.clock_mhz, fastest))


@pytest.mark.parametrize(("degrees", "coarse", "fine"), [(0, 11, 0), (90, 14, 0), (180, 17, 0), (100, 14, 3)])
def test_a_later_clock(degrees, coarse, fine):
    """50 MHz from 600: twelve periods of the PLL's oscillator, each in eighths."""
    text = rtlil.convert(primitives_ecp5.PLL(input_mhz=25, output_mhz=50, late_degrees=degrees), name="pll", emit_src=False)
    assert f"parameter \\CLKOS_CPHASE {coarse}" in text and f"parameter \\CLKOS_FPHASE {fine}" in text
    assert "parameter \\CLKOP_CPHASE 11" in text


@pytest.mark.parametrize(("oscillator", "clock", "dividers"), [(100, 75, (2, 3, 4)), (48, 72, (1, 3, 4))])
def test_clocks_for_ddr3(oscillator, clock, dividers):
    """The pins' at twice the controller's, and a sixth of that; a bridge between the trees of two sides of the part."""
    clocks = {sides: rtlil.convert(DDR3Clocks(input_mhz=oscillator, output_mhz=clock, sides=sides), name="clocks", emit_src=False)
              for sides in (1, 2)}
    for name, value in zip(("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV", "CLKOS_DIV"), (*dividers, 6 * dividers[2]), strict=True):
        assert f"parameter \\{name} {value}\n" in clocks[1]
    assert 400 <= 2 * clock * dividers[2] <= 800 and oscillator * dividers[1] == 2 * clock * dividers[0]
    assert "ECLKBRIDGECS" not in clocks[1] and "ECLKBRIDGECS" in clocks[2] and "CLK1" not in clocks[2], "nextpnr routes no constant there"


@pytest.mark.parametrize("name", SERIAL)
def test_top_module_elaborates(name):
    """The whole shell of each board, around the accelerator's ports; ``generate`` does the accelerator itself."""
    board = get_board(name)
    config = board.config
    top = BoardTop(board=board, config=config, accelerator=AcceleratorModule(Core(config).signature))
    text = rtlil.convert(top, name="systolith_board", emit_src=False)
    module = text[text.rindex("module \\systolith_board\n"):].partition("\nend\n")[0]
    ports = set(re.findall(r"^  wire width \d+ (?:input|output) \d+ +\\(\w+)$", module, re.MULTILINE))
    assert set(board.pins) == ports
    assert any(pll in text for pll in ("EHXPLLL", "SB_PLL40_PAD", "MMCME2_BASE")) == (board.clock_mhz != board.oscillator_mhz)


@pytest.mark.parametrize("name", ["ulx3s-12f", "versa-ecp5", "ice40-hx8k"])
def test_generates(name, tmp_path):
    """One board of each size that no other test generates."""
    generate(get_board(name).config, tmp_path, board=get_board(name))
    manifest = Manifest.read(tmp_path)
    assert (manifest.board, manifest.memory_bytes) == (name, get_board(name).memory_bytes)


def test_parts_as_nextpnr_names_them(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(tools, "run_tool", lambda command, **_: commands.append(command))
    monkeypatch.setattr(tools, "find", lambda name, **_: name)
    for name in OPEN:
        board = get_board(name)
        TOOLCHAINS[board.family].for_board(board).place(board, tmp_path / "netlist.json", luts=1, seed=1, log=tmp_path / "log")
    assert {"tang-nano-9k", "tang-primer-20k", "gatemate-evb"} < set(OPEN)
    for name, command in zip(OPEN, commands, strict=True):
        assert not [part for part in command if re.search("[{}]", str(part))], f"{name}: a field is not filled in"
        assert get_board(name).family not in ("gowin", "gatemate") or command[1:3] == ["--device", get_board(name).device]
    sizes = {name: command[1] for name, command in zip(OPEN, commands, strict=True)}
    assert sizes["ulx3s-12f"] == "--12k" and sizes["orangecrab-85f"] == "--85k" and sizes["versa-ecp5"] == "--um-45k"
    assert sizes["ecpix5-85f"] == "--um5g-85k" and sizes["icebreaker"] == "--up5k" and sizes["ice40-hx8k"] == "--hx8k"


BOARD_FILE = Path(__file__).parents[2] / "docs" / "new_board.md"


def test_a_board_that_is_not_here(tmp_path):
    """The file in docs/new_board.md, as it stands there: under 60 lines, found, generated, constrained."""
    text = re.search(r"```python\n(.*?)```", BOARD_FILE.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert len(text.splitlines()) < 60
    path = tmp_path / "my_board.py"
    path.write_text(text, encoding="utf-8")
    board = get_board(str(path))
    assert board.source == str(path) and bit_cycles(board.clock_hz, board.baud) and constraints(board)
    for resource, needed in estimate(board.config, board).items():
        assert needed <= board.resources[resource]
    result = generate_folder(tmp_path / "out", board=str(path))
    assert "systolith.v" in result["files"] and Manifest.read(tmp_path / "out").board == str(path)
    assert get_board(Manifest.read(tmp_path / "out").board) == board


@pytest.mark.parametrize(("text", "message"), [
    (None, "board file '{0}' does not exist"),
    ("BOARD = 1", "board file '{0}' must define BOARD, a systolith.boards.Board, not int"),
    ("import nothing_of_that_name", "board file '{0}' fails: ModuleNotFoundError: No module named 'nothing_of_that_name'")])
def test_bad_board_files(tmp_path, text, message):
    path = tmp_path / "board.py"
    if text:
        path.write_text(text)
    with pytest.raises(BoardError, match=f"^{re.escape(message.format(path))}$"):
        get_board(str(path))


@pytest.mark.parametrize("output_mhz", [50, 62.5, 65, 70, 75, 80, 90, 100, 120, 125])
def test_ecp5_pll(output_mhz):
    dividers = primitives_ecp5.pll_dividers(25, output_mhz)
    assert 25 * dividers.feedback / dividers.reference == output_mhz
    assert 400 <= output_mhz * dividers.post <= 800
    assert 25 / dividers.reference >= 3.125


@pytest.mark.parametrize("output_mhz", [16.5, 18, 21, 24, 30, 48])
def test_ice40_pll(output_mhz):
    dividers = primitives_ice40.pll_dividers(12, output_mhz)
    compared = 12 / (dividers.reference + 1)
    assert compared * (dividers.feedback + 1) / 2 ** dividers.post == output_mhz
    assert 533 <= compared * (dividers.feedback + 1) <= 1066
    assert dividers.filter == 1


@pytest.mark.parametrize(("primitives", "input_mhz", "message"), [
    (primitives_ecp5, 25, "clock_mhz must be a frequency that an ECP5 PLL makes from 25 MHz, not 33.333"),
    (primitives_ice40, 12, "clock_mhz must be a frequency that an iCE40 PLL makes from 12 MHz, not 33.333")])
def test_pll_refuses(primitives, input_mhz, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        primitives.pll_dividers(input_mhz, 33.333)


LINES = {"ecp5": 'LOCATE COMP "{0}" SITE "{1}";', "ice40": "set_io {0} {1}", "gowin": 'IO_LOC "{0}" {1};',
         "gatemate": 'NET "{0}" Loc = "{1}"', "xilinx7": "PACKAGE_PIN {1}"}


@pytest.mark.parametrize("board", BOARDS.values(), ids=str)
def test_constraints_name_every_pin(board):
    text = constraints(board)
    for port, pin in board.pins.items():
        assert any(LINES[board.family].format(port, pin.site) in line and port in line for line in text.splitlines())


@pytest.mark.parametrize(("name", "text"), [
    ("tang-nano-9k", 'IO_LOC "oscillator" 52;\nIO_PORT "oscillator" IO_TYPE=LVCMOS33;\n'
                     'IO_LOC "rx" 18;\nIO_PORT "rx" IO_TYPE=LVCMOS33;\nIO_PORT "rx" PULL_MODE=UP;\n'
                     'IO_LOC "tx" 17;\nIO_PORT "tx" IO_TYPE=LVCMOS33;\nIO_LOC "led" 10;\nIO_PORT "led" IO_TYPE=LVCMOS18;\n'),
    ("gatemate-evb", 'NET "oscillator" Loc = "IO_SB_A8" | SCHMITT_TRIGGER=true;\n'
                     'NET "rx" Loc = "IO_EA_B4" | SCHMITT_TRIGGER=true | PULLUP=true;\n'
                     'NET "tx" Loc = "IO_EA_A4";\nNET "led" Loc = "IO_SB_B6";\n')])
def test_constraints_as_nextpnr_reads_them(name, text):
    assert constraints(get_board(name)) == text


@pytest.mark.parametrize(("name", "files"), [
    ("tang-nano-9k", {"board.cst", "board.sdc", "gowin.tcl"}), ("gatemate-evb", set()),
    ("arty-a7-35", {"board.xdc", "vivado.tcl"}), ("pynq-z2", {"vivado.tcl"}), ("ulx3s-12f", set())])
def test_projects_for_other_tools(name, files):
    board = get_board(name)
    texts = project(board, "systolith_top", "systolith.v")
    assert set(texts) == files
    for file, text in texts.items():
        if file.endswith(".tcl"):
            assert board.device in text and "systolith_top" in text and "systolith.v" in text


def test_a_project_is_generated_beside_the_verilog(tmp_path):
    board = get_board("arty-a7-35")
    generate(resolve({"array": {"rows": 2, "cols": 2}, "shell": "serial"}), tmp_path, board=board)
    assert "PACKAGE_PIN A9" in (tmp_path / "board.xdc").read_text() and "create_project" in (tmp_path / "vivado.tcl").read_text()


def test_mmcm():
    assert primitives_xilinx7.pll_dividers(100, 50) == (6, 12)
    with pytest.raises(ValueError, match=r"clock_mhz must be a frequency that an MMCM makes from 100 MHz with whole dividers, not 33\.3"):
        primitives_xilinx7.pll_dividers(100, 33.3)
