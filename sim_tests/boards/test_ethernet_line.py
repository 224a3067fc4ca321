"""The other end of a simulated board's Ethernet: what it sends, what it makes of what the board sends, and that it names each broken rule.

Frames are made and read here with the standard library's CRC-32; RFC 791's and 768's checksums are computed from their definition.
"""

import itertools
import select
import socket
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from systolith.gen import simulate_board, tools

DRIVE = Path(__file__).parents[1] / "support" / "ethernet_drive.cpp"
PREAMBLE = bytes([0x55] * 7 + [0xD5])
BOARD, US, ALL = bytes.fromhex("10e2d5000000"), bytes.fromhex("020000000001"), b"\xFF" * 6
BOARD_IP, OUR_IP, PORT = bytes([192, 168, 1, 50]), bytes([192, 168, 1, 100]), 1234


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    program = tmp_path_factory.mktemp("line") / "drive"
    flags = (f"-DETHERNET_MAC=0x{BOARD.hex()}", f"-DETHERNET_IP=0x{BOARD_IP.hex()}", f"-DETHERNET_PORT={PORT}")
    subprocess.run([tools.compiler(), "-std=c++17", *flags, f"-I{simulate_board.ETHERNET.parent}", "-o", program, DRIVE], check=True)
    return program


class Line:
    """A running chip, and a socket that reaches it."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        host, port = self.process.stdout.readline().split(":")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", int(port)))
        self.socket.connect((host, int(port)))
        self.socket.settimeout(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.kill()
        self.process.communicate()

    def tell(self, *lines):
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    def frame(self):
        """The next one that the board gets, without its preamble and a check sequence that is right."""
        self.tell("run 200")
        assert select.select([self.process.stdout], [], [], 10)[0]
        octets = bytes.fromhex(self.process.stdout.readline())
        assert octets[:8] == PREAMBLE and len(octets) >= 72
        assert zlib.crc32(octets[8:-4]) == int.from_bytes(octets[-4:], "little")
        return octets[8:-4]

    def ends(self, *lines):
        """What it says when it ends."""
        _, said = self.process.communicate("".join(f"{line}\n" for line in lines), timeout=10)
        assert self.process.returncode == 3
        return said


def checked(octets):
    """As it goes over the line."""
    octets = octets.ljust(60, b"\0")
    return PREAMBLE + octets + zlib.crc32(octets).to_bytes(4, "little")


def ones(octets):
    """The sum of RFC 1071."""
    total = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def arp(operation, *, to=US, sender=BOARD, sender_ip=BOARD_IP, target=bytes(6), target_ip=OUR_IP, head=b"\0\1\x08\0\6\4"):
    return to + BOARD + b"\x08\x06" + head + bytes([0, operation]) + sender + sender_ip + target + target_ip


def datagram(data, *, to=US, source=BOARD, version=0x45, length=None, pieces=0, life=64, protocol=17, from_ip=BOARD_IP, to_ip=OUR_IP,
             from_port=PORT, to_port=PORT, udp_length=None, udp_sum=0, wrong=0):
    length = 28 + len(data) if length is None else length
    ip = struct.pack(">BBHHHBBH", version, 0, length, 7, pieces, life, protocol, 0) + from_ip + to_ip
    ip = ip[:10] + struct.pack(">H", (0xFFFF - ones(ip)) ^ wrong) + ip[12:]
    udp = struct.pack(">HHHH", from_port, to_port, 8 + len(data) if udp_length is None else udp_length, udp_sum)
    return to + source + b"\x08\x00" + ip + udp + data


def send(octets):
    return f"send {octets.hex()}"


def asked(line, data=b"question"):
    """Until the board has got ``data``: the frame with it."""
    line.socket.send(data)
    line.tell("look")
    request = line.frame()
    assert request == (ALL + US + b"\x08\x06\0\1\x08\0\6\4\0\1" + US + OUR_IP + bytes(6) + BOARD_IP).ljust(60, b"\0")
    line.tell("gap 20", send(checked(arp(2, target=US))), "gap 20", "look")
    return line.frame()


def test_a_question_and_its_answer(program):
    with Line(program) as line:
        frame = asked(line, b"odd")
        assert frame[:14] == BOARD + US + b"\x08\x00"
        ip, udp = frame[14:34], frame[34:45]
        assert ip[0] == 0x45 and ip[2:4] == bytes([0, 31]) and ip[9] == 17 and ip[12:] == OUR_IP + BOARD_IP and ones(ip) == 0xFFFF
        assert udp == struct.pack(">HHH", PORT, PORT, 11) + udp[6:8] + b"odd"
        assert ones(OUR_IP + BOARD_IP + bytes([0, 17, 0, 11]) + udp + b"\0") == 0xFFFF
        line.tell(send(checked(arp(1, to=ALL))), "gap 20")
        answer = line.frame()
        assert answer == (BOARD + US + b"\x08\x06\0\1\x08\0\6\4\0\2" + US + OUR_IP + BOARD + BOARD_IP).ljust(60, b"\0")
        for data in (b"answer", bytes(range(256)) * 5):
            line.tell(send(checked(datagram(data))), "gap 20")
            assert line.socket.recv(2048) == data


WITH_SUM = datagram(b"even")
RIGHT_SUM = 0xFFFF - ones(BOARD_IP + OUR_IP + bytes([0, 17, 0, 12]) + WITH_SUM[34:])


def test_a_datagram_with_its_checksum(program):
    with Line(program) as line:
        asked(line)
        line.tell(send(checked(datagram(b"even", udp_sum=RIGHT_SUM))), "gap 20")
        assert line.socket.recv(2048) == b"even"


@pytest.mark.parametrize(("octets", "rule"), [
    (checked(datagram(b"x"))[1:], "a frame without its preamble"),
    (PREAMBLE, "a frame without its preamble"),
    (PREAMBLE + datagram(b"x") + zlib.crc32(datagram(b"x")).to_bytes(4, "little"), "a frame of less than 64 or more than 1518 octets"),
    (checked(datagram(bytes(1473))), "a frame of less than 64 or more than 1518 octets"),
    (checked(datagram(b"x"))[:-1] + b"x", "the check sequence is wrong"),
    (checked(datagram(b"x", to=BOARD)), "sent to an address that nobody has"),
    (checked(datagram(b"x", source=US)), "sent from another address than the board's"),
    (checked(US + BOARD + b"\x86\xDD"), "neither ARP nor IPv4"),
    (checked(arp(1, head=b"\0\2\x08\0\6\4")), "not ARP for IPv4 on Ethernet"),
    (checked(arp(3)), "not ARP for IPv4 on Ethernet"),
    (checked(arp(1, sender=US)), "ARP with another sender than the board"),
    (checked(arp(1, sender_ip=OUR_IP)), "ARP with another sender than the board"),
    (checked(arp(1, target_ip=BOARD_IP)), "ARP for an address that nobody has"),
    (checked(arp(2, target=BOARD)), "an answer to ARP for somebody else"),
    (checked(datagram(b"x", version=0x46)), "not IPv4 with a header of 20 octets"),
    (checked(datagram(b"x", length=60)), "the length in IPv4's header is not that of the frame"),
    (checked(datagram(b"x", wrong=1)), "the checksum of IPv4's header is wrong"),
    (checked(datagram(b"x", pieces=0x2000)), "a piece of a datagram"),
    (checked(datagram(b"x", life=0)), "IPv4 with no time to live"),
    (checked(datagram(b"x", protocol=6)), "IPv4 that is not UDP"),
    (checked(datagram(b"x", to_ip=BOARD_IP)), "IPv4 with other addresses than the board's and ours"),
    (checked(datagram(b"x", udp_length=8)), "the length in UDP's header is not that of IPv4's"),
    (checked(datagram(b"even", udp_sum=RIGHT_SUM ^ 1)), "UDP's checksum is wrong"),
    (checked(datagram(b"x", from_port=1)), "UDP from another port than the board's")], ids=itertools.count())
def test_what_a_board_must_not_send(program, octets, rule):
    with Line(program) as line:
        asked(line)
        assert line.ends(send(octets), "gap 20") == f"Ethernet: {rule} (frame {line_number(rule)})\n"


def line_number(rule):
    """Frames are counted when they are whole."""
    return 1 if "preamble" in rule or "check sequence" in rule or "1518" in rule else 2


def test_what_a_board_must_not_do(program):
    for lines, rule in (
            ([send(checked(datagram(b"x")))] + ["gap 11"] + [send(checked(datagram(b"x")))], "less than twelve octets between two frames"),
            ([f"error {checked(datagram(b'x')).hex()}"], "the board says that it sends an error")):
        with Line(program) as line:
            asked(line)
            assert line.ends("gap 20", *lines, "gap 20").startswith(f"Ethernet: {rule} (frame ")
    with Line(program) as line:
        assert line.ends(send(checked(datagram(b"x"))), "gap 1") == "Ethernet: a datagram before any was sent (frame 1)\n"
