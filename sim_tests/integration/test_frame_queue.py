"""Queues of whole frames between LiteEth's PHY and its core, by migen's simulator: what comes out, and how."""

import itertools
import random
import zlib

import pytest

pytest.importorskip("liteeth", reason="LiteEth is not installed: pip install 'systolith[litex]'")
from migen.sim import passive, run_simulation
from systolith.gen.litex_ethernet import FrameQueue

PREAMBLE = bytes([0x55] * 7 + [0xD5])


def frame(rng, count):
    """Of ``count`` random octets, with its preamble and check sequence (zlib's CRC-32, lowest octet first)."""
    octets = rng.randbytes(count)
    return PREAMBLE + octets + zlib.crc32(octets).to_bytes(4, "little")


def hurt(rng, octets):
    """With one bit changed behind the preamble."""
    place = rng.randrange(8, len(octets))
    return octets[:place] + bytes([octets[place] ^ 1 << rng.randrange(8)]) + octets[place + 1:]


def through(frames, *, checks, gap, ready, waits, bits=8):
    """What comes out of ``frames``, each with the cycle of its last octet, and whether any had a gap within."""
    queue = FrameQueue(checks=checks, gap=gap, bits=bits)
    found, broken = [], []

    def send():
        for octets in frames:
            for place, octet in enumerate(octets):
                yield queue.sink.valid.eq(1)
                yield queue.sink.data.eq(octet)
                yield queue.sink.last.eq(place == len(octets) - 1)
                yield
                while waits and not (yield queue.sink.ready):
                    yield
            yield queue.sink.valid.eq(0)
            for _ in range(12 if checks else 1):
                yield
        for _ in range(400):
            yield

    @passive
    def take():
        octets, cycle, start = b"", 0, 0
        while True:
            cycle += 1
            yield queue.source.ready.eq(ready())
            yield
            if (yield queue.source.valid) and (yield queue.source.ready):
                start = start if octets else cycle
                octets += bytes([(yield queue.source.data)])
                if (yield queue.source.last):
                    found.append((start, cycle, octets))
                    octets = b""
            elif octets and (yield queue.source.ready):
                broken.append(cycle)

    run_simulation(queue, {"write": [send()], "read": [take()]}, clocks={"write": 10, "read": (10, 3)})
    return found, broken


@pytest.mark.parametrize("seed", range(2))
def test_what_was_hurt_does_not_come_out(seed):
    """Nor what is cut or has no start; the core may stop the queue whenever it likes."""
    rng = random.Random(seed)
    print(f"seed {seed}")
    good = [frame(rng, rng.choice([1, 30, 31, 100])) for _ in range(12)]
    sent, expected = [], []
    for octets in good:
        kind = rng.randrange(5)
        sent.append([octets, octets, hurt(rng, octets), octets[:rng.randrange(9, len(octets))], octets[8:].replace(b"\xD5", b"")][kind])
        expected += [octets] if kind < 2 else []
    found, _ = through(sent, checks=True, gap=0, ready=lambda: rng.random() < 0.8, waits=False)
    assert [octets for *_, octets in found] == expected and 0 < len(expected) < 12


def test_what_finds_no_room_is_dropped_whole():
    """Of frames that come faster than they are taken, some; none in part."""
    rng = random.Random(4)
    sent = [frame(rng, 80) for _ in range(6)]  # of which 256 octets hold two
    cycles = itertools.count()
    found, _ = through(sent, checks=True, gap=0, ready=lambda: next(cycles) > 420, waits=False)
    assert [octets for *_, octets in found] == [*sent[:2], *sent[4:]]


def test_frames_go_in_one_piece_and_apart():
    """However slowly they come; twelve octets between them."""
    rng = random.Random(5)
    sent = [frame(rng, rng.choice([30, 32, 120])) for _ in range(6)]
    found, broken = through(sent, checks=False, gap=12, ready=lambda: True, waits=True)
    assert [octets for *_, octets in found] == sent and not broken
    assert all(end - start + 1 == len(octets) for start, end, octets in found)
    assert all(after[0] - before[1] > 12 for before, after in itertools.pairwise(found))
