"""Memory behind the read and write ports of a component under Amaranth's simulator, at any pace."""

import random
from collections import deque

import numpy as np

__all__ = ["BusMemory"]


class BusMemory:
    """``size`` bytes behind read and write ports with words of ``bus_bytes``.

    ``latency`` cycles pass from a request to its first word or response. With probability ``stall`` a side does not move in a
    cycle. Reads outside ``bounds`` (first, last + 1), crossings of 64 bus words and broken streams are assertion errors.

    Add :meth:`reads` and :meth:`writes` as background testbenches. ``words_read`` and ``bytes_written`` count; words whose
    bus address is in ``bad`` come with an error.
    """

    def __init__(self, size, bus_bytes, *, latency=4, stall=0.0, seed=0, bounds=None):
        self.bytes = np.zeros(size, dtype=np.uint8)
        self.bus_bytes = bus_bytes
        self.latency = latency
        self.stall = stall
        self.bounds = bounds or (0, size)
        self.choice = random.Random(seed)
        self.bad = set()
        self.words_read = 0
        self.bytes_written = 0

    def _burst(self, address, beats):
        count = beats + 1
        assert address % self.bus_bytes == 0, f"burst at {address:#x} is not aligned"
        assert count <= 64 - address // self.bus_bytes % 64, f"burst of {count} at {address:#x} crosses a block"
        words = [address + i * self.bus_bytes for i in range(count)]
        low, high = self.bounds
        assert words[0] >= low - low % self.bus_bytes and words[-1] < high, f"burst at {address:#x} is out of bounds"
        return words

    def _moves(self):
        return self.choice.random() >= self.stall

    async def reads(self, ctx, port):
        waiting = deque()
        held = ready = shown = False
        cycle = 0
        while True:
            _, _, valid, request, accepted = await ctx.tick().sample(
                port.request.valid, port.request.payload, port.response.ready)
            cycle += 1
            assert valid or not held, "a request was withdrawn"
            assert not held or held == (request.address, request.beats), "a request changed while it waited"
            if valid and ready:
                waiting.extend((cycle + self.latency - 1, word) for word in self._burst(request.address, request.beats))
            held = (request.address, request.beats) if valid and not ready else False
            if shown and accepted:
                waiting.popleft()
                self.words_read += 1
                shown = False
            ready = self._moves()
            ctx.set(port.request.ready, ready)
            if not shown and waiting and waiting[0][0] <= cycle and self._moves():
                shown = True
                word = waiting[0][1]
                ctx.set(port.response.payload.data, int.from_bytes(self.bytes[word:word + self.bus_bytes].tobytes(), "little"))
                ctx.set(port.response.payload.error, word in self.bad)
            ctx.set(port.response.valid, shown)

    async def writes(self, ctx, port):
        words, responses = deque(), deque()
        ready = data_ready = shown = False
        failed = False
        cycle = 0
        while True:
            _, _, valid, request, data_valid, data, accepted = await ctx.tick().sample(
                port.request.valid, port.request.payload, port.data.valid, port.data.payload, port.response.ready)
            cycle += 1
            if valid and ready:
                burst = self._burst(request.address, request.beats)
                words.extend((word, word == burst[-1]) for word in burst)
            if data_valid and data_ready:
                assert words, "data lead their request"
                word, last = words.popleft()
                assert data.last == last, f"last is {data.last} at {word:#x}"
                for byte in range(self.bus_bytes):
                    if data.strobe >> byte & 1:
                        assert self.bounds[0] <= word + byte < self.bounds[1], f"byte {word + byte:#x} is out of bounds"
                        self.bytes[word + byte] = data.data >> 8 * byte & 255
                        self.bytes_written += 1
                failed |= word in self.bad
                if last:
                    responses.append((cycle + self.latency - 1, failed))
                    failed = False
            if shown and accepted:
                responses.popleft()
                shown = False
            ready, data_ready = self._moves(), self._moves()
            ctx.set(port.request.ready, ready)
            ctx.set(port.data.ready, data_ready)
            if not shown and responses and responses[0][0] <= cycle and self._moves():
                shown = True
                ctx.set(port.response.payload.error, responses[0][1])
            ctx.set(port.response.valid, shown)
