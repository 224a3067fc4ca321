"""An accelerator in a LiteX SoC, over LiteX's own server and client."""

from __future__ import annotations

import contextlib
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arch.manifest import Manifest
from ..arch.registers import REGISTER_BYTES
from ..arch.serial_link import BYTE_BITS, LEAST_BIT_CYCLES
from .device import Device, DeviceError, check_identity
from .sdram import wake

__all__ = ["LiteXDevice"]

SILENCE_S = 10.0  # the server takes writes faster than a serial line, and an answer comes behind them; LiteX gives up after 2 s


class LiteXDevice(Device):
    """Registers and SDRAM through ``litex_server`` at ``host``:``port``, whatever link it uses to the SoC.

    The accelerator's memory is the SoC's SDRAM: its address 0 is the first byte of ``main_ram``.

    Parameters
    ----------
    manifest : of the generated folder; the device must show its identity
    host, port : of ``litex_server``
    csr_csv : LiteX's list of the SoC's addresses
    name : of the accelerator in the SoC

    Attributes
    ----------
    client : LiteX's client, for the SoC's other registers

    Raises
    ------
    DeviceError
        LiteX is not installed, no server answers, ``csr_csv`` does not exist or does not name the accelerator and ``main_ram``, or the
        memory of a board's LiteX variant, which nobody else makes to work, does not.
    DeviceMismatch
        The device is another accelerator.
    """

    words_at_once = 128  # UARTBone carries at most 255
    way = "litex_server"

    def __init__(self, manifest: Manifest, *, host: str = "localhost", port: int = 1234, csr_csv: str | Path = "csr.csv",
                 name: str = "systolith"):
        if not Path(csr_csv).is_file():
            raise DeviceError(f"the SoC's list of addresses {str(csr_csv)!r} does not exist; give the folder of a board that was generated "
                              "with --variant litex, or run where your own SoC's csr.csv is")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # LiteX leaves the file open
                self.client = self.make_client(host, port, str(csr_csv))
            registers, ram = (getattr(self.client.mems, region) for region in (name, "main_ram"))
            self.client.open()
        except ImportError:
            raise DeviceError("LiteX is not installed; run: pip install 'systolith[litex]'") from None
        except (OSError, KeyError, AttributeError) as error:
            raise DeviceError(f"no accelerator {name!r} through {self.way} at {host}:{port} with {str(csr_csv)!r}: {error}") from None
        self._registers, self._ram = registers.base, ram.base
        self.memory_bytes = ram.size
        try:
            check_identity(self, manifest)
            if manifest.soc is not None:
                wake(self, manifest.soc, read=lambda address: self.read_bus(address, 1)[0], write=self.write_once, wait=self._pass)
        except DeviceError:
            self.close()
            raise

    def make_client(self, host: str, port: int, csr_csv: str) -> Any:
        """LiteX's client, not open yet."""
        from litex.tools.litex_client import RemoteClient
        client = RemoteClient(host, port, csr_csv=csr_csv)
        client.clear_socket_buffer = self._lost  # where LiteX would go on with zeros
        opens = client.open

        def open_patiently() -> None:
            opens()
            client.socket.settimeout(SILENCE_S)

        client.open = open_patiently
        return client

    def read_bus(self, address: int, count: int) -> list[int]:
        """``count`` words of the SoC from byte ``address`` on, at most ``words_at_once``."""
        return list(self.client.read(address, count))

    def write_bus(self, address: int, words: list[int]) -> None:
        """Put at most ``words_at_once`` words at byte ``address`` of the SoC and on."""
        self.client.write(address, words)

    def write_once(self, address: int, value: int) -> bool:
        """Put a word at byte ``address`` of the SoC: whether that was done exactly once, as far as it is known."""
        self.write_bus(address, [value])
        return True

    def read_register(self, offset: int) -> int:
        return self.read_bus(self._registers + offset, 1)[0]

    def write_register(self, offset: int, value: int) -> None:
        self.write_bus(self._registers + offset, [int(value)])

    def read_memory(self, address: int, count: int) -> npt.NDArray[np.uint8]:
        self.check_range(address, count)
        return self._words(address // 4, -(-(address % 4 + count) // 4)).view(np.uint8)[address % 4:][:count].copy()

    def write_memory(self, address: int, data: npt.NDArray[Any]) -> None:
        octets = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self.check_range(address, octets.size)
        if not octets.size:
            return
        # Whole words: the bytes beside the data are read first.
        first, last = address // 4, (address + octets.size - 1) // 4
        words = np.empty(last + 1 - first, "<u4")
        words[[0, -1]] = self._words(first, 1)[0], self._words(last, 1)[0]
        words.view(np.uint8)[address % 4:][:octets.size] = octets
        for start in range(0, words.size, self.words_at_once):
            self.write_bus(self._ram + 4 * (first + start), words[start:start + self.words_at_once].tolist())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.client.close()

    def _pass(self, cycles: int) -> None:
        """Let ``cycles`` of the SoC's clock pass. A simulated one has its own time: words on a serial line, here the accelerator's
        registers, take as much of it as that takes at the line's highest rate."""
        time.sleep(cycles / self.client.constants.config_clock_frequency)
        words = min(self.words_at_once, REGISTER_BYTES // 4)
        for _ in range(-(-cycles // (words * 4 * BYTE_BITS * LEAST_BIT_CYCLES))):
            self.read_bus(self._registers, words)

    @staticmethod
    def _lost() -> None:
        raise DeviceError("the SoC does not answer litex_server; is the link the right one, and its clock running?")

    def _words(self, first: int, count: int) -> npt.NDArray[np.uint32]:
        """``count`` words of the memory from word ``first`` on."""
        most = self.words_at_once
        parts = [self.read_bus(self._ram + 4 * (first + start), min(most, count - start)) for start in range(0, count, most)]
        return np.array([word for part in parts for word in part], "<u4")
