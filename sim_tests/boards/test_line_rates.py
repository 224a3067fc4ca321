"""The rate of the line: the best that a board and its adapter have in common, found and left without loss."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from lockstep import LockstepPort, lockstep_library
from nightly import nightly
from small_board import SMALL, small_board
from systolith.arch.registers import SERIAL_MEMORY, SERIAL_RATE, offset_of
from systolith.gen.simulate_board import compile_board, simulated_board
from systolith.host.line_rates import line_rates
from systolith.host.serial_device import LinkError, SerialDevice

BUILT = 57_600  # 16 cycles per bit
BITS = 64       # of silence that cut a frame
PAUSE_S = 2.5 * BITS / BUILT
RETURNED_S = 8 * BITS / BUILT
BOARD = dataclasses.replace(SMALL, baud=BUILT, frame_timeout_s=BITS / BUILT)
DATA = np.random.default_rng(1).integers(0, 256, 3000, np.uint8)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rates")
    manifest, _ = small_board(folder, BOARD)
    return manifest, lockstep_library(folder)


def opened(port, manifest, **options):
    return SerialDevice(port, manifest, pause_s=PAUSE_S, **options)


@pytest.fixture
def at_port(small):
    """A function that gives ports of new boards."""
    manifest, library = small
    ports = []

    def make(**options):
        ports.append(LockstepPort(library, BOARD, silence_s=0.01, **options))
        return manifest, ports[-1]

    yield make
    for port in ports:
        port.switch_off()


def works(device, address=64):
    device.write_memory(address, DATA)
    return np.array_equal(device.read_memory(address, DATA.size), DATA)


@pytest.mark.parametrize(("clock_hz", "built", "first", "among"), [
    (50e6, 1_000_000, 12_500_000, {3_000_000: 17, 2_000_000: 25, 1_500_000: 33}),
    (12e6, 1_000_000, 3_000_000, {2_000_000: 6, 1_500_000: 8}),
    (100e6, 1_000_000, 25_000_000, {12_500_000: 8, 6_000_000: 17, 3_000_000: 33}),
    (27e6, 115_200, 6_750_000, {3_000_000: 9, 1_000_000: 27, 230_400: 117})])
def test_rates_that_are_tried(clock_hz, built, first, among):
    rates = line_rates(clock_hz, built)
    assert rates[0].baud == first and rates[0].cycles == 4
    assert all(rate.baud > built and abs(rate.cycles * rate.baud / clock_hz - 1) < 0.025 for rate in rates)
    assert [rate.baud for rate in rates] == sorted((rate.baud for rate in rates), reverse=True)
    assert among.items() <= {rate.baud: rate.cycles for rate in rates}.items()


def test_the_highest_is_taken_and_carries_everything(at_port):
    manifest, port = at_port()
    with opened(port, manifest) as device:
        assert port.baud == 4 * BUILT and works(device)
        start = port.clock()
        assert works(device)
        assert port.clock() - start < 1.1 * 2 * 10 * DATA.size / port.baud
        assert device.link.faults == 0
    assert port.tried[-2:] == [BUILT, 4 * BUILT], "the first try was the last"
    with opened(port_again(port), manifest, negotiate=False) as device:
        assert works(device) and device.link.faults == 0 and port.baud == BUILT, "closing left it as it was built"


def port_again(port):
    """The port as the next program opens it."""
    port.set_baud(BUILT)
    port.tried.clear()
    return port


@pytest.mark.parametrize("honest", [False, True])
@pytest.mark.parametrize(("most_baud", "expected"), [(160_000, 153_667), (95_000, 92_200), (BUILT + 1000, BUILT)])
def test_an_adapter_that_does_less(at_port, most_baud, expected, honest):
    """Whether it says so or not; then it sends at the highest rate that it has."""
    manifest, port = at_port(most_baud=most_baud, honest=honest)
    with opened(port, manifest) as device:
        assert abs(port.baud / expected - 1) < 0.002
        assert works(device) and device.link.faults == 0


def test_a_pause_of_any_length(small, at_port):
    """The device has gone back, is about to, or has not: the next transfer works, and at the high rate."""
    manifest, port = at_port()
    with opened(port, manifest) as device:
        for share in (0.1, 0.3, 0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.3, 5):
            port._wait(1 << 62, share * RETURNED_S)
            assert works(device), share
            assert port.baud == 4 * BUILT, share
        assert device.link.faults <= 2


def test_a_device_that_was_left_at_another_rate(at_port):
    """A host that ended without a word: the next one finds the board at the built rate, or knows nothing of rates and still does."""
    manifest, port = at_port()
    opened(port, manifest)
    assert port.baud == 4 * BUILT
    with opened(port_again(port), manifest) as device:  # at once
        assert works(device) and port.baud == 4 * BUILT
    opened(port_again(port), manifest)
    port_again(port)._wait(1 << 62, 1.1 * RETURNED_S)
    with opened(port, manifest, negotiate=False) as device:
        assert works(device) and device.link.faults == 0


def test_a_host_at_another_rate(at_port):
    """A wrong rate at connect is named, and what it sends does no harm."""
    manifest, port = at_port()
    with opened(port, manifest) as device:
        device.write_memory(0, DATA)
    port.set_baud(19_200)
    with pytest.raises(LinkError, match="nothing answers at port 'lockstep' with 19200 baud; is the board powered, "):
        opened(port, manifest)
    with opened(port_again(port), manifest) as device:
        assert np.array_equal(device.read_memory(0, DATA.size), DATA)


def test_a_rate_that_stops_working_is_left(at_port):
    """After a while at the high rate the line no longer carries it: transfers go on at a lower one, and nothing is lost."""
    manifest, port = at_port()
    with opened(port, manifest) as device:
        assert works(device)
        device.write_memory(0, DATA[:4])  # so that it is not its silence that ends the rate
        port.most_baud = 100_000
        port.set_baud(port.baud)
        assert works(device, 5000) and np.array_equal(device.read_memory(64, DATA.size), DATA)
        assert BUILT < port.baud < 100_000 and device.link.faults > 0


def test_wrong_rates_in_the_register_end_by_themselves(at_port):
    """Rates that no bit can have included, as from another program."""
    manifest, port = at_port()
    for cycles in (0, 1, 2, 3, 5, 15, 0xFFFF_FFFF):
        with opened(port_again(port), manifest, negotiate=False) as device:
            device.link.write(SERIAL_RATE, cycles.to_bytes(4, "big"))
            port._wait(1 << 62, 1.1 * RETURNED_S)
            assert works(device) and port.baud == BUILT


def test_what_the_register_shows(at_port):
    manifest, port = at_port()
    with opened(port, manifest) as device:
        assert int.from_bytes(device.link.read(SERIAL_RATE, 1), "big") == round(BOARD.clock_hz / 1000)
        assert device.link.read(SERIAL_RATE + 4, 1) == bytes(4) and device.link.read(SERIAL_MEMORY - 4, 1) == bytes(4)
        assert device.read_register(offset_of("MEMORY_BYTES")) == BOARD.memory_bytes


def test_a_board_whose_rate_is_fixed(tmp_path):
    board = dataclasses.replace(BOARD, settings={**BOARD.settings, "control": {"line_rates": False}})
    manifest, _ = small_board(tmp_path, board)
    port = LockstepPort(lockstep_library(tmp_path), board, silence_s=0.01)
    with opened(port, manifest) as device:
        assert works(device) and port.tried == [BUILT] and device.link.faults == 0
    port.switch_off()


@nightly("a minute or two; a host that is killed is at a terminal too")
def test_over_a_terminal(tmp_path):
    """The same through this computer's own serial port, with an adapter that does less than the board."""
    board = dataclasses.replace(SMALL, baud=BUILT)
    manifest, program = small_board(tmp_path, board)
    for most_baud, expected in ((10**9, 4 * BUILT), (100_000, 92_200)):
        with simulated_board(program, board, real_time=True, most_baud=most_baud) as running:
            with SerialDevice(running.port, manifest, baud=BUILT, silence_s=0.2, pause_s=0.08, clock=lambda: running.seconds) as device:
                assert works(device)
                assert device.link.port.baud == expected
            with SerialDevice(running.port, manifest, baud=BUILT, negotiate=False, silence_s=0.2, pause_s=0.08,
                              clock=lambda: running.seconds) as device:
                assert works(device) and device.link.port.baud == BUILT


def test_a_host_that_is_killed(tmp_path):
    """With kill -9, in the middle of its transfers at the high rate."""
    board = dataclasses.replace(SMALL, baud=BUILT)
    manifest, _ = small_board(tmp_path, board)
    program = compile_board(tmp_path).path
    script = textwrap.dedent("""
        import sys
        import numpy as np
        from systolith.arch.manifest import Manifest
        from systolith.host.serial_device import SerialDevice
        device = SerialDevice(sys.argv[1], Manifest.read(sys.argv[2]), baud=int(sys.argv[3]))
        print(device.link.port.baud, flush=True)
        while True:
            device.write_memory(0, np.zeros(2000, np.uint8))
    """)
    with simulated_board(program, board, real_time=True) as running:
        command = [sys.executable, "-c", script, running.port, tmp_path, str(BUILT)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
            raised = int(host.stdout.readline())
            os.kill(host.pid, signal.SIGKILL)
        assert raised > BUILT
        with SerialDevice(running.port, manifest, baud=BUILT) as device:
            assert works(device)
            assert device.link.port.baud > BUILT
