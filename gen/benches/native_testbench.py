"""The accelerator by its own ports: a memory behind them that checks the protocol while it serves it.

Payloads hold while they wait, bursts are aligned, data never lead their request, ``last`` stands on the last word of each burst.
"""

from __future__ import annotations

import collections
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from ...arch.config import Config
from ...arch.registers import offset_of
from .testbench import PERIOD_NS, Testbench

__all__ = ["NativeTestbench"]


class _Stream:
    """One handshake on the accelerator's pins, sampled once per cycle; remembers what must hold while it waits."""

    def __init__(self, dut: Any, prefix: str, payload: tuple[str, ...]):
        self.name = prefix
        self.valid = getattr(dut, f"{prefix}_valid")
        self.ready = getattr(dut, f"{prefix}_ready")
        self.payload = [getattr(dut, f"{prefix}_{name}") for name in payload]
        self.waiting: tuple[int, ...] | None = None
        self.accepting = False

    def sample(self) -> tuple[int, ...] | None:
        """From the accelerator: the payload accepted in the cycle that just ended, or None."""
        if not int(self.valid.value):
            assert self.waiting is None, f"{self.name}: valid was withdrawn before ready"
            return None
        # X is for bytes without a strobe; in one with a strobe, zeros are wrong data.
        values = tuple(int(signal.value.resolve("zeros")) if len(signal) > 1 else int(signal.value) for signal in self.payload)
        assert self.waiting in (None, values), f"{self.name}: payload changed from {self.waiting} to {values} while it waited"
        self.waiting = None if self.accepting else values
        return values if self.accepting else None

    def accept(self, yes: bool) -> None:
        self.accepting = yes
        self.ready.value = int(yes)


class NativeTestbench(Testbench):
    """:class:`Testbench` around module ``systolith``."""

    def __init__(self, dut: Any, config: Config, *, size: int, latency: int, stall: float, seed: int):
        super().__init__(dut, config, size=size, latency=latency, stall=stall, seed=seed)
        self.read_request = _Stream(dut, "read_request", ("address", "beats"))
        self.write_request = _Stream(dut, "write_request", ("address", "beats"))
        self.write_data = _Stream(dut, "write_data", ("data", "strobe", "last"))
        # (cycle from which it may be answered, payload)
        self.reads: collections.deque[tuple[int, int, int]] = collections.deque()
        self.writes: collections.deque[list[int]] = collections.deque()
        self.answers: collections.deque[tuple[int, int]] = collections.deque()

    async def start(self) -> None:
        """Reset for four cycles, then serve the memory."""
        dut = self.dut
        Clock(dut.clk, PERIOD_NS, unit="ns").start()
        for name in ("csr_address", "csr_write", "csr_write_data", "read_response_valid", "read_response_data",
                     "read_response_error", "write_response_valid", "write_response_error", "read_request_ready",
                     "write_request_ready", "write_data_ready"):
            getattr(dut, name).value = 0
        dut.rst.value = 1
        for _ in range(4):
            await RisingEdge(dut.clk)
        dut.rst.value = 0
        cocotb.start_soon(self._serve())

    def _go(self) -> bool:
        return self.stall == 0 or self.random.random() >= self.stall

    def _check_burst(self, kind: str, address: int, beats: int) -> None:
        assert address % self.config.bus_bytes == 0, f"{kind} burst at {address:#x} must start on a bus word"

    async def _serve(self) -> None:
        dut, bus_bytes = self.dut, self.config.bus_bytes
        read_valid = write_answer_valid = False
        while True:
            await RisingEdge(dut.clk)
            self.cycle += 1
            if read_valid and int(dut.read_response_ready.value):
                read_valid = False
            if write_answer_valid and int(dut.write_response_ready.value):
                write_answer_valid = False
            if (request := self.read_request.sample()) is not None:
                self._check_burst("read", *request)
                self.reads += [(self.cycle + self.latency, request[0] + i * bus_bytes, 0) for i in range(request[1] + 1)]
            if (request := self.write_request.sample()) is not None:
                self._check_burst("write", *request)
                self.writes.append([request[0], request[1], 0])
            if (word := self.write_data.sample()) is not None:
                self._write(*word)
            if not read_valid:
                if self.reads and self.reads[0][0] <= self.cycle and self._go():
                    _, address, _ = self.reads.popleft()
                    read_valid = True
                    inside = not self.refuses(address, bus_bytes)
                    dut.read_response_data.value = (
                        int.from_bytes(self.memory[address:address + bus_bytes].tobytes(), "little") if inside else 0)
                    dut.read_response_error.value = int(not inside)
                dut.read_response_valid.value = int(read_valid)
            if not write_answer_valid:
                if self.answers and self.answers[0][0] <= self.cycle and self._go():
                    write_answer_valid = True
                    dut.write_response_error.value = self.answers.popleft()[1]
                dut.write_response_valid.value = int(write_answer_valid)
            self.read_request.accept(self._go())
            self.write_request.accept(self._go())
            self.write_data.accept(bool(self.writes) and self._go())

    def _write(self, data: int, strobe: int, last: int) -> None:
        assert self.writes, "write data came before its request"
        burst = self.writes[0]
        address, beats, error = burst
        bus_bytes = self.config.bus_bytes
        assert last == (beats == 0), f"write burst: last must be {int(beats == 0)} with {beats} words left, not {last}"
        if not self.refuses(address, bus_bytes):
            for i, byte in enumerate(data.to_bytes(bus_bytes, "little")):
                if strobe >> i & 1:
                    self.memory[address + i] = byte
        else:
            error = 1
        if beats:
            burst[:] = [address + bus_bytes, beats - 1, error]
        else:
            self.writes.popleft()
            self.answers.append((self.cycle + self.latency, error))

    async def write_register(self, name: str, value: int) -> None:
        dut = self.dut
        dut.csr_address.value = offset_of(name)
        dut.csr_write_data.value = value & 0xFFFFFFFF
        dut.csr_write.value = 1
        await RisingEdge(dut.clk)
        dut.csr_write.value = 0

    async def read_register(self, name: str) -> int:
        dut = self.dut
        dut.csr_address.value = offset_of(name)
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        return int(dut.csr_read_data.value)

    async def wait(self) -> None:
        """Reading STATUS takes cycles enough."""

    def check_quiet(self) -> None:
        assert not self.reads and not self.writes and not self.answers, "the program ended with bursts on their way"
