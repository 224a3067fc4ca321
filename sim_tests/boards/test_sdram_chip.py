"""The chip of SDRAM that stands beside simulated boards: what it answers, and that it names what a controller must not do.

The rules are those of data sheets of such parts, as ISSI's IS42S16160G and Micron's MT48LC16M16A2 have them.
"""

import subprocess
from pathlib import Path

import pytest
from systolith.gen import simulate_board, tools

DRIVE = Path(__file__).parents[1] / "support" / "sdram_drive.cpp"
MODE, REFRESH, PRECHARGE, ACTIVATE, WRITE, READ, STOP, NOTHING = range(8)
ALL = 0x400  # address bit 10


def does(command, bank=0, address=0, mask=0, data=0):
    return f"{command} {bank:x} {address:x} {mask:x} {data:x}"


def wait(cycles):
    return f"wait {cycles}"


POWER_UP = [wait(5000), does(PRECHARGE, address=ALL), wait(1), does(REFRESH), wait(3), does(REFRESH), wait(3), does(MODE, address=0x20),
            wait(2)]


@pytest.fixture(scope="module")
def chip(tmp_path_factory):
    """Runs lines of commands: the exit status, what was printed for the last ones, and the error."""
    program = tmp_path_factory.mktemp("chip") / "drive"
    sizes = {"ROW": 13, "COLUMN": 9, "BANK": 2, "DATA": 16}
    subprocess.run([tools.compiler(), "-std=c++17", *(f"-DSDRAM_{name}_BITS={bits}" for name, bits in sizes.items()),
                    f"-I{simulate_board.CHIP.parent}", "-o", program, DRIVE], check=True)

    def run(lines):
        done = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True)
        return done.returncode, done.stdout.split(), done.stderr.strip()
    return run


def test_words_and_bytes_come_back(chip):
    """Two cycles after the read: driven from the edge before, and for one cycle each."""
    status, said, error = chip([
        *POWER_UP, does(ACTIVATE, 2, 5), wait(1), does(WRITE, 2, 7, 0, 0x1234), does(WRITE, 2, 8, 0, 0x5678), does(WRITE, 2, 7, 1, 0xABCD),
        wait(4), does(READ, 2, 7), does(READ, 2, 8), does(NOTHING), does(NOTHING)])
    assert (status, error) == (0, "")
    assert said[-4:] == ["-", "ab34", "5678", "-"]


def test_another_row_and_bank_are_other_words(chip):
    lines = [*POWER_UP]
    places = [(0, 0), (0, 4096), (3, 0)]
    for index, (bank, row) in enumerate(places):
        lines += [does(ACTIVATE, bank, row), wait(1), does(WRITE, bank, 0, 0, index + 1), wait(3), does(PRECHARGE, bank), wait(1)]
    for bank, row in places:
        lines += [does(ACTIVATE, bank, row), wait(1), does(READ, bank, ALL), does(NOTHING), wait(4)]
    status, said, error = chip(lines)
    assert (status, error) == (0, "")
    assert said[-1] == "3" and said[-4] == "2" and said[-7] == "1", "reads with precharge close their rows"


@pytest.mark.parametrize("without", [1, 3, 5, 7, 8])
def test_nothing_works_before_the_sequence(chip, without):
    """Left out: all precharged, either refresh, the mode; or the mode is a test mode."""
    lines = list(POWER_UP)
    lines[min(without, 7)] = does(MODE, address=0x120) if without == 8 else wait(1)
    status, said, error = chip([*lines, does(ACTIVATE), wait(1), does(WRITE, data=1), wait(3), does(READ), does(NOTHING)])
    assert (status, error, said[-1]) == (0, "", "-")


def test_nothing_is_understood_in_the_first_100_us(chip):
    status, said, error = chip([wait(10), *POWER_UP[1:], does(ACTIVATE), wait(1), does(READ), does(NOTHING)])
    assert (status, error, said[-1]) == (0, "", "-")


OPEN = [*POWER_UP, does(ACTIVATE), wait(2)]


@pytest.mark.parametrize(("lines", "rule"), [
    ([*POWER_UP, does(READ)], "an access without an open row"),
    ([*OPEN, does(ACTIVATE, address=1)], "activate while a row of the bank is open"),
    ([*OPEN, does(REFRESH)], "a refresh while a row is open"),
    ([*OPEN, does(MODE, address=0x20)], "the mode is set while a row is open"),
    ([*POWER_UP, does(ACTIVATE), does(PRECHARGE)], "precharge too soon after activate"),
    ([*OPEN, does(WRITE), does(PRECHARGE)], "precharge too soon after a write"),
    ([*POWER_UP, does(REFRESH), wait(1), does(ACTIVATE)], "activate too soon"),
    ([*OPEN, does(STOP)], "a burst is ended, and there are none"),
    ([*POWER_UP, wait(4000), does(ACTIVATE)], "refreshes are missing"),
    ([*OPEN, does(READ), does(NOTHING), "foreign"], "both ends drive the data pins")])
def test_what_a_controller_must_not_do(chip, lines, rule):
    status, _, error = chip(lines)
    assert status == 3 and error.startswith(f"SDRAM: {rule} (cycle "), error
