"""Boards: names, pins against amaranth-boards, clocks against the limits of the PLLs, and configurations that resolve and fit."""

import re

import pytest
from amaranth.build import Pins, Subsignal
from amaranth_boards.icebreaker import ICEBreakerPlatform
from amaranth_boards.ulx3s import ULX3S_85F_Platform
from systolith.arch.config import resolve
from systolith.boards import BOARDS, BoardError, get_board, primitives_ecp5, primitives_ice40
from systolith.boards.top import constraints
from systolith.gen.fit import estimate
from systolith.rtl.uart import bit_cycles


@pytest.mark.parametrize(("name", "message"), [
    ("ulx3s", "board 'ulx3s' is not known; did you mean 'ulx3s-85f'?"),
    ("ICEBREAKER", "board 'ICEBREAKER' is not known; did you mean 'icebreaker'?"),
    ("ulx3s_85f", "board 'ulx3s_85f' is not known; did you mean 'ulx3s-85f'?"),
    ("zzz", "board 'zzz' is not known; known: ulx3s-85f, icebreaker")])
def test_unknown_board(name, message):
    with pytest.raises(BoardError, match=re.escape(message)):
        get_board(name)


@pytest.mark.parametrize("board", BOARDS.values(), ids=str)
def test_board_is_consistent(board):
    """Its configuration resolves and its largest blocks fit; the serial line works at its clock; the memory is a power of two."""
    config = resolve(board.settings)
    assert config.shell == board.link == "serial"
    for resource, needed in estimate(config, board).items():
        assert 0 < needed <= board.resources[resource]
    assert bit_cycles(board.clock_hz, board.baud)
    assert board.memory_bytes & (board.memory_bytes - 1) == 0
    assert set(board.summary()) == {"name", "device", "clock_mhz", "oscillator_mhz", "link", "memory_kib", "toolchain"}


def _names(resources):
    """Pin names of the clock and of the serial line in amaranth-boards' tables."""
    found = {}
    for resource in resources:
        if resource.name in ("clk25", "clk12"):
            found["oscillator"] = resource.ios[0].names[0]
        if resource.name == "uart":
            for io in resource.ios:
                if isinstance(io, Subsignal) and isinstance(io.ios[0], Pins) and io.name in ("rx", "tx"):
                    found[io.name] = io.ios[0].names[0]
    return found


@pytest.mark.parametrize(("name", "platform"), [("ulx3s-85f", ULX3S_85F_Platform), ("icebreaker", ICEBreakerPlatform)])
def test_pins_are_those_of_amaranth_boards(name, platform):
    board = get_board(name)
    assert _names(platform.resources) == {port: board.pins[port].site for port in ("oscillator", "rx", "tx")}


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


@pytest.mark.parametrize("board", BOARDS.values(), ids=str)
def test_constraints_name_every_pin(board):
    text = constraints(board)
    for port, pin in board.pins.items():
        line = f'LOCATE COMP "{port}" SITE "{pin.site}";' if board.family == "ecp5" else f"set_io {port} {pin.site}"
        assert line in text.splitlines()
