"""The chip of DDR3 behind a model of a part's pins: what it answers, when its reads are right, and that it names what a controller must
not do.

The rules are JEDEC 79-3's, of parts for 1600 MT/s; the pins' latencies those of LiteDRAM's ECP5DDRPHY at 75 MHz: latencies of six and five.
"""

import subprocess
from pathlib import Path

import pytest
from systolith.gen import simulate_board, tools

DRIVE = Path(__file__).parents[1] / "support" / "ddr3_drive.cpp"
MODE, REFRESH, PRECHARGE, ACTIVATE, WRITE, READ, CALIBRATE, NOTHING = range(8)
ALL = 0x400  # address bit 10
RESET, SLEEP, AWAKE = 0, 2, 3
WRITE_DATA, READ_DATA = 1, 2
READ_CYCLES = 13


def does(command=NOTHING, bank=0, address=0, *, second=(NOTHING, 0, 0), enables=0, control=AWAKE):
    return f"do {control} {command} {bank:x} {address:x} {second[0]} {second[1]:x} {second[2]:x} {enables}"


def wait(cycles, control=AWAKE):
    return f"wait {cycles} {control:x}"


def modes(latency=2, write_latency=0, first=0x100):
    """Those of LiteDRAM: latency six is coded 2, write latency five 0."""
    return [line for bank, value in ((2, write_latency << 3), (3, 0), (1, 6), (0, first | latency << 4 | 0x200))
            for line in (does(MODE, bank, value), wait(3))]


RESETS = [wait(15000, RESET), wait(40000, SLEEP), wait(50)]
POWER_UP = [*RESETS, *modes(), does(CALIBRATE, address=ALL), wait(600)]
# A read is in the first phase, a write in the second: six and five cycles of the chip's clock before an edge of the controller's.
OPEN = [does(ACTIVATE, 2, 5), wait(1)]
WRITES = ["data 10 0", does(second=(WRITE, 2, 8), enables=WRITE_DATA), wait(20)]
READS = [does(READ, 2, 8, enables=READ_DATA), wait(READ_CYCLES - 1), "read"]
SET = ["set 3 5", "set 3 8", "set 3 2", "set 3 2", "set 3 2", "set 2 8"]  # three delays for both lanes, and one and two bitslips
WRITTEN = "".join(f"{0x10 + i:02x}" for i in range(16))


@pytest.fixture(scope="module")
def chip(tmp_path_factory):
    """Runs lines: the exit status, what was printed, and the error."""
    program = tmp_path_factory.mktemp("chip") / "drive"
    flags = {"ROW_BITS": 13, "WRITE_CYCLES": 3, "STROBE_CYCLES": 3, "READ_CYCLES": READ_CYCLES, "RESET": 1}
    subprocess.run([tools.compiler(), "-std=c++17", *(f"-DDDR3_{name}={value}" for name, value in flags.items()),
                    f"-I{simulate_board.DDR3_CHIP.parent}", "-o", program, DRIVE], check=True)

    def run(lines):
        done = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True)
        return done.returncode, done.stdout.split(), done.stderr.strip()
    return run


def read(chip, lines):
    status, said, error = chip(lines)
    assert (status, error) == (0, "")
    return said[-2:]


def test_words_come_back(chip):
    assert read(chip, [*SET, *POWER_UP, *OPEN, *WRITES, *READS]) == [WRITTEN, "3"]


def test_bytes_that_are_masked_stay(chip):
    found, _ = read(chip, [*SET, *POWER_UP, *OPEN, *WRITES, "data 80 fffb", *WRITES[1:], *READS])
    assert found == WRITTEN[:4] + "82" + WRITTEN[6:]


def test_another_bank_row_and_column_are_other_words(chip):
    lines = [*SET, *POWER_UP]
    places = [(0, 0, 0), (0, 4096, 0), (7, 0, 0), (7, 0, 0x3F8)]
    for index, (bank, row, column) in enumerate(places):
        lines += [f"data {16 * index:x} 0", does(ACTIVATE, bank, row), wait(1), does(second=(WRITE, bank, column), enables=WRITE_DATA),
                  wait(20), does(PRECHARGE, bank), wait(2)]
    for bank, row, column in places:
        lines += [does(ACTIVATE, bank, row), wait(1), does(READ, bank, ALL | column, enables=READ_DATA), wait(READ_CYCLES - 1), "read"]
    status, said, error = chip(lines)
    assert (status, error) == (0, "")
    assert [bytes.fromhex(found)[0] for found in said[::2]] == [0, 16, 32, 48], "reads with precharge close their rows"


def test_reads_follow_each_other(chip):
    second = does(READ, 2, 16, enables=READ_DATA)
    lines = [*SET, *POWER_UP, *OPEN, *WRITES, "data 30 0", does(second=(WRITE, 2, 16), enables=WRITE_DATA), wait(20),
             READS[0], wait(1), second, wait(READ_CYCLES - 3), "read", wait(2), "read"]
    said = chip(lines)[1]
    assert said[0] == WRITTEN and said[2][:4] == "3031"


