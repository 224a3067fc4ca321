"""The accelerator behind AXI: cocotbext-axi's manager on the registers and its subordinate on the memory, under our checker."""

from __future__ import annotations

import logging
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.triggers import First, RisingEdge, Timer
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiResp, AxiSlave

from ...arch.config import Config
from ...arch.registers import offset_of
from .axi_checker import AXIChecker, AXILiteChecker
from .testbench import PERIOD_NS, Testbench

__all__ = ["AXITestbench"]

_POLL_NS = 200 * PERIOD_NS  # between two looks at STATUS, unless an interrupt comes first


class _Later:
    """A channel of cocotbext-axi on which everything takes ``latency`` cycles more, several things at a time."""

    def __init__(self, channel: Any, latency: int):
        self.channel = channel
        self.delay_ns = latency * PERIOD_NS
        self.queue: Queue[tuple[int, Any]] = Queue()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.channel, name)

    async def _put(self, item: Any) -> None:
        await self.queue.put((round(get_sim_time("ns")) + self.delay_ns, item))

    async def _get(self) -> Any:
        due, item = await self.queue.get()
        if (left := due - round(get_sim_time("ns"))) > 0:
            await Timer(left, "ns")
        return item


class _LaterRequests(_Later):
    """What the memory receives."""

    def __init__(self, channel: Any, latency: int):
        super().__init__(channel, latency)
        channel.queue_occupancy_limit = -1
        cocotb.start_soon(self._relay())

    async def _relay(self) -> None:
        while True:
            await self._put(await self.channel.recv())

    async def recv(self) -> Any:
        return await self._get()


class _LaterResponses(_Later):
    """What the memory sends."""

    def __init__(self, channel: Any, latency: int):
        super().__init__(channel, latency)
        cocotb.start_soon(self._relay())

    async def _relay(self) -> None:
        while True:
            await self.channel.send(await self._get())

    async def send(self, item: Any) -> None:
        await self._put(item)


class _Errors:
    """A channel of cocotbext-axi on which an error is the bench's ``response``."""

    def __init__(self, channel: Any, bench: AXITestbench):
        self.channel = channel
        self.bench = bench

    def __getattr__(self, name: str) -> Any:
        return getattr(self.channel, name)

    async def send(self, item: Any) -> None:
        for field in ("rresp", "bresp"):
            if getattr(item, field, AxiResp.OKAY) == AxiResp.SLVERR:
                setattr(item, field, self.bench.response)
        await self.channel.send(item)


class AXITestbench(Testbench):
    """:class:`Testbench` around module ``systolith_axi``.

    Members
    -------
    registers : cocotbext-axi's manager on the register port
    checker : of the memory's bus
    memory_channels : cocotbext-axi's channels of the memory, by name
    response : what an error is, SLVERR or DECERR
    """

    def __init__(self, dut: Any, config: Config, *, size: int, latency: int, stall: float, seed: int):
        super().__init__(dut, config, size=size, latency=latency, stall=stall, seed=seed)
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.ERROR)  # the models tell of every transfer
        self.response = AxiResp.SLVERR
        self.checker = AXIChecker(dut, config.bus_bytes)
        self.register_checker = AXILiteChecker(dut)

    async def start(self) -> None:
        dut = self.dut
        Clock(dut.aclk, PERIOD_NS, unit="ns").start()
        dut.aresetn.value = 0
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.aclk, dut.aresetn, reset_active_level=False)
        slave = AxiSlave(AxiBus.from_prefix(dut, "m_axi"), dut.aclk, dut.aresetn, target=self, reset_active_level=False)
        reads, writes, registers = slave.read_if, slave.write_if, self.registers
        self.memory_channels = {
            "ar": reads.ar_channel, "r": reads.r_channel, "aw": writes.aw_channel, "w": writes.w_channel, "b": writes.b_channel}
        if self.stall:
            cocotb.start_soon(self._hesitate([
                *self.memory_channels.values(), registers.read_if.ar_channel, registers.read_if.r_channel,
                registers.write_if.aw_channel, registers.write_if.w_channel, registers.write_if.b_channel]))
        reads.ar_channel = _LaterRequests(reads.ar_channel, self.latency)
        reads.r_channel = _Errors(reads.r_channel, self)
        writes.b_channel = _LaterResponses(_Errors(writes.b_channel, self), self.latency)
        for _ in range(4):
            await RisingEdge(dut.aclk)
        self.checker.check_reset()
        self.register_checker.check_reset()
        dut.aresetn.value = 1
        for channel in (*self.checker.channels, *self.register_checker.channels):
            cocotb.start_soon(channel.follow())
        cocotb.start_soon(self._watch())

    async def _hesitate(self, channels: list[Any]) -> None:
        """Pause each channel of cocotbext-axi in cycles of its own; one task is quicker than its ten generators."""
        edge, draw = RisingEdge(self.dut.aclk), self.random.random
        while True:
            for channel in channels:
                channel.pause = draw() < self.stall
            await edge

    async def _watch(self) -> None:
        edge = RisingEdge(self.dut.aclk)
        while True:
            await edge
            self.cycle += 1
            self.checker.sample()
            self.register_checker.sample()

    # What cocotbext-axi's subordinate calls; an exception is an error response.

    async def read(self, address: int, length: int) -> bytes:
        self._check(address, length)
        return self.memory[address:address + length].tobytes()

    async def write(self, address: int, data: bytes) -> None:
        self._check(address, len(data))
        self.memory[address:address + len(data)] = np.frombuffer(data, np.uint8)

    def _check(self, address: int, length: int) -> None:
        if self.refuses(address, length):
            raise IndexError(f"{address:#x} is not memory")

    async def write_register(self, name: str, value: int) -> None:
        done = await self.registers.write(offset_of(name), (value & 0xFFFFFFFF).to_bytes(4, "little"))
        assert done.resp == AxiResp.OKAY, f"writing {name}: {done.resp.name}"

    async def read_register(self, name: str) -> int:
        done = await self.registers.read(offset_of(name), 4)
        assert done.resp == AxiResp.OKAY, f"reading {name}: {done.resp.name}"
        return int.from_bytes(done.data, "little")

    async def launch(self, words: np.ndarray, *, address: int, regions: dict[int, tuple[int, int]], offset: int = 0) -> None:
        self.checker.writable = [(start, start + size) for start, size in regions.values()]
        await self.write_register("IRQ_ENABLE", 1)
        await super().launch(words, address=address, regions=regions, offset=offset)

    async def wait(self) -> None:
        await First(RisingEdge(self.dut.irq), Timer(_POLL_NS, "ns"))

    def check_quiet(self) -> None:
        self.checker.check_quiet()
