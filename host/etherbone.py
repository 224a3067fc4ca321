"""An accelerator in a LiteX SoC on a network: Etherbone in UDP datagrams, without a server in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..arch.manifest import Manifest
from ..arch.registers import Control, State, Status, offset_of
from .device import DeviceError
from .etherbone_link import EtherboneLink
from .litex import LiteXDevice

__all__ = ["EtherboneDevice"]

ATTEMPTS = 10
WORDS = 8                 # LiteEth keeps 16 words of a datagram unless its user says otherwise
LEAST_S = 2 * 84 * 8e-9   # in which the shortest frames go there and back at 1 Gbit/s
_COUNT_MASK = 0xFFFF


class EtherboneDevice(LiteXDevice):
    """Registers and SDRAM of the SoC at ``host``, which has LiteEth's Etherbone at UDP ``port``.

    Datagrams get lost, and are sent again until they are answered. In a board's LiteX variant that is so of writes too: their datagrams
    read a register as well, so that what clears itself need not be read back. LiteEth as others have it (2024.12) does not answer
    such a datagram; there, what was written is read back. CONTROL is written once: whether a program was started shows in IRQ, which
    is cleared before, or in how many were taken into the queue.

    Parameters
    ----------
    manifest, csr_csv, name : as :class:`~systolith.host.litex.LiteXDevice` has them
    host, port : of the SoC; its answers come to the same port of this computer

    Attributes
    ----------
    link : what datagrams go through
    repeated : datagrams that were sent again

    Raises
    ------
    DeviceError, DeviceMismatch
        As with ``litex_server``; the board has no Ethernet, nothing answers at that address, or the port is in use on this computer.
    """

    way = "Etherbone"
    silence_s = 1.0  # an answer that is not there by then is none

    def __init__(self, manifest: Manifest, *, host: str, port: int = 1234, csr_csv: str | Path = "csr.csv", name: str = "systolith"):
        self.repeated = 0
        self._place = f"{host}:{port}"
        soc = manifest.soc or {"etherbone": {}}
        if "etherbone" not in soc:
            raise DeviceError(f"the SoC for {manifest.board} has no Ethernet; use --device serial:PORT")
        self._answers_writes = "words" in soc["etherbone"]
        self.words_at_once = int(soc["etherbone"].get("words", WORDS))
        super().__init__(manifest, host=host, port=port, csr_csv=csr_csv, name=name)

    def make_client(self, host: str, port: int, csr_csv: str) -> Any:
        from litex.tools.remote.comm_udp import CommUDP
        client = CommUDP(host, port, csr_csv=csr_csv)

        def open_link() -> None:
            self.link = EtherboneLink(host, port, silence_s=self.silence_s)
            client.socket = self.link.socket

        client.open = open_link
        return client

    def read_bus(self, address: int, count: int) -> list[int]:
        return self._ask([address + 4 * index for index in range(count)])

    def write_bus(self, address: int, words: list[int]) -> None:
        if self._answers_writes:
            self._ask([self._registers], address=address, words=words)
        else:
            self._until(lambda: self.read_bus(address, len(words)) == words, lambda: self._send(address, words),
                        f"{len(words)} words at 0x{address:08x}")

    def write_once(self, address: int, value: int) -> bool:
        if self.link.once([self._registers], address=address, words=[value]):
            return True
        self.write_bus(address, [value])
        return False

    def write_register(self, offset: int, value: int) -> None:
        if offset == offset_of("CONTROL"):
            self._control(int(value))
        else:
            super().write_register(offset, value)

    def _until(self, there: Callable[[], bool], write: Callable[[], None], what: str) -> None:
        """``write`` until it is ``there``."""
        for attempt in range(ATTEMPTS):
            self.repeated += attempt > 0
            write()
            if there():
                return
        raise DeviceError(f"Etherbone at {self._place} did not take {what}, written {ATTEMPTS} times; does something else write there?")

    def _ask(self, reads: list[int], **written: Any) -> list[int]:
        """What the SoC answers, asked until it does."""
        for attempt in range(ATTEMPTS):
            self.repeated += attempt > 0
            answer = self.link.ask(reads, **written, again=attempt > 0)
            if answer is not None:
                return answer
        raise DeviceError(f"nothing answers Etherbone at {self._place}, asked {ATTEMPTS} times; is the SoC's network up, and this its "
                          "address?")

    def _send(self, address: int, words: list[int]) -> None:
        """One datagram, which may get lost."""
        self.link.ask([self._registers] if self._answers_writes else [], address=address, words=words)

    def _pass(self, cycles: int) -> None:
        seconds = cycles / self.client.constants.config_clock_frequency
        time.sleep(seconds)
        for _ in range(-int(-seconds // LEAST_S)):
            self.read_bus(self._registers, 1)

    def _control(self, bits: int) -> None:
        """Write ``bits`` to CONTROL so that they act once."""
        def write(bits: int) -> None:
            self._send(self._registers + offset_of("CONTROL"), [bits])

        def status() -> int:
            return self.read_register(offset_of("STATUS"))

        def state() -> State:
            return State(status() & 3)

        if bits & Control.START and state() is not State.RUNNING:
            self._until(lambda: not status() & Status.IRQ, lambda: write(Control.CLEAR_IRQ), "CLEAR_IRQ")
            # Running, or it has ended since.
            self._until(lambda: bool((found := status()) & Status.IRQ) or found & 3 == State.RUNNING, lambda: write(bits), "START")
        elif bits & Control.ENQUEUE and state() is not State.ERROR:
            before = self._taken()
            self._until(lambda: self._taken() != before or state() is State.ERROR or bool(status() & Status.START_REFUSED),
                        lambda: write(bits), "ENQUEUE")
        elif bits & Control.RESET:
            self._until(lambda: state() is State.IDLE, lambda: write(bits), "RESET")
        else:  # refused, or without harm twice
            for _ in range(2):
                write(bits)
                status()

    def _taken(self) -> int:
        """Programs that were taken since RESET, modulo 65536: completed, running and waiting."""
        completed, again = -1, self.read_register(offset_of("COMPLETED"))
        while completed != again:
            completed = again
            status = self.read_register(offset_of("STATUS"))
            again = self.read_register(offset_of("COMPLETED"))
        waiting = (status & Status.WAITING) >> 8
        return completed + waiting + (status & 3 == State.RUNNING) & _COUNT_MASK