@pytest.mark.parametrize(("lane", "bitslip", "delays", "seen"), [(0, 1, range(2, 6), range(1, 6)), (1, 2, range(3, 7), range(2, 7))])
def test_the_window_of_each_lane(chip, lane, bitslip, delays, seen):
    """Right where its delay and bitslip are; the strobe is seen a little before. Another bitslip shifts it by as many words."""
    lines = [*POWER_UP, *OPEN, *WRITES]
    for slips in range(4):
        for delay in range(8):
            lines += [f"set {1 << lane:x} 15", *[f"set {1 << lane:x} 8"] * slips, *[f"set {1 << lane:x} 2"] * delay, "set 0 0", *READS]
    status, said, error = chip(lines)
    assert (status, error) == (0, "")
    for number, (found, strobes) in enumerate(zip(said[::2], said[1::2], strict=True)):
        slips, delay = divmod(number, 8)
        assert bool(int(strobes, 16) >> lane & 1) is (delay in seen), (slips, delay)
        mine = bytes.fromhex(found)[lane::2]
        expected = bytes.fromhex(WRITTEN)[lane::2]
        assert (mine == expected) is (slips == bitslip and delay in delays), (slips, delay)
        if delay in delays and slips == bitslip + 1:
            assert mine[:7] == expected[1:]


def test_a_lane_that_is_held_reads_nothing(chip):
    lines = [*SET, *POWER_UP, *OPEN, *WRITES, READS[0], wait(2), "set 2 0", wait(READ_CYCLES - 4), "read"]
    found, seen = read(chip, lines)
    assert seen == "1" and bytes.fromhex(found)[::2] == bytes.fromhex(WRITTEN)[::2] and found != WRITTEN


@pytest.mark.parametrize("powered", [
    [wait(14000, RESET), *POWER_UP[1:]], [POWER_UP[0], wait(37000, SLEEP), *POWER_UP[2:]],
    [*RESETS, *modes()[2:], *POWER_UP[-2:]], [*RESETS, *modes()[:-2], *POWER_UP[-2:]], [*RESETS, *modes(first=0), *POWER_UP[-2:]],
    [*RESETS, *modes(), wait(600)]], ids=["reset", "no clock enable", "mode 2", "mode 0", "loop not reset", "calibration"])
def test_nothing_works_without_the_sequence(chip, powered):
    found, seen = read(chip, [*SET, *powered, *OPEN, *WRITES, *READS])
    assert found != WRITTEN and seen == "0"


@pytest.mark.parametrize("modes_", [modes(latency=4), modes(write_latency=1)], ids=["read", "write"])
def test_latencies_that_the_controller_does_not_expect(chip, modes_):
    assert read(chip, [*SET, *RESETS, *modes_, *POWER_UP[-2:], *OPEN, *WRITES, *READS])[0] != WRITTEN


def test_data_without_their_enable(chip):
    assert read(chip, [*SET, *POWER_UP, *OPEN, WRITES[0], does(second=(WRITE, 2, 8)), wait(20), *READS])[0] != WRITTEN
    assert read(chip, [*SET, *POWER_UP, *OPEN, *WRITES, does(READ, 2, 8), *READS[1:]])[0] != WRITTEN


@pytest.mark.parametrize(("lines", "rule"), [
    ([*POWER_UP, does(READ)], "an access without an open row"),
    ([*POWER_UP, does(ACTIVATE), does(READ)], "an access too soon after activate"),
    ([*POWER_UP, *OPEN, does(READ, 2, 4)], "a burst does not begin at a multiple of eight"),
    ([*POWER_UP, *OPEN, does(READ, 2), does(READ, 2)], "an access within the burst of the one before"),
    ([*POWER_UP, *OPEN, does(WRITE, 2, enables=1), wait(5), does(READ, 2)], "a read too soon after a write"),
    ([*POWER_UP, *OPEN, does(READ, 2), wait(1), does(WRITE, 2)], "a write too soon after a read"),
    ([*POWER_UP, *OPEN, does(ACTIVATE, 2, 1)], "activate while a row of the bank is open"),
    ([*POWER_UP, *OPEN, does(PRECHARGE, 2), does(ACTIVATE, 2)], "precharge too soon after activate"),
    ([*POWER_UP, *OPEN, does(WRITE, 2), wait(4), does(PRECHARGE, 2)], "precharge too soon after an access"),
    ([*POWER_UP, *OPEN, wait(2), does(PRECHARGE, 2), does(ACTIVATE, 2)], "activate too soon"),
    ([*POWER_UP, *OPEN, does(REFRESH)], "a refresh while a row is open"),
    ([*POWER_UP, *OPEN, wait(2), does(PRECHARGE, 2), does(REFRESH)], "a refresh too soon after precharge"),
    ([*POWER_UP, does(REFRESH), wait(6), does(ACTIVATE)], "activate too soon"),
    ([*POWER_UP, does(ACTIVATE), does(ACTIVATE, 1)], "two rows are opened too soon after each other"),
    ([*POWER_UP[:-1], wait(200), does(ACTIVATE)], "activate while the chip calibrates itself"),
    ([*POWER_UP, wait(6000), does(ACTIVATE)], "refreshes are missing"),
    ([*POWER_UP, *OPEN, does(MODE, 1, 6)], "a mode is set while a row is open"),
    ([*RESETS[:2], *modes()], "a mode is set too soon after the clock is enabled"),
    ([*RESETS, does(MODE, 2), does(MODE, 3)], "two modes are set within four cycles")])
def test_what_a_controller_must_not_do(chip, lines, rule):
    status, _, error = chip(lines)
    assert status == 3 and error.startswith(f"DDR3: {rule} (cycle "), error
